"""Draft a first experiment on an unknown table: what can be inferred, why, and what
only people know.

Rows are split at random, unless a column names the sets or the rows are a time series.
Whether models will predict the future, or new customers, cannot be inferred: it becomes
a hint.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import chain, combinations, product
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting import search as first_search
from experiment_pipeline.drafting.columns import (
    ColumnPlan,
    plan_columns,
    read_completely,
)
from experiment_pipeline.errors import UnusableTable, did_you_mean, listed
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import CalendarPart, Task
from experiment_pipeline.statistics.metrics import metric_of, names_of
from experiment_pipeline.table.features import plain
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of
from experiment_pipeline.table.preparation import calendar_columns

# The default of validation.max_rejected_fraction, and the share of rows that a raised
# limit allows to be rejected beyond those without a target.
USUAL_LIMIT, ROOM = 0.05, 0.02
# With fewer rows a test set chooses by luck: of 400 rows it has 80.
SMALL_TABLE = 2_000
# With fewer groups, a test set (a fifth of them) is too small to choose on. In nine
# splits of tables with 46 to 160 groups, folds gave a better model in five and a worse
# one in two.
FEW_GROUPS = 200
# From this many seconds, and up to this many rows per second, the best have time for
# five folds. On 4,300 rows folds lowered the loss in four splits of five, by up to 7 %,
# on 7,000 a little in two of three. Tables with many texts become
# wide: fewer rows. On more rows a test set is reliable enough, and folds would leave
# time for few configurations.
SECONDS_OF_FOLDS, ROWS_PER_SECOND, TEXTS_PER_SECOND, MOST_ROWS_OF_FOLDS = (
    120,
    80,
    10,
    50_000,
)
# From this many seconds, and up to this many rows, the mean of three fits is exported:
# it lowered the loss by .9 % on average on 32 tables of up to 2,800 rows, by .3 % on
# one of 22,000, and not at all on two of 47,000 and 80,000. Eight fits lowered it by
# 1.4 %. Predictions take about twice as long, which is not worth it for a quick search.
SECONDS_OF_FITS, MOST_ROWS_OF_FITS = 60, 30_000
SECONDS_OF_MANY_FITS, MOST_ROWS_OF_MANY_FITS = 300, 10_000
# A target of whole numbers with more distinct values is a quantity; one of texts with
# more is refused.
MOST_NUMBER_CLASSES, MOST_TEXT_CLASSES = 10, 100
FEWEST_ROWS_PER_CLASS, RARE = 5, 0.05
SPLITS = ("random", "group", "time", "column")
# A split by time needs dates on at least this many days to cut between.
FEWEST_DAYS = 10
# An entity column (store, user) with at least ROWS_OF_A_KNOWN_ONE rows per entity
# becomes a feature if MET_AGAIN of the rows after quantile LATEST are about earlier
# entities, or if PARTNERS times as many pairs as entities exist with another such
# column (ratings, sales).
ROWS_OF_A_KNOWN_ONE, LATEST, MET_AGAIN, PARTNERS = 10, 0.8, 0.95, 5
_POSITIVE_WORDS = (
    "1",
    "true",
    "t",
    "yes",
    "y",
    "positive",
    "pos",
    "ja",
    "oui",
    "si",
    "sí",
    "sim",
)
_UNITS: tuple[Literal["day", "hour", "minute", "second"], ...] = (
    "day",
    "hour",
    "minute",
    "second",
)
_SET_NAMES = {
    "train": ("train", "training", "fit"),
    "test": ("test", "testing", "dev"),
    "validation": ("validation", "valid", "val", "holdout"),
}


@dataclass(frozen=True)
class Decision:
    """An inferred value, and the reason as a clause that people read."""

    value: Any
    why: str


@dataclass(frozen=True)
class Draft:
    """An inferred experiment: values for the keys of the spec, with the reasons."""

    target: str
    task: Decision
    positive_class: Decision | None
    metric: Decision
    split: Decision
    excluded: Mapping[str, str]  # column → reason
    prepared: tuple[ColumnPlan, ...]  # columns that are changed before validation
    id_columns: tuple[str, ...]  # columns that decide a row's set
    max_rejected: (
        Decision | None
    )  # limit on rejected rows, if they would exceed the default
    hints: tuple[str, ...]  # what only people can decide, a sentence each
    search: tuple[first_search.Proposal, ...]
    evaluation: Decision | None  # what the choice is based on; None: the test set
    fits: Decision | None  # number of refits with different seeds; None: one
    seconds: Decision  # the time budget

    @property
    def full_split(self) -> dict[str, Any]:
        """The value of the key `split`, id columns included."""
        ids = {"id_columns": list(self.id_columns)} if self.id_columns else {}
        return {**self.split.value, **ids}

    def attributes(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys of this draft's YAML, for `spec_from`; `data` is written as
        given.
        """
        preparation: dict[str, dict[str, Any]] = {}
        for plan in self.prepared:
            for setting, value in plan.preparation.items():
                preparation.setdefault(setting, {})[plan.name] = value
        keys: dict[str, Any] = {
            "data": dict(data),
            "target": self.target,
            "task": self.task.value,
            "exclude": dict(self.excluded),
            "preparation": preparation,
            "split": self.full_split,
            "search": [dict(proposal.entry) for proposal in self.search],
            "metric": self.metric.value,
            "budget": {"seconds": self.seconds.value},
        }
        optional = {
            "positive_class": self.positive_class,
            "evaluation": self.evaluation,
        }
        keys |= {name: one.value for name, one in optional.items() if one is not None}
        if self.fits is not None:
            keys["export"] = {"fits": self.fits.value}
        if self.max_rejected is not None:
            keys["validation"] = {"max_rejected_fraction": self.max_rejected.value}
        return keys


