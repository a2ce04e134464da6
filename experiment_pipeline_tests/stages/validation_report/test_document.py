"""The document of a report: what each task is told, with pictures that say their number."""

import json
import re

import numpy as np
import pytest

from experiment_pipeline.reporting.document import Chart, TableBlock, render
from experiment_pipeline.reporting.run_record import worst_of
from experiment_pipeline.stages.validation_report.effects import Usage
from experiment_pipeline.stages.validation_report.page import build_document
from experiment_pipeline.stages.validation_report.report import ValidationReport, exported_threshold
from experiment_pipeline.statistics.importance import FeatureImportance
from experiment_pipeline.statistics.thresholds import EXPECTED_COST
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
    report_of,
    seen_through,
)

MOST_BYTES = 1_400_000
EVERY = {
    "binary": ["Decision", "Scores", "Calibration", "Decision threshold", "Class by class"],
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
    return list(next(one.blocks for one in found.document.sections if one.title == title))


@each_task
def test_each_task_is_told_what_concerns_it_in_this_order(task: str) -> None:
    """The decision first, then scores, then what explains them; notes last."""
    assert [one.title for one in of(task).document.sections] == [
        *(*EVERY[task], *LAST),
        "Prediction intervals" if task == "regression" else "Prediction sets",
        *REFEREE,
    ]
    assert section(of(task), "Decision")[0].text.startswith("Accepted: the one gate passes (")
    assert not any("the budget" in note for note in of(task).check.report.notes)
    every, *parts = of(task).check.report.coverage.parts
    assert every.score.high > 0.9
    classes = [part.value for part in parts if part.column == "y"]
    assert len(classes) == {"binary": 2, "multiclass": 4, "regression": 0}[task]


@each_task
def test_every_chart_states_its_number_and_shows_one_where_pointed_at(task: str) -> None:
    """For readers who do not see it; each has a title of its own, colours of the page, and tips."""
    shown = charts_of(of(task))
    assert len(shown) >= 6
    assert all(re.search(r"\d", one.alt) and one.alt.endswith(".") for one in shown)
    assert len({one.title for one in shown}) == len(shown)
    for one in shown:
        text = json.dumps(one.option, allow_nan=False)
        colours = re.findall(r'"(?:color|borderColor)": "([^"]+)"', text)
        assert all(colour.startswith(("var(--", "color-mix(")) for colour in colours), one.title
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


def test_with_costs_the_cheapest_threshold_is_exported_and_judged_on_validation() -> None:
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
    assert min(way.on_test for way in ways) == ways[0].on_test == report.threshold.test_score
    assert ways[0].on_validation.low < ways[0].on_validation.estimate < ways[0].on_validation.high
    assert ways[2].on_validation.estimate == pytest.approx(10 * report.prevalence)
    assert ways[3].on_validation.estimate == pytest.approx(1 - report.prevalence)
    assert "minimises expected cost per row" in section(found, "Decision threshold")[0].text


def test_costs_move_the_threshold_and_scores_at_it_but_neither_gap_nor_ranking() -> None:
    """f1 is that of the decisions that will be made; the gap compares what was ranked."""
    costly = spec_of(metric="f1", costs={"false_positive": 1, "false_negative": 20})
    exported, test = seen_through(1, seed=1), seen_through(1, seed=2)
    plain = report_of(spec_of(metric="f1"), exported=exported, test=test)
    report = report_of(
        costly, exported=exported, test=test, threshold=exported_threshold(costly, test)
    )
    assert report.threshold.value < plain.threshold.value
    assert report.score("f1").interval.estimate == exported.score("f1", report.threshold.value)
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
    assert gates.rows[0][3:] == ("0.9700", "the lower bound of the 95 % interval does not pass")
    assert "exported" not in render(found.document), "nothing was"


def test_losses_of_a_target_in_small_units_are_no_zeros() -> None:
    """The largest has its own digits; what is chance beside it stays 0."""
    each = (("rate", 3e-6, True), ("noise", 1e-12, False))
    ranked = tuple(FeatureImportance(name, drop, drop / 10, sure) for name, drop, sure in each)
    used = Usage("roc_auc", 200, 5, ranked, (), 200)
    text = render(build_document(report_of(usage=used))).replace("\\", "")
    assert "| rate | 3e-06 | 3e-07 | yes |" in text
    assert "| noise | 0.0000 | 0.0000 |" in text


def test_importance_and_dependence_find_what_the_table_was_made_of() -> None:
    """The feature that is noise comes last, and the hour moves the prediction upwards."""
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


@pytest.mark.parametrize("real", [True, False])
def test_generated_features_show_what_they_gained_and_cost(*, real: bool) -> None:
    """Where the target follows a ratio the report names the exported column; on noise it says none was better."""
    frame = table("regression", 900)
    frame["hour"] += 1
    ratio = frame["distance"].fillna(0) / frame["hour"]
    frame["y"] = np.log1p(ratio) if real else np.random.default_rng(1).normal(size=len(frame))
    encoders = {"features": ["ordinal", "generated"], "hyperparameters": {"n_estimators": 25}}
    search = [{"algorithm": "lightgbm", **encoders}]
    found = look_at(frame, "regression", {"search": search}, seconds_left=0)
    text, *others, receipts = section(found, "Generated features")
    assert ("generated features: arithmetic, deviations" in text.text) == real
    assert ("none was significantly better" in text.text) != real
    assert ["distance / hour" in one.text for one in others] == [True] * real
    ((key, encoder, against, _, better, chosen, *_),) = receipts.rows
    assert (encoder, better, chosen) == ("generated", *(["yes" if real else "no"] * 2))
    assert {key, against} == {f"lightgbm__features={one}" for one in encoders["features"]}
    report = found.check.report
    assert ValidationReport.from_json(report.to_json()).receipts == report.receipts


# --- the rows of the largest loss ---


@each_task
def test_the_largest_losses_come_first_with_the_row_as_delivered(task: str) -> None:
    """Of every validation row there is target, prediction and loss; the loss follows from these."""
    rows, delivered = checked(task).check.rows, table(task)
    seen = rows[rows["set"] == "validation"]
    assert rows["target"].equals(delivered["y"].loc[rows.index])
    assert rows["distance"].equals(delivered["distance"].loc[rows.index])
    score = checked(task).check.report.score("mae" if task == "regression" else "log_loss")
    assert seen["loss"].mean() == pytest.approx(score.interval.estimate)
    worst = worst_of(rows, 7)
    assert list(worst["set"]) == ["validation"] * 7 + ["test"] * 7
    assert worst["loss"].iloc[0] == seen["loss"].max()


def test_ids_and_names_may_hold_anything() -> None:
    """An id is shown although no model sees it, as text; a feature called `loss` keeps its values."""
    frame = table("binary").rename(columns={"noise": "loss"})
    frame["who"] = [f"<script>{number}</script>" for number in range(len(frame))]
    split = {"by": "random", "id_columns": ["who"]}
    found = look_at(frame, "binary", {"positive_class": "yes & <b>", "split": split})
    rows = found.check.rows
    assert list(rows)[:3] == ["set", "who", "target"]
    assert rows["delivered_loss"].equals(frame["loss"].loc[rows.index].rename("delivered_loss"))
    first = worst_of(rows, 1).iloc[0]
    assert first["who"].replace("<", "&lt;").replace(">", "&gt;") in found.page
    assert first["who"] not in found.page


def test_they_are_stored_beside_the_report_but_not_in_its_markdown() -> None:
    """Markdown goes into event logs: what identifies a person stays in the storage."""
    files = (check := checked("binary").check).files(FittedRows(("x",), np.zeros(0, np.uint64)))
    assert b"Worst rows" in files["report.html"]
    assert b"Worst rows" not in files["report.md"]
    assert from_parquet(files["predicted_rows.parquet"]).equals(check.rows)
