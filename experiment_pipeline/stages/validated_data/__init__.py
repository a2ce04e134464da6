"""Validation: which rows of a prepared table an experiment may use, and why not the others.

Raw == validated + rejected, always. Changing values belongs to `columns.preparation`, reading the
schema to `columns.schema`, choosing sets to `rows` and `split_sets`.
"""
