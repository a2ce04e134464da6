"""The target: usable or not, its classes and their codes."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.table import features
from experiment_pipeline_tests import scenario


def problem(y, task: str, **changes) -> str:
    """Return what check_target says about a target of these values."""
    spec = scenario.spec(
        task, **{"positive_class": None, **changes} if task == "binary" else changes
    )
    with pytest.raises(UnusableTable) as error:
        features.check_target(pd.DataFrame({spec.target: y}), spec)
    return str(error.value)


@pytest.mark.parametrize(
    ("task", "y", "said"),
    [
        ("binary", ["yes"] * 9, "'yes' in all 9 rows"),
        ("regression", [None, np.nan], "missing in every row"),
        ("binary", ["a", "b", "c"] * 5, "Write task: multiclass"),
        ("binary", list(range(40)), "Write task: regression"),
        # The text "1", which is asked for, is not the number 1.
        ("binary", [0, 1] * 5, "it holds 0, 1"),
        ("multiclass", ["a", "b"] * 5 + ["c"], "fewer than 3 rows"),
        (
            "regression",
            [1.0, np.inf, -np.inf],
            "infinite values: 2, the first in row 1",
        ),
        (
            "regression",
            ["low", "high", "middle"] * 5,
            "types: {cost: number}, or task: multiclass",
        ),
        ("regression", [True, False] * 5, "Write task: binary"),
        ("binary", pd.to_datetime(["2024-01-01", "2024-01-02"] * 5), "datetime64"),
    ],
)
def test_an_unusable_target_is_told_what_fits(task, y, said):
    """Constant, missing, infinite or of another task: the message names the way out."""
    changes = {"positive_class": "1"} if said == "it holds 0, 1" else {}
    assert said in problem(pd.Series(y), task, **changes)


def test_a_metric_of_counts_is_refused_for_negative_targets():
    """The message names metric, rows and the way out; a ranking or a gate, the train or
    the test set, all are asked.
    """
    sound = pd.DataFrame({"cost": [1.0, 2.0, 0.0, 0.5], "x": range(4)})
    below = sound * [-1, 1]
    gate = [{"metric": "poisson_deviance", "at_most": 1.0}]
    for changes in (
        {"metric": "poisson_deviance"},
        {"metric": "rmse", "acceptance": gate},
    ):
        spec = scenario.spec(
            "regression", split={"by": "random"}, exclude={}, **changes
        )
        for train, test in ((sound, below), (below, sound)):
            with pytest.raises(
                UnusableTable, match="is lower in 3 of 4 rows, the lowest is -2"
            ):
                scenario.to_train_on(train, test, spec)
        scenario.to_train_on(sound, sound, spec)


@pytest.mark.parametrize(
    ("y", "positive", "classes"),
    [
        ([1, 0, 1], None, (0, 1)),
        ([True, False], None, (False, True)),
        (["yes", "no"], "no", ("yes", "no")),
        ([1, 0], 0, (1, 0)),
    ],
)
def test_the_positive_class_comes_last(y, positive, classes):
    """Classes are plain scalars, sorted, with the positive one last."""
    found = features.find_classes(pd.Series(y), scenario.spec(positive_class=positive))
    assert found == classes
    assert [type(value) for value in found] == [type(value) for value in classes]


def test_codes_are_positions_in_the_classes():
    """Classification gives codes, regression floats; a float column finds whole
    classes.
    """
    assert features.encode_target(pd.Series(["b", "a"]), ("a", "b")).tolist() == [1, 0]
    assert features.encode_target(pd.Series([1.0, 0.0]), (0, 1)).tolist() == [1, 0]
    assert features.encode_target(pd.Series([1, 2]), None).dtype == np.float64
    assert (
        features.find_classes(pd.Series([1.0, 2.0]), scenario.spec("regression"))
        is None
    )


def test_an_unknown_class_is_named():
    """A value that training never saw is an error, not a code."""
    with pytest.raises(UnusableTable, match=r"none of the classes.*: 1, such as 'c'"):
        features.encode_target(pd.Series(["a", "c"], name="triage"), ("a", "b"))
