"""The validation report: scores, gap, threshold, gates, looks, its JSON, and its
document.
"""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from experiment_pipeline.reporting.document import Block, Chart, TableBlock, render
from experiment_pipeline.reporting.run_record import worst_of
from experiment_pipeline.stages.validation_report.effects import Segment, Usage
from experiment_pipeline.stages.validation_report.final_evaluation import _not_computed
from experiment_pipeline.stages.validation_report.gates import Gate, score_gates
from experiment_pipeline.stages.validation_report.judged_model import MetricScore
from experiment_pipeline.stages.validation_report.ledger import EarlierLooks
from experiment_pipeline.stages.validation_report.page import build_document
from experiment_pipeline.stages.validation_report.pictures import charts
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.importance import FeatureImportance
from experiment_pipeline.statistics.interval import Interval, difference, spread_of
from experiment_pipeline.statistics.metrics import reported_of
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.statistics.thresholds import EXPECTED_COST, cross_fitted
from experiment_pipeline.storage.tables import from_parquet
from experiment_pipeline.table.clusters import FittedRows
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of
from experiment_pipeline_tests.stages.validation_report.checked import (
    STRANGE,
    Checked,
    checked,
    look_at,
    table,
)
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    judged,
    report_of,
    seen_through,
)

NUMBERS = {"task": "regression", "metric": "rmse"}


def test_every_metric_of_the_task_is_scored_the_ranking_one_first() -> None:
    """The report holds more than the metric that ranked, each with interval and
    baseline.
    """
    report = report_of(
        spec_of(metric="log_loss", acceptance=[{"metric": "f1", "at_least": 0.1}])
    )
    assert [score.metric for score in report.scores[:2]] == ["log_loss", "f1"]
    assert {score.metric for score in report.scores} == set(reported_of("binary"))
    for score in report.scores:
        assert score.interval.low < score.interval.estimate < score.interval.high
        assert math.isfinite(score.baseline)


def test_the_threshold_is_chosen_on_test_and_applied_on_validation() -> None:
    """f1 on validation is at the threshold that was best on test."""
    exported, test = seen_through(1, seed=1), seen_through(1, seed=2)
    report = report_of(exported=exported, test=test)
    assert report.threshold.test_score == test.score("f1", report.threshold.value)
    expected = exported.score("f1", report.threshold.value)
    assert report.score("f1").interval.estimate == pytest.approx(expected)
    assert expected > exported.score("f1", 0.5)


def test_the_gap_is_that_of_one_and_the_same_fit() -> None:
    """The refit has seen more rows: the gap compares the train-only fit with itself."""
    refit, fitted, test = (seen_through(noise, seed=3) for noise in (0.1, 1, 1))
    report = report_of(exported=refit, train_only=fitted, test=test)
    assert report.gap.difference.estimate == pytest.approx(0)
    assert report.gap.validation.estimate == fitted.score("roc_auc")
    assert report.score("roc_auc").interval.estimate == refit.score("roc_auc")


def test_the_interval_of_a_gap_holds_the_luck_of_the_threshold() -> None:
    """The validation set is decided by one choice of the threshold, and another was as
    likely.
    """
    test, exported = seen_through(30, n=300, seed=4), seen_through(30, n=300, seed=5)
    report = report_of(spec_of(metric="f1"), exported=exported, test=test)
    on_test = spread_of(cross_fitted("f1", test).score, test.layout("f1"))
    given = difference(on_test, exported.spread("f1", report.threshold.value))
    found = report.gap.difference
    assert found.low < given.low < given.high < found.high


