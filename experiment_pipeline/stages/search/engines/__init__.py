"""Where the fits of a search run: `engine.py` has the interface, and threads of this machine.

Every engine gives the same models. `../sweep.py` is the pool of threads, `dask/` a cluster;
`shared_files.py` holds what fits share in the storage.
"""
