"""A delivered table: fetched, read into typed columns, checked against schema.yaml, and
profiled, for training and for prediction alike.
"""
