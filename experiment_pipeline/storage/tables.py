"""Write a table to a Parquet file and read it back with the same values, types, index
and order.

For a frozen dataclass with one table, the other fields are JSON in the file's metadata.
pandas alone restores some columns with another type, so the types are in the metadata,
too; a column that cannot be restored is refused by name. A large file is read column by
column, onto maps.
"""

import base64
import datetime as dt
import functools
import io
import json
import reprlib
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
from experiment_pipeline.table.kinds import holds_objects, kind_of, kind_of_type
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


def _packed(codes: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(codes.tobytes())).decode()


# A code per row, such as the set that it is in: uint8 (n,). A million codes take some
# 200 kB.
Codes = Annotated[np.ndarray, PlainValidator(_unpacked), PlainSerializer(_packed)]


def to_parquet(table: "pd.DataFrame | DataclassInstance") -> bytes:
    """Return a table, or a dataclass with one, as reproducible bytes.

    Raises UnusableTable: a column of mixed types.
    """
    sink = io.BytesIO()
    _write(sink, table_of(table), facts_json(table))
    return sink.getvalue()


def asset_table(*key: str) -> str:
    """Return the path of an asset's table below the storage root, without suffix."""
    *experiment, asset = key
    return "/".join([*experiment, "tables", asset])


def asset_file(*key: str) -> files.Location:
    """Return the file of an asset's table."""
    return files.storage_root() / f"{asset_table(*key)}.parquet"


def write_table(
    path: files.Location, table: "pd.DataFrame | DataclassInstance"
) -> None:
    """Write a table, or a dataclass with one; errors as `to_parquet`, `write_bytes`."""
    frame = table_of(table)
    if len(frame) <= GROUP_ROWS:
        files.write_bytes(path, to_parquet(table))
        return
    with files.streamed(path) as place:
        _write(place, frame, facts_json(table))


def table_of(table: "pd.DataFrame | DataclassInstance") -> pd.DataFrame:
    """Return the table itself, or the one that a dataclass holds."""
    if isinstance(table, pd.DataFrame):
        return table
    name, _ = _parts_of(type(table))
    return getattr(table, name)


def facts_json(table: "pd.DataFrame | DataclassInstance") -> bytes:
    """Return the other fields of a dataclass as JSON; `{}` for a table alone."""
    if isinstance(table, pd.DataFrame):
        return b"{}"
    _, facts = _parts_of(type(table))
    values = {name: getattr(table, name) for name in facts.model_fields}
    return facts(**values).model_dump_json().encode()


@functools.cache
def _parts_of(kind: Any) -> tuple[str, type[BaseModel]]:
    """Return the name of a dataclass's table, and a model of its other fields."""
    hints = get_type_hints(kind, include_extras=True)
    names = [declared.name for declared in fields(kind)]
    [table] = [name for name in names if hints[name] is pd.DataFrame]
    facts: Any = {name: (hints[name], ...) for name in names if name != table}
    config = ConfigDict(ser_json_inf_nan="strings", protected_namespaces=())
    return table, create_model("Facts", __config__=config, **facts)


def _write(sink: BinaryIO | Path, frame: pd.DataFrame, facts: bytes) -> None:
    _check_names(frame)
    try:
        objects = _restorable(frame)
    except _UNFIT:
        _refuse_column(frame)
        raise
    schema = _group(frame, objects, slice(0, GROUP_ROWS)).schema
    notes = json.loads(schema.metadata[b"pandas"])
    if isinstance(frame.index, pd.RangeIndex):  # the first group notes its own end
        notes["index_columns"][0]["stop"] = frame.index.stop
    metadata = {
        **schema.metadata,
        b"pandas": json.dumps(notes).encode(),
        _METADATA: _types_json(frame),
        _FACTS: facts,
    }
    schema = schema.with_metadata(metadata)
    with pq.ParquetWriter(sink, schema, write_page_checksum=True) as file:
        for rows in slices(len(frame), GROUP_ROWS):
            group = _group(frame, objects, rows).replace_schema_metadata(metadata)
            file.write_table(group, row_group_size=GROUP_ROWS)


def _check_names(frame: pd.DataFrame) -> None:
    for name, count in Counter(frame.columns).items():
        if not isinstance(name, str):
            names = '["_".join(map(str, name)) for name in table]'
            code = f"table = table.set_axis({names}, axis=1)"
            if not isinstance(name, tuple):
                code = "table = table.rename(columns=str)"
            raise _refused(name, "its name is not a text", code)
        if count > 1:
            code = "table = table.loc[:, ~table.columns.duplicated()]"
            raise _refused(name, "another column has the same name", code)


