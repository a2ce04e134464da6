"""A table that does not fit into memory goes the way of one that does, and comes to the same."""

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv
from upath import UPath

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.spec import Data, ExperimentSpec, Preparation
from experiment_pipeline.stages.data_analysis import analysis
from experiment_pipeline.stages.raw_data import sources
from experiment_pipeline.stages.raw_data.sources import read_source
from experiment_pipeline.stages.raw_data.table import RawTable, parse
from experiment_pipeline.stages.split_sets import page as split_page
from experiment_pipeline.stages.split_sets.sets import StoredSet, as_stored, split
from experiment_pipeline.stages.validated_data import guards
from experiment_pipeline.stages.validated_data.profile import compare, profile
from experiment_pipeline.stages.validated_data.rows import Origin, ValidatedRows, validate
from experiment_pipeline.storage import tables
from experiment_pipeline.storage.files import read_bytes
from experiment_pipeline.storage.spill import Shelf
from experiment_pipeline.storage.tables import StoredTable, read_table, to_parquet, write_table
from experiment_pipeline.table.digests import table_digest
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import assign_sets, codes_of, named
from experiment_pipeline.table.preparation import Prepared, prepare
from experiment_pipeline.table.schema import fit_columns, load_schema
from experiment_pipeline.table.table import Table, whole
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.orchestration.test_tables import COLUMNS, one_column, sample

BATCHES = st.sampled_from([37, 100, 480, 10_000])


