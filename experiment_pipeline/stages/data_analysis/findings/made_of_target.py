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
from experiment_pipeline.stages.data_analysis.finding import Finding, TargetRule
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.kinds import TEXTS, kind_of, numbers_of

# A mean of more rows than this leaks little of each target.
_FEW_ROWS = 20
# For windows.
_WALKED_ROWS, _FEWEST_WALKED = 4_000, 50
_MOST_COLUMNS, _MOST_KEYS, _MOST_TIMES, _MOST_OUTCOMES = 200, 6, 2, 4
_LONGEST_WINDOW, _FURTHEST_AHEAD = 62, 31
# Share of the rows for which the arithmetic must hold.
_EXACT_ROWS = 0.9
# As a share of the spread of the values compared.
_ROUNDING = 1e-3
_RELATED = 0.2
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


@dataclass(frozen=True)
class FromTarget:
    """A column that is computed from the target, and how."""

    column: str
    words: str
    # Mean share of the row's own target in its value: 1 where the target follows
    # exactly from it and other known values, 0 where it needs the value of a later row.
    own_weight: float


class MadeOfTarget(TargetRule):
    """Features that are computed from the target of their own row or a later one."""

    code = "made_of_target"
    title = "Features made of the target"
    advice = (
        "Compute it from earlier rows only, leave encoding to search.features, or "
        "exclude it."
    )
    excluded = "computed from the target"

    def examine(self, subject: Subject) -> Finding:
        if not subject.numbers:
            return self.not_applicable("There is no number feature.")
        computed: dict[str, FromTarget] = {}
        for questions in (_windows, _group_means, _means_of_the_others):
            for suspect in questions(subject):
                computed.setdefault(suspect.column, suspect)
        if not computed:
            evidence = "No number feature is a window or a mean over the target."
            if len(subject.calculable) > _MOST_COLUMNS:
                first = f"the first {_MOST_COLUMNS} columns"
                evidence += f" Windows are not computed beyond {first}."
            return self.not_found(evidence)
        worst = sorted(computed.values(), key=lambda suspect: -suspect.own_weight)
        severe = worst[0].own_weight * _FEW_ROWS >= 1
        count = numbers.counted(len(worst), "column")
        words = [f"{numbers.shown(s.column)} is {s.words}" for s in worst]
        return self.found(
            severity="blocks" if severe else "condition",
            evidence=f"{count} computed from the target: {numbers.some_of(words)}.",
            columns=[suspect.column for suspect in worst],
        )


def _key_columns(subject: Subject, most: int) -> list[str]:
    """Text and integer columns whose values repeat; the split's group first."""
    split = subject.spec.split
    columns = [c for c in subject.frame.columns if c != subject.spec.target]
    if split.by == "group":
        columns.sort(key=lambda column: column != split.column)
    repeating = (
        column
        for column in columns
        if kind_of(subject.frame[column]) in TEXTS | {"integer", "boolean"}
        and 2 <= _distinct(subject, column) <= len(subject.frame) / 2
    )
    return list(islice(repeating, most))


def _distinct(subject: Subject, column: str) -> int:
    facts = subject.numbers_and_texts.get(column)
    return facts.distinct if facts else int(subject.frame[column].nunique())


def _rows_of_groups(subject: Subject, key: str, most: int) -> np.ndarray:
    """Positions of all rows with the first few values: about `most`, up to 4 times."""
    values = subject.frame[key]
    rows_per_group = len(values) / max(_distinct(subject, key), 1)
    groups = values.iloc[:most].dropna().unique()[: max(int(most / rows_per_group), 1)]
    return np.flatnonzero(values.isin(groups).to_numpy())[: 4 * most]


