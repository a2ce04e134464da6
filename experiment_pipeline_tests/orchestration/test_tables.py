"""Tables come back as they went: through Parquet, through storage, through Dagster."""

import datetime as dt
import decimal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import StorageUnreachable, UnusableTable
from experiment_pipeline.orchestration.tables import tables_io_manager
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.storage import tables
from experiment_pipeline.storage.files import storage_root, write_bytes
from experiment_pipeline.storage.tables import from_parquet, read_table, to_parquet
from experiment_pipeline.table.digests import table_digest
from experiment_pipeline_tests.runs import table_path

ROWS = pd.Index([7, 2, 40], name="row_number", dtype="int64")
DAYS = ["2013-01-01 00:00", None, "2013-06-30 23:59"]
COLUMNS = {
    "text": pd.Series(["ä", None, ""], dtype="str"),
    "nullable text": pd.Series(["ä", None, ""], dtype="string"),
    "category": pd.Categorical(["b", None, "b"], categories=["c", "b", "a"]),
    "ordered category": pd.Categorical(
        ["b", None, "b"], categories=["c", "b"], ordered=True
    ),
    "category of numbers": pd.Categorical([2, None, 1], categories=[3, 2, 1]),
    "category of truths": pd.Categorical([True, None, False]),
    "category of times": pd.Categorical(pd.to_datetime(DAYS)),
    "no category": pd.Categorical([None, None, None]),
    "bool": [True, False, True],
    "nullable bool": pd.array([True, None, False], dtype="boolean"),
    "int8": np.array([1, -2, 3], dtype="int8"),
    "uint64": np.array([0, 1, 2**64 - 1], dtype="uint64"),
    "Int64": pd.array([2**62 + 1, None, -1], dtype="Int64"),
    "float32": np.array([0.1, np.nan, np.inf], dtype="float32"),
    "float64": [-0.0, np.nan, 1e-320],
    "Float64": pd.array([1.5, None, 2.5], dtype="Float64"),
    "microseconds": pd.to_datetime(DAYS),
    "seconds": np.array(["2013-01-01", "NaT", "2014-01-01"], dtype="datetime64[s]"),
    "nanoseconds": np.array(
        ["2013-01-01", "NaT", "2014-01-01"], dtype="datetime64[ns]"
    ),
    "time zone": pd.Series(pd.to_datetime(DAYS)).dt.tz_localize("America/New_York"),
    "duration": pd.to_timedelta([1.5, None, 3], unit="s"),
    "objects of text": pd.Series(["a", None, "b"], dtype=object),
    "objects of truth": pd.Series([True, None, False], dtype=object),
    "objects of numbers": pd.Series([2**60 + 1, None, 0], dtype=object),
    "dates": pd.Series([dt.date(1, 1, 1), None, dt.date(2013, 1, 1)], dtype=object),
    "decimals": pd.Series(
        [decimal.Decimal("1.10"), None, decimal.Decimal("2.00")], dtype=object
    ),
    "bytes": pd.Series([b"\xff", None, b""], dtype=object),
    "nothing": pd.Series([None, None, None], dtype=object),
}


def one_column(values: object) -> pd.DataFrame:
    """A table with one column and row numbers that are neither sorted nor dense."""
    return pd.Series(values).set_axis(ROWS).to_frame("x")


def sample() -> pd.DataFrame:
    """A table with every kind of column, under awkward names."""
    names = {
        "text": "<script>",
        "bool": " a 'b\" ",
        "int8": "naïve ☃",
        "uint64": "__index__",
    }
    columns = {names.get(k, k): pd.Series(v).set_axis(ROWS) for k, v in COLUMNS.items()}
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    "frame",
    [sample(), sample().iloc[:0], pd.DataFrame(index=ROWS)],
    ids=["rows", "no row", "no column"],
)
def test_a_table_comes_back_as_it_went(frame: pd.DataFrame):
    """Names, values, missing values, types and row numbers survive, and so does the
    digest.
    """
    content = to_parquet(frame)
    back = from_parquet(content)
    pd.testing.assert_frame_equal(frame, back)
    assert to_parquet(frame) == content
    assert table_digest(frame) == table_digest(back)


@dataclass(frozen=True, eq=False)
class Told:
    """A table with facts."""

    table: pd.DataFrame
    digests: Mapping[str, str]
    notes: tuple[str, ...]
    score: Interval


