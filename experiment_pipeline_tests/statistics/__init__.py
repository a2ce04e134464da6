"""Tests of `experiment_pipeline.statistics`."""