def test_a_quantile_that_too_few_targets_stay_below_is_noted_with_its_correction() -> (
    None
):
    """The page says how many are below, and what to add, by the test rows; the model
    stays as it is.
    """
    drawn = np.random.default_rng(1).normal(size=(2, 500))
    exported, test = (
        SetPrediction(y, np.full(500, 0.8), np.arange(500)) for y in drawn
    )
    spec = spec_of(task="regression", metric="pinball_0.9")
    report = report_of(spec, exported, test, classes=None)
    (note,) = [
        note for note in report.notes if "are below the prediction, not 90 %" in note
    ]
    shift = report.details.quantile.shift
    assert f"add {shift:.4f} to every prediction" in note
    text = render(build_document(report))
    assert f"With {shift:.4f} added to every prediction" in text


@pytest.mark.parametrize(("lowest", "shown"), [(0.0, False), (1.0, True)])
def test_a_relative_error_is_shown_where_no_target_is_zero(
    lowest: float, shown: bool
) -> None:
    """Divided by a zero it has no size; nobody asked for it."""
    y = np.maximum(np.random.default_rng(8).normal(size=1_000), 0) + lowest
    exported = SetPrediction(y, y + 0.5, np.arange(1_000))
    report = report_of(spec_of(**NUMBERS), exported, exported, classes=None)
    assert ("mape" in {score.metric for score in report.scores}) == shown


def test_the_baseline_knows_the_rows_of_the_exported_fit_and_of_the_validation_set() -> (
    None
):
    """The share that is predicted without features is that of both, so no other one
    passes by luck.
    """
    exported = seen_through(1, seed=1)
    known = np.zeros(500)
    score = report_of(exported=exported, y_fitted=known).score("log_loss")
    constant = np.full(1_500, exported.y.sum() / 2_000)
    assert score.baseline == pytest.approx(
        scores.score("log_loss", exported.y, constant)
    )
    difference = score.difference_to_baseline
    assert difference.estimate == pytest.approx(
        score.interval.estimate - score.baseline
    )
    assert difference.low < difference.estimate < difference.high < 0
    # Weights that differ in one of the sets alone.
    heavy = report_of(exported=exported, y_fitted=known, w_fitted=np.full(500, 3.0))
    constant = np.full(1_500, exported.y.sum() / 3_000)
    expected = scores.score("log_loss", exported.y, constant)
    assert heavy.score("log_loss").baseline == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_a_drop_from_test_to_validation_is_called_worse(metric: str) -> None:
    """In both directions of the metric; a gain is none. Under a split by time it may be
    drift.
    """
    good, bad = seen_through(0.3, seed=1), seen_through(3, seed=2)
    lost = report_of(spec_of(metric=metric), exported=bad, test=good)
    assert lost.gap.worse
    assert any("more than chance" in note for note in lost.notes)
    timed = spec_of(metric=metric, split={"by": "time", "column": "day"})
    notes = report_of(timed, exported=bad, test=good).notes
    assert any("cannot be separated here" in note for note in notes)
    assert not report_of(spec_of(metric=metric), exported=good, test=bad).gap.worse


def test_looks_are_counted_and_earlier_ones_noted() -> None:
    """The first look is number one; later ones are warned of."""
    assert report_of().looks == 1
    assert not report_of().notes
    assert (
        "weight each row by size" in report_of(spec_of(sample_weight="size")).notes[0]
    )
    report = report_of(looks=EarlierLooks(3, 0.8))
    assert (report.looks, report.overlap) == (4, 0.8)
    assert (
        "other models were evaluated on these validation rows before" in report.notes[0]
    )
    assert "looked at 4 times (overlap 80 %), this look included" in render(
        build_document(report)
    )


def test_few_clusters_and_weak_segments_are_noted() -> None:
    """A validation set of three days, and a part that is clearly weak."""
    rows = seen_through(1, seed=1)
    few = SetPrediction(rows.y, rows.prediction, np.arange(len(rows.y)) % 3)
    weak = Segment(
        "origin", "EWR", 400, Interval(0.5, 0.4, 0.6), 0.7, clearly_worse=True
    )
    report = report_of(exported=few, segments=(weak,))
    assert any("3 resampling clusters" in note for note in report.notes)
    assert any(
        "weaker than expected where origin is EWR (400 rows)" in n for n in report.notes
    )
    assert _segments(report).rows[0][1:5] == (
        "EWR",
        "400",
        "0.5000 (0.4000 to 0.6000)",
        "0.7000",
    )
    assert _segments(report_of(segments=None)).text == "Not computed: see the caveats."
    none = report_of(segments=())
    assert _segments(none).text.startswith("No segment scores below")
    wide = replace(none, notes=tuple(_not_computed(none, 400)))
    assert _segments(wide).text.startswith(
        "No segment of the other features scores below"
    )


