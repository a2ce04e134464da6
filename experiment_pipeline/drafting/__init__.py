"""A first experiment on an unknown table: what can be inferred, why, and how it is written."""
