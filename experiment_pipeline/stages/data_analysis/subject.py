"""The table under analysis: its features, and the rows whose target may be read.

Only `target` and `visible_target` read the target, and only outside of the validation
set.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.stages.data_analysis import skill
from experiment_pipeline.stages.data_analysis.facts import (
    LARGEST_FLOAT32,
    Facts,
    NumberFacts,
    TextFacts,
    facts_of,
)
from experiment_pipeline.table.clusters import cluster_hashes
from experiment_pipeline.table.features import encode_target, find_classes
from experiment_pipeline.table.membership import may_have_rare_classes, too_rare

# With fewer possible combinations than this many times the rows, equal rows happen by
# chance.
ROOM = 10
# Models take memory and time per class.
MOST_CLASSES = 200
# The square of a smaller spread of a target is 0 in float64.
SMALLEST_SPREAD = 1e-150


@dataclass(frozen=True)
class Target:
    """The target of the visible rows that have one, without those of classes
    set aside.
    """

    rows: np.ndarray  # positions (n,) in the table of its rows
    y: np.ndarray  # encoded targets (n,): class codes, or floats
    classes: tuple | None  # as `find_classes` gives them; None for regression
    problem: str | None = (
        None  # why it cannot be modelled; then `rows` and `y` are empty
    )
    set_aside: Mapping[Scalar, int] = field(
        default_factory=dict
    )  # class → visible rows

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Targets (m,) of some of the rows, positions in the table."""
        return np.asarray(self.y[np.searchsorted(self.rows, rows)])

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        return len(self.classes or ())

    def outcomes(self) -> Iterator[np.ndarray]:
        """Yield the number, float64 (n,), or of each class a 0/1 indicator."""
        if self.classes is None:
            yield self.y
        else:
            yield from (
                (self.y == code).astype(np.float64) for code in range(self.n_classes)
            )


