"""Tests of `experiment_pipeline.rows`."""
