"""Columns computed along the rows from targets that are not yet known: rolling means and sums.

In: a subject. Out: the number columns that contain the row's own target, or a later one; a mean of
earlier rows only is not reported. Rows are read in the order of the table and of its times, with
and without a key that they are grouped by.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.stages.data_analysis.target_means import (
    FromTarget,
    key_columns,
    rows_of_groups,
)
from experiment_pipeline.table.kinds import kind_of, numbers_of

MOST_ROWS = 4_000
MOST_COLUMNS = 200
MOST_KEYS = 6
MOST_TIMES = 2
MOST_OUTCOMES = 4
LONGEST_WINDOW = 62
FURTHEST_AHEAD = 31
_FEWEST_ROWS = 50
# Share of the rows for which the arithmetic must hold.
_EXACT_ROWS = 0.9
# As a share of the spread of the values compared.
_ROUNDING = 1e-3
_RELATED = 0.2
_SCREENED = 1_000
# The adjusted exponential mean of pandas follows the recursion only after some rows.
_START = 20


@dataclass(frozen=True, eq=False)
class _Walk:
    """Rows in one order, grouped by a key or not."""

    y: np.ndarray  # (m,) targets, nan where they are hidden or unknown
    start: np.ndarray  # (m,) position of the first row of each row's key value
    numbers: np.ndarray  # (m, columns) number features
    columns: tuple[str, ...]
    words: str  # " by store", or empty


def target_windows(subject: Subject) -> Iterator[FromTarget]:
    """Yield the number features that are windows over the target, each once."""
    columns = tuple(c for c, facts in subject.calculable.items() if facts.distinct > 2)
    columns = columns[:MOST_COLUMNS]
    named: set[str] = set()
    for walk in _walks(subject, columns) if columns else ():
        for found in _found(walk):
            if found.column not in named:
                named.add(found.column)
                yield found


def _found(walk: _Walk) -> Iterator[FromTarget]:
    for words, columns in (
        ("a sum or an exponential mean of the target up to the row itself", _recursive(walk)),
        ("the mean target of all rows so far, the row itself included", _mean_so_far(walk)),
    ):
        yield from (FromTarget(column, words + walk.words, 1.0) for column in columns)
    for column, width, ahead in _rolling(walk):
        until = "the row itself" if ahead == 0 else f"{ahead} rows later"
        words = f"a mean or sum of the targets of {width} rows, up to {until}"
        words = f"the target {ahead} rows later" if width == 1 else words
        yield FromTarget(column, words + walk.words, 1.0)
    for column in _still_to_come(walk):
        words = "the sum of the target from the row itself on, as the next row's value shows"
        yield FromTarget(column, words + walk.words, 0.0)


def _walks(subject: Subject, columns: tuple[str, ...]) -> Iterator[_Walk]:
    """Each order of the rows, without a key and within each key, for each outcome."""
    outcomes = []
    for known in islice(subject.target.outcomes(), MOST_OUTCOMES):
        outcomes.append(np.full(len(subject.frame), np.nan))
        outcomes[-1][subject.target.rows] = known
    keys = [
        (key, rows_of_groups(subject, key, MOST_ROWS)) for key in key_columns(subject, MOST_KEYS)
    ]
    for order in _orders(subject):
        ways = [("", order[:MOST_ROWS], np.zeros(len(order[:MOST_ROWS]), dtype=np.int64))]
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        for key, rows in keys:
            codes = pd.factorize(subject.frame[key].iloc[rows])[0]
            walked = np.lexsort((place[rows], codes))[:MOST_ROWS]
            ways.append((f" by {numbers.shown(key)}", rows[walked], codes[walked]))
        for words, rows, codes in ways:
            if rows.size >= _FEWEST_ROWS:
                values = np.column_stack([numbers_of(subject.frame[c].iloc[rows]) for c in columns])
                first = np.append(True, np.diff(codes) != 0)
                start = np.maximum.accumulate(np.where(first, np.arange(len(rows)), 0))
                yield from (_Walk(y[rows], start, values, columns, words) for y in outcomes)


def _orders(subject: Subject) -> Iterator[np.ndarray]:
    """The order of the table, and that of each time by which it is not sorted."""
    yield np.arange(len(subject.frame))
    split = subject.spec.split
    times = [c for c in subject.frame.columns if kind_of(subject.frame[c]) == "datetime"]
    if split.by == "time" and split.column not in times:
        times.append(split.column)
    for column in times[:MOST_TIMES]:
        if not subject.frame[column].is_monotonic_increasing:
            yield np.argsort(subject.frame[column].to_numpy(), kind="stable")


def _recursive(walk: _Walk) -> Iterator[str]:
    """Columns with x = p·x_before + q·y + r, where neither term alone gives x."""
    place = np.arange(len(walk.y))
    after = np.flatnonzero((place > walk.start) & np.isfinite(walk.y))
    settled = after[place[after] - walk.start[after] >= _START]
    rows = settled if settled.size >= _FEWEST_ROWS else after
    if rows.size < _FEWEST_ROWS or np.std(walk.y[rows]) == 0:
        return
    moves = walk.numbers[rows] - walk.numbers[rows - 1]
    for number in np.flatnonzero(_explained(moves, walk.numbers[rows - 1], walk.y[rows]) >= 0.8):
        now, before = walk.numbers[rows, number], walk.numbers[rows - 1, number]
        known = np.isfinite(now) & np.isfinite(before)
        now, before, own = now[known], before[known], walk.y[rows][known]
        steps = float(np.std(now - before))
        alone = _exact(before[:, None], now, steps) | _exact(own[:, None], now, steps)
        both = _exact(np.column_stack([before, own]), now, steps)[~alone]
        if both.size >= _FEWEST_ROWS and both.mean() >= _EXACT_ROWS:
            yield walk.columns[number]


def _explained(moves: np.ndarray, before: np.ndarray, y: np.ndarray) -> np.ndarray:
    """R² (columns,) of the steps on the value before and the target, from their correlations."""
    by_target = _correlations(moves, y[:, None])[:, 0]
    joint = _correlations(before, y[:, None])[:, 0]
    known = np.isfinite(moves) & np.isfinite(before)
    products = np.where(known, _scaled(moves) * _scaled(before), 0.0)
    by_value = products.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    mixed = by_target**2 + by_value**2 - 2 * by_target * by_value * joint
    return np.asarray(mixed / np.maximum(1 - joint**2, 1e-9))


def _exact(design: np.ndarray, wanted: np.ndarray, spread: float) -> np.ndarray:
    """Rows that a linear fit reproduces, bool (n,); it is refitted on the 80 % that it fits best."""
    design = np.column_stack([design - design.mean(axis=0), np.ones(len(wanted))])
    kept = np.arange(len(wanted))
    for _ in range(4):
        solution = np.linalg.lstsq(design[kept], wanted[kept], rcond=1e-12)[0]
        missed = np.abs(design @ solution - wanted)
        kept = np.argsort(missed, kind="stable")[: max(int(0.8 * len(wanted)), design.shape[1] + 1)]
    return np.asarray(missed <= _ROUNDING * spread)


def _mean_so_far(walk: _Walk) -> Iterator[str]:
    """Columns with n·x - (n - 1)·x_before equal to the target."""
    place = np.arange(len(walk.y))
    rows = np.flatnonzero((place > walk.start) & np.isfinite(walk.y))
    if rows.size < _FEWEST_ROWS:
        return
    n = (place - walk.start + 1)[rows][:, None]
    implied = n * walk.numbers[rows] - (n - 1) * walk.numbers[rows - 1]
    y = walk.y[rows][:, None]
    moved = walk.numbers[rows] != walk.numbers[rows - 1]
    exact = np.abs(implied - y) <= 10 * _ROUNDING * np.std(y)
    for number, column in enumerate(walk.columns):
        seen = moved[:, number]
        if seen.sum() >= _FEWEST_ROWS and exact[seen, number].mean() >= _EXACT_ROWS:
            yield column


def _still_to_come(walk: _Walk) -> Iterator[str]:
    """Columns with x - x_after equal to the target; for a sum of earlier rows the sign is opposite."""
    rows = np.flatnonzero((walk.start[1:] == walk.start[:-1]) & np.isfinite(walk.y[:-1]))
    if rows.size < _FEWEST_ROWS:
        return
    y = walk.y[rows][:, None]
    spent = walk.numbers[rows] - walk.numbers[rows + 1]
    varied = np.isfinite(spent) & ((spent != 0) | (y != 0))
    exact = varied & (np.abs(spent - y) <= 10 * _ROUNDING * np.std(y))
    count = varied.sum(axis=0)
    found = (count >= _FEWEST_ROWS) & (exact.sum(axis=0) >= _EXACT_ROWS * count)
    yield from (walk.columns[number] for number in np.flatnonzero(found))


def _rolling(walk: _Walk) -> Iterator[tuple[str, int, int]]:
    """Columns with s·(x - x_before) = y[t + ahead] - y[t + ahead - width], s = 1 or width.

    Tried only where the steps of x correlate with those of the target `ahead` rows later.
    """
    moves = _steps(walk.numbers, walk.start, 1)
    own_moves = _steps(walk.y[:, None], walk.start, 1)[:, 0]
    later = [_shifted(own_moves, walk.start, ahead) for ahead in range(FURTHEST_AHEAD + 1)]
    related = _correlations(moves, np.column_stack(later)) >= _RELATED
    for ahead in np.flatnonzero(related.any(axis=0)).tolist():
        widths = np.arange(2 if ahead == 0 else 1, LONGEST_WINDOW + 1)
        gains = [_steps(walk.y[:, None], walk.start, int(width))[:, 0] for width in widths]
        gained = np.column_stack([_shifted(gain, walk.start, ahead) for gain in gains])
        for number in np.flatnonzero(related[:, ahead]):
            place = _width(moves[:, number], gained, widths)
            if place is not None:
                yield walk.columns[number], int(widths[place]), ahead


def _width(moves: np.ndarray, gained: np.ndarray, widths: np.ndarray) -> int | None:
    """Position of the window's width, if any; screened on some of the rows first."""
    some = np.unique(np.linspace(0, len(moves) - 1, _SCREENED).astype(np.int64))
    screened = _matching(moves[some], gained[some], widths, _FEWEST_ROWS // 5)
    for place in np.flatnonzero(screened >= _EXACT_ROWS - 0.1):
        each = slice(place, place + 1)
        if _matching(moves, gained[:, each], widths[each], _FEWEST_ROWS)[0] >= _EXACT_ROWS:
            return int(place)
    return None


def _matching(moves: np.ndarray, gained: np.ndarray, widths: np.ndarray, fewest: int) -> np.ndarray:
    """Share (widths,) of the rows with a step in which both steps agree; 0 for too few rows."""
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
    """Correlations (columns, others) over the rows known in both, each scaled by all its rows."""
    first, second = _scaled(values), _scaled(others)
    both = np.isfinite(values).astype(float).T @ np.isfinite(others).astype(float)
    return np.asarray(np.where(both >= _FEWEST_ROWS, first.T @ second / np.maximum(both, 1), 0.0))


def _scaled(values: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and standard deviation 1; unknown values and constant columns are 0."""
    table = pd.DataFrame(values)
    spread = table.std(ddof=0)
    return ((table - table.mean()) / spread.where(spread > 0, 1.0)).fillna(0.0).to_numpy()
