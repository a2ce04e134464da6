"""Preparation: what the YAML declares to happen to each row before it is validated.

Row by row and pure, because it travels with the exported model: a row prepared alone gets
the values it gets within a table. Never drops or reorders a row, and never hides a cell: a
text that cannot be read as its declared type becomes missing *and* is listed as unparsable,
for which the validation rejects its row. In: a raw table and `spec.Preparation`. Out:
`Prepared`.
"""

from experiment_pipeline.core.preparation.table import Prepared, prepare

__all__ = ["Prepared", "prepare"]
