"""Whole pipelines: features and model, as they are judged and exported.

In: a stored model or a chosen configuration, and rows. Out: a fitted scikit-learn Pipeline
that takes a table with the feature columns by name and loads without this package.
"""

from typing import Any

import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from experiment_pipeline.columns.target import encode_target
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search import boosting, own_stopping
from experiment_pipeline.stages.search.algorithms import estimator_for
from experiment_pipeline.stages.search.boosted_estimator import as_estimator
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.features import build_features, categorical_positions
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.sets import TrainingSets
from experiment_pipeline.stages.search.shared_work import labels_of
from experiment_pipeline.storage import persistence


def fitted_pipeline(
    result: ModelResult, model: bytes, sets: TrainingSets, spec: ExperimentSpec
) -> Pipeline:
    """Return the pipeline of a trained model: its features fitted anew on train, which gives
    the same ones, and the stored model.

    Args:
        result: the numbers stored with the model.
        model: the stored bytes.
        sets: those it was trained on.
        spec: of the experiment.

    Raises:
        InvalidModel: the bytes are no model, or hold a type that is not trusted.
    """
    columns = list(sets.features)
    features = build_features(result.features, sets.train, columns).fit(sets.train[columns])
    if result.algorithm == "lightgbm":
        configuration = Configuration(
            result.key, result.algorithm, result.features, result.hyperparameters
        )
        plan = boosting.boosting_plan(configuration, sets, spec)
        estimator = _boosted(model.decode(), plan, sets.classes, result.rounds)
    else:
        estimator = persistence.from_bytes(model, result.trusted_types)
    return _pipeline(features, estimator)


def refit(
    configuration: Configuration,
    rounds: int | None,
    rows: pd.DataFrame,
    sets: TrainingSets,
    spec: ExperimentSpec,
) -> Pipeline:
    """Fit a chosen configuration on other rows, with fresh features and no early stopping.

    Args:
        configuration: the chosen one.
        rounds: of the chosen fit; None for what does not stop early.
        rows: (n, columns) prepared rows, such as train and test together.
        sets: gives features, target, task and classes; its rows are not used.
        spec: its seed and its metric are used.
    """
    columns = list(sets.features)
    y = encode_target(rows[sets.target], sets.classes)
    features = build_features(configuration.features, rows, columns)
    with threadpool_limits(limits=1):
        table = features.fit_transform(rows[columns])
        if configuration.algorithm != "lightgbm":
            labels = labels_of(y, sets.classes)
            estimator = estimator_for(configuration, sets.task, spec, labels)
            own_stopping.fix_rounds(estimator, rounds)
            estimator.fit(table, labels)
            return _pipeline(features, estimator)
    plan = boosting.plan_boosting(
        configuration,
        sets.task,
        sets.classes,
        spec.seed,
        spec.metric,
        can_stop=False,
        rounds=rounds,
    )
    categorical = categorical_positions(configuration.features, rows, columns)
    binned = boosting.bin_table(table, y, None, categorical, plan)
    booster = boosting.boost(binned, plan, sets.task)
    return _pipeline(features, _boosted(booster.model_to_string(), plan, sets.classes, plan.rounds))


def _boosted(
    text: str, plan: boosting.BoostingPlan, classes: tuple | None, rounds: int | None
) -> Any:
    import lightgbm as lgb

    booster = lgb.Booster(model_str=text)
    return as_estimator(booster, plan, classes, rounds or booster.current_iteration())


def _pipeline(features: Any, estimator: Any) -> Pipeline:
    return Pipeline([("features", features), ("model", estimator)])
