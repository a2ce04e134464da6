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


def made(task: str, seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
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
def test_scores_are_those_of_scikit_learn(name: str, task: str) -> None:
    """With and without `sample_weight`, for every metric and task, ties and zeros
    included.
    """
    for seed in range(5):
        y, prediction = made(task, seed)
        y[0] = 0
        weights = (
            np.random.default_rng(seed).lognormal(sigma=1.5, size=len(y))
            if seed
            else None
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = _reference(name)(y, prediction, weights)
        found = score(name, y, prediction, CUT, weights)
        assert found == pytest.approx(expected, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(CASES), st.integers(0, 10_000))
@example(
    ("accuracy", "binary"), 6_734
)  # two thresholds that rounding alone tells apart
def test_a_whole_weight_counts_as_so_many_equal_rows(
    case: tuple[str, str], seed: int
) -> None:
    """Scores, thresholds, constants, baselines and costs are those of rows that are
    repeated.
    """
    (name, task), generator = case, np.random.default_rng(seed)
    y, prediction = made(task, seed)
    times = generator.integers(1, 5, len(y))
    more, weights = np.repeat(np.arange(len(y)), times), times / 1.0
    classes = 3 if task == "multiclass" else None
    same = pytest.approx
    assert score(name, y, prediction, CUT, weights) == same(
        score(name, y[more], prediction[more])
    )
    cut = thresholds.scoring_threshold([name], y, prediction, weights)
    assert cut == same(thresholds.scoring_threshold([name], y[more], prediction[more]))
    constant = best_constant(name, y, task, classes, weights)
    assert constant == same(best_constant(name, y[more], task, classes))
    without = score(name, y, repeated(constant, len(y)), weights=weights)
    alike = score(name, y[more], repeated(constant, len(more)))
    assert without == same(alike, nan_ok=True)
    if task == "binary":
        costs = Costs(false_positive=1, false_negative=3)
        found = thresholds.cheapest_threshold(costs, y, prediction, weights)
        again = thresholds.cheapest_threshold(costs, y[more], prediction[more])
        assert found.test_score == same(again.test_score)
        paid = thresholds.cost_of(costs, y, prediction >= found.value)
        assert np.average(paid, weights=weights) == same(found.test_score)
        curve = thresholds.threshold_curve(y, prediction, costs, weights)
        other = thresholds.threshold_curve(y[more], prediction[more], costs)
        for one, same_one in zip(
            vars(curve).values(), vars(other).values(), strict=True
        ):
            assert one == same(same_one, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(CASES), st.integers(0, 10_000), st.floats(1e-6, 1e6))
def test_equal_weights_are_no_weights(
    case: tuple[str, str], seed: int, weight: float
) -> None:
    """Bit for bit: scores, influence, intervals, thresholds, differences,
    calibration.
    """
    (name, task), (y, prediction) = case, made(case[1], seed)
    clusters = np.random.default_rng(seed).integers(0, 20, len(y))
    plain = SetPrediction(y, prediction, clusters)
    equal = replace(plain, weights=np.full(len(y), weight))
    assert np.array_equal(
        plain.linearise(name).influence, equal.linearise(name).influence
    )
    assert repr(plain.spread(name)) == repr(equal.spread(name))
    assert plain.interval(name) == equal.interval(name)
    assert repr(thresholds.cross_fitted(name, plain)) == repr(
        thresholds.cross_fitted(name, equal)
    )
    constant = best_constant(name, y, task, 3 if task == "multiclass" else None)
    differences = [
        difference_to_baseline(name, one, constant) for one in (plain, equal)
    ]
    assert repr(differences[0]) == repr(differences[1])
    first, second = (
        thresholds.decision_threshold([name], y, prediction, w)
        for w in (None, equal.weights)
    )
    assert first == second
    if task != "regression":
        classes = tuple("abc"[: len(np.unique(y))])
        assert repr(calibrations(plain, classes)) == repr(calibrations(equal, classes))


@pytest.mark.parametrize(("name", "task"), CASES)
def test_the_influence_of_a_row_is_the_derivative_by_its_weight(
    name: str, task: str
) -> None:
    """n·w·∂θ/∂w, by a small step of each row's weight; it has mean zero."""
    y, prediction = made(task, 3)
    weights = np.random.default_rng(3).lognormal(size=len(y))
    found = linearise(name, y, prediction, CUT, weights)
    assert found.influence.mean() == pytest.approx(0, abs=1e-12)
    step = 1e-6
    for row in range(0, len(y), 7):
        moved = weights * (1 + step * (np.arange(len(y)) == row))
        other = linearise(name, y, prediction, CUT, moved).estimate
        slope = len(y) * (other - found.estimate) / step
        assert slope == pytest.approx(found.influence[row], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", ["mae", "roc_auc", "accuracy"])
def test_unequal_weights_make_intervals_wider(name: str) -> None:
    """A few heavy rows determine the score, so its interval is as wide as that of few
    rows.
    """
    y, prediction = made(min(METRICS[name].tasks), 1, n=400)
    plain = SetPrediction(y, prediction, np.arange(400))
    heavy = replace(plain, weights=np.where(np.arange(400) % 20 == 0, 100.0, 1.0))
    wide, narrow = (
        one.interval(name).high - one.interval(name).low for one in (heavy, plain)
    )
    assert wide > 2 * narrow
    assert heavy.spread(name).scarcest < 40 < plain.spread(name).scarcest


def test_comparisons_use_the_effective_number_of_clusters() -> None:
    """A hundred clusters that count as six leave wider differences, from best and
    baseline.
    """
    parts = np.random.default_rng(0).normal(size=(100, 3)) / 100
    scores = np.array([0.0, -0.1, -0.2])
    few, all_of_them = (
        compare_with_best(scores, parts, Drawn(0, effective=told)) for told in (6, 100)
    )
    assert (few.low[1:] < all_of_them.low[1:]).all()
    plain = compare_with_best(scores, parts, Drawn(0))
    assert np.array_equal(plain.low, all_of_them.low)
    given = scores, parts, parts[:, 0]
    bounds = [
        compare_with_control(*given, Drawn(0, effective=one))[1:] for one in (6, 100)
    ]
    assert all(one.low < other.low for one, other in zip(*bounds, strict=True))


def test_calibration_is_that_of_the_weighted_rows() -> None:
    """Recalibration, bins and shift as if rows were repeated."""
    y, prediction = made("binary", 5, n=300)
    times = np.random.default_rng(5).integers(1, 4, 300)
    more = np.repeat(np.arange(300), times)
    rows = SetPrediction(y, prediction, np.arange(300), times / 1.0)
    repeated = SetPrediction(y[more], prediction[more], more)
    for one, other in zip(recalibration(rows), recalibration(repeated), strict=True):
        assert one.estimate == pytest.approx(other.estimate)
    shifts = [
        miscalibration("balanced", one, ("no", "yes")) for one in (rows, repeated)
    ]
    assert shifts[0].predicted == pytest.approx(shifts[1].predicted)
    assert shifts[0].observed == pytest.approx(shifts[1].observed)
