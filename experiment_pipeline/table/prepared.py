"""The rows of an experiment as its stages take them: prepared, fitted to the schema, assigned to sets.

One run does this once, for the data analysis and for the validation. In: the raw table and the
experiment. Out: `PreparedTable`.
"""

from dataclasses import replace

import pandas as pd
from pandera.pandas import DataFrameSchema

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import assign_sets
from experiment_pipeline.table.preparation import PreparedTable, prepare
from experiment_pipeline.table.schema import fit_columns
from experiment_pipeline.table.table import Keep, in_memory


def prepare_and_assign(
    raw: pd.DataFrame, schema: DataFrameSchema, spec: ExperimentSpec, keep: Keep = in_memory
) -> PreparedTable:
    """Prepare every row, and assign it to a set; errors as of `prepare` and `assign`."""
    return assign(prepare(raw, spec.preparation, keep=keep), raw.columns, schema, spec, keep)


def assign(
    prepared: PreparedTable,
    delivered: pd.Index,
    schema: DataFrameSchema,
    spec: ExperimentSpec,
    keep: Keep = in_memory,
) -> PreparedTable:
    """Fit prepared rows to the schema (see `fit`), and assign each to a set.

    Sets are assigned before any row is rejected, so that rejecting a row moves no other one, and by
    the schema's columns, so that a new column that the schema leaves out reshuffles nothing.

    Raises:
        InvalidSchema: as `fit_columns`.
        UnusableTable: as `feature_columns` and `assign_sets`.
    """
    fitted = fit(prepared, delivered, schema)
    features = feature_columns(fitted.frame, spec)
    return replace(fitted, sets=assign_sets(fitted.frame, spec, features, keep))


def fit(prepared: PreparedTable, delivered: pd.Index, schema: DataFrameSchema) -> PreparedTable:
    """Give prepared rows the columns that the schema wants; no cell is judged or coerced yet."""
    frame, notes = fit_columns(prepared.frame, delivered, schema)
    return replace(prepared, frame=frame, notes=tuple(notes))
