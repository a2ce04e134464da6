"""The table under analysis: its features, and the rows whose target may be read.

Only `target` and `visible_target` read the target, and only outside of the validation
set.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.spec.schema import Meaning
from experiment_pipeline.stages.data_analysis import skill
from experiment_pipeline.stages.data_analysis.facts import (
    LARGEST_FLOAT32,
    Facts,
    NumberFacts,
    TextFacts,
    facts_of,
)
from experiment_pipeline.table.clusters import cluster_hashes
from experiment_pipeline.table.dictionary import NO_DICTIONARY, Dictionary
from experiment_pipeline.table.features import encode_target, find_classes
from experiment_pipeline.table.kinds import QUANTITIES, kind_of, numbers_of
from experiment_pipeline.table.membership import may_have_rare_classes, too_rare

# With fewer possible combinations than this many times the rows, equal rows happen by
# chance.
ROOM = 10
_YEAR = re.compile("year|yr|jahr", re.IGNORECASE)
_FIRST_YEAR, _LAST_YEAR = 1500, 2200
# Models take memory and time per class.
MOST_CLASSES = 200
# The square of a smaller spread of a target is 0 in float64.
SMALLEST_SPREAD = 1e-150


@dataclass(frozen=True)
class Target:
    """The target of the visible rows that have one, without classes set aside."""

    rows: np.ndarray  # positions (n,) in the table of its rows
    y: np.ndarray  # encoded targets (n,): class codes, or floats
    classes: tuple | None = None  # as `find_classes` gives them; None for regression
    # Class → visible rows.
    set_aside: Mapping[Scalar, int] = field(default_factory=dict)
    # Why it cannot be modelled; then `rows` and `y` are empty.
    problem: str | None = None

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
        for code in range(self.n_classes):
            yield (self.y == code).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Subject:
    """One table under analysis."""

    frame: pd.DataFrame  # the prepared table, all rows
    sets: pd.Series  # name of the set of every row, indexed as the frame
    features: tuple[str, ...]  # columns that a model would get
    spec: ExperimentSpec
    dictionary: Dictionary = NO_DICTIONARY

    @cached_property
    def meanings(self) -> dict[str, Meaning]:
        """Feature → what the dictionary says about it."""
        return self.dictionary.of_features(self.features, self.spec.preparation)

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
            column: facts
            for column, facts in self.numbers.items()
            if facts.distinct > 1
            and not facts.infinite
            and facts.largest_magnitude < LARGEST_FLOAT32
        }

    @cached_property
    def texts(self) -> dict[str, TextFacts]:
        """Facts of the text and category features."""
        return {c: f for c, f in self.facts.items() if isinstance(f, TextFacts)}

    @property
    def times(self) -> list[str]:
        """The datetime columns of the table."""
        columns = self.frame.items()
        return [str(name) for name, cells in columns if kind_of(cells) == "datetime"]

    @property
    def years(self) -> list[str]:
        """The columns named year that hold years."""
        names = [name for name in map(str, self.frame.columns) if _YEAR.fullmatch(name)]
        return [name for name in names if _holds_years(self.frame[name])]

    @property
    def ordering_columns(self) -> list[str]:
        """The column of a split by time, else the datetime columns."""
        split = self.spec.split
        return [split.column] if split.by == "time" else self.times

    @property
    def numbers_and_texts(self) -> dict[str, NumberFacts | TextFacts]:
        """Facts of both; they have a number of distinct values."""
        return {**self.numbers, **self.texts}

    @cached_property
    def undeclared_texts(self) -> dict[str, TextFacts]:
        """The text features that are not declared as text, and hold no codes."""
        types = self.spec.preparation.types
        return {
            column: facts
            for column, facts in self.texts.items()
            if types.get(column) != "text" and not facts.holds_codes
        }

    @cached_property
    def texts_and_target(self) -> dict[str, TextFacts]:
        """The text features, and the visible target where its classes are texts."""
        if isinstance(self.target_facts, TextFacts):
            return {**self.texts, self.spec.target: self.target_facts}
        return self.texts

    @cached_property
    def numbers_and_target(self) -> dict[str, NumberFacts]:
        """The number features, and the visible target of a regression."""
        facts = self.target_facts
        if self.spec.task == "regression" and isinstance(facts, NumberFacts):
            return {**self.numbers, self.spec.target: facts}
        return self.numbers

    @property
    def may_repeat_by_chance(self) -> bool:
        """Whether the features allow fewer combinations than ROOM times the rows."""
        return self.possible_combinations < ROOM * len(self.frame)

    @property
    def possible_combinations(self) -> float:
        """Product of the numbers of distinct values of the number and text features."""
        distinct = [facts.distinct for facts in self.numbers_and_texts.values()]
        return float(10 ** min(sum(np.log10(max(n, 1)) for n in distinct), 300))

    @cached_property
    def visible_target(self) -> pd.Series:
        """The target as delivered, of the visible rows, missing ones included."""
        return self.frame[self.spec.target][self.visible]

    @cached_property
    def target_facts(self) -> Facts:
        """Facts about the visible target."""
        return facts_of(self.visible_target)

    @cached_property
    def target(self) -> Target:
        """The target for modelling: visible, known, encoded."""
        if problem := self._target_problem():
            return Target(np.empty(0, np.int64), np.empty(0), problem=problem)
        column = self.frame[self.spec.target]
        usable = self.visible & column.notna().to_numpy()
        if self.spec.task == "regression":
            usable &= np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan))
        rows = np.flatnonzero(usable)
        rare = self._rare_classes(column.iloc[rows], rows)
        rows = rows[~column.iloc[rows].isin(list(rare)).to_numpy()]
        modelled = column.iloc[rows]
        classes = find_classes(modelled, self.spec)
        return Target(rows, encode_target(modelled, classes), classes, set_aside=rare)

    def _target_problem(self) -> str | None:
        target = self.visible_target.dropna()
        distinct = target.nunique()
        task = self.spec.task
        if distinct < 2:
            return (
                f"the target has {distinct} distinct values in the rows that may be "
                "seen"
            )
        if task == "binary" and distinct > 2:
            return f"a binary target has two classes, this one {distinct:,}"
        if task == "multiclass" and distinct > MOST_CLASSES:
            return (
                f"{distinct:,} classes are more than the {MOST_CLASSES} that are "
                "modelled here"
            )
        return _problem_of_number(self.target_facts) if task == "regression" else None

    def _rare_classes(self, target: pd.Series, rows: np.ndarray) -> dict[Scalar, int]:
        """Class → visible rows, of the classes that validation will set aside."""
        if (
            self.spec.task == "regression"
            or self.spec.validation.rare_classes == "stop"
            or not may_have_rare_classes(target)
        ):
            return {}
        classes = find_classes(target, self.spec) or ()
        codes = encode_target(target, classes)
        rare = too_rare(self.set_counts(codes, rows, len(classes)))
        counts = np.bincount(codes, minlength=len(classes))
        return {classes[code]: int(counts[code]) for code in np.flatnonzero(rare)}

    def set_counts(self, y: np.ndarray, rows: np.ndarray, classes: int) -> np.ndarray:
        """Rows of each class in train, test and validation: (classes, 3).

        `y` (n,) are codes of the visible `rows`. Of validation: the expected rows.
        """
        sets = self.sets.to_numpy()[rows]
        train = np.bincount(y[sets == "train"], minlength=classes)
        test = np.bincount(y[sets == "test"], minlength=classes)
        share = np.bincount(y, minlength=classes) / max(len(y), 1)
        return np.column_stack([train, test, share * np.count_nonzero(~self.visible)])

    @cached_property
    def associations(self) -> tuple[skill.Association, ...]:
        """How well each feature predicts the target alone, the strongest first."""
        rows = self.sample(self.target.rows, skill.MOST_ROWS)
        if not rows.size:
            return ()
        features = self.frame[list(self.features)]
        return self.cross_fit(rows, 2).associations(features.iloc[rows])

    def generator(self) -> np.random.Generator:
        """A fresh random generator; the same for the same spec."""
        return np.random.default_rng(self.spec.seed)

    def sample(self, rows: np.ndarray, most: int) -> np.ndarray:
        """At most `most` of these positions, drawn with the seed, in table order."""
        if len(rows) <= most:
            return rows
        return np.sort(self.generator().choice(rows, most, replace=False))

    def cross_fit(
        self, rows: np.ndarray, folds: int, clusters: np.ndarray | None = None
    ) -> skill.CrossFit:
        """Rows with a target, in folds that follow the experiment's split, or of these
        clusters (m,).
        """
        split = self.spec.split
        if clusters is not None:
            pairs = self._folds_of_clusters(rows, folds, clusters)
        elif split.by == "time":
            pairs = _folds_in_time(self.frame[split.column].iloc[rows], folds)
        else:
            pairs = self._folds_of_clusters(rows, folds, self.clusters[rows])
        return skill.CrossFit(
            task=self.spec.task,
            classes=self.target.n_classes,
            y=self.target.of(rows),
            folds=list(pairs),
        )

    @cached_property
    def clusters(self) -> np.ndarray:
        """Hash the cluster of each row: rows of one are judged together."""
        return cluster_hashes(
            self.frame, self.spec.split, self.spec.target, self.features, "folds"
        )

    def _folds_of_clusters(
        self, rows: np.ndarray, folds: int, clusters: np.ndarray
    ) -> Iterator[skill.Fold]:
        """Each fold judges random clusters of rows, stratified by the target."""
        _, first, clusters = np.unique(clusters, return_index=True, return_inverse=True)
        shuffled = self.generator().random(len(first))
        order = np.lexsort((shuffled, self.target.of(rows[first])))
        fold_of_cluster = np.empty(len(first), dtype=np.int64)
        fold_of_cluster[order] = np.arange(len(first)) % folds
        fold_of_row = fold_of_cluster[clusters]
        for fold in np.unique(fold_of_row):
            judged = fold_of_row == fold
            if not judged.all():
                yield np.flatnonzero(~judged), np.flatnonzero(judged)


def _problem_of_number(facts: Facts) -> str | None:
    if not isinstance(facts, NumberFacts):
        return "a regression target must be a number, this one is not"
    if facts.largest_magnitude > LARGEST_FLOAT32:
        largest = f"{facts.largest_magnitude:.3g}"
        return f"the target reaches {largest}, beyond what models calculate"
    if not facts.highest.value - facts.lowest.value > SMALLEST_SPREAD:
        return "the target varies by less than models can calculate"
    return None


def _holds_years(column: pd.Series) -> bool:
    if kind_of(column) not in QUANTITIES:
        return False
    known = numbers_of(column.dropna())
    is_year = (known >= _FIRST_YEAR) & (known <= _LAST_YEAR) & (known % 1 == 0)
    return bool(is_year.any() and is_year.all())


def _folds_in_time(times: pd.Series, folds: int) -> Iterator[skill.Fold]:
    """Each fold judges a stretch of time by all rows before it."""
    moments = pd.factorize(times, sort=True)[0]
    ordered = np.sort(moments)
    starts = [ordered[len(times) * k // (folds + 1)] for k in range(1, folds + 1)]
    ends = [*starts[1:], ordered[-1] + 1]
    for start, end in zip(starts, ends, strict=True):
        fit = np.flatnonzero(moments < start)
        judge = np.flatnonzero((moments >= start) & (moments < end))
        if fit.size and judge.size:
            yield fit, judge
