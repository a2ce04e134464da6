"""The drafted dictionary: what names, the table's file and a list say of columns, and
questions about the rest.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from experiment_pipeline.errors import DataError, InvalidSchema
from experiment_pipeline.experiment.dictionary import draft_dictionary
from experiment_pipeline_tests.command_line import command

DEFS = """\
type: experiment_pipeline.Experiment
attributes:
  data: flights.parquet
  target: late
  task: binary
  positive_class: "yes"
  metric: roc_auc
  exclude: {route: it names the row}
  preparation:
    calendar: {day: [month]}
  search: [{algorithm: linear}]
"""
SCHEMA = """\
# Rules of the flights.
columns:
  day: {dtype: "datetime64[us]"}
  day_month: {dtype: int64}
  distance_km: { dtype: float64 } # of the route
  # A letter is no unit, but in brackets.
  model_s: {dtype: float64}
  "load (t)": {dtype: float64}
  "wind (s)": {dtype: float64}
  near_new_years: {dtype: int64, isin: [0, 1]}
  scheduled_arrived: {dtype: float64}
  refund:
    # in full
    dtype: float64
    unit: EUR
  sex:
  late_minutes: {dtype: float64, known: never}
  route: {dtype: str}
  late: {dtype: str, isin: ["yes", "no"]}
"""
LIST = """\
column,description,owner,personal,known,unit
sex,"Sex, as told: M or F",sales,yes,at prediction,
refund,Paid back,,,14 days,USD
"""


@pytest.fixture(autouse=True)
def flights(tmp_path, monkeypatch) -> Path:
    """A folder with an experiment whose Parquet file describes a column."""
    monkeypatch.chdir(tmp_path)
    Path("defs.yaml").write_text(DEFS)
    Path("schema.yaml").write_text(SCHEMA)
    Path("list.csv").write_text(LIST)
    rng = np.random.default_rng(1)
    numbers = ["distance_km", "model_s", "load (t)", "wind (s)", "scheduled_arrived"]
    table = pd.DataFrame({name: rng.normal(size=200) for name in numbers})
    table["near_new_years"] = rng.integers(0, 2, 200)
    table["refund"] = rng.normal(size=200)
    table["late_minutes"] = table["refund"] + rng.normal(size=200)
    table["day"] = pd.date_range("2026-01-01", periods=200).as_unit("us")
    table["sex"] = rng.choice(["M", "F"], 200)
    table["route"] = [f"r{row}" for row in range(200)]
    table["late"] = np.where(table["refund"] > 0, "yes", "no")
    rows = pa.Table.from_pandas(table, preserve_index=False)
    place = rows.schema.get_field_index("distance_km")
    told = {"comment": "Way: by air", "owner": "operations", "PARQUET:field_id": "3"}
    field = rows.schema.field(place).with_metadata(told)
    pq.write_table(rows.cast(rows.schema.set(place, field)), "flights.parquet")
    return tmp_path


def test_names_the_table_and_a_list_are_asked_and_what_stands_there_holds():
    """A unit in the schema stays; a code or a single letter has none; the list is
    surer than a name.
    """
    assert draft_dictionary(".", "list.csv").columns == {
        "distance_km": {
            "unit": "km",
            "description": "Way: by air",
            "owner": "operations",
        },
        "load (t)": {"unit": "t"},
        "wind (s)": {"unit": "s"},
        "refund": {"description": "Paid back", "known": "14 days"},
        "sex": {
            "description": "Sex, as told: M or F",
            "owner": "sales",
            "personal": True,
            "known": "at prediction",
        },
        "late_minutes": {"unit": "minutes"},
    }


def test_what_only_people_know_is_asked_of_the_features():
    """Suspected outcomes, persons and groups by name, then what is open, with the
    strongest feature first; nothing about left out columns and parts of dates.
    """
    questions = draft_dictionary(".").questions
    assert questions[:2] == [
        "refund: known: never? Its name is that of an outcome.",
        "sex: protected: true? Its name is that of such a group.",
    ]
    openly = dict(question.split(":", 1) for question in questions[2:])
    assert list(openly) == ["known", "description", "unit", "owner"]
    assert openly["known"].partition("never? ")[2].startswith("'refund', ")
    assert "late_minutes" not in openly["known"]
    assert not [text for text in questions if "route" in text or "day_month" in text]
    assert "sex" not in openly["unit"]
    assert "near_new_years" not in openly["unit"]


def test_a_draft_is_written_with_all_comments():
    """Only what is new is added, however a column is written; a second time there is
    nothing to add.
    """
    before = yaml.safe_load(SCHEMA)["columns"]
    asked = ("dictionary", ".", "--from", "list.csv")
    assert "to add (--write) to schema.yaml:" in command(*asked).output
    assert Path("schema.yaml").read_text() == SCHEMA
    told = json.loads(command(*asked, "--write", "--json").output)["columns"]
    text = Path("schema.yaml").read_text()
    assert yaml.safe_load(text)["columns"] == {
        name: {**(rules or {}), **told.get(name, {})} or None
        for name, rules in before.items()
    }
    assert text.count("#") == SCHEMA.count("#")
    assert "nothing to add" in command(*asked).output


@pytest.mark.parametrize(
    ("list_", "message"),
    [
        ("name,unit\nsex,km\n", "its header is 'name', 'unit'"),
        ("column,unit\nsexx,km\n", r"no column 'sexx'\s+fix: .*did you mean 'sex'"),
        ("column,known\nsex,soon\n", "list.csv, column sex: known: 'soon' is not when"),
        ("", "cannot be read"),
    ],
)
def test_a_wrong_list_is_named_with_the_fix(list_: str, message: str):
    """And nothing is written."""
    Path("list.csv").write_text(list_)
    with pytest.raises(InvalidSchema, match=message):
        draft_dictionary(".", "list.csv")


def test_of_an_asset_the_columns_of_the_table_are_taken():
    """The list and what stands there hold; where it has none of them, its names are
    wrong.
    """
    said = {"column": ["sex", "refund", "loaded"], "description": ["A", "B", "C"]}
    columns = draft_dictionary(".", "list.csv", pd.DataFrame(said)).columns
    assert columns["sex"]["description"] == "Sex, as told: M or F"
    columns = draft_dictionary(".", upstream=pd.DataFrame(said)).columns
    assert [columns[name]["description"] for name in ("sex", "refund")] == ["A", "B"]
    said["column"] = ["SEX", "REFUND", "LOADED"]
    with pytest.raises(InvalidSchema, match="no column 'SEX'"):
        draft_dictionary(".", upstream=pd.DataFrame(said))


DBT = """\
version: 2
models:
  - name: flights
    columns:
      - {name: refund, description: Paid back, tests: [not_null]}
      - {name: sex, config: {meta: {owner: sales}}, meta: {personal: true, pii: high}}
