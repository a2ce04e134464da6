"""The search: one fitted model per configuration, as fast as the machine allows.

configurations.py → features.py, shared_work.py (tables encoded once) → training_sets.py (on what) →
learners.py, one per family of algorithms (what is fitted, and how) → fitting.py, scoring.py (one
fit) → engines, sweep.py, cost.py (all of them, as many at a time as there are workers) → rungs.py,
halving.py (who goes on) → conclusions.py (what came of it). Models are found again by what decides them
(fingerprints.py, results.py). `asset.py`, `results.py` and the shared files of `engines` reach the
storage.
"""
