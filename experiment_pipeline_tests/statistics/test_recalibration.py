"""Logistic recalibration, where the truth is known."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from experiment_pipeline.statistics.calibration import (
    calibrations,
    quantile_check,
    recalibration,
)
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.bench.statistics_choice import perfect_and_accused

CLASSES = ("no", "yes")


def simulated(
    slope: float = 1.0, intercept: float = 0.0, n: int = 4_000, seed: int = 0
) -> SetPrediction:
    """Rows whose true log odds are intercept + slope times the predicted ones."""
    generator = np.random.default_rng(seed)
    said = generator.normal(-0.5, 1.2, n)
    y = (generator.random(n) < expit(intercept + slope * said)).astype(int)
    return SetPrediction(y, expit(said), np.arange(n))


def test_a_calibrated_model_has_slope_one_and_intercept_zero():
    """Both lie in their intervals, and the error is about what chance alone makes."""
    (found,) = calibrations(simulated(), CLASSES)
    assert found.class_name == "yes"
    assert found.slope.estimate == pytest.approx(1, abs=0.1)
    assert found.intercept.estimate == pytest.approx(0, abs=0.1)
    assert not found.in_doubt
    assert found.expected_error < 2 * found.by_chance < 0.05
    assert sum(one.rows for one in found.bins) == 4_000
    assert len(found.bins) == 10


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, 0.0), (1.0, 0.8), (2.0, -0.5)])
def test_a_miscalibrated_model_is_found(slope: float, intercept: float):
    """The slope is the true one, the interval excludes being right, the curve leaves
    its band.
    """
    (found,) = calibrations(simulated(slope, intercept), CLASSES)
    assert found.slope.estimate == pytest.approx(slope, abs=0.15)
    assert found.in_doubt
    assert found.expected_error > 2 * found.by_chance
    assert any(
        not one.observed.low <= one.predicted <= one.observed.high for one in found.bins
    )


def test_it_is_the_maximum_of_the_likelihood():
    """Against a minimiser that knows no derivatives."""
    predicted = simulated(0.7, 0.3, n=500)
    log_odds = logit(predicted.prediction)

    def loss(coefficients: np.ndarray) -> float:
        expected = expit(coefficients[0] + coefficients[1] * log_odds)
        return -float(np.log(np.where(predicted.y == 1, expected, 1 - expected)).sum())

    best = minimize(loss, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-7}).x
    _, slope = recalibration(predicted)
    assert slope.estimate == pytest.approx(best[1], rel=1e-4)


def test_intervals_cover_the_truth_where_rows_of_a_cluster_move_together():
    """Of 120 sets of 60 groups, about 95 % hold the true intercept; single rows would
    not.
    """
    held = {"groups": 0, "rows": 0}
    for seed in range(120):
        generator = np.random.default_rng(seed)
        groups = np.repeat(np.arange(60), 10)
        said = generator.normal(0, 1, 600)
        truth = said + 1.5 * generator.normal(size=60)[groups]
        y = (generator.random(600) < expit(truth)).astype(int)
        for name, clusters in (("groups", groups), ("rows", np.arange(600))):
            (found,) = calibrations(SetPrediction(y, expit(said), clusters), CLASSES)
            held[name] += found.intercept.low <= 0 <= found.intercept.high
    assert held["groups"] > 107
    assert held["rows"] < 100


def test_perfect_probabilities_are_seldom_accused():
    """Slope and intercept are two tests: of 150 perfect models at most 11 are
    accused.
    """
    assert perfect_and_accused(150, 0) <= 11 / 150


@pytest.mark.parametrize(
    ("y", "prediction"),
    [
        (np.tile([0, 1], 50), np.full(100, 0.5)),
        (np.repeat([0, 1], 50), np.repeat([0.1, 0.9], 50)),
        (np.repeat([0, 1], 50), np.repeat([0.0, 1.0], 50)),
    ],
)
def test_where_there_is_no_slope_none_is_said(y: np.ndarray, prediction: np.ndarray):
    """Probabilities that are all equal, or that tell the classes apart without a
    mistake.
    """
    (found,) = calibrations(SetPrediction(y, prediction, np.arange(100)), CLASSES)
    assert math.isnan(found.slope.estimate)
    assert math.isfinite(found.expected_error)


def test_several_classes_are_judged_each_against_the_others():
    """The most frequent ones, in the order of the classes."""
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.ones(8), 3_000)
    y = np.array([generator.choice(8, p=row) for row in shares])
    found = calibrations(SetPrediction(y, shares, np.arange(3_000)), tuple("abcdefgh"))
    assert len(found) == 6
    assert [one.class_name for one in found] == sorted(one.class_name for one in found)
    assert all(one.slope.estimate == pytest.approx(1, abs=0.25) for one in found)


@pytest.mark.parametrize(
    ("predicted", "mass_at_zero", "doubted"),
    [(0.8, 0.0, True), (1.2816, 0.0, False), (0, 0.95, False)],
)
def test_a_quantile_is_checked_and_corrected(predicted, mass_at_zero, *, doubted):
    """A .9 quantile that 79 % stay below is shifted to .9; many zeros at a quantile of
    0 are right.
    """

    def drawn(seed: int) -> SetPrediction:
        generator = np.random.default_rng(seed)
        y = np.where(
            generator.random(2_000) < mass_at_zero, 0, generator.normal(size=2_000)
        )
        return SetPrediction(y, np.full(2_000, float(predicted)), np.arange(2_000))

    found = quantile_check(0.9, drawn(1), drawn(2))
    assert found.in_doubt is doubted
    if not mass_at_zero:
        assert found.shift == pytest.approx(1.2816 - predicted, abs=0.1)
        assert found.shifted.low <= 0.9 <= found.shifted.high
