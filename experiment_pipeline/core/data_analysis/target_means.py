"""Columns that hold the mean target of each row's group: target encoding over all rows.

In: a subject. Out: which number columns, and of which groups. A group's mean with the row in it
gives a part of the answer away; the mean of the others gives all of it. What such a column does
to a score cannot be told from its skill, so the arithmetic is checked instead: the mean of the
visible rows must lie closer to the column than rows drawn from the group could.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd

from experiment_pipeline.core.data_analysis.columns import kind_of, numbers_of
from experiment_pipeline.core.data_analysis.subject import Subject

MOST_ROWS = 10_000
MOST_CLASSES = 20
MOST_KEYS = 20
# Rows by which an encoder may have drawn a group's mean to the overall one.
PRIORS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_FEWEST_GROUPS = 20
_FEWEST_ROWS = 30
# An honest column is that close to the means of rows it has not seen once in a million tables.
_LARGEST_CHANCE = 1e-6
_EXACT = 1e-6


@dataclass(frozen=True)
class FromTarget:
    """A column that is computed from the target.

    Attributes:
        column: its name.
        words: what it is, as the end of a sentence.
        own_weight: share of the row's own target in its value, over all rows on average; 1 where
            it follows exactly from the value and others that are at hand, 0 where it needs the
            value of a later row.
    """

    column: str
    words: str
    own_weight: float


@dataclass(frozen=True, eq=False)
class Groups:
    """What rows are grouped by.

    Attributes:
        name: of the column.
        codes: (n,) of all rows; -1 where it is missing.
        sizes: (groups,) rows of each, the hidden ones too.
    """

    name: str
    codes: np.ndarray
    sizes: np.ndarray


def target_means(subject: Subject) -> Iterator[FromTarget]:
    """Yield the number features that are a group's mean target, each once."""
    suspects = dict(_on_the_scale_of_means(subject))
    columns = list(subject.calculable)
    keys = list(_keys(subject)) if columns else []
    for column, outcomes in suspects.items():
        x = numbers_of(subject.frame[column])
        grouped = [*(key for key in keys if _decides(key, x)), _groups(column, x)]
        for groups in grouped:
            if any(_is_mean(subject, x, outcome, groups) for outcome in outcomes):
                weight = len(groups.sizes) / max(int(groups.sizes.sum()), 1)
                where = "its value" if groups.name == column else groups.name
                yield FromTarget(column, f"the mean target of all rows by {where}", weight)
                columns.remove(column)
                break
    for key in keys:
        for column in _means_of_the_others(subject, columns, key):
            yield FromTarget(column, f"the mean target of the other rows by {key.name}", 1.0)
            columns.remove(column)


def _on_the_scale_of_means(subject: Subject) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Columns for which the target rises as for its own means, with the outcomes it rises for.

    The target's slope on its group means is 1, and more where they are drawn to the middle.
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


def _keys(subject: Subject) -> Iterator[Groups]:
    """The columns that may have grouped the rows, features or not: texts and whole numbers."""
    found = 0
    for column in subject.frame.columns.drop(subject.spec.target):
        values = subject.frame[column]
        if kind_of(values) not in {"text", "number"} or pd.api.types.is_float_dtype(values.dtype):
            continue
        groups = _groups(str(column), values)
        if _FEWEST_GROUPS <= len(groups.sizes) <= len(values) / 2:
            yield groups
            found += 1
        if found == MOST_KEYS:
            return


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

    Let σ² be the variance within groups. For any x that has not seen these rows the mean of
    n_v of them differs from it by σ²/n_v or more on average; for the mean of all n rows, n_v
    of which are visible, by (1 - n_v/n) σ²/n_v.
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
    for prior in PRIORS:
        plain = (value * (n + prior) - prior * own.mean()) / n
        distance = float(np.sum(seen * (plain - means) ** 2)) / variance
        if distance / count <= 2 * hidden + 0.05:
            return bool(chi2.cdf(distance, count) < _LARGEST_CHANCE)
    return False


def _means_of_the_others(subject: Subject, columns: list[str], key: Groups) -> list[str]:
    """Columns whose differences within a group are those of the target, turned and divided by n-1.

    (S - y)/(n - 1) differs between two rows of a group by -(y - y')/(n - 1), whatever S is.
    """
    rows = subject.target.rows
    codes = key.codes[rows]
    few = codes < int(np.searchsorted(np.cumsum(np.bincount(codes[codes >= 0])), MOST_ROWS)) + 1
    chosen = np.flatnonzero((codes >= 0) & few)[:MOST_ROWS]
    if chosen.size < _FEWEST_ROWS:
        return []
    groups, sizes = codes[chosen], key.sizes[codes[chosen]]
    found: list[str] = []
    outcomes = [_within(y[chosen], groups) for y in islice(subject.target.outcomes(), MOST_CLASSES)]
    for column in columns:
        x = numbers_of(subject.frame[column].iloc[rows[chosen]])
        if not np.isfinite(x).all():
            continue
        own = _within(x, groups) * (sizes - 1)
        for y in outcomes:
            telling = np.abs(y) > _EXACT * max(float(np.std(y)), 1e-300)
            exact = np.abs(own + y) <= 1e-3 * max(float(np.std(y)), 1e-300)
            if telling.sum() >= _FEWEST_ROWS and np.mean(exact[telling]) >= 0.95:
                found.append(column)
                break
    return found


def _within(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Values less the mean of their group."""
    sums = np.bincount(groups, weights=values)
    return np.asarray(values - (sums / np.maximum(np.bincount(groups), 1))[groups])
