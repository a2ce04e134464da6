"""Predictions compared with the truth without a metric: calibration, confusion,
residuals, conformal bounds.

Calibration is judged by logistic recalibration (Cox 1958; Van Calster et al. 2019): the
log odds of the outcome are modelled by the predicted log odds. A slope below 1 means
overconfident; the intercept, with the slope fixed at 1, is how much the log odds are
too low on average. Intervals allow for resampling clusters; those of all classes of a
model hold together. A model fitted with other class weights predicts probabilities for
that mix of classes (Elkan 2001; Dal Pozzolo et al. 2015).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiment_pipeline.statistics.interval import (
    LEVEL,
    Interval,
    Linearised,
    Weights,
    around,
    effective_number,
    mean,
    relative_weights,
    spread_of,
    undefined,
    weighted,
    weighted_mean,
    weighted_quantile,
)
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    mean_with_interval,
    of_each_class,
    one_sample,
)

MOST_CLASSES = 6  # further classes are rare; more curves make a page unreadable
_MOST_BINS, _LEAST_ROWS_OF_BIN = 10, 20
_EDGE = 1e-6  # probabilities of 0 and 1 have no log odds
_STEPS, _LONGEST_STEP, _CONVERGED = 100, 4.0, 1e-10
LARGE = 0.9  # the quantile beyond which errors count as large
_FEW_CLUSTERS = 10  # if there are fewer, each cluster counts as one row
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Values that do not reweight classes, of scikit-learn, LightGBM, XGBoost and CatBoost.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("is_unbalance", "unbalance", "unbalanced_sets"), (None, False)),
    **dict.fromkeys(("class_weight", "class_weights", "auto_class_weights"), (None,)),
    "scale_pos_weight": (None, 1),
}


def reweighting(hyperparameters: Mapping[str, object]) -> str | None:
    """Return the setting that reweights classes, such as
    `model__class_weight=balanced`, if any.
    """
    for name, value in hyperparameters.items():
        neutral = _NEUTRAL.get(name.rpartition("__")[2])
        if neutral is not None and value not in neutral:
            return f"{name}={value}"
    return None


@dataclass(frozen=True)
class Miscalibration:
    """The largest shift between predicted and observed class shares of a reweighted
    model.
    """

    setting: str  # the hyperparameter that reweights it
    class_name: str  # the class with the largest shift
    predicted: float  # its mean predicted probability on the validation set
    observed: float  # its share there


def miscalibration(
    setting: str | None, predicted: SetPrediction, classes: Sequence[object] | None
) -> Miscalibration | None:
    """Measure a model reweighted by a setting; None without a setting, and for
    regression.
    """
    if setting is None or classes is None:
        return None
    weights = relative_weights(predicted.weights)
    codes = predicted.y.astype(np.int64)
    shares = np.bincount(codes, weights, minlength=len(classes)) / len(codes)
    several = predicted.prediction.ndim == 2
    columns = predicted.prediction.T if several else predicted.prediction[None]
    means = np.array([float(weighted_mean(column, weights)) for column in columns])
    # For two classes report the positive one.
    worst = int(np.abs(means - shares).argmax()) if several else 1
    probability = means[worst if several else 0]
    return Miscalibration(
        setting, str(classes[worst]), float(probability), float(shares[worst])
    )


def named(metric: str, *, reweighted: bool) -> str:
    """Return a metric's name as tables show it: `log_loss (not calibrated)`."""
    marked = reweighted and metric_of(metric).by_probability
    return f"{metric} (not calibrated)" if marked else metric


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows of about the same predicted probability."""

    rows: int  # how many
    predicted: float  # their mean predicted probability
    observed: (
        Interval  # the share of the class, with Wilson's pointwise 95 % interval (1927)
    )


@dataclass(frozen=True)
class CalibrationCurve:
    """The calibration of one class."""

    class_name: str
    intercept: (
        Interval  # of the recalibration with slope 1, in log odds; 0: right on average
    )
    slope: Interval  # of the recalibration; 1: neither overconfident nor underconfident
    # the expected calibration error (Naeini et al. 2015), the mean distance of
    # predicted and observed over bins of equal size
    expected_error: float
    by_chance: (
        float  # the expected error of a perfectly calibrated model on as many rows
    )
    bins: tuple[ReliabilityBin, ...]  # from the lowest probabilities to the highest

    @property
    def in_doubt(self) -> bool:
        """Whether the intercept's interval excludes 0, or the slope's excludes 1."""
        return any(
            math.isfinite(one.estimate) and not one.low <= ideal <= one.high
            for one, ideal in ((self.intercept, 0.0), (self.slope, 1.0))
        )


def calibrations(
    predicted: SetPrediction, classes: Sequence[object]
) -> tuple[CalibrationCurve, ...]:
    """Return the calibration of the classes of `class_by_class`."""
    predicted = replace(predicted, weights=relative_weights(predicted.weights))
    found = class_by_class(predicted, classes)
    level = 1 - (1 - LEVEL) / (
        2 * max(len(found), 1)
    )  # Bonferroni: intercept and slope of each
    return tuple(
        _calibration(
            str(of), replace(predicted, y=is_it * 1.0, prediction=probability), level
        )
        for of, is_it, probability in found
        if np.isfinite(probability).all()
    )


def class_by_class(
    predicted: SetPrediction, classes: Sequence[object]
) -> list[tuple[object, np.ndarray, np.ndarray]]:
    """Return (class, indicator (n,), probability (n,)) of the positive class, or of
    each of the most frequent.

    Classes that all rows or no rows belong to are left out.
    """
    if predicted.prediction.ndim == 1:
        found = [(classes[1], predicted.y == 1, predicted.prediction)]
    else:
        counts = np.bincount(predicted.y.astype(np.int64), minlength=len(classes))
        found = [
            (classes[k], predicted.y == k, predicted.prediction[:, k])
            for k in most_frequent(counts, MOST_CLASSES)
        ]
    return [one for one in found if one[1].any() and not one[1].all()]


def _calibration(of: str, rows: SetPrediction, level: float) -> CalibrationCurve:
    """Judge the calibration of one class: y is 0 or 1, the prediction its
    probability.
    """
    # Bins of equal size; equal probabilities stay together.
    number = int(np.clip(len(rows.y) // _LEAST_ROWS_OF_BIN, 1, _MOST_BINS))
    ends = np.unique(np.quantile(rows.prediction, np.linspace(0, 1, number + 1)))
    place = np.searchsorted(ends[1:-1], rows.prediction, side="right")
    bins, counted, effective = [], list[float](), list[float]()
    for one in np.unique(place):
        part = rows.rows(place == one)
        observed = mean_with_interval(part.y, part.clusters, part.weights, share=True)
        probability = float(weighted_mean(part.prediction, part.weights))
        bins.append(ReliabilityBin(len(part.y), probability, observed))
        weights = np.ones(len(part.y)) if part.weights is None else part.weights
        counted.append(weights.sum())
        effective.append(effective_number(weights))
    shares = np.array(counted) / np.array(counted).sum()
    predicted = np.array([one.predicted for one in bins])
    shown = np.array([one.observed.estimate for one in bins])
    # The mean size of a normal error is its standard deviation times √(2/π).
    noise = np.sqrt(2 / np.pi * predicted * (1 - predicted) / np.array(effective))
    drawn = one_sample(rows.clusters, rows.weights)
    intercept, slope = (
        around(spread_of(one, drawn), level) for one in recalibration(rows)
    )
    error, by_chance = float(shares @ np.abs(predicted - shown)), float(shares @ noise)
    return CalibrationCurve(of, intercept, slope, error, by_chance, tuple(bins))


def recalibration(rows: SetPrediction) -> tuple[Linearised, Linearised]:
    """Return intercept (with slope 1) and slope of the recalibration; y is 0 or 1,
    predictions are those of 1.

    They are nan if one class is missing, or if all probabilities are equal or separate
    the classes.
    """
    design, counted = _log_odds(rows.prediction), relative_weights(rows.weights)
    (intercept,) = _logistic(rows.y, design[:, :1], design[:, 1], counted)
    _, slope = _logistic(rows.y, design, np.zeros(len(design)), counted)
    return intercept, slope


def recalibrated(predicted: SetPrediction) -> np.ndarray:
    """Return class probabilities (n, k), recalibrated on the same rows; unchanged where
    that is undefined.
    """
    from scipy.special import expit

    several, counted = (
        predicted.prediction.ndim == 2,
        relative_weights(predicted.weights),
    )
    columns = []
    for code, one in enumerate(
        predicted.prediction.T if several else [predicted.prediction], 1
    ):
        design = _log_odds(one)
        is_it = (predicted.y == (code - 1 if several else code)) * 1.0
        fitted = _logistic(is_it, design, np.zeros(len(design)), counted)
        found = np.array([part.estimate for part in fitted])
        columns.append(
            expit(design @ (found if np.isfinite(found).all() else [0.0, 1.0]))
        )
    found = np.column_stack(columns if several else [1 - columns[0], columns[0]])
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def _log_odds(probability: np.ndarray) -> np.ndarray:
    """The design of a recalibration, (n, 2): ones, and log odds."""
    from scipy.special import logit

    odds = logit(np.clip(probability, _EDGE, 1 - _EDGE))
    return np.column_stack([np.ones(len(odds)), odds])


def _logistic(
    y: np.ndarray, design: np.ndarray, offset: np.ndarray, weights: Weights
) -> list[Linearised]:
    """Fit a logistic model by Newton's steps; the influence of a row is H⁻¹ times its
    score.
    """
    from scipy.special import expit

    coefficients = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        expected = expit(offset + design @ coefficients)
        scores = weighted(y - expected, weights)[:, None] * design
        curvature = weighted(expected * (1 - expected), weights)
        information = design.T @ (design * curvature[:, None])
        if np.linalg.cond(information) > 1 / _CONVERGED:
            break
        step = np.linalg.solve(information, scores.sum(axis=0))
        if np.abs(step).max() < _CONVERGED * (1 + np.abs(coefficients).max()):
            influence = np.linalg.solve(information, scores.T)
            influence *= len(y)
            return [
                Linearised(float(c), i)
                for c, i in zip(coefficients, influence, strict=True)
            ]
        coefficients = coefficients + step * min(
            1.0, _LONGEST_STEP / np.abs(step).max()
        )
    return [undefined(len(y)) for _ in range(design.shape[1])]


def most_frequent(counts: np.ndarray, most: int) -> np.ndarray:
    """Return the codes of the `most` classes with the highest counts, ascending; of
    equals the lower.
    """
    return np.sort(np.argsort(-counts, kind="stable")[:most])


def confusion(y: np.ndarray, decided: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the number of rows of actual class i that are called j, (k, k)."""
    codes = y.astype(np.int64) * n_classes + decided.astype(np.int64)
    return np.bincount(codes, minlength=n_classes**2).reshape(n_classes, n_classes)


