"""Gates: bound or estimate, both directions, and the baseline beside them."""

import math

import numpy as np
import pytest

from experiment_pipeline.stages.validation_report.gates import Gate, MetricScore, hold
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of
from experiment_pipeline_tests.stages.validation_report.report_examples import report_of

NONE = Interval(0.0, 0.0, 0.0)


def _gate(metric: str, criterion: dict, interval: tuple, difference: Interval = NONE) -> Gate:
    spec = spec_of(metric=metric, acceptance=[{"metric": metric, **criterion}] if criterion else [])
    return hold(spec, [MetricScore(metric, Interval(*interval), 0.5, difference)])[0]


@pytest.mark.parametrize(
    ("criterion", "passed"),
    [
        ({"at_least": 0.60}, True),
        ({"at_least": 0.65}, True),
        ({"at_least": 0.66}, False),
        ({"at_least": 0.66, "judged_by": "estimate"}, True),
        ({"at_least": 0.75, "judged_by": "estimate"}, False),
    ],
)
def test_the_worse_bound_is_judged_unless_the_estimate_is_asked_for(criterion: dict, passed: bool):
    """A limit holds when the bound reaches it; the limit itself is enough."""
    assert _gate("roc_auc", criterion, (0.7, 0.65, 0.75)).passed is passed


def test_the_upper_bound_of_a_loss_is_judged() -> None:
    """For a loss the worse end is the upper one."""
    gate = _gate("log_loss", {"at_most": 0.5}, (0.45, 0.4, 0.52))
    assert (gate.rule, gate.value, gate.passed) == (
        "upper bound of log_loss at most 0.5",
        0.52,
        False,
    )
    assert gate.in_words() == "upper bound of log_loss at most 0.5: 0.5200, FAIL"


def test_the_paired_difference_must_beat_the_baseline_and_it_is_said() -> None:
    """No criteria is not no gate: rule, value and limit tell baseline and difference."""
    gate = _gate("roc_auc", {}, (0.6, 0.45, 0.75), Interval(0.1, 0.02, 0.18))
    assert (gate.passed, gate.value, gate.limit) == (True, pytest.approx(0.52), 0.5)
    assert gate.rule == (
        "better than the baseline: 0.5000 plus the lower bound of the paired difference in roc_auc, "
        "0.1000 (0.0200 to 0.1800), must beat 0.5000"
    )
    assert not _gate("roc_auc", {}, (0.6, 0.55, 0.65), Interval(0.1, -0.01, 0.2)).passed


def test_a_loss_must_be_below_the_baseline() -> None:
    """The difference of a loss is negative when the model is better."""
    interval = (0.4, 0.2, 0.6)
    assert _gate("log_loss", {}, interval, Interval(-0.1, -0.15, -0.05)).passed
    assert not _gate("log_loss", {}, interval, Interval(-0.1, -0.25, 0.05)).passed


UNDEFINED = (math.nan, math.nan, math.nan)


@pytest.mark.parametrize(
    ("metric", "criterion", "interval", "difference"),
    [
        ("roc_auc", {}, (0.5, 0.5, 0.5), NONE),
        ("log_loss", {}, (0.5, 0.5, 0.5), NONE),
        ("roc_auc", {"at_least": 0.1}, UNDEFINED, Interval(*UNDEFINED)),
        ("roc_auc", {}, UNDEFINED, Interval(*UNDEFINED)),
        ("log_loss", {"at_most": 9}, (0.1, 0.0, math.inf), NONE),
    ],
)
def test_what_shows_nothing_passes_nothing(metric, criterion, interval, difference) -> None:
    """The baseline itself, an undefined score, and an unbounded interval are not good enough."""
    assert not _gate(metric, criterion, interval, difference).passed


def test_every_criterion_is_a_gate_in_the_order_of_the_yaml() -> None:
    """All criteria are held, not only the first that fails."""
    criteria = [{"metric": "brier", "at_most": 0.1}, {"metric": "roc_auc", "at_least": 0.9}]
    scores = [MetricScore(m, Interval(0.5, 0.4, 0.6), 0.5, NONE) for m in ("roc_auc", "brier")]
    rules = [gate.rule.partition(":")[0] for gate in hold(spec_of(acceptance=criteria), scores)]
    limits = ["upper bound of brier at most 0.1", "lower bound of roc_auc at least 0.9"]
    assert rules == [*limits, "better than the baseline"]
    alone = hold(spec_of(acceptance=criteria, baseline="off"), scores)
    assert [gate.rule for gate in alone] == limits


def test_criteria_that_noise_meets_do_not_replace_the_baseline() -> None:
    """With 5 % positives a constant has an accuracy above 0.9: accepted only where the YAML says so."""
    criteria = [{"metric": "accuracy", "at_least": 0.9}, {"metric": "log_loss", "at_most": 0.3}]
    accepted = {"on": 0, "off": 0}
    for seed in range(10):
        generator = np.random.default_rng(seed)
        y = (generator.random(1_000) < 0.05).astype(int)
        seen = SetPrediction(y, generator.uniform(0.04, 0.06, 1_000), np.arange(1_000))
        for word in accepted:
            spec = spec_of(acceptance=criteria, baseline=word)
            report = report_of(spec, seen, seen)
            accepted[word] += report.accepted
            assert any("baseline: off" in one for one in report.conditions) == (word == "off")
    assert accepted["on"] <= 1
    assert accepted["off"] == 10
