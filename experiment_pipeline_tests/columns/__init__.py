"""Tests of `experiment_pipeline.columns`."""
