"""raw_data: the bytes of the user's files → one typed table, and what was decided on the way.

Here: `parse`, the stage, and `read`, its columns for who needs no digest. Beside it: `contents` (what
a file is), `parquet` and `csv_text` (files → columns), `columns` (columns → types). Not here: what
people see of it (`page.py`), fetching the files (`sources.py`), cleaning values
(`table/preparation.py`).

Types, notes and digest go by whole columns, so the table is made a column at a time: with a place
to put columns, a table may be larger than memory. Nothing is changed in silence: what was
found out by looking is in `RawTable.notes`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, overload

import numpy as np
import pandas as pd
import pyarrow as pa

from experiment_pipeline import spec
from experiment_pipeline.errors import InvalidExperiment, UnreadableTable, listed
from experiment_pipeline.stages.raw_data import columns, csv_text
from experiment_pipeline.stages.raw_data.contents import Contents, Delivered, open_contents
from experiment_pipeline.stages.raw_data.csv_large import LargeCsv, look_through
from experiment_pipeline.stages.raw_data.parquet import ParquetFile
from experiment_pipeline.table.digests import INDEX, TableDigest, cell_hashes, table_digest
from experiment_pipeline.table.table import AnyTable, Columns, whole

CSV_SETTINGS = ("delimiter", "encoding", "missing_values")


@dataclass(frozen=True)
class RawTable(Generic[AnyTable]):
    """A table as delivered, typed.

    Attributes:
        frame: all rows and columns; its int64 index `row_number` counts the rows from 0.
        digest: sha256 (hex) of columns, types and values; see `table_digest`.
        format: what the files are: "csv" or "parquet".
        encoding: of the text; None for Parquet.
        delimiter: between the fields; None for Parquet.
        compression: around the files: "gzip", "bzip2", "xz", "zip", "zstd" or None.
        notes: what was decided for the user, one sentence each.
    """

    frame: AnyTable
    digest: str
    format: str
    encoding: str | None
    delimiter: str | None
    compression: str | None
    notes: tuple[str, ...]

    @property
    def types(self) -> Mapping[str, str]:
        """The dtype of every column."""
        return {str(name): str(self.frame[name].dtype) for name in self.frame.columns}


class Texts(Protocol):
    """Columns of text that need not be in memory."""

    @property
    def rows(self) -> int:
        """How many there are."""

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one of them."""


Spool = Callable[[Iterable[pa.RecordBatch]], Texts]


@dataclass(frozen=True)
class Read:
    """What both formats give: columns with their final types, one after the other.

    Attributes:
        files: what was opened, at least one.
        rows: of the table, at least one.
        cells: name and cells of each column, once, in order.
        parts: notes on the files.
        decisions: those on columns, complete when all columns were had.
    """

    files: Sequence[Contents]
    rows: int
    cells: Iterator[tuple[str, pa.ChunkedArray]]
    parts: tuple[str, ...]
    decisions: tuple[columns.Decisions, ...]
    encoding: str | None = None
    delimiter: str | None = None

    @property
    def index(self) -> pd.RangeIndex:
        """The row numbers."""
        return pd.RangeIndex(self.rows, name=INDEX)

    def columns(self) -> Iterator[tuple[str, pd.Series]]:
        """Give name and cells of each column, once, in order."""
        return ((name, cells.to_pandas()) for name, cells in self.cells)

    def as_table(self, frame: AnyTable, digest: str) -> "RawTable[AnyTable]":
        """Return these columns, all of which were had, with what there is to say of them."""
        compressions = dict.fromkeys(file.compression for file in self.files if file.compression)
        return RawTable(
            frame=frame,
            digest=digest,
            format=self.files[0].format,
            encoding=self.encoding,
            delimiter=self.delimiter,
            compression=", ".join(compressions) or None,
            notes=(*self.parts, *(note for decided in self.decisions for note in decided.notes())),
        )


