"""Draft a first experiment on an unknown table: what can be inferred, why, and what
only people know.

Rows are split at random, unless a column names the sets, the rows are a time series, or
the caller has measured that another split is the honest one (see `honest_split.py`).
What the models will meet only people know: the other splits become hints.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import combinations, product
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting import search as first_search
from experiment_pipeline.drafting.columns import (
    LEAST_DATES,
    ColumnPlan,
    instants_of,
    plan_columns,
    read_completely,
)
from experiment_pipeline.drafting.questions import question_of_target, questions_of
from experiment_pipeline.errors import UnusableTable, did_you_mean, listed
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Task
from experiment_pipeline.spec.models import duration
from experiment_pipeline.stages.data_analysis.facts import (
    by_setting,
    is_named_like_a_birth,
    rejection_limit,
)
from experiment_pipeline.statistics.metrics import metric_of, names_of
from experiment_pipeline.table.features import all_calendar_columns, plain
from experiment_pipeline.table.kinds import (
    NUMERIC,
    QUANTITIES,
    TEXTS,
    kind_of,
    naive_utc,
)
from experiment_pipeline.table.label import happened_within

# The default of validation.max_rejected_fraction, and how much of it is left to other
# reasons than a missing target.
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
SECONDS_OF_FOLDS = 120
ROWS_PER_SECOND = 80
TEXTS_PER_SECOND = 10
MOST_ROWS_OF_FOLDS = 50_000
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
# A split by time needs dates on at least this many days to cut between, one by groups
# at least this many groups.
FEWEST_DAYS, FEWEST_ENTITIES = 10, 10
# An entity column (store, user) with at least ROWS_OF_A_KNOWN_ONE rows per entity
# becomes a feature if MET_AGAIN of the rows after quantile LATEST are about earlier
# entities, or if PARTNERS times as many pairs as entities exist with another such
# column (ratings, sales).
ROWS_OF_A_KNOWN_ONE = 10
LATEST = 0.8
MET_AGAIN = 0.95
PARTNERS = 5
_POSITIVE_WORDS = frozenset(
    ["1", "true", "t", "yes", "y", "positive", "pos", "ja", "oui", "si", "sí", "sim"]
)
_Unit = Literal["day", "hour", "minute", "second"]
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
    label: Decision | None  # how long labels take; None: all are in
    split: Decision
    excluded: Mapping[str, str]  # column → reason
    prepared: tuple[ColumnPlan, ...]  # columns that are changed before validation
    id_columns: tuple[str, ...]  # columns that decide a row's set
    # What a split by time, or by groups, could go by: the more honest one is measured.
    times: tuple[str, ...]
    entities: tuple[str, ...]
    # limit on rejected rows, if they would exceed the default
    max_rejected: Decision | None
    hints: tuple[str, ...]  # other splits that only people can choose, a sentence each
    target_question: str  # which value of it means missing; a run waits for the answer
    feature_questions: tuple[str, ...]  # about their values, with the YAML
    search: tuple[first_search.Proposal, ...]
    evaluation: Decision | None  # what the choice is based on; None: the test set
    fits: Decision | None  # number of refits with different seeds; None: one
    seconds: Decision  # the time budget

    @property
    def questions(self) -> tuple[str, ...]:
        """What only people know of the values, that of the target first."""
        of_target = [self.target_question] if self.target_question else []
        return (*of_target, *self.feature_questions)

    @property
    def full_split(self) -> dict[str, Any]:
        """The value of the key `split`, id columns included."""
        ids = {"id_columns": list(self.id_columns)} if self.id_columns else {}
        return {**self.split.value, **ids}

    def attributes(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys of this draft's YAML; `data` is written as it is."""
        keys: dict[str, Any] = {
            "data": dict(data),
            "target": self.target,
            "task": self.task.value,
            "exclude": dict(self.excluded),
            "preparation": by_setting(
                {plan.name: plan.preparation for plan in self.prepared}
            ),
            "split": self.full_split,
            "search": [dict(proposal.entry) for proposal in self.search],
            "metric": self.metric.value,
            "budget": {"seconds": self.seconds.value},
        }
        if self.positive_class is not None:
            keys["positive_class"] = self.positive_class.value
        if self.label is not None:
            keys["label"] = self.label.value
        if self.evaluation is not None:
            keys["evaluation"] = self.evaluation.value
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
    split: Decision | None = None,
    label: Decision | None = None,
) -> Draft:
    """Draft an experiment on a table, or on a sample of its `rows`.

    The sample is numbered as in the table; `monotone`: the experiment will have
    directions; `split` and `label`: decided before. Raises UnusableTable: a
    decision is wrong, or only the user can make it; the fix names the option.
    """
    _check_names(raw, wishes)
    plans = plan_columns(raw)
    target_plan = plans.pop(wishes.target)
    target = _as_prepared(raw[wishes.target], target_plan)
    target = _labelled(target, raw, plans, label)
    task = _task(target, wishes.task)
    positive = _positive_class(target, task, wishes.positive_class)
    if split is None:
        split = _split(raw, plans, wishes)
    keys = _columns_of(split.value)
    # Under a split by time, later sets have days beyond those of training: `days` would
    # not generalize.
    with_days = split.value["by"] != "time"
    for name, plan in plans.items():
        plans[name] = plan.dated(raw.columns, with_days=with_days)
    met_again = _met_again(raw, plans, split.value)
    plans |= met_again

    times = _times(plans, wishes)
    ids = _id_columns(plans, wishes)
    excluded = _excluded(plans, wishes)
    for name in keys:
        excluded.pop(name, None)
    features = plans.keys() - excluded.keys() - {*ids, *keys}
    metric = _metric(task.value, wishes.metric, target, positive)
    is_regression = task.value == "regression"
    shape = first_search.Shape(
        task=task.value,
        metric=metric.value,
        rows=len(raw) if rows is None else rows,
        features=len(features),
        classes=1 if is_regression else target.nunique(),
        texts=sum(_is_text(raw[name], plans[name]) for name in features),
        many_texts=sum(plans[name].many_texts for name in features),
        seconds=wishes.seconds,
        is_amount=is_regression and not (target < 0).any(),
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
        label=label,
        split=split,
        excluded=excluded,
        prepared=_prepared(target_plan, plans, excluded),
        id_columns=ids,
        times=times,
        entities=_new_entities(raw, plans, times, {*met_again, *wishes.exclude, *ids}),
        max_rejected=_rejection_limit(target, plans, _unkeyed(raw, plans, split.value)),
        hints=_split_hints(plans, split.value, wishes),
        target_question=question_of_target(target),
        feature_questions=questions_of(raw, plans, features),
        search=first_search.propose_search(shape),
        evaluation=evaluation,
        fits=_fits(shape),
        seconds=_seconds(shape),
    )


