"""Columns that hold the mean target of each row's group: target encoding over all rows.

In: a subject. Out: which number columns, and by which key. A group's mean that includes the row
leaks a part of its target; together with the others' mean it leaks all of it. The skill of such a
column does not show this, so its arithmetic is checked: it must be closer to the mean of the
visible rows than chance allows. That needs whole groups, which a sample of rows would break up;
of a large table a few groups are read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.facts import NumberFacts, TextFacts
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.kinds import TEXTS, kind_of, numbers_of


def key_columns(subject: Subject, most: int) -> list[str]:
    """At most `most` text and integer columns whose values repeat; the split's group first."""
    split = subject.spec.split
    first = [split.column] if split.by == "group" else []
    others = [c for c in subject.frame.columns if c not in {*first, subject.spec.target}]
    found: list[str] = []
    for column in [*first, *others]:
        values = subject.frame[column]
        grouping = len(found) < most and kind_of(values) in TEXTS | {"integer", "boolean"}
        if grouping and 2 <= _distinct(subject, column) <= len(values) / 2:
            found.append(column)
    return found


def rows_of_groups(subject: Subject, column: str, most: int) -> np.ndarray:
    """Positions of all rows with the first few values of a column, ascending.

    About `most` rows if values are equally frequent; else at most four times as many, and the
    last groups may lack rows.
    """
    values = subject.frame[column]
    each = len(values) / max(_distinct(subject, column), 1)
    few = values.iloc[:most].dropna().unique()[: max(int(most / each), 1)]
    return np.flatnonzero(values.isin(few).to_numpy())[: 4 * most]


def _distinct(subject: Subject, column: str) -> int:
    facts = subject.facts.get(column)
    if isinstance(facts, NumberFacts | TextFacts):
        return facts.distinct
    return int(subject.frame[column].nunique())


MOST_ROWS = 10_000
MOST_GROUPED_ROWS = 1_000
MOST_CLASSES = 20
MOST_KEYS = 20
# Weights, in rows, with which an encoder may have shrunk a group's mean to the overall mean.
PRIORS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_FEWEST_GROUPS = 20
_FEWEST_ROWS = 30
# A column that was not computed from these rows is that close to their means once in a million tables.
_LARGEST_CHANCE = 1e-6
_EXACT = 1e-6


@dataclass(frozen=True)
class FromTarget:
    """A column that is computed from the target."""

    column: str
    words: str  # how it is computed
    # Mean share of the row's own target in its value: 1 where the target follows exactly from it
    # and other known values, 0 where it needs the value of a later row.
    own_weight: float


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of all rows by one column."""

    name: str
    codes: np.ndarray  # (n,) of all rows; -1 where the key is missing
    sizes: np.ndarray  # (groups,) rows of each, hidden ones included


def target_means(subject: Subject) -> Iterator[FromTarget]:
    """Yield the number features that are a group's mean target, each once."""
    suspects = dict(_on_the_scale_of_means(subject))
    columns, keys = list(subject.calculable), key_columns(subject, MOST_KEYS)
    groups = {key: _groups(key, subject.frame[key]) for key in keys if suspects}
    for column, outcomes in suspects.items():
        x = numbers_of(subject.frame[column])
        for one in (*groups.values(), _groups(column, x)):
            if _decides(one, x) and any(_is_mean(subject, x, y, one) for y in outcomes):
                weight = len(one.sizes) / max(int(one.sizes.sum()), 1)
                where = "its value" if one.name == column else numbers.shown(one.name)
                yield FromTarget(column, f"the mean target of all rows by {where}", weight)
                columns.remove(column)
                break
    for key in keys if columns else ():
        for column in _means_of_the_others(subject, columns, key):
            yield FromTarget(
                column, f"the mean target of the other rows by {numbers.shown(key)}", 1.0
            )
            columns.remove(column)


