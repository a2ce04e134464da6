"""The unit of a split: what must stay in one set, and what intervals resample.

In: rows and the experiment. Out: one hash or code per row.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiment_pipeline.columns.instants import microseconds
from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.rows.equal_rows import equal_rows
from experiment_pipeline.rows.hashes import mixed, row_hashes, value_hashes
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.statistics.spread import ConsecutiveUnits

MICROSECOND = pd.Timedelta("1us")


def unit_hashes(
    frame: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str], salt: str
) -> np.ndarray:
    """Hash what tells rows apart: their group, else declared ids, else their features.

    Rows with equal features are one unit where they are copies, and one unit each where they
    are different people (see `equal_rows`): these are told apart by their label, and then
    numbered. A corrected label moves at most one of the rows that equal it.

    Args:
        frame: rows of any order.
        spec: the experiment.
        features: feature columns, without the target.
        salt: another salt, another draw.

    Returns:
        uint64 (n,).
    """
    if spec.split.by == "group":
        return row_hashes(frame, [spec.split.column], salt)
    if spec.split.id_columns:
        return row_hashes(frame, spec.split.id_columns, salt)
    equal = equal_rows(frame, features, salt)
    hashes, people = equal.hashes, frame[equal.by_chance]
    label = [name for name in frame.columns if name == spec.target]
    labelled = hashes[equal.by_chance] + row_hashes(people, label, f"{salt}/label")
    hashes[equal.by_chance] = numbered(people, labelled)
    return hashes


def numbered(frame: pd.DataFrame, keys: np.ndarray) -> np.ndarray:
    """Hash keys together with a number for each of the rows that share one: uint64 (n,).

    The numbers go by what is in the rows, so that their order does not matter.

    Args:
        frame: the rows.
        keys: uint64 (n,).
    """
    order = np.lexsort((row_hashes(frame, list(frame.columns), "numbers"), keys))
    starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order][:1]) != 0)
    sizes = np.diff(starts, append=len(keys))
    numbers = np.empty(len(keys), dtype=np.uint64)
    numbers[order] = np.arange(len(keys)) - np.repeat(starts, sizes)
    return mixed(keys + mixed(numbers))


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


def resampling_units(
    frame: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]
) -> np.ndarray:
    """Number the units that an interval resamples: what the split keeps together.

    Groups, ids, or stretches of time; else rows, copies of one record together. Where sets are
    named by a column, too: copies within a set are no more than one of them, whoever chose it.

    Args:
        frame: rows of one set.
        spec: the experiment. Under a split by time the unit is `split.unit`, counted from
            1970; where the time is a number, each distinct number.
        features: feature columns.

    Returns:
        int64 (n,): codes from 0, equal for rows of one unit; times are `ConsecutiveUnits`.
    """
    units: np.ndarray
    if spec.split.by == "time":
        units, _ = times_of(frame, spec.split.column, pd.Timedelta(0))
        if pd.api.types.is_datetime64_any_dtype(frame[spec.split.column].dtype):
            units = np.floor(units / (pd.Timedelta(spec.split.unit) / MICROSECOND))
    else:
        units = unit_hashes(frame, spec, features, "units")
    codes = np.unique(units, return_inverse=True)[1].astype(np.int64)
    return codes.view(ConsecutiveUnits) if spec.split.by == "time" else codes
