"""Features that reveal one class in some of their rows: by a value, a range, or because
they are known at all.

A reason that only complaints have, a refund that only those get who leave. Over all
rows such a column predicts little, so its skill does not show it. A strong honest
number is also pure at its end, but becomes so gradually; a leak begins at a step.

Rows that repeat each other are one observation: copies, rows of one declared entity,
and rows with one value of a column that fixes the target (a county without an id).
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.skill import MOST_ROWS
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, numbers_of

# Of more classes, some are told by one honest column: of 32 plants one has needles.
# There only a certain leak is named, and it does not block.
_FEW_CLASSES = 10
# Rows that reveal a class are at least so many, in a class of three times as many.
_FEWEST_ROWS = 10
# What is certain of one of many classes takes more, as a few rows have errors.
_FEWEST_OF_CLASS, _FEWEST_OF_ONE_OF_MANY = 3 * _FEWEST_ROWS, 120
# Least share of the class that is revealed. An honest flag reveals .3 of the letters
# that are no spam.
_REVEALED = 0.4
# Rows of other classes among those that reveal one: as a share of what is usual, and
# as a number that is always allowed.
_OTHERS, _FEW_OTHERS = 0.04, 2
# The same share in the rows that choose where to look; more, since they are few.
_OTHERS_TO_CHOOSE = 0.28
# Chance of so many rows of one class if the column told nothing: of all that reveal
# it, and of those with one value of a column.
_LARGEST_CHANCE, _CHANCE_OF_VALUE = 1e-6, 0.01
# A number of at most so many values may be a code, whose order says nothing.
_MOST_CODES = 20
# Least share of the fall in the share of the class that happens at the edge of a range,
# and the rows at an edge: as a share of all, at least, at most.
_STEP, _EDGE, _EDGE_ROWS = 0.6, 0.02, (10, 50)
# In fewer rows honest classes are also apart by a gap.
_FEWEST_TO_SEE_A_STEP = 300
# A column fixes the target where its values repeat and each has one class: fewest
# values, largest share of the rows with one value, least share of each class.
_FEWEST_FIXING, _LARGEST_FIXING, _FIXED = 20, 0.1, 0.9
# A leak is certain where even the upper 95 % bound of the other classes' share is below
# this part of what is usual, and the column's skill in all other rows below this; of
# many classes an honest column tells little at once.
_CERTAIN_OTHERS, _BOUND, _SKILL_OF_REST, _OF_MANY = 0.1, 0.95, 0.2, 0.02


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

    def has_one_of(self, values: np.ndarray) -> np.ndarray:
        """Rows with one of these values: bool (n,), of bool (distinct,)."""
        return np.append(values, False)[self.places]


@dataclass(frozen=True, eq=False)
class _Units:
    """What rows repeat: rows of one unit are one observation."""

    partitions: Sequence[np.ndarray]  # unit (n,) of each row; -1: of its own

    def count(self, rows: np.ndarray) -> int:
        """How many observations some rows are at least, bool (n,)."""
        fewest = int(np.count_nonzero(rows))
        for partition in self.partitions:
            units = partition[rows]
            of_their_own = int(np.count_nonzero(units < 0))
            fewest = min(fewest, len(np.unique(units[units >= 0])) + of_their_own)
        return fewest


@dataclass(frozen=True, eq=False)
class RevealedClass:
    """Rows that reveal a class by their value of a feature."""

    share: float  # of the class that they reveal
    words: str  # the rows
    rows: np.ndarray  # the rows among those examined, bool (n,)
    # Whether other classes are surely rare among them, and the feature tells nothing of
    # the rest: no strong honest predictor of few classes does that.
    is_certain: bool = False


def classes_revealed(
    subject: Subject, left_out: Collection[str]
) -> dict[str, RevealedClass]:
    """Feature → the rows that reveal a class; the strongest first.

    Each half of the rows is judged by what the other half chose to look at.
    """
    classes = subject.target.classes or ()
    if not classes:
        return {}
    labels = list(map(numbers.shown, classes))
    examined = _ExaminedRows.of(subject)
    revealed: dict[str, RevealedClass] = {}
    for name in examined.features:
        leak = None if name in left_out else _strongest(examined, name, labels)
        if leak is None:
            continue
        certain = leak.is_certain and _tells_nothing(
            subject,
            name,
            rows=examined.rows[~leak.rows],
            limit=_skill_of_rest(classes),
        )
        if _are_few(classes):
            revealed[name] = replace(leak, is_certain=certain)
        elif certain:
            revealed[name] = replace(leak, is_certain=False)
    return dict(sorted(revealed.items(), key=lambda pair: -pair[1].share))


def _are_few(classes: Collection[object]) -> bool:
    return len(classes) <= _FEW_CLASSES


def _skill_of_rest(classes: Collection[object]) -> float:
    """Up to which skill a column tells nothing of the other rows."""
    return _SKILL_OF_REST if _are_few(classes) else _OF_MANY


@dataclass(frozen=True, eq=False)
class _ExaminedRows:
    """The rows that are examined, and what they repeat."""

    rows: np.ndarray  # (n,) their positions
    y: np.ndarray  # (n,) codes of their classes
    features: Mapping[str, _RankedFeature]
    fixing: Mapping[str, np.ndarray]  # feature that fixes the target → its places (n,)
    clusters: np.ndarray  # (n,)
    half: np.ndarray  # bool (n,)

    @classmethod
    def of(cls, subject: Subject) -> "_ExaminedRows":
        rows = subject.sample(subject.target.rows, MOST_ROWS)
        y = subject.target.of(rows).astype(np.int64)
        table = subject.frame[list(subject.features)].iloc[rows]
        features = {
            str(name): _RankedFeature.of(column)
            for name, column in table.items()
            if kind_of(column) in NUMERIC | TEXTS
        }
        fixing = {
            name: feature.places
            for name, feature in features.items()
            if _fixes_the_target(feature.places, y)
        }
        clusters = pd.factorize(subject.clusters[rows])[0]
        half = subject.generator().permutation(len(rows)) % 2 == 0
        return cls(rows, y, features, fixing, clusters, half)


def _strongest(
    examined: _ExaminedRows, name: str, labels: Sequence[str]
) -> RevealedClass | None:
    """The rows that reveal most of a class by a feature, if any do."""
    others = [places for other, places in examined.fixing.items() if other != name]
    units = _Units([examined.clusters, *others])
    feature = examined.features[name]
    leaks = [
        _class_revealed(feature, examined.y == code, examined.half, units, label)
        for code, label in enumerate(labels)
    ]
    known = [leak for leak in leaks if leak is not None]
    return max(known, key=lambda leak: (leak.is_certain, leak.share), default=None)


def _fixes_the_target(places: np.ndarray, y: np.ndarray) -> bool:
    """Whether nearly all rows of each class have a value that only rows of their class
    have, several of them.
    """
    known = places >= 0
    counts = np.zeros((places.max() + 1, y.max() + 1), dtype=np.int64)
    np.add.at(counts, (places[known], y[known]), 1)
    rows = counts.sum(axis=1)
    if len(rows) < _FEWEST_FIXING or rows.max() > _LARGEST_FIXING * len(y):
        return False
    repeats = (counts.max(axis=1) == rows) & (rows > 1)
    fixed = counts[repeats].sum(axis=0) / np.maximum(np.bincount(y), 1)
    return bool(fixed.min() >= _FIXED)


def not_looked_for(subject: Subject) -> str:
    """The classes that are not looked for, as a sentence; empty: there are none."""
    classes = subject.target.classes or ()
    if not classes:
        return ""
    fewest = _FEWEST_OF_CLASS if _are_few(classes) else _FEWEST_OF_ONE_OF_MANY
    y = subject.target.of(subject.sample(subject.target.rows, MOST_ROWS))
    rows = np.bincount(y.astype(np.int64), minlength=len(classes))
    few = [
        numbers.shown(label)
        for label, count in zip(classes, rows, strict=True)
        if count < fewest
    ]
    if not few:
        return ""
    return (
        "Columns that reveal one class are hardly found for classes of fewer than "
        f"{fewest} rows among those examined: {numbers.some_of(few, 3)}."
    )


def _class_revealed(
    column: _RankedFeature,
    is_class: np.ndarray,
    half: np.ndarray,
    units: _Units,
    name: str,
) -> RevealedClass | None:
    """The rows that reveal the largest share of a class, if any."""
    if not 0 < is_class.mean() < 1:
        return None
    leaks = []
    for region, chosen in _regions(column, is_class, half):
        observations = units.count(chosen)
        share = _share_revealed(chosen, is_class, observations)
        if share:
            precise = numbers.share(float(is_class[chosen].mean()))
            recalled = numbers.share(float(chosen[is_class].mean()))
            words = f"{region}: {precise} {name}, {recalled} of all {name}"
            certain = _others_are_surely_rare(chosen, is_class, observations)
            leaks.append(RevealedClass(share, words, chosen, certain))
    return max(leaks, key=lambda leak: leak.share, default=None)


def _regions(
    column: _RankedFeature, is_class: np.ndarray, half: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what rows have in common that may reveal a class, and the rows, bool (n,):
    of each half those that the other half chooses.
    """
    has_value = column.places >= 0
    if not has_value.all():
        yield "a value at all", has_value
    if not has_value.any():
        return
    for find in (_purest_range, _pure_values):
        values = find(column, is_class, has_value)
        if values.any() and _may_be_a_leak(column, is_class, values):
            chosen = np.zeros(len(half), dtype=bool)
            for chooses in (half, ~half):
                found = find(column, is_class, has_value & chooses)
                chosen |= column.has_one_of(found) & ~chooses
            yield _in_words(column, values), chosen


