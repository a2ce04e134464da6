"""A script per tool, as a user of it would write one; each runs in an environment of
its own.

What such an environment holds stands at the top of a script, for uv (`uv sync
--script`). They share `contract.py`, which needs numpy and pandas alone.
"""
