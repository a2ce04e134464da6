import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.stages.data_analysis.findings import probe as probing
from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    VALIDATION,
    numeric,
    subject,
    table,
)


def _folds(frame: pd.DataFrame, **changes):
    examined = subject(frame, **changes)
    return examined.target.rows, examined.cross_fit(examined.target.rows, 5).folds


def test_each_row_is_judged_once_by_models_that_have_not_seen_it():
    """Random folds are a partition, and fit and judge share no row."""
    rows, folds = _folds(table())
    judged = np.concatenate([judge for _, judge in folds])
    assert sorted(judged) == list(range(len(rows)))
    assert all(not set(fit) & set(judge) for fit, judge in folds)


GROUPED = table(g=np.arange(ROWS) % 37)


@pytest.mark.parametrize(
    ("frame", "cluster", "split"),
    [
        (pd.concat([table(), table()], ignore_index=True), "x", {"by": "random"}),
        (GROUPED, "g", {"by": "group", "column": "g"}),
        (GROUPED, "g", {"by": "random", "id_columns": ["g"]}),
    ],
)
def test_equal_rows_and_groups_stay_together(frame, cluster, split):
    """A cluster is never on both sides of a fold."""
    rows, folds = _folds(frame, split=split)
    clusters = frame[cluster].to_numpy()[rows]
    assert len(folds) == 5
    for fit, judge in folds:
        assert not set(clusters[fit]) & set(clusters[judge])


def test_time_folds_look_forward_and_cut_between_moments():
    """Every fold judges moments later than all it was fitted on."""
    day = pd.date_range("2024-01-01", periods=ROWS)[np.arange(ROWS)[::-1] // 7]
    rows, folds = _folds(table(day=day), split={"by": "time", "column": "day"})
    days = day.to_numpy()[rows]
    assert len(folds) == 5
    assert all(days[fit].max() < days[judge].min() for fit, judge in folds)


def _probe(
    frame: pd.DataFrame, left_out: tuple[str, ...] = (), **changes
) -> probing.Probe:
    probe = probing.run_probe(subject(frame, **changes), left_out)
    assert isinstance(probe, probing.Probe)
    return probe


@pytest.mark.parametrize(
    ("frame", "changes"),
    [
        (table(), {}),
        (table(), {"metric": "f1"}),
        (numeric(), REGRESSION),
        (table(y=np.digitize(numeric()["y"], [-3, 3])), MULTICLASS),
    ],
)
def test_every_task_has_a_probe_that_beats_its_baseline(frame, changes):
    """A table with signal gives a best model with a gain of several standard errors."""
    probe = _probe(frame, **changes)
    best = probe.score(probe.best)
    assert best.gain > 2 * best.gain_error > 0
    assert 0 < probe.skill < 1
    assert probe.folds == 5


def test_every_metric_of_the_experiment_is_measured():
    """Criteria on other metrics than the ranking one are probed too."""
    probe = _probe(table(), acceptance=[{"metric": "accuracy", "at_least": 0.5}])
    assert {(s.model, s.metric) for s in probe.scores} == {
        (model, metric)
        for model in (probing.BASELINE, "linear", "lightgbm")
        for metric in ("roc_auc", "accuracy")
    }


def test_a_threshold_metric_is_judged_at_a_threshold_that_suits_it():
    """F1 of a rare class is not judged at a probability of one half."""
    y = np.where(
        table()["x"] + np.random.default_rng(0).normal(size=ROWS) > 1.5, "yes", "no"
    )
    probe = _probe(table(y=y), metric="f1", positive_class="yes")
    assert probe.score(probe.best).mean > 0.35


def test_the_probe_is_deterministic_and_reads_no_validation_row():
    """The same table gives the same numbers, whatever the validation targets are."""
    changed = np.where(VALIDATION, "yes", table()["y"])
    assert _probe(table()) == _probe(table()) == _probe(table(y=changed))


def test_the_work_is_bounded(monkeypatch):
    """Rows and texts beyond a limit are not read."""
    long = pd.concat([table()] * 40, ignore_index=True).assign(row=np.arange(40 * ROWS))
    assert _probe(long, exclude={"row": "counts"}).rows == probing.MOST_ROWS
    monkeypatch.setattr(probing, "MOST_TEXTS", 2)
    texts = {f"t{i}": table()["colour"] for i in range(4)}
    assert _probe(table(**texts)).unread == 3


def test_awkward_values_are_survived():
    """Infinite, huge, missing and mixed values stop nothing."""
    mixed = np.array([1, "one", None, 2.5] * 100, dtype=object)
    huge = np.where(np.arange(ROWS) % 50 == 0, np.inf, 1e300)
    frame = table(mixed=mixed, huge=huge, empty=np.nan, flag=VALIDATION)
    assert _probe(frame).rows == 320


@pytest.mark.parametrize(
    ("frame", "changes", "reason"),
    [
        (table(y="yes"), {}, "the target has 1 distinct values"),
        (table()[["y"]], {}, "No number or text feature"),
        (table().head(12), {}, "do not make two folds"),
        (table(y=[f"class {i}" for i in range(ROWS)]), MULTICLASS, "more than the 200"),
    ],
)
def test_without_something_to_learn_there_is_a_reason(frame, changes, reason):
    """A probe that cannot run says why."""
    probe = probing.run_probe(subject(frame, **changes), ())
    assert isinstance(probe, probing.NoProbe)
    assert reason in probe.reason


@pytest.mark.parametrize("rule", probing.PROBE_RULES, ids=lambda rule: rule.code)
def test_without_a_probe_it_is_not_applicable(rule):
    """The reason of the missing probe is passed on."""
    asked = subject(table(), acceptance=[{"metric": "roc_auc", "at_least": 0.9}])
    finding = rule.check(asked, probing.NoProbe("no reason"))
    assert (finding.outcome, finding.evidence) == ("not_applicable", "no reason")
