"""What a column is, once: kinds, texts to values, preparation, schema, features, target.

What the YAML declares happens row by row and is pure, because it travels with the exported model:
a row prepared alone gets the values it gets within a table. Whole tables in, whole tables out; what
a row is among others belongs to `rows`.
"""
