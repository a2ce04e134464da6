"""Everything that uses Dagster: assets, component, job, schedule, sensor, executor,
instance.
"""
