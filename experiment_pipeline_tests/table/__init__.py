"""Tests of `experiment_pipeline.table`."""
