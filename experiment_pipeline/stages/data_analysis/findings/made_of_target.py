"""Features that are computed from the target of their own row, or of a later one.

A rolling mean that includes the day itself, target encoding over all rows, a running
total: alone they may predict little, but a model can recover the target from several of
them. The rules check their arithmetic, not their skill.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.facts import NumberFacts, TextFacts
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, listed
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.kinds import TEXTS, kind_of, numbers_of

# A mean of more rows than this leaks little of each target.
_FEW_ROWS = 20
# For windows.
_WALKED_ROWS = 4_000
_MOST_COLUMNS, _MOST_KEYS, _MOST_TIMES, _MOST_OUTCOMES = 200, 6, 2, 4
_LONGEST_WINDOW, _FURTHEST_AHEAD = 62, 31
_FEWEST_WALKED = 50
# Share of the rows for which the arithmetic must hold.
_EXACT_ROWS = 0.9
# As a share of the spread of the values compared.
_ROUNDING = 1e-3
_RELATED = 0.2
_SCREENED = 1_000
# pandas' adjusted exponential mean only follows the recursion after some rows.
_START = 20
# For group means.
_COMPARED_ROWS, _GROUPED_ROWS = 10_000, 1_000
_MOST_CLASSES, _MOST_GROUPINGS = 20, 20
_FEWEST_GROUPS, _FEWEST_GROUPED = 20, 30
# Weights, in rows, with which an encoder may have shrunk a group's mean to the overall
# mean.
_PRIORS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
# A column that was not computed from the rows is this close to their means in one of a
# million tables.
_LARGEST_CHANCE = 1e-6
_EXACT = 1e-6


class MadeOfTarget(Rule):
    """Features that are computed from the target of their own row, or of a
    later one.
    """

    code, title = "made_of_target", "Features made of the target"
    advice = "Compute it from earlier rows only, leave encoding to search.features, or exclude it."
    excluded = "computed from the target"

    def check(self, subject: Subject) -> Finding:
        if subject.target.problem:
            return self.not_applicable(f"Nothing to predict: {subject.target.problem}.")
        if not subject.numbers:
            return self.not_applicable("There is no number feature.")
        found: dict[str, FromTarget] = {}
        for one in (*_windows(subject), *_group_means(subject)):
            found.setdefault(one.column, one)
        if not found:
            none = "No number feature is a window or a mean over the target."
            if len(subject.calculable) > _MOST_COLUMNS:
                none += f" Windows are not computed beyond the first {_MOST_COLUMNS} columns."
            return self.not_found(none)
        worst = sorted(found.values(), key=lambda one: -one.own_weight)
        each = [f"{numbers.shown(one.column)} is {one.words}" for one in worst]
        return self.found(
            "blocks" if worst[0].own_weight * _FEW_ROWS >= 1 else "condition",
            listed(each, "computed from the target"),
            columns=[one.column for one in worst],
        )


@dataclass(frozen=True)
class FromTarget:
    """A column that is computed from the target, and how."""

    column: str
    words: str
    # Mean share of the row's own target in its value: 1 where the target follows
    # exactly from it and other known values, 0 where it needs the value of a later row.
    own_weight: float


def _key_columns(subject: Subject, most: int) -> list[str]:
    """At most `most` text and integer columns whose values repeat; the split's group
    first.
    """
    split = subject.spec.split
    first = [split.column] if split.by == "group" else []
    others = [
        c for c in subject.frame.columns if c not in {*first, subject.spec.target}
    ]
    repeating = (
        column
        for column in [*first, *others]
        if kind_of(subject.frame[column]) in TEXTS | {"integer", "boolean"}
        and 2 <= _distinct(subject, column) <= len(subject.frame) / 2
    )
    return list(islice(repeating, most))


def _rows_of_groups(subject: Subject, column: str, most: int) -> np.ndarray:
    """Positions, ascending, of all rows with the first few values: about `most`, at
    most four times.
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