@dataclass(frozen=True)
class ClassOutcome:
    """Precision, recall and f1 of one class, and its most frequent confusion."""

    label: str
    support: int  # rows of the class
    precision: float  # nan if no row is predicted as this class
    recall: float  # nan without support
    f1: float
    confused_with: (
        str | None
    )  # the class most often predicted instead; None: all are right
    confused: int  # how many of them


def class_outcomes(
    matrix: np.ndarray, classes: Sequence[object]
) -> tuple[ClassOutcome, ...]:
    """Return the outcome of each class of a confusion, in its order."""
    outcomes = []
    for code, label in enumerate(classes):
        hits, support = int(matrix[code, code]), int(matrix[code].sum())
        called = int(matrix[:, code].sum())
        missed = np.where(np.arange(len(classes)) == code, 0, matrix[code])
        worst = int(missed.argmax())
        precision = hits / called if called else float("nan")
        recall = hits / support if support else float("nan")
        f1 = 2 * hits / max(called + support, 1)
        confused_with = str(classes[worst]) if missed[worst] else None
        of_class = (
            str(label),
            support,
            precision,
            recall,
            f1,
            confused_with,
            int(missed[worst]),
        )
        outcomes.append(ClassOutcome(*of_class))
    return tuple(outcomes)


@dataclass(frozen=True)
class Residuals:
    """Summary of actual minus predicted, in units of the target."""

    mean: float  # positive: the model predicts too little on average
    mean_absolute: float  # mean size of an error
    median_absolute: float  # median size of an error
    quantiles: tuple[float, ...]  # at 5, 25, 50, 75 and 95 %
    largest: float  # size of the largest error
    spread_of_target: float  # standard deviation of the target on the same rows


