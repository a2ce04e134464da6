"""The simulations of the choice, small and seeded: what they find holds the rules."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from experiment_pipeline.statistics.scores import score
from experiment_pipeline_tests.bench import statistics_choice as simulated


@pytest.mark.parametrize("kind", simulated.SCORES)
def test_a_search_that_ends_by_its_worth_loses_less_than_is_asked(kind: str) -> None:
    """On average, in the next minute; and it ends in time."""
    found = simulated.stopped_search(20, 6, kind=kind)
    assert found.gained < 1.2
    assert found.fits < 5


@pytest.mark.parametrize(("metric", "share"), [("accuracy", 0.5), ("f1", 0.05)])
def test_coin_flips_rarely_pass_the_default_gate(metric: str, share: float) -> None:
    """At most 2.5 % of models without knowledge pass; 5 of 100 are beyond chance."""
    found = simulated.gate_error_of_coin_flips(100, 0, metric=metric, share=share)
    assert found <= 0.05


@pytest.mark.parametrize("metric", ["log_loss", "mae", "mape"])
def test_the_best_constant_never_passes_the_default_gate(metric: str) -> None:
    """A refit that has learnt one value is what predicting without features is."""
    assert simulated.gate_error_of_constants(40, 1, metric=metric) == 0


def test_many_attempts_on_the_same_rows_do_not_pass_the_default_gate() -> None:
    """Of 20 models that know nothing one passed in 40 % of the tables; now in 4 %."""
    assert simulated.gate_error_of_looks(15, 4, looks=20, rows=200) <= 0.2


def test_many_small_losses_do_not_add_up() -> None:
    """30 challengers, each 0.005 worse, took an AUC of 0.8 to 0.67; with the best so far to 0.75."""
    assert simulated.auc_after_challengers(3, 5) >= 0.72


def test_small_but_real_signal_passes_the_default_gate() -> None:
    """5 % of the variance on 1,000 rows is seen in nearly all tables."""
    assert simulated.power_at_r2(60, 2) >= 0.88


def test_noise_hardly_ever_beats_the_baseline_as_the_best_of_many() -> None:
    """The winner of 20 that know nothing is not said to be better than a constant."""
    assert simulated.winner_error_of_noise(3, 3) == 0


def test_the_best_of_many_is_compared_honestly() -> None:
    """The tie group holds the truly best, all differences are covered, and optimism is honest."""
    found = simulated.best_of_many(25, 4, count=10, equal=4, rows=300)
    assert found.tie_group >= 0.88
    assert found.coverage >= 0.88
    assert found.tied < 0.9
    assert found.optimism == pytest.approx(found.flattery, rel=0.6)


@pytest.mark.parametrize("metric", ["f1", "accuracy"])
def test_a_gap_at_a_threshold_is_rarely_false(metric: str) -> None:
    """The luck of the threshold is no loss on validation."""
    assert simulated.gap_error(80, 5, metric=metric, rows=1_000) <= 0.0625


@pytest.mark.slow
def test_a_gap_of_few_positives_is_rarely_false_and_a_true_one_is_found() -> None:
    """25 positives: false in about 2.6 % of tables; 9 of 150 are beyond chance."""
    assert simulated.gap_error(150, 7, rows=500) <= 0.054
    assert simulated.gap_error(40, 9, lost=0.9) >= 0.8


@pytest.mark.parametrize("memory", [0, 0.5])
def test_the_tie_group_holds_the_best_when_days_resemble_their_neighbours(memory: float) -> None:
    """Among 20 equals over 60 days at most 5 % are lost; 11 of 100 are beyond chance."""
    assert simulated.best_of_days(100, 10, memory=memory) >= 0.89


def test_the_interval_of_the_choice_holds_the_truth_on_few_rows() -> None:
    """The best of 20 by f1 on 150 rows: chance selects it, and its threshold is its own."""
    with threadpool_limits(1):
        found = simulated.chosen_score(25, 11, ensemble="off")
    assert found.covered >= 0.84
    assert 0 < found.flattery < 0.1


def test_the_truth_of_the_simulation_is_that_of_its_rows() -> None:
    """More noise is truly worse, and a large sample scores what is taken for the truth."""
    y, probabilities = simulated.correlated(np.random.default_rng(6), 50_000, np.array([0.6, 2]))
    truth = [simulated.true_brier(noise) for noise in (0.6, 2)]
    assert truth[0] < truth[1]
    assert score("brier", y, probabilities[:, 1]) == pytest.approx(truth[1], abs=0.003)


def test_perfect_probabilities_and_costs_of_few_positives_are_simulated() -> None:
    """About 5 % of perfect models are accused, and costs are covered in about 95 %."""
    assert simulated.perfect_and_accused(40, 1) <= 0.15
    assert simulated.coverage_of_costs(60, 1) >= 0.85
