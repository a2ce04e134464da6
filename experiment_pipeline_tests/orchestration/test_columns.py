"""The dictionary of columns, drafted from what an asset of the host's project says."""

import json
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.orchestration.folder import YAML, ExperimentsFolder

# Dagster reads component files through pydantic's old interface.
pytestmark = [
    pytest.mark.usefixtures("storage"),
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated"),
]
COLUMNS = "dagster/column_schema"
SCHEMA = """\
columns:
  days: {dtype: int64}
  age: {dtype: int64, unit: years}
  late: {dtype: int64}
"""
HOST = """\
import dagster as dg

AGE = dg.TableColumn("age", "int", "In full", tags={"personal": "", "gold": ""})
OTHER = dg.TableColumn("loaded_at", "timestamp", "By the loader")


@dg.asset(metadata={"dagster/column_schema": dg.TableSchema([AGE, OTHER])})
def stg_visits(): ...


@dg.asset
def silent(): ...
"""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A host's project with an experiment and two assets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    folder = ExperimentsFolder(tmp_path)
    (tmp_path / "dg.toml").write_text(f'project = {{root_module = "{folder.package}"}}')
    (folder.defs / "models.py").write_text(HOST)
    folder.write(YAML, schema=SCHEMA)
    table = pd.DataFrame({"days": range(40), "age": range(30, 70), "late": [0, 1] * 20})
    Path("data").mkdir()
    table.to_csv("data/visits.csv", index=False)


def test_what_an_asset_says_of_its_columns_is_drafted(tmp_path, monkeypatch):
    """From its definition, then also from its latest materialization; other columns and
    tags are skipped.
    """
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    asked = ("dictionary", "visits", "--asset", "stg_visits", "--json")
    age = {"description": "In full", "personal": True}
    assert json.loads(command(*asked).stdout)["columns"] == {"age": age}
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    column = dg.TableColumn("late", "int", "Came late", tags={"known": "never"})
    types = dg.TableSchema([dg.TableColumn("age", "int"), column])
    loaded = dg.AssetMaterialization("stg_visits", metadata={COLUMNS: types})
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(loaded)
    late = {"description": "Came late", "known": "never"}
    assert json.loads(command(*asked).stdout)["columns"] == {"age": age, "late": late}


def test_an_asset_that_says_nothing_is_an_error():
    """A misspelt key is named with the one that is meant."""
    for key, rule in {
        "silent": "asset silent: has no metadata dagster/column_schema\n",
        "stg_visit": "column_schema; did you mean 'stg_visits'?",
    }.items():
        failed = command("dictionary", "visits", "--asset", key)
        assert failed.exit_code == 1
        assert rule in failed.output
    Path("dg.toml").unlink()
    failed = command("dictionary", "visits", "--asset", "silent")
    assert "its Dagster project cannot be loaded" in failed.output
