"""Checks over several columns of a row, registered with pandera by name.

pandera's own checks look at one column; its YAML can name any registered check. In: a table.
Out: one boolean per row; a row with a missing value among the columns passes, as in pandera.
"""

import operator
from collections.abc import Callable, Sequence

import pandas as pd
from pandera.pandas import Check, extensions

from experiment_pipeline.spec.schema_grammar import OPERATORS

_COMPARE: dict[str, Callable[[pd.Series, pd.Series], pd.Series]] = dict(
    zip(
        OPERATORS,
        (operator.lt, operator.le, operator.eq, operator.ne, operator.ge, operator.gt),
        strict=True,
    )
)


def compare_columns(frame: pd.DataFrame, *, left: str, operator: str, right: str) -> pd.Series:
    """Tell which rows satisfy `left operator right`, such as `departure <= arrival`."""
    missing = frame[left].isna() | frame[right].isna()
    holds = _COMPARE[operator](frame[left], frame[right])
    return holds.fillna(True).astype(bool) | missing


def columns_add_up(
    frame: pd.DataFrame, *, parts: Sequence[str], total: str, tolerance: float | None = None
) -> pd.Series:
    """Tell in which rows the parts sum to the total, give or take the tolerance."""
    columns = [*parts, total]
    missing = frame[columns].isna().any(axis="columns")
    gap = frame[list(parts)].sum(axis="columns") - frame[total]
    return (gap.abs() <= (tolerance or 0)).fillna(True).astype(bool) | missing


def columns_of(check: Check) -> list[str]:
    """Return the columns that a cross-column check reads; empty: all of the table."""
    facts = check.statistics or {}
    named = [facts.get("left"), facts.get("right"), *(facts.get("parts") or ()), facts.get("total")]
    return [name for name in named if name is not None]


for _function, _statistics in (
    (compare_columns, ["left", "operator", "right"]),
    (columns_add_up, ["parts", "total", "tolerance"]),
):
    extensions.register_check_method(
        _function, statistics=_statistics, supported_types=pd.DataFrame
    )
