"""The validation report: scores, gap, threshold, gates, looks, its JSON, and its
document.
"""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from experiment_pipeline.reporting.document import Chart, TableBlock, render
from experiment_pipeline.reporting.run_record import RunFacts, worst_of
from experiment_pipeline.stages.validation_report.effects import Segment, Usage
from experiment_pipeline.stages.validation_report.final_evaluation import _not_computed
from experiment_pipeline.stages.validation_report.gates import Gate, score_gates
from experiment_pipeline.stages.validation_report.judged_model import MetricScore
from experiment_pipeline.stages.validation_report.ledger import EarlierLooks
from experiment_pipeline.stages.validation_report.page import outcome
from experiment_pipeline.stages.validation_report.pictures import charts
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.importance import FeatureImportance
from experiment_pipeline.statistics.interval import Interval, difference, spread_of
from experiment_pipeline.statistics.metrics import reported_of
from experiment_pipeline.statistics.thresholds import EXPECTED_COST, cross_fitted
from experiment_pipeline.storage.tables import from_parquet
from experiment_pipeline.table.clusters import FittedRows
from experiment_pipeline_tests.results import apart
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
    text_of,
)

EXPORTED, TEST = seen_through(1, seed=1), seen_through(1, seed=2)  # as of report_of
NUMBERS = spec_of(task="regression", metric="rmse")


def test_every_metric_of_the_task_is_scored_the_ranking_one_first():
    """The report holds more than the metric that ranked, each with interval and
    baseline.
    """
    criteria = [{"metric": "f1", "at_least": 0.1}]
    report = report_of(spec_of(metric="log_loss", acceptance=criteria))
    first, second, *_ = metrics = [score.metric for score in report.scores]
    assert (first, second) == ("log_loss", "f1")
    assert set(metrics) == set(reported_of("binary"))
    for score in report.scores:
        assert score.interval.low < score.interval.estimate < score.interval.high
        assert math.isfinite(score.baseline)


def test_the_threshold_is_chosen_on_test_and_applied_on_validation():
    """f1 on validation is at the threshold that was best on test."""
    report = report_of()
    cut = report.threshold.value
    assert report.threshold.test_score == TEST.score("f1", cut)
    f1 = report.score("f1").interval.estimate
    assert f1 == pytest.approx(EXPORTED.score("f1", cut))
    assert f1 > EXPORTED.score("f1", 0.5)


def test_the_gap_is_that_of_one_and_the_same_fit():
    """The refit has seen more rows: the gap compares the train-only fit with itself."""
    refit, fitted = seen_through(0.1, seed=3), seen_through(1, seed=3)
    report = report_of(exported=refit, train_only=fitted, test=fitted)
    assert report.gap.difference.estimate == pytest.approx(0)
    assert report.gap.validation.estimate == fitted.score("roc_auc")
    assert report.score("roc_auc").interval.estimate == refit.score("roc_auc")


def test_the_interval_of_a_gap_holds_the_luck_of_the_threshold():
    """The validation set is decided by one choice of the threshold, and another was as
    likely.
    """
    test, exported = seen_through(30, n=300, seed=4), seen_through(30, n=300, seed=5)
    report = report_of(spec_of(metric="f1"), exported, test)
    on_test = spread_of(cross_fitted("f1", test).score, test.layout("f1"))
    at_cut = difference(on_test, exported.spread("f1", report.threshold.value))
    gap = report.gap.difference
    assert gap.low < at_cut.low < at_cut.high < gap.high


def test_a_quantile_that_too_few_targets_stay_below_is_noted():
    """The page says how many are below, and what to add, by the test rows; the model
    stays as it is.
    """
    y = np.random.default_rng(1).normal(size=(2, 500))
    exported, test = (apart(targets, np.full(500, 0.8)) for targets in y)
    spec = spec_of(task="regression", metric="pinball_0.9")
    report = report_of(spec, exported, test, classes=None)
    shift = f"{report.details.quantile.shift:.4f}"
    (note,) = (note for note in report.notes if "below the prediction, not 90" in note)
    assert f"add {shift} to every prediction" in note
    assert f"With {shift} added to every prediction" in text_of(report)


