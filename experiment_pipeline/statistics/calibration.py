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
import re
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
_MOST_BINS = 10
_LEAST_ROWS_OF_BIN = 20
_EDGE = 1e-6  # probabilities of 0 and 1 have no log odds
_STEPS = 100
_LONGEST_STEP = 4.0
_CONVERGED = 1e-10
LARGE = 0.9  # the quantile beyond which errors count as large
_FEW_CLUSTERS = 10  # if there are fewer, each cluster counts as one row
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# The least probability of a class that is in every set: less than any.
IN_EVERY_SET = -1.0
# Values that do not reweight classes, of scikit-learn, LightGBM, XGBoost and CatBoost.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("is_unbalance", "unbalance", "unbalanced_sets"), (None, False)),
    **dict.fromkeys(("class_weight", "class_weights", "auto_class_weights"), (None,)),
    "scale_pos_weight": (None, 1),
}
# The same of an estimator within a hyperparameter (`spec.notation`).
_REWEIGHTED_PART = re.compile(
    rf"\b({'|'.join(_NEUTRAL)})=(?!None|False|1\b)(?:\{{.*?\}}|[^,)]+)"
)


def reweighting(hyperparameters: Mapping[str, object]) -> str | None:
    """Return the setting that reweights classes, if any: `class_weight=balanced`."""
    for name, value in hyperparameters.items():
        neutral = _NEUTRAL.get(name.rpartition("__")[2])
        if neutral is not None and value not in neutral:
            return f"{name}={value}"
        if part := _REWEIGHTED_PART.search(str(value)):
            return f"{name}: {part[0]}"
    return None


@dataclass(frozen=True)
class Miscalibration:
    """The largest shift of the class shares that a reweighted model predicts."""

    setting: str  # the hyperparameter that reweights it
    class_name: str  # the class with the largest shift
    predicted: float  # its mean predicted probability on the validation set
    observed: float  # its share there


