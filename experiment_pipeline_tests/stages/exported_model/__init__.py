"""Tests of `experiment_pipeline.stages.exported_model`."""