def _excluded(plans: Mapping[str, ColumnPlan], wishes: Wishes) -> dict[str, str]:
    """Return column → why it is not a feature."""
    excluded = {name: plan.why for name, plan in plans.items() if plan.excluded}
    return excluded | dict.fromkeys(wishes.exclude, "excluded on the command line")


def _id_columns(plans: Mapping[str, ColumnPlan], wishes: Wishes) -> tuple[str, ...]:
    """Return the columns that decide a row's set: the user's, or the first id."""
    if wishes.id_column:
        return tuple(wishes.id_column)
    return tuple(n for n, plan in plans.items() if plan.identifies_rows)[:1]


def _times(plans: Mapping[str, ColumnPlan], wishes: Wishes) -> tuple[str, ...]:
    """Return the dates of rows on enough days, known for nearly all rows.

    The likeliest to say when rows came to be is first: one by which they are sorted,
    then one that spans fewer days (a car's registration spans decades), then the first
    column.
    """
    times = {
        name: plan.times
        for name, plan in plans.items()
        if plan.times is not None
        and plan.times.days >= FEWEST_DAYS
        and plan.times.share >= LEAST_DATES
        and name not in wishes.exclude
        and not is_named_like_a_birth(name)
    }

    def unlikely(name: str) -> tuple[bool, int]:
        return not times[name].in_order, round(math.log2(times[name].days))

    return tuple(sorted(times, key=unlikely))


