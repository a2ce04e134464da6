"""The rule in use today: what it answers, and whether the model is better."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import render
from experiment_pipeline.reporting.run_record import EvidenceRow
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.page import document
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.storage.tables import from_parquet, to_parquet
from experiment_pipeline_tests.stages.leaderboard.board_examples import shown_of
from experiment_pipeline_tests.stages.validation_report.checked import (
    Checked,
    look_at,
    searched,
    spec_of,
    table,
)

YES = {"positive_class": "yes & <b>"}
COSTS = {"costs": {"false_positive": 2, "true_positive": -40, "per_month": 500}}


def told(task: str, rule: object, **settings: Any) -> Checked:
    """The final evaluation of a table with the answers of a rule."""
    frame = table(task, 1_500).assign(rule=rule)
    positive = YES if task == "binary" else {}
    return look_at(frame, task, {"incumbent": "rule", **positive, **settings})


def poor(task: str) -> np.ndarray:
    """Answers that know nothing: of other rows."""
    return table(task, 1_500)["y"].sample(frac=1, random_state=0).to_numpy()


def compared(report: ValidationReport) -> EvidenceRow:
    """The row of the incumbent."""
    (row,) = [row for row in report.evidence if row.kind == "incumbent"]
    return row


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_model_that_knows_more_is_better_than_the_rule(task: str):
    """Classes and numbers are read as answers; the rule is no feature."""
    checked = told(task, poor(task))
    report = checked.check.report
    assert report.accepted
    assert report.incumbent.answer == "significantly better than the incumbent rule"
    assert compared(report).rows == report.rows
    assert [used.feature for used in report.usage.importance].count("rule") == 0
    sides = {
        "multiclass": "upper bound must not be below",
        "regression": "lower bound must not be above",
    }
    words = report.gates_in_words
    assert "not worse than the incumbent rule: " in words
    assert f"Its {sides[task]} 0: " in words
    assert "the incumbent rule, by" in render(checked.document)
    assert ValidationReport.from_json(report.to_json()).incumbent == report.incumbent


def test_a_rule_that_is_surely_better_stops_the_model():
    """Here it knows the target: the gate fails, with its own reason."""
    checked = told("binary", table("binary", 1_500)["y"])
    report = checked.check.report
    assert [gate.name for gate in report.failed_gates] == [
        "not worse than the incumbent rule"
    ]
    assert report.incumbent.answer == "significantly worse than the incumbent rule"
    codes = [reason.code for reason in checked.check.next_search.reasons]
    assert "worse_than_incumbent" in codes


@pytest.mark.parametrize("settings", [{}, COSTS], ids=["metric", "costs"])
def test_probabilities_have_a_threshold_from_the_test_rows(settings: dict[str, Any]):
    """So the rule loses nothing by its scale; without costs it is worth nothing."""
    frame = table("binary", 1_500)
    by_hour = expit((frame["hour"] - 60) / 8)
    report = told("binary", by_hour, **settings).check.report
    assert report.incumbent.metric == "roc_auc"
    worth = [row for row in report.evidence if row.kind == "worth"]
    assert [row.what.partition(",")[0] for row in worth] == (
        ["doing nothing", "alarming always", "the incumbent rule"] if settings else []
    )
    if settings:
        # At half a probability it would call nobody, and cost as much as that.
        assert worth[2].score < min(worth[0].score, worth[1].score + 1)


def test_a_rule_of_classes_is_compared_by_decisions():
    """By what the threshold is best for: the cost, else a metric of decisions."""
    metrics = [
        told("binary", poor("binary"), **settings).check.report.incumbent.metric
        for settings in (COSTS, {})
    ]
    assert metrics == ["expected cost per row", "f1"]


def test_rows_without_an_answer_are_left_out_and_counted():
    """And a rule that hardly ever answers blocks nothing."""
    rule = pd.Series(poor("regression"))
    rule[::3] = np.nan
    report = told("regression", rule).check.report
    missing = report.incumbent.left_out
    assert 0 < missing == report.rows - report.incumbent.rows
    assert f"{missing:,} rows without its answer" in compared(report).what
    rule[10:] = np.nan
    report = told("regression", rule).check.report
    (gate,) = [gate for gate in report.gates if "incumbent" in gate.name]
    assert (gate.outcome, report.accepted) == ("INCONCLUSIVE", True)


def test_the_rule_is_pinned_on_the_leaderboard():
    """Scored on the test rows that it answers, beside the choice on the same rows."""
    frame = table("regression", 1_500)
    frame["rule"] = frame["y"] + 1.0
    frame.loc[::3, "rule"] = np.nan
    choice = searched(frame, "regression", {"incumbent": "rule"})
    comparison = choice.board.incumbent
    assert comparison.rows == choice.sets.test["rule"].notna().sum()
    score, of_choice = comparison.scores
    assert score == pytest.approx(1)  # the mean absolute error
    text = f"mae {numbers.score(score)}, minus the choice "
    text += f"{numbers.gap(score - of_choice, beside=of_choice)}, on "
    shown = shown_of(choice.spec, choice.board)
    page = render(document(shown, "flights"))
    (row,) = [line for line in page.splitlines() if "| incumbent rule |" in line]
    assert f"{text}{comparison.rows:,} rows" in row
    assert page.index(row) < page.index("| 1 |")
    stored = from_parquet(to_parquet(choice.board), Leaderboard)
    assert stored.incumbent == comparison


@pytest.mark.parametrize(
    ("task", "rule", "words"),
    [
        ("binary", 7.0, "or probabilities, 0 to 1, such as '7.0'"),
        ("multiclass", 0.3, "$never$"),
        ("regression", "much", "other values than numbers"),
    ],
)
def test_other_answers_are_refused(task: str, rule: object, words: str):
    """By column, rule and fix."""
    with pytest.raises(UnusableTable, match="incumbent rule") as refused:
        told(task, rule)
    assert words in str(refused.value)


def test_the_incumbent_has_no_other_role():
    """No feature, whatever else the YAML says."""
    assert "rule" in spec_of("regression", {"incumbent": "rule"}).not_features
    for other in ({"exclude": {"rule": "why"}}, {"sample_weight": "rule"}):
        with pytest.raises(ValueError, match="rule"):
            spec_of("regression", {"incumbent": "rule", **other})
