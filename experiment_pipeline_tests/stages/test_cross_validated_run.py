"""A small awkward table whose choice rests on cross-validation, from the table to the export."""

import pytest

from experiment_pipeline_tests import runs, scenario

SEARCH = [
    {"algorithm": "lightgbm", "hyperparameters": {"num_leaves": 4, "n_estimators": 20}},
    {"algorithm": "linear"},
    {"algorithm": "dummy"},
]


@pytest.mark.usefixtures("storage")
def test_a_small_table_is_chosen_by_cross_validation_judged_and_exported(tmp_path) -> None:
    """Chosen on rows of train and test set, judged on validation alone."""
    url = scenario.write_csv(tmp_path / "visits.csv", scenario.table().iloc[:300])
    spec = scenario.spec(
        url=str(url), search=SEARCH, evaluation={"cross_validation": {"folds": 3, "repeats": 2}}
    )
    done = runs.run(spec, scenario.SCHEMA)
    assert done.success, done.failure
    board = done.metadata("leaderboard")
    assert "in cross-validation of the train and test rows" in board["reason"]
    assert "score in cross-validation" in board
    assert done.metadata("exported_model")["version"] == "v0001"
