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
from experiment_pipeline.statistics.tails import Tail


def of_each_class(prediction: np.ndarray) -> np.ndarray:
    """Return the probability of each class, (n, k), also for two classes."""
    return (
        prediction
        if prediction.ndim == 2
        else np.column_stack([1 - prediction, prediction])
    )


def linearise(
    name: str,
    y: np.ndarray,
    prediction: np.ndarray,
    threshold: float = 0.5,
    weights: Weights = None,
    clusters: np.ndarray | None = None,
) -> Linearised:
    """Return a metric's score and the influence of each row; a row is positive from the
    threshold on.

    It is nan where the score is undefined (one class only, a prediction that is not
    finite). A user's metric resamples the clusters (n,); None: rows.
    """
    y, prediction = np.asarray(y), np.asarray(prediction, dtype=np.float64)
    if len(y) == 0 or not np.isfinite(prediction).all():
        return undefined(len(y))
    with np.errstate(over="ignore", invalid="ignore"):
        given = MetricInput(
            y, prediction, threshold, relative_weights(weights), clusters
        )
        linearised = metric_of(name).form(given)
        finite = (
            np.isfinite(linearised.estimate) and np.isfinite(linearised.influence).all()
        )
    return linearised if finite else undefined(len(y))


def score(
    name: str,
    y: np.ndarray,
    prediction: np.ndarray,
    threshold: float = 0.5,
    weights: Weights = None,
) -> float:
    """Return a metric's score; nan where it is undefined."""
    if (value := metric_of(name).value) is None:
        return linearise(name, y, prediction, threshold, weights).estimate
    known = len(y) > 0 and bool(np.isfinite(prediction).all())
    given = MetricInput(
        np.asarray(y), np.asarray(prediction), threshold, relative_weights(weights)
    )
    return value(given) if known else math.nan


def layout(
    name: str, y: np.ndarray, clusters: np.ndarray, weights: Weights = None
) -> Layout:
    """Return the layout of a set for a metric: if it compares classes, each class is a
    sample.
    """
    by_class = metric_of(name).by_class
    classes = y.astype(np.int64) if by_class else np.zeros(len(y), dtype=np.int64)
    return Layout.of(resampled_by(name, clusters), classes, relative_weights(weights))


def resampled_by(metric: str, clusters: np.ndarray) -> np.ndarray:
    """Return the clusters that a metric's interval resamples; for a user's own metric,
    merged into few.
    """
    return drawn_together(clusters) if metric_of(metric).is_own else clusters


def one_sample(clusters: np.ndarray, weights: Weights = None) -> Layout:
    """Return the layout of a set whose rows are all one sample, with its effective
    number of clusters.
    """
    return Layout.of(
        clusters, np.zeros(len(clusters), dtype=np.int64), relative_weights(weights)
    )


def interval_of(
    name: str, spread: Spread, level: float = LEVEL, reach: float = 0.0
) -> Interval:
    """Return an interval in the metric's range, at least `reach` standard errors; the
    whole range for 1 cluster.
    """
    metric, estimate = metric_of(name), spread.estimate
    low, high = metric.lowest, metric.highest
    if math.isnan(estimate):
        low = high = estimate
    elif spread.degrees_of_freedom > 0:
        t = max(quantile(spread.degrees_of_freedom, level), reach)
        lower, upper = metric.bounds(spread, t)
        low, high = (
            float(np.clip(lower, low, estimate)),
            float(np.clip(upper, estimate, high)),
        )
        if spread.one_more is not None:
            more = interval_of(name, spread.one_more, level, reach)
            better_is_low = not metric.greater_is_better
            low, high = (
                (low, max(high, more.high))
                if better_is_low
                else (min(low, more.low), high)
            )
    return Interval(estimate, low, high, level)


