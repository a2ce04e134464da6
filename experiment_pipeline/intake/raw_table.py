"""raw_data: the bytes of the user's files → one typed table, with notes on each
decision.

Types, notes and digest need whole columns, so the table is made a column at a time.
Dates inside a CSV stay text: the user states their format (`preparation.types`). No
value changes ('00501' stays text, and so does a whole number that a float cannot hold
exactly), and each decision is in `RawTable.notes`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from experiment_pipeline import spec
from experiment_pipeline.errors import InvalidExperiment, UnreadableTable, listed
from experiment_pipeline.intake import csv_text
from experiment_pipeline.intake.contents import (
    FIX_DOWNLOAD,
    Content,
    Contents,
    distinct_names,
    open_contents,
)
from experiment_pipeline.table.digests import INDEX, table_digest
from experiment_pipeline.table.table import (
    HELD_BYTES,
    mapped_file,
    of_columns,
    spilled,
    with_only,
)

CSV_SETTINGS = ("delimiter", "encoding", "missing_values")
TEXT = pa.large_string()
# A typed column, and what was decided about it.
_Decided = tuple[pa.ChunkedArray, list[str]]


@dataclass(frozen=True)
class RawTable:
    """A table as delivered, typed.

    The int64 index `row_number` of `frame` is the position in the source, from 0;
    `digest` is empty if the table was only `read`. `format` is csv, parquet or
    DataFrame; `encoding` and `delimiter` are None for Parquet, `compression` for files
    that are not compressed. `notes` are decisions, one sentence each.
    """

    frame: pd.DataFrame
    digest: str = ""
    format: str = "DataFrame"
    encoding: str | None = None
    delimiter: str | None = None
    compression: str | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        rows, columns = self.frame.shape
        return f"<RawTable: {rows:,} rows, {columns} columns, {self.format}>"

    @property
    def types(self) -> Mapping[str, str]:
        """The dtype of every column."""
        return {str(name): str(dtype) for name, dtype in self.frame.dtypes.items()}


def parse(parts: Sequence[tuple[str, Content]], data: spec.Data) -> RawTable:
    """Read one table from its files, (name, content) each; a large one is on maps.

    Raises UnreadableTable: not a table; InvalidExperiment: `data` has a setting without
    effect on these files.
    """
    table = read(parts, data)
    return replace(table, digest=content_digest(table.frame))


def content_digest(frame: pd.DataFrame) -> str:
    """Return a table's digest, whatever the order of its columns.

    Raises UnreadableTable: a column name occurs twice.
    """
    names = [*map(str, frame.columns)]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        places = [str(n) for n, name in enumerate(names, 1) if name == twice[0]]
        raise UnreadableTable(
            "the table",
            rule=f"columns {' and '.join(places)} have the same name; "
            f"twice: {listed(twice)}",
            fix="give every column its own name",
        )
    return table_digest(with_only(frame, sorted(frame.columns, key=str)))


@dataclass(frozen=True)
class _Delivered:
    """The files of a table, whose columns are typed one after the other.

    `columns` yields the name of each, its cells or None if it is left out, and what was
    decided about it.
    """

    rows: int
    columns: Iterator[tuple[str, pa.ChunkedArray | None, Sequence[str]]]
    notes: Sequence[str]
    texts: Sequence[csv_text.CsvText] = ()


def read(
    parts: Sequence[tuple[str, Content]],
    data: spec.Data,
    as_written: Collection[str] = (),
    chosen: Callable[[int], np.ndarray] | None = None,
) -> RawTable:
    """Read a table, or some of its rows, without a digest; as `parse`.

    `as_written`: columns of CSV files that stay texts. `chosen`: number of rows →
    positions to keep.
    """
    files = [open_contents(name, content, data.format) for name, content in parts]
    first = files[0]
    _check_one_format(files)
    if first.format == "csv":
        delivered = _of_csv(files, data, as_written)
    else:
        delivered = _of_parquet(files, data)
    if delivered.rows == 0:
        raise UnreadableTable(
            first.name,
            rule="it has a header and no rows",
            fix="deliver a table that has rows",
        )
    positions = None if chosen is None else chosen(delivered.rows)
    frame, decisions = _typed_frame(delivered, positions)
    return RawTable(
        frame=frame,
        format=first.format,
        encoding=_all_in_one(text.encoding for text in delivered.texts),
        delimiter=delivered.texts[0].delimiter if delivered.texts else None,
        compression=_all_in_one(file.compression or "" for file in files),
        notes=(*_notes_of_files(files), *dict.fromkeys(delivered.notes), *decisions),
    )


def _check_one_format(files: Sequence[Contents]) -> None:
    for file in files:
        if file.format != files[0].format:
            raise UnreadableTable(
                file.name,
                rule=f"it is {file.format}, but {files[0].name} is {files[0].format}",
                fix="keep the parts of one table in one format, and other files "
                "elsewhere",
            )


def _typed_frame(
    delivered: _Delivered, positions: np.ndarray | None
) -> tuple[pd.DataFrame, list[str]]:
    """Return the typed rows, or those at some positions (k,), and every decision."""
    columns: dict[str, pd.Series] = {}
    decisions: defaultdict[str, list[str]] = defaultdict(list)
    for name, cells, decided in delivered.columns:
        for decision in decided:
            decisions[decision].append(name)
        if cells is not None:
            column = cells.to_pandas()
            columns[name] = spilled(
                column if positions is None else column.iloc[positions]
            )
    index = pd.RangeIndex(delivered.rows) if positions is None else pd.Index(positions)
    sentences = [
        f"{decision}: {listed(names)}" for decision, names in decisions.items()
    ]
    return of_columns(columns, index.rename(INDEX)), sentences


def _all_in_one(words: Iterator[str]) -> str | None:
    return ", ".join(dict.fromkeys(word for word in words if word)) or None


def _notes_of_files(files: Sequence[Contents]) -> Iterator[str]:
    if len(files) > 1:
        names = listed(file.name for file in files)
        yield f"{len(files):,} files are one table: {names}"
    if keys := _folder_keys(files):
        yield f"read from the names of the folders: {listed(keys)}"


def _of_csv(
    files: Sequence[Contents], data: spec.Data, as_written: Collection[str]
) -> _Delivered:
    texts: list[csv_text.CsvText] = []
    # Types are decided after stacking: one part may look like numbers when the whole
    # column does not.
    table = batches_as_table(_batches(files, data, texts))
    # The name of a folder is not a field of a file.
    stay_texts = {*as_written} - {*_folder_keys(files)}

    def columns() -> Iterator[tuple[str, pa.ChunkedArray, Sequence[str]]]:
        missing = pa.array(data.missing_values, TEXT)
        for name in table.column_names:
            cells, replaced = _without(table[name], missing)
            decided = [f"{text!r} was read as missing in" for text in replaced]
            if name not in stay_texts:
                cells, note = _typed_text(cells)
                decided += note
            yield name, cells, decided

    notes = [note for text in texts for note in text.notes]
    return _Delivered(table.num_rows, columns(), notes, texts)


def _batches(
    files: Sequence[Contents], data: spec.Data, texts: list[csv_text.CsvText]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows as texts, and add to `texts` what each file was."""
    names: list[str] = []
    for file in files:  # one of them is unpacked at a time
        text = csv_text.read(file.name, file.unpacked(), data)
        texts.append(replace(text, content=b""))
        columns = [*text.names, *file.folder_keys]
        names = names or columns
        _check_same_columns(files[0].name, names, file.name, columns)
        for batch in text.batches():
            table = file.with_folder_keys(pa.Table.from_batches([batch]))
            yield from table.select(names).to_batches()


