"""Metrics as a user's module would hold them."""

import numpy as np

import experiment_pipeline as ep


@ep.metric(greater_is_better=True, takes="labels")
def profit(y: np.ndarray, called: np.ndarray) -> float:
    """Of a row on average: 100 for a positive one that is called, -40 for each call."""
    return float((100 * (called & y) - 40 * called).mean())


@ep.metric(greater_is_better=True, takes="probabilities")
def top_tenth(y: np.ndarray, probability: np.ndarray) -> float:
    """The share of positive rows among the likeliest tenth."""
    likeliest = np.argpartition(-probability, len(y) // 10)[: len(y) // 10]
    return float(y[likeliest].mean())


brier = ep.metric(greater_is_better=False, takes="probabilities")(
    lambda y, p: ((p - y) ** 2).mean()
)
equal = ep.metric(greater_is_better=True, takes="labels")(lambda y, called: (y == called).mean())
nothing = ep.metric(greater_is_better=True, takes="labels")(
    lambda _, called: np.nan if called.any() else 1 // 0
)
_error = ep.metric(greater_is_better=False, takes="values")
median_error = _error(lambda y, value: np.median(np.abs(y - value)))
mean_error = _error(
    lambda y, value, sample_weight=None: np.average(np.abs(y - value), weights=sample_weight)
)
