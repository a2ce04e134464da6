"""Tests of `experiment_pipeline.cluster`."""
