"""The published schema: every key is known, a wrong one is told, nothing valid is
refused.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from experiment_pipeline.spec.experiment import ExperimentSpec, defs_yaml_schema
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.spec.spec_scenario import changed
from experiment_pipeline_tests.spec.test_spec import READ_BY

VALIDATOR = Draft202012Validator(defs_yaml_schema())
TEMPLATE = "{{ env.SOMETHING }}"
LIST = [
    {
        "algorithm": "lightgbm",
        "hyperparameters": {"num_leaves": [15, "31", None, 1e-3, True]},
    }
]


def told(raw: Mapping[str, Any]) -> list[str]:
    """Path and message of everything that the schema finds wrong."""
    errors = VALIDATOR.iter_errors(raw)
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in errors
    ]


def test_the_schema_is_one_and_knows_every_key():
    """It can stand inside another: there is no reference in it, and the folder gives
    the name.
    """
    schema = defs_yaml_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["properties"].keys() | {"name"} == ExperimentSpec.model_fields.keys()
    assert schema["required"] == ["data", "target", "task", "search", "metric"]
    assert "$ref" not in str(schema)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(
            (key, value)
            for key, (value, _) in READ_BY.items()
            if key not in {"name", "task"}
        ),
        ("halving", False),
        ("evaluation", {"cross_validation": {"folds": 5, "repeats": 3}}),
        ("search", LIST),
        ("workers", "3"),
        ("preparation", scenario.PREPARATION),
        ("preparation.calendar", ["departure"]),
        *((key, TEMPLATE) for key in ("workers", "task", "halving", "data")),
    ],
)
def test_what_the_models_take_is_not_refused(path: str, value: Any):
    """Also short forms, numbers in quotes, what stands for on and off, and templates,
    filled in before.
    """
    assert told(changed(path, value)) == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "taks",
            "binary",
            ": Additional properties are not allowed ('taks' was unexpected)",
        ),
        ("target", 2013, "target: 2013 is not of type 'string'"),
        (
            "halving",
            {"fraction": [1]},
            "halving: Additional properties are not allowed ('fracti",
        ),
        (
            "split",
            {"by": "time", "column": "t", "gpa": 1},
            "split: Additional properties are not",
        ),
    ],
)
def test_a_wrong_key_is_told_where_it_stands(path: str, value: Any, message: str):
    """In one plain sentence, also inside a union; only a key that is missing then adds
    another.
    """
    found = told(changed(path, value))
    assert any(one.startswith(message) for one in found), found
    assert "any of the given schemas" not in str(found)
