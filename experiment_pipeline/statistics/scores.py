"""Scores by a metric's name: with the influence of each row, their spread, their interval.

What each metric is stands in `metrics.py`. In: encoded targets (n,) and predictions: regression
(n,); binary (n,), the probability of classes[1]; multiclass (n, k) probabilities; with their
units a `SetPrediction`, of which every judgement is made. Out: numbers, `Linearised`, `Spread`,
`Interval`.
"""

import math
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.statistics import interval
from experiment_pipeline.statistics.interval import LEVEL, Interval
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.statistics.spread import Layout, Linearised, Spread, spread_of, undefined


def linearise(
    name: str, y: np.ndarray, prediction: np.ndarray, threshold: float = 0.5
) -> Linearised:
    """Return a metric's score and the influence of each row.

    Args:
        name: one of `metrics.METRICS`.
        y: encoded targets (n,).
        prediction: see the module docstring.
        threshold: of the metrics that depend on one: positive from this probability on.

    Returns:
        nan where the score is undefined (one class only, a prediction that is not finite).
    """
    y, prediction = np.asarray(y), np.asarray(prediction, dtype=np.float64)
    if len(y) == 0 or not np.isfinite(prediction).all():
        return undefined(len(y))
    with np.errstate(over="ignore", invalid="ignore"):
        linearised = METRICS[name].form(y, prediction, threshold)
        finite = np.isfinite(linearised.estimate) and np.isfinite(linearised.influence).all()
    return linearised if finite else undefined(len(y))


def score(name: str, y: np.ndarray, prediction: np.ndarray, threshold: float = 0.5) -> float:
    """Return a metric's score; nan where it is undefined. Arguments as of `linearise`."""
    return linearise(name, y, prediction, threshold).estimate


def layout(name: str, y: np.ndarray, units: np.ndarray) -> Layout:
    """Return the layout of a set for a metric: where it compares classes, each is a sample."""
    by_class = METRICS[name].by_class
    return Layout.of(units, y.astype(np.int64) if by_class else np.zeros(len(y), dtype=np.int64))


def spread(
    name: str,
    y: np.ndarray,
    prediction: np.ndarray,
    units: np.ndarray,
    threshold: float = 0.5,
) -> Spread:
    """Return a score and its spread when units (n,) are drawn anew; else as `linearise`."""
    return spread_of(linearise(name, y, prediction, threshold), layout(name, y, units))


def interval_of(name: str, spread: Spread, level: float = LEVEL) -> Interval:
    """Return the interval of a metric's score, inside the metric's range.

    One unit says nothing: the interval is the metric's whole range.
    """
    metric, estimate = METRICS[name], spread.estimate
    if math.isnan(estimate):
        return Interval(math.nan, math.nan, math.nan, level)
    if spread.degrees_of_freedom == 0:
        return Interval(estimate, metric.lowest, metric.highest, level)
    low, high = metric.bounds(spread, interval.quantile(spread.degrees_of_freedom, level))
    return Interval(
        estimate,
        float(np.clip(low, metric.lowest, estimate)),
        float(np.clip(high, estimate, metric.highest)),
        level,
    )


@dataclass(frozen=True, eq=False)
class SetPrediction:
    """The predictions of one fit for the rows of one set.

    Attributes:
        y: encoded targets (n,).
        prediction: see the module docstring.
        units: (n,) integer codes of the resampling units, by `resampling_units`.
    """

    y: np.ndarray
    prediction: np.ndarray
    units: np.ndarray

    def score(self, metric: str, threshold: float = 0.5) -> float:
        """Return the score; nan where it is undefined."""
        return score(metric, self.y, self.prediction, threshold)

    def spread(self, metric: str, threshold: float = 0.5) -> Spread:
        """Return the score and how much it varies between draws of the units."""
        return spread(metric, self.y, self.prediction, self.units, threshold)

    def interval(self, metric: str, threshold: float = 0.5, level: float = LEVEL) -> Interval:
        """Return the score with its interval."""
        return interval_of(metric, self.spread(metric, threshold), level)

    def rows(self, chosen: np.ndarray | slice) -> "SetPrediction":
        """Return the part with these rows: a mask, positions, or a slice."""
        return SetPrediction(self.y[chosen], self.prediction[chosen], self.units[chosen])

    def decided(self, threshold: float) -> np.ndarray:
        """Return the predicted class codes (n,): the likeliest, or positive from threshold on."""
        if self.prediction.ndim == 2:
            return np.asarray(self.prediction.argmax(axis=1))
        return (self.prediction >= threshold).astype(np.int64)
