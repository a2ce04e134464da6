"""Tests of `experiment_pipeline.drafting`."""
