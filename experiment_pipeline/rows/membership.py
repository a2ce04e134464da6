"""Which set each row belongs to: a pure function of the rows and the experiment.

The same rows get the same sets in every process, in any order and whatever else is in memory.
Under a random split or one by group, rows that are added move none of the old ones (a table
with few units per class is ranked instead of thresholded: there a few rows move). In: prepared
or validated rows. Out: the name of a set per row. Cutting them apart belongs to `stages/split_sets/sets.py`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiment_pipeline.rows.cuts import cut_by_hash, cut_by_order
from experiment_pipeline.rows.hashes import value_hashes
from experiment_pipeline.rows.units import strata_of, times_of, unit_hashes
from experiment_pipeline.spec import ColumnSplit, ExperimentSpec, Fractions, TimeSplit

SETS = ("train", "test", "validation")
LEFT_OUT = "gap"


def assign_sets(prepared: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]) -> pd.Series:
    """Name the set of each row.

    Args:
        prepared: rows with the index `row_number`.
        spec: the experiment; its split decides.
        features: feature columns, never the target.

    Returns:
        "train", "test", "validation", or "gap" for a row between two sets in time, and for
        one without the value that the split goes by; index as `prepared`.

    Raises:
        UnusableTable: the column to split by time holds no times.
    """
    codes = np.full(len(prepared), len(SETS))
    known = has_keys(prepared, spec)
    rows = prepared[known]
    if len(rows):
        codes[known] = _codes(rows, spec, features)
    names = np.array([*SETS, LEFT_OUT], dtype=object)[codes]
    return pd.Series(pd.array(names, dtype="str"), index=prepared.index, name="set")


def has_keys(frame: pd.DataFrame, spec: ExperimentSpec) -> np.ndarray:
    """Tell which rows have every value that the split goes by: bool (n,)."""
    names = list(spec.split.id_columns)
    if spec.split.by != "random":
        names.append(spec.split.column)
    return frame[names].notna().all(axis="columns").to_numpy()


def _codes(rows: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]) -> np.ndarray:
    split = spec.split
    if isinstance(split, ColumnSplit):
        return _named_sets(rows[split.column], split)
    if isinstance(split, TimeSplit):
        return _times_cut(rows, split)
    hashes = unit_hashes(rows, spec, features, f"sets/{split.seed}")
    return cut_by_hash(hashes, strata_of(rows, spec), _shares(split.fractions))


def _named_sets(column: pd.Series, split: ColumnSplit) -> np.ndarray:
    """Compare values as values: 1 in the YAML is 1.0 in a column that had a missing value."""
    hashes = value_hashes(column)
    codes = np.full(len(column), len(SETS))
    for number, name in enumerate(SETS):
        for value in getattr(split, name):
            codes[hashes == value_hashes(pd.Series([value]))[0]] = number
    return codes


def _times_cut(rows: pd.DataFrame, split: TimeSplit) -> np.ndarray:
    times, gap = times_of(rows, split.column, pd.Timedelta(split.gap))
    codes, lasts = cut_by_order(times, _shares(split.fractions))
    for last in lasts:
        codes[(times > last) & (times < last + gap)] = len(SETS)
    return codes


def _shares(fractions: Fractions) -> tuple[float, float, float]:
    return fractions.train, fractions.test, fractions.validation
