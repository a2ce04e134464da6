"""raw_data: the bytes of the user's files → one typed table, with notes on each
decision.

Types, notes and digest need whole columns, so the table is made a column at a time.
Dates inside a CSV stay text: the user states their format (`preparation.types`). No
value changes ('00501' stays text, and so does a whole number that a float cannot hold
exactly), and each decision is in `RawTable.notes`.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from experiment_pipeline import spec
from experiment_pipeline.errors import InvalidExperiment, UnreadableTable, listed
from experiment_pipeline.intake import contents, csv_text
from experiment_pipeline.table.digests import INDEX, table_digest
from experiment_pipeline.table.table import (
    HELD_BYTES,
    mapped_file,
    of_columns,
    spilled,
    with_only,
)

CSV_SETTINGS = ("delimiter", "encoding", "missing_values")
# Sentence → the columns of which it is true.
Decided = dict[str, list[str]]
Columns = Iterator[tuple[str, pa.ChunkedArray]]


@dataclass(frozen=True)
class RawTable:
    """A table as delivered, typed.

    The int64 index `row_number` of `frame` is the position in the source, from 0;
    `digest` is empty if the table was only `read`. `format` is csv or parquet;
    `encoding` and `delimiter` are None for Parquet, `compression` for files that are
    not compressed. `notes` are decisions, one sentence each.
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


def parse(parts: Sequence[tuple[str, contents.Content]], data: spec.Data) -> RawTable:
    """Read one table from its files, (name, content) each; a large one is
    memory-mapped. Raises
    UnreadableTable: not a table; InvalidExperiment: `data` has a setting without effect
    on these files.
    """
    table = read(parts, data)
    return replace(table, digest=content_digest(table.frame))


def content_digest(frame: pd.DataFrame) -> str:
    """Return a table's digest, whatever the order of its columns; UnreadableTable: a
    column name twice.
    """
    contents.refuse_duplicates("the table", [*map(str, frame.columns)])
    return table_digest(with_only(frame, sorted(frame.columns, key=str)))


def read(
    parts: Sequence[tuple[str, contents.Content]],
    data: spec.Data,
    as_written: Collection[str] = (),
    chosen: Callable[[int], np.ndarray] | None = None,
) -> RawTable:
    """Read a table, or some of its rows, without a digest; as `parse`.

    `as_written`: columns of CSV files that stay texts. `chosen`: number of rows →
    positions to keep.
    """
    files = [
        contents.open_contents(name, content, data.format) for name, content in parts
    ]
    first, decided, texts = (
        files[0],
        defaultdict[str, list[str]](list),
        list[csv_text.CsvText](),
    )
    for other in files:
        if other.format != first.format:
            rule = f"it is {other.format}, but {first.name} is {first.format}"
            fix = "keep the parts of one table in one format, and other files elsewhere"
            raise UnreadableTable(other.name, rule, fix)
    if first.format == "csv":
        rows, found = _of_csv(files, data, as_written, texts, decided)
    else:
        rows, found = _of_parquet(files, data, decided)
    if rows == 0:
        fix = "deliver a table that has rows"
        raise UnreadableTable(first.name, "it has a header and no rows", fix)
    kept = None if chosen is None else chosen(rows)
    index = (
        pd.RangeIndex(rows, name=INDEX) if kept is None else pd.Index(kept, name=INDEX)
    )
    columns = dict[str, pd.Series]()
    for name, cells in found:
        column = cells.to_pandas()
        columns[name] = spilled(column if kept is None else column.iloc[kept])
    notes = []
    if len(files) > 1:
        notes.append(
            f"{len(files):,} files are one table: {listed([f.name for f in files])}"
        )
    if keys := _folder_keys(files):
        notes.append(f"read from the names of the folders: {listed(keys)}")
    notes += dict.fromkeys(note for text in texts for note in text.notes)
    return RawTable(
        frame=of_columns(columns, index),
        digest="",
        format=first.format,
        encoding=", ".join(dict.fromkeys(text.encoding for text in texts)) or None,
        delimiter=texts[0].delimiter if texts else None,
        compression=", ".join(
            dict.fromkeys(f.compression for f in files if f.compression)
        )
        or None,
        notes=(
            *notes,
            *(f"{what}: {listed(names)}" for what, names in decided.items()),
        ),
    )


