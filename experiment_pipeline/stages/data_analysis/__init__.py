"""Data analysis: what is wrong with a table for this target, and whether the run may
continue.

Rules are declared under `findings/`, grouped by what they check; `analysis.py` derives
the verdict.
"""
