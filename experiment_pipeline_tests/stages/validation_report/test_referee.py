"""What a referee asks: challengers, robustness, and what a run cannot know."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from experiment_pipeline.reporting.document import render
from experiment_pipeline.reporting.run_record import EvidenceRow
from experiment_pipeline.stages.leaderboard.chosen import ChosenModel
from experiment_pipeline.stages.search.results import Predictions, TrainedModel
from experiment_pipeline.stages.validation_report.effects import Usage
from experiment_pipeline.stages.validation_report.judged_model import JudgedModel
from experiment_pipeline.stages.validation_report.ledger import EarlierLooks
from experiment_pipeline.stages.validation_report.referee import (
    Case,
    LinearModel,
    challengers,
    rests_on,
    robustness,
    unknowns,
    worth,
)
from experiment_pipeline.stages.validation_report.report import (
    judge,
)
from experiment_pipeline.statistics.importance import FeatureImportance
from experiment_pipeline_tests.results import apart, model_result
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    spec_of,
    store_of,
)
from experiment_pipeline_tests.stages.validation_report.checked import (
    SEARCH,
    look_at,
    table,
)
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    judged,
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


def case(model: JudgedModel, looks: int = 0, **changes: Any) -> Case:
    """What is asked of a model after so many looks."""
    report = judge(model, looks=EarlierLooks(looks, 0.5))
    return replace(Case(model, report, "", predict=len, most_features=9), **changes)


def shaken(
    predict: Callable[[pd.DataFrame], np.ndarray], most_features: int = 9
) -> list[EvidenceRow]:
    """The robustness of a model of the rows, judged by log loss."""
    model = judged(
        spec_of(metric="log_loss"),
        apart(Y, predict(ROWS)),
        rows=ROWS,
        fitted=ROWS,
        features=tuple(ROWS),
    )
    return [*robustness(case(model, predict=predict, most_features=most_features))]


@pytest.mark.parametrize("metric", ["log_loss", "f1"])
def test_challengers_are_paired_with_the_exported_model(metric: str):
    """Each has its score, at its own threshold, and the difference with an interval
    around it.
    """
    noisy = seen_through(2, seed=1)
    model = judged(spec_of(metric=metric), seen_through(0.5, seed=1))
    questions = case(model, linear=LinearModel("linear__C=1", noisy, 0.2))
    baseline, linear = challengers(questions)
    score = questions.report.score(metric)
    assert baseline.difference == score.difference_to_baseline.estimate
    assert linear.score == pytest.approx(noisy.score(metric, 0.2))
    difference = score.interval.estimate - linear.score
    assert linear.difference == pytest.approx(difference)
    assert linear.low * linear.high > 0, "the noisier model is significantly worse"


def test_the_linear_model_is_fitted_again():
    """On the rows of the exported one, without a further look."""
    x = np.random.default_rng(1).normal(size=1_200)
    frame = pd.DataFrame({"x": x, "y": np.where(abs(x) > 0.7, "yes", "no")})
    frame = frame.rename_axis(index="row_number")
    report = look_at(frame, "binary", {"ensemble": "off"}).check.report
    _, linear, *_ = report.evidence
    assert linear.what.startswith("the best linear model, linear, fitted on the same")
    assert (linear.rows, report.looks) == (report.rows, 1)
    assert linear.difference > linear.low > 0


def test_what_takes_too_long_is_not_computed_and_says_so():
    """Without time nothing is fitted again, which a note says; scores and gates are
    there.
    """
    settings = {"search": SEARCH[::-1]}
    shown = look_at(table("regression", 600), "regression", settings, seconds_left=0.0)
    report, text = shown.check.report, render(shown.document)
    assert (report.usage, report.segments) == (None, None)
    assert report.gates
    assert "the budget of seconds was spent" in "".join(report.notes)
    assert "4 less important features: not computed" in text


@pytest.mark.parametrize(
    ("costs", "rows", "words"),
    [
        ({"true_positive": -40, "per_month": 5_000}, 5_000, "in a month of 5,000 rows"),
        ({"false_negative": 40}, 1_000, "per 1,000 rows"),
    ],
)
def test_a_model_is_worth_what_its_decisions_save(
    costs: dict[str, float], rows: int, words: str
):
    """Against calling no row and every row, for so many rows as a month has; the two
    differ by what these cost.
    """
    noisy = expit(3 * ROWS["x"] + np.random.default_rng(1).normal(size=400))
    spec = spec_of(costs={"false_positive": 2, **costs})
    model = judged(spec, apart(Y, noisy.to_numpy()), rows=ROWS)
    nothing, always = worth(case(model))
    called = noisy.to_numpy() >= model.cut
    found = 40 * (called & (Y == 1)).mean()
    assert nothing.what == f"doing nothing, {words}"
    assert nothing.difference == pytest.approx(
        rows * (found - 2 * (called & (Y == 0)).mean())
    )
    assert nothing.low < nothing.difference < nothing.high
    assert nothing.score - nothing.difference == pytest.approx(
        always.score - always.difference
    )


@pytest.mark.parametrize(
    ("second", "expected"), [("linear_regression.Mine", "2"), ("linear", "1")]
)
def test_the_best_linear_model_is_the_first_of_the_board(second: str, expected: str):
    """Also where halving stopped it: those stand last, without a rank; failed ones have
    no score.
    """
    rows = {
        "algorithm": ["lightgbm", second, "sklearn.linear_model.Ridge", "linear"],
        "test_score": [0.8, 0.7, 0.6, math.nan],
        "fingerprint": ["f-0", "f-1", "f-2", "f-3"],
    }
    board: Any = SimpleNamespace(
        rows=pd.DataFrame(rows), chosen_ensemble=None, fingerprint="f-0"
    )
    fits = {
        key: TrainedModel(model_result(key, 0.7), b"", Predictions(Y, Y))
        for key in "0123"
    }
    assert ChosenModel.of(board, store_of(fits), Y, Y).linear.result.key == expected


def test_the_largest_losses_of_changed_features_come_first():
    """A feature that the model does not use changes nothing; one that it uses costs
    what it costs.
    """
    rows = shaken(lambda rows: expit(3 * rows["x"].fillna(0).to_numpy()))
    losses = {row.what: row.difference for row in rows}
    assert [*losses.values()] == sorted(losses.values(), reverse=True)
    used, unused = rows[:4], rows[4:]
    for row in used:
        assert row.what.startswith("x: ")
        assert row.difference > row.low > 0
    assert {row.difference for row in unused} == {0.0}
    scores = {row.what: row.score for row in used}
    assert scores["x: missing"] == pytest.approx(math.log(2))


def test_changed_columns_keep_their_types_and_code_that_raises_is_a_finding():
    """A model sees whole numbers and texts as such; the change that it cannot take is
    named first.
    """

    def predict(rows: pd.DataFrame) -> np.ndarray:
        if rows["text"].isna().any():
            raise ZeroDivisionError
        return np.full(len(rows), 0.5 if (rows.dtypes == ROWS.dtypes).all() else 0.1)

    first, *rest = shaken(predict)
    assert first.what == "text: missing: predicting raises ZeroDivisionError"
    changes = {row.what: row.difference for row in rest}
    assert changes["whole: missing"] == changes["text: a category never seen"] == 0
    less = "3 less important features: not computed"
    assert shaken(predict, most_features=1)[-1].what == less


@pytest.mark.parametrize(
    ("settings", "looks", "clusters", "told", "untold"),
    [
        ({"by": "time"}, 0, 1_500, "Changes after 7, the last valid", "sensitivity"),
        ({"by": "group"}, 0, 1_500, "beyond new values of day", "No id column"),
        ({}, 3, 5, "4 models were scored on these", "groups by another"),
    ],
)
def test_a_sentence_on_what_is_not_known_stands_where_it_applies(
    settings: dict[str, str], looks: int, clusters: int, told: str, untold: str
):
    """It is derived from settings and results of this run."""
    split = {"split": settings | {"column": "day"}} if settings else {}
    numbers = np.arange(1_500)
    exported = replace(seen_through(1, seed=1), clusters=numbers % clusters)
    rows = pd.DataFrame({"day": numbers % 8})
    model = judged(spec_of(**split), exported, rows=rows)
    text = "\n".join(row.what for row in unknowns(case(model, looks)))
    assert told in text
    assert untold not in text


@pytest.mark.parametrize(("days", "is_named"), [(240, True), (1_200, False)])
def test_seasons_that_no_row_has_seen_are_named(days: int, *, is_named: bool):
    """Nine months of hourly temperatures promise nothing of the winter."""
    day = pd.Timestamp(2026, 1, 1) + pd.to_timedelta(np.arange(1_500) % days, "D")
    rows = pd.DataFrame({"day": day})
    spec = spec_of(split={"by": "time", "column": "day"})
    model = judged(spec, seen_through(1, seed=1), rows=rows, fitted=rows)
    text = "\n".join(row.what for row in unknowns(case(model)))
    assert (f"The rows span {days - 1} days" in text) == is_named


def test_a_feature_that_most_of_the_score_rests_on_is_named():
    """If shuffling it costs half of the lead over the baseline, and no other comes near:
    it may be one that nobody knows in time.
    """
    model = judged(spec_of(metric="log_loss"), seen_through(0.5, seed=1))
    asked = case(model)
    lead = abs(asked.report.score("log_loss").difference_to_baseline.estimate)

    def named(first: float, second: float, *, significant: bool | None = True) -> list:
        used = (
            FeatureImportance("months", first * lead, 0.0, significant),
            FeatureImportance("age", second * lead, 0.0, True),
        )
        usage = Usage("log_loss", 300, 5, used, (), 0)
        report = replace(asked.report, usage=usage)
        return [row.what for row in rests_on(replace(asked, report=report))]

    assert named(0.6, 0.1) == ["months"]
    assert named(0.4, 0.01) == named(0.9, 0.3) == []
    assert named(0.6, 0.1, significant=None) == []
    assert [*rests_on(asked)] == []
