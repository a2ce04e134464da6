"""raw_data: the bytes of the user's files → one typed table, and what was decided on the way.

Here: `parse`, the stage, and `read`, the same without a digest. Beside it: `contents` (what a file
is), `parquet` and `csv_text` (files → columns), `columns` (columns → types). Not here: the page
(`page.py`), fetching the files (`sources.py`), cleaning values (`table/preparation.py`).

Types, notes and digest need whole columns, so the table is made a column at a time. Nothing is changed
in silence: what was decided is in `RawTable.notes`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from experiment_pipeline import spec
from experiment_pipeline.errors import InvalidExperiment, UnreadableTable, listed
from experiment_pipeline.stages.raw_data import csv_text
from experiment_pipeline.stages.raw_data.columns import (
    TEXT,
    Decisions,
    nested,
    plain,
    typed_text,
    with_missing,
)
from experiment_pipeline.stages.raw_data.contents import Content, Contents, open_contents
from experiment_pipeline.stages.raw_data.parquet import ParquetFile
from experiment_pipeline.storage.mapped import batches_as_table, spilled
from experiment_pipeline.table.digests import INDEX, table_digest
from experiment_pipeline.table.table import of_columns

CSV_SETTINGS = ("delimiter", "encoding", "missing_values")


@dataclass(frozen=True)
class RawTable:
    """A table as delivered, typed.

    Attributes:
        frame: rows and columns; its int64 index `row_number` is the place in the source, from 0.
        digest: sha256 (hex) of columns, types and values; see `table_digest`. Empty where only
            `read`.
        format: what the files are: "csv" or "parquet".
        encoding: of the text; None for Parquet.
        delimiter: between the fields; None for Parquet.
        compression: around the files: "gzip", "bzip2", "xz", "zip", "zstd" or None.
        notes: what was decided for the user, one sentence each.
    """

    frame: pd.DataFrame
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


def parse(parts: Sequence[tuple[str, Content]], data: spec.Data) -> RawTable:
    """Read one table from its files; the columns of a large one lie on maps.

    Args:
        parts: (name, content) of each file, at least one; several are the parts of one table,
            with the same columns, appended in this order.
        data: how to read them, where the user knows better than the files tell.

    Raises:
        UnreadableTable: no table: empty, truncated, ragged, HTML, binary, columns named twice.
        InvalidExperiment: `data` says something that has no effect on these files.
    """
    table = read(parts, data)
    return replace(table, digest=table_digest(table.frame))


def read(
    parts: Sequence[tuple[str, Content]],
    data: spec.Data,
    as_written: Collection[str] = (),
    chosen: Callable[[int], np.ndarray] | None = None,
) -> RawTable:
    """Read a table, or some of its rows, without a digest; errors as of `parse`.

    Args:
        parts: as of `parse`.
        data: as of `parse`.
        as_written: columns of CSV files that stay the texts they are, whatever they look like.
        chosen: given the number of rows, positions of those to keep, ascending; they keep the types
            and the numbers that they have in the whole table. None: all rows.
    """
    files = [open_contents(name, content, data.format) for name, content in parts]
    found = (
        _of_csv(files, data, as_written)
        if _the_format(files) == "csv"
        else _of_parquet(files, data)
    )
    if found.rows == 0:
        raise UnreadableTable(
            files[0].name, "it has a header and no rows", "deliver a table that has rows"
        )
    index: pd.Index = pd.RangeIndex(found.rows, name=INDEX)
    positions = None if chosen is None else chosen(found.rows)
    if positions is not None:
        index = pd.Index(positions, name=INDEX)
    columns = dict[str, pd.Series]()
    for name, cells in found.columns:
        column = cells.to_pandas()
        columns[name] = spilled(column if positions is None else column.iloc[positions])
    compressions = dict.fromkeys(file.compression for file in files if file.compression)
    return RawTable(
        frame=of_columns(columns, index),
        digest="",
        format=files[0].format,
        encoding=found.encoding,
        delimiter=found.delimiter,
        compression=", ".join(compressions) or None,
        notes=(
            *_notes_on_parts(files),
            *found.notes,
            *(note for decided in found.decisions for note in decided.notes()),
        ),
    )


@dataclass(frozen=True)
class _Arrow:
    """What both formats give: `columns` with their final types, each made when it is reached.

    `decisions` are complete when all columns were made.
    """

    rows: int
    columns: Iterable[tuple[str, pa.ChunkedArray]]
    notes: Iterable[str]
    decisions: Sequence[Decisions]
    encoding: str | None = None
    delimiter: str | None = None


def _the_format(files: Sequence[Contents]) -> str:
    if len({file.format for file in files}) > 1:
        other = next(file for file in files if file.format != files[0].format)
        raise UnreadableTable(
            other.name,
            f"it is {other.format}, but {files[0].name} is {files[0].format}",
            "keep the parts of one table in one format, and other files elsewhere",
        )
    return files[0].format


def _of_csv(files: Sequence[Contents], data: spec.Data, as_written: Collection[str]) -> _Arrow:
    first = csv_text.read(files[0].name, files[0].unpacked(), data)
    texts = list[csv_text.CsvText]()

    def empty(file: Contents, text: csv_text.CsvText) -> pa.Table:
        columns = pa.schema([(name, TEXT) for name in text.names]).empty_table()
        return file.with_folder_keys(columns)

    schema = empty(files[0], first).schema

    def batches() -> Iterator[pa.RecordBatch]:
        for file in files:  # one of them is unpacked at a time
            text = csv_text.read(file.name, file.unpacked(), data) if texts else first
            _check_same_columns(
                files[0].name, schema.names, file.name, empty(file, text).column_names
            )
            texts.append(replace(text, content=b""))
            for batch in text.batches():
                own = file.with_folder_keys(pa.Table.from_batches([batch]))
                yield from own.select(schema.names).to_batches()

    # Types are found after stacking: a part alone could look like numbers, the table not.
    table, decisions = batches_as_table(batches(), schema), Decisions()
    # The name of a folder is not a field of a file.
    kept = {*as_written} - {*_folder_keys(files)}

    def typed() -> Iterator[tuple[str, pa.ChunkedArray]]:
        for name in schema.names:
            column = with_missing(table[name], data.missing_values, decisions)
            yield name, column if name in kept else typed_text(name, column, decisions)

    return _Arrow(
        table.num_rows,
        typed(),
        dict.fromkeys(note for text in texts for note in text.notes),
        (decisions,),
        encoding=", ".join(dict.fromkeys(text.encoding for text in texts)),
        delimiter=first.delimiter,
    )


def _of_parquet(files: Sequence[Contents], data: spec.Data) -> _Arrow:
    for setting in CSV_SETTINGS:
        if setting in data.model_fields_set:
            raise InvalidExperiment(
                f"data.{setting}", f"{files[0].name} is Parquet: it has no effect", "drop it"
            )
    opened = [(file.name, ParquetFile(file)) for file in files]
    schema = _stacked([(name, file.no_rows) for name, file in opened]).schema
    keys, decisions, of_names = _folder_keys(files), Decisions(), Decisions()
    lists = nested(schema)

    def typed() -> Iterator[tuple[str, pa.ChunkedArray]]:
        names = [name for name in schema.names if name not in {*keys, *lists}]
        for name in (*names, *keys):
            column = _stacked([(part, file.read(name)) for part, file in opened])[name]
            if name in keys:
                yield name, typed_text(name, column, of_names)
            else:
                yield name, plain(name, column, decisions)

    notes = [f"lists, structs or maps, left out: {listed(lists)}"] if lists else []
    rows = sum(file.rows for _, file in opened)
    return _Arrow(rows, typed(), notes, (decisions, of_names))


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
        _check_same_columns(first_name, first.column_names, name, table.column_names)
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


def _check_same_columns(first: str, wanted: Sequence[str], name: str, found: Sequence[str]) -> None:
    if different := set(wanted) ^ set(found):
        raise UnreadableTable(
            name,
            f"its columns differ from those of {first}: {listed(sorted(different))}",
            "deliver the same columns in every part",
        )
