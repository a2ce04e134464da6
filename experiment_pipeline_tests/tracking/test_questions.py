"""What a notebook asks of the database, on a made-up history."""

import pandas as pd
import pytest

from experiment_pipeline.reporting.run_record import ConfigurationRow
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.recording import record_rows
from experiment_pipeline_tests.tracking.history import (
    FIRST_DAY,
    KEYS,
    version_row,
    write_history,
    write_run,
)

each_database = pytest.mark.usefixtures("each_database")


def test_the_champion_is_the_latest_version_by_number():
    """The ten-thousandth version comes after the one before it, though its text does
    not.
    """
    write_history("e", runs=2)
    for version in ("v9999", "v10000"):
        record_rows([version_row(version, headline=f"of {version}")], "e")
    frame = questions.experiments()
    expected = [{"champion": "v10000", "champion_score": "of v10000"}]
    assert frame[["champion", "champion_score"]].to_dict("records") == expected


@each_database
def test_nothing_remembered_is_an_empty_table_with_its_columns():
    """A notebook on a fresh machine gets tables, not errors."""
    assert questions.experiments().empty
    assert {"champion", "last_status", "cost"} <= set(questions.experiments().columns)
    assert questions.runs().empty
    assert str(questions.runs()["started_at"].dtype) == "datetime64[us, UTC]"


@each_database
def test_runs_are_chosen_by_status_time_and_number():
    """The newest first; each condition leaves out what it says."""
    ids = write_history(runs=5)
    assert list(questions.runs("flight_delay", all_columns=True)["run_id"]) == ids[::-1]
    for not_accepted in ("rejected", "not accepted"):
        last = questions.runs(status=not_accepted, all_columns=True)
        assert list(last["run_id"]) == ids[-1:]
    assert questions.runs(status="no go").empty
    assert (
        list(questions.runs(status=["accepted"], limit=2, all_columns=True)["run_id"])
        == ids[3:1:-1]
    )
    assert len(questions.runs(since="2026-02-04")) == 3
    assert (
        list(questions.runs(until="2026-02-03 06:00", all_columns=True)["run_id"])
        == ids[:1]
    )
    assert (
        len(questions.runs(since=pd.Timestamp("2026-02-04 07:00", tz="Europe/Berlin")))
        == 3
    )


@each_database
def test_columns_have_the_same_types_whatever_is_missing():
    """A count with a gap stays a count: a run without results changes no other run's
    types.
    """
    write_history(runs=2)
    write_run("z", status="running")
    types = questions.runs(all_columns=True).dtypes.astype(str)
    expected = {
        "data_rows": "Int64",
        "code_dirty": "boolean",
        "cost": "float64",
        "error": "str",
    }
    assert types[list(expected)].to_dict() == expected


def test_results_have_a_typed_column_per_hyperparameter():
    """A row per configuration in the order of the ranking; whole numbers stay whole, and
    one that is called like a column takes nothing away.
    """
    write_history()
    write_history("another")
    frame = questions.results("flight_delay")
    assert list(frame["key"]) == [KEYS[2], KEYS[0], KEYS[1]]
    assert (frame["num_leaves"].dtype, frame.loc[0, "num_leaves"]) == ("Int64", 31)
    assert frame["C"].tolist()[1:] == [0.1, 1.0]
    row = ConfigurationRow(
        key="k",
        algorithm="own",
        hyperparameters={"reason": 3},
        status="trained",
        reason="chosen",
    )
    write_run("r", row, experiment="e", status="accepted")
    frame = questions.results("e")
    assert frame.loc[0, ["reason", "hyperparameter_reason"]].tolist() == ["chosen", 3]


@each_database
def test_the_last_run_is_the_last_whole_one():
    """Neither a partition that was materialized later replaces it, nor a run of a wrong
    clock.
    """
    ids, part = (
        write_history(),
        {"status": "partial", "started_at": FIRST_DAY.replace(month=3)},
    )
    unranked = ConfigurationRow(
        key="k", algorithm="linear", hyperparameters={}, status="trained"
    )
    write_run("later", unranked, **part)
    write_run(
        "2099", unranked, status="accepted", started_at=FIRST_DAY.replace(year=2099)
    )
    assert (
        questions.run_of("flight_delay")["run_id"]
        == ids[-1]
        == questions.run_of(None)["run_id"]
    )
    assert questions.leaderboard("flight_delay")["rank"].tolist() == [1, 2]
    frame = questions.experiments()
    assert frame["last_status"].tolist() == ["rejected"]
    assert frame["last_started_at"].dt.month.tolist() == [2]
    empty = questions.leaderboard("flight_delay", run="later")
    assert (len(empty), "test_score" in empty) == (0, True)
    write_run("only", experiment="new", **part)
    assert questions.run_of("new")["run_id"] == "only"
    assert set(questions.experiments()["last_status"]) == {"rejected", "partial"}


def test_the_leaderboard_is_the_last_run_that_came_to_results():
    """A run that failed early hides no results; only what has a rank is on
    the board.
    """
    ids = write_history()
    write_run("later", status="failed", started_at=FIRST_DAY.replace(month=3))
    board = questions.leaderboard("flight_delay")
    assert board["rank"].tolist() == [1, 2]
    assert board["test_score"].iloc[0] == pytest.approx(0.60)
    older = questions.leaderboard("flight_delay", run=ids[0])
    assert older["test_score"].iloc[0] == pytest.approx(0.70)
