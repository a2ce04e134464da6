"""A table as Parquet bytes and back, the same table: values, types, index, order.

A frozen dataclass with one table among its fields goes the same way: its other fields, the facts of
the table, stand as JSON in the file's metadata, so that both are replaced in one step.

pandas alone gives some columns back as another type: categories that are no texts, objects,
whole seconds. So the types stand in the file's metadata and are restored, and what cannot be
is refused by name before it is written. Every reader of Parquet opens the file. Under which path
a stage's table lies: `orchestration/tables.py`.
"""

import base64
import functools
import io
import json
import zlib
from collections import Counter
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints, overload

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

from experiment_pipeline.columns.kinds import holds_objects, kind_of_type
from experiment_pipeline.errors import EntryCorrupt, UnusableTable
from experiment_pipeline.storage.files import read_bytes, write_bytes
from experiment_pipeline.storage.locations import Location

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_METADATA = b"experiment_pipeline"
_FACTS = _METADATA + b".attrs"  # looks at validation rows that are counted stand under this key
Held = TypeVar("Held")


def _packed(codes: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(codes.tobytes())).decode()


def _unpacked(codes: np.ndarray | str) -> np.ndarray:
    if isinstance(codes, np.ndarray):
        return codes
    return np.frombuffer(zlib.decompress(base64.b64decode(codes)), np.uint8)


# A fact of each row, such as which set it is in: uint8 (n,). A million of them take some 200 kB.
Codes = Annotated[np.ndarray, PlainValidator(_unpacked), PlainSerializer(_packed)]
_UNFIT = (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError)


def to_parquet(table: "pd.DataFrame | DataclassInstance") -> bytes:
    """Return a table, or a dataclass with one, as a file; the same always gives the same bytes.

    Raises:
        UnusableTable: a column that Parquet cannot keep, such as texts and numbers mixed.
    """
    frame, facts = table_of(table), facts_json(table)
    _check_names(frame)
    try:
        return _written(frame, facts)
    except _UNFIT:
        for name in frame.columns:  # the error does not always name the column
            try:
                _written(frame[[name]], facts)
            except _UNFIT as error:
                raise _refused(name, _what_it_holds(frame[name])) from error
        raise


def table_of(table: "pd.DataFrame | DataclassInstance") -> pd.DataFrame:
    """Return the table itself, or the one that a dataclass holds."""
    if isinstance(table, pd.DataFrame):
        return table
    frame: pd.DataFrame = getattr(table, _parts_of(type(table))[0])
    return frame


def facts_json(table: "pd.DataFrame | DataclassInstance") -> bytes:
    """Return what a dataclass says of its table, as JSON; nothing of a table alone."""
    if isinstance(table, pd.DataFrame):
        return b"{}"
    _, facts = _parts_of(type(table))
    return (
        facts(**{name: getattr(table, name) for name in facts.model_fields})
        .model_dump_json()
        .encode()
    )


@overload
def from_parquet(content: bytes) -> pd.DataFrame: ...
@overload
def from_parquet(content: bytes, kind: type[Held]) -> Held: ...
def from_parquet(content: bytes, kind: Any = pd.DataFrame) -> Any:
    """Return what `to_parquet` was given: a table, which can be had of any file, or a `kind`.

    Raises:
        ValueError: the file has other facts.
    """
    table = pq.read_table(io.BytesIO(content), page_checksum_verification=True)
    metadata = table.schema.metadata or {}
    frame: pd.DataFrame = table.to_pandas()
    types: dict[str, dict[str, Any]] = json.loads(metadata.get(_METADATA, b"{}"))
    frame = frame.assign(
        **{
            name: _restored(frame[name], table[name], type_)
            for name, type_ in types.items()
            if type_["dtype"] in ("object", "category") or type_["dtype"] != str(frame[name].dtype)
        }
    )
    if kind is pd.DataFrame:
        return frame
    table_name, facts = _parts_of(kind)
    try:
        said = facts.model_validate_json(metadata.get(_FACTS, b"{}"))
    except ValidationError:
        raise ValueError(f"it does not say {', '.join(facts.model_fields)} of its rows") from None
    return kind(**{table_name: frame}, **dict(said))


@functools.cache
def _parts_of(kind: Any) -> tuple[str, type[BaseModel]]:
    """The name of a dataclass's table, and its other fields as a model, to be JSON."""
    hints = get_type_hints(kind, include_extras=True)
    [table] = [one.name for one in fields(kind) if hints[one.name] is pd.DataFrame]
    declared: Any = {one.name: (hints[one.name], ...) for one in fields(kind) if one.name != table}
    config = ConfigDict(ser_json_inf_nan="strings", protected_namespaces=())
    return table, create_model("Facts", __config__=config, **declared)


