"""The search: one fitted model per configuration, as fast as the machine allows.

configurations.py → features.py, shared_work.py (tables encoded once) → training_sets.py
(the rows) → learners, one per family of algorithms (how to fit) → fitting.py,
scoring.py (one fit) → sweep.py on this machine, dask_engine.py on a cluster (all fits)
→ rungs.py, budget.py, halving.py (which fits start, and which configurations go on) →
conclusions.py (the results). Stored models are found by a digest of all that decides
them (fingerprints.py, results.py).
"""