@dataclass(frozen=True, eq=False)
class _Walk:
    """Rows in one order, grouped by a key or not."""

    y: np.ndarray  # (m,) targets, nan where they are hidden or unknown
    start: np.ndarray  # (m,) position of the first row of each row's key value
    numbers: np.ndarray  # (m, columns) number features
    columns: tuple[str, ...]
    words: str  # " by store", or empty


def _windows(subject: Subject) -> Iterator[FromTarget]:
    """Yield the number features that are windows over the target."""
    columns = tuple(c for c, facts in subject.calculable.items() if facts.distinct > 2)
    columns = columns[:_MOST_COLUMNS]
    for walk in _walks(subject, columns) if columns else ():
        for column in _recursive(walk):
            words = "a sum or an exponential mean of the target up to the row itself"
            yield FromTarget(column, words + walk.words, 1.0)
        place = np.arange(len(walk.y))
        later = np.flatnonzero((place > walk.start) & np.isfinite(walk.y))
        n = (place - walk.start + 1)[later][:, None]
        now, before = walk.numbers[later], walk.numbers[later - 1]
        for column in _equal_the_target(
            walk, later, n * now - (n - 1) * before, now != before
        ):
            words = "the mean target of all rows so far, the row itself included"
            yield FromTarget(column, words + walk.words, 1.0)
        for column, width, ahead in _rolling(walk):
            until = "the row itself" if ahead == 0 else f"{ahead} rows later"
            words = f"a mean or sum of the targets of {width} rows, up to {until}"
            words = f"the target {ahead} rows later" if width == 1 else words
            yield FromTarget(column, words + walk.words, 1.0)
        # The sum of earlier rows has the opposite sign, and is no leak.
        rows = np.flatnonzero(
            (walk.start[1:] == walk.start[:-1]) & np.isfinite(walk.y[:-1])
        )
        spent = walk.numbers[rows] - walk.numbers[rows + 1]
        varied = np.isfinite(spent) & ((spent != 0) | (walk.y[rows][:, None] != 0))
        for column in _equal_the_target(walk, rows, spent, varied):
            words = "the sum of the target from the row itself on, as the next row's value shows"
            yield FromTarget(column, words + walk.words, 0.0)


def _walks(subject: Subject, columns: tuple[str, ...]) -> Iterator[_Walk]:
    """Rows in the order of the table and of its times, without and by each key, for
    each outcome.
    """
    outcomes = []
    for known in islice(subject.target.outcomes(), _MOST_OUTCOMES):
        outcomes.append(np.full(len(subject.frame), np.nan))
        outcomes[-1][subject.target.rows] = known
    keys = [
        (key, _rows_of_groups(subject, key, _WALKED_ROWS))
        for key in _key_columns(subject, _MOST_KEYS)
    ]
    split, orders = subject.spec.split, [np.arange(len(subject.frame))]
    times = [
        c for c in subject.frame.columns if kind_of(subject.frame[c]) == "datetime"
    ]
    if split.by == "time" and split.column not in times:
        times.append(split.column)
    orders += [
        np.argsort(subject.frame[column].to_numpy(), kind="stable")
        for column in times[:_MOST_TIMES]
        if not subject.frame[column].is_monotonic_increasing
    ]
    for order in orders:
        ways = [
            (
                "",
                order[:_WALKED_ROWS],
                np.zeros(len(order[:_WALKED_ROWS]), dtype=np.int64),
            )
        ]
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        for key, rows in keys:
            codes = pd.factorize(subject.frame[key].iloc[rows])[0]
            walked = np.lexsort((place[rows], codes))[:_WALKED_ROWS]
            ways.append((f" by {numbers.shown(key)}", rows[walked], codes[walked]))
        for words, rows, codes in ways:
            if rows.size >= _FEWEST_WALKED:
                values = np.column_stack(
                    [numbers_of(subject.frame[c].iloc[rows]) for c in columns]
                )
                first = np.append(True, np.diff(codes) != 0)
                start = np.maximum.accumulate(np.where(first, np.arange(len(rows)), 0))
                yield from (
                    _Walk(y[rows], start, values, columns, words) for y in outcomes
                )


