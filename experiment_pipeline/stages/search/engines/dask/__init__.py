"""Fits on a Dask cluster: the only room that imports Dask.

`cluster.py` connects and runs tasks, `software.py` compares a worker with this process, `engine.py` makes
tasks of configurations and outcomes of results. Nothing is imported here: the scheduler imports the
module of `perform`, and needs no library that fits.
"""