def infer(
    raw: pd.DataFrame,
    wishes: Wishes,
    rows: int | None = None,
    *,
    monotone: bool = False,
) -> Draft:
    """Draft an experiment on a table, or a sample of its `rows`, numbered as in the
    table; `monotone`: it will hold directions. UnusableTable: a decision is wrong, or
    only the user can make it; the fix names the option.
    """
    _check_names(raw, wishes)
    plans = plan_columns(raw)
    target_plan = plans.pop(wishes.target)
    target = _as_prepared(raw[wishes.target], target_plan)
    task = _task(target, wishes.task)
    positive = _positive_class(target, task, wishes.positive_class)
    share = (
        None
        if positive is None
        else float((target == positive.value).sum() / target.count())
    )
    split = _split(raw, plans, wishes.split, wishes.split_column)
    # Under a split by time, later sets have days beyond those of training: `days` would
    # not generalize.
    days = split.value["by"] != "time"
    plans = {
        name: plan.dated(raw.columns, with_days=days) for name, plan in plans.items()
    }
    plans |= _met_again(raw, plans, split.value)
    ids = (
        tuple(wishes.id_column)
        or tuple(n for n, p in plans.items() if p.identifies_rows)[:1]
    )
    split_column = split.value.get("column")
    excluded = {name: plan.why for name, plan in plans.items() if plan.excluded}
    excluded |= dict.fromkeys(wishes.exclude, "excluded on the command line")
    excluded.pop(split_column, None)
    prepared = [target_plan] if target_plan.preparation.get("types") == "number" else []
    prepared += [
        plan
        for name, plan in plans.items()
        if plan.preparation and name not in excluded
    ]
    metric = _metric(task.value, wishes.metric, share)
    features = plans.keys() - excluded.keys() - {*ids, split_column}
    shape = first_search.Shape(
        *(task.value, metric.value, len(raw) if rows is None else rows, len(features)),
        classes=1 if task.value == "regression" else target.nunique(),
        texts=sum(
            kind_of(raw[name]) in TEXTS
            or plans[name].preparation.get("types") == "text"
            for name in features
        ),
        many_texts=sum(plans[name].many_texts for name in features),
        seconds=wishes.seconds,
        is_amount=task.value == "regression" and not (target < 0).any(),
        installed=frozenset(filter(find_spec, first_search.SECONDS_OF_EXTRAS)),
        monotone=monotone,
    )
    evaluation = _evaluation(raw, split.value, shape)
    shape = replace(shape, has_folds=evaluation is not None)
    return Draft(
        target=wishes.target,
        task=task,
        positive_class=positive,
        metric=metric,
        split=split,
        excluded=excluded,
        prepared=tuple(prepared),
        id_columns=ids,
        max_rejected=_rejection_limit(target),
        hints=_split_hints(plans, split.value, wishes),
        search=first_search.propose_search(shape),
        evaluation=evaluation,
        fits=_fits(shape),
        seconds=_seconds(shape),
    )


