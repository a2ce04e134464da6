"""The same configurations, sets and features as scikit-learn's own searches take them.

What is compared with what belongs to `training.py` and `halving.py`. In: an experiment with one
grid of LightGBM, its sets, a folder for the cached features. Out: functions that run a search.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - it is its import
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV, PredefinedSplit
from sklearn.pipeline import Pipeline

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.features import build_features, categorical_positions
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests.bench import flights


def grid_search(spec: ExperimentSpec, sets: TrainingSets, folder: Path) -> Callable[[], Any]:
    """Every configuration on all train rows."""
    return _search(GridSearchCV, spec, sets, folder)


def halving_search(spec: ExperimentSpec, sets: TrainingSets, folder: Path) -> Callable[[], Any]:
    """Every configuration on few rows, the best third on three times as many, up to all.

    The factor is the default, 3. The default `min_resources="smallest"` would start with 4 rows
    and end with 108; "exhaust" ends with all: 60 configurations on 1/27, 20 on 1/9, 7 on 1/3, 3
    on all. A round draws the same share of the train rows and of the test rows, by one seed, so
    that a configuration is never scored on rows it was fitted on.
    """
    more = {"n_candidates": len(configurations(spec)), "min_resources": "exhaust"}
    return _search(HalvingRandomSearchCV, spec, sets, folder, random_state=spec.seed, **more)


def winner(search: Any, spec: ExperimentSpec) -> Configuration:
    """Return which of our configurations a search has chosen."""
    chosen = {name.removeprefix("model__"): value for name, value in search.best_params_.items()}
    return next(
        one for one in configurations(spec) if chosen.items() <= one.hyperparameters.items()
    )


def _search(
    kind: Callable[..., Any], spec: ExperimentSpec, sets: TrainingSets, folder: Path, **more: Any
) -> Callable[[], Any]:
    """Put an experiment as scikit-learn's searches take it; features are cached in the folder."""
    columns = list(sets.features)
    # Train on the train rows, score on the test rows.
    fold = np.r_[np.full(len(sets.train), -1), np.zeros(len(sets.test), dtype=int)]
    model = lgb.LGBMClassifier(n_estimators=flights.TREES, n_jobs=1, verbose=-1, random_state=0)
    features = build_features("ordinal", sets.train, columns)
    steps = [("features", features), ("model", model)]
    pipeline = Pipeline(steps, memory=str(folder / "features"))
    grid = {f"model__{name}": values for name, values in spec.search[0].searched.items()}
    table = pd.concat([sets.train[columns], sets.test[columns]])
    y = np.r_[sets.y_train, sets.y_test]
    categorical = categorical_positions(clone(features).fit(sets.train[columns]))
    given = {"scoring": spec.metric, "cv": PredefinedSplit(fold), "n_jobs": -1, "refit": False}

    def run() -> Any:
        search = kind(pipeline, grid, **given, **more)
        return search.fit(table, y, model__categorical_feature=categorical)

    return run