def _new_entities(
    raw: pd.DataFrame,
    plans: Mapping[str, ColumnPlan],
    times: Sequence[str],
    other_roles: set[str],
) -> tuple[str, ...]:
    """Return the columns that name entities which the model may not know.

    Where the latest rows are about earlier ones, it knows them.
    """
    names = [
        name
        for name, plan in plans.items()
        if plan.names_new_ones
        and name not in other_roles
        and raw[name].notna().mean() >= LEAST_DATES
        and raw[name].nunique() >= FEWEST_ENTITIES
    ]
    for time in times[:1] if names else ():
        when = instants_of(raw[time], plans[time])
        met_later = _met_later(raw[names], when > when.quantile(LATEST))
        names = [name for name in names if name not in met_later]
    return tuple(names)


def _prepared(
    target: ColumnPlan, plans: Mapping[str, ColumnPlan], excluded: Mapping[str, str]
) -> tuple[ColumnPlan, ...]:
    """Return the columns that are changed before validation."""
    features = [plan for name, plan in plans.items() if name not in excluded]
    prepared = [plan for plan in features if plan.preparation]
    if target.preparation.get("types") in {"number", "datetime"}:
        return (target, *prepared)
    return tuple(prepared)


def _is_text(column: pd.Series, plan: ColumnPlan) -> bool:
    return kind_of(column) in TEXTS or plan.preparation.get("types") == "text"


def _check_names(raw: pd.DataFrame, wishes: Wishes) -> None:
    if not wishes.target:
        raise UnusableTable(
            "--target",
            rule="is missing: the column to predict; the table has "
            f"{listed(raw.columns)}",
            fix="add --target and one of these",
        )
    options = [
        ("--target", wishes.target),
        *product(["--exclude"], wishes.exclude),
        *product(["--id-column"], wishes.id_column),
        *product(["--split-column"], filter(None, [wishes.split_column])),
    ]
    # Calendar columns, which may be excluded, are not in the raw table.
    excludable = {*raw.columns, *all_calendar_columns(raw.columns)}
    for option, name in options:
        if name not in (excludable if option == "--exclude" else raw.columns):
            raise UnusableTable(
                f"{option} {name}",
                rule=f"no such column; {did_you_mean(name, raw.columns)}",
                fix="correct the name",
            )
    for option, name in options[1:]:
        if name == wishes.target:
            problem = "it is the target"
            raise UnusableTable(f"{option} {name}", problem, fix="drop it")


def _as_prepared(target: pd.Series, plan: ColumnPlan) -> pd.Series:
    """The target as the stages will see it, with its texts read."""
    settings = {k: value for k, value in plan.preparation.items() if k != "calendar"}
    if settings.get("types") not in ("number", "datetime"):
        return target
    prepared = read_completely(target, settings)
    return target if prepared is None else prepared


def _labelled(
    target: pd.Series,
    raw: pd.DataFrame,
    plans: Mapping[str, ColumnPlan],
    label: Decision | None,
) -> pd.Series:
    """Return whether the dates of a target came in time, as the stages will see it;
    another target, and one whose label names no column of dates, as it is.
    """
    if label is None or kind_of(target) != "datetime":
        return target
    plan = plans.get(label.value.get("since", ""))
    if plan is None or plan.times is None:
        return target
    since = naive_utc(instants_of(raw[plan.name], plan))
    return happened_within(target, since, duration(label.value["within"]))


def _columns_of(split: Mapping[str, Any]) -> list[str]:
    """Return the columns that a split goes by."""
    return [split[key] for key in ("column", "group") if key in split]


def _unkeyed(
    raw: pd.DataFrame, plans: Mapping[str, ColumnPlan], split: Mapping[str, Any]
) -> dict[str, float]:
    """Return column → share of the rows, of the split's columns where it is missing."""
    unkeyed = {}
    for name in _columns_of(split):
        times = plans[name].times
        missing = float(raw[name].isna().mean())
        unkeyed[name] = missing if times is None else 1 - times.share
    return unkeyed