def _segments(report: ValidationReport) -> Block:
    (section,) = (
        s for s in build_document(report).sections if s.title == "Weakest segments"
    )
    return section.blocks[-1]


def test_intervals_that_are_too_narrow_are_noted() -> None:
    """Errors with heavy tails leave mae to trust."""
    y = 10 + np.random.default_rng(0).normal(size=1_000)
    heavy = 0.1 * (1 - np.linspace(0, 0.9999, 1_000)) ** -0.48
    numbers, spec = SetPrediction(y, y + heavy, np.arange(1_000)), spec_of(**NUMBERS)
    notes = report_of(spec, numbers, numbers, classes=None).notes
    assert any(
        "of rmse, r2 on the validation set may be too narrow" in note for note in notes
    )


def test_an_undefined_metric_is_noted_and_fails_its_gate() -> None:
    """A validation set of one class has no AUC and no calibration; the report is still
    made, the rest drawn.
    """
    rows = seen_through(1, seed=1)
    exported = rows.rows(rows.y == 0)
    report = report_of(exported=exported)
    assert not report.accepted
    assert "roc_auc is undefined on the validation set" in report.notes
    assert report.details.calibration == ()
    assert "calibration" not in charts(report, judged(exported=exported))


@pytest.mark.parametrize("undefined", [False, True])
def test_json_is_strict_and_gives_the_same_report_back(undefined: bool) -> None:
    """Written and read again the report is equal, infinite and undefined numbers
    included.
    """
    rows = seen_through(1, seed=1)
    one_cluster = SetPrediction(rows.y, rows.prediction, np.zeros(len(rows.y)))
    report = report_of(
        spec_of(metric="log_loss"), exported=one_cluster if undefined else rows
    )
    text = report.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    again = ValidationReport.from_json(text)
    assert again == report
    assert again.to_json() == text


# --- gates ---


NONE = Interval(0.0, 0.0, 0.0)


def _gate(
    metric: str, criterion: dict, interval: tuple, difference: Interval = NONE
) -> Gate:
    spec = spec_of(
        metric=metric, acceptance=[{"metric": metric, **criterion}] if criterion else []
    )
    return next(
        score_gates(spec, [MetricScore(metric, Interval(*interval), 0.5, difference)])
    )


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
def test_the_worse_bound_is_judged_unless_the_estimate_is_asked_for(
    criterion: dict, passed: bool
):
    """A limit holds when the bound reaches it; the limit itself is enough."""
    assert _gate("roc_auc", criterion, (0.7, 0.65, 0.75)).passed is passed


def test_the_upper_bound_of_a_loss_is_judged() -> None:
    """For a loss the worse end is the upper one."""
    gate = _gate("log_loss", {"at_most": 0.5}, (0.45, 0.4, 0.52))
    assert (gate.value, gate.passed) == (0.52, False)
    assert gate.in_words() == "upper bound of log_loss at most 0.5: 0.5200, FAIL"


