"""Four ways to spend the same seconds on LightGBM: ours, Optuna's TPE, FLAML, random draws.

All choose on the test rows. Ours, Optuna and random search the space that our scaffold writes,
FLAML its own. How they are compared belongs to `rivals.py`. In: `Given`. Out: `Found`.
"""

import logging
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import joblib
import lightgbm as lgb
import numpy as np
import pandas as pd

from experiment_pipeline.core import metrics
from experiment_pipeline.core.configurations import configurations
from experiment_pipeline.core.spec import Range, Scalar
from experiment_pipeline.core.trained_model import Fitted, TrainedModel, search
from experiment_pipeline.core.trained_model.boosting import (
    PATIENCE,
    ROUNDS_AT_MOST,
    stopping_metric,
)
from experiment_pipeline.core.trained_model.features import build_features, categorical_positions
from experiment_pipeline_tests.bench.tables import Cut


@dataclass(frozen=True, eq=False)
class Given:
    """What every tool is given.

    Attributes:
        cut: the table; its experiment has one random search of LightGBM and a budget of seconds.
        train: (n_train, d) as our features encode it, fitted on train.
        test: (n_test, d).
        validation: (n_validation, d).
        categorical: columns that are codes of categories; -1 is missing.
    """

    cut: Cut
    train: np.ndarray
    test: np.ndarray
    validation: np.ndarray
    categorical: list[int]

    @property
    def seconds(self) -> float:
        """How long a tool may search."""
        return self.cut.spec.budget.seconds or 0.0


@dataclass(frozen=True, eq=False)
class Found:
    """What a tool ends with.

    Attributes:
        predictions: of the validation rows, by its winner, fitted on train rows alone.
        seconds: from its start to its winner.
    """

    predictions: np.ndarray
    seconds: float


def encode(cut: Cut) -> Given:
    """Encode a table once; the rivals' clocks start afterwards, ours encodes by itself."""
    sets, columns = cut.sets, list(cut.sets.features)
    features = build_features("ordinal", sets.train, columns)
    return Given(
        cut,
        features.fit_transform(sets.train[columns]),
        features.transform(sets.test[columns]),
        features.transform(cut.validation[columns]),
        categorical_positions("ordinal", sets.train, columns),
    )


def ours(given: Given) -> Found:
    """Our search, with halving, within its budget of seconds."""
    spec, started = given.cut.spec, time.perf_counter()
    sign = metrics.METRICS[spec.metric].sign
    in_full: list[TrainedModel] = [
        event.model
        for event in search(
            configurations(spec),
            given.cut.sets,
            spec,
            lambda _: {},
            joblib.cpu_count(),
            time.perf_counter,
        )
        if isinstance(event, Fitted) and event.rung.is_full
    ]
    best = max(in_full, key=lambda one: sign * one.result.test_score)
    seconds = time.perf_counter() - started
    booster = lgb.Booster(model_str=best.model.decode())
    return Found(np.asarray(booster.predict(given.validation)), seconds)


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
            "metric": stopping_metric(self._spec.metric, sets.task, len(np.unique(sets.y_test))),
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
        self._best: tuple[float, lgb.Booster] | None = None
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
        metric = metrics.METRICS[self._spec.metric]
        score = metric.sign * metrics.score(metric.name, self._y_test, predictions)
        with self._lock:
            if self._best is None or score > self._best[0]:
                self._best = score, booster
        return score

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Predict by the best model so far, (n,) or (n, k)."""
        if self._best is None:
            raise RuntimeError("nothing was fitted")
        return np.asarray(self._best[1].predict(rows))


def optuna_tpe(given: Given) -> Found:
    """Optuna's TPE with its defaults, as many trials at a time as there are cores."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec, started = given.cut.spec, time.perf_counter()
    trials = Trials(given)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=spec.seed)
    )
    study.optimize(
        lambda trial: trials.score(_suggested(trial, spec.search[0].searched)),
        timeout=given.seconds,
        n_jobs=joblib.cpu_count(),
    )
    seconds = time.perf_counter() - started
    return Found(trials.predict(given.validation), seconds)


def random_draws(given: Given) -> Found:
    """The draws of our search in their order, each on all rows, one thread per core."""
    started = time.perf_counter()
    trials, stop = Trials(given), started + given.seconds
    draws, lock = iter(configurations(given.cut.spec)), threading.Lock()

    def work() -> None:
        # One at least: a search that has fitted nothing is worth nothing.
        while True:
            with lock:
                one = next(draws)
            trials.score(one.hyperparameters)
            if time.perf_counter() >= stop:
                return

    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        for done in [pool.submit(work) for _ in range(joblib.cpu_count())]:
            done.result()
    seconds = time.perf_counter() - started
    return Found(trials.predict(given.validation), seconds)


def flaml_lightgbm(given: Given) -> Found:
    """FLAML with LightGBM alone, in its own space, all cores for one fit."""
    from flaml import AutoML

    logging.getLogger("flaml").setLevel(logging.ERROR)
    sets, spec = given.cut.sets, given.cut.spec
    train, test, validation = (
        _with_categories(rows, given.categorical)
        for rows in (given.train, given.test, given.validation)
    )
    started = time.perf_counter()
    tool = AutoML()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tool.fit(
            train,
            sets.y_train,
            X_val=test,
            y_val=sets.y_test,
            task=sets.task,
            metric=spec.metric,
            estimator_list=["lgbm"],
            time_budget=given.seconds,
            n_jobs=joblib.cpu_count(),
            retrain_full=False,
            seed=spec.seed,
            verbose=0,
        )
        seconds = time.perf_counter() - started
        if sets.task == "regression":
            return Found(np.asarray(tool.predict(validation)), seconds)
        found = np.asarray(tool.predict_proba(validation))
    return Found(found[:, 1] if sets.task == "binary" else found, seconds)


TOOLS: Mapping[str, Callable[[Given], Found]] = {
    "ours": ours,
    "Optuna TPE": optuna_tpe,
    "FLAML": flaml_lightgbm,
    "random draws": random_draws,
}


def _suggested(trial, searched: Mapping[str, Range | tuple[Scalar, ...]]) -> dict[str, Scalar]:
    """Ask a trial for every hyperparameter of our space."""
    found: dict[str, Scalar] = {}
    for name, space in searched.items():
        if isinstance(space, tuple):
            found[name] = trial.suggest_categorical(name, space)
            continue
        suggest = trial.suggest_int if space.integer else trial.suggest_float
        found[name] = suggest(name, space.low, space.high, log=space.scale == "log")
    return found


def _with_categories(rows: np.ndarray, categorical: list[int]) -> pd.DataFrame:
    """Return encoded rows as FLAML takes categories: by their type."""
    frame = pd.DataFrame(rows, columns=[f"c{n}" for n in range(rows.shape[1])])
    for position in categorical:
        frame[f"c{position}"] = frame[f"c{position}"].astype("int64").astype("category")
    return frame