def _refuse_column(frame: pd.DataFrame) -> None:
    """Refuse the first column that cannot be restored: errors do not always name it."""
    for name, column in frame.items():
        try:
            _restorable(frame[[name]])
        except _UNFIT as error:
            rule = f"its type {column.dtype} cannot be restored from a Parquet file"
            if holds_objects(column):
                rule = f"its cells ({_kinds(column)}) would not come back from a file"
            raise _refused(name, rule, _plain_cells(name, column)) from error


def _kinds(column: pd.Series) -> str:
    """Return the types of a column's cells, with the first cell of each."""
    types = column.map(lambda cell: type(cell).__name__)
    firsts = ~types.duplicated() & column.notna()
    shown = [
        f"{types.iloc[row]} in row {row}: {reprlib.repr(column.iloc[row])}"
        for row in np.flatnonzero(firsts)[:3]
    ]
    return ", ".join(shown)


def _plain_cells(name: object, column: pd.Series) -> str:
    """Return the line of Python that makes a column's cells plain."""
    cells = f"table[{name!r}]"
    if kind_of_type(column.dtype) == "complex":
        return f"{cells} = {cells}.abs()"
    if not holds_objects(column):
        return f"{cells} = np.asarray({cells})"
    has_sets = column.map(lambda cell: isinstance(cell, set)).any()
    if kind_of(column) == "nested" and not has_sets:
        rest = f"table.drop(columns={name!r})"
        columns = f"{cells}.apply(pd.Series).add_prefix({f'{name}_'!r})"
        return f"table = pd.concat([{rest}, {columns}], axis=1)"
    return f"{cells} = {_plain_scalars(cells, column)}"


def _plain_scalars(cells: str, column: pd.Series) -> str:
    """Return the expression that makes cells of one value each plain."""
    texts = [str(cell) for cell in column]
    if texts != [*map(_without_surrogates, texts)]:
        code = 'lambda text: str(text).encode(errors="replace").decode()'
        return f'{cells}.map({code}, na_action="ignore")'
    is_date = column.map(lambda cell: isinstance(cell, dt.date))
    if is_date.sum() > column.notna().sum() / 2:
        options = 'format="mixed", errors="coerce", utc=True'
        return f"pd.to_datetime({cells}, {options})"
    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce")
    if numbers.notna().sum() > column.notna().sum() / 2:
        return f'pd.to_numeric({cells}, errors="coerce")'
    return f'{cells}.astype("str")'


def _without_surrogates(text: str) -> str:
    """Return a text with `?` in place of halves of characters, as JSON may hold."""
    return text.encode(errors="replace").decode()


def _refused(name: object, rule: str, code: str) -> UnusableTable:
    return UnusableTable(
        f"column {name!r}",
        rule=rule,
        fix=f"Run {code}",
    )


def _group(
    frame: pd.DataFrame, objects: Mapping[str, pa.Array], rows: slice
) -> pa.Table:
    """Return some rows as an Arrow table.

    Object columns have the type that all their cells need.
    """
    table = pa.Table.from_pandas(frame.drop(columns=[*objects]).iloc[rows])
    for name, cells in objects.items():
        part = cells.slice(rows.start, min(rows.stop, len(frame)) - rows.start)
        table = table.add_column(frame.columns.get_loc(name), name, part)
    return table


def _restorable(frame: pd.DataFrame) -> dict[str, pa.Array]:
    """Return the object columns as Arrow arrays.

    Raises ValueError: a column would not come back exactly.
    """
    objects = {
        str(name): pa.array(column, from_pandas=True)
        for name, column in frame.items()
        if holds_objects(column)
    }
    table = _group(frame, objects, slice(0, 1))
    metadata = {**table.schema.metadata, _METADATA: _types_json(frame)}
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    back = from_parquet(sink.getvalue())
    for name, dtype in frame.dtypes.items():
        if str(back[name].dtype) != str(dtype):
            raise ValueError(f"{name!r}: {dtype} would become {back[name].dtype}")
    for name, cells in objects.items():
        stored = cells.to_pylist()
        if not all(map(_is_same, frame[name], stored, frame[name].isna())):
            raise ValueError(f"{name!r}: its objects would change")
    return objects


def _is_same(cell: object, stored: object, missing: bool) -> bool:
    """Compare type and all digits; None, NaN and NA all count as missing."""
    if missing:
        return stored is None
    return type(cell) is type(stored) and repr(cell) == repr(stored)