@overload
def parse(
    parts: Sequence[tuple[str, bytes | Delivered]], data: spec.Data
) -> RawTable[pd.DataFrame]: ...
@overload
def parse(
    parts: Sequence[tuple[str, bytes | Delivered]],
    data: spec.Data,
    cells: MutableMapping[str, pd.Series],
    spool: Spool,
) -> RawTable[Columns]: ...
def parse(
    parts: Sequence[tuple[str, bytes | Delivered]],
    data: spec.Data,
    cells: MutableMapping[str, pd.Series] | None = None,
    spool: Spool | None = None,
) -> RawTable[pd.DataFrame] | RawTable[Columns]:
    """Read one table from its files.

    Args:
        parts: (name, content) of each file, at least one; several are the parts of one table,
            with the same columns, appended in this order.
        data: how to read them, where the user knows better than the files tell.
        cells: where the columns go; None: they stay in memory, as a DataFrame.
        spool: where the texts of a large CSV wait until their columns are typed.

    Raises:
        UnreadableTable: no table: empty, truncated, ragged, HTML, binary, columns named twice.
        InvalidExperiment: `data` says something that has no effect on these files.
    """
    found = read(parts, data, spool)
    digest, held = TableDigest(found.index), {} if cells is None else cells
    for name, series in found.columns():
        digest.add(name, series.dtype, cell_hashes(series))
        held[name] = series
    table: Any = Columns(found.index, held)
    return found.as_table(whole(table) if cells is None else table, digest.hexdigest())


def parse_sample(
    parts: Sequence[tuple[str, bytes | Delivered]],
    data: spec.Data,
    chosen: Callable[[int], np.ndarray],
    spool: Spool | None = None,
) -> tuple[RawTable[pd.DataFrame], int]:
    """Read some rows of a table, whose types are those of all rows; errors as of `parse`.

    Args:
        parts: as of `parse`.
        data: as of `parse`.
        chosen: given the number of rows, positions of those to keep, ascending.
        spool: as of `parse`.

    Returns:
        The rows, numbered as in the table, with the digest of what was kept; and how many rows
        the table has.
    """
    found = read(parts, data, spool)
    rows = chosen(len(found.index))
    index = pd.Index(rows, name=INDEX)
    # A column at a time; what was not chosen of it goes at once.
    cells = {name: series.iloc[rows].set_axis(index) for name, series in found.columns()}
    kept = pd.DataFrame(cells, index=index, copy=False)
    return found.as_table(kept, table_digest(kept)), len(found.index)


def read(
    parts: Sequence[tuple[str, bytes | Delivered]],
    data: spec.Data,
    spool: Spool | None = None,
    as_written: Sequence[str] = (),
) -> Read:
    """Read the columns of one table.

    Args:
        parts: as `parse` takes them.
        data: the same.
        spool: the same.
        as_written: columns of CSV files that stay the texts they are, whatever they look like.

    Raises:
        UnreadableTable, InvalidExperiment: as of `parse`.
    """
    files = [open_contents(name, content, data.format) for name, content in parts]
    is_csv = _the_format(files) == "csv"
    found = _read_csv(files, data, spool, as_written) if is_csv else _read_parquet(files, data)
    if found.rows == 0:
        raise UnreadableTable(
            files[0].name, "it has a header and no rows", "deliver a table that has rows"
        )
    return found


def _the_format(files: Sequence[Contents]) -> str:
    if len({file.format for file in files}) > 1:
        other = next(file for file in files if file.format != files[0].format)
        raise UnreadableTable(
            other.name,
            f"it is {other.format}, but {files[0].name} is {files[0].format}",
            "keep the parts of one table in one format, and other files elsewhere",
        )
    return files[0].format