def _of_csv(
    files: Sequence[contents.Contents],
    data: spec.Data,
    as_written: Collection[str],
    texts: list[csv_text.CsvText],
    decided: Decided,
) -> tuple[int, Columns]:
    """Return the number of rows and the typed columns; adds to `texts` what each file
    was.
    """
    first = csv_text.read(files[0].name, files[0].unpacked(), data)
    names = [*first.names, *files[0].folder_keys]
    schema = pa.schema([(name, pa.large_string()) for name in names])

    def batches() -> Iterator[pa.RecordBatch]:
        for file in files:  # one of them is unpacked at a time
            text = csv_text.read(file.name, file.unpacked(), data) if texts else first
            _check_same_columns(
                files[0].name, names, file.name, [*text.names, *file.folder_keys]
            )
            texts.append(replace(text, content=b""))
            for batch in text.batches():
                own = file.with_folder_keys(pa.Table.from_batches([batch]))
                yield from own.select(names).to_batches()

    # Types are found after stacking: one part may look like numbers when the whole
    # column does not.
    table = batches_as_table(batches(), schema)
    # The name of a folder is not a field of a file.
    kept = {*as_written} - {*_folder_keys(files)}

    def typed() -> Columns:
        missing = pa.array(data.missing_values, pa.large_string())
        for name in names:
            column = table[name]
            is_missing = pc.is_in(column, missing)
            if pc.any(is_missing).as_py():
                for text in pc.unique(column.filter(is_missing)).to_pylist():
                    if text:  # an empty field needs no note
                        decided[f"{text!r} was read as missing in"].append(name)
                column = pc.if_else(
                    is_missing, pa.scalar(None, pa.large_string()), column
                )
            yield name, column if name in kept else _typed_text(name, column, decided)

    return table.num_rows, typed()


