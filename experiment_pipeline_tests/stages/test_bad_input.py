"""Tables that no experiment can run on: a clear error, or a run that says what it did."""

import gzip

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline import run_experiment
from experiment_pipeline.errors import (
    DataError,
    EmptySet,
    ExperimentPipelineError,
    InvalidExperiment,
    UnreadableTable,
)
from experiment_pipeline.experiment.flow import ExperimentRun, ModelsInMemory

SCHEMA = (
    "columns:\n  x: {dtype: float64, nullable: true}\n  late: {nullable: true}\nstrict: false\n"
)


def run_on(data, schema=SCHEMA, **changes) -> ExperimentRun:
    """A cheap experiment on a table with the columns x and late."""
    settings = {
        "task": "binary",
        "search": [{"algorithm": "linear"}, {"algorithm": "dummy"}],
        "metric": "roc_auc",
        "split": {"by": "random"},
    }
    return run_experiment(data, "late", schema=schema, **settings | changes)


def good(rows=300):
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    return pd.DataFrame({"x": x, "late": (x + rng.normal(size=rows) > 0).astype(int)})


FILES = {
    "an empty file": (b"", "empty"),
    "a header without rows": (b"x,late\n", "no row"),
    "a web page": (b"<!DOCTYPE html><html><body>login</body></html>", "HTML"),
    "a truncated gzip file": (
        gzip.compress(good().to_csv(index=False).encode(), mtime=0)[:300],
        "cut short|truncated|damaged",
    ),
    "a truncated Parquet file": (b"PAR1" + b"\0" * 50, "Parquet"),
    "a column name twice": (b"x,x,late\n1,2,0\n", "x"),
    "a ragged row": (b"x,late\n1,0\n2,1,9\n", "line 3"),
}


@pytest.mark.parametrize("what", FILES)
def test_an_unreadable_file_is_named_with_the_rule_and_the_fix(tmp_path, what):
    """No run starts training on a file that is not a table."""
    content, expected = FILES[what]
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(UnreadableTable, match=expected) as caught:
        run_on(path)
    assert "table.csv" in str(caught.value)
    assert "fix: " in str(caught.value)


@pytest.mark.parametrize("url", ["nowhere.csv", "."])
def test_a_missing_file_and_a_folder_without_tables_are_named(tmp_path, url):
    """The path is named, and what to do."""
    with pytest.raises(UnreadableTable, match="fix: ") as caught:
        run_on(tmp_path / url)
    assert str(tmp_path) in str(caught.value)


TARGETS = {
    "absent": (lambda frame: frame.rename(columns={"late": "lote"}), "lote"),
    "constant": (lambda frame: frame.assign(late=1), "late"),
    "all missing": (lambda frame: frame.assign(late=None), "late"),
    "one class with one row": (
        lambda frame: frame.assign(late=[1] + [0] * (len(frame) - 1)),
        "late",
    ),
}


@pytest.mark.parametrize("what", TARGETS)
def test_a_target_that_cannot_be_learnt_stops_before_training(what):
    """Nothing is spent on it, and the message names the target."""
    change, expected = TARGETS[what]
    models = ModelsInMemory()
    with pytest.raises((DataError, InvalidExperiment), match=expected):
        run_on(change(good()), models=models)
    assert not models.models


def test_a_column_that_is_absent_is_named_with_the_nearest():
    """A wrong name in the settings ends the run before anything is trained."""
    with pytest.raises(ExperimentPipelineError, match=r"exclude.lat: .* did you mean 'late'"):
        run_on(good(), exclude={"lat": "a slip"})


def test_a_set_that_would_be_empty_is_named():
    """A column that names no validation row leaves nothing to judge on."""
    frame = good().assign(part=["train"] * 200 + ["test"] * 100)
    accepted = {"accept": {"too_few_rows_per_class": "to see the split"}}
    with pytest.raises(EmptySet, match="validation"):
        run_on(frame, split={"by": "column", "column": "part"}, analysis=accepted)


def test_infinite_values_are_reported_and_end_no_run():
    """The run ends with a decision, and the analysis says where they are."""
    frame = good()
    frame.loc[3, "x"] = np.inf
    run = run_on(frame)
    assert run.report.accepted
    assert any("infinite" in finding.code for finding in run.analysis.found)


def test_a_table_wider_than_long_ends_with_a_reason():
    """Seventy columns, fifty rows and nothing to learn: the verdict names what is wrong."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(50, 70))).rename(columns=str)
    frame["late"] = rng.integers(0, 2, 50)
    run = run_on(frame, "columns:\n  late: {}\nstrict: false\n")
    assert not run.report.accepted
