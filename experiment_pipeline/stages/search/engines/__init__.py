"""Where the fits of a search run, and how they get there: `engine.py` is the seam.

What is fitted, and what comes of it, is the same for every engine. Threads of this machine:
`../sweep.py`. Workers of a cluster: `on_cluster.py` hands tasks out, `shared_files.py` is what they
share, `task.py` is what runs there.
"""
