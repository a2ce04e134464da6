"""Measure, on a drafted random split, whether it promises what later rows or new
entities do not keep.

A probe predicts the same rows twice: once fitted as a random split does, once without
their future, or without the other rows of their entity. The second score is the honest
one. The draft takes that split if it is worse beyond its error; of entities, if the
probe's errors of one resemble each other, and the score is worse or intervals by rows
would be too narrow. Targets of the random split's validation set are not read.
"""

import math
from collections.abc import Sequence
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
    RandomSplitOverTime,
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

    `sets` are those of the random split of `prepared`; `times`, the likeliest first,
    and `entities` are the columns to compare it with. Of several times one is enough.
    """
    nested = [name for name in prepared if kind_of(prepared[name]) == "nested"]
    visible = np.flatnonzero((sets != "validation").to_numpy())
    thresholds = {
        **spec.analysis.thresholds,
        RandomSplitOverTime.code: LEAST_LOSS_OVER_TIME,
    }
    analysis = spec.analysis.model_copy(update={"thresholds": thresholds})
    table = _Table(
        frame=prepared.drop(columns=nested).iloc[visible],
        sets=sets.iloc[visible].astype("str"),
        spec=spec.model_copy(update={"analysis": analysis}),
    )
    over_time = map(table.over_time, times[:MOST_COLUMNS])
    first = next(filter(None, over_time), None)
    compared = [first, *map(table.over_entities, entities[:MOST_COLUMNS])]
    splits = [split for split in compared if split is not None]
    return sorted(splits, key=lambda split: -split.lost)


@dataclass(frozen=True, eq=False)
class _Table:
    """The rows that are not in the validation set of a random split."""

    frame: pd.DataFrame
    sets: pd.Series
    spec: ExperimentSpec

    @cached_property
    def leaks(self) -> list[str]:
        """Features that nearly equal the target: with them, each split is as good."""
        features = tuple(feature_columns(self.frame, self.spec))
        generator = np.random.default_rng(self.spec.seed)
        rows = np.sort(generator.permutation(len(self.frame))[:ROWS_OF_LEAKS])
        subject = Subject(
            self.frame.iloc[rows], self.sets.iloc[rows], features, self.spec
        )
        return [each.column for each in subject.associations if each.skill >= LEAK]

    def evidence(self, measured: str) -> str:
        """Add which columns the probe did not have."""
        if not self.leaks:
            return measured
        names = numbers.some_of(list(map(numbers.shown, self.leaks)))
        return f"{measured}, without {names}, which may give the target away"

    def subject(self, rows: np.ndarray, without: Sequence[str] = ()) -> Subject:
        """The rows at positions (k,) under analysis, without some columns."""
        features = feature_columns(self.frame, self.spec)
        features = tuple(name for name in features if name not in self.leaks)
        frame = self.frame.drop(columns=list(without)).iloc[rows]
        return Subject(frame, self.sets.iloc[rows], features, self.spec)

    def over_time(self, column: str) -> OptimisticSplit | None:
        """Compare with a split by time, as the data analysis will."""
        generator = np.random.default_rng(self.spec.seed)
        rows = generator.permutation(len(self.frame))[: 2 * MOST_ROWS]
        other_dates = [
            str(name)
            for name, cells in self.frame.items()
            if kind_of(cells) == "datetime" and name != column
        ]
        subject = self.subject(np.sort(rows), without=other_dates)
        if subject.target.problem:
            return None
        finding = RandomSplitOverTime().check(subject)
        if finding.outcome != "found" or finding.number is None:
            return None
        return OptimisticSplit(
            split={"by": "time", "column": column},
            lost=finding.number,
            evidence=self.evidence(finding.evidence.removesuffix(".")),
        )

    def over_entities(self, column: str) -> OptimisticSplit | None:
        """Compare with a split that keeps the rows of an entity together."""
        subject = self.subject(self._rows_of_entities(column))
        if subject.target.problem:
            return None
        sample = ProbeSample.of(subject, subject.target.rows)
        if len(sample.rows) < FEWEST_ROWS or not sample.encoded.shape[1]:
            return None
        hashes = row_hashes(subject.frame, [column], "entities", sample.rows)
        comparison = _ProbedEntities.of(sample, hashes)
        if comparison is None:
            return None
        evidence = comparison.evidence(numbers.shown(column))
        if evidence is None:
            return None
        split = {"by": "group", "column": column}
        return OptimisticSplit(split, comparison.fits.lost, self.evidence(evidence))

    def _rows_of_entities(self, column: str) -> np.ndarray:
        """Draw entities, and return all of their rows: positions (k,), ascending."""
        codes = pd.factorize(self.frame[column])[0]
        known = codes[codes >= 0]
        generator = np.random.default_rng(self.spec.seed)
        drawn = generator.permutation(known.max() + 1)
        rows_of_drawn = np.cumsum(np.bincount(known)[drawn])
        chosen = drawn[: np.searchsorted(rows_of_drawn, MOST_ROWS) + 1]
        return np.flatnonzero(np.isin(codes, chosen))


@dataclass(frozen=True)
class _ProbedEntities:
    """A probe on the same rows, fitted on rows of other entities or of all."""

    fits: ComparedFits
    likeness: "_Likeness"  # of the errors of one entity

    @classmethod
    def of(cls, sample: ProbeSample, entities: np.ndarray) -> "_ProbedEntities | None":
        """Compare the folds of entities (n,) with those of shuffled ones.

        Shuffled entities make folds of the same sizes: without related rows, both
        scores have the same distribution. None: a fold cannot be fitted.
        """
        shuffled = sample.subject.generator().permutation(entities)
        apart = _predicted(sample, entities)
        by_chance = _predicted(sample, shuffled)
        if apart is None or by_chance is None:
            return None
        codes = cluster_codes(entities)
        task, classes = sample.subject.spec.task, sample.subject.target.n_classes
        outcomes = outcomes_of(task, sample.y, classes)
        errors = outcomes - apart.reshape(outcomes.shape)
        places = np.arange(len(sample.y))
        return cls(
            fits=ComparedFits.of(sample, places, apart, by_chance, codes),
            likeness=_Likeness.of(errors, codes, sample.subject.generator()),
        )

    def evidence(self, name: str) -> str | None:
        """Return why a random split is too optimistic; None: it is not."""
        is_worse = self.fits.is_significant and self.fits.lost >= LEAST_LOSS
        is_narrow = self.likeness.width <= TOO_NARROW
        if not self.likeness.is_sure or not (is_worse or is_narrow):
            return None
        evidence = f"A {self.fits.in_words(f'other values of {name}', 'values')}"
        if is_narrow:
            narrow = numbers.share(1 - self.likeness.width)
            evidence += (
                f". Errors of one {name} resemble each other: intervals by rows "
                f"would be {narrow} too narrow"
            )
        return evidence


@dataclass(frozen=True)
class _Likeness:
    """How much the errors of one entity resemble each other."""

    is_sure: bool  # more than in any shuffle
    width: float  # of an interval by rows beside the one by entities

    @classmethod
    def of(
        cls, errors: np.ndarray, entities: np.ndarray, generator: np.random.Generator
    ) -> "_Likeness":
        """Measure errors (n, k) of rows whose entity is a code (n,).

        The design effect of Kish (1965): 1 + the products of errors over pairs of one
        entity, beside their squares.
        """
        centred = errors - errors.mean(axis=0)
        squares = float((centred**2).sum())
        if not squares > 0:
            return cls(is_sure=False, width=1.0)

        def design_effect(codes: np.ndarray) -> float:
            sums = [np.bincount(codes, column) for column in centred.T]
            return float(np.square(sums).sum()) / squares

        by_entity = design_effect(entities)
        shuffled = [
            design_effect(generator.permutation(entities)) for _ in range(SHUFFLES)
        ]
        return cls(
            is_sure=by_entity > max(shuffled),
            width=1 / math.sqrt(max(by_entity, 1.0)),
        )


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
