"""Features that reveal one class in some of their rows: by a value, a range, or because
they are known at all.

A reason that only complaints have, a refund that only those get who leave. Over all
rows such a column predicts little, so its skill does not show it. A strong honest
number is also pure at its end, but becomes so gradually; a leak begins at a step.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.skill import MOST_ROWS
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, numbers_of

# Of more classes, some are told by one honest column: of 32 plants one has needles.
_MOST_CLASSES = 10
# Least rows that reveal a class, of those that judge, and in a text of its own.
_FEWEST_ROWS, _FEWEST_OF_TEXT = 10, 10
# Half of the rows judge, so a smaller class is hardly ever seen to be revealed.
_FEWEST_OF_CLASS = 3 * _FEWEST_ROWS
# Share of the class that is revealed, and of the doubt whether it is this class that is
# taken away: 0 for its share in all rows, 1 without an exception.
_REVEALED, _PURE = 0.5, 0.95
# Chance of so many rows of one class if the column told nothing.
_LARGEST_CHANCE = 1e-6
# A row of another class costs a range so many rows of the class.
_COST = 20.0
# Least share of the fall in the share of the class that happens at the edge of a range,
# and the rows at an edge: as a share of all, at least, at most.
_STEP, _EDGE, _EDGE_ROWS = 0.5, 0.02, (10, 50)
# In fewer rows honest classes are also apart by a gap.
_FEWEST_TO_SEE_A_STEP = 300


@dataclass(frozen=True, eq=False)
class _RankedFeature:
    """A feature of the rows: places in the order of its values, -1 where unknown."""

    places: np.ndarray  # (n,)
    is_ordered: bool  # a number
    distinct: np.ndarray  # the value of each place

    @classmethod
    def of(cls, column: pd.Series) -> "_RankedFeature":
        is_number = kind_of(column) in NUMERIC
        values = numbers_of(column) if is_number else as_text(column)
        places, distinct = pd.factorize(values, sort=True)
        return cls(places, is_number, np.asarray(distinct))


def classes_revealed(subject: Subject, left_out: Collection[str]) -> dict[str, str]:
    """Feature → the rows that reveal a class, in words; the strongest first.

    Half of the rows choose what to look at, the other half judge it.
    """
    classes = subject.target.classes or ()
    if len(classes) > _MOST_CLASSES:
        return {}
    rows = subject.sample(subject.target.rows, MOST_ROWS)
    y = subject.target.of(rows)
    frame = subject.frame
    features = [
        column
        for column in subject.features
        if column not in left_out and kind_of(frame[column]) in NUMERIC | TEXTS
    ]
    judges = subject.generator().permutation(len(rows)) % 2 == 0
    revealed: dict[str, tuple[float, str]] = {}
    for feature in features:
        column = _RankedFeature.of(frame[feature].iloc[rows])
        for code, label in enumerate(classes):
            leak = _class_revealed(column, y == code, judges, numbers.shown(label))
            revealed[feature] = max(leak, revealed.get(feature, leak))
    strongest = sorted(revealed.items(), key=lambda pair: -pair[1][0])
    return {feature: words for feature, (share, words) in strongest if share}


def not_looked_for(subject: Subject) -> str:
    """The classes that are not looked for, as a sentence; empty: there are none."""
    classes = subject.target.classes or ()
    if len(classes) > _MOST_CLASSES:
        return (
            f"Columns that reveal one of {len(classes)} classes are not looked for: of "
            f"more than {_MOST_CLASSES}, an honest column may tell one."
        )
    if not classes:
        return ""
    y = subject.target.of(subject.sample(subject.target.rows, MOST_ROWS))
    rows = np.bincount(y.astype(np.int64), minlength=len(classes))
    few = [
        numbers.shown(label)
        for label, count in zip(classes, rows, strict=True)
        if count < _FEWEST_OF_CLASS
    ]
    if not few:
        return ""
    return (
        "Columns that reveal one class are hardly found for classes of fewer than "
        f"{_FEWEST_OF_CLASS} rows among those examined: {numbers.some_of(few, 3)}."
    )


def _class_revealed(
    column: _RankedFeature, is_class: np.ndarray, judges: np.ndarray, name: str
) -> tuple[float, str]:
    """Largest share of a class that some rows reveal, and these rows in words."""
    revealed = 0.0, ""
    for words, chosen in _regions(column, is_class, ~judges):
        share = _share_revealed(chosen, is_class, judges)
        if share > revealed[0]:
            precise = numbers.share(float(is_class[chosen].mean()))
            recalled = numbers.share(float(chosen[is_class].mean()))
            revealed = share, f"{words}: {precise} {name}, {recalled} of all {name}"
    return revealed


def _regions(
    column: _RankedFeature, is_class: np.ndarray, chooses: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what rows have in common that may reveal a class, and the rows, bool (n,).

    Some of the rows, those that choose, decide what to look at.
    """
    has_value = column.places >= 0
    if not has_value.all():
        yield "a value at all", has_value
    if not has_value.any():
        return
    chooses = chooses & has_value
    size = len(column.distinct)
    rows = np.bincount(column.places[chooses], minlength=size)
    hits = np.bincount(column.places[chooses & is_class], minlength=size)
    if column.is_ordered:
        if _begins_at_a_step(column.places, is_class):
            low, high = _purest_range(hits, rows)
            chosen = (column.places >= low) & (column.places <= high)
            yield _range_in_words(column.distinct, low, high), chosen
        return
    pure = (rows >= _FEWEST_OF_TEXT) & ((rows - hits) * _COST <= hits)
    texts = [numbers.shown(text) for text in column.distinct[pure]]
    if texts:
        yield (
            numbers.some_of(texts, 3),
            has_value & np.append(pure, False)[column.places],
        )


