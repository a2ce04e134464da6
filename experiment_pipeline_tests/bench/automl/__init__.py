"""Whole tools against ours: from a typed table to a stored model, in the same seconds,
on two cores.

`runners/` has a script per tool, which knows nothing of this package and runs in an
environment of its own; `tools.py` starts them and remembers what they did, `jobs.py`
makes what they are given and judges what they return, `ranks.py` compares, `page.py`
writes the section. Start it with `python -m experiment_pipeline_tests.bench --part
automl --budget 30`.
"""