def batches_as_table(batches: Iterator[pa.RecordBatch]) -> pa.Table:
    """Concatenate batches of one schema, on a map if they are large."""
    in_memory: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        in_memory.append(batch)
        size += batch.nbytes
        if size > HELD_BYTES:
            break
    else:
        return pa.Table.from_batches(in_memory) if in_memory else pa.table({})

    def write(file: BinaryIO) -> None:
        with pa.ipc.new_file(file, in_memory[0].schema) as writer:
            for batch in chain(in_memory, batches):
                writer.write_batch(batch)

    # The columns are views into the map.
    with pa.ipc.open_file(pa.py_buffer(mapped_file(write))) as reader:
        return reader.read_all()


def _without(
    column: pa.ChunkedArray, missing: pa.Array
) -> tuple[pa.ChunkedArray, list[str]]:
    """Replace the texts that stand for missing values; and which texts were replaced.

    An empty field needs no note.
    """
    is_missing = pc.is_in(column, missing)
    if not pc.any(is_missing).as_py():
        return column, []
    texts = pc.unique(column.filter(is_missing)).to_pylist()
    cells = pc.if_else(is_missing, pa.scalar(None, TEXT), column)
    return cells, [text for text in texts if text]


def _of_parquet(files: Sequence[Contents], data: spec.Data) -> _Delivered:
    for setting in CSV_SETTINGS:
        if setting in data.model_fields_set:
            raise InvalidExperiment(
                f"data.{setting}",
                rule=f"{files[0].name} is Parquet: it has no effect",
                fix="drop it",
            )
    parts = [_opened(file) for file in files]
    rows = sum(part.parquet.metadata.num_rows for part in parts)
    schema = _stacked(files, [part.empty for part in parts]).schema
    columns = _columns_of_parquet(files, parts, schema)
    notes = [note for part in parts for note in part.renamed]
    return _Delivered(rows, columns, notes)


