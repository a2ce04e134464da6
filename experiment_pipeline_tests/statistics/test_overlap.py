"""Scores of folds vary by more than their rows show."""

import math

import numpy as np
import pytest

from experiment_pipeline.statistics.scores import layout, linearise
from experiment_pipeline.statistics.spread import spread_of, variance_factor, widened


@pytest.mark.parametrize(("folds", "repeats", "factor"), [(5, 1, 2.25), (5, 3, 1.25 + 1 / 3)])
def test_the_factor_is_nadeau_and_bengios(folds: int, repeats: int, factor: float) -> None:
    """(1/J + predicted/fitted) · S² over the S²/K that the rows of one repeat show."""
    several = folds * repeats
    found = variance_factor([400] * several, [100] * several, repeats)
    assert found == pytest.approx(factor)
    by_folds = (1 / several + 100 / 400) / (1 / folds)
    assert found == pytest.approx(by_folds)


def test_a_widened_score_is_the_same_score_less_surely() -> None:
    """The standard error grows by the root of the factor."""
    rng = np.random.default_rng(0)
    y, prediction = rng.integers(0, 2, 200), rng.random(200)
    plain = linearise("log_loss", y, prediction)
    drawn = layout("log_loss", y, np.arange(200))
    once, wider = spread_of(plain, drawn), spread_of(widened(plain, 2.25), drawn)
    assert wider.estimate == once.estimate
    assert math.isclose(wider.standard_error, 1.5 * once.standard_error)
