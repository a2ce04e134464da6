"""A preparation function of the user's own, by import path, and what is demanded of it.

In: `module:function` and a prepared table. Out: the table the function made of it, with the
same rows. The function runs in this process with this process's rights.
"""

import importlib
from collections.abc import Callable

import numpy as np
import pandas as pd

from experiment_pipeline.errors import InvalidExperiment, UnusableTable, did_you_mean, listed

CULPRIT = "preparation.function"
# Enough to expose a mean or a rank over the table; few enough to cost nothing.
ROWS_TRIED_ALONE = 50


def apply_function(path: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Apply the function and check that it worked row by row.

    The function is also given a few of the rows alone: whatever looks at other rows, such as
    filling with the mean, would predict from other values than it was trained on.

    Raises:
        InvalidExperiment: the path leads to no function.
        UnusableTable: it returned no table, other rows, or values that depend on other rows.
    """
    function = _imported(path)
    result = _same_rows(path, frame, function(frame.copy()))
    step = max(1, len(frame) // ROWS_TRIED_ALONE)
    few = frame.iloc[::step].head(ROWS_TRIED_ALONE)
    if len(few) < len(frame):
        alone = _same_rows(path, few, function(few.copy()))
        _check_row_by_row(path, result.loc[few.index], alone)
    return result


def _imported(path: str) -> Callable[[pd.DataFrame], object]:
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InvalidExperiment(
            CULPRIT,
            f"{module_name} cannot be imported: {error}",
            "Correct the path, or install it.",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [other for other in vars(module) if not other.startswith("_")]
        raise InvalidExperiment(
            CULPRIT,
            f"{module_name} has no function {name!r}; {did_you_mean(name, known)}",
            "Correct the name after the colon.",
        )
    return function  # type: ignore[no-any-return]


def _same_rows(path: str, given: pd.DataFrame, returned: object) -> pd.DataFrame:
    if not isinstance(returned, pd.DataFrame):
        raise UnusableTable(
            f"{CULPRIT} {path}", f"returned {type(returned).__name__}, no table", "Return a table."
        )
    if not returned.index.equals(given.index):
        raise UnusableTable(
            f"{CULPRIT} {path}",
            f"was given {len(given)} rows and returned {len(returned)}, or others, or reordered",
            "Return the same rows with the same index; reject rows by the schema instead.",
        )
    if not returned.columns.is_unique:
        twice = returned.columns[returned.columns.duplicated()]
        raise UnusableTable(
            f"{CULPRIT} {path}", f"returned columns twice: {listed(twice)}", "Name each one once."
        )
    return returned.set_axis(given.index)


def _check_row_by_row(path: str, within: pd.DataFrame, alone: pd.DataFrame) -> None:
    different = [
        str(name)
        for name in within.columns
        if name not in alone.columns or not _equal(within[name], alone[name])
    ]
    if different or len(alone.columns) != len(within.columns):
        raise UnusableTable(
            f"{CULPRIT} {path}",
            f"{len(alone)} rows alone get other values than within the table"
            f" (columns: {listed(different)})",
            "Use nothing of other rows; what is learnt from the table belongs into the model.",
        )


def _equal(one: pd.Series, other: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(one.dtype) and pd.api.types.is_numeric_dtype(other.dtype):
        left = one.to_numpy(dtype="float64", na_value=np.nan)
        right = other.to_numpy(dtype="float64", na_value=np.nan)
        # Vectorised arithmetic may differ in the last digit between table sizes.
        return bool(np.allclose(left, right, rtol=1e-9, atol=0, equal_nan=True))
    same = one.astype(object).eq(other.astype(object)) | (one.isna() & other.isna())
    return bool(same.all())
