"""Tests of `experiment_pipeline.stages.search.dask_engine`."""
