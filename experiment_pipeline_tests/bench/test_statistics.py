"""The part of the benchmark that simulates: each simulation runs, and few tables hold
what many are to.
"""

import numpy as np
import pytest
from scipy.stats import binom

from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.bench import (
    statistics,
    statistics_coverage,
    statistics_groups,
    statistics_leaks,
    statistics_sets,
)
from experiment_pipeline_tests.bench.leak_tables import MADE, REAL
from experiment_pipeline_tests.bench.sections import markdown
from experiment_pipeline_tests.bench.simulations import (
    COLUMNS,
    SEED,
    Aim,
    Row,
    Simulation,
)

SOME = [
    simulation
    for text, simulations in statistics.BLOCKS.items()
    if not text.startswith(("Leaks", "Real tables"))
    for simulation in simulations[::9]
]


@pytest.mark.slow
@pytest.mark.parametrize("simulation", SOME, ids=lambda simulation: simulation.name)
def test_a_few_simulations_are_where_many_should_be(
    simulation: Simulation, monkeypatch
):
    """So far off that it has a chance of one in ten thousand is none of them."""
    monkeypatch.setattr(statistics_coverage, "POPULATION", 100_000)
    monkeypatch.setattr(statistics_groups, "POPULATION", 100_000)
    monkeypatch.setattr(statistics_sets, "TRUE_ROWS", 20_000)
    for row in simulation.rows(max(simulation.tables // 100, 4)):
        assert np.isfinite(row.figure)
        if row.aim is not None:
            held = round(min(row.figure, 1) * row.simulations)
            assert binom.cdf(held, row.simulations, row.aim.low) > 1e-4, row
            assert binom.sf(held - 1, row.simulations, min(row.aim.high, 1)) > 1e-4, row


def test_rows_say_whether_they_hold_and_stay_in_order(monkeypatch):
    """Simulations run in processes; each row stays where its block puts it."""
    given = (
        (Aim(0.93, 0.97), 0.941),
        (Aim(high=0.025), 0.03),
        (Aim(low=0.9), 0.9),
        (None, 0.5),
    )
    assert [Row("x", figure, aim, 1_500).cells() for aim, figure in given] == [
        ["x", "**94.1 %**", "93 to 97 %", "1,500", "yes"],
        ["x", "**3.0 %**", "≤ 2.5 %", "1,500", "no"],
        ["x", "**90.0 %**", "≥ 90 %", "1,500", "yes"],
        ["x", "**50.0 %**", "", "1,500", ""],
    ]
    aims = {"of": None, "": (0.5, 1)}
    shares = Simulation("x: ", lambda n, seed: {"of it": n, "a": 0.4}, 3, aims, {})
    counted = Simulation("y", lambda n, seed: [True] * n + [False], 4, {"": None}, {})
    monkeypatch.setattr(statistics, "BLOCKS", {"a": [shares, counted], "b": [shares]})
    both = [Row("x: of it", 3, None, 3), Row("x: a", 0.4, Aim(low=0.5), 3)]
    rows = {"a": [*both, Row("y", 0.8, None, 5)], "b": both}
    shown = [f"{text}\n\n{markdown(COLUMNS, block)}" for text, block in rows.items()]
    assert statistics.section() == "\n\n".join(shown)


def test_coverage_counts_the_samples_whose_interval_holds_the_truth(monkeypatch):
    """A model that is right in every second sample covers half the time."""

    def draw(generator: np.random.Generator, clusters: int) -> SetPrediction:
        good = clusters > 1_000 or generator.random() < 0.5
        y = generator.normal(size=clusters)
        return SetPrediction(y, y + (1.0 if good else 0.1), np.arange(clusters))

    monkeypatch.setattr(statistics_coverage, "DRAWS", {"half": lambda: draw})
    monkeypatch.setattr(statistics_coverage, "METRICS", {"one": ("mae",)})
    asked = {"metrics": "one", "clusters": 50, "draw": "half"}
    found = statistics_coverage.coverage(60, SEED, **asked)
    held = found.pop("without a note, lowest (mae)")
    assert found["mae"] == pytest.approx(0.5, abs=0.2)
    assert found["a note"] == 0
    assert (len(held), np.mean(held)) == (60, found["mae"])


@pytest.mark.slow
def test_leaks_are_named_and_clean_tables_are_not_accused(monkeypatch):
    """The first of a catalogue that is large enough."""
    assert len(statistics_leaks.PLANTED) >= 26
    assert len(MADE) + len(REAL) >= 40
    monkeypatch.setattr(statistics_leaks, "RELATED", statistics_leaks.RELATED[:1])
    assert statistics_leaks.planted(1, SEED) == [True]
    assert statistics_leaks.related(1, SEED) == [True]
    found = statistics_leaks.clean(2, SEED)
    assert not any(any(accusations) for accusations in found.values())
    assert all(statistics_leaks.of_one_class(1, SEED, share=10, part=75))
    for column in ("a number of AUC .95", "a count"):
        assert not any(statistics_leaks.honest_predictor(1, SEED, column=column))
