"""The train and the test set of a search, with features, classes, early-stopping set
and digests.

A rung of halving, or a fold of a cross-validation, is a `TrainingSets` with digests of
its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd

from experiment_pipeline.spec import ExperimentSpec, RandomSplit, Split
from experiment_pipeline.spec.algorithms import FEW_TEXTS
from experiment_pipeline.stages.search.own_features import OwnTransformer
from experiment_pipeline.stages.split_sets import sets as split_sets
from experiment_pipeline.statistics.interval import (
    Weights,
    relative_weights,
    variance_factor,
)
from experiment_pipeline.statistics.scores import resampled_by
from experiment_pipeline.table import features as columns
from experiment_pipeline.table.clusters import canonical_order, resampling_clusters
from experiment_pipeline.table.kinds import NUMERIC, kind_of
from experiment_pipeline.table.membership import folds_of
from experiment_pipeline.table.table import some_rows, together


def texts_of(column: pd.Series) -> pd.Series:
    """Read a column of any type as texts, missing as nan."""
    return pd.Series(column, dtype="str")


def distinct_texts(table: pd.DataFrame, features: Sequence[str]) -> dict[str, int]:
    """Return feature → its number of distinct texts, where it holds texts."""
    return {
        name: texts_of(table[name]).nunique()
        for name in features
        if kind_of(table[name]) not in NUMERIC
    }


def columns_of_many_texts(distinct: Mapping[str, int]) -> list[str]:
    """Return the text features with more than FEW_TEXTS distinct texts."""
    return [name for name, count in distinct.items() if count > FEW_TEXTS]


def letters_of(column: pd.Series) -> float:
    """Return the letters of a row's text, on average."""
    return float(texts_of(column).str.len().mean())