def _columns_of_parquet(
    files: Sequence[Contents], parts: "Sequence[_OpenedParquet]", schema: pa.Schema
) -> Iterator[tuple[str, pa.ChunkedArray | None, Sequence[str]]]:
    keys = _folder_keys(files)
    names = [name for name in schema.names if name not in keys]
    for name in [*names, *keys]:
        if name.startswith("__index_level_"):  # pandas stores and hides them
            yield name, None, ["row labels of pandas, left out"]
        elif pa.types.is_nested(_storage(schema.field(name).type)):
            yield name, None, ["lists, structs or maps, left out"]
        else:
            column = _stacked(files, [part.column(name) for part in parts])[name]
            cells, decided = _typed_text(column) if name in keys else _plain(column)
            yield name, cells, decided


@dataclass(frozen=True)
class _OpenedParquet:
    """A Parquet file, with distinct names of its columns and which were renamed."""

    file: Contents
    parquet: pq.ParquetFile
    delivered: Sequence[str]
    names: Sequence[str]
    renamed: Sequence[str]

    @property
    def empty(self) -> pa.Table:
        """The table without its rows."""
        table = self.parquet.schema_arrow.empty_table().rename_columns(self.names)
        return self.file.with_folder_keys(table)

    def column(self, name: str) -> pa.Table:
        """Read one column that is not nested."""
        if name in self.file.folder_keys:
            rows = pa.table({"": pa.nulls(self.parquet.metadata.num_rows)})
            return self.file.with_folder_keys(rows).select([name])
        place = self.names.index(name)
        delivered = self.delivered[place]
        with _damage_reported(self.file.name):
            table = self.parquet.read([delivered])
        # Beside it are others of its name, and of names that continue its own by a dot.
        read = zip(table.column_names, table.columns, strict=True)
        of_its_name = [cells for each, cells in read if each == delivered]
        return pa.table({name: of_its_name[self.delivered[:place].count(delivered)]})


def _opened(file: Contents) -> _OpenedParquet:
    with _damage_reported(file.name):
        parquet = pq.ParquetFile(pa.BufferReader(file.unpacked()))
    delivered = parquet.schema_arrow.names
    names, renamed = distinct_names(delivered)
    return _OpenedParquet(file, parquet, delivered, names, renamed)


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise UnreadableTable(
            name,
            rule=f"it is a damaged or truncated Parquet file: {error}",
            fix=FIX_DOWNLOAD,
        ) from None