@pytest.mark.parametrize(("lowest", "shown"), [(0.0, False), (1.0, True)])
def test_a_relative_error_is_shown_where_no_target_is_zero(lowest: float, shown: bool):
    """Divided by a zero it has no size; nobody asked for it."""
    y = np.maximum(np.random.default_rng(8).normal(size=1_000), 0) + lowest
    exported = apart(y, y + 0.5)
    report = report_of(NUMBERS, exported, exported, classes=None)
    assert ("mape" in {score.metric for score in report.scores}) == shown


def _off_by(error: float, **declared: object) -> ValidationReport:
    y = np.random.default_rng(9).normal(size=1_000)
    exported = apart(y, y + error)
    spec = spec_of(task="regression", **{"metric": "rmse", **declared})
    return report_of(spec, exported, exported, classes=None)


@pytest.mark.parametrize("metric", ["rmse", "r2"])
def test_an_implausibly_small_error_is_held_until_somebody_says_why(metric):
    """Less than a thousandth of the baseline's; the report gives the line to write, and
    with it the model is accepted under that condition.
    """
    assert _off_by(2e-3, metric=metric).accepted
    (gate,) = _off_by(3e-4, metric=metric).failed_gates
    assert gate.rule.startswith("error plausible: ")
    assert "{accept: {probe_nearly_perfect: the reason}}" in gate.rule
    accept = {"probe_nearly_perfect": "physics"}
    said = _off_by(3e-4, metric=metric, analysis={"accept": accept})
    assert said.accepted
    assert said.conditions[-1].startswith("error_plausible: ")
    assert said.conditions[-1].endswith("it is no leak: physics")


def test_probabilities_that_are_sure_and_right_in_every_row_are_held():
    """A model that orders all rows rightly, and is less sure of it, is not."""
    y = EXPORTED.y
    sure, careful = (apart(y, np.abs(y - doubt)) for doubt in (1e-5, 0.05))
    assert report_of(exported=careful, test=TEST).accepted
    (gate,) = report_of(exported=sure, test=TEST).failed_gates
    assert gate.metric == "log_loss"


def test_the_baseline_knows_fitted_and_validation_rows():
    """The share that is predicted without features is that of both, so no other one
    passes by luck; with weights in one of the sets alone, that of the weighted rows.
    """
    fitted = np.zeros(500)
    score = report_of(y_fitted=fitted).score("log_loss")
    difference = score.difference_to_baseline
    assert difference.estimate == pytest.approx(
        score.interval.estimate - score.baseline
    )
    assert difference.low < difference.estimate < difference.high < 0
    for weights, rows in ((None, 2_000), (np.full(500, 3.0), 3_000)):
        constant = np.full(1_500, EXPORTED.y.sum() / rows)
        expected = scores.score("log_loss", EXPORTED.y, constant)
        report = report_of(y_fitted=fitted, w_fitted=weights)
        assert report.score("log_loss").baseline == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_a_drop_from_test_to_validation_is_called_worse(metric: str):
    """In both directions of the metric; a gain is none."""
    good, bad = seen_through(0.3, seed=1), seen_through(3, seed=2)
    spec = spec_of(metric=metric)
    lost = report_of(spec, exported=bad, test=good)
    assert lost.gap.worse
    assert "more than chance" in "".join(lost.notes)
    assert not report_of(spec, exported=good, test=bad).gap.worse


def test_looks_are_counted_and_earlier_ones_noted():
    """The first look is number one; later ones are warned of."""
    first, fourth = report_of(), report_of(looks=EarlierLooks(3, 0.8))
    assert (first.looks, first.notes) == (1, ())
    assert "each row by size" in report_of(spec_of(sample_weight="size")).notes[0]
    assert (fourth.looks, fourth.overlap) == (4, 0.8)
    assert "looked at 4 times (overlap 80 %)" in text_of(fourth)


