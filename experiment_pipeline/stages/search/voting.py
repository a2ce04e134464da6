"""A weighted mean of fitted pipelines as one fitted scikit-learn estimator, and its
parts.

Members with the same features become one pipeline of these features and the mean of
their models, so that rows are encoded once for each encoder. The result loads without
this package.
"""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from experiment_pipeline.stages.search.averaging import averaged, label_encoder
from experiment_pipeline.stages.search.encoding import transformed
from experiment_pipeline.stages.search.features import encoded_columns
from experiment_pipeline.stages.search.scoring import predictions_of
from experiment_pipeline.statistics.threads import one_openmp_thread, one_thread
from experiment_pipeline.table.table import slices

# Rows that are encoded at a time, and encoded rows that a thread predicts at a time.
_ENCODED_ROWS, _PREDICTED_ROWS = 65_536, 4_096

_TRANSFORMER = "own_features"
_NamedModel = tuple[str, Any, float]


def weighted_mean(
    members: Sequence[tuple[str, Pipeline, float]],
    classes: tuple[Any, ...] | None,
    transformer: Any | None = None,
) -> Any:
    """Return the weighted mean of fitted pipelines; for classification, of their
    probabilities.

    The attributes are those that `fit` sets in scikit-learn 1.9; a test compares both.
    `members`: name, pipeline and weight; those whose features are one object share
    them. `classes`: as of `TrainingSets`, None for regression. `transformer`: a user's
    transformer, put before all of them.
    """
    order = _common_order([pipeline for _, pipeline, _ in members], classes)
    by_features: dict[int, list[_NamedModel]] = {}
    features = {id(pipeline[0]): pipeline[0] for _, pipeline, _ in members}
    for number, (name, pipeline, weight) in enumerate(members, 1):
        # Two underscores separate the nested names of scikit-learn's parameters.
        unique_name = f"{number}-{re.sub('_{2,}', '-', name)}"
        model = in_order(pipeline[-1], order)
        models = by_features.setdefault(id(pipeline[0]), [])
        models.append((unique_name, model, weight))
    pipelines = list[_NamedModel]()
    for key, models in by_features.items():
        steps = [("features", features[key]), ("model", _mean(models, order))]
        (first_name, _, _), total = models[0], sum(weight for _, _, weight in models)
        pipelines.append((first_name, Pipeline(steps), total))
    whole = _mean(pipelines, order)
    if len(pipelines) > 1:
        whole.feature_names_in_ = whole.estimators_[0].feature_names_in_
    if transformer is None:
        return whole
    steps = whole.steps if isinstance(whole, Pipeline) else [("model", whole)]
    return Pipeline([(_TRANSFORMER, transformer), *steps])


def _common_order(
    pipelines: Sequence[Pipeline], classes: tuple[Any, ...] | None
) -> tuple[Any, ...] | None:
    """The order in which all have their classes, else that of `classes`."""
    if classes is None:
        return None
    orders = {tuple(pipeline.classes_) for pipeline in pipelines}
    return orders.pop() if len(orders) == 1 else classes


def _mean(members: Sequence[_NamedModel], order: tuple[Any, ...] | None) -> Any:
    names, fitted, weights = zip(*members, strict=True)
    if len(fitted) == 1:
        return fitted[0]
    return averaged(fitted, order, names=names, weights=weights)


def in_order(model: Any, classes: tuple[Any, ...] | None) -> Any:
    """Return a model whose probabilities are in the order of `classes`. If its own
    order differs, a stacked layer without hidden units permutes them; with two classes
    the layer only gets the second probability.
    """
    if classes is None or tuple(model.classes_) == classes:
        return model
    from sklearn.ensemble import StackingClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import LabelBinarizer

    columns, order = list(model.classes_), list(classes)
    matrix = np.equal.outer(columns, order).astype(np.float64)
    shift = np.zeros(len(order))
    if len(order) == 2:
        # With columns (a, b), the second probability is p(b), or 1 - p(b) if a comes
        # second.
        is_reversed = columns[-1] != order[1]
        matrix = np.array([[-1.0 if is_reversed else 1.0]])
        shift = np.array([1.0 if is_reversed else 0.0])
    binarizer = LabelBinarizer().fit(np.arange(len(order)))
    binarizer.classes_ = np.asarray(classes)
    layer = MLPClassifier(hidden_layer_sizes=(), activation="identity")
    vars(layer).update(
        coefs_=[matrix],
        intercepts_=[shift],
        n_layers_=2,
        n_outputs_=matrix.shape[1],
        n_features_in_=len(matrix),
        out_activation_="identity",
        classes_=binarizer.classes_,
        _label_binarizer=binarizer,
    )
    stacked = StackingClassifier([("model", model)], final_estimator=layer, cv="prefit")
    vars(stacked).update(
        estimators_=[model],
        named_estimators_={"model": model},
        final_estimator_=layer,
        _label_encoder=label_encoder(classes),
        stack_method_=["predict_proba"],
        classes_=binarizer.classes_,
        _n_feature_outs=[len(matrix)],
    )
    return stacked


