"""Validation: which rows of a prepared table an experiment may use, and why not the
others.

Raw == validated + rejected, always. Changing values belongs to `table.preparation`,
reading the schema to `table.schema`, choosing sets to `table.membership` and
`split_sets`.
"""
