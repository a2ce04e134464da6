"""Tests of `experiment_pipeline.spec`."""