def _check_names(raw: pd.DataFrame, wishes: Wishes) -> None:
    if not wishes.target:
        rule = f"is missing: the column to predict; the table has {listed(raw.columns)}"
        fix = "add --target and one of these"
        raise UnusableTable("--target", rule, fix)
    parts = (
        calendar_columns(*one) for one in product(raw.columns, get_args(CalendarPart))
    )
    made = set(
        chain.from_iterable(parts)
    )  # calendar columns, which are not in the raw table
    for option, name in [
        ("--target", wishes.target),
        *(("--exclude", name) for name in wishes.exclude if name not in made),
        *(("--id-column", name) for name in wishes.id_column),
        *(
            ("--split-column", name)
            for name in [wishes.split_column]
            if name is not None
        ),
    ]:
        if name not in raw.columns:
            known = did_you_mean(name, raw.columns)
            raise UnusableTable(
                f"{option} {name}", f"no such column; {known}", "correct the name"
            )
        if option != "--target" and name == wishes.target:
            raise UnusableTable(
                f"{option} {name}", "it is the target", "drop the option"
            )


def _as_prepared(target: pd.Series, plan: ColumnPlan) -> pd.Series:
    """The target as the stages will see it: numbers and dates written as text are
    parsed.
    """
    settings = {
        name: value for name, value in plan.preparation.items() if name != "calendar"
    }
    if settings.get("types") not in ("number", "datetime"):
        return target
    prepared = read_completely(target, settings)
    return target if prepared is None else prepared


def _rejection_limit(target: pd.Series) -> Decision | None:
    """Raise the limit if rows without a target, which are rejected, would exceed it in
    every run.
    """
    missing = float(target.isna().mean())
    if missing <= USUAL_LIMIT - ROOM:
        return None
    limit = min(1.0, math.ceil(round((missing + ROOM) * 100, 6)) / 100)
    return Decision(limit, f"{missing:.1%} of the rows have no target and are rejected")


def _evaluation(
    raw: pd.DataFrame, split: Mapping[str, Any], shape: first_search.Shape
) -> Decision | None:
    """Decide what the choice is based on; None: the test set, the default."""
    rows, by, once = (
        shape.rows,
        split["by"],
        {"cross_validation": {"folds": 5, "repeats": 1}},
    )
    seconds = shape.seconds or 0
    has_time = seconds >= SECONDS_OF_FOLDS and by != "time"
    per_second = TEXTS_PER_SECOND if shape.many_texts else ROWS_PER_SECOND
    in_time = min(round(per_second * seconds), MOST_ROWS_OF_FOLDS)
    enough = max(in_time if has_time else 0, SMALL_TABLE)
    by_group = by == "group" and rows <= MOST_ROWS_OF_FOLDS
    if rows < enough:
        few, value = (
            f"{rows:,} rows",
            "cross_validation" if rows < SMALL_TABLE else once,
        )
    elif by_group and (groups := raw[split["column"]].nunique()) < FEW_GROUPS:
        few, enough, value = f"{groups:,} groups", FEW_GROUPS, once
    else:
        return None
    why = (
        f"with {few}, the choice on a test set would be luck; below {enough:,}, each configuration is "
        "fitted on folds of the train and test rows and scored on the rows left out. The validation set "
        "stays untouched"
    )
    return Decision(value, why)


