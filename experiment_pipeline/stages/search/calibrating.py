"""Calibrators: what turns a model's probabilities into shares that come true, learnt out of fold.

sigmoid: Platt's (1999) sigmoid with his targets, which keep it from certainty, of the log odds that
the model gives: a logistic recalibration (Cox 1958), which for boosted trees and linear models is
the scale they add up on, and on which other class weights are a shift (Elkan 2001). isotonic: the
best rising step function (Zadrozny and Elkan 2002), held between the same targets, so that no row
is certain. Niculescu-Mizil and Caruana (2005) compare both: isotonic needs more rows. Several
classes are calibrated one against the rest and divided by their sum (Zadrozny and Elkan 2002), as
scikit-learn does; one temperature for all could not mend a shift between classes.

In: predictions of rows that the predicting fits have not seen, and what these rows are. Out:
a fitted scikit-learn CalibratedClassifierCV, which loads without this package. Which rows and fits
these are: `composing.py`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiment_pipeline.spec import CalibrationMethod
from experiment_pipeline.stages.search.averaging import averaged

# No log odds of a probability are larger than those of this one.
_EDGE = 1e-12


def learn_calibrators(
    method: CalibrationMethod,
    probabilities: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None = None,
) -> list[Any]:
    """Return the fitted calibrators: one for binary, one per class for several classes.

    Args:
        method: sigmoid or isotonic.
        probabilities: (n, k) of rows that were not fitted on.
        y: (n,) codes: which column came true.
        weights: (n,) of the rows; None: all equal.
    """
    learn = _sigmoid if method == "sigmoid" else _isotonic
    columns = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    return [learn(probabilities[:, k], (y == k).astype(np.float64), weights) for k in columns]


def calibrated(
    estimator: Any, calibrators: Sequence[Any], method: CalibrationMethod
) -> Any:
    """Return a fitted classifier with its calibrators as one fitted estimator.

    Args:
        estimator: fitted, with `predict_proba`.
        calibrators: by `learn_calibrators`, of probabilities in the order of its classes.
        method: that they were learnt by.
    """
    from sklearn.calibration import CalibratedClassifierCV, _CalibratedClassifier

    # Within, classes are the numbers of columns, which are sorted, as scikit-learn relies on, also
    # where the positive class sorts first. An average has no decision_function, which would be
    # asked before the probabilities.
    codes = np.arange(len(estimator.classes_))
    within = averaged([estimator], codes, names=["model"])
    whole = CalibratedClassifierCV(within, method=method)
    pair = _CalibratedClassifier(within, list(calibrators), classes=codes, method=method)
    vars(whole).update(classes_=np.asarray(estimator.classes_), calibrated_classifiers_=[pair])
    return whole


def calibrators_of(estimator: Any) -> list[Any]:
    """Return the calibrators of a fitted model; none where it is not calibrated."""
    pairs = getattr(estimator, "calibrated_classifiers_", ())
    return [one for pair in pairs for one in pair.calibrators]


def uncalibrated(estimator: Any) -> Any:
    """Return the fitted classifier that `calibrated` was given."""
    (pair,) = estimator.calibrated_classifiers_
    (model,) = pair.estimator.estimators_
    return model


def _sigmoid(probability: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> Any:
    from scipy.special import logit
    from sklearn.calibration import _SigmoidCalibration
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    edge = _edge(probability)
    steps = (
        FunctionTransformer(np.clip, kw_args={"a_min": edge, "a_max": 1 - edge}),
        FunctionTransformer(logit),
    )
    log_odds = logit(np.clip(probability, edge, 1 - edge))
    return make_pipeline(*steps, _SigmoidCalibration().fit(log_odds, y, weights))


def _edge(probability: np.ndarray) -> float:
    """What stands in for the probabilities 0 and 1, which have no log odds.

    Forests and neighbours say 0 where no vote was cast: as far out as half a vote, or these rows
    alone would decide the sigmoid.
    """
    distance = np.minimum(probability, 1 - probability)
    certain = distance <= _EDGE
    if not certain.any() or certain.all():
        return _EDGE
    return max(float(distance[~certain].min()) / 2, _EDGE)


def _isotonic(probability: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> Any:
    from sklearn.isotonic import IsotonicRegression

    counted = np.ones(len(y)) if weights is None else weights
    positive, negative = counted[y == 1].sum(), counted[y == 0].sum()
    bounds = {"y_min": 1 / (negative + 2), "y_max": (positive + 1) / (positive + 2)}
    return IsotonicRegression(**bounds, out_of_bounds="clip").fit(probability, y, weights)