def test_a_model_that_is_not_accepted_names_the_gates_that_failed_alone():
    """In the check, in the record: a text that is cut off starts with the reason."""
    criteria = [
        {"metric": "roc_auc", "at_least": 0.5},
        {"metric": "f1", "at_least": 0.99},
    ]
    report = report_of(spec_of(acceptance=criteria))
    assert [gate.outcome for gate in report.gates] == ["FAIL", "PASS", "PASS"]
    places = {"validation_report": ""}
    shown = outcome(report, "", places, "linear")
    facts, *_ = [row for row in shown.record if isinstance(row, RunFacts)]
    for text in (facts.decision, shown.checks[0].means):
        assert text.startswith("lower bound of f1 at least 0.99: 0.")
        assert text.endswith(", FAIL")


def test_one_sentence_says_at_which_level_the_baseline_is_beaten():
    """A gain that is significant at the first look, and not after 40 more, is not
    called both.
    """
    first = report_of(exported=seen_through(9, seed=1))
    later = report_of(exported=seen_through(9, seed=1), looks=EarlierLooks(40, 1, 40.0))
    assert (first.accepted, later.accepted) == (True, False)
    assert "the model is significantly better (95 % level)." in text_of(first)
    text = text_of(later)
    level = "99.997 % level"
    failed = f"better than the baseline: not significantly better at the {level}"
    assert f"Not accepted: the one gate failed ({failed})" in text.replace("\\", "")
    both = f"better (95 % level), but not at the {level} of the gates after 41 looks."
    assert f"the model is significantly {both}" in text


def test_intervals_that_are_too_narrow_are_noted():
    """Errors with heavy tails leave mae to trust, also where few rows do not show
    them; three days are few clusters.
    """
    y = 10 + np.random.default_rng(0).normal(size=1_000)
    heavy = apart(y, y + 0.1 * (1 - np.linspace(0, 0.9999, 1_000)) ** -0.48)
    report = report_of(NUMBERS, heavy, heavy, classes=None)
    notes = "".join(report.notes)
    assert "of rmse, r2 on the validation set may be too narrow" in notes
    assert "need not show in 1,000 rows" in text_of(report)
    few = replace(EXPORTED, clusters=np.arange(len(EXPORTED.y)) % 3)
    assert "3 resampling clusters" in "".join(report_of(exported=few).notes)


def test_a_clearly_weak_segment_is_noted():
    """With its rows; where none was computed, the page does not say that none is
    weak.
    """
    score = Interval(0.5, 0.4, 0.6)
    weak = Segment("origin", "EWR", 400, score, 0.7, clearly_worse=True)
    report = report_of(segments=(weak,))
    assert "where origin is EWR (400 rows)" in "".join(report.notes)
    assert "| EWR | 400 | 0.5000 (0.4000 to 0.6000) | 0.7000 |" in text_of(report)
    assert "No segment scores below" not in text_of(report_of())
    none = report_of(segments=())
    assert "No segment scores below" in text_of(none)
    wide = replace(none, notes=tuple(_not_computed(none, 400)))
    assert "No segment of the other features scores" in text_of(wide)


def test_an_undefined_metric_is_noted_and_fails_its_gate():
    """A validation set of one class has no AUC and no calibration; the report is still
    made, the rest drawn.
    """
    model = judged(exported=EXPORTED.rows(EXPORTED.y == 0))
    report = report_of(exported=model.exported)
    assert not report.accepted
    assert "roc_auc is undefined on the validation set" in report.notes
    assert report.details.calibration == ()
    assert "calibration" not in charts(report, model)


@pytest.mark.parametrize("undefined", [False, True])
def test_json_is_strict_and_gives_the_same_report_back(undefined: bool):
    """Written and read again the report is equal, infinite and undefined numbers
    included.
    """
    one_cluster = replace(EXPORTED, clusters=np.zeros(len(EXPORTED.y)))
    exported = one_cluster if undefined else EXPORTED
    report = report_of(spec_of(metric="log_loss"), exported)
    text = report.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    again = ValidationReport.from_json(text)
    assert again == report
    assert again.to_json() == text