def _fits(shape: first_search.Shape) -> Decision | None:
    """Decide how often the exported model is fitted; None: once."""
    rows, seconds = shape.rows, shape.seconds or 0
    if seconds < SECONDS_OF_FITS or rows > MOST_ROWS_OF_FITS:
        return None
    are_quick = rows <= MOST_ROWS_OF_MANY_FITS and not shape.many_texts
    fits = 8 if seconds >= SECONDS_OF_MANY_FITS and are_quick else 3
    return Decision(fits, f"with {rows:,} rows, a single fit depends much on its seed")


def _seconds(shape: first_search.Shape) -> Decision:
    """Decide how long search, refit and report may take."""
    if shape.seconds is not None:
        return Decision(shape.seconds, "given")
    sooner = f"a run on {shape.rows:,} rows usually ends sooner"
    why = f"{sooner}; raise it if configurations did not start for lack of time"
    return Decision(first_search.propose_seconds(shape.rows), why)


def _task(target: pd.Series, given: str | None) -> Decision:
    """Decide between binary, multiclass and regression."""
    known = target.dropna()
    distinct, kind = known.nunique(), kind_of(known)
    another = "name another --target"
    if distinct < 2:
        what = (
            f"{plain(known.iloc[0])!r} in every row"
            if distinct
            else "missing in every row"
        )
        raise _unusable(target, f"it is {what}: there is nothing to learn", another)
    if kind == "datetime":
        raise _unusable(target, "it holds dates, which no task can predict", another)
    if given is not None:
        return _given_task(known, distinct, given)
    if distinct == 2:
        first, second = sorted(map(plain, known.unique()), key=str)
        return Decision(
            "binary", f"the target holds two values, {first!r} and {second!r}"
        )
    often_enough = len(known) / distinct >= FEWEST_ROWS_PER_CLASS
    if kind in NUMERIC:
        values = known.to_numpy(dtype=np.float64)
        if not np.all(values == np.floor(values)):
            return Decision("regression", "the target holds numbers with fractions")
        if distinct > MOST_NUMBER_CLASSES or not often_enough:
            return Decision(
                "regression", f"the target holds {distinct:,} different whole numbers"
            )
        why = f"the target holds only {distinct} different whole numbers; if their order and "
        return Decision("multiclass", why + "distance matter, write regression")
    if distinct <= MOST_TEXT_CLASSES and often_enough:
        return Decision("multiclass", f"the target holds {distinct} different texts")
    raise _unusable(
        target,
        f"it holds {distinct:,} different texts in {len(known):,} rows: not numbers, and too many "
        "for classes",
        "name another --target, or add --task multiclass if these are classes",
    )


def _given_task(known: pd.Series, distinct: int, task: str) -> Decision:
    drop = "drop --task to have it inferred, or name another --target"
    if task not in get_args(Task):
        hint = did_you_mean(task, get_args(Task))
        raise UnusableTable(f"--task {task}", f"no such task; {hint}", "correct it")
    if task == "binary" and distinct != 2:
        raise _unusable(
            known, f"it holds {distinct:,} different values, binary needs 2", drop
        )
    if task == "regression" and kind_of(known) not in NUMERIC:
        raise _unusable(
            known, f"it holds {known.dtype}, regression needs numbers", drop
        )
    return Decision(task, "given")


