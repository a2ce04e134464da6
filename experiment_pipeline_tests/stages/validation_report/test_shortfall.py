"""Why no configuration is good enough, in order of certainty; rungs tell whether more rows help."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.conclusions import TRAINED, Fitted
from experiment_pipeline.stages.validation_report.effects import Segment
from experiment_pipeline.stages.validation_report.shortfall import (
    Evidence,
    LearningCurve,
    evidence,
    reasons,
)
from experiment_pipeline.statistics.caveats import fewest_clusters, perfect_bound
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import better
from experiment_pipeline.statistics.scores import SetPrediction, score
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.stages.leaderboard.board_examples import Search, search_of, spec_of
from experiment_pipeline_tests.stages.search.halving_scenario import experiment, rows, run
from experiment_pipeline_tests.stages.search.scenario import one
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    TOO_HIGH,
    TWO_FAMILIES,
    report_of,
    seen_through,
)

TREES = one(
    "lightgbm",
    n_estimators=60,
    early_stopping_round=0,
    num_leaves=[15, 31],
    learning_rate=[0.1, 0.15, 0.2, 0.25],
)
LINES = one("linear", C=[0.001 * 2**power for power in range(8)])
ROWS = rows(6_000)
HALVING = {"fractions": [0.2, 1.0], "keep": 0.5, "fewest_rows": 500}


def curve(spec: ExperimentSpec, **changes) -> tuple[LearningCurve | None, dict[str, np.ndarray]]:
    """The curve of a search that was run, and key → predictions of the test rows."""
    frame = changes.get("frame", ROWS)
    sets = scenario.to_train_on(frame[:3_000], frame[3_000:], spec)
    ran = run(spec, sets)
    fitted = [event.model for event in ran.events if isinstance(event, Fitted)]
    stored = {model.result.fingerprint: model.predictions.test for model in fitted}
    trained = {key for key, found in ran.conclusions.items() if found.status == TRAINED}
    ends = {m.key: m.predictions.test for m in fitted if m.key in trained}
    ranked = pd.DataFrame({"key": sorted(trained), "rank": 1})
    board, known = SimpleNamespace(rows=ranked), lambda prints: stored.keys() & set(prints)
    found = evidence(spec, sets, board, None, lambda prints: {p: stored[p] for p in known(prints)})
    return found.learning_curve, ends


def test_flexible_models_of_few_rows_still_gain() -> None:
    """Trees on a fifth of the rows are surely worse; the end is the mean score of who went on."""
    spec = experiment(searched=[TREES], halving=HALVING)
    found, ends = curve(spec)
    assert (found.rows_before, found.rows, found.configurations) == (599, 3_000, 5)
    y = (ROWS["late"][3_000:] == "yes").to_numpy().astype(int)
    assert found.after == pytest.approx(np.mean([score("roc_auc", y, p) for p in ends.values()]))
    assert found.gain.estimate == pytest.approx(found.after - found.before)
    assert found.gain.low > 0


def test_stiff_models_of_many_rows_gain_nothing() -> None:
    """Lines know all they can from a fifth of the rows."""
    found, _ = curve(experiment(searched=[LINES], halving=HALVING))
    assert found.gain.low < 0


def test_without_a_small_rung_there_is_no_curve() -> None:
    """No halving, too few configurations, or rungs of more than half of the rows."""
    large = {**HALVING, "fractions": [0.7, 1.0]}
    for changes in ({"halving": "off"}, {"halving": large}, {"searched": [one("linear")]}):
        found, _ = curve(experiment(**{"searched": [LINES], **changes}))
        assert found is None


def test_a_metric_with_a_threshold_is_scored_at_each_fits_best() -> None:
    """f1 of a rare class is none at 0.5; its curve is told all the same."""
    frame = ROWS
    signal = frame["age"] + frame["size"] ** 2
    rare = frame.assign(late=np.where(signal > np.quantile(signal, 0.93), "yes", "no"))
    found, _ = curve(experiment(searched=[LINES], halving=HALVING, metric="f1"), frame=rare)
    assert found.before > 0.1


def _codes(search: Search, report, evidence: Evidence | None = None) -> list[str]:
    found = reasons(search.spec, search.rank(), report, evidence or Evidence())
    return [reason.code for reason in found]


def test_an_accepted_model_needs_no_reasons() -> None:
    """Nothing is wrong when every gate passed."""
    assert _codes(search_of(spec_of(), [1] * 4), report_of()) == []


def test_nothing_learnt_comes_before_everything_else() -> None:
    """When nothing beats the baseline no search is to blame."""
    spec = spec_of(acceptance=TOO_HIGH)
    codes = _codes(search_of(spec, [80] * 4), report_of(spec))
    assert codes[0] == "nothing_learnt"


def test_a_ceiling_of_the_labels_below_the_limit_is_said() -> None:
    """Conflicting labels make the limit unreachable; a higher ceiling does not."""
    spec = spec_of(acceptance=TOO_HIGH)
    search, report = search_of(spec, [1] * 4), report_of(spec)
    assert "label_ceiling" in _codes(search, report, Evidence(ceiling=0.9))
    assert "label_ceiling" not in _codes(search, report, Evidence(ceiling=0.99))


def test_an_estimate_above_the_limit_asks_for_validation_rows() -> None:
    """Only the bound failed: the reason says how many rows it would take."""
    report = report_of()
    limit = report.score("roc_auc").interval.estimate - 0.005
    spec = spec_of(acceptance=[{"metric": "roc_auc", "at_least": limit}])
    search = search_of(spec, [1] * 4)
    found = reasons(spec, search.rank(), report_of(spec), Evidence())
    (reason,) = [r for r in found if r.code == "too_few_validation_rows"]
    half = report.score("roc_auc").interval.estimate - report.score("roc_auc").interval.low
    assert f"about {int((half / 0.005) ** 2) + 1} times as many" in reason.advice


@pytest.mark.parametrize(("rows", "reason"), [(36, True), (4_000, False)])
def test_too_few_rows_for_even_a_perfect_score_are_a_reason(rows: int, reason: bool) -> None:
    """36 validation rows cannot show an accuracy of 0.999; the number that could is named."""
    spec = spec_of(metric="accuracy", acceptance=[{"metric": "accuracy", "at_least": 0.999}])
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, rows)
    good = SetPrediction(y, np.where(generator.random(rows) < 0.9, y, 1 - y) / 1, np.arange(rows))
    found = reasons(spec, search_of(spec, [1] * 4).rank(), report_of(spec, good), Evidence())
    said = [one.evidence for one in found if one.code == "too_few_validation_rows"]
    assert bool(said) is reason
    if reason:
        assert said[0].startswith("Of 36 validation rows 36 clusters (row) count for accuracy")
        needed = fewest_clusters("accuracy", 0.999)
        assert needed == pytest.approx(1.96**2 * 999, rel=0.01)
        assert said[0].endswith(f"it cannot reach 0.9990 with fewer than {needed:,}.")


def test_an_undefined_score_has_no_sample_size() -> None:
    """A validation set of one class has no AUC, whatever its number of rows."""
    rows = seen_through(1, seed=1)
    spec = spec_of(acceptance=[{"metric": "roc_auc", "at_least": 0.9}])
    report = report_of(spec, rows.rows(rows.y == 0))
    assert "too_few_validation_rows" not in _codes(search_of(spec, [1] * 4), report)


def test_the_fewest_clusters_are_those_of_the_interval() -> None:
    """At that number a perfect score just reaches the limit; one cluster less, and it does not."""
    for metric, limit in (("accuracy", 0.9), ("roc_auc", 0.99), ("brier", 0.05)):
        least = fewest_clusters(metric, limit)
        assert least is not None
        bounds = [perfect_bound(metric, clusters) for clusters in (least - 1, least)]
        assert [better(metric, limit, bound) for bound in bounds] == [True, False]
    assert fewest_clusters("accuracy", 1.0) is None
    assert fewest_clusters("rmse", 0.1) == 1


def test_of_a_rare_class_its_clusters_count() -> None:
    """1,000 rows with 20 positives know an AUC from 20."""
    spec = spec_of(acceptance=[{"metric": "roc_auc", "at_least": 0.9}])
    y = (np.arange(1_000) < 20).astype(int)
    weak = SetPrediction(y, np.random.default_rng(0).random(1_000), np.arange(1_000))
    found = reasons(spec, search_of(spec, [1] * 4).rank(), report_of(spec, weak), Evidence())
    (said,) = [one.evidence for one in found if one.code == "too_few_validation_rows"]
    assert said.startswith("Of 1,000 validation rows 20 clusters (row) count for roc_auc")


def test_drift_underfit_and_overfit_are_told_apart() -> None:
    """Each is seen in the numbers it is about."""
    spec = spec_of(acceptance=TOO_HIGH)
    drifted = report_of(spec, exported=seen_through(3, seed=2), test=seen_through(0.3, seed=1))
    assert "drift" in _codes(search_of(spec, [1] * 4), drifted)
    under = _codes(search_of(spec, [1] * 4, train_score=0.72), report_of(spec))
    over = _codes(search_of(spec, [1] * 4, train_score=1.0), report_of(spec))
    assert "underfit" in under
    assert "overfit" not in under
    assert "overfit" in over
    assert "underfit" not in over


def test_a_train_score_of_few_rows_is_no_overfit_by_chance() -> None:
    """Of a hundred test rows for each of its own, it may lie ten times as far from the test score."""
    spec = spec_of(acceptance=TOO_HIGH)
    score = search_of(spec, [1] * 4).rank().score
    high = search_of(spec, [1] * 4, train_score=score.estimate + 1.5 * (score.high - score.low))
    assert "overfit" in _codes(high, report_of(spec), Evidence(train_rows=10.0))
    assert "overfit" not in _codes(high, report_of(spec), Evidence(train_rows=0.01))


def test_a_clearly_weak_segment_is_a_reason() -> None:
    """The part of the rows where the model fails is named."""
    weak = Segment("origin", "EWR", 400, Interval(0.5, 0.4, 0.6), clearly_worse=True)
    spec = spec_of(acceptance=TOO_HIGH)
    report = report_of(spec, segments=[weak])
    assert "weak_segment" in _codes(search_of(spec, [1] * 4), report)


def test_a_learning_curve_that_still_rises_asks_for_train_rows() -> None:
    """More rows are advised only when the last step surely helped."""
    spec = spec_of(acceptance=TOO_HIGH)
    search, report = search_of(spec, [1] * 4), report_of(spec)

    def curve(*gain: float) -> Evidence:
        found = LearningCurve(1_000, 4_000, 0.6, 0.6 + gain[0], Interval(*gain), 5)
        return Evidence(learning_curve=found)

    assert "few_train_rows" in _codes(search, report, curve(0.04, 0.01, 0.07))
    assert "few_train_rows" not in _codes(search, report, curve(0.04, -0.01, 0.09))
    assert "few_train_rows" not in _codes(search, report)
    lower = spec_of(metric="log_loss", acceptance=[{"metric": "log_loss", "at_most": 0.01}])
    losses = (search_of(lower, [1] * 4), report_of(lower))
    assert "few_train_rows" in _codes(*losses, curve(-0.04, -0.07, -0.01))
    assert "few_train_rows" not in _codes(*losses, curve(0.04, 0.01, 0.07))


def test_families_that_agree_blame_the_features_and_one_family_is_not_enough() -> None:
    """Different algorithms with the same score share their limit; one alone proves nothing."""
    two = spec_of(search=TWO_FAMILIES, acceptance=TOO_HIGH)
    assert "families_agree" in _codes(search_of(two, [1] * 5), report_of(two))
    one = spec_of(acceptance=TOO_HIGH)
    assert "one_family" in _codes(search_of(one, [1] * 4), report_of(one))
