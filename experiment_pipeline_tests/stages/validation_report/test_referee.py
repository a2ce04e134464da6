"""What a referee asks: challengers, robustness, and what a run cannot know."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.reporting.document import render
from experiment_pipeline.reporting.run_record import EvidenceRow
from experiment_pipeline.stages.validation_report.effects import Segment
from experiment_pipeline.stages.validation_report.ledger import EarlierLooks
from experiment_pipeline.stages.validation_report.referee import challengers, robustness, unknowns
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of
from experiment_pipeline_tests.stages.validation_report.checked import checked, look_at, table
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    report_of,
    seen_through,
)

ROWS = pd.DataFrame(
    {
        "x": np.random.default_rng(0).normal(size=400),
        "whole": pd.array([1, 2, None, 4] * 100, dtype="Int64"),
        "text": pd.array(["a", "b"] * 200, dtype="str"),
        "flag": [True, False] * 200,
    }
)
Y = (ROWS["x"] > 0).to_numpy().astype(int)


def of_kind(rows: Any, kind: str) -> list[EvidenceRow]:
    """The rows of one kind."""
    return [row for row in rows if row.kind == kind]


def shaken(predict: Callable[[pd.DataFrame], np.ndarray], most: int = 9) -> list[EvidenceRow]:
    """What is found of a model of the rows, judged by log loss."""
    plain = SetPrediction(Y, predict(ROWS), np.arange(len(Y)))
    return list(robustness(predict, ROWS, ROWS, plain, "log_loss", 0.5, list(ROWS), most))


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "f1"])
def test_challengers_are_paired_with_the_exported_model(metric: str) -> None:
    """Each has its score, at its own threshold, and the difference with an interval around it."""
    exported, linear = seen_through(0.5, seed=1), seen_through(2, seed=1)
    report = report_of(spec_of(metric=metric), exported=exported)
    baseline, other = challengers(report, exported, ("linear__C=1", linear, 0.2))
    own = report.score(metric)
    assert baseline.score == own.baseline
    assert baseline.difference == own.difference_to_baseline.estimate
    assert other.score == pytest.approx(linear.score(metric, 0.2))
    assert other.difference == pytest.approx(own.interval.estimate - other.score)
    assert other.low < other.difference < other.high
    assert other.low * other.high > 0, "the noisier model is significantly worse"
    assert "linear__C=1, fitted on the rows of the exported one" in other.what


def test_the_linear_challenger_is_the_best_of_the_search_on_as_many_rows() -> None:
    """Fitted on train and test rows as the exported one; no further look is counted."""
    x = np.random.default_rng(1).normal(size=600)
    frame = pd.DataFrame({"x": x, "y": x**2}).rename_axis(index="row_number")
    report = look_at(frame, "regression", {"ensemble": "off"}).check.report
    _, linear = of_kind(report.evidence, "challenger")
    assert report.configuration.startswith("lightgbm")
    assert linear.what.startswith("the best linear model, linear, fitted on the rows of")
    assert (linear.rows, report.looks) == (report.rows, 1)
    assert linear.difference < linear.high < 0
    (_, itself) = of_kind(checked("binary").check.report.evidence, "challenger")
    assert itself.what == "the best linear model: it is the exported one"


def test_what_takes_too_long_is_not_computed_and_says_so() -> None:
    """Without time left nothing is fitted or predicted again; the baseline costs nothing."""
    found = look_at(table("regression", 600), "regression", {}, seconds_left=0)
    text = render(found.document)
    (robust,) = of_kind(found.check.report.evidence, "robustness")
    assert robust.what == "4 less important features: not computed"
    baseline, linear = of_kind(found.check.report.evidence, "challenger")
    assert baseline.score is not None
    assert "fitting it again would take too long" in linear.what or "exported" in linear.what
    assert robust.what in text


def test_the_largest_losses_of_changed_features_come_first() -> None:
    """A feature that the model does not use changes nothing; one that it uses costs what it costs."""
    found = shaken(lambda rows: 1 / (1 + np.exp(-3 * rows["x"].fillna(0).to_numpy())))
    changes = {row.what.partition(": ")[2] for row in found if row.what.startswith("x")}
    assert changes == {
        *("missing", "noise of one standard deviation"),
        *("above the fitted range", "below the fitted range"),
    }
    assert [row.difference for row in found] == sorted((r.difference for r in found), reverse=True)
    assert all(row.difference > row.low > 0 for row in found[:4])
    assert {row.difference for row in found[4:]} == {0.0}
    (missing,) = [row for row in found if row.what == "x: missing"]
    assert missing.score == pytest.approx(math.log(2))


def test_changed_columns_keep_their_types() -> None:
    """A model sees whole numbers, texts and booleans as such, and no missing value where none fits."""
    seen = []

    def predict(rows: pd.DataFrame) -> np.ndarray:
        seen.append(rows)
        return np.full(len(rows), 0.5)

    names = {row.what for row in shaken(predict)}
    assert all((rows.dtypes == ROWS.dtypes).all() for rows in seen)
    assert {"whole: missing", "text: a category never seen"} <= names
    assert not any(name.startswith("flag") for name in names)


def test_code_that_raises_for_a_changed_row_is_a_finding() -> None:
    """The report is made; the change is named first, the others have their numbers."""

    def predict(rows: pd.DataFrame) -> np.ndarray:
        if rows["text"].isna().any():
            raise ZeroDivisionError
        return np.full(len(rows), 0.5)

    first, *others = shaken(predict)
    assert first.what == "text: missing: predicting raises ZeroDivisionError"
    assert first.score is None
    assert all(row.score is not None for row in others)
    assert shaken(predict, most=1)[-1].what == "3 less important features: not computed"


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({}, "The split is not by time", "the last validation row"),
        ({}, "No id column is declared", "models were scored"),
        ({}, "experiment-pipeline sensitivity board", "How exact the intervals are"),
        ({}, "No costs are declared", "beyond new values"),
        (
            {"split": {"by": "time", "column": "day"}},
            "Changes after 7, the last validation row",
            "sensitivity",
        ),
        (
            {"split": {"by": "group", "column": "day"}},
            "beyond new values of day",
            "No id column is declared",
        ),
        ({"costs": {"false_positive": 1, "false_negative": 2}}, "taken as true", "No costs"),
        ({"looks": 3}, "4 models were scored on these validation rows", "\n"),
        ({"clusters": 5}, "How exact the intervals are is not known: the validation", "\n"),
        ({"segments": ()}, "groups by another column", "Weak segments were not computed"),
        ({"segments": None}, "Weak segments were not computed", "groups by another column"),
    ],
)
def test_a_sentence_on_what_is_not_known_stands_where_it_applies(
    changes: dict[str, Any], said: str, unsaid: str
) -> None:
    """It is derived from settings and results of this run."""
    given = {"looks": 0, "clusters": 1_500, "segments": (), **changes}
    looks, clusters, segments = (given.pop(name) for name in ("looks", "clusters", "segments"))
    seen = seen_through(1, seed=1)
    exported = SetPrediction(seen.y, seen.prediction, np.arange(1_500) % clusters)
    parts: tuple[Segment, ...] | None = segments
    spec = spec_of(**given)
    report = report_of(
        spec, exported=exported, segments=parts, earlier_looks=EarlierLooks(looks, 0.5)
    )
    rows = pd.DataFrame({"day": np.arange(1_500) % 8})
    text = "\n".join([row.what for row in unknowns(spec, report, rows, exported)])
    assert said in text
    assert unsaid == "\n" or unsaid not in text


def test_a_report_is_read_back_with_its_evidence() -> None:
    """Rows whose numbers are not defined stay what they are."""
    report = checked("binary").check.report
    again = ValidationReport.from_json(report.to_json())
    assert [row.what for row in again.evidence] == [row.what for row in report.evidence]
    assert of_kind(again.evidence, "challenger") == of_kind(report.evidence, "challenger")