def _positive_class(
    target: pd.Series, task: Decision, given: str | None
) -> Decision | None:
    """Decide which of two classes is predicted; None for other tasks."""
    if task.value != "binary":
        if given is not None:
            rule = f"has no effect on task {task.value} ({task.why})"
            fix = "drop it, or add --task binary"
            raise UnusableTable(f"--positive-class {given}", rule, fix)
        return None
    counts = target.dropna().value_counts()
    classes = [plain(value) for value in counts.index]
    if given is not None:
        for value in classes:
            if str(value).casefold() == given.casefold():
                return Decision(value, "given")
        rule = f"it never holds {given!r}; it holds {', '.join(map(repr, classes))}"
        fix = "name one of these as --positive-class"
        raise _unusable(target, rule, fix)
    named = [
        value for value in classes if str(value).strip().casefold() in _POSITIVE_WORDS
    ]
    if len(named) == 1:
        return Decision(
            named[0], f"the affirmative of {' and '.join(sorted(map(repr, classes)))}"
        )
    share = counts.iloc[-1] / counts.sum()
    return Decision(classes[-1], f"the rarer class, {share:.0%} of the rows")


def _metric(task: str, given: str | None, positive_share: float | None) -> Decision:
    """Decide what ranks the configurations."""
    possible = names_of(task)
    if given is not None and given not in possible and ":" not in given:
        rule = f"not a metric of task {task}; {did_you_mean(given, possible)}"
        raise UnusableTable(
            f"--metric {given}", rule, f"name one of {', '.join(possible)}"
        )
    if given is not None:
        return Decision(given, "given")
    why = metric_of(possible[0]).words
    if positive_share is not None and positive_share < RARE:
        rare = f"only {positive_share:.1%} of the rows are positive"
        why += f"; {rare}: average_precision gives them more weight"
    return Decision(possible[0], why)


def _unusable(target: pd.Series, rule: str, fix: str) -> UnusableTable:
    return UnusableTable(f"target {target.name}", rule, fix)


def _split(
    raw: pd.DataFrame,
    plans: Mapping[str, ColumnPlan],
    by: str | None,
    column: str | None,
) -> Decision:
    """Decide on the split; the value is `spec.split` without id columns."""
    times = [name for name, plan in plans.items() if plan.times is not None]
    named = [
        name for name in plans if kind_of(raw[name]) in TEXTS and _named_sets(raw[name])
    ]
    entities = [name for name, plan in plans.items() if plan.names_entities]
    why = "given"
    if by is None:
        if column is None and len(named) != 1:
            return _series(plans, times) or Decision(
                {"by": "random"}, "each row at random"
            )
        column = column or named[0]
        by = "column" if column in named else "time" if column in times else "group"
        why = {
            "column": f"{column} names the sets",
            "time": f"{column} holds dates",
            "group": f"the values of {column} stay together",
        }[by]
    if by not in SPLITS:
        meant = did_you_mean(by, SPLITS)
        raise UnusableTable(f"--split {by}", f"no such split; {meant}", "correct it")
    if by == "random":
        if column is not None:
            rule = "has no effect on a random split"
            raise UnusableTable(f"--split-column {column}", rule, "drop it")
        return Decision({"by": "random"}, why)
    candidates = {"time": times, "group": entities, "column": named}[by]
    if column is None and len(candidates) != 1:
        found = (
            f"candidates: {listed(candidates)}"
            if candidates
            else f"columns: {listed(plans)}"
        )
        rule = f"its column is not given; {found}"
        raise UnusableTable(f"--split {by}", rule, "add --split-column")
    column = column or candidates[0]
    if by != "group" and column not in candidates:
        what = "hold dates" if by == "time" else "name train, test and validation"
        rule = f"its values do not {what}; columns that do: {listed(candidates)}"
        fix = "name one of these, prepare it in the source, or write the split into defs.yaml"
        raise UnusableTable(f"--split-column {column}", rule, fix)
    # Only the keys train, test and validation whose value differs from the default.
    sets = _named_sets(raw[column]) if by == "column" else {}
    own = {name: values for name, values in sets.items() if values != [name]}
    return Decision({"by": by, "column": column, **own}, why)


