"""Tests of `experiment_pipeline.stages.validated_data`."""