@dataclass(frozen=True, eq=False)
class TrainingSets:
    """The rows a configuration is fitted on and compared on.

    Under cross-validation both are the rows of train and test set together: `train` has
    each row once, `test` once per repeat, to be predicted by models of folds that have
    not seen it.
    """

    train: pd.DataFrame  # (n_train, columns) the train rows (of the rung), prepared
    test: pd.DataFrame  # (n_test, columns) the rows that configurations are compared on
    features: tuple[str, ...]  # the columns a model may see, in order
    target: str
    task: str
    # None for regression; for binary classes[1] is the positive class
    classes: tuple | None
    # bool (n_train,): train rows held out for early stopping
    early_stopping: np.ndarray
    digests: Mapping[str, str]  # content digest of the sets "train" and "test"
    # bool (n_train,): train rows that a fit which stops early leaves out, mostly those
    # too near to the held out ones in time
    early_stopping_gap: np.ndarray | None = None
    split: Split = field(default_factory=RandomSplit)  # what rows belong together
    weight_column: str | None = None  # how much each row counts; None = all alike
    # feature → 1 where predictions may only rise with it, -1 where only fall
    directions: Mapping[str, int] = field(default_factory=dict)
    # the user's transformer: makes what encoders read
    own: OwnTransformer | None = None
    folds: tuple["Fold", ...] = ()  # of a cross-validation
    # when cross-validated: set → rows
    pooled: Mapping[str, int] = field(default_factory=dict)

    @property
    def set_sizes(self) -> Mapping[str, int]:
        """The row counts of the sets "train" and "test", as they were split."""
        return self.pooled or {"train": len(self.train), "test": len(self.test)}

    @property
    def repeats(self) -> int:
        """How often each row occurs in `test`."""
        return 1 + max((fold.repeat for fold in self.folds), default=0)

    @cached_property
    def distinct_texts(self) -> Mapping[str, int]:
        """Feature → its distinct texts in the train set, where it holds texts."""
        return distinct_texts(self.train, self.features)

    @cached_property
    def letters(self) -> Mapping[str, float]:
        """Feature of many distinct texts → the letters of a train row, on average."""
        many = columns_of_many_texts(self.distinct_texts)
        return {name: letters_of(self.train[name]) for name in many}

    @cached_property
    def every_row(self) -> pd.DataFrame:
        """The rows of train and test set, once each: what an exported model may see."""
        return self.train if self.folds else together([self.train, self.test])

    @property
    def row_numbers(self) -> pd.Index:
        """The index of `every_row`."""
        return (
            self.train.index if self.folds else self.train.index.append(self.test.index)
        )

    @property
    def variance_factor(self) -> float:
        """The factor by which a score's variance exceeds what the test rows show."""
        if not self.folds:
            return 1.0
        fitted = [len(fold.sets.train) for fold in self.folds]
        predicted = [len(fold.sets.test) for fold in self.folds]
        return variance_factor(fitted, predicted, self.repeats)

    @property
    def once(self) -> slice:
        """The part of `test` that holds each row once."""
        return slice(len(self.test) // self.repeats)

    def test_clusters(self, spec: ExperimentSpec) -> np.ndarray:
        """Return the codes (n_test,) of clusters; repeats of a row share one."""
        clusters = resampling_clusters(self.test[self.once], spec, self.features)
        # Not concatenated: consecutive clusters would lose that they are.
        shape = (self.repeats, *[1] * (clusters.ndim - 1))
        return resampled_by(spec.metric, np.tile(clusters, shape))

    def part(
        self, train: np.ndarray, test: np.ndarray, digests: Mapping[str, str]
    ) -> Self:
        """Return the sets with these rows alone: bool (n_train,) and (n_test,)."""
        gap = self.early_stopping_gap
        return replace(
            self,
            train=some_rows(self.train, np.flatnonzero(train)),
            test=some_rows(self.test, np.flatnonzero(test)),
            early_stopping=self.early_stopping[train],
            digests=digests,
            early_stopping_gap=None if gap is None else gap[train],
        )

    def on_folds(self, count: int) -> Self:
        """Return these sets with the first `count` folds of the cross-validation."""
        folds = self.folds[:count]
        places = np.sort(np.concatenate([fold.places for fold in folds]))
        moved = tuple(
            replace(fold, places=np.searchsorted(places, fold.places)) for fold in folds
        )
        return replace(self, test=some_rows(self.test, places), folds=moved)

    @property
    def fit_mask(self) -> np.ndarray:
        """The train rows that a fit which stops early is fitted on: bool (n_train,)."""
        gap = self.early_stopping_gap
        return ~self.early_stopping if gap is None else ~(self.early_stopping | gap)

    @property
    def y_train(self) -> np.ndarray:
        """The encoded target of the train rows, (n_train,): class codes, or floats."""
        return columns.encode_target(self.train[self.target], self.classes)

    @property
    def y_test(self) -> np.ndarray:
        """The encoded target of the test rows, (n_test,)."""
        return columns.encode_target(self.test[self.target], self.classes)

    @property
    def w_train(self) -> Weights:
        """How much each train row counts, (n_train,), mean 1; None: all alike."""
        return self.weights_of(self.train)

    @property
    def w_test(self) -> Weights:
        """How much each test row counts, (n_test,), mean 1; None: all alike."""
        return self.weights_of(self.test)

    def weights_of(self, rows: pd.DataFrame) -> Weights:
        """How much each row of a table of the experiment counts, (n,)."""
        if self.weight_column is None:
            return None
        return relative_weights(rows[self.weight_column].to_numpy(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold of a cross-validation."""

    repeat: int  # which repeat of the cross-validation it belongs to, from 0 on
    sets: TrainingSets  # `train` to fit on, `test` to predict
    fitted: np.ndarray  # bool, which of all train rows are fitted on
    # (n,) positions of its predicted rows in the `test` of the whole sets
    places: np.ndarray


def as_evaluated(
    train_set: split_sets.SetTable, test_set: split_sets.SetTable, spec: ExperimentSpec
) -> TrainingSets:
    """Return what to fit and compare on.

    UnusableTable: a metric is not defined for the targets. EmptySet: a fold would leave
    nothing out.
    """
    train, test = train_set.rows, test_set.rows
    for rows in (train, test):
        columns.check_metrics(rows[spec.target], spec)
    sets = TrainingSets(
        train=train,
        test=test,
        features=tuple(columns.feature_columns(train, spec)),
        target=spec.target,
        task=spec.task,
        classes=columns.find_classes(train[spec.target], spec),
        early_stopping=train_set.early_stopping == split_sets.STOPS,
        early_stopping_gap=train_set.early_stopping == split_sets.BETWEEN,
        digests={"train": train_set.digest, "test": test_set.digest},
        split=spec.split,
        weight_column=spec.sample_weight,
        directions=columns.directions_of(train, spec),
        own=OwnTransformer.of(spec.features, spec.seed) if spec.features else None,
    )
    return sets if spec.cross_validation is None else _cross_validated(sets, spec)


def _cross_validated(sets: TrainingSets, spec: ExperimentSpec) -> TrainingSets:
    """The rows of train and test set, in the canonical order, with their folds.

    The choice rests on out-of-fold predictions. Each row is once per repeat among the
    test rows, with the prediction of that repeat: the mean over repeats would be that
    of several models, and one model is exported. That one is fitted on all rows without
    early stopping: its rounds are the median of the folds'.
    """
    assert spec.cross_validation is not None
    rows = together([sets.train, sets.test])
    rows = some_rows(rows, canonical_order(rows, spec, sets.features))
    splits = folds_of(rows, spec, spec.cross_validation, sets.features)
    first_repeat = [split.predicted for split in splits if split.repeat == 0]
    scored = np.flatnonzero(np.any(first_repeat, axis=0))
    pooled = replace(
        sets,
        train=rows,
        early_stopping=np.zeros(len(rows), dtype=bool),
        early_stopping_gap=None,
        pooled=sets.set_sizes,
    )
    folds = list[Fold]()
    for number, split in enumerate(splits):
        train = some_rows(rows, np.flatnonzero(split.fitted))
        predicted = np.flatnonzero(split.predicted)
        # Each fold draws an early-stopping set of its own from its own train rows.
        roles = split_sets.early_stopping_roles(
            train, spec, sets.features, draw=f"/{number}"
        )
        of_fold = replace(
            pooled,
            train=train,
            test=some_rows(rows, predicted),
            early_stopping=roles == split_sets.STOPS,
            early_stopping_gap=roles == split_sets.BETWEEN,
            digests={},
        )
        places = split.repeat * len(scored) + np.searchsorted(scored, predicted)
        folds.append(Fold(split.repeat, of_fold, split.fitted, places))
    repeats = 1 + max(split.repeat for split in splits)
    test = together([some_rows(rows, scored)] * repeats)
    return replace(pooled, test=test, folds=tuple(folds))