@dataclass(frozen=True, eq=False)
class TakenApart:
    """The fitted features and models of a pipeline, or of the pipelines of a mean."""

    features: tuple[Any, ...]  # each once
    models: tuple[tuple[Any, float], ...]  # the model behind each, and its weight
    transformer: Any | None = None  # the user's transformer before all of them

    @classmethod
    def of(cls, estimator: Any) -> "TakenApart":
        """Take apart the result of `weighted_mean`, `fitted_pipeline` or `refit`."""
        transformer = None
        if isinstance(estimator, Pipeline) and _TRANSFORMER in estimator.named_steps:
            transformer = estimator[0]
            estimator = estimator[1:] if len(estimator) > 2 else estimator[1]
        pipelines, weights = [estimator], [1.0]
        if not isinstance(estimator, Pipeline):
            pipelines, total = estimator.estimators_, sum(estimator.weights)
            weights = [weight / total for weight in estimator.weights]
        features = tuple(pipeline[0] for pipeline in pipelines)
        models = [pipeline[-1] for pipeline in pipelines]
        return cls(features, tuple(zip(models, weights, strict=True)), transformer)

    @cached_property
    def places(self) -> list[slice]:
        """The encoded columns that each model reads."""
        places, end = list[slice](), 0
        for features in self.features:
            start = end
            end += sum(map(len, encoded_columns(features).values()))
            places.append(slice(start, end))
        return places

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Feature, or column of the user's transformer → its encoded columns."""
        positions = dict[str, np.ndarray]()
        for features, place in zip(self.features, self.places, strict=True):
            for name, columns in encoded_columns(features).items():
                before = positions.get(name, columns[:0])
                positions[name] = np.append(before, columns + place.start)
        return positions

    def encode(self, rows: pd.DataFrame) -> Any:
        """Return rows (n, features) as the models read them, (n, d)."""
        from scipy import sparse

        rows = rows if self.transformer is None else self.transformer.transform(rows)
        encoded = [transformed(features, rows) for features in self.features]
        if len(encoded) == 1:
            return encoded[0]
        if any(map(sparse.issparse, encoded)):
            return sparse.hstack(encoded, format="csr")
        return np.hstack(encoded)

    def predict(
        self, encoded: np.ndarray, task: str, classes: Sequence[Any] | None
    ) -> np.ndarray:
        """Return the predictions of encoded rows (n, d): (n,) or (n, k)."""
        parts = [
            weight * predictions_of(model, cells, task, classes)
            for cells, (model, weight) in zip(
                self._of_models(encoded), self.models, strict=True
            )
        ]
        return sum(parts[1:], start=parts[0])

    @property
    def is_sparse(self) -> bool:
        """Whether a model reads sparse rows."""
        return any(features.sparse_output_ for features in self.features)

    def _of_models(self, encoded: Any) -> Iterator[Any]:
        """Yield the encoded columns of each model, dense if it was fitted on such."""
        for features, place in zip(self.features, self.places, strict=True):
            cells = encoded[:, place]
            is_dense = self.is_sparse and not features.sparse_output_
            yield cells.toarray() if is_dense and hasattr(cells, "toarray") else cells

    def predict_rows(
        self, rows: pd.DataFrame, task: str, classes: Sequence[Any] | None, workers: int
    ) -> np.ndarray:
        """Return the predictions of rows (n, features), (n,) or (n, k).

        They are encoded and predicted in parts of a fixed size, `workers` at a time:
        the memory does not grow with the rows, and the last bit does not depend on the
        workers.
        """
        predict = partial(self.predict, task=task, classes=classes)
        predictions = list[np.ndarray]()
        # Some transformers write to themselves while they transform: they stay in this
        # thread.
        with (
            one_thread("blas"),
            ThreadPoolExecutor(workers, initializer=one_openmp_thread) as pool,
        ):
            for part in slices(len(rows), _ENCODED_ROWS):
                encoded = self.encode(rows.iloc[part])
                parts = [
                    encoded[part] for part in slices(encoded.shape[0], _PREDICTED_ROWS)
                ]
                predictions += pool.map(predict, parts)
        return np.concatenate(predictions)