@dataclass(frozen=True, eq=False)
class _Walk:
    """Rows in one order, grouped by a key or not."""

    y: np.ndarray  # (m,) targets, nan where they are hidden or unknown
    start: np.ndarray  # (m,) position of the first row of each row's key value
    numbers: np.ndarray  # (m, columns) number features
    columns: Sequence[str]
    words: str  # " by store", or empty

    @property
    def place(self) -> np.ndarray:
        """Place (m,) of each row among those of its key value, from 0."""
        return np.arange(len(self.y)) - self.start

    def suspect(self, column: int, words: str, own_weight: float = 1.0) -> FromTarget:
        """A column, by its number, that is computed along this walk."""
        return FromTarget(self.columns[column], words + self.words, own_weight)

    def steps(self, values: np.ndarray, width: int = 1) -> np.ndarray:
        """Difference to the row `width` before, nan where that row has another key."""
        steps = np.full(values.shape, np.nan)
        if width < len(values):
            steps[width:] = values[width:] - values[:-width]
            steps[self.place < width] = np.nan
        return steps

    def ahead(self, values: np.ndarray, rows: int) -> np.ndarray:
        """The value some rows later, nan where that row has another key."""
        if rows == 0:
            return values
        later = np.full(len(values), np.nan)
        same_key = self.start[rows:] == self.start[:-rows]
        later[:-rows] = np.where(same_key, values[rows:], np.nan)
        return later


def _windows(subject: Subject) -> Iterator[FromTarget]:
    """Yield the number features that are windows over the target."""
    columns = [c for c, facts in subject.calculable.items() if facts.distinct > 2]
    if columns:
        for walk in _walks(subject, columns[:_MOST_COLUMNS]):
            for question in (_recursions, _running_means, _rolling, _sums_ahead):
                yield from question(walk)


def _walks(subject: Subject, columns: Sequence[str]) -> Iterator[_Walk]:
    """Rows in each order, without and by each key, for each outcome."""
    frame = subject.frame
    outcomes = []
    for y in islice(subject.target.outcomes(), _MOST_OUTCOMES):
        outcome = np.full(len(frame), np.nan)
        outcome[subject.target.rows] = y
        outcomes.append(outcome)
    keys = _key_columns(subject, _MOST_KEYS)
    rows_by_key = {key: _rows_of_groups(subject, key, _WALKED_ROWS) for key in keys}
    for order in _orders(subject):
        first = order[:_WALKED_ROWS]
        groupings: list[tuple[str, np.ndarray, np.ndarray]] = [
            ("", first, np.zeros(len(first), np.int64))
        ]
        place = np.argsort(order)
        for key, rows in rows_by_key.items():
            codes = pd.factorize(frame[key].iloc[rows])[0]
            walked = np.lexsort((place[rows], codes))[:_WALKED_ROWS]
            groupings.append((f" by {numbers.shown(key)}", rows[walked], codes[walked]))
        for words, rows, codes in groupings:
            if rows.size < _FEWEST_WALKED:
                continue
            values = [numbers_of(frame[column].iloc[rows]) for column in columns]
            starts = np.append(True, np.diff(codes) != 0)
            start = np.maximum.accumulate(np.where(starts, np.arange(len(rows)), 0))
            for outcome in outcomes:
                table = np.column_stack(values)
                yield _Walk(outcome[rows], start, table, columns, words)


def _orders(subject: Subject) -> Iterator[np.ndarray]:
    """Positions (n,) in the order of the table and of its first times."""
    frame, split = subject.frame, subject.spec.split
    yield np.arange(len(frame))
    times = subject.times
    if split.by == "time" and split.column not in times:
        times.append(split.column)
    for time in times[:_MOST_TIMES]:
        if not frame[time].is_monotonic_increasing:
            yield np.argsort(frame[time].to_numpy(), kind="stable")


def _running_means(walk: _Walk) -> Iterator[FromTarget]:
    """Columns with n·x = (n - 1)·x_before + y."""
    later = np.flatnonzero((walk.place > 0) & np.isfinite(walk.y))
    n = walk.place[later][:, None] + 1
    x, before = walk.numbers[later], walk.numbers[later - 1]
    implied = n * x - (n - 1) * before
    for column in _equal_the_target(walk.y[later], implied, x != before):
        words = "the mean target of all rows so far, the row itself included"
        yield walk.suspect(column, words)