def _purest_range(hits: np.ndarray, rows: np.ndarray) -> tuple[int, int]:
    """First and last place of the range with most rows of the class, and few others."""
    sums = np.append(0.0, np.cumsum(hits - _COST * (rows - hits)))
    gains = sums - np.minimum.accumulate(sums)
    end = int(gains.argmax())
    start = int(sums[: end + 1].argmin())
    return start, end - 1


def _range_in_words(values: np.ndarray, low: int, high: int) -> str:
    last = len(values) - 1
    if low == high:
        return f"the value {values[low]:.6g}"
    if low == 0:
        return f"at most {values[high]:.6g}"
    if high == last:
        return f"at least {values[low]:.6g}"
    return f"{values[low]:.6g} to {values[high]:.6g}"


def _begins_at_a_step(places: np.ndarray, is_class: np.ndarray) -> bool:
    """Whether right outside of its purest range a class is as rare as elsewhere."""
    has_value = places >= 0
    rows, hits = (
        np.bincount(places[has_value]),
        np.bincount(places[has_value & is_class]),
    )
    hits = np.append(hits, np.zeros(len(rows) - len(hits), np.int64))
    low, high = _purest_range(hits, rows)
    outside = has_value & ((places < low) | (places > high))
    too_few = len(places) < _FEWEST_TO_SEE_A_STEP
    if too_few or low > high or not outside.any():
        return False
    elsewhere = float(is_class[outside].mean())
    edge_rows = int(np.clip(_EDGE * len(places), *_EDGE_ROWS))
    edges = []
    for distances in (low - places, places - high):
        beyond = outside & (distances > 0)
        if beyond.any():
            # All rows with the value at which the last of them is.
            last = min(edge_rows, np.count_nonzero(beyond)) - 1
            furthest = np.partition(distances[beyond], last)[last]
            edges.append(float(is_class[beyond & (distances <= furthest)].mean()))
    return max(edges) - elsewhere <= (1 - _STEP) * (1 - elsewhere)


def _share_revealed(
    chosen: np.ndarray, is_class: np.ndarray, judges: np.ndarray
) -> float:
    """Share of the class that is in the chosen rows; 0 where they do not reveal it."""
    hits = int(np.count_nonzero(chosen & is_class & judges))
    rows = int(np.count_nonzero(chosen & judges))
    usual = float(is_class.mean())
    share = hits / max(np.count_nonzero(is_class & judges), 1)
    if rows < _FEWEST_ROWS or not 0 < usual < 1 or share < _REVEALED:
        return 0.0
    doubt_removed = (hits / rows - usual) / (1 - usual)
    by_chance = rows * math.log(usual) > math.log(_LARGEST_CHANCE)
    return 0.0 if doubt_removed < _PURE or by_chance else share