def _folder_keys(files: Sequence[Contents]) -> list[str]:
    return list(dict.fromkeys(key for file in files for key in file.folder_keys))


def _stacked(files: Sequence[Contents], tables: Sequence[pa.Table]) -> pa.Table:
    """Return the parts as one table, with columns in the order of the first part."""
    names = tables[0].column_names
    for file, table in zip(files, tables, strict=True):
        _check_same_columns(files[0].name, names, file.name, table.column_names)
    try:
        return pa.concat_tables(
            [table.select(names) for table in tables], promote_options="permissive"
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UnreadableTable(
            f"the {len(tables)} parts from {files[0].name} on",
            rule=f"a column has types that cannot be combined: {error}",
            fix="write the column with one type in every part",
        ) from None


def _check_same_columns(
    first: str, columns: Sequence[str], name: str, columns_there: Sequence[str]
) -> None:
    if different := set(columns) ^ set(columns_there):
        raise UnreadableTable(
            name,
            rule=f"its columns differ from those of {first}: "
            f"{listed(sorted(different))}",
            fix="deliver the same columns in every part",
        )


SAMPLE_VALUES = 1_000
LARGEST_EXACT = 2**53
NUMBER = (
    r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$|^\s*[+-]?(?i:inf|infinity|nan)\s*$"
)
LEADING_ZERO = r"^\s*[+-]?0[0-9xX]"
WHOLE = r"^\s*[+-]?\d+\s*$"
DECIMAL_COMMA = r"^\s*[+-]?\d+,\d+\s*$"
BOOLEANS = pa.array(["True", "False", "true", "false", "TRUE", "FALSE"], TEXT)
WHOLE_DECIMAL = pa.decimal256(76)
COMMAS = (
    "text that looks like numbers with a decimal comma (preparation.numbers reads them)"
)
ZEROS = "numbers with leading zeros, kept as text so that the zeros stay"
TOO_LARGE = "whole numbers that a float cannot hold exactly, kept as text"
NO_VALUE = "no value at all in"


def _typed_text(column: pa.ChunkedArray) -> _Decided:
    """Type a whole column of texts: numbers, booleans, or texts as they are."""
    present = column.drop_null()
    if len(present) == 0:
        nothing = pa.chunked_array([pa.nulls(len(column), pa.float64())])
        return nothing, [NO_VALUE]
    # A sample that is not a number or boolean proves that the column is not.
    sample = present.slice(0, SAMPLE_VALUES)
    if pc.all(pc.match_substring_regex(sample, NUMBER)).as_py():
        return _number(column)
    if all(pc.all(pc.is_in(part, BOOLEANS)).as_py() for part in (sample, present)):
        return _boolean(column)
    if pc.all(pc.match_substring_regex(sample, DECIMAL_COMMA)).as_py():
        return column, [COMMAS]
    return column, []


def _number(column: pa.ChunkedArray) -> _Decided:
    """Return int64 or float64; text where a number would change its value."""
    number = _cast_to_number(column)
    if number is None:  # Arrow takes no blanks around a number, and copying is slower
        number = _cast_to_number(pc.utf8_trim_whitespace(column))
    if number is None:
        return column, []
    if pc.any(pc.match_substring_regex(column, LEADING_ZERO)).as_py():
        return column, [ZEROS]
    large = _beyond_exact(number)
    if large is not None:
        is_whole = pc.match_substring_regex(column.filter(large), WHOLE)
        if pc.any(is_whole).as_py():
            return column, [TOO_LARGE]
    return number, _infinite(number)


def _cast_to_number(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    for kind in (pa.int64(), pa.float64()):
        with suppress(pa.ArrowInvalid):
            return pc.cast(column, kind)
    return None


def _beyond_exact(number: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Where whole numbers would lose digits as floats; None if no digit can be lost."""
    if pa.types.is_integer(number.type) and number.null_count == 0:
        return None
    ends = pc.min_max(number).as_py()
    lowest, highest = ends["min"], ends["max"]
    if lowest is None or -LARGEST_EXACT <= lowest <= highest <= LARGEST_EXACT:
        return None
    large = pc.greater(number, pa.scalar(LARGEST_EXACT, number.type))
    if pa.types.is_unsigned_integer(number.type):
        return large
    return pc.or_(pc.less(number, pa.scalar(-LARGEST_EXACT, number.type)), large)


def _boolean(column: pa.ChunkedArray) -> _Decided:
    """Return booleans; beside missing values text, as pandas has no plain type."""
    if column.null_count == 0:
        return pc.cast(column, pa.bool_()), []
    if pa.types.is_boolean(column.type):  # as Python writes them
        column = pc.if_else(column, "True", "False")
    note = "true, false and missing values, kept as text"
    return pc.cast(column, TEXT), [note]


def _infinite(column: pa.ChunkedArray) -> list[str]:
    if pa.types.is_floating(column.type) and pc.any(pc.is_inf(column)).as_py():
        return ["infinite values in"]
    return []


def _plain(column: pa.ChunkedArray) -> _Decided:
    """Reduce a column of Parquet to a type that pandas holds without objects."""
    column = _values(column)
    kind = column.type
    if column.null_count == len(column):
        cells = pc.cast(column, pa.float64()) if pa.types.is_null(kind) else column
        return cells, [NO_VALUE]
    if pa.types.is_boolean(kind):
        return _boolean(column)
    is_whole = pa.types.is_integer(kind) or kind == WHOLE_DECIMAL
    if is_whole and _beyond_exact(column) is not None:
        return pc.cast(column, TEXT), [TOO_LARGE]
    for is_of_kind, reduced, note in REDUCED:
        if is_of_kind(kind):
            return reduced(column), [note]
    if _is_bytes(kind):
        return _as_text(column)
    return column, _infinite(column)


def _values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values themselves: a UUID as its text, whole decimals without a point."""
    if column.type == pa.uuid():
        texts = [None if cell is None else str(cell) for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, TEXT)])
    column = pc.cast(column, _storage(column.type))
    if pa.types.is_decimal(column.type):
        with suppress(pa.ArrowInvalid):  # they have fractions
            return pc.cast(column, WHOLE_DECIMAL)
    return column


def _storage(kind: pa.DataType) -> pa.DataType:
    """The type of the values: without dictionary, run lengths or extension."""
    if isinstance(kind, pa.BaseExtensionType):
        return _storage(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _storage(kind.value_type)
    return kind


def _is_bytes(kind: pa.DataType) -> bool:
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _as_text(column: pa.ChunkedArray) -> _Decided:
    try:
        return pc.cast(column, TEXT), ["bytes, read as UTF-8 text"]
    except pa.ArrowInvalid:
        nothing = pa.chunked_array([pa.nulls(len(column), TEXT)])
        return nothing, ["bytes that are not text, read as missing"]


def _seconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    microseconds = pc.cast(pc.cast(column, pa.duration("us")), pa.int64())
    return pc.divide(pc.cast(microseconds, pa.float64()), 1e6)


def _times_of_day(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the texts that Python writes, as of a DataFrame to predict on."""
    return pc.replace_substring_regex(pc.cast(column, TEXT), r"\.0+$", "")


# (types of a Parquet column, how its cells are reduced, note)
REDUCED = (
    (pa.types.is_duration, _seconds, "durations, read as seconds"),
    (
        pa.types.is_date,
        partial(pc.cast, target_type=pa.timestamp("us")),
        "dates, read as datetimes at midnight",
    ),
    (
        pa.types.is_decimal,
        partial(pc.cast, target_type=pa.float64()),
        "decimals, read as floats",
    ),
    (pa.types.is_time, _times_of_day, "times of day, read as text"),
)