def _sums_ahead(walk: _Walk) -> Iterator[FromTarget]:
    """Columns with y = x - x_after; a sum of earlier rows has the opposite sign."""
    followed = walk.start[1:] == walk.start[:-1]
    rows = np.flatnonzero(followed & np.isfinite(walk.y[:-1]))
    y = walk.y[rows]
    implied = walk.numbers[rows] - walk.numbers[rows + 1]
    # Of steps that are nearly 0 both agree whatever the column is.
    size = np.maximum(np.abs(implied), np.abs(y)[:, None])
    varied = size > 10 * _ROUNDING * np.std(y)
    for column in _equal_the_target(y, implied, varied):
        words = (
            "the sum of the target from the row itself on, as the next row's value "
            "shows"
        )
        yield walk.suspect(column, words, own_weight=0.0)


def _equal_the_target(
    y: np.ndarray, implied: np.ndarray, varied: np.ndarray
) -> list[int]:
    """Columns whose implied targets (rows, columns) are the true ones where varied."""
    if y.size < _FEWEST_WALKED:
        return []
    exact = varied & (np.abs(implied - y[:, None]) <= 10 * _ROUNDING * np.std(y))
    count = varied.sum(axis=0)
    enough = exact.sum(axis=0) >= _EXACT_ROWS * count
    return np.flatnonzero((count >= _FEWEST_WALKED) & enough).tolist()


def _recursions(walk: _Walk) -> Iterator[FromTarget]:
    """Columns with x = p·x_before + q·y + r, where neither term alone gives x."""
    after = np.flatnonzero((walk.place > 0) & np.isfinite(walk.y))
    settled = after[walk.place[after] >= _START]
    rows = settled if settled.size >= _FEWEST_WALKED else after
    y = walk.y[rows][:, None]
    if rows.size < _FEWEST_WALKED or np.std(y) == 0:
        return
    x, before = walk.numbers[rows], walk.numbers[rows - 1]
    for column in _follow_both(x - before, before, y):
        used = np.isfinite(x[:, column]) & np.isfinite(before[:, column])
        value = x[used, column]
        terms = np.column_stack([before[:, column], y])[used]
        tolerance = _ROUNDING * float(np.std(value - terms[:, 0]))
        one_term = _reproduced(terms[:, :1], value, tolerance)
        one_term |= _reproduced(terms[:, 1:], value, tolerance)
        both_terms = _reproduced(terms, value, tolerance)[~one_term]
        if both_terms.size >= _FEWEST_WALKED and both_terms.mean() >= _EXACT_ROWS:
            words = "a sum or an exponential mean of the target up to the row itself"
            yield walk.suspect(column, words)


def _follow_both(steps: np.ndarray, before: np.ndarray, y: np.ndarray) -> list[int]:
    """Columns whose steps (rows, columns) follow the value before and the target.

    R² of both is 0.8 or more, from their correlations.
    """
    finite = np.isfinite(steps) & np.isfinite(before)
    by_target, joint = _correlations(steps, y)[:, 0], _correlations(before, y)[:, 0]
    products = np.where(finite, _scaled(steps) * _scaled(before), 0.0)
    by_value = products.sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    mixed = by_target**2 + by_value**2 - 2 * by_target * by_value * joint
    explained = mixed / np.maximum(1 - joint**2, 1e-9)
    return np.flatnonzero(explained >= 0.8).tolist()


def _reproduced(terms: np.ndarray, x: np.ndarray, tolerance: float) -> np.ndarray:
    """Rows that a linear fit reproduces, bool (n,); refitted on the best 80 %."""
    design = np.column_stack([terms - terms.mean(axis=0), np.ones(len(x))])
    best = np.arange(len(x))
    for _ in range(4):
        solution = np.linalg.lstsq(design[best], x[best], rcond=1e-12)[0]
        missed = np.abs(design @ solution - x)
        size = max(int(0.8 * len(x)), design.shape[1] + 1)
        best = np.argsort(missed, kind="stable")[:size]
    return np.asarray(missed <= tolerance)


