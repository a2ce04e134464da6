"""Problems are told once, at their own key, with what is allowed; many fit on one screen."""

import pytest

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.spec.reading import MOST_PROBLEMS
from experiment_pipeline_tests.spec.spec_scenario import VALID, changed, told


def test_an_unknown_key_is_told_the_likely_one() -> None:
    """A misspelt key is named, with the one that was meant and all that are allowed there."""
    [problem] = told(changed("search.0.drawss", 3))
    assert problem == (
        "defs.yaml:3: search.0.drawss: unknown key 'drawss'; did you mean 'draws'? allowed: "
        "algorithm, method, draws, seed, hyperparameters, configurations, features, name, note"
    )


def test_the_allowed_keys_are_those_of_the_chosen_union_member() -> None:
    """Below a discriminator only the keys of the chosen kind are listed."""
    [problem] = told(changed("split", {"by": "time", "column": "t", "gapp": "1 day"}))
    assert problem.endswith(
        "unknown key 'gapp'; did you mean 'gap'? "
        "allowed: by, column, gap, unit, id_columns, fractions"
    )


def test_a_path_holds_no_names_that_the_yaml_lacks() -> None:
    """Discriminator tags and names of union members do not appear in the path."""
    problems = told(changed("split", {"by": "group", "column": "g", "fractions": {"tran": 0.5}}))
    problems += told(changed("search.0.hyperparameters.C", {"low": 1, "hihg": 2}))
    assert [problem.split(": ")[1] for problem in problems] == [
        "split.fractions.tran",
        "search.0.hyperparameters.C.high",
        "search.0.hyperparameters.C.hihg",
    ]


def test_every_missing_key_is_asked_for_with_an_example() -> None:
    """An empty file is told all that is needed, and what it could look like."""
    assert told({}) == [
        "defs.yaml:1: data: is missing: the table, such as data/customers.csv",
        "defs.yaml:1: target: is missing: the column to predict, such as price",
        "defs.yaml:1: task: is missing: what is predicted, such as binary",
        "defs.yaml:1: search: is missing: the algorithms to try, such as [{algorithm: lightgbm}]",
        "defs.yaml:1: metric: is missing: what ranks the configurations, such as roc_auc",
    ]


def test_many_problems_fit_on_one_screen() -> None:
    """Beyond a dozen, problems are counted."""
    lines = told({**VALID, **{f"key_{number}": 1 for number in range(30)}})
    assert len(lines) == MOST_PROBLEMS + 1
    assert lines[-1] == f"and {30 - MOST_PROBLEMS} more"


@pytest.mark.parametrize("key", ["two\nlines", "", "\x1b[31m"])
def test_a_problem_is_one_line_whatever_the_key(key: str) -> None:
    """Keys that would break a line or colour a terminal are shown escaped."""
    [problem] = told(changed("preparation", {"types": {key: "date"}}))
    assert problem.isprintable()
    assert repr(key) in problem


def test_long_values_are_cut() -> None:
    """A value of a whole page does not hide the message."""
    [problem] = told(changed("task", "x" * 1000))
    assert len(problem) < 200


def test_settings_from_python_are_explained_without_a_file() -> None:
    """The paths of the keys say where, several at once; no table needs to be named."""
    settings = {key: VALID[key] for key in VALID if key != "data"}
    assert spec_from("visits", settings).data is None
    with pytest.raises(InvalidExperiment) as caught:
        spec_from("visits", {**settings, "workers": 0, "sed": 1})
    assert str(caught.value).splitlines() == [
        "settings: workers: 0 should be greater than or equal to 1",
        "settings: sed: unknown key 'sed'; did you mean 'seed'? allowed: "
        + ", ".join(key for key in ExperimentSpec.model_fields if key != "name"),
        "  fix: correct these keys",
    ]
