"""Tests of `experiment_pipeline.intake`."""
