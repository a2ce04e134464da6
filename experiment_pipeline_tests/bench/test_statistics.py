"""The part of the benchmark that simulates: each simulation runs, and few tables hold
what many are to.
"""

import pickle
from functools import partial

import numpy as np
import pytest
from scipy.stats import binom

from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.bench import (
    statistics_coverage,
    statistics_folds,
    statistics_groups,
    statistics_leaks,
    statistics_sets,
)
from experiment_pipeline_tests.bench.sections import table
from experiment_pipeline_tests.bench.statistics import BLOCKS, section
from experiment_pipeline_tests.bench.statistics_agents import SIMULATED_AGENTS
from experiment_pipeline_tests.bench.statistics_baseline import BASELINE
from experiment_pipeline_tests.bench.statistics_choice import CHOICE, GATES, LOOKS
from experiment_pipeline_tests.bench.statistics_intervals import NEW_ROWS_HELD
from experiment_pipeline_tests.bench.statistics_later import LATER
from experiment_pipeline_tests.bench.statistics_marks import MARKS
from experiment_pipeline_tests.bench.statistics_promise import PROMISE
from experiment_pipeline_tests.bench.statistics_rows import (
    COLUMNS,
    SEED,
    Aim,
    Job,
    Row,
    share,
)

# How many simulations of a job are a matter of a second.
FEW = {
    **dict.fromkeys(GATES[::2], 15) | dict.fromkeys(GATES[2:3], 5),
    **dict.fromkeys(BASELINE[::3], 20),
    **dict.fromkeys(LOOKS[::2], 2),
    **dict.fromkeys(CHOICE, 4),
    **dict.fromkeys(SIMULATED_AGENTS[:2], 2),
    **dict.fromkeys(statistics_sets.MEMBERSHIP, 3),
    **dict.fromkeys(statistics_folds.INTERVALS_OF_FOLDS[::3], 2),
    **dict.fromkeys(NEW_ROWS_HELD, 2),
    **dict.fromkeys(statistics_groups.GROUPS[:1], 2),
    **dict.fromkeys(PROMISE[::4], 1),
    **dict.fromkeys(LATER[::4], 8),
    **dict.fromkeys(MARKS[:-1], 6),
    # Not those of long memory near the end: they miss their aim, see results.md.
    **dict.fromkeys(statistics_coverage.COVERAGE[:-10:5], 12),
}


@pytest.mark.slow
@pytest.mark.parametrize(("job", "few"), FEW.items())
def test_a_few_simulations_are_where_many_should_be(job: Job, few: int, monkeypatch):
    """So far off that it has a chance of one in ten thousand is none of them; in a
    process of its own, too.
    """
    monkeypatch.setattr(statistics_folds, "MODELS", 10)
    monkeypatch.setattr(statistics_coverage, "POPULATION", 100_000)
    monkeypatch.setattr(statistics_groups, "POPULATION", 100_000)
    monkeypatch.setattr(statistics_sets, "TRUE_ROWS", 20_000)
    for row in pickle.loads(pickle.dumps(job))(simulations=few):
        assert np.isfinite(row.figure)
        if row.aim is not None:
            held = round(min(row.figure, 1) * row.simulations)
            assert binom.cdf(held, row.simulations, row.aim.low) > 1e-4, row
            assert binom.sf(held - 1, row.simulations, min(row.aim.high, 1)) > 1e-4, row


def test_rows_say_whether_they_hold_and_stay_in_order():
    """Jobs run in processes; each row stays where its block puts it, and has a name of
    its own.
    """
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
    jobs = [partial(share, f"job {n}", None, _half, simulations=n) for n in range(3)]
    rows = [Row(f"job {n}", n / 200 + SEED, None, n) for n in range(3)]
    shown = [
        f"{text}\n\n{table(COLUMNS, some)}"
        for text, some in (("a", rows), ("b", rows[:1]))
    ]
    assert section({"a": jobs, "b": jobs[:1]}) == "\n\n".join(shown)
    names = [
        job.args[0] for jobs in BLOCKS.values() for job in jobs if job.func is share
    ]
    assert len(set(names)) == len(names) > 80


def _half(simulations: int, seed: int) -> float:
    return simulations / 200 + seed


def test_coverage_counts_the_samples_whose_interval_holds_the_truth(monkeypatch):
    """A model that is right in every second sample covers half the time."""

    def draw(generator: np.random.Generator, clusters: int) -> SetPrediction:
        good = clusters > 1_000 or generator.random() < 0.5
        y = generator.normal(size=clusters)
        return SetPrediction(y, y + (1.0 if good else 0.1), np.arange(clusters))

    monkeypatch.setattr(
        statistics_coverage,
        "SCENARIOS",
        [statistics_coverage.Scenario("x", ("mae",), 50, draw)],
    )
    mae, note, without = statistics_coverage.coverage(0, simulations=60)
    assert (mae.name, mae.figure) == ("x: mae", pytest.approx(0.5, abs=0.2))
    assert (note.name, note.figure) == ("x: a note", 0)
    assert without == Row(
        "x: without a note, lowest (mae)", mae.figure, Aim(low=0.9), 60
    )


@pytest.mark.slow
def test_leaks_are_named_and_clean_tables_are_not_accused(monkeypatch):
    """The first of a catalogue that is large enough."""
    catalogue = [job.keywords["simulations"] for job in statistics_leaks.LEAKS]
    assert catalogue[0] >= 26
    assert catalogue[2] >= 40
    monkeypatch.setattr(statistics_leaks, "RELATED", statistics_leaks.RELATED[:1])
    monkeypatch.setattr(statistics_leaks, "OF_PARTS", ((0.1, 0.75, None),))
    planted, related, clean, columns, of_one_class, honest = (
        [row.figure for row in job(simulations=few)]
        for job, few in zip(statistics_leaks.LEAKS, (1, 1, 2, 3, 1, 1), strict=True)
    )
    assert planted == [1]
    assert related == [1]
    assert clean == [0, 0, 0]  # accused, of related rows, stopped
    assert columns == [0, 0]  # of revealing a class, of a formula
    assert of_one_class == [1]
    assert honest[:2] == [0, 0]  # numbers that predict strongly