def mean_with_interval(
    values: np.ndarray,
    clusters: np.ndarray,
    weights: Weights = None,
    *,
    share: bool = False,
) -> Interval:
    """Return the mean of (n,) values, none negative, or the `share` of those that are
    1; nan: no rows.
    """
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    spread = spread_of(
        mean(values * 1.0, relative_weights(weights)), one_sample(clusters, weights)
    )
    return interval_of("accuracy" if share else "mae", spread)


def net_share(changes: np.ndarray, clusters: np.ndarray) -> Interval:
    """Return the mean of (n,) paired changes: 1, -1 or 0. Its interval, with one more
    row of either kind (Bonett and Price 2012), keeps few changes from looking certain.
    """
    more = mean(np.append(changes, [1.0, -1.0]))
    found = around(spread_of(more, one_sample(_with_more(clusters, 2))))
    return replace(found, estimate=float(changes.mean()))


@dataclass(frozen=True, eq=False)
class SetPrediction:
    """The predictions of one fit for the rows of one set."""

    y: np.ndarray  # encoded targets (n,)
    prediction: np.ndarray  # see the module docstring
    clusters: np.ndarray  # (n,) or (n, 2) codes, by `resampling_clusters`
    weights: Weights = None  # (n,) how much each row counts; None: all alike
    variance_factor: float = (
        1.0  # multiplies a score's variance, for cross-validated predictions
    )
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
        given = (self.y, self.prediction, threshold, self.weights, self.clusters)
        found, factor = linearise(metric, *given), self.variance_factor
        influence = found.influence * math.sqrt(factor)
        return replace(found, influence=influence, unseen=found.unseen * factor)

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
            found = spread_of(score, self.layout(metric))
            one_more = self._with_larger_error(metric, score)
            self._spreads[key] = replace(found, one_more=one_more)
        return self._spreads[key]

    def tail(self, metric: str) -> Tail | None:
        """Return the tail of the clusters' sums of a metric's errors; None: it has no
        errors.
        """
        sums = self._errors(metric)
        return None if sums is None else Tail.of(sums)

    def _errors(self, metric: str) -> np.ndarray | None:
        """What each cluster adds to the sum of the errors, (G,)."""
        declared = metric_of(metric)
        if (
            declared.errors is None
            or not len(self.y)
            or self.y.min() < declared.lowest_target
        ):
            return None
        of_rows = weighted(
            declared.errors(self.y, self.prediction), relative_weights(self.weights)
        )
        return np.bincount(self.layout(metric).cluster, of_rows)

    def _with_larger_error(self, metric: str, score: Linearised) -> Spread | None:
        """The spread with one more cluster, whose large error the tail predicts and the
        sample lacks.

        One of two such samples holds an error that large. In a sample without it, mean
        error and spread are too small: with heavy tails, nearly all samples whose
        interval misses the truth are of this kind.
        """
        sums = self._errors(metric) if math.isfinite(score.estimate) else None
        tail = None if sums is None else Tail.of(sums)
        if (
            sums is None
            or tail is None
            or (larger := tail.exceeded_by(0.5)) <= sums.max()
        ):
            return None
        n, clusters, slope = len(self.y), len(sums), metric_of(metric).by_error
        mean_error = float(sums.mean()) * clusters / n
        added = larger * clusters / n - mean_error
        if slope is not None:
            added *= slope(score.estimate, mean_error)
        of_row = added * n / clusters * math.sqrt(self.variance_factor)
        influence = np.append(score.influence, of_row)
        estimate = score.estimate + added / (clusters + 1)
        one_more = Linearised(estimate, influence - influence.mean())
        weights = relative_weights(self.weights)
        weights = None if weights is None else np.append(weights, 1.0)
        return spread_of(one_more, one_sample(_with_more(self.clusters, 1), weights))

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
        """Return the predicted class codes (n,): the likeliest, or positive from
        threshold on.
        """
        if self.prediction.ndim == 2:
            return np.asarray(self.prediction.argmax(axis=1))
        return (self.prediction >= threshold).astype(np.int64)


