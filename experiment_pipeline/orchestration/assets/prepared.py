"""Prepared rows, handed from the data analysis to the validation of one run.

Both steps need them and run in one process: the first prepares, the second takes them. In another
process, or after another table, they are prepared again.
"""

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.raw_data.table import RawTable
from experiment_pipeline.storage.mapped import spilled
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.membership import prepare_and_assign
from experiment_pipeline.table.preparation import PreparedTable
from experiment_pipeline.table.schema import shared_schema

# What decides them, beside the raw table and the schema; at most one table waits.
_DECIDING = {"target", "task", "exclude", "preparation", "split", "sample_weight"}
_waiting: dict[str, PreparedTable] = {}


def prepared_rows(
    raw: RawTable, spec: ExperimentSpec, named: NamedColumns, *, hand_on: bool = False
) -> PreparedTable:
    """Return the rows as of `prepare_and_assign`; `hand_on`: the next call for the same gets them."""
    decides = spec.model_dump(mode="json", include=_DECIDING)
    key = fingerprint_of({"raw": raw.digest, "schema": named.schema_text, "spec": decides})
    prepared = _waiting.pop(key, None)
    _waiting.clear()
    if prepared is None:
        schema = shared_schema(named.schema_text, named.schema_path)
        prepared = prepare_and_assign(raw.frame, schema, spec, spilled)
    if hand_on:
        _waiting[key] = prepared
    return prepared