def residuals_of(y: np.ndarray, prediction: np.ndarray) -> Residuals:
    """Return the residuals of predictions (n,) of a target (n,), at least one row."""
    residual = y - prediction
    size = np.abs(residual)
    quantiles = tuple(np.quantile(residual, QUANTILES).tolist())
    means = float(residual.mean()), float(size.mean()), float(np.median(size))
    return Residuals(*means, quantiles, float(size.max()), float(y.std()))


@dataclass(frozen=True)
class QuantileCheck:
    """Whether the level's share of the targets lies below a predicted quantile."""

    level: float
    below: Interval  # share of the targets below the prediction, with Wilson's 95 % interval
    not_above: Interval  # the same, with the targets that equal it
    shift: float  # added to every prediction, it puts the level's share of test targets below them
    shifted: Interval  # share below with the shift

    @property
    def in_doubt(self) -> bool:
        """Whether the level is outside what the intervals allow."""
        return self.below.low > self.level or self.not_above.high < self.level


def quantile_check(
    level: float, validation: SetPrediction, test: SetPrediction
) -> QuantileCheck:
    """Check a predicted quantile on validation rows, and correct it by the conformal
    bound of deviations on test rows (Romano, Patterson and Candès 2019).
    """

    def share(found: np.ndarray) -> Interval:
        return mean_with_interval(
            found, validation.clusters, validation.weights, share=True
        )

    deviations = test.y - test.prediction
    shift = float(
        min(*conformal_bounds(test, deviations, np.array([level])), deviations.max())
    )
    above = validation.y - validation.prediction
    return QuantileCheck(
        level, share(above < 0), share(above <= 0), shift, share(above < shift)
    )


