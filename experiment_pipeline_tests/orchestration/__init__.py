"""Tests of `experiment_pipeline.orchestration`."""