def _on_the_scale_of_means(subject: Subject) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Columns on which the target has the slope that it has on its group means, with the outcomes.

    That slope is 1, and more where the means are shrunk.
    """
    rows = subject.sample(np.arange(len(subject.target.rows)), MOST_ROWS)
    outcomes = list(islice(subject.target.outcomes(), MOST_CLASSES))
    for column, facts in subject.calculable.items():
        if facts.distinct < _FEWEST_GROUPS:
            continue
        x = numbers_of(subject.frame[column])[subject.target.rows[rows]]
        known = np.isfinite(x)
        spread = np.var(x[known]) if known.any() else 0.0
        fitting = []
        for y in outcomes if spread > 0 else ():
            own = y[rows][known]
            slope = float(np.mean((x[known] - x[known].mean()) * own)) / spread
            shift = abs(float(x[known].mean() - own.mean()))
            if 0.5 <= slope <= 10 and shift <= 0.2 * float(np.std(own)):
                fitting.append(y)
        if fitting:
            yield column, fitting


def _groups(name: str, values: pd.Series | np.ndarray) -> Groups:
    codes = pd.factorize(values)[0]
    return Groups(name, codes, np.bincount(codes[codes >= 0]))


def _decides(groups: Groups, x: np.ndarray) -> bool:
    """Whether x is the same in all rows of a group."""
    first = np.full(len(groups.sizes), np.nan)
    known = (groups.codes >= 0) & ~np.isnan(x)
    first[groups.codes[known]] = x[known]
    return bool(np.all(np.isclose(first[groups.codes[known]], x[known], rtol=1e-9)))


def _is_mean(subject: Subject, x: np.ndarray, y: np.ndarray, groups: Groups) -> bool:
    """Whether x is closer to the mean of each group's visible rows than chance allows.

    Let σ² be the variance within groups. The mean of n_v rows differs from any x that was not
    computed from them by σ²/n_v or more on average; from the mean of all n rows, n_v of which
    are visible, by (1 - n_v/n) σ²/n_v.
    """
    from scipy.stats import chi2

    rows = subject.target.rows
    codes = groups.codes[rows]
    known = (codes >= 0) & ~np.isnan(x[rows])
    codes, own, x_rows = codes[known], y[known], x[rows][known]
    n_groups = len(groups.sizes)
    visible = np.bincount(codes, minlength=n_groups)
    used = (groups.sizes >= 2) & (visible >= 1)
    safe = np.maximum(visible, 1)
    means = np.bincount(codes, weights=own, minlength=n_groups) / safe
    value = np.bincount(codes, weights=x_rows, minlength=n_groups) / safe
    freedom = int((visible[used] - 1).sum())
    count = int(used.sum())
    within = float(np.sum(((own - means[codes]) ** 2)[used[codes]]))
    if count < _FEWEST_GROUPS or freedom < count / 4 or within <= 1e-9 * np.var(y) * len(own):
        return False
    variance = within / freedom
    n, seen, means, value = groups.sizes[used], visible[used], means[used], value[used]
    hidden = float(np.mean(1 - seen / n))
    plain = [(value * (n + prior) - prior * own.mean()) / n for prior in PRIORS]
    distance = min(float(np.sum(seen * (each - means) ** 2)) for each in plain) / variance
    near = distance <= (2 * hidden + 0.05) * count
    return near and bool(chi2.cdf(distance, count) < _LARGEST_CHANCE)


def _means_of_the_others(subject: Subject, columns: Sequence[str], key: str) -> list[str]:
    """Columns whose differences within a group are those of the target, divided by -(n - 1).

    (S - y)/(n - 1) differs between two rows of a group by -(y - y')/(n - 1), whatever S is.
    """
    rows = rows_of_groups(subject, key, MOST_GROUPED_ROWS)
    groups = pd.factorize(subject.frame[key].iloc[rows])[0]
    others = (np.bincount(groups) - 1)[groups]
    seen = np.isin(rows, subject.target.rows)
    places = np.searchsorted(subject.target.rows, rows[seen])
    outcomes = [y[places] for y in islice(subject.target.outcomes(), MOST_CLASSES)]
    rows, groups, others = rows[seen], groups[seen], others[seen]
    return [
        column
        for column in columns
        if any(
            _mirrors(numbers_of(subject.frame[column].iloc[rows]), y, groups, others)
            for y in outcomes
        )
    ]


def _mirrors(x: np.ndarray, y: np.ndarray, groups: np.ndarray, others: np.ndarray) -> bool:
    known = np.isfinite(x)
    x, y, groups, others = x[known], y[known], groups[known], others[known]
    if len(x) < _FEWEST_ROWS or np.std(y) == 0:
        return False
    own, wanted = _within(x, groups) * others, _within(y, groups)
    varied = np.abs(wanted) > _EXACT * np.std(y)
    exact = np.abs(own + wanted) <= 1e-3 * np.std(y)
    return bool(varied.sum() >= _FEWEST_ROWS and exact[varied].mean() >= 0.95)


def _within(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Values less the mean of their group."""
    sums = np.bincount(groups, weights=values)
    return np.asarray(values - (sums / np.maximum(np.bincount(groups), 1))[groups])
