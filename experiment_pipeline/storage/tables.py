"""Write a table to a Parquet file and read it back with the same values, types, index
and order.

For a frozen dataclass with one table, the other fields are JSON in the file's metadata.
pandas alone restores some columns with another type, so the types are in the metadata,
too; a column that cannot be restored is refused by name. A large file is read column by
column, onto maps.
"""

import base64
import functools
import io
import json
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    BinaryIO,
    TypeVar,
    get_type_hints,
    overload,
)

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import (
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    create_model,
)

from experiment_pipeline.errors import EntryCorrupt, UnusableTable
from experiment_pipeline.storage import files
from experiment_pipeline.table.kinds import holds_objects, kind_of_type
from experiment_pipeline.table.table import of_columns, slices, spilled

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Rows of a row group: some 40 MB with twenty numbers each.
GROUP_ROWS = 262_144
# Larger files are read column by column: unpacked, they take several times their size.
WHOLE_BYTES = 16 * 1024 * 1024
_METADATA = b"experiment_pipeline"
_FACTS = _METADATA + b".attrs"  # the ledger of looks has facts under this key
# What Arrow raises for cells that it cannot store.
_UNFIT = (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError)
_Read = TypeVar("_Read")


def _unpacked(codes: np.ndarray | str) -> np.ndarray:
    if isinstance(codes, np.ndarray):
        return codes
    return np.frombuffer(zlib.decompress(base64.b64decode(codes)), np.uint8)


# A code per row, such as the set that it is in: uint8 (n,). A million codes take some
# 200 kB.
Codes = Annotated[
    np.ndarray,
    PlainValidator(_unpacked),
    PlainSerializer(
        lambda codes: base64.b64encode(zlib.compress(codes.tobytes())).decode()
    ),
]


def to_parquet(table: "pd.DataFrame | DataclassInstance") -> bytes:
    """Return a table, or a dataclass with one, as reproducible bytes; UnusableTable: a
    column of mixed types.
    """
    sink = io.BytesIO()
    _write(sink, table_of(table), facts_json(table))
    return sink.getvalue()


def asset_table(*key: str) -> str:
    """Return the path of an asset's table below the storage root, without its
    suffix.
    """
    *experiment, asset = key
    return "/".join([*experiment, "tables", asset])


def write_table(
    path: files.Location, table: "pd.DataFrame | DataclassInstance"
) -> None:
    """Write a table, or a dataclass with one; raises as `to_parquet` and
    `write_bytes`.
    """
    frame, facts = table_of(table), facts_json(table)
    if len(frame) <= GROUP_ROWS:
        files.write_bytes(path, to_parquet(table))
        return
    with files.streamed(path) as place:
        _write(place, frame, facts)


def table_of(table: "pd.DataFrame | DataclassInstance") -> pd.DataFrame:
    """Return the table itself, or the one that a dataclass holds."""
    return (
        table
        if isinstance(table, pd.DataFrame)
        else getattr(table, _parts_of(type(table))[0])
    )


def facts_json(table: "pd.DataFrame | DataclassInstance") -> bytes:
    """Return the other fields of a dataclass with a table as JSON; `{}` for a table
    alone.
    """
    if isinstance(table, pd.DataFrame):
        return b"{}"
    _, facts = _parts_of(type(table))
    values = {name: getattr(table, name) for name in facts.model_fields}
    return facts(**values).model_dump_json().encode()


@functools.cache
def _parts_of(kind: Any) -> tuple[str, type[BaseModel]]:
    hints = get_type_hints(kind, include_extras=True)
    [table] = [one.name for one in fields(kind) if hints[one.name] is pd.DataFrame]
    declared: Any = {
        one.name: (hints[one.name], ...) for one in fields(kind) if one.name != table
    }
    config = ConfigDict(ser_json_inf_nan="strings", protected_namespaces=())
    return table, create_model("Facts", __config__=config, **declared)


