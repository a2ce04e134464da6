"""Tests of `experiment_pipeline.stages.validation_report`."""
