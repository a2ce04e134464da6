"""Metrics, influence, intervals, comparisons, distances, thresholds: arrays in, numbers
out.
"""
