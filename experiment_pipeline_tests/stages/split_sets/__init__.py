"""Tests of `experiment_pipeline.stages.split_sets`."""
