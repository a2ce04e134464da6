"""Two scores on the same rows: of two models, or of a model and the best constant.

Their rows are the same, so what varies is the influence of the difference. A constant, predicting
without features, is the baseline. In: scores with their influence, or targets and predictions;
units. Out: constants, scores, `Interval`s. Many configurations at once are compared in
`comparisons.py`.
"""

import math

import numpy as np

from experiment_pipeline.statistics.comparisons import ROUNDING
from experiment_pipeline.statistics.interval import LEVEL, Interval, quantile
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.statistics.scores import layout, linearise
from experiment_pipeline.statistics.spread import Linearised, gained, spread_of, with_own_units


def paired_difference(
    metric: str,
    y: np.ndarray,
    first: Linearised,
    second: Linearised,
    units: np.ndarray,
    level: float = LEVEL,
) -> Interval:
    """Return second - first.

    Args:
        metric: of both.
        y: encoded targets (n,).
        first: one score and its influence values (n,).
        second: the other.
        units: (n,) codes of the resampling units.
        level: of the interval; it is infinitely wide for one unit.
    """
    drawn = layout(metric, y, units)
    spread = spread_of(gained(first, second), drawn)
    if math.isnan(spread.estimate):
        return Interval(math.nan, math.nan, math.nan, level)
    if spread.degrees_of_freedom == 0:
        return Interval(spread.estimate, -math.inf, math.inf, level)
    # Two scores that are equal but for rounding differ by no more than that.
    rounding = ROUNDING * math.hypot(
        *(spread_of(one, drawn).standard_error for one in (first, second))
    )
    half = quantile(spread.degrees_of_freedom, level) * max(spread.standard_error, rounding)
    return Interval(spread.estimate, spread.estimate - half, spread.estimate + half, level)


def best_constant(
    metric: str, y: np.ndarray, task: str, n_classes: int | None = None
) -> np.ndarray:
    """Return the constant prediction that suits a metric best, () or (k,).

    Several classes: their shares, which are best for probabilities and decide for the majority;
    else what the metric declares.

    Args:
        metric: one of `metrics.METRICS`.
        y: encoded targets (n,) of the rows that are known.
        task: binary, multiclass or regression.
        n_classes: needed for multiclass.
    """
    if task == "multiclass":
        return np.bincount(y.astype(np.int64), minlength=n_classes or 0) / len(y)
    return np.asarray(METRICS[metric].constant(y), dtype=np.float64)


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
        prediction: as for `scores.score`.
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