def _rolling(walk: _Walk) -> Iterator[FromTarget]:
    """Columns with s·(x - x_before) = y[t + ahead] - y[t + ahead - width].

    s is 1 for a sum of `width` rows and `width` for a mean.
    """
    moves, target_moves = walk.steps(walk.numbers), walk.steps(walk.y)
    later = [walk.ahead(target_moves, rows) for rows in range(_FURTHEST_AHEAD + 1)]
    related = _correlations(moves, np.column_stack(later)) >= _RELATED
    for ahead in np.flatnonzero(related.any(axis=0)).tolist():
        widths = np.arange(2 if ahead == 0 else 1, _LONGEST_WINDOW + 1)
        gains = [walk.ahead(walk.steps(walk.y, int(w)), ahead) for w in widths]
        gained = np.column_stack(gains)
        for column in np.flatnonzero(related[:, ahead]).tolist():
            shares = _matching(moves[:, column], gained, widths)
            matching = widths[shares >= _EXACT_ROWS]
            if matching.size:
                yield walk.suspect(column, _window_in_words(int(matching[0]), ahead))


def _window_in_words(width: int, ahead: int) -> str:
    if width == 1:
        return f"the target {ahead} rows later"
    until = f"{ahead} rows later" if ahead else "the row itself"
    return f"a mean or sum of the targets of {width} rows, up to {until}"


