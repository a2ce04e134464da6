"""Fitted estimators as one fitted scikit-learn estimator: an average, or a calibrated
classifier.

Both predict what an ordinary `fit` would, and load without this package. sigmoid: Platt
scaling (1999) with his targets, fitted on the log odds: a logistic recalibration (Cox
1958), in which other class weights are a shift (Elkan 2001). Several classes are
calibrated jointly on all log probabilities: Dirichlet calibration (Kull et al. 2019),
with an L2 penalty on the change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiment_pipeline.statistics.scores import of_each_class

_TOGETHER = "temperature"
# Probabilities are clipped at least this far from 0 and 1, whose log odds are infinite.
_EDGE = 1e-12
# L2, on the change of the weight matrix: as a normal prior, a standard deviation of
# 0.4.
_PENALTY = 3.0


def averaged(
    members: Sequence[Any],
    classes: Sequence[Any] | None,
    *,
    names: Sequence[str] = (),
    weights: Sequence[float] | None = None,
) -> Any:
    """Return the mean of fitted estimators; probabilities in the order of `classes`,
    None for regression.
    """
    from sklearn.ensemble import VotingClassifier, VotingRegressor

    names = names or [f"fit_{number}" for number in range(1, len(members) + 1)]
    named = [(name, None) for name in names]  # None: each would be stored twice
    shares = None if weights is None else list(weights)
    if classes is None or not len(classes):
        average = VotingRegressor(named, weights=shares)
    else:
        average = VotingClassifier(named, voting="soft", weights=shares)
        encoder = label_encoder(classes)
        vars(average).update(le_=encoder, classes_=encoder.classes_)
    average.estimators_ = list(members)
    return average


def label_encoder(classes: Sequence[Any]) -> Any:
    """Return a fitted LabelEncoder that keeps this order of classes."""
    from sklearn.preprocessing import LabelEncoder

    encoder = LabelEncoder()
    encoder.classes_ = np.asarray(classes)
    return encoder


@dataclass(frozen=True, eq=False)
class Calibrators:
    """The fitted calibrator of one model."""

    calibrator: Any  # of the second of two columns, or of all of several
    # Class code of each column of the model's probabilities: an estimator sorts its
    # classes.
    order: tuple[int, ...]

    def applied(self, prediction: np.ndarray) -> np.ndarray:
        """Return a model's prediction calibrated: the probability (n,) of class 1 of
        two, or (n, k).
        """
        columns = of_each_class(prediction)[:, list(self.order)]
        if len(self.order) == 2:
            second: np.ndarray = self.calibrator.predict(columns[:, 1])
            return second if self.order[1] == 1 else 1 - second
        calibrated = self.calibrator.predict(columns)
        return np.asarray(calibrated[:, np.argsort(self.order)])

    def around(self, estimator: Any) -> Any:
        """Return a classifier, its classes as in `order`, calibrated by these."""
        from sklearn.calibration import CalibratedClassifierCV, _CalibratedClassifier

        # Inside, the classes are column numbers: scikit-learn relies on sorted classes,
        # and here the positive class may sort first. The average hides
        # decision_function, which would be used instead of the probabilities.
        codes = np.arange(len(estimator.classes_))
        within = averaged([estimator], list(codes), names=["model"])
        # With this method scikit-learn takes the probabilities of all classes from one
        # calibrator.
        method = _TOGETHER if len(codes) > 2 else "sigmoid"
        whole = CalibratedClassifierCV(within, method=method)
        pair = _CalibratedClassifier(
            within, [self.calibrator], classes=codes, method=method
        )
        vars(whole).update(
            classes_=np.asarray(estimator.classes_), calibrated_classifiers_=[pair]
        )
        return whole


def learn_calibration(
    prediction: np.ndarray,
    y: np.ndarray,
    order: Sequence[int],
    weights: np.ndarray | None = None,
) -> Calibrators:
    """Learn calibrators from out-of-fold predictions; `y` (n,) has the class codes."""
    columns = of_each_class(prediction)[:, list(order)]
    is_class = (y[:, None] == list(order)).astype(np.float64)
    if len(order) > 2:
        calibrator = _together(columns, is_class, weights)
    else:
        calibrator = _sigmoid(columns[:, 1], is_class[:, 1], weights)
    return Calibrators(calibrator, tuple(order))


def calibrated_across(
    prediction: np.ndarray, y: np.ndarray, folds: np.ndarray, weights: np.ndarray | None
) -> np.ndarray:
    """Return probabilities (n, k), each fold calibrated on the others."""
    calibrated, order = np.empty_like(prediction), range(prediction.shape[1])
    for fold in np.unique(folds):
        rows, fitted_on = folds == fold, folds != fold
        calibrators = learn_calibration(
            prediction[fitted_on],
            y[fitted_on],
            order,
            None if weights is None else weights[fitted_on],
        )
        calibrated[rows] = calibrators.applied(prediction[rows])
    return calibrated


def calibration_in(estimator: Any, classes: Sequence[Any]) -> Calibrators:
    """Return the calibrators of a model that `Calibrators.around` made."""
    (pair,) = estimator.calibrated_classifiers_
    order = tuple(list(classes).index(label) for label in estimator.classes_)
    (calibrator,) = pair.calibrators
    return Calibrators(calibrator, order)


def uncalibrated(estimator: Any) -> Any:
    """Return the fitted classifier that `Calibrators.around` was given."""
    (pair,) = estimator.calibrated_classifiers_
    (model,) = pair.estimator.estimators_
    return model


def _edge(distance: np.ndarray) -> float:
    """How far from certainty (0 or 1) to clip probabilities, given the distance (n, …)
    of each from it.
    """
    # Forests and nearest neighbours predict exactly 0 and 1, whose log odds are
    # infinite. Clip them at half the distance of the next probability (half a vote), or
    # these rows alone would decide the sigmoid.
    uncertain = distance[distance > _EDGE]
    if len(uncertain) in (0, distance.size):
        return _EDGE
    return max(float(uncertain.min()) / 2, _EDGE)


def _together(
    probabilities: np.ndarray, is_class: np.ndarray, weights: np.ndarray | None
) -> Any:
    """Learn softmax(log p · (I + W) + b), as a layer, with an L2 penalty on W."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax
    from sklearn.neural_network import MLPRegressor

    k, edge = probabilities.shape[1], _edge(probabilities)
    logs = np.log(np.clip(probabilities, edge, 1))
    counts = is_class
    if weights is not None:
        counts = is_class * (weights / weights.mean())[:, None]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        change, shift = flat[:-k].reshape(k, k), flat[-k:]
        log_p = log_softmax(logs + logs @ change + shift, axis=1)
        residual = counts.sum(axis=1, keepdims=True) * np.exp(log_p) - counts
        slopes = logs.T @ residual + 2 * _PENALTY * change
        total = _PENALTY * (change**2).sum() - (counts * log_p).sum()
        return total, np.concatenate([slopes.ravel(), residual.sum(axis=0)])

    best = minimize(loss, np.zeros(k * (k + 1)), jac=True, method="L-BFGS-B").x
    layer = MLPRegressor(hidden_layer_sizes=(), activation="identity")
    vars(layer).update(
        coefs_=[np.eye(k) + best[:-k].reshape(k, k)],
        intercepts_=[best[-k:]],
        n_layers_=2,
        n_outputs_=k,
        n_features_in_=k,
        out_activation_="softmax",
    )
    return _after(edge, 1.0, np.log, layer)


def _sigmoid(
    probability: np.ndarray, is_class: np.ndarray, weights: np.ndarray | None
) -> Any:
    from scipy.special import logit
    from sklearn.calibration import _SigmoidCalibration

    edge = _edge(np.minimum(probability, 1 - probability))
    log_odds = logit(np.clip(probability, edge, 1 - edge))
    sigmoid = _SigmoidCalibration().fit(log_odds, is_class, weights)
    return _after(edge, 1 - edge, logit, sigmoid)


def _after(low: float, high: float, scale: Any, calibrator: Any) -> Any:
    """A pipeline that clips probabilities, maps them to a scale, and calibrates."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    clip = FunctionTransformer(np.clip, kw_args={"a_min": low, "a_max": high})
    return make_pipeline(clip, FunctionTransformer(scale), calibrator)