def test_the_paired_difference_must_beat_the_baseline_and_it_is_said() -> None:
    """No criteria is not no gate: rule, value and limit tell baseline and
    difference.
    """
    gate = _gate("roc_auc", {}, (0.6, 0.45, 0.75), Interval(0.1, 0.02, 0.18))
    assert (gate.passed, gate.value, gate.limit) == (True, pytest.approx(0.52), 0.5)
    assert gate.rule == (
        "better than the baseline: 0.5000 plus the lower bound of the paired difference in roc_auc, "
        "0.1000 (0.0200 to 0.1800), must beat 0.5000"
    )
    assert not _gate("roc_auc", {}, (0.6, 0.55, 0.65), Interval(0.1, -0.01, 0.2)).passed
    # The difference of a loss is negative when the model is better.
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
def test_what_shows_nothing_passes_nothing(
    metric, criterion, interval, difference
) -> None:
    """The baseline itself, an undefined score, and an unbounded interval are not good
    enough.
    """
    assert not _gate(metric, criterion, interval, difference).passed


def test_every_criterion_is_a_gate_in_the_order_of_the_yaml() -> None:
    """All criteria are held, not only the first that fails."""
    criteria = [
        {"metric": "brier", "at_most": 0.1},
        {"metric": "roc_auc", "at_least": 0.9},
    ]
    scores = [
        MetricScore(m, Interval(0.5, 0.4, 0.6), 0.5, NONE) for m in ("roc_auc", "brier")
    ]
    rules = [
        gate.rule.partition(":")[0]
        for gate in score_gates(spec_of(acceptance=criteria), scores)
    ]
    limits = ["upper bound of brier at most 0.1", "lower bound of roc_auc at least 0.9"]
    assert rules == [*limits, "better than the baseline"]
    alone = score_gates(spec_of(acceptance=criteria, baseline="off"), scores)
    assert [gate.rule for gate in alone] == limits


def test_criteria_that_noise_meets_do_not_replace_the_baseline() -> None:
    """With 5 % positives a constant has an accuracy above 0.9: accepted only where the
    YAML says so.
    """
    criteria = [
        {"metric": "accuracy", "at_least": 0.9},
        {"metric": "log_loss", "at_most": 0.3},
    ]
    accepted = {"on": 0, "off": 0}
    for seed in range(10):
        generator = np.random.default_rng(seed)
        y = (generator.random(1_000) < 0.05).astype(int)
        seen = SetPrediction(y, generator.uniform(0.04, 0.06, 1_000), np.arange(1_000))
        for word in accepted:
            report = report_of(spec_of(acceptance=criteria, baseline=word), seen, seen)
            accepted[word] += report.accepted
            assert any("baseline: off" in one for one in report.conditions) == (
                word == "off"
            )
    assert accepted["on"] <= 1
    assert accepted["off"] == 10


MOST_BYTES = 1_400_000
EVERY = {
    "binary": [
        "Decision",
        "Scores",
        "Calibration",
        "Decision threshold",
        "Class by class",
    ],
    "multiclass": ["Decision", "Scores", "Calibration", "Class by class"],
    "regression": ["Decision", "Scores", "Errors"],
}
LAST = ["Importance of features", "How the first features are used", "Weakest segments"]
REFEREE = ["Challengers", "Robustness", "What this run cannot know", "Caveats"]
each_task = pytest.mark.parametrize("task", EVERY)


def of(task: str) -> Checked:
    """The accepted report of a task; of the binary one with costs."""
    return checked(task, costs=task == "binary")


def charts_of(found: Checked) -> list[Chart]:
    """Every chart of a document, in order."""
    blocks = [block for section in found.document.sections for block in section.blocks]
    return [block for block in blocks if isinstance(block, Chart)]


def section(found: Checked, title: str) -> list:
    """The blocks of a section."""
    return list(
        next(one.blocks for one in found.document.sections if one.title == title)
    )


@each_task
def test_each_task_is_told_what_concerns_it_in_this_order(task: str) -> None:
    """The decision first, then scores, then what explains them; notes last."""
    assert [one.title for one in of(task).document.sections] == [
        *(*EVERY[task], *LAST),
        "Prediction intervals" if task == "regression" else "Prediction sets",
        *REFEREE,
    ]
    assert section(of(task), "Decision")[0].text.startswith(
        "Accepted: the one gate passes ("
    )
    assert not any("the budget" in note for note in of(task).check.report.notes)
    every, *parts = of(task).check.report.coverage.parts
    assert every.score.high > 0.9
    classes = [part.value for part in parts if part.column == "y"]
    assert len(classes) == {"binary": 2, "multiclass": 4, "regression": 0}[task]


