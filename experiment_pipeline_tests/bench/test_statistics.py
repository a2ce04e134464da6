"""The part of the benchmark that simulates: its shares, its aims and its tables."""

import pickle
from functools import partial

import numpy as np
import pytest

from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.bench import (
    statistics_choice,
    statistics_coverage,
    statistics_folds,
    statistics_groups,
)
from experiment_pipeline_tests.bench import statistics_leaks as leaks
from experiment_pipeline_tests.bench.statistics import (
    BLOCKS,
    FOLDS,
    GATES,
    INTERVALS,
    MEMBERSHIP,
    PROMISE,
    SEED,
    Aim,
    Block,
    Row,
    best_of_many,
    clean,
    coverage,
    grouped,
    planted,
    section,
    share,
)
from experiment_pipeline_tests.bench.statistics_coverage import SCENARIOS, Scenario, cover


def _half(simulations: int, seed: int, offset: float = 0.0) -> float:
    return simulations / 200 + seed * offset


def test_a_row_says_whether_its_figure_is_where_it_should_be() -> None:
    """Inside the aim, outside, and where nothing is aimed at."""
    inside = Row("x", 0.941, Aim(0.93, 0.97), 1_500)
    assert inside.row() == "| x | **94.1 %** | 93 to 97 % | 1,500 | yes |"
    assert Row("x", 0.98, Aim(0.93, 0.97), 10).holds == "no"
    assert Row("x", 0.5, None, 10).row() == "| x | **50.0 %** |  | 10 |  |"


def test_an_aim_with_one_end_is_a_limit() -> None:
    """At most and at least."""
    assert Aim(high=0.025).in_words() == "≤ 2.5 %"
    assert Aim(low=0.9).in_words() == "≥ 90 %"


def test_a_simulation_of_one_share_is_one_row() -> None:
    """It gets the number, the seed and its arguments."""
    assert share("x", None, 100, _half, offset=0.25) == [Row("x", 0.5 + 0.25 * SEED, None, 100)]


def test_the_tables_come_in_order() -> None:
    """Jobs run in processes; rows stay where their block puts them."""
    jobs = tuple(partial(share, f"job {number}", None, number, _half) for number in range(3))
    text = section([Block("first", jobs), Block("second", jobs[:1])])
    lines = [line[:7] for line in text.splitlines() if "job" in line]
    assert lines == ["| job 0", "| job 1", "| job 2", "| job 0"]
    assert text.startswith("first\n\n| simulated |")


def test_every_scenario_is_simulated() -> None:
    """None is written down and left out."""
    places = [job.args[0] for job in BLOCKS[0].jobs]
    assert places == list(range(len(SCENARIOS)))


def test_coverage_counts_the_samples_whose_interval_holds_the_truth() -> None:
    """A model that is right in every second sample covers half the time."""

    def draw(generator: np.random.Generator, clusters: int) -> SetPrediction:
        good = clusters > 1_000 or generator.random() < 0.5
        y = generator.normal(size=clusters)
        return SetPrediction(y, y + (1.0 if good else 0.1), np.arange(clusters))

    outcome = cover(Scenario("x", ("mae",), 50, 1, draw), samples=60, seed=1)
    assert outcome.held == {"mae": pytest.approx(0.5, abs=0.2)}
    assert outcome.noted == 0


def test_a_scenario_has_a_row_per_metric_and_one_for_its_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its samples are few here; its intervals hold nonetheless in most of them."""
    monkeypatch.setattr(statistics_coverage, "POPULATION", 100_000)
    rows = coverage(0, 40)
    *held, noted, without = rows
    assert [row.name.split(": ")[1] for row in held] == [*SCENARIOS[0].metrics]
    assert all(row.figure >= 0.8 for row in held)
    assert (noted.name.split(": ")[1], noted.target) == ("a note", Aim(high=0.05))
    assert without.name.split(": ")[1].startswith("without a note, lowest (")
    assert without.figure == min(row.figure for row in held)


@pytest.mark.slow
@pytest.mark.parametrize(
    "job", [*MEMBERSHIP, *FOLDS, *GATES, *INTERVALS], ids=lambda job: job.args[0]
)
def test_every_simulation_runs_and_is_named_once(
    job: partial[list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tables of each are enough to see that its arguments fit, in another process too."""
    monkeypatch.setattr(statistics_folds, "MODELS", 2)
    name, target, _, simulate = job.args
    small = pickle.loads(pickle.dumps(partial(share, name, target, 2, simulate, **job.keywords)))
    (row,) = small()
    assert (row.name, row.target, row.simulations) == (name, target, 2)
    assert 0 <= row.figure <= 1


def test_a_year_without_change_is_quiet_and_a_drop_is_seen() -> None:
    """Few years are enough to see that; every kind of year can be simulated."""
    quiet, drop = PROMISE[0], PROMISE[-4]
    assert drop.args[3](8, SEED, **drop.keywords) > 0.5
    assert quiet.args[3](8, SEED, **quiet.keywords) < 0.5
    for one in PROMISE:
        assert 0 <= one.args[3](1, SEED, **one.keywords | {"drop": 3, "within": 2}) <= 1


def test_no_two_rows_have_one_name() -> None:
    """A figure can be told by its name."""
    names = [job.args[0] for job in (*MEMBERSHIP, *FOLDS, *GATES, *INTERVALS, *PROMISE)]
    assert len(set(names)) == len(names)


def test_optimism_is_shown_as_part_of_the_true_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said to be flattered by 3 and is by 2 is said half as much again."""
    found = statistics_choice.BestOfMany(0.9, 0.96, 0.5, 2.0, 3.0)
    monkeypatch.setattr(statistics_choice, "best_of_many", lambda tables, seed: found)
    assert [(row.figure, row.holds) for row in best_of_many(10)] == [
        (0.9, "no"),
        (0.96, "yes"),
        (0.5, ""),
        (1.5, "no"),
    ]


def test_a_table_with_any_alarm_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question counts as much as a stop, and stops are counted besides."""
    said = [
        leaks.Judged("a", (), (), ()),
        leaks.Judged("b", (), ("leak_suspect",), ("x",)),
        leaks.Judged("c", ("made_of_target",), (), ("x",)),
        leaks.Judged("d", (), (), ()),
    ]
    monkeypatch.setattr(leaks, "hits", lambda seed: said)
    monkeypatch.setattr(leaks, "false_alarms", lambda seed: said)
    figures = [(row.figure, row.simulations, row.holds) for row in (*planted(), *clean())]
    assert figures == [(0.5, 4, "no"), (0.5, 4, "no"), (0.25, 4, "no")]


def test_intervals_of_folds_are_held_against_the_mean_of_such_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What models share makes them miss it more often, where nothing is corrected."""
    monkeypatch.setattr(statistics_folds, "MODELS", 30)
    statistics_folds._truth.cache_clear()
    asked = {"metric": "rmse", "learn": statistics_folds.tree_of_numbers}
    corrected = statistics_folds.coverage(40, 1, **asked)
    taken_at_its_word = statistics_folds.coverage(40, 1, **asked, corrected=False)
    statistics_folds._truth.cache_clear()
    assert corrected >= 0.85
    assert taken_at_its_word < corrected


def test_groups_are_held_against_the_population(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals hold the truth in most samples, equal groups are hardly accused, others are found."""
    monkeypatch.setattr(statistics_groups, "POPULATION", 100_000)
    rates, errors, equal, different = grouped(20, 2, "persons")
    statistics_groups._truth.cache_clear()
    assert min(rates.figure, errors.figure, different.figure) >= 0.75
    assert equal.figure <= 0.25