def paired_difference(
    first: Linearised, second: Linearised, drawn: Layout, level: float = LEVEL
) -> Interval:
    """Return second - first of two scores on the same rows, `drawn` their layout;
    infinite for one cluster.
    """
    # Equal scores may differ by rounding, relative to their own standard errors.
    errors = (spread_of(one, drawn).standard_error for one in (first, second))
    gain = Linearised(
        second.estimate - first.estimate, second.influence - first.influence
    )
    return around(spread_of(gain, drawn), level, ROUNDING * math.hypot(*errors))


def best_constant(
    metric: str,
    y: np.ndarray,
    task: str,
    n_classes: int | None = None,
    weights: Weights = None,
) -> np.ndarray:
    """Return the constant prediction that is best for a metric, (), or the class
    shares, (k,). For a user's own metric it is the best one of that, of each class
    alone, or of median and mode.
    """
    counted, declared = relative_weights(weights), metric_of(metric)
    if task == "multiclass":
        best = np.bincount(y.astype(np.int64), counted, minlength=n_classes or 0) / len(
            y
        )
    else:
        best = np.asarray(declared.constant(y, counted), dtype=np.float64)
    if declared.value is None:
        return best
    others = np.eye(len(best)) if task == "multiclass" else np.array([0.0, 1.0])
    if task == "regression":
        values, places = np.unique(y, return_inverse=True)
        mode = values[np.bincount(places, counted).argmax()]
        others = np.array([weighted_median(y, counted), mode])
    possible, value = [best, *others], declared.value
    found = [
        value(MetricInput(y, repeated(one, len(y)), 0.5, counted)) for one in possible
    ]
    scored = np.nan_to_num(declared.sign * np.array(found), nan=-math.inf)
    return np.asarray(possible[int(scored.argmax())])


def baseline_score(
    metric: str,
    y_known: np.ndarray,
    y: np.ndarray,
    task: str,
    n_classes: int | None = None,
) -> float:
    """Return what the best constant of the known rows scores on others; nan where
    undefined.
    """
    return score(
        metric, y, repeated(best_constant(metric, y_known, task, n_classes), len(y))
    )


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
    """Return a model's score minus that of `best_constant` on the same rows; nan: one
    is undefined.

    Degrees of freedom come from the kurtosis (O'Neill 2014, "Some useful moment results
    in sampling problems"). Decisions get one more row of each kind, right and wrong in
    both classes (Agresti and Caffo 2000): 20 of 20 right negatives do not prove that
    all are right.
    """

    def paired(rows: SetPrediction, at: float) -> Interval:
        without = replace(rows, prediction=repeated(constant, len(rows.y))).linearise(
            metric
        )
        return paired_difference(
            without, rows.linearise(metric, at), rows.layout(metric), level
        )

    given = paired(predicted, threshold)
    decides = metric_of(metric).by_threshold and predicted.prediction.ndim == 1
    if not decides or not math.isfinite(given.low):
        return given
    one_more = paired(with_one_of_each(predicted, threshold), 0.5)
    low, high = min(one_more.low, given.estimate), max(one_more.high, given.estimate)
    return Interval(given.estimate, low, high, level)


def with_one_of_each(rows: SetPrediction, threshold: float) -> SetPrediction:
    """Return the decisions at a threshold, and a right and a wrong one of each class as
    new clusters.
    """
    weights = relative_weights(rows.weights)
    return SetPrediction(
        np.concatenate([rows.y, [0, 0, 1, 1]]),
        np.concatenate([rows.prediction >= threshold, [0, 1, 0, 1]]),
        _with_more(rows.clusters, 4),
        None if weights is None else np.concatenate([weights, np.ones(4)]),
    )


def _with_more(clusters: np.ndarray, number: int) -> np.ndarray:
    """Append rows that are clusters, and entities, of their own."""
    known = np.asarray(clusters)
    more = (
        known.max(axis=0) + 1 + np.arange(number).reshape(-1, *[1] * (known.ndim - 1))
    )
    return np.concatenate([known, more]).view(type(clusters))