def _rejection_limit(
    target: pd.Series,
    plans: Mapping[str, ColumnPlan],
    unkeyed: Mapping[str, float],
) -> Decision | None:
    """Raise the limit if rows that every run rejects would exceed it."""
    unread = {name: plan.rejected for name, plan in plans.items()}
    shares = {
        "no target": float(target.isna().mean()),
        **{f"no {name}": share for name, share in {**unread, **unkeyed}.items()},
    }
    rejected = sum(shares.values())
    if rejected <= USUAL_LIMIT - ROOM:
        return None
    limit = rejection_limit(rejected)
    reasons = [
        f"{share:.1%} of the rows have {lacking}"
        for lacking, share in shares.items()
        if share
    ]
    return Decision(limit, f"{', '.join(reasons)} and are rejected")


def _evaluation(
    raw: pd.DataFrame, split: Mapping[str, Any], shape: first_search.Shape
) -> Decision | None:
    """Decide what the choice is based on; None: the test set, the default."""
    enough_rows = SMALL_TABLE
    if split["by"] != "time":
        enough_rows = max(SMALL_TABLE, _rows_of_folds_in_time(shape))
    once = {"cross_validation": {"folds": 5, "repeats": 1}}
    if shape.rows < enough_rows:
        value = "cross_validation" if shape.rows < SMALL_TABLE else once
        return _folds(value, f"{shape.rows:,} rows", enough_rows)
    if split["by"] == "group" and shape.rows <= MOST_ROWS_OF_FOLDS:
        groups = raw[split["column"]].nunique()
        if groups < FEW_GROUPS:
            return _folds(once, f"{groups:,} groups", FEW_GROUPS)
    return None


def _rows_of_folds_in_time(shape: first_search.Shape) -> int:
    """Return on how many rows the best have time for folds."""
    seconds = shape.seconds or 0
    if seconds < SECONDS_OF_FOLDS:
        return 0
    per_second = TEXTS_PER_SECOND if shape.many_texts else ROWS_PER_SECOND
    return min(round(per_second * seconds), MOST_ROWS_OF_FOLDS)


def _folds(value: Any, few: str, enough: int) -> Decision:
    return Decision(
        value,
        f"with {few}, the choice on a test set would be luck; below {enough:,}, each "
        "configuration is fitted on folds of the train and test rows and scored on the "
        "rows left out. The validation set stays untouched",
    )


def _fits(shape: first_search.Shape) -> Decision | None:
    """Decide how often the exported model is fitted; None: once."""
    rows, seconds = shape.rows, shape.seconds or 0
    if seconds < SECONDS_OF_FITS or rows > MOST_ROWS_OF_FITS:
        return None
    are_quick = rows <= MOST_ROWS_OF_MANY_FITS and not shape.many_texts
    fits = 8 if seconds >= SECONDS_OF_MANY_FITS and are_quick else 3
    return Decision(fits, f"with {rows:,} rows, a single fit depends much on its seed")


def _seconds(shape: first_search.Shape) -> Decision:
    """Decide how long the whole run may take."""
    if shape.seconds is not None:
        return Decision(shape.seconds, "given")
    sooner = f"a run on {shape.rows:,} rows usually ends sooner"
    why = f"{sooner}; raise it if configurations did not start for lack of time"
    return Decision(first_search.propose_seconds(shape.rows), why)


def _task(target: pd.Series, task: str | None) -> Decision:
    """Decide between binary, multiclass and regression; `task`: the user's choice."""
    present = target.dropna()
    distinct, kind = present.nunique(), kind_of(present)
    problem, fix = "", "name another --target"
    if distinct == 0:
        problem = "it is missing in every row: there is nothing to learn"
    elif distinct == 1:
        value = plain(present.iloc[0])
        problem = f"it is {value!r} in every row: there is nothing to learn"
    elif kind == "datetime":
        problem = "it holds dates, which no task can predict"
        fix += (
            ", or say within which time of another column they have to come: "
            "label: {since: signed_up, within: 90 days}"
        )
    if problem:
        raise _unusable(target, problem, fix)
    if task is not None:
        return _chosen_task(present, distinct, task)
    if distinct == 2:
        first, second = sorted(map(plain, present.unique()), key=str)
        why = f"the target holds two values, {first!r} and {second!r}"
        return Decision("binary", why)
    often_enough = len(present) / distinct >= FEWEST_ROWS_PER_CLASS
    if kind in NUMERIC:
        return _numeric_task(present, distinct, often_enough=often_enough)
    if distinct <= MOST_TEXT_CLASSES and often_enough:
        return Decision("multiclass", f"the target holds {distinct} different texts")
    raise _unusable(
        target,
        rule=f"it holds {distinct:,} different texts in {len(present):,} rows: not "
        "numbers, and too many for classes",
        fix="name another --target, or add --task multiclass if these are classes",
    )


