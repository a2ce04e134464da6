"""Tests of `experiment_pipeline.reporting`."""
