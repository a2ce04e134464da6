"""What every tool of the rivals' comparison is given, and LightGBM for those that only propose.

Which tools there are is in `rival_tools.py`. In: a cut table. Out: encoded rows, and scores of
hyperparameters on the test rows.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

from experiment_pipeline.spec import Scalar
from experiment_pipeline.stages.search.features import build_features, categorical_positions
from experiment_pipeline.stages.search.learners.hyperparameters import (
    PATIENCE,
    ROUNDS_AT_MOST,
    stopping_metric,
)
from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline_tests.bench.tables import Cut


@dataclass(frozen=True, eq=False)
class Given:
    """What every tool is given.

    Attributes:
        cut: the table; its experiment has one random search of LightGBM.
        train: (n_train, d) as our features encode it, fitted on train.
        test: (n_test, d).
        validation: (n_validation, d).
        categorical: columns that are codes of categories; -1 is missing.
        seconds: how long a tool may take.
    """

    cut: Cut
    train: np.ndarray
    test: np.ndarray
    validation: np.ndarray
    categorical: list[int]
    seconds: float


def encode(cut: Cut, seconds: float) -> Given:
    """Encode a table once; the rivals' clocks start afterwards, ours encodes by itself."""
    sets, columns = cut.sets, list(cut.sets.features)
    features = build_features("ordinal", sets.train, columns).fit(sets.train[columns])
    return Given(
        cut,
        features.transform(sets.train[columns]),
        features.transform(sets.test[columns]),
        features.transform(cut.validation[columns]),
        categorical_positions(features),
        seconds,
    )


class Trials:
    """LightGBM for tools that only propose hyperparameters; threads may share it.

    As such tools are used at their best: bins are made once, all train rows are fitted on, and
    the test rows, which choose, also stop the trees.
    """

    def __init__(self, given: Given) -> None:
        """Bin the tables."""
        sets, self._spec = given.cut.sets, given.cut.spec
        self._test, self._y_test = given.test, sets.y_test
        self._fixed: dict[str, Scalar] = {
            "objective": sets.task,
            "metric": stopping_metric(self._spec.metric, sets.task),
            "num_threads": 1,
            "force_row_wise": True,
            "feature_pre_filter": False,
            "verbosity": -1,
            "seed": self._spec.seed,
        }
        if sets.task == "multiclass" and sets.classes:
            self._fixed["num_class"] = len(sets.classes)
        settings = {"categorical_feature": given.categorical, "params": self._fixed}
        self._binned = lgb.Dataset(given.train, sets.y_train, **settings).construct()
        self._watched = lgb.Dataset(given.test, self._y_test, reference=self._binned, **settings)
        self._watched.construct()
        self._best: tuple[float, lgb.Booster, Mapping[str, Scalar]] | None = None
        self._lock = threading.Lock()

    def score(self, hyperparameters: Mapping[str, Scalar]) -> float:
        """Fit once and return the score on the test rows; greater is better."""
        booster = lgb.train(
            {**self._fixed, **hyperparameters},
            self._binned,
            ROUNDS_AT_MOST,
            valid_sets=[self._watched],
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
            keep_training_booster=True,
        )
        predictions = np.asarray(booster.predict(self._test, num_threads=1))
        metric = METRICS[self._spec.metric]
        score = metric.sign * scores.score(metric.name, self._y_test, predictions)
        with self._lock:
            if self._best is None or score > self._best[0]:
                self._best = score, booster, dict(hyperparameters)
        return score

    def best(self) -> tuple[lgb.Booster, Mapping[str, Scalar]]:
        """Return the best model so far, and its hyperparameters."""
        if self._best is None:
            raise RuntimeError("nothing was fitted")
        return self._best[1:]
