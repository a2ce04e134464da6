"""Tests of `experiment_pipeline.assets`."""
