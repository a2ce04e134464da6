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
from experiment_pipeline.storage import persistence
from experiment_pipeline_tests.stages.leaderboard.board_examples import store_of
from experiment_pipeline_tests.stages.search.scenario import predicted, refit
from experiment_pipeline_tests.stages.validation_report.checked import (
    Searched,
    searched,
)

SEARCH = [
    {
        "algorithm": "lightgbm",
        "hyperparameters": {
            "num_leaves": [3, 4],
            "n_estimators": 20,
            "early_stopping_round": 0,
        },
    },
    {"algorithm": "linear", "hyperparameters": {"C": [0.1]}},
]


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


def case_of(task: str, **more: Any) -> Searched:
    """A search whose ensemble is the choice."""
    search = SEARCH if task != "regression" else [SEARCH[0], {"algorithm": "linear"}]
    more |= {"positive_class": "a yes"} if task == "binary" else {}
    return searched(table(task), task, {"search": search, **more})


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_it_is_judged_and_exported_as_the_mean_of_its_members(task: str) -> None:
    """Each is fitted again on train and test with its own rounds; the importance is of
    the whole.
    """
    case = case_of(task, calibrate="off")
    assert case.board.chosen == ENSEMBLE
    check = case.judged()
    rows = pd.concat([case.sets.train, case.sets.test])
    expected = 0
    for one in case.board.ensemble.members:
        again = refit(one.configuration, one.rounds, rows, case.sets, case.spec)
        expected += one.weight * predicted(again, case.sets, case.validation)
    found = predicted(check.pipeline, case.sets, case.validation)
    assert found == pytest.approx(expected, abs=1e-9)
    assert check.report.configuration == ENSEMBLE
    assert check.report.hyperparameters == {"members": case.board.ensemble.in_words}
    assert {one.feature for one in check.report.usage.importance} == set(
        case.sets.features
    )
    # The gap is of cross-fitted predictions: the score of the board.
    assert check.report.gap.test.estimate == pytest.approx(case.board.score.estimate)


def test_probabilities_of_several_classes_are_calibrated() -> None:
    """By cross-fitted predictions of the rows of the choice; what is exported is, and
    the report says so.
    """
    own, plain = case_of("multiclass"), case_of("multiclass", calibrate="off")
    assert (own.board.score, plain.chosen.calibrators) == (plain.board.score, ())
    assert len(own.chosen.calibrators) == len(own.board.ensemble.members)
    assert (
        own.chosen.predicted(own.sets).score("log_loss")
        < 0.98 * own.board.score.estimate
    )
    mended, raw = own.judged(), plain.judged()
    better, worse = (
        one.report.score("log_loss").interval.estimate for one in (mended, raw)
    )
    assert better < 0.98 * worse
    assert any("are calibrated on the test set" in note for note in mended.report.notes)
    stored = persistence.from_bytes(persistence.to_bytes(mended.pipeline))
    found = predicted(stored, own.sets, own.validation)
    assert np.array_equal(found, predicted(mended.pipeline, own.sets, own.validation))
    for more in ({"calibrate": "sigmoid"}, {"search": [{"algorithm": "dummy"}]}):
        assert case_of("multiclass", **more).chosen.calibrators == (), (
            "no baseline, none twice"
        )


def test_a_choice_is_what_the_store_holds_of_it() -> None:
    """Its numbers are the sums of its row, and its fit of the search predicts the
    weighted mean.
    """
    case = case_of("binary")
    row = case.board.rows.set_index("key").loc[ENSEMBLE]
    for result in (
        case.chosen.result,
        chosen_result(case.board, store_of(case.trained)),
    ):
        assert result.fingerprint == row["fingerprint"] == case.board.fingerprint
        assert result.model_bytes == row["model_bytes"]
    pipeline = case.chosen.train_only(case.sets, case.spec)
    encoders = {one.result.features for one in case.chosen.members}
    assert len(TakenApart.of(pipeline).features) == len(encoders)
    expected = sum(
        one.weight * case.trained[one.configuration.key].predictions.test
        for one in case.board.ensemble.members
    )
    assert predicted(pipeline, case.sets) == pytest.approx(expected, abs=1e-12)
