"""The search: one fitted model per configuration, as fast as the machine allows.

configurations.py → features.py, shared_work.py (tables encoded once) → training_sets.py (on what) →
learners, one per family of algorithms (what is fitted, and how) → fitting.py, scoring.py (one fit) →
sweep.py on this machine, dask_engine.py on a cluster (all of them) → rungs.py, budget.py, halving.py
(who starts and who goes on) → conclusions.py (what came of it). Models are found again by what decides
them (fingerprints.py, results.py).
"""
