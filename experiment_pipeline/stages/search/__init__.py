"""The search: one fitted model per configuration, as fast as the machine allows.

configurations.py → algorithms.py, features.py, boosting.py (what is fitted, its tables encoded
once) → training_sets.py (on what) → fitting.py, scoring.py (one fit) → sweep.py, cost.py (all of
them, as many at a time as there are workers) → rungs.py, halving.py (who goes on) → conclusions.py
(what came of it). Models are found again by what decides them (fingerprints.py, results.py). Only
`asset.py` and `results.py` reach the storage.
"""
