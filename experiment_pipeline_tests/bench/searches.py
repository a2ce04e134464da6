"""The search against scikit-learn's searches and bare LightGBM: wall times, and what
the winners are worth.

All take the same 60 LightGBM configurations, sets and features of the flights, without
a store.
"""

import operator
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - it is its import
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV, PredefinedSplit
from sklearn.pipeline import Pipeline

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.conclusions import Conclusion
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.features import (
    build_features,
    categorical_positions,
)
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline_tests.bench import flights
from experiment_pipeline_tests.bench.pairs import Ratio, compare
from experiment_pipeline_tests.bench.quality import Quality, compare_winners
from experiment_pipeline_tests.results import events_of


def compared(pairs: int) -> tuple[list[Ratio], list[Quality]]:
    """Every comparison of the training step and of the search; and of their winners."""
    with_halving = flights.flights_spec(search=flights.SEARCH)
    spec = flights.flights_spec(search=flights.SEARCH, halving=False)
    cut = flights.flights_cut(spec)
    sets, cores = cut.sets, joblib.cpu_count()
    found: dict[str, Any] = {}

    def keep(name: str, search: Callable[[], Any]) -> Callable[[], None]:
        return lambda: found.update({name: search()})

    def step() -> None:
        list(train_configurations(configurations(spec), sets, spec, workers=cores))

    ours = keep("ours", partial(winner, with_halving, sets))
    full = keep("full", partial(winner, spec, sets))
    # The default `min_resources="smallest"` would start with 4 rows and end with 108;
    # "exhaust" ends with all: 60 configurations on 1/27, 20 on 1/9, 7 on 1/3, 3 on all.
    # A round draws the same share of train and test rows, by one seed: no configuration
    # is scored on rows it was fitted on.
    more = {"n_candidates": 60, "min_resources": "exhaust", "random_state": spec.seed}
    grid = "scikit-learn GridSearchCV(n_jobs=-1)"
    random = "scikit-learn HalvingRandomSearchCV(n_jobs=-1)"
    training = "training step, 60 configurations"
    search = "search with halving, 60 configurations"
    bare = (
        "training step: bare lightgbm.train on ready bins, one after the other, ÷ cores"
    )
    without = "the same search without"
    with tempfile.TemporaryDirectory() as folder:
        theirs = scikit_search(GridSearchCV, spec, sets, Path(folder))
        halved = scikit_search(HalvingRandomSearchCV, spec, sets, Path(folder), **more)
        alone = bare_fits(spec, sets)
        in_pairs = partial(compare, pairs=pairs)
        ratios = [
            in_pairs(f"{training}: {grid}", step, theirs, goal=0.85),
            in_pairs(bare, step, alone, goal=1.15, other_cores=cores),
            in_pairs(f"{search}: {without}", ours, full, goal=0.5),
            in_pairs(f"{search}: {grid}", ours, theirs, goal=0.4),
            in_pairs(f"{search}: {random}", ours, keep("halved", halved), goal=0.8),
        ]
    best = found["halved"].best_params_
    chosen = {name.removeprefix("model__"): value for name, value in best.items()}
    halved_winner = next(
        configuration
        for configuration in configurations(spec)
        if chosen.items() <= configuration.hyperparameters.items()
    )
    return ratios, [
        compare_winners(without, found["ours"], found["full"], cut),
        compare_winners(random, found["ours"], halved_winner, cut),
    ]


def winner(spec: ExperimentSpec, sets: TrainingSets) -> Configuration:
    """Run the search; the configuration with the best score on all test rows."""
    sign = METRICS[spec.metric].sign
    scored = [
        (sign * event.result.test_score, event.result.configuration)
        for event in events_of(spec, sets)
        if isinstance(event, Conclusion) and event.result and event.fraction == 1
    ]
    return max(scored, key=operator.itemgetter(0))[1]


def bare_fits(spec: ExperimentSpec, sets: TrainingSets) -> Callable[[], object]:
    """`lightgbm.train` alone, one fit after the other; features and bins are ready
    before.
    """
    columns = list(sets.features)
    features = build_features("ordinal", sets.train, columns)
    encoded = features.fit_transform(sets.train[columns])
    fixed = {
        "objective": "binary",
        "num_threads": 1,
        "verbosity": -1,
        "deterministic": True,
    }
    fixed |= {"force_row_wise": True, "feature_pre_filter": False, "seed": 0}
    binned = lgb.Dataset(
        encoded,
        sets.y_train,
        categorical_feature=categorical_positions(features),
        params=fixed,
    ).construct()
    searched = [
        dict(configuration.hyperparameters) for configuration in configurations(spec)
    ]
    for one in searched:
        del one["n_estimators"], one["early_stopping_round"]
    return lambda: [
        lgb.train({**fixed, **one}, binned, flights.TREES) for one in searched
    ]


def scikit_search(
    kind: Callable[..., Any],
    spec: ExperimentSpec,
    sets: TrainingSets,
    folder: Path,
    **more: Any,
) -> Callable[[], Any]:
    """Put an experiment as scikit-learn's searches take it; features are cached in the
    folder.
    """
    columns = list(sets.features)
    # Train on the train rows, score on the test rows.
    fold = np.r_[np.full(len(sets.train), -1), np.zeros(len(sets.test), dtype=int)]
    model = lgb.LGBMClassifier(
        n_estimators=flights.TREES, n_jobs=1, verbose=-1, random_state=0
    )
    features = build_features("ordinal", sets.train, columns)
    steps = [("features", features), ("model", model)]
    pipeline = Pipeline(steps, memory=str(folder / "features"))
    grid = {
        f"model__{name}": values for name, values in spec.search[0].searched.items()
    }
    table = pd.concat([sets.train[columns], sets.test[columns]])
    y = np.r_[sets.y_train, sets.y_test]
    categorical = categorical_positions(clone(features).fit(sets.train[columns]))
    given = {
        "scoring": spec.metric,
        "cv": PredefinedSplit(fold),
        "n_jobs": -1,
        "refit": False,
    }

    def run() -> Any:
        search = kind(pipeline, grid, **given, **more)
        return search.fit(table, y, model__categorical_feature=categorical)

    return run
