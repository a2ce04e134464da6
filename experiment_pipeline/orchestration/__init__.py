"""Everything of Dagster that is no asset: component, job, schedule, sensor, tables, instance."""
