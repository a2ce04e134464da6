"""The unit of a split: what must stay in one set, and what intervals resample.

In: rows and the experiment. Out: one hash or code per row.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from experiment_pipeline.core.errors import UnusableTable
from experiment_pipeline.core.instants import microseconds
from experiment_pipeline.core.row_hashes import row_hashes, value_hashes
from experiment_pipeline.core.spec import ExperimentSpec

MICROSECOND = pd.Timedelta("1us")


def unit_hashes(
    frame: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str], salt: str
) -> np.ndarray:
    """Hash what tells rows apart: their group, else declared ids, else their features.

    Where the features have few combinations, equal rows are no copies of one another: the
    position in the source tells them apart.

    Args:
        frame: rows with the index `row_number`.
        spec: the experiment.
        features: feature columns; the target is never among them, so that a corrected label
            moves no row.
        salt: another salt, another draw.

    Returns:
        uint64 (n,).
    """
    if spec.split.by == "group":
        return row_hashes(frame, [spec.split.column], salt)
    if spec.split.id_columns:
        return row_hashes(frame, spec.split.id_columns, salt)
    if few_combinations((frame[name] for name in features), len(frame)):
        return row_positions(frame, salt)
    return row_hashes(frame, features, salt)


def row_positions(frame: pd.DataFrame, salt: str) -> np.ndarray:
    """Hash the row numbers: uint64 (n,)."""
    numbers = pd.DataFrame({"row_number": frame.index})
    return row_hashes(numbers, ["row_number"], salt)


def few_combinations(columns: Iterable[pd.Series], rows: int) -> bool:
    """Tell whether equal rows are unavoidable: each possible combination occurs twice or more.

    Args:
        columns: the features; read one by one, and no further than needed.
        rows: their length.
    """
    combinations = 1
    for column in columns:
        combinations *= max(1, _distinct(column))
        if 2 * combinations > rows:
            return False
    return True


def strata_of(frame: pd.DataFrame, spec: ExperimentSpec) -> np.ndarray:
    """Number the classes: int64 (n,); one stratum for regression and for whole groups."""
    if spec.task == "regression" or spec.split.by == "group" or spec.target not in frame:
        return np.zeros(len(frame), dtype=np.int64)
    return classes_of(frame[spec.target])


def classes_of(target: pd.Series) -> np.ndarray:
    """Number distinct values, whatever their type: int64 (n,)."""
    return np.unique(value_hashes(target), return_inverse=True)[1].astype(np.int64)


def times_of(frame: pd.DataFrame, column: str, gap: pd.Timedelta) -> tuple[np.ndarray, float]:
    """Return the split's times as float64 (n,), nan where missing, and the gap in their unit.

    Datetimes count in microseconds, of which float64 holds every one until the year 2255.

    Raises:
        UnusableTable: the column is no time, or numbers meet a gap that is a duration.
    """
    times = frame[column]
    if pd.api.types.is_datetime64_any_dtype(times.dtype):
        return np.where(times.isna(), np.nan, microseconds(times)), gap / MICROSECOND
    if not pd.api.types.is_numeric_dtype(times.dtype) or pd.api.types.is_bool_dtype(times.dtype):
        raise UnusableTable(
            f"split.column {column}",
            f"a split by time needs datetimes or numbers, the column holds {times.dtype}",
            f"Write preparation: types: {{{column}: datetime}}, with datetime_formats if needed.",
        )
    if gap:
        raise UnusableTable(
            f"split.gap {gap}",
            f"column {column} holds numbers, from which no duration can be taken",
            f"Write preparation: types: {{{column}: datetime}}, or drop gap.",
        )
    return times.to_numpy(np.float64, na_value=np.nan), 0.0


def resampling_units(frame: pd.DataFrame, spec: ExperimentSpec) -> np.ndarray:
    """Number the units that an interval resamples: rows, ids, groups, or stretches of time.

    Args:
        frame: rows of one set.
        spec: the experiment. Under a split by time the unit is `split.unit`, counted from
            1970; where the time is a number, each distinct number.

    Returns:
        int64 (n,): codes from 0, equal for rows of one unit.
    """
    if spec.split.by == "time":
        times, _ = times_of(frame, spec.split.column, pd.Timedelta(0))
        if pd.api.types.is_datetime64_any_dtype(frame[spec.split.column].dtype):
            times = np.floor(times / (pd.Timedelta(spec.split.unit) / MICROSECOND))
        return np.unique(times, return_inverse=True)[1].astype(np.int64)
    if spec.split.by == "group":
        return np.unique(value_hashes(frame[spec.split.column]), return_inverse=True)[1]
    if spec.split.id_columns:
        hashes = row_hashes(frame, spec.split.id_columns, "units")
        return np.unique(hashes, return_inverse=True)[1]
    return np.arange(len(frame))


def _distinct(column: pd.Series) -> int:
    return len(np.unique(value_hashes(column))) if column.dtype == object else column.nunique(False)
