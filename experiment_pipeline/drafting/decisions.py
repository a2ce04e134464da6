"""Task, positive class, metric and split of a first experiment, each with its reason.

Rows are split at random, unless a column names the sets, or the rows are a time series. Whether
models will predict the future, or for unknown customers, cannot be inferred: it becomes a hint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from experiment_pipeline.drafting.columns import ColumnPlan
from experiment_pipeline.errors import UnusableTable, did_you_mean, listed
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Task
from experiment_pipeline.statistics.metrics import METRICS, names_of
from experiment_pipeline.table.features import plain
from experiment_pipeline.table.kinds import NUMERIC, kind_of

# Whole numbers with more values are quantities, texts with more are not classes.
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
        what = f"{plain(known.iloc[0])!r} in every row" if distinct else "missing in every row"
        raise _unusable(target, f"it is {what}: there is nothing to learn", "name another --target")
    if given is not None:
        return _given_task(known, distinct, given)
    if distinct == 2:
        first, second = sorted(map(plain, known.unique()), key=str)
        return Decision("binary", f"the target holds two values, {first!r} and {second!r}")
    kind, often_enough = kind_of(known), len(known) / distinct >= FEWEST_ROWS_PER_CLASS
    if kind == "datetime":
        raise _unusable(target, "it holds dates, which no task predicts", "name another --target")
    if kind in NUMERIC:
        values = known.to_numpy(dtype=np.float64)
        if not np.all(values == np.floor(values)):
            return Decision("regression", "the target holds numbers with fractions")
        if distinct <= MOST_NUMBER_CLASSES and often_enough:
            return Decision(
                "multiclass",
                f"the target holds only {distinct} different whole numbers; if their order and "
                "distance count, regression",
            )
        return Decision("regression", f"the target holds {distinct:,} different whole numbers")
    if distinct <= MOST_TEXT_CLASSES and often_enough:
        return Decision("multiclass", f"the target holds {distinct} different texts")
    raise _unusable(
        target,
        f"it holds {distinct:,} different texts in {len(known):,} rows: no numbers, and too many "
        "for classes",
        "name another --target, or add --task multiclass if these are classes",
    )


def _given_task(known: pd.Series, distinct: int, task: str) -> Decision:
    if task not in get_args(Task):
        hint = did_you_mean(task, get_args(Task))
        raise UnusableTable(f"--task {task}", f"no such task; {hint}", "correct it")
    if task == "binary" and distinct != 2:
        raise _unusable(known, f"it holds {distinct:,} different values, binary needs 2", _DROP)
    if task == "regression" and kind_of(known) not in NUMERIC:
        raise _unusable(known, f"it holds {known.dtype}, regression needs numbers", _DROP)
    return Decision(task, "given")


def infer_positive_class(target: pd.Series, given: str | None) -> Decision:
    """Decide which of two classes is predicted.

    Raises:
        UnusableTable: the class that was asked for does not occur.
    """
    counts = target.dropna().value_counts()
    classes = [plain(value) for value in counts.index]
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
            f"; only {positive_share:.1%} of the rows are positive: average_precision weighs "
            "these more"
        )
    return Decision(metric, why)


def _unusable(target: pd.Series, rule: str, fix: str) -> UnusableTable:
    return UnusableTable(f"target {target.name}", rule, fix)


SPLITS = ("random", "group", "time", "column")
_UNITS: tuple[Literal["day", "hour", "minute", "second"], ...] = ("day", "hour", "minute", "second")
# Below it a period holds too few instants to cut between.
FEWEST_DAYS = 10
_SET_NAMES = {
    "train": ("train", "training", "fit"),
    "test": ("test", "testing", "dev"),
    "validation": ("validation", "valid", "val", "holdout"),
}


def infer_split(
    raw: pd.DataFrame,
    plans: Mapping[str, ColumnPlan],
    by: str | None,
    column: str | None,
) -> Decision:
    """Decide on the split; the value is `spec.split` without id columns.

    Raises:
        UnusableTable: a split that needs a column which only the user can name, or a wrong one.
    """
    if by is not None and by not in SPLITS:
        raise UnusableTable(
            f"--split {by}", f"no such split; {did_you_mean(by, SPLITS)}", "correct it"
        )
    if column is not None and column not in raw.columns:
        known = did_you_mean(column, raw.columns)
        raise UnusableTable(f"--split-column {column}", f"no such column; {known}", "correct it")
    if by is None:
        return _inferred_split(raw, plans, column)
    if by == "random":
        if column is not None:
            raise UnusableTable(
                f"--split-column {column}", "has no effect on a random split", "drop it"
            )
        return Decision({"by": "random"}, "given")
    column = column or _only_column(raw, plans, by)
    if by == "column":
        return Decision({"by": by, "column": column, **_sets_of(raw[column])}, "given")
    if by == "time" and plans[column].times is None:
        raise UnusableTable(
            f"--split-column {column}",
            f"it holds no dates; columns that do: {listed(_times(plans))}",
            "name one of these, or prepare it in the source",
        )
    return Decision({"by": by, "column": column}, "given")


def split_hints(plans: Mapping[str, ColumnPlan], split: Mapping[str, Any]) -> tuple[str, ...]:
    """Reasons for another split than the random one, a sentence each."""
    if split["by"] != "random":
        return ()
    hints = [
        f"the values of {name} repeat: if the model will meet new ones, keep each in one set "
        f"(by: group, column: {name})"
        for name, plan in plans.items()
        if plan.names_entities
    ]
    times = _times(plans)
    if len(times) == 1 and (plan := plans[times[0]]).times is not None:
        order = ", by which the rows are in order" if plan.times.in_order else ""
        if plan.times.days >= FEWEST_DAYS:
            hints.append(
                f"{times[0]} holds dates{order}: if the model will predict the future, train on "
                f"the past (by: time, column: {times[0]})"
            )
    return tuple(hints)


def _inferred_split(
    raw: pd.DataFrame, plans: Mapping[str, ColumnPlan], column: str | None
) -> Decision:
    named = [name for name in plans if _named_sets(raw[name])]
    if column is None and len(named) != 1:
        return _series(plans) or Decision({"by": "random"}, "each row by chance")
    column = column or named[0]
    if column in named:
        sets = _sets_of(raw[column])
        return Decision({"by": "column", "column": column, **sets}, f"{column} names the sets")
    if plans[column].times is not None:
        return Decision({"by": "time", "column": column}, f"{column} holds dates")
    return Decision({"by": "group", "column": column}, f"the values of {column} stay together")


def _series(plans: Mapping[str, ColumnPlan]) -> Decision | None:
    """The split by time of a table whose rows follow one another at a steady step."""
    times = _times(plans)
    if len(times) != 1 or (found := plans[times[0]].times) is None:
        return None
    if found.step is None or found.days < FEWEST_DAYS:
        return None
    counts = [(found.step / pd.Timedelta(1, unit), unit) for unit in _UNITS]
    whole = [numbers.counted(int(n), unit) for n, unit in counts if n >= 1 and n.is_integer()]
    step = whole[0] if whole else str(found.step)
    why = (
        f"the rows are a time series, {step} apart in {times[0]}: at random, a model would be "
        "scored on rows whose neighbours it was fitted on, so it is fitted on the past and scored "
        "on the future"
    )
    return Decision({"by": "time", "column": times[0]}, why)


def _only_column(raw: pd.DataFrame, plans: Mapping[str, ColumnPlan], by: str) -> str:
    """The one column that can be meant; an error that lists them otherwise."""
    candidates = {
        "time": _times(plans),
        "group": [name for name, plan in plans.items() if plan.names_entities],
        "column": [name for name in plans if _named_sets(raw[name])],
    }[by]
    if len(candidates) == 1:
        return candidates[0]
    found = f"candidates: {listed(candidates)}" if candidates else f"columns: {listed(plans)}"
    raise UnusableTable(f"--split {by}", f"its column is not given; {found}", "add --split-column")


def _times(plans: Mapping[str, ColumnPlan]) -> list[str]:
    return [name for name, plan in plans.items() if plan.times is not None]


def _named_sets(column: pd.Series) -> dict[str, list[str]]:
    """Set → the values that name it; empty unless every value names a set, and each is named."""
    if column.nunique() > sum(map(len, _SET_NAMES.values())):
        return {}
    sets: dict[str, list[str]] = {name: [] for name in _SET_NAMES}
    for value in column.dropna().unique():
        found = [name for name, words in _SET_NAMES.items() if str(value).casefold() in words]
        if not found:
            return {}
        sets[found[0]].append(str(value))
    return sets if all(sets.values()) else {}


def _sets_of(column: pd.Series) -> dict[str, Sequence[str]]:
    """Return the settings train, test and validation that differ from the set's own name."""
    sets = _named_sets(column)
    if not sets:
        raise UnusableTable(
            f"--split-column {column.name}",
            f"its values do not name train, test and validation: {listed(column.unique())}",
            "scaffold without it, then write split: {by: column, train: […], test: […], …}",
        )
    return {name: values for name, values in sets.items() if values != [name]}
