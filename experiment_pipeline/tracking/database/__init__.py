"""The metadata database: what was declared, tried, chosen and decided, on which data, at which cost.

Plain SQL tables in SQLite without any set-up, or at any URL in EXPERIMENT_PIPELINE_DATABASE. Large
files lie elsewhere in the storage.
"""