def _write(sink: BinaryIO | Path, frame: pd.DataFrame, facts: bytes) -> None:
    for name, count in Counter(
        frame.columns
    ).items():  # the index may share a column's name
        if not isinstance(name, str):
            raise _refused(name, "its name is not a text")
        if count > 1:
            raise _refused(name, "another column has the same name")
    try:
        objects = _as_it_comes_back(frame)
    except _UNFIT:
        for name in frame.columns:  # the error does not always name the column
            try:
                _as_it_comes_back(frame[[name]])
            except _UNFIT as error:
                rule = f"its type {frame[name].dtype} cannot be restored from a Parquet file"
                if holds_objects(frame[name]):
                    kinds = sorted(
                        {type(value).__name__ for value in frame[name].dropna()}
                    )
                    rule = f"it holds objects ({', '.join(kinds)}) that Parquet cannot store"
                raise _refused(name, rule) from error
        raise
    schema = _group(frame, objects, slice(0, GROUP_ROWS)).schema
    notes = json.loads(schema.metadata[b"pandas"])
    if isinstance(
        frame.index, pd.RangeIndex
    ):  # the schema of the first group notes its end only
        notes["index_columns"][0]["stop"] = frame.index.stop
    types = {name: _type(frame[name]) for name in frame.columns}
    own = {b"pandas": json.dumps(notes), _METADATA: json.dumps(types), _FACTS: facts}
    schema = schema.with_metadata({**schema.metadata, **own})
    with pq.ParquetWriter(sink, schema, write_page_checksum=True) as file:
        for rows in slices(len(frame), GROUP_ROWS):
            group = _group(frame, objects, rows).replace_schema_metadata(
                schema.metadata
            )
            file.write_table(group, row_group_size=GROUP_ROWS)


def _group(
    frame: pd.DataFrame, objects: Mapping[str, pa.Array], rows: slice
) -> pa.Table:
    """Some rows as an Arrow table; object columns have the type that all their cells
    need.
    """
    table = pa.Table.from_pandas(frame.drop(columns=[*objects]).iloc[rows])
    for name, cells in objects.items():
        own = cells.slice(rows.start, min(rows.stop, len(frame)) - rows.start)
        table = table.add_column(frame.columns.get_loc(name), name, own)
    return table


