"""The metadata database: what people ask about the runs of all experiments, in plain SQL tables.

Large things that never change are files elsewhere in the storage; here is what was declared, tried,
chosen and decided, by whom, on which data, at which cost. SQLite without any set-up, or any
SQLAlchemy URL in EXPERIMENT_PIPELINE_DATABASE.
"""
