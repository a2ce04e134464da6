"""Data analysis: what is wrong with a table for this target, and whether to go on.

Findings are one module each under `findings/`; the verdict's rules are in `verdict.py`.
"""