def _read_csv(
    files: Sequence[Contents],
    data: spec.Data,
    spool: Spool | None,
    as_written: Sequence[str],
) -> Read:
    decisions = columns.Decisions()
    # What the name of a folder says is no field of a file.
    kept = {*as_written} - {*_folder_keys(files)}

    # Types are found after stacking: a part alone could look like numbers, the table not.
    def typed(name: str, column: pa.ChunkedArray) -> tuple[str, pa.ChunkedArray]:
        if name in kept:
            return name, columns.with_missing(column, data.missing_values, decisions)
        return name, columns.typed_text(name, column, data.missing_values, decisions)

    large = [look_through(file, data) for file in files] if spool is not None else [None]
    if spool is not None and (plain := [one for one in large if one]) and len(plain) == len(large):
        with suppress(pa.ArrowInvalid):  # reading it whole says what is wrong
            names, spooled = _spooled(plain, spool)
            looks = [one.looks for one in plain]
            return Read(
                files,
                spooled.rows,
                (typed(name, spooled.column(name)) for name in names),
                (*_notes_on_parts(files), *_once(looks)),
                (decisions,),
                encoding=looks[0].encoding,
                delimiter=looks[0].delimiter,
            )
    texts = [csv_text.read(file.name, file.text, data) for file in files]
    table = _stacked(
        [
            (file.name, file.with_folder_keys(text.table))
            for file, text in zip(files, texts, strict=True)
        ]
    )
    cells = dict(zip(table.column_names, table.columns, strict=True))
    return Read(
        files,
        table.num_rows,
        # What was had need not stay in memory.
        (typed(name, cells.pop(name)) for name in table.column_names),
        (*_notes_on_parts(files), *_once(texts)),
        (decisions,),
        encoding=", ".join(dict.fromkeys(text.encoding for text in texts)),
        delimiter=texts[0].delimiter,
    )


def _once(files: Sequence[csv_text.Looks | csv_text.CsvText]) -> dict[str, None]:
    """The notes of several files, each one once."""
    return dict.fromkeys(note for file in files for note in file.notes)


def _spooled(files: Sequence[LargeCsv], spool: Spool) -> tuple[list[str], Texts]:
    no_rows = [(one.file.name, one.file.with_folder_keys(_texts(one.looks.names))) for one in files]
    names = _stacked(no_rows).column_names
    return names, spool(batch.select(names) for one in files for batch in one.batches())


def _texts(names: Sequence[str]) -> pa.Table:
    """A table of texts without rows."""
    return pa.schema([(name, columns.TEXT) for name in names]).empty_table()


def _read_parquet(files: Sequence[Contents], data: spec.Data) -> Read:
    for setting in CSV_SETTINGS:
        if setting in data.model_fields_set:
            raise InvalidExperiment(
                f"data.{setting}", f"{files[0].name} is Parquet: it has no effect", "drop it"
            )
    opened = [(file.name, ParquetFile(file)) for file in files]
    schema = _stacked([(name, file.no_rows) for name, file in opened]).schema
    keys = _folder_keys(files)
    nested = columns.nested(schema)
    names = [name for name in schema.names if name not in {*keys, *nested}]
    notes = _notes_on_parts(files)
    if nested:
        notes.append(f"lists, structs or maps, left out: {listed(nested)}")
    decisions, of_names = columns.Decisions(), columns.Decisions()

    def typed() -> Iterator[tuple[str, pa.ChunkedArray]]:
        for name in (*names, *keys):
            column = _stacked([(part, file.read(name)) for part, file in opened])[name]
            if name in keys:
                yield name, columns.typed_text(name, column, (), of_names)
            else:
                yield name, columns.plain(name, column, decisions)

    rows = sum(file.rows for _, file in opened)
    return Read(files, rows, typed(), tuple(notes), (decisions, of_names))


def _folder_keys(files: Sequence[Contents]) -> list[str]:
    return list(dict.fromkeys(key for file in files for key in file.folder_keys))


def _notes_on_parts(files: Sequence[Contents]) -> list[str]:
    notes = []
    if len(files) > 1:
        notes.append(f"{len(files):,} files are one table: {listed([f.name for f in files])}")
    if keys := _folder_keys(files):
        notes.append(f"read from the names of the folders: {listed(keys)}")
    return notes


def _stacked(tables: Sequence[tuple[str, pa.Table]]) -> pa.Table:
    """The parts as one table with the columns in the order of the first part."""
    first_name, first = tables[0]
    for name, table in tables[1:]:
        if different := set(first.column_names) ^ set(table.column_names):
            raise UnreadableTable(
                name,
                f"its columns differ from those of {first_name}: {listed(sorted(different))}",
                "deliver the same columns in every part",
            )
    try:
        return pa.concat_tables(
            [table.select(first.column_names) for _, table in tables],
            promote_options="permissive",
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UnreadableTable(
            f"the {len(tables)} parts from {first_name} on",
            f"a column has types that do not go together: {error}",
            "write the column with one type in every part",
        ) from None
