"""The training step against scikit-learn's grid search and bare LightGBM."""

from collections.abc import Callable
from pathlib import Path

import joblib
import lightgbm as lgb

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.features import build_features, categorical_positions
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests.bench import flights, scikit
from experiment_pipeline_tests.bench.pairs import Ratio, compare


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


def sweep(spec: ExperimentSpec, sets: TrainingSets) -> Callable[[], object]:
    """The training step as a function, without Dagster and without a store."""

    def run() -> list:
        return list(
            train_configurations(configurations(spec), sets, spec, workers=joblib.cpu_count())
        )

    return run


def bare_fits(spec: ExperimentSpec, sets: TrainingSets) -> Callable[[], object]:
    """`lightgbm.train` alone, one fit after the other; features and bins are ready before."""
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

    def run() -> list:
        return [lgb.train({**fixed, **one}, binned, flights.TREES) for one in searched]

    return run
