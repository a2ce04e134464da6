"""Stacking (Wolpert 1992): a random forest, extremely random trees and a linear model,
whose predictions become columns that boosted trees read.

Rows that the layer is fitted on get predictions of models that have not seen them, nor
related rows. The fitted layer is a part of the features.
"""

from typing import Any

import numpy as np
import pandas as pd
from sklearn import dummy, ensemble, impute, linear_model
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer

from experiment_pipeline.spec.algorithms import STACKED, TREES
from experiment_pipeline.stages.search.averaging import averaged
from experiment_pipeline.stages.search.features import (
    MAX_ONEHOT_CATEGORIES,
    Part,
    build_features,
    categorical_positions,
    function_step,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.interval import Weights
from experiment_pipeline.statistics.threads import one_thread

# Quick models that err differently (extremely random trees: Geurts et al. 2006). With
# the linear model beside the forests, boosting was better on 15 of 18 splits of five
# tables, by .2 to 1 % on average.
FORESTS = ("prediction of random forest", "prediction of extra trees")
LAYER = (*FORESTS, "prediction of linear model")
_QUANTILES = 100  # of a number, for the linear model
# Out of bag: a row needs so many trees that have seen no row of its cluster; so large a
# share of rows has them.
FEWEST_TREES, SHARE_WITH_TREES = 3, 0.99


def stacked_part(
    rows: pd.DataFrame,
    fitted_on: pd.DataFrame,
    y: np.ndarray,
    weights: Weights,
    sets: TrainingSets,
) -> Part:
    """Return the layer as a part of features, fitted on these rows with encoded targets
    `y` (n,): a column per model, for several classes one per class.

    A feature with a direction is not read: predictions could break it.
    """
    names = [name for name in sets.features if name not in sets.directions]
    ordinal = build_features("ordinal", rows, names).fit(rows[names])
    encoded = ordinal.transform(fitted_on[names])
    is_regression = sets.task == "regression"
    models = _fit_layer(ordinal, encoded, y, weights, is_regression=is_regression)
    labels = None
    columns = list(range(len(LAYER)))
    if not is_regression:
        labels = [(sets.classes or ())[code] for code in models[0].classes_]
        columns = list(range(len(LAYER) * len(labels)))
        if len(labels) == 2:
            columns = columns[1::2]  # the second probability is enough
    take = function_step(np.take, indices=columns, axis=1)
    layer = make_pipeline(ordinal, averaged(models, labels, names=LAYER), take)
    return STACKED, FrozenEstimator(layer), names


def cross_fitted_layer(
    fitted: FrozenEstimator,
    rows: pd.DataFrame,
    y: np.ndarray,
    parts: np.ndarray,
    weights: Weights = None,
    clusters: np.ndarray | None = None,
) -> np.ndarray:
    """Return the columns (n, k) of rows that a layer was fitted on, predicted without
    these and related rows.

    Forests predict out of bag (Breiman 1996), by trees that have drawn no row of the
    row's cluster; without `clusters` (n,) or enough such trees, and for the linear
    model, models of the other `parts` (n,) predict.
    """
    ordinal, layer, take = fitted[0], fitted[1], fitted[2]
    encoded = ordinal.transform(rows)
    is_regression = not hasattr(layer, "classes_")
    classes = np.zeros(1) if is_regression else layer.estimators_[0].classes_
    columns = list[np.ndarray]()
    if clusters is not None:
        forests = layer.estimators_[: len(FORESTS)]
        columns = _out_of_bag(forests, encoded, clusters)
    first = len(columns)
    columns += [np.zeros((len(rows), len(classes))) for _ in LAYER[first:]]
    for part in np.unique(parts):
        predicted, fitted_on = parts == part, parts != part
        models = _fit_layer(
            ordinal,
            encoded[fitted_on],
            y[fitted_on],
            None if weights is None else weights[fitted_on],
            is_regression=is_regression,
            first=first,
        )
        for column, model in zip(columns[first:], models, strict=True):
            if is_regression:
                column[predicted, 0] = model.predict(encoded[predicted])
            else:
                # A class may be in one part alone.
                places = np.ix_(predicted, np.searchsorted(classes, model.classes_))
                column[places] = model.predict_proba(encoded[predicted])
    return np.asarray(take.transform(np.hstack(columns)))


def _out_of_bag(
    forests: list[Any], encoded: np.ndarray, clusters: np.ndarray
) -> list[np.ndarray]:
    """Out-of-bag predictions (n, k) of each forest; none where too many rows have too
    few trees. The other rows get the mean.
    """
    _, codes = np.unique(clusters, return_inverse=True)
    columns = list[np.ndarray]()
    for forest in forests:
        width = len(getattr(forest, "classes_", [0]))
        sums, counts = np.zeros((len(encoded), width)), np.zeros((len(encoded), 1))
        for tree, drawn in zip(
            forest.estimators_, forest.estimators_samples_, strict=True
        ):
            is_drawn = np.bincount(codes[drawn], minlength=len(codes)) > 0
            left_out = ~is_drawn[codes]
            predict = getattr(tree, "predict_proba", tree.predict)
            if left_out.any():
                sums[left_out] += predict(encoded[left_out]).reshape(-1, width)
                counts[left_out] += 1
        has_trees = counts[:, 0] >= FEWEST_TREES
        if has_trees.mean() < SHARE_WITH_TREES:
            return []
        means = sums / np.maximum(counts, 1)
        means[~has_trees] = means[has_trees].mean(axis=0)
        columns.append(means)
    return columns


def _fit_layer(
    ordinal: ColumnTransformer,
    encoded: np.ndarray,
    y: np.ndarray,
    weights: Weights,
    *,
    is_regression: bool,
    first: int = 0,
) -> list[Any]:
    """Fit the models of the layer, from the `first` on, on rows as fitted `ordinal`
    features encode them.
    """
    settings: dict[str, Any] = {
        "n_estimators": TREES,
        "min_samples_leaf": 2,
        "random_state": 0,
        "bootstrap": True,  # each tree leaves rows out
    }
    linear: Any
    if is_regression:
        settings["max_features"] = 1 / 3
        random_forest = ensemble.RandomForestRegressor(**settings)
        extra_trees = ensemble.ExtraTreesRegressor(**settings)
        linear = linear_model.RidgeCV(np.logspace(-1, 3, 9))
    else:
        random_forest = ensemble.RandomForestClassifier(**settings)
        extra_trees = ensemble.ExtraTreesClassifier(**settings)
        linear = linear_model.LogisticRegression(C=0.3, max_iter=1_000)
        if y.min() == y.max():  # a part may hold a single class
            linear = dummy.DummyClassifier()
    linear = Pipeline(
        [("columns", _linear_columns(ordinal, encoded)), ("model", linear)]
    )
    models = [random_forest, extra_trees, linear][first:]
    # The last bits of a linear model may depend on the number of threads.
    with one_thread():
        for model in models:
            name = "model__sample_weight" if model is linear else "sample_weight"
            model.fit(encoded, y, **({} if weights is None else {name: weights}))
    return models


def _linear_columns(
    ordinal: ColumnTransformer, encoded: np.ndarray
) -> ColumnTransformer:
    codes = OneHotEncoder(
        min_frequency=5,
        max_categories=MAX_ONEHOT_CATEGORIES,
        sparse_output=False,
        handle_unknown="infrequent_if_exist",
    )
    numbers = make_pipeline(
        impute.SimpleImputer(strategy="median", keep_empty_features=True),
        QuantileTransformer(
            n_quantiles=min(_QUANTILES, len(encoded)),
            output_distribution="normal",
            random_state=0,
        ),
    )
    return ColumnTransformer(
        [("codes", codes, categorical_positions(ordinal))], remainder=numbers
    )
