"""Predicting without features: the best constant for a metric, and a model's difference to it.

The difference is paired: both are scored on the same rows, and what varies is the difference
of their influence values. In: targets of the rows a model was fitted on, targets and predictions
of the rows it is judged on. Out: constants, scores, `Interval`s.
"""

import math

import numpy as np

from experiment_pipeline.spec.metrics import METRICS
from experiment_pipeline.statistics.influence import Linearised, linearise
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.intervals import with_own_units
from experiment_pipeline.statistics.paired import paired_difference

_EPSILON = float(np.finfo(np.float64).eps)


def best_constant(
    metric: str, y: np.ndarray, task: str, n_classes: int | None = None
) -> np.ndarray:
    """Return the constant prediction that suits a metric best, () or (k,).

    Numbers: the mean for rmse and r2, the median for mae, for mape the median weighted by
    1/|y| (Gneiting 2011). Classes: their shares, which are best for log_loss and brier and
    decide for the majority; for f1 every row is positive, since with none it is 0.

    Args:
        metric: one of `metrics.METRICS`.
        y: encoded targets (n,) of the rows that are known.
        task: binary, multiclass or regression.
        n_classes: needed for multiclass.
    """
    if task == "multiclass":
        return np.bincount(y.astype(np.int64), minlength=n_classes or 0) / len(y)
    if metric == "f1":
        return np.asarray(1.0)
    if metric == "mae":
        return np.asarray(np.median(y), dtype=np.float64)
    if metric == "mape":
        return _weighted_median(y, 1 / np.maximum(np.abs(y), _EPSILON))
    return np.asarray(np.mean(y), dtype=np.float64)


def baseline_score(
    metric: str, y_known: np.ndarray, y: np.ndarray, task: str, n_classes: int | None = None
) -> float:
    """Return what the best constant of the known rows scores on others; nan where undefined."""
    constant = best_constant(metric, y_known, task, n_classes)
    return baseline(metric, y, constant).estimate


def baseline(metric: str, y: np.ndarray, constant: np.ndarray) -> Linearised:
    """Return what a constant scores, with the influence of each row (n,)."""
    return linearise(metric, y, np.broadcast_to(constant, (len(y), *constant.shape)))


def difference_to_baseline(
    metric: str,
    y: np.ndarray,
    prediction: np.ndarray,
    units: np.ndarray,
    constant: np.ndarray,
    threshold: float = 0.5,
) -> Interval:
    """Return a model's score minus the baseline's on the same rows, with its 95 % interval.

    The interval is the estimate ± t standard errors of the paired difference. How well its
    variance is known depends on the tails (degrees of freedom from the kurtosis: O'Neill 2014,
    "Some useful moment results in sampling problems"): a decision that departs from the baseline
    in 5 of 1,000 rows is known from 5. Decisions are counted with one more row of each kind,
    right and wrong in both classes (Agresti and Caffo 2000): of 20 rows called negative, none
    being positive does not show that none ever is.

    Args:
        metric: one of `metrics.METRICS`.
        y: encoded targets (n,).
        prediction: as for `metrics.score`.
        units: (n,) codes of the resampling units.
        constant: by `best_constant`.
        threshold: of the metrics that need one.

    Returns:
        Undefined where one of the two scores is; one unit says nothing.
    """
    interval = _paired(metric, y, prediction, units, constant, threshold)
    decides = METRICS[metric].by_threshold and prediction.ndim == 1
    if not decides or not math.isfinite(interval.low):
        return interval
    one_more = _paired(
        metric,
        np.concatenate([y, [0, 0, 1, 1]]),
        np.concatenate([prediction >= threshold, [0, 1, 0, 1]]),
        with_own_units(units, 4),
        constant,
        0.5,
    )
    return Interval(
        interval.estimate,
        min(one_more.low, interval.estimate),
        max(one_more.high, interval.estimate),
    )


def _paired(
    metric: str,
    y: np.ndarray,
    prediction: np.ndarray,
    units: np.ndarray,
    constant: np.ndarray,
    threshold: float,
) -> Interval:
    model = linearise(metric, y, prediction, threshold)
    return paired_difference(metric, y, baseline(metric, y, constant), model, units)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return np.asarray(values[order][np.searchsorted(reached, reached[-1] / 2)], dtype=np.float64)