@each_task
def test_every_chart_states_its_number_and_shows_one_where_pointed_at(
    task: str,
) -> None:
    """For readers who do not see it; each has a title of its own, colours of the page,
    and tips.
    """
    shown = charts_of(of(task))
    assert len(shown) >= 6
    assert all(re.search(r"\d", one.alt) and one.alt.endswith(".") for one in shown)
    assert len({one.title for one in shown}) == len(shown)
    for one in shown:
        text = json.dumps(one.option, allow_nan=False)
        colours = re.findall(r'"(?:color|borderColor)": "([^"]+)"', text)
        assert all(colour.startswith(("var(--", "color-mix(")) for colour in colours), (
            one.title
        )
        assert '"tip": ' in text, one.title
    assert len(of(task).page.encode()) < MOST_BYTES


@each_task
def test_names_from_the_data_are_shown_and_never_run(task: str) -> None:
    """Columns, categories and classes with tags, ampersands and dollars."""
    found = of(task)
    assert not re.search(r"<(b|i|very)>", found.page.partition("</main>")[0])
    blocks = section(found, "Importance of features")
    (table,) = [one for one in blocks if isinstance(one, TableBlock)]
    assert STRANGE in [one[0] for one in table.rows]
    assert "&lt;b&gt;carrier &amp; $x^$&lt;/b&gt;" in found.page
    assert "<b>" not in render(found.document)


def test_with_costs_the_cheapest_threshold_is_exported_and_judged_on_validation() -> (
    None
):
    """Beside the metric's own threshold, calling nobody and calling everybody."""
    found = checked("binary", costs=True)
    report = found.check.report
    ways = report.details.at_threshold.ways
    assert report.threshold.metric == EXPECTED_COST
    assert [way.name.split(",")[0] for way in ways] == [
        "the chosen threshold",
        "the threshold that is best for f1",
        "call no row positive",
        "call every row positive",
    ]
    assert (
        min(way.on_test for way in ways)
        == ways[0].on_test
        == report.threshold.test_score
    )
    assert (
        ways[0].on_validation.low
        < ways[0].on_validation.estimate
        < ways[0].on_validation.high
    )
    assert ways[2].on_validation.estimate == pytest.approx(10 * report.prevalence)
    assert ways[3].on_validation.estimate == pytest.approx(1 - report.prevalence)
    assert (
        "minimises expected cost per row"
        in section(found, "Decision threshold")[0].text
    )


def test_costs_move_the_threshold_and_scores_at_it_but_neither_gap_nor_ranking() -> (
    None
):
    """f1 is that of the decisions that will be made; the gap compares what
    was ranked.
    """
    costly = spec_of(metric="f1", costs={"false_positive": 1, "false_negative": 20})
    exported, test = seen_through(1, seed=1), seen_through(1, seed=2)
    plain = report_of(spec_of(metric="f1"), exported=exported, test=test)
    report = report_of(costly, exported=exported, test=test)
    assert report.threshold.value < plain.threshold.value
    assert report.score("f1").interval.estimate == exported.score(
        "f1", report.threshold.value
    )
    assert report.gap == plain.gap


def test_a_refused_report_says_why_right_after_the_gates() -> None:
    """With the number, the limit, and what to try next."""
    found = checked("binary", refused=True)
    titles = [one.title for one in found.document.sections]
    assert titles[:3] == ["Decision", "Why, and what to try next", "Scores"]
    first, gates = section(found, "Decision")[:2]
    said = "Not accepted: 1 of 2 gates failed (lower bound of roc_auc at least 0.97, but it is 0."
    assert first.text.startswith(said)
    assert gates.rows[0][0] == "FAIL"
    assert gates.rows[0][3:] == (
        "0.9700",
        "the lower bound of the 95 % interval does not pass",
    )
    assert "exported" not in render(found.document), "nothing was"