def _numeric_task(target: pd.Series, distinct: int, *, often_enough: bool) -> Decision:
    values = target.to_numpy(dtype=np.float64)
    if not np.all(values == np.floor(values)):
        return Decision("regression", "the target holds numbers with fractions")
    if distinct > MOST_NUMBER_CLASSES or not often_enough:
        why = f"the target holds {distinct:,} different whole numbers"
        return Decision("regression", why)
    return Decision(
        "multiclass",
        f"the target holds only {distinct} different whole numbers; if their order and "
        "distance matter, write regression",
    )


def _chosen_task(target: pd.Series, distinct: int, task: str) -> Decision:
    drop = "drop --task to have it inferred, or name another --target"
    if task not in get_args(Task):
        hint = did_you_mean(task, get_args(Task))
        raise UnusableTable(f"--task {task}", f"no such task; {hint}", "correct it")
    if task == "binary" and distinct != 2:
        problem = f"it holds {distinct:,} different values, binary needs 2"
        raise _unusable(target, problem, drop)
    if task == "regression" and kind_of(target) not in NUMERIC:
        problem = f"it holds {target.dtype}, regression needs numbers"
        raise _unusable(target, problem, drop)
    return Decision(task, "given")


def _positive_class(
    target: pd.Series, task: Decision, chosen: str | None
) -> Decision | None:
    """Decide which of two classes is predicted; None for other tasks."""
    if task.value != "binary":
        if chosen is not None:
            raise UnusableTable(
                f"--positive-class {chosen}",
                rule=f"has no effect on task {task.value} ({task.why})",
                fix="drop it, or add --task binary",
            )
        return None
    counts = target.dropna().value_counts()
    classes = [plain(value) for value in counts.index]
    if chosen is not None:
        for value in classes:
            if str(value).casefold() == chosen.casefold():
                return Decision(value, "given")
        raise _unusable(
            target,
            rule=f"it never holds {chosen!r}; it holds {', '.join(map(repr, classes))}",
            fix="name one of these as --positive-class",
        )
    affirmative = [
        value for value in classes if str(value).strip().casefold() in _POSITIVE_WORDS
    ]
    if len(affirmative) == 1:
        values = " and ".join(sorted(map(repr, classes)))
        return Decision(affirmative[0], f"the affirmative of {values}")
    share = counts.iloc[-1] / counts.sum()
    return Decision(classes[-1], f"the rarer class, {share:.0%} of the rows")


def _metric(
    task: str, chosen: str | None, target: pd.Series, positive: Decision | None
) -> Decision:
    """Decide what ranks the configurations."""
    possible = names_of(task)
    if chosen is not None:
        if chosen not in possible and ":" not in chosen:
            raise UnusableTable(
                f"--metric {chosen}",
                rule=f"not a metric of task {task}; {did_you_mean(chosen, possible)}",
                fix=f"name one of {', '.join(possible)}",
            )
        return Decision(chosen, "given")
    why = metric_of(possible[0]).words
    if positive is not None:
        share = float((target == positive.value).sum() / target.count())
        if share < RARE:
            rare = f"only {share:.1%} of the rows are positive"
            why += f"; {rare}: average_precision gives them more weight"
    return Decision(possible[0], why)


def _unusable(target: pd.Series, rule: str, fix: str) -> UnusableTable:
    return UnusableTable(f"target {target.name}", rule, fix)


