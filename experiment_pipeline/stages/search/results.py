"""What a fit leaves behind: its numbers, its model, or why it failed.

Plain frozen data, records of the storage. In: what `fitting.py` measured. Out: what the store keeps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.spec import Features, Scalar
from experiment_pipeline.storage.records import Undefinable


@dataclass(frozen=True)
class ModelResult:
    """The numbers of one trained configuration.

    Attributes:
        key: the configuration's partition key when it was trained; keys may be renamed later.
        fingerprint: sha256 hex over everything that decides the model.
        recipe_fingerprint: the same for the fitted features it needs.
        algorithm: a built-in algorithm's name, or an import path.
        features: the feature recipe.
        hyperparameters: as the configuration gives them, defaults not included.
        status: "trained".
        metric: the ranking metric that was asked for; like the other scores it can be another one
            later, see `scoring.py`.
        train_score: of `metric`, on train rows (those of `scoring.scored_rows`), at the threshold
            of the test score.
        test_score: of `metric`, on all test rows; nan where undefined. A score that depends on a
            threshold is at the best one for these rows.
        test_scores: every metric of the experiment, on all test rows, at that threshold.
        rounds: boosting rounds that the model keeps; None for what does not boost.
        fit_cpu_seconds: CPU time of the fitting thread.
        fit_wall_seconds: the same fit by the clock on the wall.
        predict_seconds_per_row: CPU time on encoded test rows.
        model_bytes: size of the stored model, without features.
        trusted_types: what loading it needs beyond `persistence.TRUSTED_TYPES`: types of a
            user's own estimator, noted when this process had just fitted it.
        notes: what to know about the fit, one sentence each.
    """

    key: str
    fingerprint: str
    recipe_fingerprint: str
    algorithm: str
    features: Features
    hyperparameters: Mapping[str, Scalar]
    status: str
    metric: str
    train_score: Undefinable
    test_score: Undefinable
    test_scores: Mapping[str, Undefinable]
    rounds: int | None
    fit_cpu_seconds: float
    fit_wall_seconds: float
    predict_seconds_per_row: float
    model_bytes: int
    trusted_types: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one fit predicts: all that scores need.

    Regression (n,); binary (n,), the probability of classes[1]; multiclass (n, k), in the order
    of the classes.

    Attributes:
        test: of the test rows.
        train: of the train rows that the train score is of, see `scoring.scored_rows`.
    """

    test: np.ndarray
    train: np.ndarray


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained configuration.

    Attributes:
        result: its numbers.
        model: LightGBM text in UTF-8, or canonical skops bytes; without the features.
        predictions: of test and train rows.
    """

    result: ModelResult
    model: bytes
    predictions: Predictions

    @property
    def key(self) -> str:
        """The configuration's partition key."""
        return self.result.key


@dataclass(frozen=True)
class FailedConfiguration:
    """A configuration that could not be trained.

    Attributes:
        key: the configuration's partition key.
        fingerprint: of what was to be trained.
        error_type: the class of the exception.
        reason: its message.
        traceback: for who has to mend the estimator.
        says_nothing: of the configuration: what it raised comes from the machine or the
            interpreter, and another attempt may end well.
    """

    key: str
    fingerprint: str
    error_type: str
    reason: str
    traceback: str
    says_nothing: bool = False