def batches_as_table(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Concatenate batches of one schema to a table, on a map if they are large."""
    first, size = list[pa.RecordBatch](), 0
    for batch in batches:
        first.append(batch)
        size += batch.nbytes
        if size > HELD_BYTES:
            break
    else:
        return pa.Table.from_batches(first, schema)

    def write(file: BinaryIO) -> None:
        with pa.ipc.new_file(file, schema) as writer:
            for batch in chain(first, batches):
                writer.write_batch(batch)

    # The columns are views into the map.
    with pa.ipc.open_file(pa.py_buffer(mapped_file(write))) as reader:
        return reader.read_all()


def _of_parquet(
    files: Sequence[contents.Contents], data: spec.Data, decided: Decided
) -> tuple[int, Columns]:
    for setting in CSV_SETTINGS:
        if setting in data.model_fields_set:
            rule, fix = f"{files[0].name} is Parquet: it has no effect", "drop it"
            raise InvalidExperiment(f"data.{setting}", rule, fix)
    opened = list[pq.ParquetFile]()
    for file in files:
        with _damage_reported(file.name):
            opened.append(pq.ParquetFile(pa.BufferReader(file.unpacked())))
        contents.refuse_duplicates(file.name, opened[-1].schema_arrow.names)
    pairs, keys = list(zip(files, opened, strict=True)), _folder_keys(files)
    schema = _stacked(
        files,
        [own.with_folder_keys(one.schema_arrow.empty_table()) for own, one in pairs],
    ).schema

    def part(file: contents.Contents, parquet: pq.ParquetFile, name: str) -> pa.Table:
        if name in file.folder_keys:
            none = pa.table({"": pa.nulls(parquet.metadata.num_rows)})
            return file.with_folder_keys(none).select([name])
        with _damage_reported(file.name):
            return parquet.read([name]).select([name])

    def typed() -> Columns:
        for name in [*(one for one in schema.names if one not in keys), *keys]:
            labels = name.startswith(
                "__index_level_"
            )  # of rows: pandas stores and hides them
            if labels or pa.types.is_nested(_storage(schema.field(name).type)):
                what = "row labels of pandas" if labels else "lists, structs or maps"
                decided[f"{what}, left out"].append(name)
                continue
            column = _stacked(files, [part(*pair, name) for pair in pairs])[name]
            yield name, (_typed_text if name in keys else _plain)(name, column, decided)

    return sum(one.metadata.num_rows for one in opened), typed()


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        rule = f"it is a damaged or truncated Parquet file: {error}"
        raise UnreadableTable(name, rule, contents.FIX_DOWNLOAD) from None


def _folder_keys(files: Sequence[contents.Contents]) -> list[str]:
    return list(dict.fromkeys(key for file in files for key in file.folder_keys))


def _stacked(
    files: Sequence[contents.Contents], tables: Sequence[pa.Table]
) -> pa.Table:
    """The parts as one table with the columns in the order of the first part."""
    names = tables[0].column_names
    for file, table in zip(files, tables, strict=True):
        _check_same_columns(files[0].name, names, file.name, table.column_names)
    try:
        parts = [table.select(names) for table in tables]
        return pa.concat_tables(parts, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UnreadableTable(
            f"the {len(tables)} parts from {files[0].name} on",
            f"a column has types that cannot be combined: {error}",
            "write the column with one type in every part",
        ) from None


def _check_same_columns(
    first: str, wanted: Sequence[str], name: str, found: Sequence[str]
) -> None:
    if different := set(wanted) ^ set(found):
        rule = f"its columns differ from those of {first}: {listed(sorted(different))}"
        fix = "deliver the same columns in every part"
        raise UnreadableTable(name, rule, fix)


SAMPLE_VALUES = 1_000
LARGEST_EXACT = 2**53
NUMBER = (
    r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$|^\s*[+-]?(?i:inf|infinity|nan)\s*$"
)
LEADING_ZERO = r"^\s*[+-]?0[0-9xX]"
WHOLE = r"^\s*[+-]?\d+\s*$"
DECIMAL_COMMA = r"^\s*[+-]?\d+,\d+\s*$"
BOOLEANS = pa.array(
    ["True", "False", "true", "false", "TRUE", "FALSE"], pa.large_string()
)
COMMAS = (
    "text that looks like numbers with a decimal comma (preparation.numbers reads them)"
)
TOO_LARGE = "whole numbers that a float cannot hold exactly, kept as text"


def _typed_text(
    name: str, column: pa.ChunkedArray, decided: Decided
) -> pa.ChunkedArray:
    """Type a whole column of texts: numbers, booleans, or texts as they are."""
    present = column.drop_null()
    if len(present) == 0:
        decided["no value at all in"].append(name)
        return pa.chunked_array([pa.nulls(len(column), pa.float64())])
    # A sample that is not a number or boolean proves that the column is not.
    sample = present.slice(0, SAMPLE_VALUES)
    if pc.all(pc.match_substring_regex(sample, NUMBER)).as_py():
        return _number(name, column, decided)
    if all(pc.all(pc.is_in(part, BOOLEANS)).as_py() for part in (sample, present)):
        return _boolean(name, column, decided)
    if pc.all(pc.match_substring_regex(sample, DECIMAL_COMMA)).as_py():
        decided[COMMAS].append(name)
    return column


def _number(name: str, column: pa.ChunkedArray, decided: Decided) -> pa.ChunkedArray:
    """The column as int64 or float64; as text where it is not numbers, or a number
    would change its value.
    """
    number = _cast_to_number(column)
    if (
        number is None
    ):  # Arrow takes no blanks around a number, and copying is the slower way
        number = _cast_to_number(pc.utf8_trim_whitespace(column))
    if number is None:
        return column
    if pc.any(pc.match_substring_regex(column, LEADING_ZERO)).as_py():
        decided[
            "numbers with leading zeros, kept as text so that the zeros stay"
        ].append(name)
        return column
    large = _beyond_exact(number)
    if (
        large is not None
        and pc.any(pc.match_substring_regex(column.filter(large), WHOLE)).as_py()
    ):
        decided[TOO_LARGE].append(name)
        return column
    return _infinite_noted(name, number, decided)


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
    if ends["min"] is None or (
        ends["min"] >= -LARGEST_EXACT and ends["max"] <= LARGEST_EXACT
    ):
        return None
    large = pc.greater(number, pa.scalar(LARGEST_EXACT, number.type))
    if pa.types.is_unsigned_integer(number.type):
        return large
    return pc.or_(pc.less(number, pa.scalar(-LARGEST_EXACT, number.type)), large)


def _boolean(name: str, column: pa.ChunkedArray, decided: Decided) -> pa.ChunkedArray:
    """Booleans; with missing values text, because pandas has no plain type for the
    three.
    """
    if column.null_count == 0:
        return pc.cast(column, pa.bool_())
    decided["true, false and missing values, kept as text"].append(name)
    if pa.types.is_boolean(
        column.type
    ):  # as Python writes them, and a DataFrame to predict on
        column = pc.if_else(column, "True", "False")
    return pc.cast(column, pa.large_string())


def _infinite_noted(
    name: str, column: pa.ChunkedArray, decided: Decided
) -> pa.ChunkedArray:
    if pa.types.is_floating(column.type) and pc.any(pc.is_inf(column)).as_py():
        decided["infinite values in"].append(name)
    return column


def _plain(name: str, column: pa.ChunkedArray, decided: Decided) -> pa.ChunkedArray:
    """Reduce the type of a whole column of Parquet to one that pandas holds without
    objects.
    """
    column = _values(column)
    kind = column.type
    if column.null_count == len(column):
        decided["no value at all in"].append(name)
        return pc.cast(column, pa.float64()) if pa.types.is_null(kind) else column
    if pa.types.is_boolean(kind):
        return _boolean(name, column, decided)
    is_whole = pa.types.is_integer(kind) or kind == pa.decimal256(76)
    if is_whole and _beyond_exact(column) is not None:
        decided[TOO_LARGE].append(name)
        return pc.cast(column, pa.large_string())
    if pa.types.is_duration(kind):
        decided["durations, read as seconds"].append(name)
        microseconds = pc.cast(pc.cast(column, pa.duration("us")), pa.int64())
        return pc.divide(pc.cast(microseconds, pa.float64()), 1e6)
    for belongs, note, target in REDUCED:
        if belongs(kind):
            try:
                column = pc.cast(column, target)
            except pa.ArrowInvalid:
                note = "bytes that are not text, read as missing"  # noqa: PLW2901
                column = pa.chunked_array([pa.nulls(len(column), target)])
            decided[note].append(name)
    if pa.types.is_time(kind):  # as Python writes them, and a DataFrame to predict on
        column = pc.replace_substring_regex(column, r"\.0+$", "")
    return _infinite_noted(name, column, decided)


def _values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values themselves, see `_storage`: a UUID as its text, whole decimals without
    zeros after the point.
    """
    if column.type == pa.uuid():
        texts = [None if cell is None else str(cell) for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.large_string())])
    column = pc.cast(column, _storage(column.type))
    with suppress(pa.ArrowInvalid):  # they have fractions
        return (
            pc.cast(column, pa.decimal256(76))
            if pa.types.is_decimal(column.type)
            else column
        )
    return column


def _storage(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves: without dictionary, run lengths or
    extension.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return _storage(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _storage(kind.value_type)
    return kind


# (types of a Parquet column, note, what they become)
REDUCED: tuple[tuple[Callable[[pa.DataType], bool], str, pa.DataType], ...] = (
    (pa.types.is_date, "dates, read as datetimes at midnight", pa.timestamp("us")),
    (pa.types.is_decimal, "decimals, read as floats", pa.float64()),
    (pa.types.is_time, "times of day, read as text", pa.large_string()),
    (pa.types.is_binary, "bytes, read as UTF-8 text", pa.large_string()),
    (pa.types.is_large_binary, "bytes, read as UTF-8 text", pa.large_string()),
    (pa.types.is_fixed_size_binary, "bytes, read as UTF-8 text", pa.large_string()),
)
