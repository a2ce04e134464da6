"""How the rows are to be split, from what the user has decided and what the columns are.

Without a word of the user rows are split at random, unless a column names the sets, or the rows
are a series in time: a random split would judge each day by the days around it. Whether other
models will meet the future, or customers they have never seen, no table tells: it is a hint.
In: the raw table and its column plans. Out: a Decision and hints, or UnusableTable with the
columns that could be meant.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from experiment_pipeline.drafting.columns import ColumnPlan
from experiment_pipeline.drafting.target import Decision
from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.spec.names import did_you_mean, listed
from experiment_pipeline.stages.data_analysis.finding import count

SPLITS = ("random", "group", "time", "column")
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
        return _split_without_a_word(raw, plans, column)
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
    """What speaks for another split than the random one, a sentence each."""
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


def _split_without_a_word(
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
    why = (
        f"the rows are a series, {_in_words(found.step)} apart in {times[0]}: at random, each would be "
        "judged by a model that knows its neighbours, so the past trains and the future judges"
    )
    return Decision({"by": "time", "column": times[0]}, why)


def _in_words(step: pd.Timedelta) -> str:
    for unit in ("day", "hour", "minute", "second"):
        number = step / pd.Timedelta(1, unit)
        if number >= 1 and number.is_integer():
            return count(int(number), unit)
    return str(step)


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
    raise UnusableTable(
        f"--split {by}", f"the column it goes by is not told; {found}", "add --split-column"
    )


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