def test_losses_of_a_target_in_small_units_are_no_zeros() -> None:
    """The largest has its own digits; what is chance beside it stays 0."""
    each = (("rate", 3e-6, True), ("noise", 1e-12, False))
    ranked = tuple(
        FeatureImportance(name, drop, drop / 10, sure) for name, drop, sure in each
    )
    used = Usage("roc_auc", 200, 5, ranked, (), 200)
    text = render(build_document(report_of(usage=used))).replace("\\", "")
    assert "| rate | 3e-06 | 3e-07 | yes |" in text
    assert "| noise | 0.0000 | 0.0000 |" in text


def test_importance_and_dependence_find_what_the_table_was_made_of() -> None:
    """The feature that is noise comes last, and the hour moves the prediction
    upwards.
    """
    used = of("regression").check.report.usage
    assert used.importance[-1].feature == "noise"
    assert used.importance[0].drop > 10 * used.importance[-1].drop
    curves = {one.feature: one for one in used.dependence}
    hour = curves["hour"].means[0]
    assert np.all(np.diff(hour) >= -1e-9)
    assert hour[-1] - hour[0] == pytest.approx(40 * 23 / 8, rel=0.2)
    carrier = curves[STRANGE]
    assert set(carrier.values) == {"EWR", "JFK", "<i>L&A$</i>", "missing"}
    assert carrier.values[int(np.argmax(carrier.means[0]))] == "EWR"
    assert sum(carrier.marks) == pytest.approx(1)


# --- the rows of the largest loss ---


@each_task
def test_the_largest_losses_come_first_with_the_row_as_delivered(task: str) -> None:
    """Of every validation row there is target, prediction and loss; the loss follows
    from these.
    """
    rows, delivered = checked(task).check.rows, table(task)
    seen = rows[rows["set"] == "validation"]
    assert rows["target"].equals(delivered["y"].loc[rows.index])
    assert rows["distance"].equals(delivered["distance"].loc[rows.index])
    score = checked(task).check.report.score(
        "mae" if task == "regression" else "log_loss"
    )
    assert seen["loss"].mean() == pytest.approx(score.interval.estimate)
    worst = worst_of(rows, 7)
    assert list(worst["set"]) == ["validation"] * 7 + ["test"] * 7
    assert worst["loss"].iloc[0] == seen["loss"].max()


def test_ids_and_names_may_hold_anything() -> None:
    """An id is shown although no model sees it, as text; a feature called `loss` keeps
    its values.
    """
    frame = table("binary").rename(columns={"noise": "loss"})
    frame["who"] = [f"<script>{number}</script>" for number in range(len(frame))]
    split = {"by": "random", "id_columns": ["who"]}
    found = look_at(frame, "binary", {"positive_class": "yes & <b>", "split": split})
    rows = found.check.rows
    assert list(rows)[:3] == ["set", "who", "target"]
    assert rows["delivered_loss"].equals(
        frame["loss"].loc[rows.index].rename("delivered_loss")
    )
    first = worst_of(rows, 1).iloc[0]
    assert first["who"].replace("<", "&lt;").replace(">", "&gt;") in found.page
    assert first["who"] not in found.page


def test_they_are_stored_beside_the_report_but_not_in_its_markdown() -> None:
    """Markdown goes into event logs: what identifies a person stays in the storage."""
    check = checked("binary").check
    contents = check.contents(lambda: FittedRows(("x",), np.zeros(0, np.uint64)))
    assert b"Worst rows" in contents["report.html"]()
    assert b"Worst rows" not in contents["report.md"]()
    assert from_parquet(contents["predicted_rows.parquet"]()).equals(check.rows)
