"""Where the fits of a search run, and how they get there: `engine.py` is the seam.

What is fitted, and what comes of it, is the same for every engine. Threads of this machine:
`../sweep.py`.
"""
