"""Tests of `experiment_pipeline.tracking`."""