def _purest_range(
    column: _RankedFeature, is_class: np.ndarray, chooses: np.ndarray
) -> np.ndarray:
    """Values of the range with most rows of the class and few others, bool (distinct,);
    none of a text.
    """
    rows, hits = _counts(column, is_class, chooses)
    purest = np.zeros(len(rows), dtype=bool)
    if column.is_ordered:
        gained = hits - _cost_of_others(is_class) * (rows - hits)
        sums = np.append(0.0, np.cumsum(gained))
        end = int((sums - np.minimum.accumulate(sums)).argmax())
        start = int(sums[: end + 1].argmin())
        purest[start:end] = True
    return purest


def _pure_values(
    column: _RankedFeature, is_class: np.ndarray, chooses: np.ndarray
) -> np.ndarray:
    """Values that hardly a row of another class has, bool (distinct,); none of a number
    that is no code.
    """
    rows, hits = _counts(column, is_class, chooses)
    if column.is_ordered and len(rows) > _MOST_CODES:
        return np.zeros(len(rows), dtype=bool)
    few_others = (rows - hits) * _cost_of_others(is_class) <= hits
    chance = rows * math.log(is_class.mean())
    return few_others & (chance <= math.log(_CHANCE_OF_VALUE / len(rows)))


def _counts(
    column: _RankedFeature, is_class: np.ndarray, chooses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that choose of each value, and those of them that are of the class."""
    size = len(column.distinct)
    rows = np.bincount(column.places[chooses], minlength=size)
    hits = np.bincount(column.places[chooses & is_class], minlength=size)
    return rows, hits


def _cost_of_others(is_class: np.ndarray) -> float:
    """Rows of the class that make up for one of another, where rows are chosen."""
    others = _OTHERS_TO_CHOOSE * (1 - float(is_class.mean()))
    return (1 - others) / others


def _in_words(column: _RankedFeature, chosen: np.ndarray) -> str:
    """Name the chosen values: bool (distinct,)."""
    values = column.distinct[chosen]
    if not column.is_ordered:
        return numbers.some_of([numbers.shown(text) for text in values], 3)
    if len(values) == 1:
        return f"the value {values[0]:.6g}"
    if len(_runs(chosen)) > 1:
        return numbers.some_of([f"{value:.6g}" for value in values], 3)
    if chosen[0]:
        return f"at most {values[-1]:.6g}"
    if chosen[-1]:
        return f"at least {values[0]:.6g}"
    return f"{values[0]:.6g} to {values[-1]:.6g}"


def _runs(chosen: np.ndarray) -> np.ndarray:
    """First and last place of each run of chosen values: (runs, 2)."""
    changes = np.diff(np.concatenate(([0], chosen.astype(np.int8), [0])))
    return np.c_[np.flatnonzero(changes == 1), np.flatnonzero(changes == -1) - 1]


def _may_be_a_leak(
    column: _RankedFeature, is_class: np.ndarray, chosen: np.ndarray
) -> bool:
    """Whether right outside of chosen numbers a class is as rare as elsewhere; of texts
    always.
    """
    if not column.is_ordered:
        return True
    outside = (column.places >= 0) & ~column.has_one_of(chosen)
    if len(is_class) < _FEWEST_TO_SEE_A_STEP or not outside.any():
        return False
    elsewhere = float(is_class[outside].mean())
    edge_rows = int(np.clip(_EDGE * len(is_class), *_EDGE_ROWS))
    edges = []
    for low, high in _runs(chosen):
        for distances in (low - column.places, column.places - high):
            beyond = outside & (distances > 0)
            if beyond.any():
                # All rows with the value at which the last of them is.
                last = min(edge_rows, np.count_nonzero(beyond)) - 1
                furthest = np.partition(distances[beyond], last)[last]
                edges.append(float(is_class[beyond & (distances <= furthest)].mean()))
    return max(edges) - elsewhere <= (1 - _STEP) * (1 - elsewhere)


def _share_revealed(chosen: np.ndarray, is_class: np.ndarray, units: int) -> float:
    """Share of the class that is in the chosen rows, which are so many observations; 0
    where they do not reveal it.
    """
    rows = int(np.count_nonzero(chosen))
    hits = int(np.count_nonzero(chosen & is_class))
    usual = float(is_class.mean())
    share = hits / int(np.count_nonzero(is_class))
    if units < _FEWEST_ROWS or share < _REVEALED:
        return 0.0
    most_others = max(_FEW_OTHERS, _OTHERS * (1 - usual) * rows)
    by_chance = units * math.log(usual) > math.log(_LARGEST_CHANCE)
    return 0.0 if rows - hits > most_others or by_chance else share


def _others_are_surely_rare(
    chosen: np.ndarray, is_class: np.ndarray, units: int
) -> bool:
    """Whether the exact upper bound of the others' share is far below what is usual."""
    from scipy.stats import beta

    others = units * (1 - float(is_class[chosen].mean()))
    bound = beta.ppf(_BOUND, others + 1, units - others)
    return bool(bound <= _CERTAIN_OTHERS * (1 - is_class.mean()))


def _tells_nothing(
    subject: Subject, feature: str, rows: np.ndarray, limit: float
) -> bool:
    """Whether a feature says nothing of the target in some rows of the table."""
    if np.unique(subject.target.of(rows)).size < 2:
        return True
    column = subject.frame[[feature]].iloc[rows]
    (association,) = subject.cross_fit(rows, 2).associations(column)
    return association.skill < limit