def test_what_is_said_of_a_table_goes_with_it():
    """A dataclass comes back whole, unknown numbers too, and its table alone can be
    had.
    """
    told = Told(sample(), {"train": "ab"}, ("x",), Interval(0.5, -np.inf, np.inf))
    back = from_parquet(to_parquet(told), Told)
    pd.testing.assert_frame_equal(back.table, told.table)
    assert (back.digests, back.notes, back.score) == (
        told.digests,
        told.notes,
        told.score,
    )
    pd.testing.assert_frame_equal(from_parquet(to_parquet(told)), told.table)
    with pytest.raises(ValueError, match="lacks the facts digests, notes, score"):
        from_parquet(to_parquet(told.table), Told)


def mixed(*cells: object) -> pd.DataFrame:
    """A column of objects."""
    return one_column(pd.Series(cells, ROWS, object))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (mixed(1, "a", None), "'x'.*its cells"),
        (mixed(True, 2, None), "'x'.*its cells"),
        (mixed("\ud800", None, "a"), "'x'.*its cells"),
        # The second would become 2.00.
        (mixed(decimal.Decimal("1.10"), None, decimal.Decimal(2)), "'x'.*its cells"),
        (one_column(np.array([1j, 2, 3])), r"'x'.*type complex"),
        (pd.DataFrame([[1, 2]] * 3, ROWS, ["a", "a"]), "the same name"),
        (pd.DataFrame([[1, 2]] * 3, ROWS, ["a", 1]), "its name"),
    ],
)
def test_what_would_change_is_refused_by_name(frame: pd.DataFrame, message: str):
    """Mixed objects, types that Parquet does not know, and names that are not unique
    texts.
    """
    with pytest.raises(UnusableTable, match=message):
        to_parquet(frame)


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize(
    ("index", "whole"), [(ROWS, True), (pd.RangeIndex(3, name="row_number"), False)]
)
def test_a_column_may_be_called_as_the_index_is(
    index: pd.Index, whole: bool, monkeypatch
):
    """A delivered `row_number` is a column like others, beside the row numbers of the
    index.
    """
    monkeypatch.setattr(tables, "WHOLE_BYTES", 2**20 if whole else 0)
    frame = sample().assign(row_number=[7, 7, 8]).set_axis(index)
    tables.write_table(path := storage_root() / "named_alike.parquet", frame)
    pd.testing.assert_frame_equal(read_table(path), frame)


# --- Dagster ---


@dg.asset(key_prefix="flights", io_manager_key="tables")
def raw_data() -> pd.DataFrame:
    """A table of an experiment."""
    return sample()


@dg.asset(ins={"table": dg.AssetIn(["flights", "raw_data"])}, io_manager_key="tables")
def turned(table: pd.DataFrame) -> pd.DataFrame:
    """A table without a prefix in its key."""
    return table.iloc[::-1]


def test_dagster_stores_tables_and_shows_what_a_user_can_act_on(storage: Path):
    """One file per asset, at the promised path, with its size; a table cut short fails
    who reads it.
    """
    given = {"assets": [raw_data, turned], "resources": {"tables": tables_io_manager}}
    (event,) = dg.materialize(**given).asset_materializations_for_node(
        "flights__raw_data"
    )
    path = table_path(storage_root(), "flights", "raw_data")
    assert {name: value.value for name, value in event.metadata.items()} == {
        "dagster/row_count": 3,
        "columns": len(COLUMNS),
        "path": str(path),
    }
    stored = read_table(storage_root() / "tables" / "turned.parquet")
    pd.testing.assert_frame_equal(stored, sample().iloc[::-1])
    write_bytes(path, b"PAR1")
    events = dg.materialize(
        **given, selection=[turned], raise_on_error=False
    ).all_events
    (failure,) = [event for event in events if event.is_step_failure]
    told = failure.step_failure_data.user_failure_data
    assert told.description.startswith(f"EntryCorrupt: {storage}")
    assert told.metadata["fix"].value == "Materialize its asset again."


def test_loading_definitions_touches_no_storage(monkeypatch):
    """A root that cannot be reached is no error before a run starts."""
    monkeypatch.setenv("EXPERIMENT_PIPELINE_STORAGE", "s4://nowhere/x")
    assert dg.Definitions(resources={"tables": tables_io_manager}).resolve_asset_graph()
    with pytest.raises(StorageUnreachable):
        storage_root()
