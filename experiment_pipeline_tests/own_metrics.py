"""Metrics as a user's module would hold them."""

import numpy as np

import experiment_pipeline as ep


@ep.metric(greater_is_better=True, takes="labels")
def profit(y: np.ndarray, called: np.ndarray) -> float:
    """Of a row on average: 100 for a positive one that is called, -40 for each call."""
    return float((100 * (called & y) - 40 * called).mean())


_labels = ep.metric(greater_is_better=True, takes="labels")
_error = ep.metric(greater_is_better=False, takes="values")
equal = _labels(lambda y, called: (y == called).mean())
nothing = _labels(lambda _, called: np.nan if called.any() else 1 // 0)
median_error = _error(lambda y, value: np.median(np.abs(y - value)))
mean_error = _error(
    lambda y, x, sample_weight=None: np.average(abs(y - x), weights=sample_weight)
)
brier = ep.metric(greater_is_better=False, takes="probabilities")(
    lambda y, p: ((p - y) ** 2).mean()
)
top_tenth = ep.metric(greater_is_better=True, takes="probabilities")(
    lambda y, p: y[np.argpartition(-p, len(y) // 10)[: len(y) // 10]].mean()
)
