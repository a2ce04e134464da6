"""What a row is among others: its hash and identity, its unit, its place in the order, its set.

Which set a row is in is a pure function of the prepared rows, so that the data analysis can keep its
eyes off the validation rows before the sets exist.
"""