def _types_json(frame: pd.DataFrame) -> bytes:
    types = {name: _type(column) for name, column in frame.items()}
    return json.dumps(types).encode()


def _type(column: pd.Series) -> dict[str, Any]:
    """What is needed to restore a type; categories are an Arrow stream in base64."""
    if kind_of_type(column.dtype) != "category":
        return {"dtype": str(column.dtype)}
    batch = pa.record_batch({"categories": pa.array(column.cat.categories)})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return {
        "dtype": "category",
        "categories": base64.b64encode(sink.getvalue()).decode(),
        "ordered": column.cat.ordered,
    }


@overload
def from_parquet(content: bytes) -> pd.DataFrame: ...
@overload
def from_parquet(content: bytes, kind: type[_Read]) -> _Read: ...
def from_parquet(content: bytes, kind: Any = pd.DataFrame) -> Any:
    """Return what `to_parquet` wrote: the table alone, or a dataclass `kind`.

    Raises ValueError: the file has other facts than `kind`.
    """
    table = pq.read_table(io.BytesIO(content), page_checksum_verification=True)
    return _with_facts(kind, _as_frame(table), table.schema.metadata or {})


@overload
def read_table(path: files.Location) -> pd.DataFrame: ...
@overload
def read_table(path: files.Location, kind: type[_Read]) -> _Read: ...
def read_table(path: files.Location, kind: Any = pd.DataFrame) -> Any:
    """Return a table as it was written, or the dataclass that holds it.

    A large table is on maps. Raises StorageUnreachable: it cannot be read;
    EntryCorrupt: it is not a complete Parquet file.
    """
    with files.explained(path):
        is_small = path.stat().st_size <= WHOLE_BYTES
    try:
        if is_small:
            return from_parquet(files.read_bytes(path), kind)
        return _read_by_columns(files.open_file(path), kind)
    except (OSError, ValueError) as error:  # Arrow's errors are one or the other
        raise EntryCorrupt(
            str(path),
            rule=f"is not a complete Parquet file: {error}",
            fix="Materialize its asset again.",
        ) from error


def _read_by_columns(source: BinaryIO, kind: Any) -> Any:
    file = pq.ParquetFile(source, page_checksum_verification=True)
    metadata = file.schema_arrow.metadata or {}
    notes = json.loads(metadata.get(b"pandas", b"{}"))
    index = file.read(columns=[], use_pandas_metadata=True).to_pandas().index
    columns = {
        name: spilled(_as_frame(file.read(columns=[name]))[name])
        for name in file.schema_arrow.names
        if name not in notes.get("index_columns", ())
    }
    return _with_facts(kind, of_columns(columns, spilled(index)), metadata)


def _with_facts(kind: Any, table: pd.DataFrame, metadata: Mapping[bytes, bytes]) -> Any:
    if kind is pd.DataFrame:
        return table
    name, facts = _parts_of(kind)
    try:
        stated = facts.model_validate_json(metadata.get(_FACTS, b"{}"))
    except ValidationError:
        names = ", ".join(facts.model_fields)
        raise ValueError(f"it lacks the facts {names}") from None
    return kind(**{name: table}, **dict(stated))


def _as_frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    types = json.loads((table.schema.metadata or {}).get(_METADATA, "{}"))
    restored: dict[str, pd.Series] = {}
    for name, column in frame.items():
        if name in types:
            dtype = types[name]["dtype"]
            if dtype in ("object", "category") or dtype != str(column.dtype):
                restored[str(name)] = _restored(column, table[name], types[name])
    return frame.assign(**restored)


def _restored(
    column: pd.Series, stored: pa.ChunkedArray, type_: Mapping[str, Any]
) -> pd.Series:
    dtype = type_["dtype"]
    if dtype == "object":  # pandas would make floats of integers with missing values
        return pd.Series(stored.to_pylist(), index=column.index, dtype=object)
    if dtype != "category":
        return column.astype(dtype)
    stream = pa.ipc.open_stream(base64.b64decode(type_["categories"]))
    categories = stream.read_all()["categories"].combine_chunks()
    if pa.types.is_dictionary(stored.type):
        stored = stored.cast(stored.type.value_type)
    places = pc.index_in(stored, value_set=categories.cast(stored.type))
    codes = pc.fill_null(places, -1).to_numpy()
    categorical = pd.Categorical.from_codes(
        codes, dtype=pd.CategoricalDtype(categories.to_pandas(), type_["ordered"])
    )
    return pd.Series(categorical, index=column.index)