def _matching(moves: np.ndarray, gained: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Share (widths,) of rows with a step where both steps agree; 0: too few rows."""
    finite = np.isfinite(gained) & np.isfinite(moves)[:, None]
    varied = finite & ((gained != 0) | (moves[:, None] != 0))
    spread = pd.DataFrame(np.where(varied, gained, np.nan)).std(ddof=0).fillna(0.0)
    within = 10 * _ROUNDING * spread.to_numpy()
    shares = []
    for summed in (moves[:, None], widths * moves[:, None]):
        # Of steps that are nearly 0 both agree whatever the column is.
        steps = varied & (np.maximum(np.abs(gained), np.abs(summed)) > within)
        count = steps.sum(axis=0)
        agreeing = (steps & (np.abs(summed - gained) <= within)).sum(axis=0)
        share = agreeing / np.maximum(count, 1)
        shares.append(np.where(count >= _FEWEST_WALKED, share, 0.0))
    return np.maximum(*shares)


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlations of all columns over rows known in both, scaled by all rows."""
    count = np.isfinite(first).astype(float).T @ np.isfinite(second).astype(float)
    shares = _scaled(first).T @ _scaled(second) / np.maximum(count, 1)
    return np.asarray(np.where(count >= _FEWEST_WALKED, shares, 0.0))


def _scaled(values: np.ndarray) -> np.ndarray:
    """Standardized columns; unknown values and constant columns are 0."""
    table = pd.DataFrame(values)
    spread = table.std(ddof=0)
    standardized = (table - table.mean()) / spread.where(spread > 0, 1.0)
    return standardized.fillna(0.0).to_numpy()


def _group_means(subject: Subject) -> Iterator[FromTarget]:
    """Yield the number features that are a group's mean target."""
    suspects = _on_the_scale_of_means(subject)
    if not suspects:
        return
    keys = _key_columns(subject, _MOST_GROUPINGS)
    codes = {key: pd.factorize(subject.frame[key])[0] for key in keys}
    for column, outcomes in suspects.items():
        x = numbers_of(subject.frame[column])
        # A mean of more keys is recognised by its own values.
        for key, groups in [*codes.items(), (column, pd.factorize(x)[0])]:
            if not _is_constant_in(groups, x):
                continue
            sizes = np.bincount(groups[groups >= 0])
            if any(_is_mean(subject, x, y, groups, sizes) for y in outcomes):
                where = "its value" if key == column else numbers.shown(key)
                weight = len(sizes) / max(int(sizes.sum()), 1)
                words = f"the mean target of all rows by {where}"
                yield FromTarget(column, words, weight)
                break


def _is_constant_in(groups: np.ndarray, x: np.ndarray) -> bool:
    """Whether the known values are the same in all rows of a group, -1: none."""
    finite = (groups >= 0) & ~np.isnan(x)
    values_of_groups = np.full(groups.max(initial=-1) + 1, np.nan)
    values_of_groups[groups[finite]] = x[finite]
    return bool(
        np.isclose(values_of_groups[groups[finite]], x[finite], rtol=1e-9).all()
    )


def _on_the_scale_of_means(subject: Subject) -> dict[str, list[np.ndarray]]:
    """Column → outcomes whose mean it has, and a slope as on its group means.

    The slope of an outcome on its group means is 1, and more if they are shrunk.
    """
    rows = subject.sample(np.arange(len(subject.target.rows)), _COMPARED_ROWS)
    outcomes = list(islice(subject.target.outcomes(), _MOST_CLASSES))
    suspects = {}
    for column, facts in subject.calculable.items():
        x = numbers_of(subject.frame[column])[subject.target.rows[rows]]
        finite = np.isfinite(x)
        x = x[finite]
        if facts.distinct < _FEWEST_GROUPS or not x.size or np.var(x) == 0:
            continue
        fitting = []
        for outcome in outcomes:
            y = outcome[rows][finite]
            slope = float(np.mean((x - x.mean()) * y)) / np.var(x)
            shift = abs(float(x.mean() - y.mean()))
            if 0.5 <= slope <= 10 and shift <= 0.2 * float(np.std(y)):
                fitting.append(outcome)
        if fitting:
            suspects[column] = fitting
    return suspects


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

    x, codes = x[subject.target.rows], groups[subject.target.rows]
    finite = (codes >= 0) & ~np.isnan(x)
    x, y, codes = x[finite], y[finite], codes[finite]
    visible = np.bincount(codes, minlength=len(sizes))
    means = np.bincount(codes, y, minlength=len(sizes)) / np.maximum(visible, 1)
    values = np.bincount(codes, x, minlength=len(sizes)) / np.maximum(visible, 1)
    used = (sizes >= 2) & (visible >= 1)
    within = float(np.sum(((y - means[codes]) ** 2)[used[codes]]))
    count, freedom = int(used.sum()), int((visible[used] - 1).sum())
    if count < _FEWEST_GROUPS or freedom < count / 4:
        return False
    variance = within / freedom
    if within <= 1e-9 * np.var(y) * len(y):
        return False
    n, visible, means, values = sizes[used], visible[used], means[used], values[used]
    distances = []
    for prior in _PRIORS:
        plain = (values * (n + prior) - prior * y.mean()) / n
        distances.append(float(np.sum(visible * (plain - means) ** 2)) / variance)
    hidden = float(np.mean(1 - visible / n))
    near = min(distances) <= (2 * hidden + 0.05) * count
    return near and bool(chi2.cdf(min(distances), count) < _LARGEST_CHANCE)


def _means_of_the_others(subject: Subject) -> Iterator[FromTarget]:
    """Yield columns (S - y)/(n - 1): the mean target of the other rows of a group.

    Within a group they differ by -(y - y')/(n - 1), whatever S is.
    """
    target = subject.target
    for key in _key_columns(subject, _MOST_GROUPINGS):
        rows = _rows_of_groups(subject, key, _GROUPED_ROWS)
        groups = pd.factorize(subject.frame[key].iloc[rows])[0]
        other_rows = (np.bincount(groups) - 1)[groups]
        visible = np.isin(rows, target.rows)
        rows, groups, other_rows = rows[visible], groups[visible], other_rows[visible]
        places = np.searchsorted(target.rows, rows)
        outcomes = [y[places] for y in islice(target.outcomes(), _MOST_CLASSES)]
        for column in subject.calculable:
            x = numbers_of(subject.frame[column].iloc[rows])
            if any(_mirrors(x, y, groups, other_rows) for y in outcomes):
                words = f"the mean target of the other rows by {numbers.shown(key)}"
                yield FromTarget(column, words, 1.0)


def _mirrors(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, other_rows: np.ndarray
) -> bool:
    finite = np.isfinite(x)
    x, y, groups = x[finite], y[finite], groups[finite]
    if len(x) < _FEWEST_GROUPED or np.std(y) == 0:
        return False
    deviation = _centred(y, groups)
    varied = np.abs(deviation) > _EXACT * np.std(y)
    implied = -other_rows[finite] * _centred(x, groups)
    exact = np.abs(implied - deviation) <= 1e-3 * np.std(y)
    return bool(varied.sum() >= _FEWEST_GROUPED and exact[varied].mean() >= 0.95)


def _centred(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Values minus the mean of their group."""
    rows = np.maximum(np.bincount(groups), 1)
    return values - (np.bincount(groups, weights=values) / rows)[groups]