def _as_it_comes_back(frame: pd.DataFrame) -> dict[str, pa.Array]:
    """Return the object columns as Arrow arrays; ValueError if any column would not be
    restored exactly.
    """
    objects = {
        str(name): pa.array(frame[name], from_pandas=True)
        for name in frame.columns
        if holds_objects(frame[name])
    }
    table = _group(frame, objects, slice(0, 1))
    types = {name: _type(frame[name]) for name in frame.columns}
    table = table.replace_schema_metadata(
        {**table.schema.metadata, _METADATA: json.dumps(types).encode()}
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    back = from_parquet(sink.getvalue())
    for name, dtype in frame.dtypes.items():
        if str(back[name].dtype) != str(dtype):
            raise ValueError(f"{name!r}: {dtype} would become {back[name].dtype}")
    for name, cells in objects.items():
        column = frame[name]
        # Compared with type and all digits; None, NaN and NA all count as missing.
        for a, b, missing in zip(column, cells.to_pylist(), column.isna(), strict=True):
            if b is not None if missing else (type(a), repr(a)) != (type(b), repr(b)):
                raise ValueError(f"{name!r}: its objects would change")
    return objects


def _refused(name: object, rule: str) -> UnusableTable:
    fix = "Give its values one type, such as text, number or date."
    return UnusableTable(f"column {name!r}", rule, fix)


def _type(column: pd.Series) -> dict[str, Any]:
    """What is needed to restore a column's type; categories are an Arrow stream in
    base64.
    """
    if kind_of_type(column.dtype) != "category":
        return {"dtype": str(column.dtype)}
    batch = pa.record_batch({"categories": pa.array(column.cat.categories)})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    categories = base64.b64encode(sink.getvalue()).decode()
    return {
        "dtype": "category",
        "categories": categories,
        "ordered": column.cat.ordered,
    }


@overload
def from_parquet(content: bytes) -> pd.DataFrame: ...
@overload
def from_parquet(content: bytes, kind: type[_Read]) -> _Read: ...
def from_parquet(content: bytes, kind: Any = pd.DataFrame) -> Any:
    """Return what `to_parquet` was given: the table alone, from any such file, or a
    dataclass `kind`. Raises ValueError: the file has other facts than `kind`.
    """
    table = pq.read_table(io.BytesIO(content), page_checksum_verification=True)
    return _with_facts(kind, _as_frame(table), table.schema.metadata or {})


@overload
def read_table(path: files.Location) -> pd.DataFrame: ...
@overload
def read_table(path: files.Location, kind: type[_Read]) -> _Read: ...
def read_table(path: files.Location, kind: Any = pd.DataFrame) -> Any:
    """Return a table as it was written, or the dataclass that holds it; a large table
    is on maps.

    StorageUnreachable: it cannot be read; EntryCorrupt: it is not a complete Parquet
    file.
    """
    with files.explained(path):
        whole = path.stat().st_size <= WHOLE_BYTES
    source = files.read_bytes(path) if whole else files.open_file(path)
    try:
        if isinstance(source, bytes):
            return from_parquet(source, kind)
        file = pq.ParquetFile(source, page_checksum_verification=True)
        metadata = file.schema_arrow.metadata or {}
        rows = file.read(columns=[], use_pandas_metadata=True).to_pandas()
        index = json.loads(metadata.get(b"pandas", b"{}")).get("index_columns", ())
        columns = {
            name: spilled(_as_frame(file.read(columns=[name]))[name])
            for name in file.schema_arrow.names
            if name not in index
        }
        return _with_facts(kind, of_columns(columns, spilled(rows.index)), metadata)
    except (OSError, ValueError) as error:  # Arrow's errors are one or the other
        rule, fix = (
            f"is not a complete Parquet file: {error}",
            "Materialize its asset again.",
        )
        raise EntryCorrupt(str(path), rule, fix) from error


def _with_facts(kind: Any, table: pd.DataFrame, metadata: Mapping[bytes, bytes]) -> Any:
    if kind is pd.DataFrame:
        return table
    name, facts = _parts_of(kind)
    try:
        stated = facts.model_validate_json(metadata.get(_FACTS, b"{}"))
    except ValidationError:
        raise ValueError(
            f"it lacks the facts {', '.join(facts.model_fields)}"
        ) from None
    return kind(**{name: table}, **dict(stated))


def _as_frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    types = json.loads((table.schema.metadata or {}).get(_METADATA, "{}"))
    return frame.assign(
        **{
            name: _restored(frame[name], table[name], types[name])
            for name in frame.columns
            if (type_ := types.get(name))
            if type_["dtype"] in ("object", "category")
            or type_["dtype"] != str(frame[name].dtype)
        }
    )


def _restored(
    column: pd.Series, stored: pa.ChunkedArray, kind: dict[str, Any]
) -> pd.Series:
    if (
        kind["dtype"] == "object"
    ):  # pandas would turn integers with missing values into floats
        return pd.Series(stored.to_pylist(), index=column.index, dtype=object)
    if kind["dtype"] != "category":
        return column.astype(kind["dtype"])
    stream = pa.ipc.open_stream(base64.b64decode(kind["categories"]))
    categories = stream.read_all()["categories"].combine_chunks()
    if pa.types.is_dictionary(stored.type):
        stored = stored.cast(stored.type.value_type)
    codes = pc.fill_null(
        pc.index_in(stored, value_set=categories.cast(stored.type)), -1
    )
    dtype = pd.CategoricalDtype(categories.to_pandas(), kind["ordered"])
    return pd.Series(
        pd.Categorical.from_codes(codes.to_numpy(), dtype=dtype), index=column.index
    )
