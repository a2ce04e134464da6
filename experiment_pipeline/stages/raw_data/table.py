"""raw_data: the bytes of the user's files → one typed table, and what was decided on the way.

Here: `parse`, the stage. Beside it: `contents` (what a file is), `csv_text` (text → columns of
text), `columns` (columns → types). Not here: what people see of it (`page.py`), fetching the files
(`sources.py`), cleaning values (`columns/preparation.py`).

Nothing is changed in silence: what was found out by looking is in `RawTable.notes`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from experiment_pipeline import spec
from experiment_pipeline.errors import InvalidExperiment, UnreadableTable, listed
from experiment_pipeline.rows.digests import table_digest
from experiment_pipeline.stages.raw_data import columns, csv_text
from experiment_pipeline.stages.raw_data.contents import Contents, open_contents, read_parquet

CSV_SETTINGS = ("delimiter", "encoding", "missing_values")


@dataclass(frozen=True)
class RawTable:
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
        return {str(name): str(dtype) for name, dtype in self.frame.dtypes.items()}


@dataclass(frozen=True)
class _Read:
    """What both formats give: an Arrow table with its final types."""

    table: pa.Table
    notes: tuple[str, ...]
    encoding: str | None = None
    delimiter: str | None = None


def parse(parts: Sequence[tuple[str, bytes]], data: spec.Data) -> RawTable:
    """Read one table from its files.

    Args:
        parts: (name, content) of each file, at least one; several are the parts of one table,
            with the same columns, appended in this order.
        data: how to read them, where the user knows better than the files tell.

    Raises:
        UnreadableTable: no table: empty, truncated, ragged, HTML, binary, columns named twice.
        UnusableTable: a table with nested columns.
        InvalidExperiment: `data` says something that has no effect on these files.
    """
    files = [open_contents(name, content, data.format) for name, content in parts]
    kind = _the_format(files)
    read = _read_csv(files, data) if kind == "csv" else _read_parquet(files, data)
    if read.table.num_rows == 0:
        raise UnreadableTable(
            files[0].name, "it has a header and no rows", "deliver a table that has rows"
        )
    frame = read.table.to_pandas(ignore_metadata=True)
    frame.index = pd.RangeIndex(len(frame), name="row_number")
    compressions = dict.fromkeys(file.compression for file in files if file.compression)
    return RawTable(
        frame=frame,
        digest=table_digest(frame),
        format=kind,
        encoding=read.encoding,
        delimiter=read.delimiter,
        compression=", ".join(compressions) or None,
        notes=read.notes,
    )


def _the_format(files: Sequence[Contents]) -> str:
    if len({file.format for file in files}) > 1:
        other = next(file for file in files if file.format != files[0].format)
        raise UnreadableTable(
            other.name,
            f"it is {other.format}, but {files[0].name} is {files[0].format}",
            "keep the parts of one table in one format, and other files elsewhere",
        )
    return files[0].format


def _read_csv(files: Sequence[Contents], data: spec.Data) -> _Read:
    texts = [csv_text.read(file.name, file.content, data) for file in files]
    table = _stacked(
        [
            (file.name, file.with_folder_keys(text.table))
            for file, text in zip(files, texts, strict=True)
        ]
    )
    # Types are found after stacking: a part alone could look like numbers, the table not.
    typed = columns.typed_texts(table, data.missing_values)
    notes = dict.fromkeys(note for text in texts for note in text.notes)
    return _Read(
        table=typed.table,
        notes=(*_notes_on_parts(files), *notes, *typed.notes),
        encoding=", ".join(dict.fromkeys(text.encoding for text in texts)),
        delimiter=texts[0].delimiter,
    )


def _read_parquet(files: Sequence[Contents], data: spec.Data) -> _Read:
    for setting in CSV_SETTINGS:
        if setting in data.model_fields_set:
            raise InvalidExperiment(
                f"data.{setting}", f"{files[0].name} is Parquet: it has no effect", "drop it"
            )
    tables = [
        (file.name, file.with_folder_keys(read_parquet(file.name, file.content))) for file in files
    ]
    table = _stacked(tables)
    keys = _folder_keys(files)
    plain = columns.plain(table.drop_columns(keys))
    in_names = columns.typed_texts(table.select(keys), missing=())
    return _Read(
        table=pa.table(
            [*plain.table.columns, *in_names.table.columns],
            [*plain.table.column_names, *in_names.table.column_names],
        ),
        notes=(*_notes_on_parts(files), *plain.notes, *in_names.notes),
    )


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
