"""Which columns of a validated table reach a model.

In: a table and the experiment. Out: names, in the order of the table. How they are encoded
belongs to `trained_model`.
"""

from collections.abc import Iterator

import pandas as pd

from experiment_pipeline.errors import UnusableTable, did_you_mean
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.models import Location

NESTED = (list, tuple, dict, set)
ROWS_LOOKED_AT = 1000


def feature_columns(frame: pd.DataFrame, spec: ExperimentSpec) -> list[str]:
    """Return the columns that models are fitted on.

    Raises:
        UnusableTable: a column that the YAML excludes, splits by or calls an id is absent;
            nothing is left; or a column is of a type no model takes.
    """
    _check_named_columns(frame, spec)
    features = [
        str(name)
        for name in frame.columns
        if name not in spec.not_features and not _is_calendar_source(frame[name], spec)
    ]
    if not features:
        raise UnusableTable(
            "the table",
            f"no feature is left: all {frame.shape[1]} columns are target, id, split or excluded",
            "Exclude fewer columns, or deliver more.",
        )
    for name in features:
        _check_type(frame[name])
    return features


def named_columns(spec: ExperimentSpec) -> Iterator[tuple[Location, str]]:
    """(path of the key, column) of the columns that are neither target nor feature."""
    for name in spec.exclude:
        yield ("exclude", name), name
    for number, name in enumerate(spec.split.id_columns):
        yield ("split", "id_columns", number), name
    if spec.split.by != "random":
        yield ("split", "column"), spec.split.column


def is_nested(column: pd.Series) -> bool:
    """Tell whether cells are lists or mappings, from the first ones."""
    if not pd.api.types.is_object_dtype(column.dtype):
        return False
    some = column.dropna().head(ROWS_LOOKED_AT)
    nested = some.map(lambda value: isinstance(value, NESTED) or hasattr(value, "__array__"))
    return bool(nested.any())


def _check_named_columns(frame: pd.DataFrame, spec: ExperimentSpec) -> None:
    for place, name in named_columns(spec):
        if name not in frame.columns:
            raise UnusableTable(
                ".".join(map(str, place)),
                f"the table has no column {name!r}; {did_you_mean(name, frame.columns)}",
                "Correct the name in the YAML, or drop the entry.",
            )


def _is_calendar_source(column: pd.Series, spec: ExperimentSpec) -> bool:
    datetime = pd.api.types.is_datetime64_any_dtype(column.dtype)
    return column.name in spec.preparation.calendar and datetime


def _check_type(column: pd.Series) -> None:
    dtype, name = column.dtype, column.name
    if pd.api.types.is_datetime64_any_dtype(dtype):
        raise UnusableTable(
            f"column {name}",
            "it holds datetimes, which models do not take as they are",
            "Name it in preparation.calendar, or in exclude with the reason.",
        )
    if pd.api.types.is_timedelta64_dtype(dtype) or dtype.kind == "c":
        raise UnusableTable(
            f"column {name}",
            f"it holds {dtype}, which models do not take",
            "Exclude it with the reason, or make it a number in preparation.function.",
        )
    if is_nested(column):
        raise UnusableTable(
            f"column {name}",
            "its cells are lists or mappings",
            "Exclude it with the reason, or flatten it in preparation.function.",
        )
