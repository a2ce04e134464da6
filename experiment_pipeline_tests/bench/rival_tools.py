"""Ways to spend the same seconds on LightGBM: ours, Optuna's TPE, FLAML, random draws.

All choose on the test rows. Ours, Optuna and random search the space that our scaffold writes,
FLAML its own. What they are given is in `rival_trials.py`, how they are compared in `rivals.py`.
In: `Given`. Out: `Found`.
"""

import logging
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import joblib
import lightgbm as lgb
import numpy as np
import pandas as pd

from experiment_pipeline.core import metrics
from experiment_pipeline.core.configurations import Configuration, configurations
from experiment_pipeline.core.spec import Range, Scalar
from experiment_pipeline.core.trained_model import Fitted, TrainedModel, predict, refit, search
from experiment_pipeline_tests.bench.rival_trials import Given, Trials

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True, eq=False)
class Found:
    """What a tool ends with.

    Attributes:
        predictions: of the validation rows, by its winner, fitted on train rows alone.
        seconds: from its start to its winner.
        refitted: of the same rows, by the winner fitted anew on all train rows, for who has held
            some of them out; None: it was fitted on all.
    """

    predictions: np.ndarray
    seconds: float
    refitted: np.ndarray | None = None


def ours(given: Given) -> Found:
    """Our search, with halving, within its budget of seconds.

    The refit is the export's, but on train rows: the winner's rounds, no early stopping.
    """
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
    return Found(np.asarray(booster.predict(given.validation)), seconds, _refitted(best, given))


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


def flaml_lightgbm(given: Given, threads: int) -> Found:
    """FLAML with LightGBM alone, in its own space, one fit after the other.

    Its fits are short, so that more threads for each may cost it more than they bring.
    """
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
            n_jobs=threads,
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
    "FLAML": partial(flaml_lightgbm, threads=joblib.cpu_count()),
    "FLAML, one thread": partial(flaml_lightgbm, threads=1),
    "random draws": random_draws,
}


def _refitted(best: TrainedModel, given: Given) -> np.ndarray:
    result, cut = best.result, given.cut
    one = Configuration(result.key, result.algorithm, result.features, result.hyperparameters)
    pipeline = refit(one, result.rounds, cut.sets.train, cut.sets, cut.spec)
    sets = cut.sets
    return predict(pipeline, cut.validation, sets.features, sets.task, sets.classes)


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
