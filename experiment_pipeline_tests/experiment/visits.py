"""The experiment on the awkward table that most tests of this room begin with."""

import functools

import pandas as pd

import experiment_pipeline as ep
from experiment_pipeline.experiment.result import RunResult
from experiment_pipeline_tests import scenario

LINEAR = {"algorithm": "linear", "hyperparameters": {"C": [0.1, 1.0, 10.0]}}
# No split is tried out, and a configuration that the budget leaves out has no rank.
SETTINGS = {
    "exclude": ["cost", "triage", "patient"],
    "split": "random",
    "audit": ["ward"],
    "search": [LINEAR, "dummy"],
    "budget": {"configurations": 2},
    "evaluation": "test_set",
    "ensemble": None,
}


@functools.cache
def delivered() -> pd.DataFrame:
    """The table, with markup in a cell, under labels that are no row numbers."""
    spelt = {" north ": scenario.MARKUP, "North": scenario.MARKUP.upper()}
    table = scenario.table().replace({"ward": spelt})
    return table.set_axis(table.index + 7)


def run_visits(table: pd.DataFrame | str | None = None, **changes: object) -> RunResult:
    """Run the experiment `visits`; `changes` replace settings."""
    rows = delivered() if table is None else table
    settings = {"name": "visits", **SETTINGS, **changes}
    return ep.run(rows, "readmitted", progress=False, **settings)
