"""Tests of `experiment_pipeline.stages.search.engines.dask`."""
