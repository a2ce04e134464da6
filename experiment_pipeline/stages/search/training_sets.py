"""What every fit of a search is given: the train and the test set, and what they mean.

No fitting lives here. In: the tables of the split stage. Out: one frozen object with features,
classes, the inner slice for early stopping and the digests that fingerprints rest on; also for a
rung of halving, which is a `TrainingSets` with fewer rows and digests of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from experiment_pipeline.columns.features import feature_columns
from experiment_pipeline.columns.target import encode_target, find_classes
from experiment_pipeline.spec import RandomSplit, Roles, Split
from experiment_pipeline.stages.split_sets import sets
from experiment_pipeline.statistics.weights import Weights, relative_weights


@dataclass(frozen=True, eq=False)
class TrainingSets:
    """The rows a configuration is fitted on and compared on.

    Attributes:
        train: the train rows (of the rung), prepared; (n_train, columns).
        test: the test rows, prepared; (n_test, columns).
        features: the columns a model may see, in order.
        target: the column to predict.
        task: binary, multiclass or regression.
        classes: None for regression; for binary classes[1] is the positive class.
        inner: bool (n_train,): train rows held out for early stopping.
        digests: content digest of "train" and "test".
        groups: (n_train,) what the split keeps together; None = nothing.
        inner_gap: bool (n_train,): train rows too near to the held out ones in time for a fit
            that stops early; None = none.
        split: what rows belong together, also where train rows are parted once more.
        weight_column: how much each row counts, in fits and scores; None = all alike.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    features: tuple[str, ...]
    target: str
    task: str
    classes: tuple | None
    inner: np.ndarray
    digests: Mapping[str, str]
    groups: np.ndarray | None = None
    inner_gap: np.ndarray | None = None
    split: Split = field(default_factory=RandomSplit)
    weight_column: str | None = None

    @property
    def y_train(self) -> np.ndarray:
        """The encoded target of the train rows, (n_train,): class codes, or floats."""
        return encode_target(self.train[self.target], self.classes)

    @property
    def grown(self) -> np.ndarray:
        """The train rows that a fit which stops early is fitted on: bool (n_train,)."""
        return ~self.inner if self.inner_gap is None else ~(self.inner | self.inner_gap)

    @property
    def y_test(self) -> np.ndarray:
        """The encoded target of the test rows, (n_test,)."""
        return encode_target(self.test[self.target], self.classes)

    @property
    def w_train(self) -> Weights:
        """How much each train row counts, (n_train,), with a mean of 1; None = all alike."""
        return self.weights_of(self.train)

    @property
    def w_test(self) -> Weights:
        """How much each test row counts, (n_test,), with a mean of 1; None = all alike."""
        return self.weights_of(self.test)

    def weights_of(self, rows: pd.DataFrame) -> Weights:
        """How much each of other rows of the experiment counts, such as validation rows."""
        if self.weight_column is None:
            return None
        return relative_weights(rows[self.weight_column].to_numpy(dtype=np.float64))


def without_rows(sets: TrainingSets) -> TrainingSets:
    """Return what the sets mean without their rows, to be sent to another process."""
    return replace(sets, train=sets.train[:0], test=sets.test[:0])


def training_sets(train_set: sets.SetTable, test_set: sets.SetTable, spec: Roles) -> TrainingSets:
    """Return what the configurations of an experiment are fitted on and compared on."""
    train, test = train_set.rows, test_set.rows
    return TrainingSets(
        train=train,
        test=test,
        features=tuple(feature_columns(train, spec)),
        target=spec.target,
        task=spec.task,
        classes=find_classes(train[spec.target], spec),
        inner=train_set.inner == sets.STOPS,
        inner_gap=train_set.inner == sets.BETWEEN,
        digests={"train": train_set.digest, "test": test_set.digest},
        groups=train[spec.split.column].to_numpy() if spec.split.by == "group" else None,
        split=spec.split,
        weight_column=spec.sample_weight,
    )
