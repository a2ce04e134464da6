"""Tests of `experiment_pipeline.stages.data_analysis`."""
