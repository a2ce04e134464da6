"""Ways to spend the same seconds on LightGBM: ours, Optuna's TPE, FLAML, random draws.

All choose on the test rows. Ours, Optuna and random search the space that our scaffold writes,
FLAML its own. Ours ends with the winner fitted on train and test rows, as it is exported; the
others end with the model that was best, fitted on train rows. So that the searches alone can be
compared, every winner is also fitted as ours is. What they are given is in `rival_trials.py`, how
they are compared in `rivals.py`. In: `Given`. Out: `Found`.
"""

import logging
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone

from experiment_pipeline.spec import Budget, Range, Scalar
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline_tests.bench.rival_trials import Given, Trials
from experiment_pipeline_tests.results import trained_by_search
from experiment_pipeline_tests.stages.search.scenario import refit

if TYPE_CHECKING:
    import optuna
    from sklearn.pipeline import Pipeline

# Of our seconds; the rest is for the refit, which is ours alone to pay.
SEARCH_SHARE = 0.85


@dataclass(frozen=True, eq=False)
class Found:
    """What a tool ends with.

    Attributes:
        predictions: of the validation rows, by the model that it ends with.
        refitted: of the same rows, by its winner fitted on train and test rows.
        seconds: from its start to the model that it ends with.
    """

    predictions: np.ndarray
    refitted: np.ndarray
    seconds: float


def ours(given: Given) -> Found:
    """Our search, with halving, within its budget of seconds, and the refit of the export."""
    started = time.perf_counter()
    spec = given.cut.spec.model_copy(
        update={"budget": Budget(seconds=SEARCH_SHARE * given.seconds)}
    )
    sign = METRICS[spec.metric].sign
    in_full = trained_by_search(spec, given.cut.sets).values()
    best = max((one.result for one in in_full), key=lambda one: sign * one.test_score)
    pipeline = _refitted(best.hyperparameters, best.rounds, given)
    seconds = time.perf_counter() - started
    predictions = _predictions(pipeline, given)
    return Found(predictions, predictions, seconds)


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
    return _found(trials, given, time.perf_counter() - started)


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
    return _found(trials, given, time.perf_counter() - started)


def flaml_lightgbm(given: Given, threads: int) -> Found:
    """FLAML with LightGBM alone, in its own space, one fit after the other.

    Its fits are short, so that more threads for each may cost it more than they bring.
    """
    from flaml import AutoML

    logging.getLogger("flaml").setLevel(logging.ERROR)
    sets, spec = given.cut.sets, given.cut.spec
    train, test, validation, both = (
        _with_categories(rows, given.categorical)
        for rows in (
            given.train,
            given.test,
            given.validation,
            np.r_[given.train, given.test],
        )
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
            n_jobs=threads,
            seed=spec.seed,
            verbose=0,
        )
        seconds = time.perf_counter() - started
        again = clone(tool.model.estimator).fit(both, np.r_[sets.y_train, sets.y_test])
        return Found(
            _of_estimator(tool, validation, sets.task),
            _of_estimator(again, validation, sets.task),
            seconds,
        )


TOOLS: Mapping[str, Callable[[Given], Found]] = {
    "ours": ours,
    "Optuna TPE": optuna_tpe,
    "FLAML": partial(flaml_lightgbm, threads=joblib.cpu_count()),
    "FLAML, one thread": partial(flaml_lightgbm, threads=1),
    "random draws": random_draws,
}


def _found(trials: Trials, given: Given, seconds: float) -> Found:
    """What a tool that only proposes ends with: the best model there was."""
    booster, hyperparameters = trials.best()
    again = _refitted(hyperparameters, booster.best_iteration, given)
    delivered = np.asarray(booster.predict(given.validation))
    return Found(delivered, _predictions(again, given), seconds)


def _refitted(
    hyperparameters: Mapping[str, Scalar], rounds: int | None, given: Given
) -> "Pipeline":
    """Fit a winner on train and test rows, as many rounds as it had, no early stopping."""
    sets = given.cut.sets
    one = Configuration("winner", "lightgbm", "ordinal", hyperparameters)
    return refit(one, rounds, pd.concat([sets.train, sets.test]), sets, given.cut.spec)


def _predictions(pipeline: "Pipeline", given: Given) -> np.ndarray:
    sets = given.cut.sets
    return predict(pipeline, given.cut.validation, sets.features, sets.task, sets.classes)


def _of_estimator(estimator: Any, rows: pd.DataFrame, task: str) -> np.ndarray:
    if task == "regression":
        return np.asarray(estimator.predict(rows))
    found = np.asarray(estimator.predict_proba(rows))
    return found[:, 1] if task == "binary" else found


def _suggested(
    trial: "optuna.Trial", searched: Mapping[str, Range | tuple[Scalar, ...]]
) -> dict[str, Scalar]:
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