def _split(
    raw: pd.DataFrame, plans: Mapping[str, ColumnPlan], wishes: Wishes
) -> Decision:
    """Decide on the split; the value is `spec.split` without id columns."""
    by, column = wishes.split, wishes.split_column
    candidates = _split_columns(raw, plans)
    if by is None:
        if column is None and len(candidates["column"]) == 1:
            [column] = candidates["column"]
        if column is None:
            at_random = Decision({"by": "random"}, "each row at random")
            return _series(plans, candidates["time"]) or at_random
        by, why = _split_by(column, candidates)
        return Decision(_along(raw[column], by), why)
    if by not in SPLITS:
        meant = did_you_mean(by, SPLITS)
        raise UnusableTable(f"--split {by}", f"no such split; {meant}", "correct it")
    if by == "random":
        if column is not None:
            refusal = "has no effect on a random split"
            raise UnusableTable(f"--split-column {column}", refusal, "drop it")
        return Decision({"by": "random"}, "given")
    if column is None:
        column = _only_column(by, candidates[by], plans)
    _check_split_column(by, raw[column], candidates)
    return Decision(_along(raw[column], by), "given")


def _along(column: pd.Series, by: str) -> dict[str, Any]:
    """Return the split by a column."""
    split: dict[str, Any] = {"by": by, "column": column.name}
    if by == "column":
        # Only the keys train, test and validation whose value is not the default.
        sets = _named_sets(column)
        split |= {name: values for name, values in sets.items() if values != [name]}
    return split


def _split_columns(
    raw: pd.DataFrame, plans: Mapping[str, ColumnPlan]
) -> dict[str, list[str]]:
    """Return kind of split → the columns that it can go by."""
    columns: dict[str, list[str]] = {"time": [], "group": [], "column": []}
    for name, plan in plans.items():
        if plan.times is not None:
            columns["time"].append(name)
        if plan.names_entities:
            columns["group"].append(name)
        if kind_of(raw[name]) in TEXTS and _named_sets(raw[name]):
            columns["column"].append(name)
    return columns


def _check_split_column(
    by: str, column: pd.Series, candidates: Mapping[str, list[str]]
) -> None:
    """Refuse a column that the split cannot go by; groups may be of any column, times
    also of numbers, such as years.
    """
    if by == "group" or column.name in candidates[by]:
        return
    if by == "time" and kind_of(column) in QUANTITIES:
        return
    needed = (
        "hold dates or numbers" if by == "time" else "name train, test and validation"
    )
    raise UnusableTable(
        f"--split-column {column.name}",
        rule=f"its values do not {needed}; columns that do: {listed(candidates[by])}",
        fix="name one of these, prepare it in the source, or write the split into "
        "defs.yaml",
    )


def _split_by(column: str, candidates: Mapping[str, list[str]]) -> tuple[str, str]:
    """Return how a column that the user names splits the rows, and why."""
    if column in candidates["column"]:
        return "column", f"{column} names the sets"
    if column in candidates["time"]:
        return "time", f"{column} holds dates"
    return "group", f"the values of {column} stay together"


def _only_column(by: str, candidates: list[str], plans: Mapping[str, Any]) -> str:
    """Return the only column that a split can go by."""
    if len(candidates) == 1:
        return candidates[0]
    columns = f"columns: {listed(plans)}"
    if candidates:
        columns = f"candidates: {listed(candidates)}"
    raise UnusableTable(
        f"--split {by}",
        rule=f"its column is not given; {columns}",
        fix="add --split-column",
    )


def _named_sets(column: pd.Series) -> dict[str, list[str]]:
    """Return set → the values that name it; empty unless each value names a set."""
    if column.nunique() > sum(map(len, _SET_NAMES.values())):
        return {}
    set_of = {word: name for name, words in _SET_NAMES.items() for word in words}
    sets: dict[str, list[str]] = {name: [] for name in _SET_NAMES}
    for value in column.dropna().unique():
        word = str(value).casefold()
        if word not in set_of:
            return {}
        sets[set_of[word]].append(str(value))
    return sets if all(sets.values()) else {}


def _series(plans: Mapping[str, ColumnPlan], columns: list[str]) -> Decision | None:
    """Return the split by time if the rows are a mostly regular series, else None."""
    times = plans[columns[0]].times if len(columns) == 1 else None
    if times is None or times.step is None or times.days < FEWEST_DAYS:
        return None
    why = (
        f"the rows are a time series, {_step_in_words(times.step)} apart in "
        f"{columns[0]}: with a random split, a model would be scored on neighbours of "
        "the rows it was fitted on, so it is fitted on the past and scored on the "
        "future"
    )
    return Decision({"by": "time", "column": columns[0]}, why)


