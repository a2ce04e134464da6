"""Measure, on a drafted random split, whether it promises what later rows or new
entities do not keep.

A probe predicts the same rows twice: once fitted as a random split does, once without
their future, or without the other rows of their entity. The second score is the honest
one. The draft takes that split if it is worse beyond its error; of entities, if the
probe's errors of one resemble each other, and the score is worse or intervals by rows
would be too narrow. Targets of the random split's validation set are not read.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.findings.probe import ProbeSample
from experiment_pipeline.stages.data_analysis.findings.random_split import (
    ComparedFits,
    fits_over_time,
)
from experiment_pipeline.stages.data_analysis.skill import outcomes_of
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics.interval import cluster_codes
from experiment_pipeline.table.clusters import classes_of
from experiment_pipeline.table.digests import row_hashes
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.kinds import kind_of
from experiment_pipeline.table.membership import deal

# Rows that a comparison reads at most; entities and folds that it needs or makes.
MOST_ROWS, FEWEST_ROWS, FOLDS = 10_000, 100, 3
MOST_COLUMNS = 3
# A smaller part of the gain over the baseline does not decide how rows are split. Over
# time, two fits differ as much by chance: 5 to 7 % of tables of 2,000 rows would be
# split by a date that tells nothing.
LEAST_LOSS, LEAST_LOSS_OVER_TIME = 0.02, 0.1
# Width of intervals by rows beside those by entities; from here on, the split goes by
# entities.
TOO_NARROW = 0.9
# Errors of one entity resemble each other if they do so more than in so many shuffles.
SHUFFLES = 199
# A column whose skill alone reaches this may give the target away, at any time and of
# any entity; so many rows show it.
LEAK, ROWS_OF_LEAKS = 0.9, 2_000


@dataclass(frozen=True, eq=False)
class OptimisticSplit:
    """A split that shows the random one to be too optimistic."""

    split: dict[str, Any]  # by and column
    lost: float  # share of the gain over the baseline that only the random split shows
    evidence: str  # a sentence with both scores


def more_honest_splits(
    prepared: pd.DataFrame,
    sets: pd.Series,
    spec: ExperimentSpec,
    times: Sequence[str],
    entities: Sequence[str],
) -> list[OptimisticSplit]:
    """Return the splits that cost a probe part of its gain, the largest loss first.

    Where one by time and one by entities do, both at once goes before them. `sets` are
    those of the random split of `prepared`; `times`, the likeliest first, and
    `entities` are the columns to compare it with. Of several times one is enough.
    """
    nested = [name for name in prepared if kind_of(prepared[name]) == "nested"]
    visible = np.flatnonzero((sets != "validation").to_numpy())
    table = _Table(
        frame=prepared.drop(columns=nested).iloc[visible],
        sets=sets.iloc[visible].astype("str"),
        spec=spec,
    )
    over_time = map(table.over_time, times[:MOST_COLUMNS])
    first = next(filter(None, over_time), None)
    compared = [first, *map(table.over_entities, entities[:MOST_COLUMNS])]
    splits = [split for split in compared if split is not None]
    splits.sort(key=lambda split: -split.lost)
    largest = {split.split["by"]: split for split in reversed(splits)}
    if len(largest) > 1:
        both = _new_entities_later(largest["time"], largest["group"])
        splits.insert(0, both)
    return splits


def _new_entities_later(
    over_time: OptimisticSplit, over_entities: OptimisticSplit
) -> OptimisticSplit:
    """The split of which later sets hold entities that no earlier one has."""
    column = over_entities.split["column"]
    return OptimisticSplit(
        {**over_time.split, "group": column, "predicts": "new"},
        lost=max(over_time.lost, over_entities.lost),
        evidence=f"{over_time.evidence}. {over_entities.evidence}",
    )


@dataclass(frozen=True, eq=False)
class _Table:
    """The rows that are not in the validation set of a random split."""

    frame: pd.DataFrame
    sets: pd.Series
    spec: ExperimentSpec

    @cached_property
    def features(self) -> tuple[str, ...]:
        """The features, leaks included."""
        return tuple(feature_columns(self.frame, self.spec))

    @cached_property
    def leaks(self) -> list[str]:
        """Features that nearly equal the target: with them, each split is as good."""
        subject = self._subject(self._drawn(ROWS_OF_LEAKS), self.features)
        return [a.column for a in subject.associations if a.skill >= LEAK]

    def _drawn(self, most: int) -> np.ndarray:
        """Draw at most so many rows: positions (k,), ascending."""
        return np.sort(self._generator().permutation(len(self.frame))[:most])

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(self.spec.seed)

    def _subject(self, rows: np.ndarray, features: Iterable[str]) -> Subject:
        frame, sets = self.frame.iloc[rows], self.sets.iloc[rows]
        return Subject(frame, sets, tuple(features), self.spec)

    def honest(self, rows: np.ndarray) -> Subject:
        """The rows at positions (k,) under analysis, without leaks."""
        return self._subject(rows, (f for f in self.features if f not in self.leaks))

    def optimistic(self, fits: ComparedFits, evidence: str) -> OptimisticSplit:
        """The result of a comparison, and which columns the probe did not have."""
        if self.leaks:
            names = numbers.some_of(list(map(numbers.shown, self.leaks)))
            evidence += f", without {names}, which may give the target away"
        return OptimisticSplit(fits.split, fits.lost, evidence)

    @cached_property
    def sample(self) -> Subject:
        """Rows of all times under analysis, without leaks."""
        return self.honest(self._drawn(2 * MOST_ROWS))

    def over_time(self, column: str) -> OptimisticSplit | None:
        """Compare with a split by time, as the data analysis will."""
        subject = self.sample
        if subject.target.problem or column not in subject.times:
            return None
        fits = fits_over_time(subject, column)
        if fits is None or not fits.is_optimistic(LEAST_LOSS_OVER_TIME):
            return None
        return self.optimistic(fits, fits.in_words)

    def over_entities(self, column: str) -> OptimisticSplit | None:
        """Compare with a split that keeps the rows of an entity together.

        The folds of entities are compared with those of shuffled ones, which have the
        same sizes: without related rows, both scores have the same distribution.
        """
        subject = self.honest(self._rows_of_entities(column))
        if subject.target.problem:
            return None
        sample = ProbeSample.of(subject, subject.target.rows)
        if len(sample.rows) < FEWEST_ROWS or not sample.encoded.shape[1]:
            return None
        entities = row_hashes(subject.frame, [column], "entities", sample.rows)
        apart = _predicted(sample, entities)
        by_chance = _predicted(sample, subject.generator().permutation(entities))
        if apart is None or by_chance is None:
            return None
        codes = cluster_codes(entities)
        outcomes = outcomes_of(self.spec.task, sample.y, subject.target.n_classes)
        errors = outcomes - apart.reshape(outcomes.shape)
        width = _width_by_rows(errors, codes, subject.generator())
        if width is None:
            return None
        fits = ComparedFits.of(sample, apart, by_chance, codes, "group", column)
        evidence = fits.in_words
        if width <= TOO_NARROW:
            evidence += (
                f". Errors of one {numbers.shown(column)} resemble each other: "
                f"intervals by rows would be {numbers.share(1 - width)} too narrow"
            )
        elif not fits.is_optimistic(LEAST_LOSS):
            return None
        return self.optimistic(fits, evidence)

    def _rows_of_entities(self, column: str) -> np.ndarray:
        """Draw entities, and return all of their rows: positions (k,), ascending."""
        codes = pd.factorize(self.frame[column])[0]
        rows_of = np.bincount(codes[codes >= 0])
        drawn = self._generator().permutation(len(rows_of))
        count = np.searchsorted(np.cumsum(rows_of[drawn]), MOST_ROWS) + 1
        return np.flatnonzero(np.isin(codes, drawn[:count]))


def _width_by_rows(
    errors: np.ndarray, entities: np.ndarray, generator: np.random.Generator
) -> float | None:
    """Width of an interval by rows beside the one by entities.

    None: the errors (n, k) of one entity, a code (n,), do not resemble each other more
    than in every shuffle. Design effect of Kish (1965): 1 + the products of errors over
    pairs of one entity, beside their squares.
    """
    centred = errors - errors.mean(axis=0)
    squares = float((centred**2).sum())
    if not squares > 0:
        return None

    def design_effect(codes: np.ndarray) -> float:
        sums = [np.bincount(codes, column) for column in centred.T]
        return float(np.square(sums).sum()) / squares

    by_entity = design_effect(entities)
    shuffled = [design_effect(generator.permutation(entities)) for _ in range(SHUFFLES)]
    return 1 / math.sqrt(max(by_entity, 1.0)) if by_entity > max(shuffled) else None


def _predicted(sample: ProbeSample, entities: np.ndarray) -> np.ndarray | None:
    """Predict each row (n,) by a probe that saw no row of its entity."""
    frame = sample.subject.frame.iloc[sample.rows]
    fold = deal(entities, classes_of(frame, sample.subject.spec), FOLDS)
    predictions = []
    order = []
    for number in range(FOLDS):
        judged = np.flatnonzero(fold == number)
        fitted = np.flatnonzero(fold != number)
        if not len(judged) or not sample.can_fit(fitted):
            return None
        predictions.append(sample.lightgbm(fitted, judged))
        order.append(judged)
    return np.concatenate(predictions)[np.argsort(np.concatenate(order))]