@pytest.fixture(autouse=True)
def nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every table be too large to be read whole, and no column of it stay in memory."""
    monkeypatch.setattr(tables, "WHOLE_BYTES", 0)
    monkeypatch.setattr(tables, "KEPT_BYTES", 0)
    monkeypatch.setattr(sources, "WHOLE_BYTES", 0)


def _way(folder: Path, spec: ExperimentSpec, batch_rows: int | None) -> dict[str, Any]:
    """From the source to the stored sets: in memory (None), or through files in batches."""

    def shelf() -> Shelf | None:
        return None if batch_rows is None else Shelf(0, batch_rows)

    def bytes_of(table: Table) -> bytes:
        if batch_rows is None:
            assert isinstance(table, pd.DataFrame)
            return to_parquet(table)
        assert isinstance(table, tables.Columns)
        write_table(UPath(folder / "rejected.parquet"), table)
        return read_bytes(UPath(folder / "rejected.parquet"))

    def stored(table: Any) -> Any:
        if batch_rows is None:
            return table
        path = UPath(folder / f"{type(table).__name__}.parquet")
        write_table(path, table)
        back = read_table(path, type(table))
        assert isinstance(tables.table_of(back), StoredTable)
        return back

    data = spec.data
    found = (
        parse(read_source(data), data)
        if batch_rows is None
        else parse(read_source(data), data, Shelf(0, batch_rows))
    )
    raw: RawTable = stored(found)
    schema = load_schema(scenario.SCHEMA)
    prepared = prepare(raw.frame, spec.preparation, cells=shelf())
    fitted, _ = fit_columns(prepared.frame, raw.frame.columns, schema)
    member = assign_sets(fitted, spec, feature_columns(fitted, spec))
    valid = validate(raw.frame, prepared, schema, spec, sets=member, cells=shelf())
    profiled = profile(valid.validated, valid.rejection_rate)
    origin = Origin(raw.digest, raw.types, profiled.digest, ())
    kept: ValidatedRows = stored(
        ValidatedRows(valid.validated, codes_of(member[valid.validated.index]), origin)
    )
    features = feature_columns(kept.rows, spec)
    membership = named(kept.sets, kept.rows.index)
    places = None if batch_rows is None else shelf
    sets = split(kept.rows, spec, features, membership, places)
    own = as_stored(sets, spec, features, kept.origin)
    files = {name: stored(table) for name, table in own.items()}
    return {
        "raw": (raw.digest, raw.notes, table_digest(whole(raw.frame))),
        "changes": prepared.changes.to_csv(),
        "rejected": (bytes_of(valid.rejected), valid.reasons.to_csv(), valid.notes),
        "conserved": guards.check_conserved(raw.frame, valid),
        "bias": guards.rejection_bias(
            prepared.frame, valid, guards.key_columns(prepared.frame, spec)
        ).to_csv(),
        "profile": profiled.digest,
        "drift": compare(profiled, profiled, valid.validated, spec).drift.to_csv(),
        "validated": table_digest(whole(kept.rows)),
        "origin": kept.origin,
        "sets": {name: _said(table) for name, table in files.items()},
        "summary": sets.summary.to_csv(),
        "notes": sets.notes,
        "checks": [
            (check.name, check.passed, check.means, check.problems, check.notes)
            for check in split_page.checks(sets, kept.rows, spec, features)
        ],
    }


def _said(table: StoredSet) -> tuple[str, str, str, bytes]:
    return (
        table.digest,
        table_digest(whole(table.rows)),
        table.early_stopping.tobytes().hex(),
        to_parquet(table),
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("split_by", ["random", "group", "time"])
@settings(max_examples=3, deadline=None)
@given(batch_rows=BATCHES)
def test_batches_of_any_size_come_to_the_same_as_the_table_in_memory(
    tmp_path_factory: pytest.TempPathFactory, kind: str, split_by: str, batch_rows: int
) -> None:
    """Digests, rejected rows and reasons, profile, sets, checks and stored bytes are the same."""
    folder = tmp_path_factory.mktemp("way")
    table = pd.concat([scenario.table(), scenario.table().iloc[:40]], ignore_index=True)
    path = folder / f"visits.{kind}"
    if kind == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False, row_group_size=100)
    spec = scenario.spec(split=split_by, url=str(path), validation={"max_rejected_fraction": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BATCH_ROWS", batch_rows)
        found = _way(folder, spec, batch_rows)
        assert found == _way(folder, spec, None)


@pytest.mark.parametrize("split", [{"by": "random"}, {"by": "random", "id_columns": ["visit_id"]}])
def test_duplicates_are_found_among_all_batches(tmp_path: Path, split: dict[str, Any]) -> None:
    """A row that repeats one of another batch is rejected, and copies stay in one set."""
    twice = pd.concat([scenario.table()] * 2, ignore_index=True)
    path = tmp_path / "visits.parquet"
    twice.to_parquet(path, index=False)
    rules = {"max_rejected_fraction": 1, "duplicate_rows": "reject"}
    mapping = {**scenario.spec_mapping(url=str(path), validation=rules), "split": split}
    spec = ExperimentSpec.model_validate({"name": "clinic", **mapping})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BATCH_ROWS", 50)
        found = _way(tmp_path, spec, 50)
        assert found == _way(tmp_path, spec, None)
    assert "repeats an earlier row" in found["rejected"][1]


def test_a_folder_of_parts_is_read_a_column_at_a_time(tmp_path: Path) -> None:
    """Types are promoted over all parts, folder names are columns, and errors name the part."""
    (tmp_path / "year=2013").mkdir()
    (tmp_path / "year=2014").mkdir()
    pd.DataFrame({"a": [1, 2], "b": ["x", None]}).to_parquet(tmp_path / "year=2013" / "0.parquet")
    pd.DataFrame({"b": ["y"], "a": [1.5]}).to_parquet(tmp_path / "year=2014" / "0.parquet")
    data = Data(url=str(tmp_path))
    inside, outside = parse(read_source(data), data), parse(read_source(data), data, Shelf(0))
    assert outside.digest == inside.digest == table_digest(inside.frame)
    pd.testing.assert_frame_equal(whole(outside.frame), inside.frame)
    assert inside.frame["a"].tolist() == [1.0, 2.0, 1.5]
    assert inside.frame["year"].tolist() == [2013, 2013, 2014]


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz", "stored"])
def test_of_a_large_file_few_parts_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Never all of it, and not so many that a bucket, which is asked for each, would be slow."""
    asked: list[int] = []

    class Parts(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(len(part := super().read(size)))
            return part

        def readinto(self, buffer: Any) -> int:
            buffer[: len(part)] = (part := self.read(len(buffer)))
            return len(part)

    for room in (sources, tables):
        monkeypatch.setattr(room, "open_file", lambda path: Parts(path.read_bytes()))
        monkeypatch.setattr(room, "read_bytes", lambda path: Parts(path.read_bytes()).read())
    numbers = np.random.default_rng(0).random((300_000, 4))
    table = pa.table(dict(zip("abcd", numbers.T, strict=True)))
    path = tmp_path / f"table.{kind}"
    if kind.startswith("csv"):
        with gzip.open(path, "wb", 1) if kind == "csv.gz" else path.open("wb") as file:
            csv.write_csv(table, file)
    else:
        pq.write_table(table, path, row_group_size=100_000)
    data = Data(url=str(path))
    if kind == "stored":
        read: Table = StoredTable.at(UPath(path))
    else:
        parts, shelf = read_source(data), Shelf(0)
        read = parse(parts, data, shelf, shelf.spooled).frame
    assert read["d"].tolist() == numbers[:, 3].tolist()
    assert max(asked) < 0.8 * path.stat().st_size
    assert len(asked) < 40


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("most_bytes", [0, 10_000])
def test_a_column_comes_from_the_shelf_as_it_went(kind: str, most_bytes: int) -> None:
    """Values, missing values and type survive, of the column and of its batches."""
    frame = one_column(COLUMNS[kind])
    shelf = Shelf(most_bytes, batch_rows=2)
    shelf["x"] = frame["x"]
    pd.testing.assert_series_equal(shelf["x"].set_axis(frame.index), frame["x"])
    pd.testing.assert_frame_equal(pd.concat(shelf.batches(frame.index)), frame)


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 10])
def test_a_file_in_batches_has_the_bytes_of_one_written_at_once(
    place: UPath, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    """Whether rows are numbered by a range or by hand; and rows come back in batches."""
    monkeypatch.setattr(tables, "BATCH_ROWS", batch_rows)
    path = place / "table.parquet"
    for frame in (sample(), sample().set_axis(pd.RangeIndex(3, name="row_number"))):
        columns = tables.Columns(frame.index, {str(name): frame[name] for name in frame.columns})
        write_table(path, columns)
        assert read_bytes(path) == to_parquet(frame)
        stored = StoredTable.at(path)
        pd.testing.assert_frame_equal(whole(stored), frame)
        batches = list(stored.batches(["time zone", "Int64"]))
        assert len(batches) == -(-3 // batch_rows)
        pd.testing.assert_frame_equal(pd.concat(batches), frame[["time zone", "Int64"]])


def test_a_reader_of_an_open_table_sees_no_other_one(tmp_path: Path) -> None:
    """Who replaces a stored table disturbs nobody who reads it column by column."""
    path = UPath(tmp_path / "table.parquet")
    write_table(path, pd.DataFrame({"a": [1, 2], "b": [3, 4]}))
    stored = StoredTable.at(path)
    write_table(path, pd.DataFrame({"a": [9], "b": [9]}))
    assert stored["b"].tolist() == [3, 4]


def _awkward(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns whose type some batches alone do not tell."""
    numbers = rows.index.tolist()
    return rows.drop(columns=["cost"]).assign(
        age=pd.to_numeric(rows["age"], errors="coerce"),
        rare=["yes" if n % 97 == 5 else None for n in numbers],
        gaps=[None if n % 211 == 7 else n for n in numbers],
        truths=[None if n % 211 == 7 else n % 2 == 0 for n in numbers],
        kinds=rows["ward"].astype("category"),
        lists=pd.Series([[n, n + 1] if n % 50 == 9 else None for n in numbers], index=rows.index),
        objects=pd.Series(["a" if n > 300 else None for n in numbers], rows.index, dtype=object),
    )


def _against_the_mean(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(first=rows.index - rows.index.to_numpy().mean())


def _with_what_there_is(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{f"n{n // 200}": 1 for n in rows.index[:1]})


def _prepared_by(function: Any, table: Table, cells: Shelf | None) -> Prepared[Any]:
    path = f"{__name__}:{function.__name__}"
    return prepare(table, Preparation(function=path), cells=cells)


@pytest.mark.parametrize("batch_rows", [61, 200, 479, 480])
def test_a_users_function_is_given_batches_and_makes_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    """Values, types, counts and stored bytes, though a batch alone has other types."""
    table = scenario.table().rename_axis(index="row_number")
    columns = tables.Columns(table.index, {str(name): table[name] for name in table.columns})
    at_once = _prepared_by(_awkward, table, None)
    batches = _prepared_by(_awkward, columns, Shelf(0, batch_rows))
    assert batches.changes.to_csv() == at_once.changes.to_csv()
    pd.testing.assert_frame_equal(whole(batches.frame), at_once.frame)
    monkeypatch.setattr(tables, "BATCH_ROWS", batch_rows)
    path = UPath(tmp_path / "table.parquet")
    write_table(path, tables.Columns(table.index, batches.frame.cells))
    pd.testing.assert_frame_equal(whole(StoredTable.at(path)), at_once.frame)


@pytest.mark.parametrize("function", [_against_the_mean, _with_what_there_is])
def test_a_function_that_looks_at_its_batch_is_refused(function: Any) -> None:
    """What is made of a row must not depend on the rows beside it, nor columns on the batch."""
    table = scenario.table().rename_axis(index="row_number")
    columns = tables.Columns(table.index, {str(name): table[name] for name in table.columns})
    with pytest.raises(UnusableTable, match="rows alone get other values"):
        _prepared_by(function, columns, Shelf(0, 100))


@pytest.mark.parametrize(
    ("later", "message"), [("text", "objects .str. that"), (2.5, "would change")]
)
def test_objects_that_go_together_in_no_type_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: object, message: str
) -> None:
    """Though each batch alone could be kept: numbers first, and something else later."""
    monkeypatch.setattr(tables, "BATCH_ROWS", 2)
    mixed = pd.Series([1, 2, later, later], dtype=object)
    with pytest.raises(UnusableTable, match=message) as told:
        write_table(UPath(tmp_path / "t.parquet"), tables.Columns(mixed.index, {"x": mixed}))
    assert "column 'x'" in told.value.culprit
    assert not (tmp_path / "t.parquet").exists()


def test_objects_that_nothing_can_write_down_are_refused_by_name() -> None:
    """A function among the cells has no place on a disk."""
    with pytest.raises(UnusableTable, match="no file can keep"):
        Shelf(0)["x"] = pd.Series([lambda: None, 1], name="x", dtype=object)


def test_a_column_of_a_stored_table_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a stage asks for it, and though there is no room for it in memory."""
    table = scenario.table().rename_axis(index="row_number")
    write_table(UPath(tmp_path / "raw.parquet"), RawTable(table, "", "csv", None, None, None, ()))
    read: list[str] = []
    real = pq.ParquetFile.read

    def counted(self: pq.ParquetFile, columns: list[str], **options: Any) -> pa.Table:
        read.extend(columns)
        return real(self, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read", counted)
    raw = read_table(UPath(tmp_path / "raw.parquet"), RawTable)
    spec = scenario.spec(validation={"max_rejected_fraction": 1})
    prepared = prepare(raw.frame, spec.preparation, cells=Shelf(0))
    found = validate(raw.frame, prepared, load_schema(scenario.SCHEMA), spec, cells=Shelf(0))
    profile(found.validated, found.rejection_rate)
    pd.testing.assert_frame_equal(whole(raw.frame), table)
    assert sorted(read) == sorted(table.columns)


def _of_rows(values: np.ndarray) -> Table:
    return pd.DataFrame({"x": values, "y": values * 2, "t": values % 2})


def test_the_analysis_of_a_large_table_reads_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rows' features: whatever their order, the targets, and however often a row is there."""
    monkeypatch.setattr(analysis, "MOST_ROWS", 1_000)
    monkeypatch.setattr(analysis, "SAMPLED_ROWS", 500)
    values = np.arange(20_000, dtype=np.float64)
    table = _of_rows(np.concatenate([values, values]))
    read = analysis.rows_to_read(table, ["x", "y"])
    assert read is not None
    assert 350 < len(read) < 650
    found = np.sort(table["x"].to_numpy()[read])
    assert (found[::2] == found[1::2]).all()
    backwards = table.iloc[::-1]
    again = analysis.rows_to_read(backwards, ["x", "y"])
    assert np.array_equal(np.sort(backwards["x"].to_numpy()[again]), found)
    assert analysis.rows_to_read(table.iloc[:1_000], ["x", "y"]) is None


def test_a_table_of_few_combinations_is_sampled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where two combinations make up the table, rows are chosen one by one."""
    monkeypatch.setattr(analysis, "MOST_ROWS", 1_000)
    monkeypatch.setattr(analysis, "SAMPLED_ROWS", 500)
    read = analysis.rows_to_read(_of_rows(np.arange(20_000) % 2), ["x", "y"])
    assert read is not None
    assert 400 < len(read) < 600


def test_a_damaged_part_of_a_large_file_is_told(tmp_path: Path) -> None:
    """A file that was cut short is named, before a column of it is read."""
    content = io.BytesIO()
    pq.write_table(pa.table({"a": [1.0] * 1000}), content)
    path = tmp_path / "cut.parquet"
    path.write_bytes(content.getvalue()[:-200])
    data = Data(url=str(path))
    with pytest.raises(Exception, match="truncated Parquet file"):
        parse(read_source(data), data, Shelf(0))
