"""What a column is, texts to values, preparation, schema, features, target, and which rows are which.

What the YAML declares happens row by row, because it travels with the exported model: a row prepared
alone gets the values that it gets within a table.
"""