# --- gates ---


NONE = Interval(0.0, 0.0, 0.0)
UNDEFINED = (math.nan, math.nan, math.nan)


def gates(
    metric: str,
    criteria: list[dict],
    interval: tuple,
    gain: Interval = NONE,
    **settings,
) -> list[Gate]:
    """The gates of a metric with this score, and this gain over a baseline of 0.5."""
    score = MetricScore(metric, Interval(*interval), 0.5, gain)
    acceptance = [{"metric": metric, **criterion} for criterion in criteria]
    return list(score_gates(spec_of(metric=metric, acceptance=acceptance), [score]))


@pytest.mark.parametrize(
    ("metric", "criterion", "interval", "passed"),
    [
        ("roc_auc", {"at_least": 0.65}, (0.7, 0.65, 0.75), True),
        ("roc_auc", {"at_least": 0.66}, (0.7, 0.65, 0.75), False),
        (
            "roc_auc",
            {"at_least": 0.66, "judged_by": "estimate"},
            (0.7, 0.65, 0.75),
            True,
        ),
        ("log_loss", {"at_most": 0.5}, (0.45, 0.4, 0.52), False),
        ("roc_auc", {"at_least": 0.1}, UNDEFINED, False),
        ("log_loss", {"at_most": 9}, (0.1, 0.0, math.inf), False),
    ],
)
def test_the_worse_bound_is_judged_unless_the_estimate_is_asked_for(
    metric: str, criterion: dict, interval: tuple, passed: bool
):
    """A limit holds when the bound reaches it: the upper one of a loss. An undefined
    score and an unbounded interval pass nothing.
    """
    assert gates(metric, [criterion], interval)[0].passed is passed


@pytest.mark.parametrize(
    ("metric", "interval", "gain", "passed"),
    [
        ("roc_auc", (0.6, 0.55, 0.65), Interval(0.1, -0.01, 0.2), False),
        # The difference of a loss is negative when the model is better.
        ("log_loss", (0.4, 0.2, 0.6), Interval(-0.1, -0.15, -0.05), True),
        ("log_loss", (0.5, 0.5, 0.5), NONE, False),
        ("roc_auc", UNDEFINED, Interval(*UNDEFINED), False),
    ],
)
def test_only_a_significant_gain_beats_the_baseline(
    metric: str, interval: tuple, gain: Interval, passed: bool
):
    """The baseline itself and an undefined score are not good enough."""
    assert gates(metric, [], interval, gain)[0].passed is passed


def test_every_criterion_is_a_gate_in_the_order_of_the_yaml():
    """All criteria are held, not only the first that fails; then the baseline, unless
    it is off.
    """
    criteria = [
        {"metric": "brier", "at_most": 0.1},
        {"metric": "roc_auc", "at_least": 0.9},
    ]
    limits = ["upper bound of brier at most 0.1", "lower bound of roc_auc at least 0.9"]
    for baseline, last in (("on", ["better than the baseline"]), ("off", [])):
        report = report_of(spec_of(acceptance=criteria, baseline=baseline))
        rules = [gate.rule.partition(":")[0] for gate in report.gates]
        assert rules == limits + last


def test_criteria_that_noise_meets_do_not_replace_the_baseline():
    """With 5 % positives a constant has an accuracy above 0.9: accepted only where the
    YAML says so.
    """
    criteria = [
        {"metric": "accuracy", "at_least": 0.9},
        {"metric": "log_loss", "at_most": 0.3},
    ]
    generator = np.random.default_rng(0)
    y = (generator.random(1_000) < 0.05).astype(int)
    noise = apart(y, generator.uniform(0.04, 0.06, 1_000))
    on, off = (
        report_of(spec_of(acceptance=criteria, baseline=baseline), noise, noise)
        for baseline in ("on", "off")
    )
    assert (on.accepted, off.accepted) == (False, True)
    assert "baseline: off" in "".join(off.conditions)


