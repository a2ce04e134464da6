"""Tests of `experiment_pipeline.prediction`."""
