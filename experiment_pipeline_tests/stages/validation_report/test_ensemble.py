"""An ensemble that was chosen: judged as it is exported, each member fitted again on
its own.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard.board import chosen_result
from experiment_pipeline.stages.search.voting import TakenApart
from experiment_pipeline.stages.validation_report.final_evaluation import evaluate
from experiment_pipeline.storage import persistence
from experiment_pipeline_tests.stages.leaderboard.board_examples import store_of
from experiment_pipeline_tests.stages.search.scenario import one, predicted, refit
from experiment_pipeline_tests.stages.validation_report.checked import (
    Searched,
    searched,
)

TREES = one("lightgbm", num_leaves=[3, 4], n_estimators=20, early_stopping_round=0)


def table(task: str, rows: int = 2_000) -> pd.DataFrame:
    """Return what a line and trees see half of each. The positive class sorts first."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(rows, 5)), columns=list("abcde"))
    frame["kind"] = pd.Series(generator.choice(["red", "blue"], rows), dtype="str")
    frame.loc[generator.random(rows) < 0.1, "a"] = np.nan
    line = frame[list("abcd")].fillna(0).sum(axis=1) / 2
    score = line + 1.5 * (frame["e"].abs() > 0.7) * np.where(
        frame["kind"] == "red", 1, -1
    )
    score += generator.normal(size=rows)
    frame = frame.rename_axis(index="row_number")
    if task == "regression":
        return frame.assign(y=score)
    names = ["no", "<maybe>", "yes"] if task == "multiclass" else ["no", "a yes"]
    return frame.assign(y=np.array(names)[pd.qcut(score, len(names), labels=False)])


def case_of(task: str, **settings: Any) -> Searched:
    """A search whose ensemble is the choice."""
    line = one("linear") if task == "regression" else one("linear", C=[0.1])
    if task == "binary":
        settings["positive_class"] = "a yes"
    return searched(table(task), task, {"search": [TREES, line], **settings})


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_it_is_judged_and_exported_as_the_mean_of_its_members(task: str):
    """Each is fitted again on train and test with its own rounds; the importance is of
    the whole.
    """
    case = case_of(task, calibrate="off")
    sets, ensemble = case.sets, case.board.ensemble
    assert case.board.chosen == ENSEMBLE
    check = evaluate(case)
    rows, expected = pd.concat([sets.train, sets.test]), 0
    for member in ensemble.members:
        again = refit(member.configuration, member.rounds, rows, sets, case.spec)
        expected += member.weight * predicted(again, sets, case.validation)
    mean = predicted(check.pipeline, sets, case.validation)
    assert mean == pytest.approx(expected, abs=1e-9)
    report = check.report
    assert report.configuration == ENSEMBLE
    assert report.hyperparameters == {"members": ensemble.in_words}
    assert {used.feature for used in report.usage.importance} == set(sets.features)
    # The gap is of cross-fitted predictions: the score of the board.
    assert report.gap.test.estimate == pytest.approx(case.board.score.estimate)


def test_probabilities_of_several_classes_are_calibrated():
    """By cross-fitted predictions of the rows of the choice; what is exported is, and
    the report says so. No baseline is, and none twice.
    """
    case, plain = case_of("multiclass"), case_of("multiclass", calibrate="off")
    assert (case.board.score, plain.model.calibrators) == (plain.board.score, ())
    assert len(case.model.calibrators) == len(case.board.ensemble.members)
    on_test = case.model.predicted(case.sets).score("log_loss")
    assert on_test < 0.98 * case.board.score.estimate
    check = evaluate(case)
    after, before = check.report.score("log_loss"), evaluate(plain).report.scores[0]
    assert after.interval.estimate < 0.98 * before.interval.estimate
    assert "are calibrated on the test set" in "".join(check.report.notes)
    stored = persistence.from_bytes(persistence.to_bytes(check.pipeline))
    np.testing.assert_array_equal(
        predicted(stored, case.sets, case.validation),
        predicted(check.pipeline, case.sets, case.validation),
    )
    for settings in ({"calibrate": "sigmoid"}, {"search": [{"algorithm": "dummy"}]}):
        assert case_of("multiclass", **settings).model.calibrators == ()


def test_a_choice_is_what_the_store_holds_of_it():
    """Its numbers are the sums of its row, and its fit of the search predicts the
    weighted mean.
    """
    case = case_of("binary")
    board, chosen = case.board, case.model
    row = board.rows.set_index("key").loc[ENSEMBLE]
    for result in (chosen.result, chosen_result(board, store_of(case.trained))):
        assert result.fingerprint == row["fingerprint"] == board.fingerprint
        assert result.model_bytes == row["model_bytes"]
    pipeline = chosen.train_only(case.sets, case.spec)
    encoders = {member.result.features for member in chosen.members}
    assert len(TakenApart.of(pipeline).features) == len(encoders)
    expected = sum(
        member.weight * case.trained[member.configuration.key].predictions.test
        for member in board.ensemble.members
    )
    assert predicted(pipeline, case.sets) == pytest.approx(expected, abs=1e-12)