def miscalibration(
    setting: str | None, predicted: SetPrediction, classes: Sequence[object] | None
) -> Miscalibration | None:
    """Measure a model that a setting reweights; None: no setting, or regression."""
    if setting is None or classes is None:
        return None
    weights = relative_weights(predicted.weights)
    codes = predicted.y.astype(np.int64)
    observed = np.bincount(codes, weights, minlength=len(classes)) / len(codes)
    if predicted.prediction.ndim == 1:  # for two classes report the positive one
        code = 1
        probability = weighted_mean(predicted.prediction, weights)
    else:
        columns = predicted.prediction.T
        means = np.array([float(weighted_mean(column, weights)) for column in columns])
        code = int(np.abs(means - observed).argmax())
        probability = means[code]
    return Miscalibration(
        setting,
        class_name=str(classes[code]),
        predicted=float(probability),
        observed=float(observed[code]),
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
    # the share of the class, with Wilson's pointwise 95 % interval (1927)
    observed: Interval


@dataclass(frozen=True)
class CalibrationCurve:
    """The calibration of one class."""

    class_name: str
    # of the recalibration with slope 1, in log odds; 0: right on average
    intercept: Interval
    slope: Interval  # of the recalibration; 1: neither overconfident nor underconfident
    # the expected calibration error (Naeini et al. 2015), the mean distance of
    # predicted and observed over bins of equal size
    expected_error: float
    # the expected error of a perfectly calibrated model on as many rows
    by_chance: float
    bins: tuple[ReliabilityBin, ...]  # from the lowest probabilities to the highest

    @property
    def in_doubt(self) -> bool:
        """Whether the intercept's interval excludes 0, or the slope's excludes 1."""
        for interval, ideal in ((self.intercept, 0.0), (self.slope, 1.0)):
            defined = math.isfinite(interval.estimate)
            if defined and not interval.low <= ideal <= interval.high:
                return True
        return False


def calibrations(
    predicted: SetPrediction, classes: Sequence[object]
) -> tuple[CalibrationCurve, ...]:
    """Return the calibration of the classes of `class_by_class`."""
    predicted = replace(predicted, weights=relative_weights(predicted.weights))
    judged = class_by_class(predicted, classes)
    # Bonferroni: intercept and slope of each.
    level = 1 - (1 - LEVEL) / (2 * max(len(judged), 1))
    curves = []
    for name, indicator, probability in judged:
        if np.isfinite(probability).all():
            rows = replace(predicted, y=indicator * 1.0, prediction=probability)
            curves.append(_calibration(str(name), rows, level))
    return tuple(curves)


def class_by_class(
    predicted: SetPrediction, classes: Sequence[object]
) -> list[tuple[object, np.ndarray, np.ndarray]]:
    """Return (class, indicator (n,), probability (n,)) of the classes to judge.

    These are the positive class, or the most frequent of several. Classes that all rows
    or no rows belong to are left out.
    """
    y = predicted.y
    if predicted.prediction.ndim == 1:
        columns = {1: predicted.prediction}
    else:
        counts = np.bincount(y.astype(np.int64), minlength=len(classes))
        frequent = most_frequent(counts, MOST_CLASSES)
        columns = {code: predicted.prediction[:, code] for code in frequent}
    judged = []
    for code, probability in columns.items():
        indicator = y == code
        if indicator.any() and not indicator.all():
            judged.append((classes[code], indicator, probability))
    return judged


def _calibration(name: str, rows: SetPrediction, level: float) -> CalibrationCurve:
    """Judge one class: y is 0 or 1, predictions are its probabilities."""
    # Bins of equal size; equal probabilities stay together.
    number = int(np.clip(len(rows.y) // _LEAST_ROWS_OF_BIN, 1, _MOST_BINS))
    ends = np.unique(np.quantile(rows.prediction, np.linspace(0, 1, number + 1)))
    place = np.searchsorted(ends[1:-1], rows.prediction, side="right")
    bins = []
    sizes = list[float]()
    effective = list[float]()
    for bin_code in np.unique(place):
        part = rows.rows(place == bin_code)
        observed = mean_with_interval(part.y, part.clusters, part.weights, share=True)
        probability = float(weighted_mean(part.prediction, part.weights))
        bins.append(ReliabilityBin(len(part.y), probability, observed))
        weights = np.ones(len(part.y)) if part.weights is None else part.weights
        sizes.append(weights.sum())
        effective.append(effective_number(weights))
    shares = np.array(sizes) / np.array(sizes).sum()
    predicted = np.array([reliability.predicted for reliability in bins])
    estimates = np.array([reliability.observed.estimate for reliability in bins])
    # The mean size of a normal error is its standard deviation times √(2/π).
    noise = np.sqrt(2 / np.pi * predicted * (1 - predicted) / np.array(effective))
    layout = one_sample(rows.clusters, rows.weights)
    intercept, slope = recalibration(rows)
    return CalibrationCurve(
        name,
        intercept=around(spread_of(intercept, layout), level),
        slope=around(spread_of(slope, layout), level),
        expected_error=float(shares @ np.abs(predicted - estimates)),
        by_chance=float(shares @ noise),
        bins=tuple(bins),
    )


def recalibration(rows: SetPrediction) -> tuple[Linearised, Linearised]:
    """Return intercept (with slope 1) and slope; y is 0 or 1, predictions are of 1.

    They are nan if one class is missing, or if all probabilities are equal or separate
    the classes.
    """
    design = _log_odds(rows.prediction)
    weights = relative_weights(rows.weights)
    (intercept,) = _logistic(rows.y, design[:, :1], design[:, 1], weights)
    _, slope = _logistic(rows.y, design, np.zeros(len(design)), weights)
    return intercept, slope


def recalibrated(predicted: SetPrediction) -> np.ndarray:
    """Return class probabilities (n, k), recalibrated on the same rows.

    Those of a class are unchanged where its recalibration is undefined.
    """
    from scipy.special import expit

    weights = relative_weights(predicted.weights)
    columns = {1: predicted.prediction}
    if predicted.prediction.ndim == 2:
        columns = dict(enumerate(predicted.prediction.T))
    probabilities = []
    for code, probability in columns.items():
        design = _log_odds(probability)
        indicator = (predicted.y == code) * 1.0
        fitted = _logistic(indicator, design, np.zeros(len(design)), weights)
        coefficients = np.array([part.estimate for part in fitted])
        if not np.isfinite(coefficients).all():
            coefficients = np.array([0.0, 1.0])
        probabilities.append(expit(design @ coefficients))
    if predicted.prediction.ndim == 1:
        probabilities = [1 - probabilities[0], probabilities[0]]
    stacked = np.column_stack(probabilities)
    return stacked / stacked.sum(axis=1, keepdims=True)


def _log_odds(probability: np.ndarray) -> np.ndarray:
    """The design of a recalibration, (n, 2): ones, and log odds."""
    from scipy.special import logit

    odds = logit(np.clip(probability, _EDGE, 1 - _EDGE))
    return np.column_stack([np.ones(len(odds)), odds])


def _logistic(
    y: np.ndarray, design: np.ndarray, offset: np.ndarray, weights: Weights
) -> list[Linearised]:
    """Fit a logistic model by Newton's steps; a row's influence is H⁻¹ · its score."""
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
            influence = np.linalg.solve(information, scores.T) * len(y)
            return [
                Linearised(float(coefficient), of_coefficient)
                for coefficient, of_coefficient in zip(
                    coefficients, influence, strict=True
                )
            ]
        shortened = min(1.0, _LONGEST_STEP / np.abs(step).max())
        coefficients = coefficients + step * shortened
    return [undefined(len(y)) for _ in range(design.shape[1])]


def most_frequent(counts: np.ndarray, most: int) -> np.ndarray:
    """Return the codes with the highest counts, ascending; of equals the lower."""
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
    # the class most often predicted instead; None: all are right
    confused_with: str | None
    confused: int  # how many of them


def class_outcomes(
    matrix: np.ndarray, classes: Sequence[object]
) -> tuple[ClassOutcome, ...]:
    """Return the outcome of each class of a confusion, in its order."""
    outcomes = []
    for code, label in enumerate(classes):
        hits = int(matrix[code, code])
        support = int(matrix[code].sum())
        called = int(matrix[:, code].sum())
        missed = np.where(np.arange(len(classes)) == code, 0, matrix[code])
        worst = int(missed.argmax())
        outcome = ClassOutcome(
            label=str(label),
            support=support,
            precision=hits / called if called else math.nan,
            recall=hits / support if support else math.nan,
            f1=2 * hits / max(called + support, 1),
            confused_with=str(classes[worst]) if missed[worst] else None,
            confused=int(missed[worst]),
        )
        outcomes.append(outcome)
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
    return Residuals(
        mean=float(residual.mean()),
        mean_absolute=float(size.mean()),
        median_absolute=float(np.median(size)),
        quantiles=tuple(np.quantile(residual, QUANTILES).tolist()),
        largest=float(size.max()),
        spread_of_target=float(y.std()),
    )


@dataclass(frozen=True)
class QuantileCheck:
    """Whether the level's share of the targets lies below a predicted quantile."""

    level: float
    # share of the targets below the prediction, with Wilson's 95 % interval
    below: Interval
    not_above: Interval  # the same, with the targets that equal it
    # added to every prediction, it puts the level's share of test targets below them
    shift: float
    shifted: Interval  # share below with the shift

    @property
    def in_doubt(self) -> bool:
        """Whether the level is outside what the intervals allow."""
        return self.below.low > self.level or self.not_above.high < self.level


def quantile_check(
    level: float, validation: SetPrediction, test: SetPrediction
) -> QuantileCheck:
    """Check a predicted quantile on validation rows, and how to correct it.

    The shift is the conformal bound of deviations on test rows (Romano, Patterson and
    Candès 2019).
    """

    def share(where: np.ndarray) -> Interval:
        return mean_with_interval(
            where, validation.clusters, validation.weights, share=True
        )

    deviations = test.y - test.prediction
    (bound,) = conformal_bounds(test, deviations, np.array([level]))
    shift = float(min(bound, deviations.max()))
    above = validation.y - validation.prediction
    return QuantileCheck(
        level,
        below=share(above < 0),
        not_above=share(above <= 0),
        shift=shift,
        shifted=share(above < shift),
    )


def conformal_bounds(
    rows: SetPrediction, scores: np.ndarray, levels: np.ndarray
) -> np.ndarray:
    """Return bounds (m,) of levels' shares of new rows, from scores (n,) of these.

    Infinite: too few rows.

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
    bounds = weighted_quantile(scores, rows.weights, np.minimum(reached, 1.0))
    return np.where(reached > 1 + 1e-9, np.inf, bounds)


def independent(rows: SetPrediction, scores: np.ndarray) -> float:
    """Return how many independent rows give as precise a share of large scores (n,).

    It is the number of rows divided by the design effect (Kish 1965).
    """
    layout = one_sample(rows.clusters, rows.weights)
    weights = relative_weights(rows.weights)
    large = scores >= weighted_quantile(scores, weights, LARGE)
    share = spread_of(mean(large, weights), layout)
    clusters = effective_number(np.bincount(layout.cluster, weights))
    if clusters < _FEW_CLUSTERS or not share.standard_error:
        return clusters
    number = share.estimate * (1 - share.estimate) / share.standard_error**2
    # Without the jackknife's factor G/(G-1), so that n independent rows count as n.
    return float(np.clip(number * clusters / (clusters - 1), clusters, len(scores)))


def least_probabilities(rows: SetPrediction, levels: np.ndarray) -> np.ndarray:
    """Return the least probability of a class in a set that covers a share, (m, k).

    Each class has bounds of its own (Sadinle, Lei and Wasserman 2019): a promise for
    all rows can be kept without a rare class in any set. A class in too few clusters
    for that (`fewest_for`) is in every set; the bound of all rows (Ding et al. 2023)
    held 2 of 10 of its rows (`make bench`, statistics). -infinity: too few rows of all
    classes together. Adaptive sets (Romano, Sesia and Candès 2020) are larger, and draw
    random numbers.
    """
    probabilities = of_each_class(rows.prediction)
    codes = rows.y.astype(np.int64)
    scores = 1 - probabilities[np.arange(len(codes)), codes]
    least = np.full((len(levels), probabilities.shape[1]), IN_EVERY_SET)
    for code in np.unique(codes):
        of_class = codes == code
        bounds = conformal_bounds(rows.rows(of_class), scores[of_class], levels)
        least[:, code] = np.where(np.isfinite(bounds), 1 - bounds, IN_EVERY_SET)
    least[np.isinf(conformal_bounds(rows, scores, levels))] = -np.inf
    return np.floor(1e6 * least) / 1e6  # values that differ by rounding become equal


def fewest_for(coverage: float) -> int:
    """Return the fewest independent rows that bound a share of new ones: 9 for 0.9."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def sets_of(prediction: np.ndarray, least: Sequence[float]) -> np.ndarray:
    """Return whether each class is in each row's set, bool (n, k).

    The likeliest class always is, another from its least probability on.
    """
    probabilities = of_each_class(prediction)
    sets = np.asarray(probabilities >= np.array(least))
    sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets
