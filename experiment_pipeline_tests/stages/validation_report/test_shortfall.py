"""Why no configuration is good enough, in order of certainty."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline import run_experiment
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.stages.validation_report.shortfall import Evidence, LearningCurve, reasons
from experiment_pipeline.statistics.caveats import fewest_clusters, perfect_bound
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import better
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.stages.leaderboard.board_examples import Search, search_of, spec_of
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    TOO_HIGH,
    report_of,
    seen_through,
)

REFUSED = spec_of(acceptance=TOO_HIGH)
TWO_FAMILIES = [
    {"algorithm": "lightgbm", "hyperparameters": {"num_leaves": [4, 8, 16]}},
    {"algorithm": "linear", "hyperparameters": {"C": [0.1, 1.0]}},
]


def codes(search: Search, report: ValidationReport, **known: Any) -> list[str]:
    """The codes of the reasons, in order."""
    return [
        reason.code for reason in reasons(search.spec, search.rank(), report, Evidence(**known))
    ]


def too_few(spec: Any, predicted: SetPrediction | None = None) -> list[tuple[str, str]]:
    """What is said about too few validation rows: evidence and advice."""
    found = reasons(spec, search_of(spec, [1] * 4).rank(), report_of(spec, predicted), Evidence())
    return [(r.evidence, r.advice) for r in found if r.code == "too_few_validation_rows"]


def test_nothing_learnt_comes_before_everything_else() -> None:
    """When nothing beats the baseline no search is to blame."""
    assert codes(search_of(REFUSED, [80] * 4), report_of(REFUSED))[0] == "nothing_learnt"


def test_a_ceiling_of_the_labels_below_the_limit_is_a_reason() -> None:
    """Conflicting labels make the limit unreachable; a higher ceiling does not."""
    search, report = search_of(REFUSED, [1] * 4), report_of(REFUSED)
    assert "label_ceiling" in codes(search, report, ceiling=0.9)
    assert "label_ceiling" not in codes(search, report, ceiling=0.99)


def test_an_estimate_above_the_limit_asks_for_validation_rows() -> None:
    """Only the bound failed: the reason says how many rows it would take."""
    reached = report_of().score("roc_auc").interval
    limit = reached.estimate - 0.005
    ((_, advice),) = too_few(spec_of(acceptance=[{"metric": "roc_auc", "at_least": limit}]))
    half = reached.estimate - reached.low
    assert f"about {int((half / 0.005) ** 2) + 1} times as many" in advice
    assert advice.endswith("or write judged_by: estimate below this criterion.")


@pytest.mark.parametrize(("rows", "reason"), [(36, True), (4_000, False)])
def test_too_few_rows_for_even_a_perfect_score_are_a_reason(rows: int, reason: bool) -> None:
    """36 validation rows cannot show an accuracy of 0.999; the number that could is named."""
    spec = spec_of(metric="accuracy", acceptance=[{"metric": "accuracy", "at_least": 0.999}])
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, rows)
    good = SetPrediction(y, np.where(generator.random(rows) < 0.9, y, 1 - y) / 1, np.arange(rows))
    said = [evidence for evidence, _ in too_few(spec, good)]
    assert bool(said) is reason
    if reason:
        assert said[0].startswith("Of 36 validation rows 36 clusters (row) count for accuracy")
        needed = fewest_clusters("accuracy", 0.999)
        assert needed == pytest.approx(1.96**2 * 999, rel=0.01)
        assert said[0].endswith(f"it cannot reach 0.9990 with fewer than {needed:,}.")


def test_of_a_rare_class_its_clusters_count_and_an_undefined_score_has_no_sample_size() -> None:
    """1,000 rows with 20 positives know an AUC from 20; rows of one class have none."""
    spec = spec_of(acceptance=[{"metric": "roc_auc", "at_least": 0.9}])
    y = (np.arange(1_000) < 20).astype(int)
    weak = SetPrediction(y, np.random.default_rng(0).random(1_000), np.arange(1_000))
    ((said, _),) = too_few(spec, weak)
    assert said.startswith("Of 1,000 validation rows 20 clusters (row) count for roc_auc")
    rows = seen_through(1, seed=1)
    assert too_few(spec, rows.rows(rows.y == 0)) == []


def test_the_fewest_clusters_are_those_of_the_interval() -> None:
    """At that number a perfect score just reaches the limit; one cluster less, and it does not."""
    for metric, limit in (("accuracy", 0.9), ("roc_auc", 0.99), ("brier", 0.05)):
        least = fewest_clusters(metric, limit)
        assert least is not None
        bounds = [perfect_bound(metric, clusters) for clusters in (least - 1, least)]
        assert [better(metric, limit, bound) for bound in bounds] == [True, False]
    assert fewest_clusters("accuracy", 1.0) is None
    assert fewest_clusters("rmse", 0.1) == 1


def test_drift_underfit_and_overfit_are_told_apart() -> None:
    """Each is seen in the numbers it is about."""
    drifted = report_of(REFUSED, exported=seen_through(3, seed=2), test=seen_through(0.3, seed=1))
    assert "drift" in codes(search_of(REFUSED, [1] * 4), drifted)
    under = codes(search_of(REFUSED, [1] * 4, train_score=0.72), report_of(REFUSED))
    over = codes(search_of(REFUSED, [1] * 4, train_score=1.0), report_of(REFUSED))
    fits = {"underfit", "overfit"}
    assert (fits & set(under), fits & set(over)) == ({"underfit"}, {"overfit"})


def test_a_train_score_of_few_rows_is_no_overfit_by_chance() -> None:
    """Of a hundred test rows for each of its own, it may lie ten times as far from the test score."""
    score = search_of(REFUSED, [1] * 4).rank().score
    train = score.estimate + 1.5 * (score.high - score.low)
    high = search_of(REFUSED, [1] * 4, train_score=train)
    assert "overfit" in codes(high, report_of(REFUSED), train_rows=10.0)
    assert "overfit" not in codes(high, report_of(REFUSED), train_rows=0.01)


def test_a_learning_curve_that_still_rises_asks_for_train_rows() -> None:
    """More rows are advised only when the last step significantly helped."""
    search, report = search_of(REFUSED, [1] * 4), report_of(REFUSED)

    def curve(*gain: float) -> LearningCurve:
        return LearningCurve(1_000, 4_000, 0.6, 0.6 + gain[0], Interval(*gain), 5)

    assert "few_train_rows" in codes(search, report, curve=curve(0.04, 0.01, 0.07))
    assert "few_train_rows" not in codes(search, report, curve=curve(0.04, -0.01, 0.09))
    assert "few_train_rows" not in codes(search, report)


def test_flexible_models_of_few_rows_still_gain_and_a_line_does_not() -> None:
    """A refused search by halving knows what all train rows brought over its last small rung."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame(random.normal(size=(4_000, 3)), columns=list("abc"))
    wave = np.sin(3 * frame["a"]) + np.cos(3 * frame["b"])
    straight = frame["a"] + frame["c"]
    noise = random.normal(size=4_000)
    trees = {"num_leaves": [20, 25, 30, 35, 40, 45, 50, 55], "n_estimators": 40}
    lines = {"C": [0.1 * 2**power for power in range(8)]}
    found = {}
    for algorithm, values, y in (("lightgbm", trees, wave), ("linear", lines, straight)):
        run = run_experiment(
            frame.assign(late=np.where(y + noise > 0, "yes", "no")),
            "late",
            search=[{"algorithm": algorithm, "hyperparameters": values}],
            halving={"fractions": [0.2, 1.0], "keep": 0.5, "fewest_rows": 300},
            evaluation="test_set",
            acceptance=TOO_HIGH,
        )
        assert run.evaluation.next_search is not None
        found[algorithm] = {one.code: one for one in run.evaluation.next_search.reasons}
    assert "few_train_rows" not in found["linear"]
    rows = len(run.sets.train.rows)
    reason = found["lightgbm"]["few_train_rows"].evidence
    assert f"with {rows:,} on the same test rows" in reason
    assert "mean of 5 configurations" in reason


def test_families_that_agree_blame_the_features_and_one_family_is_not_enough() -> None:
    """Different algorithms with the same score share their limit; one alone proves nothing."""
    two = spec_of(search=TWO_FAMILIES, acceptance=TOO_HIGH)
    assert "families_agree" in codes(search_of(two, [1] * 5), report_of(two))
    assert "one_family" in codes(search_of(REFUSED, [1] * 4), report_of(REFUSED))
