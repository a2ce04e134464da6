"""The evidence that a score has fallen: of independent days, and of days that resemble
their neighbours.
"""

from dataclasses import replace

import numpy as np
import pytest

from experiment_pipeline.statistics.promise import ENOUGH, Days, Fall, evidence
from experiment_pipeline_tests.bench.statistics_promise import Source

SERIES, ROWS = 40, 100


def fall(source: Source, days: int, drop: float = 0.0) -> Fall:
    """The evidence of series whose day effects are those of a source, in standard
    deviations of a row; the last 30 days are less by `drop`.
    """
    rng = np.random.default_rng(5)
    levels = rng.normal(size=(SERIES, days)) / np.sqrt(ROWS)
    effects = [source.effects(days, rng) for _ in range(SERIES)]
    levels += source.day * np.array(effects)
    levels[:, -30:] -= drop
    return evidence(Days(levels, np.full((SERIES, days), ROWS), 1_000.0))


@pytest.mark.parametrize("days", [1, 2, 3, 5, 10])
def test_a_few_days_are_no_evidence(days: int):
    """There is nothing to tell memory from."""
    assert (fall(Source("rmse"), days).total < ENOUGH).all()


def test_independent_days_count_in_full():
    """A drop is seen soon."""
    calm, dropped = fall(Source("rmse"), 230), fall(Source("rmse"), 230, drop=0.16)
    assert np.median(calm.independent) > 0.4 * 230
    assert (calm.total < ENOUGH).all()
    assert np.mean(dropped.total >= ENOUGH) > 0.9
    assert abs(np.median(dropped.start) - 200) <= 5


@pytest.mark.parametrize(
    "source",
    [
        Source("rmse", day=0.1, memory=0.8),
        Source("rmse", day=0.2, memory=0.8),
        Source("rmse", day=0.1, long=0.35),
    ],
)
def test_days_that_resemble_their_neighbours_count_for_less(source: Source):
    """A wave beside the noise of rows is no drop, also if it lasts for weeks."""
    found = fall(source, 230)
    assert np.median(found.independent) < 230 / 3
    assert np.mean(found.total >= ENOUGH) <= 0.05


@pytest.mark.parametrize(("drop", "day"), [(0.5, 20), (0.3, 30)])
def test_a_large_drop_from_the_first_day_is_seen_in_weeks(drop: float, day: int):
    """A drop of several times the spread of days is evidence, although so few days
    cannot rule out memory.
    """
    rng = np.random.default_rng(5)
    levels = rng.normal(size=(SERIES, day)) / np.sqrt(ROWS)
    fallen = Days(levels - drop, np.full((SERIES, day), ROWS), 1_000.0)
    assert np.mean(evidence(fallen).total >= ENOUGH) >= 0.9
    as_promised = replace(fallen, levels=levels)
    assert (evidence(as_promised).total < ENOUGH).all()
