"""The metadata database: what was declared, tried, chosen and decided, on which data,
at which cost.

Plain SQL tables: SQLite, without any set-up, or the database at
EXPERIMENT_PIPELINE_DATABASE. Large files are in the storage instead.
"""
