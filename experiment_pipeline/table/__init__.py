"""Column kinds, parsing of texts, preparation, schema, features, target, and the
identity of rows.

Everything that the YAML declares works row by row, because it travels with the exported
model: a row prepared alone gets the same values as within a table.
"""