def conformal_bounds(
    rows: SetPrediction, scores: np.ndarray, levels: np.ndarray
) -> np.ndarray:
    """Return, for each level, a bound for that share of new rows, from scores (n,) of
    these; infinite: too few.

    Split conformal prediction (Vovk, Gammerman and Shafer 2005), on rows that the fit
    had not seen. A share of rows is promised, so all rows count alike; together they
    count as so many `independent` ones, and the new row is one more. Hierarchical
    conformal prediction (Lee, Barber and Willett 2023; Dunn, Wasserman and Ramdas 2023)
    counts a cluster as one row, which is wider, and weights its rows by 1/size, which
    covers fewer rows where large clusters have large errors (`make bench`, statistics).
    crepes takes errors, MAPIE an estimator that it pickles. Both assume independent
    rows; for such rows the bounds are the same.
    """
    reached = levels * (1 + 1 / independent(rows, scores))
    found = weighted_quantile(scores, rows.weights, np.minimum(reached, 1.0))
    return np.where(reached > 1 + 1e-9, np.inf, found)


def independent(rows: SetPrediction, scores: np.ndarray) -> float:
    """Return how many independent rows give as precise a share of large scores (n,)
    (design effect: Kish 1965).
    """
    drawn, weights = (
        one_sample(rows.clusters, rows.weights),
        relative_weights(rows.weights),
    )
    share = spread_of(
        mean(scores >= weighted_quantile(scores, weights, LARGE), weights), drawn
    )
    clusters = effective_number(np.bincount(drawn.cluster, weights))
    if clusters < _FEW_CLUSTERS or not share.standard_error:
        return clusters
    known = share.estimate * (1 - share.estimate) / share.standard_error**2
    # Without the jackknife's factor G/(G-1), so that n independent rows count as n.
    return float(np.clip(known * clusters / (clusters - 1), clusters, len(scores)))


def least_probabilities(rows: SetPrediction, levels: np.ndarray) -> np.ndarray:
    """Return the least probability with which each class is in a set that covers a
    level's share of it, (m, k).

    Each class has bounds of its own (Sadinle, Lei and Wasserman 2019): a promise for
    all rows can be kept without a rare class in any set. A class in too few clusters
    gets the bound of all rows (Ding et al. 2023). Adaptive sets (Romano, Sesia and
    Candès 2020) are larger, and draw random numbers.
    """
    every, codes = of_each_class(rows.prediction), rows.y.astype(np.int64)
    scores = 1 - every[np.arange(len(every)), codes]
    least = np.tile(1 - conformal_bounds(rows, scores, levels)[:, None], every.shape[1])
    for code in np.unique(codes):
        known = 1 - conformal_bounds(
            rows.rows(own := codes == code), scores[own], levels
        )
        least[:, code] = np.where(np.isfinite(known), known, least[:, code])
    return np.floor(1e6 * least) / 1e6  # values that differ by rounding become equal


def sets_of(prediction: np.ndarray, least: Sequence[float]) -> np.ndarray:
    """Return which classes are in the set of each row, bool (n, k): the likeliest
    always, others by `least`.
    """
    several = of_each_class(prediction)
    found: np.ndarray = several >= np.array(least)
    found[np.arange(len(found)), several.argmax(axis=1)] = True
    return found