def _named_sets(column: pd.Series) -> dict[str, list[str]]:
    """Set → the values that name it; empty unless every value names a set, and each is
    named.
    """
    if column.nunique() > sum(map(len, _SET_NAMES.values())):
        return {}
    sets: dict[str, list[str]] = {name: [] for name in _SET_NAMES}
    for value in column.dropna().unique():
        found = [
            name for name, words in _SET_NAMES.items() if str(value).casefold() in words
        ]
        if not found:
            return {}
        sets[found[0]].append(str(value))
    return sets if all(sets.values()) else {}


def _series(plans: Mapping[str, ColumnPlan], times: Sequence[str]) -> Decision | None:
    """The split by time, if the rows are a time series with a mostly regular step; else
    None.
    """
    if len(times) != 1 or (found := plans[times[0]].times) is None:
        return None
    if found.step is None or found.days < FEWEST_DAYS:
        return None
    counts = [(found.step / pd.Timedelta(1, unit), unit) for unit in _UNITS]
    whole = [
        numbers.counted(int(n), unit) for n, unit in counts if n >= 1 and n.is_integer()
    ]
    step = whole[0] if whole else str(found.step)
    why = (
        f"the rows are a time series, {step} apart in {times[0]}: with a random split, a model would "
        "be scored on neighbours of the rows it was fitted on, so it is fitted on the past and scored "
        "on the future"
    )
    return Decision({"by": "time", "column": times[0]}, why)


def _met_again(
    raw: pd.DataFrame, plans: Mapping[str, ColumnPlan], split: Mapping[str, Any]
) -> dict[str, ColumnPlan]:
    """Turn excluded entity columns into features if new rows are about known entities
    with a history.

    A sale by store and day is about a known store, a rating by user and film about
    both; a new patient has no history.
    """
    excluded = [
        name for name, plan in plans.items() if plan.names_entities and plan.excluded
    ]
    counts = {
        name: raw[name].nunique() for name in excluded if name != split.get("column")
    }
    many = {
        k: n for k, n in counts.items() if raw[k].count() >= ROWS_OF_A_KNOWN_ONE * n
    }
    found = dict[str, str]()
    if split["by"] == "time":
        when = _as_prepared(raw[split["column"]], plans[split["column"]])
        late = when > when.quantile(LATEST)
        known = {
            name: raw.loc[late, name].isin(raw.loc[~late, name]).mean() for name in many
        }
        words = "{:.0%} of the latest rows are about earlier ones"
        found = {
            name: words.format(part)
            for name, part in known.items()
            if part >= MET_AGAIN
        }
    else:
        for one, other in combinations(many, 2):
            if len(raw[[one, other]].drop_duplicates()) >= PARTNERS * max(
                many[one], many[other]
            ):
                found |= {
                    one: f"rows pair them with {other}",
                    other: f"rows pair them with {one}",
                }
    return {
        name: plans[name].as_category(many[name], why) for name, why in found.items()
    }


def _split_hints(
    plans: Mapping[str, ColumnPlan], split: Mapping[str, Any], wishes: Wishes
) -> tuple[str, ...]:
    """Reasons to consider another split than the random one, or a gap, a
    sentence each.
    """
    if split["by"] == "time":
        ahead = (
            f"if {wishes.target} is known only later (such as: cancelled within 30 days), leave out as much "
            "between the sets (gap: 30 days): else train labels reach into the time of the test set"
        )
        return (ahead,)
    if split["by"] != "random":
        return ()
    hints = [
        f"values of {name} repeat: if the model will meet new ones, keep each value in one set "
        f"(split: {{by: group, column: {name}}})"
        for name, plan in plans.items()
        if plan.names_entities and name not in wishes.exclude
    ]
    dated = {
        n: p.times
        for n, p in plans.items()
        if p.times is not None and n not in wishes.exclude
    }
    hints += [
        f"{name} holds dates{', and the rows are sorted by them' * times.in_order}: if the model will "
        f"predict the future, train on the past (split: {{by: time, column: {name}}})"
        for name, times in dated.items()
        if times.days >= FEWEST_DAYS
    ]
    return tuple(hints)
