"""`dg scaffold defs`: from a table to an experiment that runs, or to what is still to
decide.
"""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import yaml
from click import ClickException

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.files import in_yaml
from experiment_pipeline.orchestration.scaffold import ExperimentScaffolder
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.table.schema import load_schema

ROWS = 60
GENERATOR = np.random.default_rng(3)
STRANGE = [
    *(
        "a b",
        "yes",
        "null",
        "2013",
        "- dash",
        "? key",
        "a: b # c",
        "'\"",
        "{{ x }}",
        "{% if %}",
    ),
    *(
        "<script>alert(1)</script>",
        "ünï\N{LINE SEPARATOR}code",
        "two\nlines",
        "é" * 200,
    ),
]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory, with a small table of visits in it."""
    monkeypatch.chdir(tmp_path)
    visits = pd.DataFrame(
        {
            "visit_id": [f"V{row}" for row in range(ROWS)],
            "age": GENERATOR.integers(20, 90, ROWS),
            "ward": GENERATOR.choice(["north", "south"], ROWS),
            "day": pd.date_range("2024-01-01", periods=ROWS).astype("str"),
            "late": GENERATOR.choice(["yes", "no"], ROWS),
        }
    )
    visits.to_csv("visits.csv", index=False)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dg.project]\nroot_module = "clinic"\n'
    )
    return tmp_path


def scaffold(folder: Path, name: str = "visits", **options: Any) -> Path:
    """Call the scaffolder as `dg` does, with the folder already made."""
    target = folder / "defs" / name
    target.mkdir(parents=True, exist_ok=True)
    ExperimentScaffolder().scaffold(
        dg.ScaffoldRequest(
            type_name="experiment_pipeline.Experiment",
            target_path=target,
            scaffold_format=options.pop("scaffold_format", "yaml"),
            project_root=options.pop("project_root", folder),
            params=Wishes(**options),
        )
    )
    return target


def spec_in(folder: Path) -> ExperimentSpec:
    """The spec that a scaffolded YAML describes."""
    declared = yaml.safe_load((folder / "defs.yaml").read_text(encoding="utf-8"))
    assert declared["type"] == "experiment_pipeline.Experiment"
    return spec_from(folder.name, declared["attributes"], lambda _: "defs.yaml")


def test_a_table_becomes_a_commented_experiment(folder: Path, capsys):
    """Both files are valid, and what was inferred is said on the console and in
    comments.
    """
    made = scaffold(folder, data="visits.csv", target="late")
    spec = spec_in(made)
    assert (spec.task, spec.positive_class, spec.metric) == ("binary", "yes", "roc_auc")
    assert spec.split.id_columns == ("visit_id",)
    assert spec.preparation.types == {"day": "datetime"}
    assert "late" in load_schema((made / "schema.yaml").read_text()).columns
    text, said = (made / "defs.yaml").read_text(), capsys.readouterr().out
    assert (
        "# Inferred: binary, because the target holds two values, 'no' and 'yes'."
        in text
    )
    assert "visit_id: identifies the row: a different value in every row" in said
    assert said.endswith("Run: dg launch --job visits\n")
    assert "dg launch --job visits" in text


def test_options_overrule_what_would_be_inferred(folder: Path):
    """Every decision can be taken on the command line."""
    told = {"task": "multiclass", "metric": "accuracy", "split": "time"}
    told |= {"exclude": ["age", "ward"], "id_column": ["visit_id"]}
    spec = spec_in(scaffold(folder, data="visits.csv", target="late", **told))
    assert (spec.task, spec.metric, spec.split.by) == ("multiclass", "accuracy", "time")
    assert spec.exclude["age"] == spec.exclude["ward"] == "excluded on the command line"


def test_how_the_table_is_read_can_be_told(folder: Path):
    """What the file does not tell is said on the command line, and stands in
    the YAML.
    """
    (folder / "semicolon.csv").write_text(
        (folder / "visits.csv").read_text().replace(",", "|")
    )
    made = scaffold(
        folder, data="semicolon.csv", target="late", delimiter="|", encoding="utf-8"
    )
    data = spec_in(made).data
    assert (data.delimiter, data.encoding) == ("|", "utf-8")


def test_strange_column_names_survive(folder: Path):
    """Names with quotes, markup, line breaks and YAML's own signs are read back as they
    are.
    """
    columns = {name: GENERATOR.normal(size=ROWS) for name in STRANGE}
    constant = {f"{name}!": ["x"] * ROWS for name in STRANGE}
    table = pd.DataFrame(
        {**columns, **constant, "tar: get": GENERATOR.choice(["no", "yes"], ROWS)}
    )
    table.to_parquet("strange.parquet")
    spec = spec_in(scaffold(folder, data="strange.parquet", target="tar: get"))
    assert spec.target == "tar: get"
    assert set(spec.exclude) == set(constant)


@pytest.mark.parametrize(
    "value",
    ["", " ", "1e-3", "0o7", "=", "~", "on", "\x07", 1, 0.5, True, None, ["b, c"]],
)
def test_every_value_is_one_line_of_yaml(value: Any):
    """What is written into the YAML is read back as the same value of the same type."""
    text = in_yaml(value)
    assert len(text.splitlines()) == 1
    assert yaml.safe_load(f"key: {text}\n") == {"key": value}
    if isinstance(value, str):
        assert yaml.safe_load(f"{text}: value\n") == {value: "value"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--data: is missing"),
        (
            {"data": "visits.csv"},
            "--target: is missing: the column to predict; the table has 'vi",
        ),
        ({"data": "visit.csv", "target": "late"}, "no such file"),
        (
            {"name": "my-visits", "data": "visits.csv", "target": "late"},
            "a letter first",
        ),
        (
            {"scaffold_format": "python", "data": "x", "target": "y"},
            "--format: an experiment is",
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left(folder, options, message):
    """A refused scaffold leaves no folder in the way of the next attempt."""
    with pytest.raises(ClickException, match=message.replace("?", r"\?")) as caught:
        scaffold(folder, **options)
    assert len(caught.value.message.splitlines()) <= 3
    assert not list((folder / "defs").iterdir())


def test_a_folder_in_use_is_not_touched(folder: Path):
    """An experiment that exists is not written over."""
    used = scaffold(folder, data="visits.csv", target="late") / "defs.yaml"
    used.write_text("type: mine")
    with pytest.raises(ClickException, match="is not empty"):
        scaffold(folder, data="visits.csv", target="late")
    assert used.read_text() == "type: mine"


def test_a_relative_path_is_seen_from_the_projects_root(folder: Path, monkeypatch):
    """Scaffolded from a folder below, the path still leads to the table when jobs are
    run.
    """
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    spec = spec_in(scaffold(folder, data="../visits.csv", target="late"))
    assert spec.data.url == "visits.csv"


def test_a_series_that_cannot_be_split_by_time_says_what_chance_costs(
    folder: Path, capsys
):
    """Nobody reports drizzle after the first year: the draft runs, and tells that
    scores are optimistic.
    """
    label = ["sun", "rain", "drizzle"] * 20 + ["sun", "rain"] * 60
    days = pd.date_range("2012-01-01", periods=len(label)).strftime("%Y/%m/%d")
    wind = GENERATOR.normal(size=len(label))
    series = pd.DataFrame({"date": days, "wind": wind, "weather": label})
    series.to_csv("series.csv", index=False)
    made = scaffold(folder, data="series.csv", target="weather")
    assert spec_in(made).split.by == "random"
    said = capsys.readouterr().out
    assert "by time a run would stop (test set: its 36 rows lack 1 class" in said
    assert "scores are optimistic" in said
    scaffold(folder, "asked", data="series.csv", target="weather", split="time")
    assert "As they are, a run will stop with:" in capsys.readouterr().out
