"""Data analysis: what is wrong with a table for this target, and whether to go on.

Findings are declared under `findings/`, by what they look at; the verdict's rules are in `analysis.py`.
"""
