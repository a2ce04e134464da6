"""Tables that no experiment can run on: a clear error, or a run that says what it did."""

import gzip

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline_tests import runs, scenario

pytestmark = pytest.mark.usefixtures("storage")
SCHEMA = (
    "columns:\n  x: {dtype: float64, nullable: true}\n  late: {nullable: true}\nstrict: false\n"
)


def spec_on(url, **changes):
    """A cheap experiment on a table with the columns x and late."""
    mapping = {
        "name": "bad",
        "data": str(url),
        "target": "late",
        "task": "binary",
        "search": [{"algorithm": "linear"}, {"algorithm": "dummy"}],
        "metric": "roc_auc",
    }
    return scenario.ExperimentSpec.model_validate(mapping | changes)


def good(rows=300):
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    return pd.DataFrame({"x": x, "late": (x + rng.normal(size=rows) > 0).astype(int)})


def as_text(frame):
    return frame.to_csv(index=False).encode()


FILES = {
    "an empty file": (b"", "empty"),
    "a header without rows": (b"x,late\n", "no row"),
    "a web page": (b"<!DOCTYPE html><html><body>login</body></html>", "HTML"),
    "a truncated gzip file": (gzip.compress(as_text(good()))[:300], "cut short|truncated|damaged"),
    "a truncated Parquet file": (b"PAR1" + b"\0" * 50, "Parquet"),
    "a column name twice": (b"x,x,late\n1,2,0\n", "x"),
    "a ragged row": (b"x,late\n1,0\n2,1,9\n", "line 3"),
}


@pytest.mark.parametrize("what", FILES)
def test_an_unreadable_file_is_named_with_the_rule_and_the_fix(tmp_path, what):
    """No run starts training on a file that is no table."""
    content, said = FILES[what]
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    done = runs.run(spec_on(path), SCHEMA)
    assert not done.success
    assert done.failure.startswith("UnreadableTable: ")
    assert "table.csv" in done.failure
    assert "fix: " in done.failure
    assert any(part in done.failure for part in said.split("|")), done.failure


@pytest.mark.parametrize("url", ["nowhere.csv", "."])
def test_no_file_and_a_folder_without_tables_are_told_apart_from_a_table(tmp_path, url):
    """The path is named, and what to do."""
    done = runs.run(spec_on(tmp_path / url), SCHEMA)
    assert not done.success
    assert "fix: " in done.failure


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
def test_a_target_that_cannot_be_learnt_stops_before_training(tmp_path, what):
    """Nothing is spent on it, and the message names the target."""
    change, said = TARGETS[what]
    path = tmp_path / "table.csv"
    change(good()).to_csv(path, index=False)
    done = runs.run(spec_on(path), SCHEMA)
    assert not done.success
    assert said in done.failure
    assert done.materialized("trained_model") == []


@pytest.mark.parametrize("name", ["table.csv", "parts/one.csv"])
def test_a_column_that_is_not_there_ends_the_run_before_anything_is_stored(tmp_path, name):
    """By the header alone, or, where it is not looked at, as soon as the table is read."""
    (tmp_path / "parts").mkdir()
    good().to_csv(tmp_path / name, index=False)
    url = tmp_path / name if name == "table.csv" else tmp_path / "parts"
    done = runs.run(spec_on(url, exclude={"lat": "a slip"}), SCHEMA)
    assert "exclude.lat: the table has no column 'lat'; did you mean 'late'?" in done.failure
    assert done.materialized("raw_data") == []


def test_a_set_that_would_be_empty_is_named(tmp_path):
    """A column that names no validation row leaves nothing to judge on."""
    frame = good().assign(part=["train"] * 200 + ["test"] * 100)
    frame.to_csv(tmp_path / "table.csv", index=False)
    spec = spec_on(tmp_path / "table.csv", split={"by": "column", "column": "part"})
    done = runs.run(spec, SCHEMA)
    assert not done.success
    assert "validation" in done.failure


def test_infinite_values_are_dealt_with_and_reported(tmp_path):
    """The run ends well, and the analysis says where they are."""
    frame = good()
    frame.loc[3, "x"] = np.inf
    frame.to_parquet(tmp_path / "table.parquet")
    done = runs.run(spec_on(tmp_path / "table.parquet"), SCHEMA)
    assert done.success, done.failure
    assert "infinite" in done.metadata("data_analysis")["findings"].lower()


@pytest.mark.slow
def test_a_thousand_columns_and_fifty_rows_end_in_a_word_not_in_a_hang(tmp_path):
    """A table wider than long, without anything to learn, ends with the reason."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(50, 1_000))).rename(columns=str)
    frame["late"] = rng.integers(0, 2, 50)
    frame.to_csv(tmp_path / "table.csv", index=False)
    done = runs.run(spec_on(tmp_path / "table.csv"), "columns:\n  late: {}\nstrict: false\n")
    # The target is a coin: the table is refused, or its model is.
    refused_by = done.failure.split(":")[0]
    assert refused_by in ("fit_for_modelling", "acceptance_criteria_met"), done.failure
