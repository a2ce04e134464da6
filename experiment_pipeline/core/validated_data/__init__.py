"""Validation: which rows of a prepared table an experiment may use, and why not the others.

The schema is pandera's, as YAML beside the experiment. In: raw and prepared rows, the schema.
Out: `ValidatedData`; raw == validated + rejected, always. Nothing here reads files or knows
Dagster; changing values belongs to `preparation`, choosing sets to `split_sets`.
"""

from experiment_pipeline.core.targets import check_target
from experiment_pipeline.core.validated_data.features import (
    feature_columns,
    is_nested,
    named_columns,
)
from experiment_pipeline.core.validated_data.guards import (
    check_conserved,
    check_rejection_bias,
    check_rejection_rate,
    key_columns,
    rejection_bias,
)
from experiment_pipeline.core.validated_data.inference import infer_schema
from experiment_pipeline.core.validated_data.rows import REASONS, ValidatedData, validate
from experiment_pipeline.core.validated_data.schema import (
    for_prediction,
    load_schema,
    shared_schema,
)
from experiment_pipeline.core.validated_data.shape import fit_columns, prepared_rows

__all__ = [
    "REASONS",
    "ValidatedData",
    "check_conserved",
    "check_rejection_bias",
    "check_rejection_rate",
    "check_target",
    "feature_columns",
    "fit_columns",
    "for_prediction",
    "infer_schema",
    "is_nested",
    "key_columns",
    "load_schema",
    "named_columns",
    "prepared_rows",
    "rejection_bias",
    "shared_schema",
    "validate",
]
