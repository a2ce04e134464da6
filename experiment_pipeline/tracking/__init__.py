"""The memory of experiments: every run of each, asked about from Python, the command line, a page.

Reads the metadata database and what its rows point to. What a run writes there is declared in
`reporting/run_record.py` and written by `orchestration/assets/shared.py`.
"""
