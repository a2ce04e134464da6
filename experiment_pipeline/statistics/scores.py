"""Scores by a metric's name: with the influence of each row, their spread, their
interval.

Encoded targets are (n,). Predictions are (n,) for regression, (n,) probabilities of
classes[1] for binary and (n, k) probabilities for multiclass. Weights are (n,) positive
numbers, or None: all alike. The baseline is the best constant. Two scores on the same
rows are compared by their influence values.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from experiment_pipeline.statistics.comparisons import ROUNDING
from experiment_pipeline.statistics.interval import (
    LEVEL,
    Interval,
    Layout,
    Linearised,
    Spread,
    Weights,
    around,
    cluster_sums,
    drawn_together,
    mean,
    quantile,
    relative_weights,
    spread_of,
    undefined,
    weighted,
    weighted_median,
)
from experiment_pipeline.statistics.metrics import MetricInput, metric_of
from experiment_pipeline.statistics.skill import PairedLosses
from experiment_pipeline.statistics.tails import Tail


def of_each_class(prediction: np.ndarray) -> np.ndarray:
    """Return the probability of each class, (n, k), also for two classes."""
    if prediction.ndim == 2:
        return prediction
    return np.column_stack([1 - prediction, prediction])


def linearise(
    name: str,
    y: np.ndarray,
    prediction: np.ndarray,
    threshold: float = 0.5,
    weights: Weights = None,
    clusters: np.ndarray | None = None,
) -> Linearised:
    """Return a metric's score and the influence of each row.

    A row is positive from the threshold on. The score is nan where it is undefined (one
    class only, a prediction that is not finite). A user's metric resamples the clusters
    (n,); None: rows.
    """
    y = np.asarray(y)
    prediction = np.asarray(prediction, dtype=np.float64)
    if len(y) == 0 or not np.isfinite(prediction).all():
        return undefined(len(y))
    rows = MetricInput(y, prediction, threshold, relative_weights(weights), clusters)
    with np.errstate(over="ignore", invalid="ignore"):
        linearised = metric_of(name).formula(rows)
        finite = np.isfinite(linearised.influence).all()
    if finite and np.isfinite(linearised.estimate):
        return linearised
    return undefined(len(y))


def score(
    name: str,
    y: np.ndarray,
    prediction: np.ndarray,
    threshold: float = 0.5,
    weights: Weights = None,
) -> float:
    """Return a metric's score; nan where it is undefined."""
    value = metric_of(name).value
    if value is None:
        return linearise(name, y, prediction, threshold, weights).estimate
    if len(y) == 0 or not np.isfinite(prediction).all():
        return math.nan
    y = np.asarray(y)
    prediction = np.asarray(prediction)
    return value(MetricInput(y, prediction, threshold, relative_weights(weights)))


def layout(
    name: str, y: np.ndarray, clusters: np.ndarray, weights: Weights = None
) -> Layout:
    """Return the layout of a set; if the metric compares classes, each is a sample."""
    classes = np.zeros(len(y), dtype=np.int64)
    if metric_of(name).by_class:
        classes = y.astype(np.int64)
    return Layout.of(resampled_by(name, clusters), classes, relative_weights(weights))


def resampled_by(metric: str, clusters: np.ndarray) -> np.ndarray:
    """Return the clusters that a metric resamples; few for a user's own metric."""
    return drawn_together(clusters) if metric_of(metric).is_own else clusters


def one_sample(clusters: np.ndarray, weights: Weights = None) -> Layout:
    """Return the layout of a set whose rows are all one sample."""
    classes = np.zeros(len(clusters), dtype=np.int64)
    return Layout.of(clusters, classes, relative_weights(weights))


