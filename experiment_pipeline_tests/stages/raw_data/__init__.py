"""Tests of `experiment_pipeline.stages.raw_data`."""
