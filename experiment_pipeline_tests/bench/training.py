"""The training step against scikit-learn's grid search and bare LightGBM, and where its time goes."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import joblib
import lightgbm as lgb

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.features import build_features, categorical_positions
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests.bench import flights, scikit
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.pairs import Ratio, compare, seconds_of


def ratios(pairs: int, folder: Path) -> list[Ratio]:
    """Every comparison of the training step, on 60 LightGBM configurations of the flights."""
    spec = flights.flights_spec(search=flights.SEARCH)
    sets = flights.flights_sets(spec)
    ours = sweep(spec, sets)
    return [
        compare(
            "training step, 60 configurations: scikit-learn GridSearchCV(n_jobs=-1)",
            ours,
            scikit.grid_search(spec, sets, folder),
            pairs=pairs,
            goal=0.85,
        ),
        compare(
            "training step: bare lightgbm.train on ready bins, one after the other, ÷ cores",
            ours,
            bare_fits(spec, sets),
            pairs=pairs,
            other_cores=joblib.cpu_count(),
            goal=1.15,
        ),
    ]


def where_it_goes() -> list[Measured]:
    """Return the core seconds of one training step: wall seconds times cores, by what they did.

    Bare fits side by side are those of `ratios` in as many threads as there are cores: what
    the cores cost one another is theirs, too.
    """
    spec = flights.flights_spec(search=flights.SEARCH)
    sets, cores = flights.flights_sets(spec), joblib.cpu_count()
    started = time.perf_counter()
    results = [one.result for one in sweep(spec, sets)() if isinstance(one, TrainedModel)]
    whole = cores * (time.perf_counter() - started)
    fits = bare_fits(spec, sets)
    alone, side_by_side = seconds_of(fits), cores * seconds_of(partial(fits, cores))
    fitting = sum(one.fit_cpu_seconds for one in results)
    found = {
        "bare fits one after the other": alone,
        "bare fits side by side": side_by_side,
        "training step": whole,
        "training step, of that: fits": fitting,
        "training step, of that: encoding, bins, predictions, scores, model texts, idle": (
            whole - fitting
        ),
    }
    return [Measured(f"core seconds, {name}", value, "s", None) for name, value in found.items()]


def sweep(spec: ExperimentSpec, sets: TrainingSets) -> Callable[[], object]:
    """The training step as a function, without Dagster and without a store."""

    def run() -> list:
        return list(
            train_configurations(configurations(spec), sets, spec, workers=joblib.cpu_count())
        )

    return run


def bare_fits(spec: ExperimentSpec, sets: TrainingSets) -> Callable[..., object]:
    """`lightgbm.train` alone, in one thread or several; features and bins are ready before."""
    columns = list(sets.features)
    features = build_features("ordinal", sets.train, columns)
    encoded = features.fit_transform(sets.train[columns])
    fixed = {"objective": "binary", "num_threads": 1, "verbosity": -1, "deterministic": True}
    fixed |= {"force_row_wise": True, "feature_pre_filter": False, "seed": 0}
    binned = lgb.Dataset(
        encoded, sets.y_train, categorical_feature=categorical_positions(features), params=fixed
    ).construct()
    searched = [dict(configuration.hyperparameters) for configuration in configurations(spec)]
    for one in searched:
        del one["n_estimators"], one["early_stopping_round"]

    def fit(one: dict) -> lgb.Booster:
        return lgb.train({**fixed, **one}, binned, flights.TREES)

    def run(threads: int = 1) -> list:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(fit, searched))

    return run