"""


def test_dbt_says_what_it_knows_of_the_columns():
    """Description and meta; what only others read is skipped, a column that the schema
    lacks is named.
    """
    Path("schema.yml").write_text(DBT)
    columns = draft_dictionary(".", "schema.yml").columns
    assert columns["refund"] == {"description": "Paid back"}
    assert columns["sex"] == {"owner": "sales", "personal": True}
    Path("schema.yml").write_text(DBT.replace("name: sex", "name: sexx"))
    with pytest.raises(InvalidSchema, match="no column 'sexx'"):
        draft_dictionary(".", "schema.yml")
    for wrong in ("models: []", "sources: 1", "- a", f"{DBT}  - name: other\n"):
        Path("schema.yml").write_text(wrong)
        with pytest.raises(InvalidSchema, match="YAML of one model"):
            draft_dictionary(".", "schema.yml")


def test_a_schema_that_cannot_be_added_to_is_left_as_it_is(flights: Path):
    """Two columns share their rules by an anchor; without the file there is nothing to
    add to.
    """
    shared = SCHEMA.replace("sex:\n", "sex: &rules {dtype: str}\n")
    shared = shared.replace("route: {dtype: str}", "route: *rules")
    Path("schema.yaml").write_text(shared)
    failed = command("dictionary", ".", "--from", "list.csv", "--write")
    assert failed.exit_code == 1
    assert "add the printed keys by hand" in failed.output
    assert Path("schema.yaml").read_text() == shared
    Path("schema.yaml").unlink()
    with pytest.raises(DataError, match="there is none"):
        draft_dictionary(".")
