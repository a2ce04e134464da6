"""The project's event log on SQLite holds what Dagster's own would, written together."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import StepMaterializationData
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from experiment_pipeline.orchestration.instance import SqliteStorage
from experiment_pipeline.orchestration.sqlite_events import SqliteEventLog

RUN = "a-run"
TABLES = {
    "index": ("event_logs", "asset_event_tags", "asset_keys"),
    RUN: ("event_logs",),
}
# When a row was made; everything else must be the same.
CLOCKS = {"create_timestamp"}


def materialized(partition: str, key: str = "trained_model") -> dg.EventLogEntry:
    """The event of a partition, as a step stores it."""
    event = dg.AssetMaterialization(
        key,
        partition=partition,
        metadata={"score": 0.5, "why": "it is"},
        tags={"dagster/data_version": f"made of {partition}", "status": "trained"},
    )
    return dg.EventLogEntry(
        error_info=None,
        level=10,
        user_message="",
        run_id=RUN,
        timestamp=1_700_000_000.0,
        step_key="training",
        job_name="job",
        dagster_event=dg.DagsterEvent(
            dg.DagsterEventType.ASSET_MATERIALIZATION.value,
            "job",
            event_specific_data=StepMaterializationData(event),
            step_key="training",
        ),
    )


EVENTS = [materialized("a"), materialized("b"), materialized("c"), materialized("d", "other")]


def rows(folder: Path) -> dict[tuple[str, str], list[dict]]:
    """What the databases hold, by database and table."""
    found = {}
    for database, tables in TABLES.items():
        with closing(sqlite3.connect(folder / f"{database}.db")) as connection:
            connection.row_factory = sqlite3.Row
            for table in tables:
                every = connection.execute(f"select * from {table} order by 1, 2, 3")
                found[database, table] = [
                    {name: one[name] for name in one.keys() if name not in CLOCKS}  # noqa: SIM118
                    for one in every
                ]
    return found


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def test_a_batch_leaves_what_its_events_would_have_left_one_by_one(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Rows, tags and the last event of each asset are those of Dagster's own storage."""
    theirs = SqliteEventLogStorage(str(tmp_path / "theirs"))
    together = SqliteEventLog(str(tmp_path / "together"))
    each = SqliteEventLog(str(tmp_path / "each"))
    for storage in (theirs, together, each):
        storage.register_instance(instance)
    for event in EVENTS:
        theirs.store_event(event)
        each.store_event(event)
    together.store_event_batch(EVENTS)
    held = rows(tmp_path / "theirs")
    assert len(held["index", "asset_event_tags"]) >= len(EVENTS)
    assert rows(tmp_path / "together") == held
    assert rows(tmp_path / "each") == held


def test_a_batch_that_breaks_off_leaves_no_part_of_itself(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index, which all pages ask, holds all events of a batch or none."""
    storage = SqliteEventLog(str(tmp_path))
    storage.register_instance(instance)
    storage.store_event(EVENTS[0])

    def broken(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(storage, "_store_asset_event", broken)
    with pytest.raises(OSError, match="full"):
        storage.store_event_batch(EVENTS[1:])
    assert len(rows(tmp_path)["index", "event_logs"]) == 1


def test_the_storage_that_dagster_yaml_names_has_this_event_log(tmp_path: Path) -> None:
    """In the place where Dagster's own would have put it."""
    storage = SqliteStorage(str(tmp_path))
    assert isinstance(storage.event_log_storage, SqliteEventLog)
    assert (tmp_path / "history/runs/index.db").exists()