def _written(frame: pd.DataFrame, facts: bytes) -> bytes:
    table = pa.Table.from_pandas(frame)
    types = {name: _type(frame[name]) for name in frame.columns}
    own = {_METADATA: json.dumps(types).encode(), _FACTS: facts}
    table = table.replace_schema_metadata({**table.schema.metadata, **own})
    _check_way_back(frame, table)
    return _file(table)


def _file(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=True)
    return sink.getvalue()


def _check_names(frame: pd.DataFrame) -> None:
    names = [*frame.columns, *([] if frame.index.name is None else [frame.index.name])]
    seen = Counter(names)
    for name in names:
        if not isinstance(name, str):
            raise _refused(name, "its name is no text")
        if seen[name] > 1:
            raise _refused(name, "its name stands in the table twice")


def _type(column: pd.Series) -> dict[str, Any]:
    """What restoring a column takes; categories are an Arrow stream in base64."""
    if kind_of_type(column.dtype) != "category":
        return {"dtype": str(column.dtype)}
    batch = pa.record_batch({"categories": pa.array(column.cat.categories)})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    categories = base64.b64encode(sink.getvalue()).decode()
    return {"dtype": "category", "categories": categories, "ordered": column.cat.ordered}


def _restored(column: pd.Series, stored: pa.ChunkedArray, kind: dict[str, Any]) -> pd.Series:
    if kind["dtype"] == "object":  # pandas would make floats of whole numbers with gaps
        return pd.Series(stored.to_pylist(), index=column.index, dtype=object)
    if kind["dtype"] != "category":
        return column.astype(kind["dtype"])
    stream = pa.ipc.open_stream(base64.b64decode(kind["categories"]))
    categories = stream.read_all()["categories"].combine_chunks()
    if pa.types.is_dictionary(stored.type):
        stored = stored.cast(stored.type.value_type)
    codes = pc.fill_null(pc.index_in(stored, value_set=categories.cast(stored.type)), -1)
    dtype = pd.CategoricalDtype(categories.to_pandas(), kind["ordered"])
    values = pd.Categorical.from_codes(codes.to_numpy(), dtype=dtype)
    return pd.Series(values, index=column.index)


def _check_way_back(frame: pd.DataFrame, table: pa.Table) -> None:
    """Raise ValueError when a column would come back as something else.

    The first row tells its type; of objects, each value must be the same.
    """
    back = from_parquet(_file(table.slice(0, 1)))
    for name, dtype in frame.dtypes.items():
        if str(back[name].dtype) != str(dtype):
            raise ValueError(f"{name!r}: {dtype} would become {back[name].dtype}")
        if holds_objects(frame[name]) and not _same(frame[name], table[name].to_pylist()):
            raise ValueError(f"{name!r}: its objects would change")


def _same(column: pd.Series, back: list[Any]) -> bool:
    """Whether objects look as before, digits included; None, NaN and NA are all missing."""
    return all(
        b is None if missing else (type(a), repr(a)) == (type(b), repr(b))
        for a, b, missing in zip(column, back, column.isna(), strict=True)
    )


def _what_it_holds(column: pd.Series) -> str:
    if not holds_objects(column):
        return f"its type {column.dtype} has no way into a Parquet file and back"
    kinds = sorted({type(value).__name__ for value in column.dropna()})
    return f"it holds objects ({', '.join(kinds)}) that a column of a Parquet file cannot keep"


def _refused(name: object, rule: str) -> UnusableTable:
    return UnusableTable(
        f"column {name!r}", rule, "Give its values one type, such as text, number or date."
    )


def write_table(path: Location, table: "pd.DataFrame | DataclassInstance") -> None:
    """Write a table, or a dataclass with one; errors as of `to_parquet` and `write_bytes`."""
    write_bytes(path, to_parquet(table))


@overload
def read_table(path: Location) -> pd.DataFrame: ...
@overload
def read_table(path: Location, kind: type[Held]) -> Held: ...
def read_table(path: Location, kind: Any = pd.DataFrame) -> Any:
    """Return a table as it was written: values, types, index; or the dataclass that holds it.

    Raises:
        StorageUnreachable: there is none, or it cannot be read.
        EntryCorrupt: the file is no Parquet file, or was cut short.
    """
    content = read_bytes(path)
    try:
        return from_parquet(content, kind)
    except (OSError, ValueError) as error:  # Arrow's errors are one or the other
        raise EntryCorrupt(
            str(path), f"is no whole Parquet file: {error}", "Materialize its asset again."
        ) from error
