"""What is to be predicted: task, positive class and metric, from the target's values.

In: the target column as it will be prepared, and what the user has decided. Out: Decisions,
each with its reason, or UnusableTable where only the user can know.
"""

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.spec import Scalar, Task
from experiment_pipeline.spec.names import did_you_mean
from experiment_pipeline.statistics.metrics import METRICS, names_of

# Whole numbers with more values are quantities, texts with more are no classes.
MOST_NUMBER_CLASSES = 10
MOST_TEXT_CLASSES = 100
FEWEST_ROWS_PER_CLASS = 5
RARE = 0.05
_POSITIVE_WORDS = ("1", "true", "t", "yes", "y", "positive", "pos")
_DROP = "drop --task to have it inferred, or name another --target"


@dataclass(frozen=True)
class Decision:
    """A value and why it was chosen, as a clause for people."""

    value: Any
    why: str


def infer_task(target: pd.Series, given: str | None) -> Decision:
    """Decide between binary, multiclass and regression.

    Raises:
        UnusableTable: nothing to learn, or values that fit no task.
    """
    known = target.dropna()
    distinct = known.nunique()
    if distinct < 2:
        what = f"{_plain(known.iloc[0])!r} in every row" if distinct else "missing in every row"
        raise _unusable(known, f"it is {what}: there is nothing to learn", "name another --target")
    if given is not None:
        return _given_task(known, distinct, given)
    if distinct == 2:
        first, second = sorted(map(_plain, known.unique()), key=str)
        return Decision("binary", f"the target holds two values, {first!r} and {second!r}")
    if pd.api.types.is_datetime64_any_dtype(known.dtype):
        raise _unusable(target, "it holds dates, which no task predicts", "name another --target")
    if pd.api.types.is_numeric_dtype(known.dtype):
        return _task_of_numbers(known, distinct)
    rows = len(known) / distinct
    if distinct <= MOST_TEXT_CLASSES and rows >= FEWEST_ROWS_PER_CLASS:
        return Decision("multiclass", f"the target holds {distinct} different texts")
    raise _unusable(
        target,
        f"it holds {distinct:,} different texts in {len(known):,} rows: no numbers, and too many "
        "for classes",
        "name another --target, or say --task multiclass if these are classes",
    )


def infer_positive_class(target: pd.Series, given: str | None) -> Decision:
    """Decide which of two classes is predicted.

    Raises:
        UnusableTable: the class that was asked for does not occur.
    """
    counts = target.dropna().value_counts()
    classes = [_plain(value) for value in counts.index]
    if given is not None:
        for value in classes:
            if str(value).casefold() == given.casefold():
                return Decision(value, "given")
        raise _unusable(
            target,
            f"it never holds {given!r}; it holds {', '.join(map(repr, classes))}",
            "name one of these as --positive-class",
        )
    named = [value for value in classes if str(value).strip().casefold() in _POSITIVE_WORDS]
    if len(named) == 1:
        return Decision(named[0], f"of {' and '.join(sorted(map(repr, classes)))} the affirmative")
    share = counts.iloc[-1] / counts.sum()
    return Decision(classes[-1], f"the rarer class, {share:.0%} of the rows")


def infer_metric(task: str, given: str | None, positive_share: float | None) -> Decision:
    """Decide what ranks the configurations.

    Raises:
        UnusableTable: no metric of that name judges the task.
    """
    if given is not None and given not in names_of(task):
        raise UnusableTable(
            f"--metric {given}",
            f"no metric of task {task}; {did_you_mean(given, names_of(task))}",
            f"name one of {', '.join(names_of(task))}",
        )
    if given is not None:
        return Decision(given, "given")
    metric = names_of(task)[0]
    why = METRICS[metric].words
    if positive_share is not None and positive_share < RARE:
        why += (
            f"; only {positive_share:.1%} of the rows are positive: average_precision looks "
            "harder at these"
        )
    return Decision(metric, why)


def _given_task(known: pd.Series, distinct: int, task: str) -> Decision:
    if task not in get_args(Task):
        hint = did_you_mean(task, get_args(Task))
        raise UnusableTable(f"--task {task}", f"no such task; {hint}", "correct it")
    if task == "binary" and distinct != 2:
        raise _unusable(known, f"it holds {distinct:,} different values, binary needs 2", _DROP)
    if task == "regression" and not pd.api.types.is_numeric_dtype(known.dtype):
        raise _unusable(known, f"it holds {known.dtype}, regression needs numbers", _DROP)
    return Decision(task, "given")


def _task_of_numbers(known: pd.Series, distinct: int) -> Decision:
    values = known.to_numpy(dtype=np.float64)
    if not np.all(values == np.floor(values)):
        return Decision("regression", "the target holds numbers with fractions")
    if distinct <= MOST_NUMBER_CLASSES and len(known) / distinct >= FEWEST_ROWS_PER_CLASS:
        return Decision(
            "multiclass",
            f"the target holds only {distinct} different whole numbers; if their order and "
            "distance count, regression",
        )
    return Decision("regression", f"the target holds {distinct:,} different whole numbers")


def _plain(value: object) -> Scalar:
    """A Python scalar; 1.0, which missing values made of 1, is 1 again."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value  # type: ignore[return-value]


def _unusable(target: pd.Series, rule: str, fix: str) -> UnusableTable:
    return UnusableTable(f"target {target.name}", rule, fix)