@dataclass(frozen=True, eq=False)
class Subject:
    """One table under analysis."""

    frame: pd.DataFrame  # the prepared table, all rows
    sets: pd.Series  # name of the set of every row, indexed as the frame
    features: tuple[str, ...]  # columns that a model would get
    spec: ExperimentSpec

    @cached_property
    def visible(self) -> np.ndarray:
        """The rows that are not in the validation set: bool (n,)."""
        return (self.sets != "validation").to_numpy()

    @cached_property
    def facts(self) -> Mapping[str, Facts]:
        """Facts about every feature, over all rows."""
        return {column: facts_of(self.frame[column]) for column in self.features}

    @cached_property
    def numbers(self) -> dict[str, NumberFacts]:
        """Facts of the number and boolean features."""
        return {c: f for c, f in self.facts.items() if isinstance(f, NumberFacts)}

    @cached_property
    def calculable(self) -> dict[str, NumberFacts]:
        """The number features that vary and whose squares are finite."""
        return {
            c: f
            for c, f in self.numbers.items()
            if f.distinct > 1
            and not f.infinite
            and f.largest_magnitude < LARGEST_FLOAT32
        }

    @cached_property
    def texts(self) -> dict[str, TextFacts]:
        """Facts of the text and category features."""
        return {c: f for c, f in self.facts.items() if isinstance(f, TextFacts)}

    @cached_property
    def undeclared_texts(self) -> dict[str, TextFacts]:
        """The text features that are not declared to be text, and do not look like
        codes.
        """
        types = self.spec.preparation.types
        return {
            c: f
            for c, f in self.texts.items()
            if types.get(c) != "text" and not f.holds_codes
        }

    @cached_property
    def texts_and_target(self) -> dict[str, TextFacts]:
        """The text features, and the visible part of the target where its classes are
        texts.
        """
        facts = facts_of(self.visible_target)
        return self.texts | (
            {self.spec.target: facts} if isinstance(facts, TextFacts) else {}
        )

    @cached_property
    def numbers_and_target(self) -> dict[str, NumberFacts]:
        """The number features, and the visible part of the target of a regression."""
        facts = facts_of(self.visible_target)
        if self.spec.task != "regression" or not isinstance(facts, NumberFacts):
            return self.numbers
        return {**self.numbers, self.spec.target: facts}

    @property
    def possible_combinations(self) -> float:
        """Product of the numbers of distinct values of the number and text features."""
        distinct = [facts.distinct for facts in (self.numbers | self.texts).values()]
        return float(10 ** min(sum(np.log10(max(n, 1)) for n in distinct), 300))

    @cached_property
    def visible_target(self) -> pd.Series:
        """The target as delivered, of the visible rows, missing ones included."""
        return self.frame[self.spec.target][self.visible]

    @cached_property
    def target(self) -> Target:
        """The target for modelling: visible, known, encoded."""
        if problem := self._target_problem():
            return Target(np.empty(0, np.int64), np.empty(0), None, problem)
        column = self.frame[self.spec.target]
        usable = self.visible & column.notna().to_numpy()
        if self.spec.task == "regression":
            usable &= np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan))
        rows = np.flatnonzero(usable)
        set_aside = self._too_rare(column.iloc[rows])
        rows = rows[~column.iloc[rows].isin(list(set_aside)).to_numpy()]
        known = column.iloc[rows]
        classes = find_classes(known, self.spec)
        return Target(rows, encode_target(known, classes), classes, set_aside=set_aside)

    def _target_problem(self) -> str | None:
        known = self.visible_target.dropna()
        distinct, task = known.nunique(), self.spec.task
        if distinct < 2:
            return f"the target has {distinct} distinct values in the rows that may be seen"
        if task == "binary" and distinct > 2:
            return f"a binary target has two classes, this one {distinct:,}"
        if task == "multiclass" and distinct > MOST_CLASSES:
            return f"{distinct:,} classes are more than the {MOST_CLASSES} that are modelled here"
        return _problem_of_number(facts_of(known)) if task == "regression" else None

    def _too_rare(self, known: pd.Series) -> dict[Scalar, int]:
        """Class → visible rows, of the classes that validation will set aside."""
        stops = self.spec.validation.rare_classes == "stop"
        if self.spec.task == "regression" or stops or not may_have_rare_classes(known):
            return {}
        classes = find_classes(known, self.spec) or ()
        codes = encode_target(known, classes)
        rows = self.frame.index.get_indexer(known.index)
        rare = too_rare(self.set_counts(codes, rows, len(classes)))
        counts = np.bincount(codes, minlength=len(rare))
        return {classes[code]: int(counts[code]) for code in np.flatnonzero(rare)}

    def set_counts(self, y: np.ndarray, rows: np.ndarray, classes: int) -> np.ndarray:
        """Count codes (n,) of visible rows by set, (classes, 3); for validation, the
        expected count.
        """
        sets = self.sets.to_numpy()[rows]
        seen = [
            np.bincount(y[sets == name], minlength=classes)
            for name in ("train", "test")
        ]
        share = np.bincount(y, minlength=classes) / max(len(y), 1)
        return np.column_stack([*seen, share * np.count_nonzero(~self.visible)])

    @cached_property
    def associations(self) -> tuple[skill.Association, ...]:
        """How well each feature predicts the target alone, the strongest first."""
        rows = self.sample(self.target.rows, skill.MOST_ROWS)
        if not rows.size:
            return ()
        y, pairs = self.target.of(rows), list(folds(self, rows, 2))
        models = skill.OneFeatureModels(self.spec.task, self.target.n_classes, y, pairs)
        return models.associations(self.frame[list(self.features)].iloc[rows])

    def generator(self) -> np.random.Generator:
        """A fresh random generator; the same for the same spec."""
        return np.random.default_rng(self.spec.seed)

    def sample(self, rows: np.ndarray, most: int) -> np.ndarray:
        """At most `most` of these positions, drawn with the experiment's seed, in table
        order.
        """
        if len(rows) <= most:
            return rows
        return np.sort(self.generator().choice(rows, most, replace=False))


def _problem_of_number(facts: Facts) -> str | None:
    if not isinstance(facts, NumberFacts):
        return "a regression target must be a number, this one is not"
    if facts.largest_magnitude > LARGEST_FLOAT32:
        return f"the target reaches {facts.largest_magnitude:.3g}, beyond what models calculate"
    if not facts.highest.value - facts.lowest.value > SMALLEST_SPREAD:
        return "the target varies by less than models can calculate"
    return None


def folds(subject: Subject, rows: np.ndarray, number: int) -> Iterator[skill.Fold]:
    """Yield (fit, judge) index arrays into `rows`, positions of known targets; by time
    `judge` is later.
    """
    split = subject.spec.split
    if split.by == "time":
        moments = pd.factorize(subject.frame[split.column].iloc[rows], sort=True)[0]
        ordered = np.sort(moments)
        cuts = [ordered[len(ordered) * k // (number + 1)] for k in range(1, number + 1)]
        for start, end in zip(cuts, [*cuts[1:], ordered[-1] + 1], strict=True):
            fit = np.flatnonzero(moments < start)
            judge = np.flatnonzero((moments >= start) & (moments < end))
            if fit.size and judge.size:
                yield fit, judge
        return
    hashes = cluster_hashes(
        subject.frame, split, subject.spec.target, subject.features, "folds"
    )
    _, first, clusters = np.unique(hashes[rows], return_index=True, return_inverse=True)
    target = subject.target.of(rows[first])
    dealt = np.empty(len(first), dtype=np.int64)
    order = np.lexsort((subject.generator().random(len(first)), target))
    dealt[order] = np.arange(len(first)) % number
    fold = dealt[clusters]
    for left_out in np.unique(fold):
        if (fold != left_out).any():
            yield np.flatnonzero(fold != left_out), np.flatnonzero(fold == left_out)