def _equal_the_target(
    walk: _Walk, rows: np.ndarray, implied: np.ndarray, varied: np.ndarray
) -> list[str]:
    """Columns whose implied targets (rows, columns) are the true ones where they
    varied.
    """
    if rows.size < _FEWEST_WALKED:
        return []
    y = walk.y[rows][:, None]
    exact = varied & (np.abs(implied - y) <= 10 * _ROUNDING * np.std(y))
    count = varied.sum(axis=0)
    found = (count >= _FEWEST_WALKED) & (exact.sum(axis=0) >= _EXACT_ROWS * count)
    return [walk.columns[number] for number in np.flatnonzero(found)]


def _recursive(walk: _Walk) -> Iterator[str]:
    """Columns with x = p·x_before + q·y + r, where neither term alone gives x."""
    place = np.arange(len(walk.y))
    after = np.flatnonzero((place > walk.start) & np.isfinite(walk.y))
    settled = after[place[after] - walk.start[after] >= _START]
    rows = settled if settled.size >= _FEWEST_WALKED else after
    if rows.size < _FEWEST_WALKED or np.std(walk.y[rows]) == 0:
        return
    # R² of the steps on the value before and the target, from their correlations.
    y, before = walk.y[rows][:, None], walk.numbers[rows - 1]
    moves = walk.numbers[rows] - before
    by_target, joint = _correlations(moves, y)[:, 0], _correlations(before, y)[:, 0]
    known = np.isfinite(moves) & np.isfinite(before)
    products = np.where(known, _scaled(moves) * _scaled(before), 0.0)
    by_value = products.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    mixed = by_target**2 + by_value**2 - 2 * by_target * by_value * joint
    explained = mixed / np.maximum(1 - joint**2, 1e-9)
    for number in np.flatnonzero(explained >= 0.8):
        kept = known[:, number]
        now, last, own = (
            walk.numbers[rows, number][kept],
            before[kept, number],
            y[kept, 0],
        )
        steps = float(np.std(now - last))
        alone = _exact(last[:, None], now, steps) | _exact(own[:, None], now, steps)
        both = _exact(np.column_stack([last, own]), now, steps)[~alone]
        if both.size >= _FEWEST_WALKED and both.mean() >= _EXACT_ROWS:
            yield walk.columns[number]


def _exact(design: np.ndarray, wanted: np.ndarray, spread: float) -> np.ndarray:
    """Rows that a linear fit reproduces, bool (n,); it is refitted on the 80 % that it
    fits best.
    """
    design = np.column_stack([design - design.mean(axis=0), np.ones(len(wanted))])
    kept = np.arange(len(wanted))
    for _ in range(4):
        solution = np.linalg.lstsq(design[kept], wanted[kept], rcond=1e-12)[0]
        missed = np.abs(design @ solution - wanted)
        kept = np.argsort(missed, kind="stable")[
            : max(int(0.8 * len(wanted)), design.shape[1] + 1)
        ]
    return np.asarray(missed <= _ROUNDING * spread)


