"""Scores with and without weights: scikit-learn's, those of repeated rows, and their
influence.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from experiment_pipeline.spec import Costs
from experiment_pipeline.statistics import thresholds
from experiment_pipeline.statistics.calibration import (
    calibrations,
    miscalibration,
    recalibration,
)
from experiment_pipeline.statistics.comparisons import (
    Drawn,
    compare_with_best,
    compare_with_control,
)
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    best_constant,
    difference_to_baseline,
    linearise,
    repeated,
    score,
)

CUT = 0.5
Reference = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]


def _hard(p: np.ndarray) -> np.ndarray:
    return p.argmax(axis=1) if p.ndim == 2 else (p >= CUT).astype(int)


REFERENCES: dict[str, Reference] = {
    "roc_auc": lambda y, p, w: sk.roc_auc_score(y, p, sample_weight=w),
    "average_precision": lambda y, p, w: sk.average_precision_score(
        y, p, sample_weight=w
    ),
    "brier": lambda y, p, w: sk.brier_score_loss(y, p, sample_weight=w),
    "f1": lambda y, p, w: sk.f1_score(y, _hard(p), sample_weight=w),
    "log_loss": lambda y, p, w: sk.log_loss(y, p, sample_weight=w),
    "accuracy": lambda y, p, w: sk.accuracy_score(y, _hard(p), sample_weight=w),
    "balanced_accuracy": lambda y, p, w: sk.balanced_accuracy_score(
        y, _hard(p), sample_weight=w
    ),
    "f1_macro": lambda y, p, w: sk.f1_score(
        y, _hard(p), average="macro", sample_weight=w
    ),
    "roc_auc_ovr": lambda y, p, w: sk.roc_auc_score(
        y, p, multi_class="ovr", average="macro", sample_weight=w
    ),
    "rmse": lambda y, p, w: sk.root_mean_squared_error(y, p, sample_weight=w),
    "mae": lambda y, p, w: sk.mean_absolute_error(y, p, sample_weight=w),
    "r2": lambda y, p, w: sk.r2_score(y, p, sample_weight=w),
    "mape": lambda y, p, w: sk.mean_absolute_percentage_error(y, p, sample_weight=w),
    "poisson_deviance": lambda y, p, w: sk.mean_poisson_deviance(y, p, sample_weight=w),
}


def _reference(name: str) -> Reference:
    kind, _, share = name.partition("pinball_")
    if kind:
        return REFERENCES[name]
    return lambda y, p, w: sk.mean_pinball_loss(
        y, p, alpha=float(share), sample_weight=w
    )


CASES = [(name, task) for name in METRICS for task in sorted(METRICS[name].tasks)]


def drawn_set(task: str, seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return targets of every class and predictions with ties, not perfect."""
    generator = np.random.default_rng(seed)
    if task == "regression":
        y = (1 + abs(generator.normal(5, 2, n))).round(1)
        return y, abs(y + generator.normal(size=n)).round(1) + 0.05
    classes = 2 if task == "binary" else 3
    y = np.concatenate(
        [np.arange(classes), generator.integers(0, classes, n - classes)]
    )
    if task == "binary":
        return y, np.clip(
            0.3 + 0.3 * y + generator.normal(scale=0.25, size=n), 0.01, 0.99
        ).round(1)
    evidence = np.exp((np.eye(3)[y] + generator.normal(size=(n, 3))).round(1))
    return y, evidence / evidence.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_scores_are_those_of_scikit_learn(name: str, task: str):
    """With and without `sample_weight`, for every metric and task, ties and zeros
    included.
    """
    for seed in range(5):
        y, prediction = drawn_set(task, seed)
        y[0] = 0
        weights = (
            np.random.default_rng(seed).lognormal(sigma=1.5, size=len(y))
            if seed
            else None
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = _reference(name)(y, prediction, weights)
        computed = score(name, y, prediction, CUT, weights)
        assert computed == pytest.approx(expected, rel=1e-9)


@settings(max_examples=40)
@given(st.sampled_from(CASES), st.integers(0, 10_000))
# Two thresholds that rounding alone tells apart.
@example(("accuracy", "binary"), 6_734)
def test_a_whole_weight_counts_as_so_many_equal_rows(case: tuple[str, str], seed: int):
    """Scores, thresholds, constants and baselines are those of repeated rows."""
    name, task = case
    y, prediction = drawn_set(task, seed)
    weights, copies = _copies(len(y), seed)
    classes = 3 if task == "multiclass" else None
    assert score(name, y, prediction, CUT, weights) == pytest.approx(
        score(name, y[copies], prediction[copies])
    )
    cut = thresholds.scoring_threshold([name], y, prediction, weights)
    cut_of_copies = thresholds.scoring_threshold([name], y[copies], prediction[copies])
    assert cut == pytest.approx(cut_of_copies)
    constant = best_constant(name, y, task, classes, weights)
    assert constant == pytest.approx(best_constant(name, y[copies], task, classes))
    baseline = score(name, y, repeated(constant, len(y)), weights=weights)
    of_copies = score(name, y[copies], repeated(constant, len(copies)))
    assert baseline == pytest.approx(of_copies, nan_ok=True)


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_costs_of_a_whole_weight_are_those_of_so_many_equal_rows(seed: int):
    """The cheapest threshold, its cost and the curve are those of repeated rows."""
    y, prediction = drawn_set("binary", seed)
    weights, copies = _copies(len(y), seed)
    costs = Costs(false_positive=1, false_negative=3)
    cheapest = thresholds.cheapest_threshold(costs, y, prediction, weights)
    of_copies = thresholds.cheapest_threshold(costs, y[copies], prediction[copies])
    assert cheapest.test_score == pytest.approx(of_copies.test_score)
    paid = thresholds.cost_of(costs, y, prediction >= cheapest.value)
    assert np.average(paid, weights=weights) == pytest.approx(cheapest.test_score)
    curve = vars(thresholds.threshold_curve(y, prediction, costs, weights))
    expected = vars(thresholds.threshold_curve(y[copies], prediction[copies], costs))
    for measure, values in curve.items():
        assert values == pytest.approx(expected[measure], nan_ok=True)


def _copies(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return whole weights (n,), and the positions of as many copies of each row."""
    times = np.random.default_rng(seed).integers(1, 5, n)
    return times / 1.0, np.repeat(np.arange(n), times)


@settings(max_examples=40)
@given(st.sampled_from(CASES), st.integers(0, 10_000), st.floats(1e-6, 1e6))
def test_equal_weights_are_no_weights(case: tuple[str, str], seed: int, weight: float):
    """Scores, intervals, thresholds, differences, calibration: bit for bit."""
    name, task = case
    y, prediction = drawn_set(task, seed)
    clusters = np.random.default_rng(seed).integers(0, 20, len(y))
    plain = SetPrediction(y, prediction, clusters)
    constant = best_constant(name, y, task, 3 if task == "multiclass" else None)
    classes = tuple("abc"[: len(np.unique(y))])

    def computed(rows: SetPrediction) -> list[object]:
        of_metric = [
            rows.linearise(name).influence.tolist(),
            rows.spread(name),
            rows.interval(name),
            thresholds.cross_fitted(name, rows),
            difference_to_baseline(name, rows, constant),
            thresholds.decision_threshold([name], y, prediction, rows.weights),
        ]
        if task != "regression":
            of_metric.append(calibrations(rows, classes))
        return of_metric

    equal = replace(plain, weights=np.full(len(y), weight))
    assert repr(computed(plain)) == repr(computed(equal))


@pytest.mark.parametrize(("name", "task"), CASES)
def test_the_influence_of_a_row_is_the_derivative_by_its_weight(name: str, task: str):
    """n·w·∂θ/∂w, by a small step of each row's weight; it has mean zero."""
    y, prediction = drawn_set(task, 3)
    weights = np.random.default_rng(3).lognormal(size=len(y))
    linearised = linearise(name, y, prediction, CUT, weights)
    assert linearised.influence.mean() == pytest.approx(0, abs=1e-12)
    step = 1e-6
    for row in range(0, len(y), 7):
        moved = weights * (1 + step * (np.arange(len(y)) == row))
        gain = linearise(name, y, prediction, CUT, moved).estimate - linearised.estimate
        slope = len(y) * gain / step
        assert slope == pytest.approx(linearised.influence[row], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", ["mae", "roc_auc", "accuracy"])
def test_unequal_weights_make_intervals_wider(name: str):
    """A few heavy rows determine the score, so its interval is as wide as that of few
    rows.
    """
    y, prediction = drawn_set(min(METRICS[name].tasks), 1, n=400)
    plain = SetPrediction(y, prediction, np.arange(400))
    heavy = replace(plain, weights=np.where(np.arange(400) % 20 == 0, 100.0, 1.0))
    wide, narrow = heavy.interval(name), plain.interval(name)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert heavy.spread(name).scarcest < 40 < plain.spread(name).scarcest


def test_comparisons_use_the_effective_number_of_clusters():
    """Of 100 clusters that count as 6, differences to best and baseline are wider."""
    parts = np.random.default_rng(0).normal(size=(100, 3)) / 100
    scores = np.array([0.0, -0.1, -0.2])
    as_few, as_many = Drawn(0, effective=6), Drawn(0, effective=100)
    few = compare_with_best(scores, parts, as_few)
    many = compare_with_best(scores, parts, as_many)
    assert (few.low[1:] < many.low[1:]).all()
    plain = compare_with_best(scores, parts, Drawn(0))
    assert np.array_equal(plain.low, many.low)
    wide = compare_with_control(scores, parts, parts[:, 0], as_few)[1:]
    narrow = compare_with_control(scores, parts, parts[:, 0], as_many)[1:]
    for wider, narrower in zip(wide, narrow, strict=True):
        assert wider.low < narrower.low


def test_calibration_is_that_of_the_weighted_rows():
    """Recalibration, bins and shift as if rows were repeated."""
    y, prediction = drawn_set("binary", 5, n=300)
    weights, copies = _copies(300, 5)
    rows = SetPrediction(y, prediction, np.arange(300), weights)
    repeated = SetPrediction(y[copies], prediction[copies], copies)
    for weighted, copied in zip(
        recalibration(rows), recalibration(repeated), strict=True
    ):
        assert weighted.estimate == pytest.approx(copied.estimate)
    shift = miscalibration("balanced", rows, ("no", "yes"))
    shift_of_copies = miscalibration("balanced", repeated, ("no", "yes"))
    assert shift.predicted == pytest.approx(shift_of_copies.predicted)
    assert shift.observed == pytest.approx(shift_of_copies.observed)