def interval_of(
    name: str, spread: Spread, level: float = LEVEL, reach: float = 0.0
) -> Interval:
    """Return an interval in the metric's range, of at least `reach` standard errors.

    It is the whole range for one cluster.
    """
    metric = metric_of(name)
    estimate = spread.estimate
    if math.isnan(estimate):
        return Interval(estimate, estimate, estimate, level)
    if spread.degrees_of_freedom <= 0:
        return Interval(estimate, metric.lowest, metric.highest, level)
    t = max(quantile(spread.degrees_of_freedom, level), reach)
    lower, upper = metric.bounds(spread, t)
    low = float(np.clip(lower, metric.lowest, estimate))
    high = float(np.clip(upper, estimate, metric.highest))
    return Interval(estimate, low, high, level)


def mean_with_interval(
    values: np.ndarray,
    clusters: np.ndarray,
    weights: Weights,
    *,
    share: bool = False,
) -> Interval:
    """Return the mean of values (n,), none negative; nan without rows.

    `share`: values are 0 or 1.
    """
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    score = mean(values * 1.0, relative_weights(weights))
    spread = spread_of(score, one_sample(clusters, weights))
    return interval_of("accuracy" if share else "mae", spread)


def net_share(changes: np.ndarray, clusters: np.ndarray) -> Interval:
    """Return the mean of (n,) paired changes: 1, -1 or 0.

    Its interval, with one more row of either kind (Bonett and Price 2012), keeps few
    changes from looking certain.
    """
    extended = mean(np.append(changes, [1.0, -1.0]))
    layout = one_sample(_with_new(clusters, 2))
    interval = around(spread_of(extended, layout))
    return replace(interval, estimate=float(changes.mean()))


@dataclass(frozen=True, eq=False)
class SetPrediction:
    """The predictions of one fit for the rows of one set."""

    y: np.ndarray  # encoded targets (n,)
    prediction: np.ndarray  # see the module docstring
    clusters: np.ndarray  # (n,) or (n, 2) codes, by `resampling_clusters`
    weights: Weights = None  # (n,) how much each row counts; None: all alike
    # multiplies a score's variance, for cross-validated predictions
    variance_factor: float = 1.0
    _layouts: dict[tuple[bool, bool], Layout] = field(
        default_factory=dict, init=False, repr=False
    )
    _spreads: dict[tuple[str, float], Spread] = field(
        default_factory=dict, init=False, repr=False
    )

    def score(self, metric: str, threshold: float = 0.5) -> float:
        """Return the score; nan where it is undefined."""
        return score(metric, self.y, self.prediction, threshold, self.weights)

    def linearise(self, metric: str, threshold: float = 0.5) -> Linearised:
        """Return the score and the influence of each row."""
        score = linearise(
            metric, self.y, self.prediction, threshold, self.weights, self.clusters
        )
        return Linearised(
            score.estimate,
            influence=score.influence * math.sqrt(self.variance_factor),
            unseen=score.unseen * self.variance_factor,
        )

    def layout(self, metric: str) -> Layout:
        """Return the layout of the set for a metric."""
        kind = metric_of(metric).by_class, metric_of(metric).is_own
        if kind not in self._layouts:
            self._layouts[kind] = layout(metric, self.y, self.clusters, self.weights)
        return self._layouts[kind]

    def spread(self, metric: str, threshold: float = 0.5) -> Spread:
        """Return the score and how much it varies between draws of the clusters."""
        key = metric, threshold
        if key not in self._spreads:
            score = self.linearise(metric, threshold)
            spread = spread_of(score, self.layout(metric))
            self._spreads[key] = replace(spread, tail=self._tail(metric, score))
        return self._spreads[key]

    def _tail(self, metric: str, score: Linearised) -> Tail | None:
        """The tail of what each cluster adds to the errors; None: it has none."""
        declared = metric_of(metric)
        if declared.errors is None or not math.isfinite(score.estimate):
            return None
        errors = declared.errors(self.y, self.prediction)
        of_rows = weighted(errors, relative_weights(self.weights))
        cluster = self.layout(metric).cluster
        adds = cluster_sums(score.influence, cluster)
        sums = np.bincount(cluster, of_rows)
        return Tail.of(sums, adds, declared.sign, declared.tail_prior)

    def interval(
        self, metric: str, threshold: float = 0.5, level: float = LEVEL
    ) -> Interval:
        """Return the score with its interval."""
        return interval_of(metric, self.spread(metric, threshold), level)

    def rows(self, chosen: np.ndarray | slice) -> "SetPrediction":
        """Return the predictions of some rows: a mask, positions, or a slice."""
        return replace(
            self,
            y=self.y[chosen],
            prediction=self.prediction[chosen],
            clusters=self.clusters[chosen],
            weights=None if self.weights is None else self.weights[chosen],
        )

    def decided(self, threshold: float) -> np.ndarray:
        """Return class codes (n,): the likeliest, or positive from a threshold on."""
        if self.prediction.ndim == 2:
            return self.prediction.argmax(axis=1)
        return (self.prediction >= threshold).astype(np.int64)


def paired_difference(
    first: Linearised, second: Linearised, drawn: Layout, level: float = LEVEL
) -> Interval:
    """Return second - first of scores on the same rows, `drawn` their layout.

    Its bounds are infinite for one cluster.
    """
    gain = Linearised(
        second.estimate - first.estimate, second.influence - first.influence
    )
    # Equal scores may differ by rounding, relative to their own standard errors.
    first_error = spread_of(first, drawn).standard_error
    second_error = spread_of(second, drawn).standard_error
    rounding = ROUNDING * math.hypot(first_error, second_error)
    return around(spread_of(gain, drawn), level, rounding)


def best_constant(
    metric: str,
    y: np.ndarray,
    task: str,
    n_classes: int | None = None,
    weights: Weights = None,
) -> np.ndarray:
    """Return the constant prediction that is best, (), or the class shares, (k,).

    For a user's own metric it is the best one of that, of each class alone, or of
    median and mode.
    """
    counted = relative_weights(weights)
    declared = metric_of(metric)
    if task == "multiclass":
        codes = y.astype(np.int64)
        best = np.bincount(codes, counted, minlength=n_classes or 0) / len(y)
        alternatives = np.eye(len(best))
    else:
        best = np.asarray(declared.constant(y, counted), dtype=np.float64)
        alternatives = np.array([0.0, 1.0])
    if declared.value is None:
        return best
    if task == "regression":
        values, places = np.unique(y, return_inverse=True)
        mode = values[np.bincount(places, counted).argmax()]
        alternatives = np.array([weighted_median(y, counted), mode])
    constants = [best, *alternatives]
    scores = []
    for constant in constants:
        rows = MetricInput(y, repeated(constant, len(y)), 0.5, counted)
        scores.append(declared.sign * declared.value(rows))
    ranked = np.nan_to_num(np.array(scores), nan=-math.inf)
    return np.asarray(constants[int(ranked.argmax())])


def baseline_score(
    metric: str,
    y_fitted: np.ndarray,
    y: np.ndarray,
    task: str,
    n_classes: int | None = None,
) -> float:
    """Return what the best constant of fitted rows scores on others, or nan."""
    constant = best_constant(metric, y_fitted, task, n_classes)
    return score(metric, y, repeated(constant, len(y)))


def repeated(constant: np.ndarray, n: int) -> np.ndarray:
    """Return a constant, () or (k,), as the prediction of n rows."""
    return np.broadcast_to(constant, (n, *constant.shape))