def _rolling(walk: _Walk) -> Iterator[tuple[str, int, int]]:
    """(column, width, ahead) where s·(x - x_before) = y[t + ahead] - y[t + ahead -
    width], s 1 or width.
    """
    moves = _steps(walk.numbers, walk.start, 1)
    own_moves = _steps(walk.y[:, None], walk.start, 1)[:, 0]
    later = [
        _shifted(own_moves, walk.start, ahead) for ahead in range(_FURTHEST_AHEAD + 1)
    ]
    related = _correlations(moves, np.column_stack(later)) >= _RELATED
    some = np.unique(np.linspace(0, len(moves) - 1, _SCREENED).astype(np.int64))
    for ahead in np.flatnonzero(related.any(axis=0)).tolist():
        widths = np.arange(2 if ahead == 0 else 1, _LONGEST_WINDOW + 1)
        gains = [
            _steps(walk.y[:, None], walk.start, int(width))[:, 0] for width in widths
        ]
        gained = np.column_stack([_shifted(gain, walk.start, ahead) for gain in gains])
        for number in np.flatnonzero(related[:, ahead]):
            own = moves[:, number]
            # Widths are screened on some of the rows first.
            screened = _matching(own[some], gained[some], widths, _FEWEST_WALKED // 5)
            for place in np.flatnonzero(screened >= _EXACT_ROWS - 0.1):
                each = slice(place, place + 1)
                share = _matching(own, gained[:, each], widths[each], _FEWEST_WALKED)[0]
                if share >= _EXACT_ROWS:
                    yield walk.columns[number], int(widths[place]), ahead
                    break


def _matching(
    moves: np.ndarray, gained: np.ndarray, widths: np.ndarray, fewest: int
) -> np.ndarray:
    """Share (widths,) of the rows with a step in which both steps agree; 0 for too few
    rows.
    """
    known = np.isfinite(gained) & np.isfinite(moves)[:, None]
    known &= (gained != 0) | (moves != 0)[:, None]
    count = known.sum(axis=0)
    spread = pd.DataFrame(np.where(known, gained, np.nan)).std(ddof=0).fillna(0.0)
    within = 10 * _ROUNDING * spread.to_numpy()
    shares = [
        (known & (np.abs(scale * moves[:, None] - gained) <= within)).sum(axis=0)
        / np.maximum(count, 1)
        for scale in (1, widths)
    ]
    return np.asarray(np.where(count >= fewest, np.maximum(*shares), 0.0))


def _steps(values: np.ndarray, start: np.ndarray, width: int) -> np.ndarray:
    """Difference to the row `width` before, nan where that row has another key."""
    steps = np.full(values.shape, np.nan)
    if width < len(values):
        steps[width:] = values[width:] - values[:-width]
        steps[np.arange(len(values)) - start < width] = np.nan
    return steps


def _shifted(values: np.ndarray, start: np.ndarray, ahead: int) -> np.ndarray:
    """The value `ahead` rows later, nan where that row has another key."""
    if ahead == 0:
        return values
    later = np.full(len(values), np.nan)
    later[:-ahead] = np.where(start[ahead:] == start[:-ahead], values[ahead:], np.nan)
    return later


def _correlations(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Correlations (columns, others) over the rows known in both, each scaled by all
    its rows.
    """
    first, second = _scaled(values), _scaled(others)
    both = np.isfinite(values).astype(float).T @ np.isfinite(others).astype(float)
    shares = first.T @ second / np.maximum(both, 1)
    return np.asarray(np.where(both >= _FEWEST_WALKED, shares, 0.0))


def _scaled(values: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and standard deviation 1; unknown values and constant columns
    are 0.
    """
    table = pd.DataFrame(values)
    spread = table.std(ddof=0)
    return (
        ((table - table.mean()) / spread.where(spread > 0, 1.0)).fillna(0.0).to_numpy()
    )


def _group_means(subject: Subject) -> Iterator[FromTarget]:
    """Yield the number features that are a group's mean target, each once."""
    suspects = dict(_on_the_scale_of_means(subject))
    columns, keys = list(subject.calculable), _key_columns(subject, _MOST_GROUPINGS)
    codes = {key: pd.factorize(subject.frame[key])[0] for key in keys if suspects}
    for column, outcomes in suspects.items():
        x = numbers_of(subject.frame[column])
        for key, groups in [*codes.items(), (column, pd.factorize(x)[0])]:
            sizes = np.bincount(groups[groups >= 0])
            # A mean is the same in all rows of its group.
            first, known = np.full(len(sizes), np.nan), (groups >= 0) & ~np.isnan(x)
            first[groups[known]] = x[known]
            if not np.all(np.isclose(first[groups[known]], x[known], rtol=1e-9)):
                continue
            if any(_is_mean(subject, x, y, groups, sizes) for y in outcomes):
                where = "its value" if key == column else numbers.shown(key)
                weight = len(sizes) / max(int(sizes.sum()), 1)
                yield FromTarget(
                    column, f"the mean target of all rows by {where}", weight
                )
                columns.remove(column)
                break
    for key in keys if columns else ():
        for column in _means_of_the_others(subject, columns, key):
            words = f"the mean target of the other rows by {numbers.shown(key)}"
            yield FromTarget(column, words, 1.0)
            columns.remove(column)


def _on_the_scale_of_means(subject: Subject) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Columns that have the mean of an outcome, and a slope as on its group means: 1,
    more if shrunk.
    """
    rows = subject.sample(np.arange(len(subject.target.rows)), _COMPARED_ROWS)
    outcomes = list(islice(subject.target.outcomes(), _MOST_CLASSES))
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


def _is_mean(
    subject: Subject,
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    sizes: np.ndarray,
) -> bool:
    """Whether x is closer to the mean of each group's visible rows than chance allows.

    Let σ² be the variance within groups. The mean of n_v rows differs from any x that
    was not computed from them by σ²/n_v or more on average; from the mean of all n
    rows, n_v of which are visible, by (1 - n_v/n) σ²/n_v. `x` and `groups` (-1: none)
    are of all rows, `y` of the visible ones, `sizes` the rows of each group.
    """
    from scipy.stats import chi2

    rows = subject.target.rows
    codes = groups[rows]
    known = (codes >= 0) & ~np.isnan(x[rows])
    codes, own, x_rows = codes[known], y[known], x[rows][known]
    visible = np.bincount(codes, minlength=len(sizes))
    used = (sizes >= 2) & (visible >= 1)
    safe = np.maximum(visible, 1)
    means = np.bincount(codes, weights=own, minlength=len(sizes)) / safe
    value = np.bincount(codes, weights=x_rows, minlength=len(sizes)) / safe
    freedom = int((visible[used] - 1).sum())
    count = int(used.sum())
    within = float(np.sum(((own - means[codes]) ** 2)[used[codes]]))
    if (
        count < _FEWEST_GROUPS
        or freedom < count / 4
        or within <= 1e-9 * np.var(y) * len(own)
    ):
        return False
    variance = within / freedom
    n, seen, means, value = sizes[used], visible[used], means[used], value[used]
    hidden = float(np.mean(1 - seen / n))
    plain = [(value * (n + prior) - prior * own.mean()) / n for prior in _PRIORS]
    distance = (
        min(float(np.sum(seen * (each - means) ** 2)) for each in plain) / variance
    )
    near = distance <= (2 * hidden + 0.05) * count
    return near and bool(chi2.cdf(distance, count) < _LARGEST_CHANCE)


def _means_of_the_others(
    subject: Subject, columns: Sequence[str], key: str
) -> list[str]:
    """Columns (S - y)/(n - 1): within a group they differ by -(y - y')/(n - 1),
    whatever S is.
    """
    rows = _rows_of_groups(subject, key, _GROUPED_ROWS)
    groups = pd.factorize(subject.frame[key].iloc[rows])[0]
    others = (np.bincount(groups) - 1)[groups]
    seen = np.isin(rows, subject.target.rows)
    places = np.searchsorted(subject.target.rows, rows[seen])
    outcomes = [y[places] for y in islice(subject.target.outcomes(), _MOST_CLASSES)]
    rows, groups, others = rows[seen], groups[seen], others[seen]
    return [
        column
        for column in columns
        if any(
            _mirrors(numbers_of(subject.frame[column].iloc[rows]), y, groups, others)
            for y in outcomes
        )
    ]


def _mirrors(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, others: np.ndarray
) -> bool:
    known = np.isfinite(x)
    x, y, groups, others = x[known], y[known], groups[known], others[known]
    if len(x) < _FEWEST_GROUPED or np.std(y) == 0:
        return False
    rows = np.maximum(np.bincount(groups), 1)
    # Values minus the mean of their group.
    own, wanted = [
        values - (np.bincount(groups, weights=values) / rows)[groups]
        for values in (x, y)
    ]
    varied = np.abs(wanted) > _EXACT * np.std(y)
    exact = np.abs(own * others + wanted) <= 1e-3 * np.std(y)
    return bool(varied.sum() >= _FEWEST_GROUPED and exact[varied].mean() >= 0.95)
