"""Tests of `experiment_pipeline.storage`."""
