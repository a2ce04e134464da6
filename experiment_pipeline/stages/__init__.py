"""One package per stage, in the order of the flow: pure modules, `page.py`, `asset.py`.

`asset.py` reads, calls the pure modules beside it, stores and reports. No arithmetic.
"""
