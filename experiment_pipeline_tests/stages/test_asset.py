"""Telling an outcome to Dagster: metadata, checks, log lines."""

import logging
import math
from dataclasses import replace

import dagster as dg
import pandas as pd

from experiment_pipeline.errors import NotAccepted
from experiment_pipeline.orchestration.metadata import MOST_ROWS
from experiment_pipeline.orchestration.reporter import DagsterReporter
from experiment_pipeline.reporting.outcome import (
    Check,
    ColumnTypes,
    Fact,
    Notes,
    Outcome,
    Rows,
)
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline_tests import scenario

EVIL = "<script>alert(1)</script> [x](http://evil)"
KEY = dg.AssetKey(["flights", "stage"])
SCHEMA = """\
columns:
  n: {description: Orders, unit: pieces, owner: sales, personal: true, protected: true}
  x: {known: never}
"""
NAMED = NamedColumns(scenario.spec(), SCHEMA)


def reported(outcome: Outcome) -> dg.MaterializeResult:
    """The result of an outcome."""
    return DagsterReporter(dg.build_asset_context(), NAMED).result(KEY, outcome)


def shown(fact: Fact) -> object:
    """A fact as metadata."""
    return reported(Outcome({"fact": fact})).metadata["fact"]


def test_notes_show_names_of_the_table_as_they_are():
    """A class or a column may be called anything; a cell of a table is text, seen
    without a click.
    """
    notes = [f"class {EVIL}", "plain"]
    table = shown(Notes(notes))
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data for record in table.records] == [
        {"note": note} for note in notes
    ]
    assert shown(Notes([])) == "none"


def test_numbers_are_shown_as_long_as_a_reader_needs_them():
    """As scores are; what JSON cannot hold is undefined; counts and flags stay."""
    known = [0.1235, 12346, "undefined", 3, True, None]
    assert [
        shown(n) for n in (0.123456789, 12345.678, math.nan, 3, True, None)
    ] == known


def test_a_table_keeps_its_names_and_says_what_its_columns_are():
    """Cells that JSON lacks are empty; a column is called by what its cells are; a long
    table is cut.
    """
    frame = pd.DataFrame(
        {"n": [1, 2], "x": [0.5, math.inf], "b": [True, False], 7: ["a", None]}
    )
    table = shown(Rows(frame))
    assert [column.type for column in table.schema.columns] == [
        "int",
        "float",
        "bool",
        "string",
    ]
    assert table.records[1].data == {"n": 2, "x": None, "b": False, "7": None}
    assert len(shown(Rows(pd.DataFrame({"n": range(5_000)}))).records) == MOST_ROWS
    types = shown(ColumnTypes(frame))
    assert isinstance(types, dg.TableSchema)
    assert [column.type for column in types.columns][:2] == ["int64", "float64"]


def test_columns_say_what_the_dictionary_knows_of_them():
    """Dagster's catalogue shows the meaning, and filters by its tags."""
    types = shown(ColumnTypes(pd.DataFrame({"n": [1], "x": [0.5]})))
    assert isinstance(types, dg.TableSchema)
    n, x = types.columns
    assert n.description == "Orders, in pieces"
    assert n.tags == {"personal": "true", "protected": "true", "owner": "sales"}
    assert (x.description, x.tags) == (None, {})


def test_a_check_says_what_it_failed_of():
    """Problems make it fail; caveats and notes are shown and fail nothing."""
    checks = [
        replace(Check.of("rate", ["too many"], holds="few"), value=0.5, limit=0.25),
        Check.of(
            "copies", [], "warning", holds="no copy", caveats=["odd"], notes=["known"]
        ),
        Check("gates", passed=False, means="FAIL", refusal=NotAccepted("a", "b", "c")),
    ]
    rate, copies, gates = reported(Outcome({}, checks=checks)).check_results
    assert (rate.passed, rate.description) == (False, "too many")
    assert (rate.metadata["value"].value, rate.metadata["limit"].value) == (0.5, 0.25)
    assert (copies.passed, copies.description) == (True, "no copy\nodd\nknown")
    assert copies.severity is dg.AssetCheckSeverity.WARN
    assert (gates.passed, gates.description) == (False, "FAIL")


def test_the_value_and_its_version_are_handed_on():
    """A stage without a table hands on none."""
    frame = pd.DataFrame({"n": [1]})
    result = reported(Outcome({}, value=frame, version="v"))
    assert result.value is frame
    assert result.data_version == dg.DataVersion("v")
    assert reported(Outcome({})).data_version is None


def test_an_outcome_logs_the_lines_of_its_checks_wherever_it_runs(caplog):
    """Why a check ends the run is left to the error that ends it."""
    ends_run = Check.of("rate", ["too many"], holds="few", caveats=["odd"])
    passes_on = Check.of("copies", ["two"], "warning", holds="none", notes=["seen"])
    outcome = Outcome({}, warnings=["w"], notes=["n"], checks=[ends_run, passes_on])
    with caplog.at_level(logging.INFO):
        outcome.log_to(logging.getLogger("test"))
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "w"),
        ("INFO", "n"),
        ("WARNING", "rate: odd"),
        ("WARNING", "copies: two"),
        ("INFO", "copies: seen"),
    ]
