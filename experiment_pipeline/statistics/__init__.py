"""Metrics, influence, intervals, comparisons, thresholds: arrays in, numbers out."""