# --- the document ---


MOST_BYTES = 1_400_000
SECTIONS = {
    "binary": ["Calibration", "Decision threshold", "Class by class"],
    "multiclass": ["Calibration", "Class by class"],
    "regression": ["Errors"],
}

each_task = pytest.mark.parametrize("task", SECTIONS)


def accepted(task: str) -> Checked:
    """The accepted report of a task; of the binary one with costs."""
    return checked(task, costs=task == "binary")


def section(report: Checked, title: str) -> list:
    """The blocks of a section."""
    sections = {part.title: part for part in report.document.sections}
    return list(sections[title].blocks)


@each_task
def test_each_task_is_told_what_concerns_it(task: str):
    """The decision first; how the model fares, by class where there are any."""
    shown, report = accepted(task), accepted(task).check.report
    titles = [part.title for part in shown.document.sections]
    assert titles[0] == "Model"
    assert {*SECTIONS[task]} <= {*titles}
    whole, *parts = report.coverage.parts
    assert whole.score.high > 0.9
    classes = [part.value for part in parts if part.column == "y"]
    assert len(classes) == {"binary": 2, "multiclass": 4, "regression": 0}[task]


@each_task
def test_every_chart_states_its_number_and_shows_one_where_pointed_at(task: str):
    """For readers who do not see it; each has a title of its own, colours of the page,
    and tips.
    """
    blocks = [
        block for part in accepted(task).document.sections for block in part.blocks
    ]
    shown = [block for block in blocks if isinstance(block, Chart)]
    assert len({chart.title for chart in shown}) == len(shown) >= 4
    for chart in shown:
        assert re.search(r"\d.*\.$", chart.alt), chart.title
        text = json.dumps(chart.option, allow_nan=False)
        for colour in re.findall(r'"(?:color|borderColor)": "([^"]+)"', text):
            assert colour.startswith(("var(--", "color-mix(")), chart.title
        assert '"tip": ' in text, chart.title
    assert len(accepted(task).page.encode()) < MOST_BYTES


@each_task
def test_names_from_the_data_are_shown_and_never_run(task: str):
    """Columns, categories and classes with tags, ampersands and dollars."""
    shown = accepted(task)
    assert not re.search(r"<(b|i|very)>", shown.page.partition("</main>")[0])
    _, table = section(shown, "Importance of features")
    assert isinstance(table, TableBlock)
    assert STRANGE in [row[0] for row in table.rows]
    assert "&lt;b&gt;carrier &amp; $x^$&lt;/b&gt;" in shown.page
    assert "<b>" not in render(shown.document)


def test_with_costs_the_cheapest_threshold_is_exported_and_judged():
    """Beside the metric's own threshold, calling nobody and calling everybody."""
    report = accepted("binary").check.report
    ways = report.details.at_threshold.ways
    chosen, _, nobody, everybody = ways
    assert report.threshold.metric == EXPECTED_COST
    assert chosen.on_test == report.threshold.test_score
    assert chosen.on_test == min(way.on_test for way in ways)
    cost = chosen.on_validation
    assert cost.low < cost.estimate < cost.high
    assert nobody.on_validation.estimate == pytest.approx(10 * report.prevalence)
    assert everybody.on_validation.estimate == pytest.approx(1 - report.prevalence)


def test_costs_move_the_threshold_but_neither_gap_nor_ranking():
    """f1 is that of the decisions that will be made; the gap compares what
    was ranked.
    """
    costs = {"false_positive": 1, "false_negative": 20}
    plain = report_of(spec_of(metric="f1"))
    report = report_of(spec_of(metric="f1", costs=costs))
    cut = report.threshold.value
    assert cut < plain.threshold.value
    assert report.score("f1").interval.estimate == EXPORTED.score("f1", cut)
    assert report.gap == plain.gap