def difference_to_baseline(
    metric: str,
    predicted: SetPrediction,
    constant: np.ndarray,
    threshold: float = 0.5,
    level: float = LEVEL,
) -> Interval:
    """Return a model's score minus that of `best_constant` on the same rows.

    It is nan if one of them is undefined. The bounds stay in the metric's range, given
    the baseline's score. For a loss they are those of the share of the baseline's loss
    that is explained (`skill.py`). Degrees of freedom come from the kurtosis (O'Neill
    2014, "Some useful moment results in sampling problems"). Decisions get one more row
    of each kind, right and wrong in both classes (Agresti and Caffo 2000): 20 of 20
    right negatives do not prove that all are right.
    """
    declared = metric_of(metric)
    baseline = _constant(predicted, constant)
    base = baseline.score(metric)
    observed = _paired(metric, predicted, constant, threshold, level)
    if not math.isfinite(observed.estimate):
        return observed
    decides = declared.by_threshold and predicted.prediction.ndim == 1
    losses = _paired_losses(metric, baseline, predicted)
    if losses is not None:
        observed = lead_by_losses(metric, base, losses, level)
    elif decides and math.isfinite(observed.low):
        one_more = with_one_of_each(predicted, threshold)
        extended = _paired(metric, one_more, constant, 0.5, level)
        observed = replace(
            observed,
            low=min(extended.low, observed.estimate),
            high=max(extended.high, observed.estimate),
        )
    return replace(
        observed,
        low=max(observed.low, declared.lowest - base),
        high=min(observed.high, declared.highest - base),
    )


def _constant(rows: SetPrediction, constant: np.ndarray) -> SetPrediction:
    return replace(rows, prediction=repeated(constant, len(rows.y)))


def _paired(
    metric: str, rows: SetPrediction, constant: np.ndarray, cut: float, level: float
) -> Interval:
    """The score minus that of the constant, by influence values."""
    return paired_difference(
        _constant(rows, constant).linearise(metric),
        rows.linearise(metric, cut),
        rows.layout(metric),
        level,
    )


def _paired_losses(
    metric: str, baseline: SetPrediction, model: SetPrediction
) -> PairedLosses | None:
    """The losses of both, row by row; None: the metric has none, or the baseline."""
    of_baseline, of_model = row_losses(metric, baseline), row_losses(metric, model)
    if of_baseline is None or of_model is None or not of_baseline.sum() > 0:
        return None
    layout = model.layout(metric)
    return PairedLosses(of_baseline, of_model, layout, model.variance_factor)


def row_losses(metric: str, predicted: SetPrediction) -> np.ndarray | None:
    """Return the weighted losses of the rows, (n,); None: the metric has none."""
    losses = metric_of(metric).losses
    if losses is None:
        return None
    rows = MetricInput(predicted.y, np.asarray(predicted.prediction), 0.5)
    with np.errstate(over="ignore", invalid="ignore"):
        return weighted(losses(rows), relative_weights(predicted.weights))


def lead_by_losses(
    metric: str, baseline: float, losses: PairedLosses, level: float
) -> Interval:
    """Return a score minus the baseline's, by the share of its loss that is
    explained.
    """
    share = losses.explained(level)
    estimate, *ends = (
        metric_of(metric).explaining(baseline, part) - baseline
        for part in (share.estimate, share.low, share.high)
    )
    return Interval(estimate, min(ends), max(ends), level)


def with_one_of_each(rows: SetPrediction, threshold: float) -> SetPrediction:
    """Return the decisions at a threshold, and a right and a wrong one of each class.

    The added rows are clusters of their own.
    """
    weights = relative_weights(rows.weights)
    if weights is not None:
        weights = np.concatenate([weights, np.ones(4)])
    return SetPrediction(
        np.concatenate([rows.y, [0, 0, 1, 1]]),
        np.concatenate([rows.prediction >= threshold, [0, 1, 0, 1]]),
        _with_new(rows.clusters, 4),
        weights,
    )


def _with_new(clusters: np.ndarray, number: int) -> np.ndarray:
    """Append rows that are clusters, and entities, of their own."""
    codes = np.asarray(clusters)
    steps = np.arange(number).reshape(-1, *[1] * (codes.ndim - 1))
    new = codes.max(axis=0) + 1 + steps
    return np.concatenate([codes, new]).view(type(clusters))
