"""What a referee asks: challengers, robustness, and what a run cannot know."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.reporting.document import render
from experiment_pipeline.reporting.run_record import EvidenceRow
from experiment_pipeline.stages.leaderboard.chosen import ChosenModel
from experiment_pipeline.stages.search.results import Predictions, TrainedModel
from experiment_pipeline.stages.validation_report.ledger import EarlierLooks
from experiment_pipeline.stages.validation_report.referee import (
    Case,
    LinearModel,
    challengers,
    robustness,
    unknowns,
)
from experiment_pipeline.stages.validation_report.report import ValidationReport, judge
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.results import model_result
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


def shaken(
    predict: Callable[[pd.DataFrame], np.ndarray], most: int = 9
) -> list[EvidenceRow]:
    """What is found of a model of the rows, judged by log loss."""
    plain = SetPrediction(Y, predict(ROWS), np.arange(len(Y)))
    model = judged(
        spec_of(metric="log_loss"),
        plain,
        rows=ROWS,
        fitted=ROWS,
        features=tuple(ROWS),
    )
    return list(robustness(Case(model, judge(model), "", predict, most)))


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "f1"])
def test_challengers_are_paired_with_the_exported_model(metric: str) -> None:
    """Each has its score, at its own threshold, and the difference with an interval
    around it.
    """
    exported, linear = seen_through(0.5, seed=1), seen_through(2, seed=1)
    model = judged(spec_of(metric=metric), exported)
    report = judge(model)
    linear_model = LinearModel("linear__C=1", linear, 0.2)
    case = Case(model, report, linear_model, predict=len, most_features=0)
    baseline, other = challengers(case)
    own = report.score(metric)
    assert baseline.difference == own.difference_to_baseline.estimate
    assert other.score == pytest.approx(linear.score(metric, 0.2))
    assert other.difference == pytest.approx(own.interval.estimate - other.score)
    assert other.low * other.high > 0, "the noisier model is significantly worse"


def test_the_linear_model_is_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the rows of the exported one, also where halving has scored it on few test
    rows.
    """
    whole = ChosenModel.of

    def stopped(*given: Any) -> ChosenModel:
        chosen = whole(*given)
        return replace(
            chosen, linear=replace(chosen.linear, on_test=chosen.linear.on_test[:9])
        )

    monkeypatch.setattr(ChosenModel, "of", stopped)
    x = np.random.default_rng(1).normal(size=1_200)
    y, numbers = (
        np.where(abs(x) > 0.7, "yes", "no"),
        pd.RangeIndex(1_200, name="row_number"),
    )
    frame = pd.DataFrame({"x": x, "y": y}, numbers)
    report = look_at(frame, "binary", {"ensemble": "off"}).check.report
    _, linear, *_ = report.evidence
    assert linear.what.startswith("the best linear model, linear, fitted on the same")
    assert (linear.rows, report.looks) == (report.rows, 1)
    assert linear.difference > linear.low > 0


def test_what_takes_too_long_is_not_computed_and_says_so() -> None:
    """Without time nothing is fitted again, which a note says; scores and gates are
    there.
    """
    frame = table("regression", 600)
    found = look_at(frame, "regression", {"search": SEARCH[::-1]}, seconds_left=0.0)
    report, text = found.check.report, render(found.document)
    assert (report.usage, report.segments or None, bool(report.gates)) == (
        None,
        None,
        True,
    )
    assert any("the budget of seconds was spent" in note for note in report.notes)
    again = ValidationReport.from_json(report.to_json())
    assert [row.what for row in again.evidence] == [row.what for row in report.evidence]
    assert "4 less important features: not computed" in text
    assert (
        "fitting it again would take too long" in text
        or report.configuration == "linear"
    )


@pytest.mark.parametrize(
    ("second", "expected"), [("linear_regression.Mine", "2"), ("linear", "1")]
)
def test_the_best_linear_model_is_the_first_of_the_board(
    second: str, expected: str
) -> None:
    """Also where halving stopped it: those stand last, without a rank; failed ones have
    no score.
    """
    named = {"algorithm": ["lightgbm", second, "sklearn.linear_model.Ridge", "linear"]}
    named |= {
        "test_score": [0.8, 0.7, 0.6, math.nan],
        "fingerprint": [f"f-{k}" for k in range(4)],
    }
    board: Any = SimpleNamespace(
        rows=pd.DataFrame(named), chosen_ensemble=None, fingerprint="f-0"
    )
    fits = {
        k: TrainedModel(model_result(k, 0.7), b"", Predictions(Y, Y)) for k in "0123"
    }
    assert ChosenModel.of(board, store_of(fits), Y, Y).linear.result.key == expected


def test_the_largest_losses_of_changed_features_come_first() -> None:
    """A feature that the model does not use changes nothing; one that it uses costs
    what it costs.
    """
    found = shaken(lambda rows: 1 / (1 + np.exp(-3 * rows["x"].fillna(0).to_numpy())))
    losses = {row.what: row.difference for row in found}
    assert [*losses.values()] == sorted(losses.values(), reverse=True)
    assert all(one.startswith("x: ") for one in [*losses][:4])
    assert all(row.difference > row.low > 0 for row in found[:4])
    assert {*losses.values()} == {*[*losses.values()][:4], 0.0}
    assert min(r.score for r in found if r.what == "x: missing") == pytest.approx(
        math.log(2)
    )


def test_changed_columns_keep_their_types_and_code_that_raises_is_a_finding() -> None:
    """A model sees whole numbers and texts as such; the change that it cannot take is
    named first.
    """

    def predict(rows: pd.DataFrame) -> np.ndarray:
        assert (rows.dtypes == ROWS.dtypes).all()
        if rows["text"].isna().any():
            raise ZeroDivisionError
        return np.full(len(rows), 0.5)

    first, *others = shaken(predict)
    assert first.what == "text: missing: predicting raises ZeroDivisionError"
    assert {"whole: missing", "text: a category never seen"} <= {
        row.what for row in others
    }
    assert shaken(predict, most=1)[-1].what == "3 less important features: not computed"


BY_TIME, BY_GROUP = ({"split": {"by": by, "column": "day"}} for by in ("time", "group"))


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({}, "The split is not by time", "the last validation row"),
        (BY_TIME, "Changes after 7, the last validation row", "sensitivity"),
        (BY_GROUP, "beyond new values of day", "No id column is declared"),
        (
            {"looks": 3},
            "4 models were scored on these validation rows",
            "groups by another",
        ),
        (
            {"clusters": 5},
            "The accuracy of the intervals is not known: the validation",
            "looked",
        ),
    ],
)
def test_a_sentence_on_what_is_not_known_stands_where_it_applies(
    changes: dict[str, Any], said: str, unsaid: str
) -> None:
    """It is derived from settings and results of this run."""
    given = {"looks": 0, "clusters": 1_500, **changes}
    looks, clusters, seen = (
        given.pop("looks"),
        given.pop("clusters"),
        seen_through(1, seed=1),
    )
    exported = SetPrediction(seen.y, seen.prediction, np.arange(1_500) % clusters)
    spec, earlier = spec_of(**given), EarlierLooks(looks, 0.5)
    rows = pd.DataFrame({"day": np.arange(1_500) % 8})
    model = judged(spec, exported, rows=rows)
    case = Case(model, judge(model, looks=earlier), "", predict=len, most_features=0)
    text = "\n".join([row.what for row in unknowns(case)])
    assert said in text
    assert unsaid not in text