def test_losses_of_a_target_in_small_units_are_no_zeros():
    """The largest has its own digits; what is chance beside it stays 0."""
    ranked = (
        FeatureImportance("rate", 3e-6, 3e-7, True),
        FeatureImportance("noise", 1e-12, 1e-13, False),
    )
    report = report_of(usage=Usage("roc_auc", 200, 5, ranked, (), 200))
    text = text_of(report).replace("\\", "")
    assert "| rate | 3.0e-06 (2.7e-06 to 3.3e-06) | yes |" in text
    assert "| noise | 0.0000 (0.0000 to 0.0000) |" in text


def test_importance_and_dependence_find_what_the_table_was_made_of():
    """The feature that is noise comes last, and the hour moves the prediction
    upwards.
    """
    usage = accepted("regression").check.report.usage
    first, *_, last = usage.importance
    assert last.feature == "noise"
    assert first.drop > 10 * last.drop
    curves = {curve.feature: curve for curve in usage.dependence}
    (hour,) = curves["hour"].means
    assert hour[-1] - hour[0] == pytest.approx(40 * 23 / 8, rel=0.2)
    carrier = curves[STRANGE]
    assert carrier.values[int(np.argmax(carrier.means[0]))] == "EWR"
    assert "missing" in carrier.values


# --- the rows of the largest loss ---


@each_task
def test_the_largest_losses_come_first_with_the_row_as_delivered(task: str):
    """Of every validation row there is target, prediction and loss; the loss follows
    from these.
    """
    check, delivered = accepted(task).check, table(task)
    rows = check.rows
    for column, source in (("target", "y"), ("distance", "distance")):
        assert rows[column].equals(delivered[source].loc[rows.index])
    losses = rows["loss"][rows["set"] == "validation"]
    metric = "mae" if task == "regression" else "log_loss"
    score = check.report.score(metric)
    assert losses.mean() == pytest.approx(score.interval.estimate)
    worst = worst_of(rows, 7)
    assert list(worst["set"]) == ["validation"] * 7 + ["test"] * 7
    assert worst["loss"].iloc[0] == losses.max()


def test_ids_and_names_may_hold_anything():
    """An id is shown although no model sees it, as text; a feature called `loss` keeps
    its values.
    """
    frame = table("binary").rename(columns={"noise": "loss"})
    frame["who"] = [f"<script>{number}</script>" for number in range(len(frame))]
    split = {"by": "random", "id_columns": ["who"]}
    shown = look_at(frame, "binary", {"positive_class": "yes & <b>", "split": split})
    rows = shown.check.rows
    assert list(rows)[:3] == ["set", "who", "target"]
    assert np.array_equal(rows["delivered_loss"], frame["loss"].loc[rows.index])
    who = worst_of(rows, 1)["who"].iloc[0]
    assert who.replace("<", "&lt;").replace(">", "&gt;") in shown.page
    assert who not in shown.page


def test_they_are_stored_beside_the_report_but_not_in_its_markdown():
    """Markdown goes into event logs: what identifies a person stays in the storage."""
    check = accepted("binary").check
    contents = check.contents(lambda: FittedRows(("x",), np.zeros(0, np.uint64)))
    assert b"Worst rows" in contents["report.html"]()
    assert b"Worst rows" not in contents["report.md"]()
    assert from_parquet(contents["predicted_rows.parquet"]()).equals(check.rows)


def test_in_a_notebook_it_is_one_line():
    """Decision, configuration, score and rows, in place of a page of fields."""
    report = report_of()
    assert repr(report).startswith("board: accepted, lightgbm__num_leaves=4: roc")
    held = replace(report, conditions=("drift_over_time: x",))
    assert held.decision == "accepted with conditions (drift_over_time)"
    assert f"board: {held.decision}, " in repr(held)
    strict = spec_of(acceptance=[{"metric": "f1", "at_least": 0.99}])
    assert "board: not accepted (lower bound of f1" in repr(report_of(strict))