def _step_in_words(step: pd.Timedelta) -> str:
    """Return a step in its largest whole unit."""
    for unit in get_args(_Unit):
        count = step / pd.Timedelta(1, unit)
        if count >= 1 and count.is_integer():
            return numbers.counted(int(count), unit)
    return str(step)


def _met_again(
    raw: pd.DataFrame, plans: Mapping[str, ColumnPlan], split: Mapping[str, Any]
) -> dict[str, ColumnPlan]:
    """Turn excluded entity columns into features if new rows are about known entities.

    A sale by store and day is about a known store, a rating by user and film about
    both; a new patient has no history.
    """
    entities: dict[str, int] = {}  # column → distinct entities, with several rows each
    for name, plan in plans.items():
        if plan.names_entities and plan.excluded and name != split.get("column"):
            distinct = raw[name].nunique()
            if raw[name].count() >= ROWS_OF_A_KNOWN_ONE * distinct:
                entities[name] = distinct
    if split["by"] == "time":
        when = instants_of(raw[split["column"]], plans[split["column"]])
        reasons = _met_later(raw[[*entities]], when > when.quantile(LATEST))
    else:
        reasons = _paired(raw, entities)
    return {
        name: plans[name].as_category(entities[name], why)
        for name, why in reasons.items()
    }


def _met_later(entities: pd.DataFrame, is_late: pd.Series) -> dict[str, str]:
    """Return column → reason, of the columns whose late rows are about earlier ones."""
    reasons = {}
    for name, column in entities.items():
        share = column[is_late].isin(column[~is_late]).mean()
        if share >= MET_AGAIN:
            why = f"{share:.0%} of the latest rows are about earlier ones"
            reasons[str(name)] = why
    return reasons


def _paired(raw: pd.DataFrame, entities: Mapping[str, int]) -> dict[str, str]:
    """Return column → reason, of the columns whose entities meet many of another's."""
    reasons = {}
    for first, second in combinations(entities, 2):
        pairs = len(raw[[first, second]].drop_duplicates())
        if pairs >= PARTNERS * max(entities[first], entities[second]):
            reasons[first] = f"rows pair them with {second}"
            reasons[second] = f"rows pair them with {first}"
    return reasons


def _split_hints(
    plans: Mapping[str, ColumnPlan], split: Mapping[str, Any], wishes: Wishes
) -> tuple[str, ...]:
    """Reasons to consider another split, or a gap."""
    used = {name: p for name, p in plans.items() if name not in wishes.exclude}
    if split["by"] == "random":
        return (*_hints_of_entities(used), *_hints_of_times(used))
    hints = []
    if split["by"] == "time":
        hints.append(
            f"if {wishes.target} is known only later (such as: cancelled within 30 "
            "days), leave out as much between the sets (gap: 30 days): else train "
            "labels reach into the time of the test set"
        )
    if wishes.split is None and wishes.split_column is None:
        hints += filter(None, [_RANDOM_INSTEAD.get(split["by"])])
    return tuple(hints)


_RANDOM_INSTEAD = {
    "time": "if the model will not predict later rows, but others of the same period, "
    "split at random (split: {by: random})",
    "group": "if the model will only meet the values that it was fitted on, split at "
    "random (split: {by: random})",
}


def _hints_of_entities(plans: Mapping[str, ColumnPlan]) -> list[str]:
    return [
        f"values of {name} repeat: if the model will meet new ones, keep each value in "
        f"one set (split: {{by: group, column: {name}}})"
        for name, plan in plans.items()
        if plan.names_new_ones
    ]


def _hints_of_times(plans: Mapping[str, ColumnPlan]) -> list[str]:
    hints = []
    for name, plan in plans.items():
        if plan.times is None or plan.times.days < FEWEST_DAYS:
            continue
        sorted_by = ", and the rows are sorted by them" if plan.times.in_order else ""
        hints.append(
            f"{name} holds dates{sorted_by}: if the model will predict the future, "
            f"train on the past (split: {{by: time, column: {name}}})"
        )
    return hints
