"""A table as a Parquet file and back, the same table: values, types, index, order.

A frozen dataclass with one table among its fields goes the same way: its other fields, the facts of
the table, stand as JSON in the file's metadata, so that both are replaced in one step.

pandas alone gives some columns back as another type: categories that are no texts, objects,
whole seconds. So the types stand in the file's metadata and are restored, and what cannot be
is refused by name before it is written. Every reader of Parquet opens the file. `Columns` are
written in batches, a row group each, and a large file can be had as such again, for who asks for a
`Table`. Under which path a stage's table lies: `orchestration/tables.py`.
"""

import base64
import functools
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.storage import objects
from experiment_pipeline.storage.files import open_file, read_bytes, size_of, streamed, write_bytes
from experiment_pipeline.storage.locations import Location
from experiment_pipeline.storage.mapped import mapped_frame
from experiment_pipeline.storage.spill import BATCH_ROWS, Shelf
from experiment_pipeline.table.kinds import holds_objects, kind_of_type
from experiment_pipeline.table.table import Columns, Table, whole

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# A file that is larger is not read whole into memory: packed, it is a fraction of it.
WHOLE_BYTES = 16 * 1024 * 1024
# Of such a file, columns that were read stay in memory as long as they are no more, then on a map.
KEPT_BYTES = 256 * 1024 * 1024
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


def to_parquet(table: "pd.DataFrame | DataclassInstance") -> bytes:
    """Return a table, or a dataclass with one, as a file; the same always gives the same bytes.

    Raises:
        UnusableTable: a column that Parquet cannot keep, such as texts and numbers mixed.
    """
    return _file(_as_arrow(whole(table_of(table)), facts_json(table)))


def table_of(table: "Table | DataclassInstance") -> Table:
    """Return the table itself, or the one that a dataclass holds."""
    if isinstance(table, pd.DataFrame | Columns):
        return table
    held: Table = getattr(table, _parts_of(type(table))[0])
    return held


def facts_json(table: "Table | DataclassInstance") -> bytes:
    """Return what a dataclass says of its table, as JSON; nothing of a table alone."""
    if isinstance(table, pd.DataFrame | Columns):
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
    return _held(kind, _as_frame(table), table.schema.metadata or {})


def _as_frame(table: pa.Table) -> pd.DataFrame:
    """Restore the columns that were read, of all or of some."""
    frame: pd.DataFrame = table.to_pandas()
    types: dict[str, dict[str, Any]] = json.loads(
        (table.schema.metadata or {}).get(_METADATA, "{}")
    )
    return frame.assign(
        **{
            name: _restored(frame[name], table[name], types[name])
            for name in frame.columns
            if (type_ := types.get(name))
            if type_["dtype"] in ("object", "category") or type_["dtype"] != str(frame[name].dtype)
        }
    )


def _held(kind: Any, table: Table, metadata: Mapping[bytes, bytes]) -> Any:
    if kind is pd.DataFrame:
        return table
    name, facts = _parts_of(kind)
    try:
        said = facts.model_validate_json(metadata.get(_FACTS, b"{}"))
    except ValidationError:
        raise ValueError(f"it does not say {', '.join(facts.model_fields)} of its rows") from None
    return kind(**{name: table}, **dict(said))


def _is_table(hint: Any) -> bool:
    return hint in (pd.DataFrame, Table) or isinstance(hint, TypeVar)


@functools.cache
def _parts_of(kind: Any) -> tuple[str, type[BaseModel]]:
    """The name of a dataclass's table, and its other fields as a model, to be JSON."""
    hints = get_type_hints(kind, include_extras=True)
    [table] = [one.name for one in fields(kind) if _is_table(hints[one.name])]
    declared: Any = {one.name: (hints[one.name], ...) for one in fields(kind) if one.name != table}
    config = ConfigDict(ser_json_inf_nan="strings", protected_namespaces=())
    return table, create_model("Facts", __config__=config, **declared)


def _as_arrow(frame: pd.DataFrame, facts: bytes) -> pa.Table:
    """Turn a table, or its first rows, into what is written; UnusableTable names a column."""
    _check_names(frame)
    try:
        return _described(frame, facts)
    except objects.UNFIT:
        for name in frame.columns:  # the error does not always name the column
            try:
                _described(frame[[name]], facts)
            except objects.UNFIT as error:
                raise objects.refused(name, objects.what_it_holds(frame[name])) from error
        raise


def _described(frame: pd.DataFrame, facts: bytes) -> pa.Table:
    table = pa.Table.from_pandas(frame)
    types = {name: _type(frame[name]) for name in frame.columns}
    own = {_METADATA: json.dumps(types).encode(), _FACTS: facts}
    table = table.replace_schema_metadata({**table.schema.metadata, **own})
    _check_way_back(frame, table)
    return table


def _file(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=True, row_group_size=BATCH_ROWS)
    return sink.getvalue()


def _check_names(frame: pd.DataFrame) -> None:
    names = [*frame.columns, *([] if frame.index.name is None else [frame.index.name])]
    seen = Counter(names)
    for name in names:
        if not isinstance(name, str):
            raise objects.refused(name, "its name is no text")
        if seen[name] > 1:
            raise objects.refused(name, "its name stands in the table twice")


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
        if holds_objects(frame[name]) and not objects.same_objects(
            frame[name], table[name].to_pylist()
        ):
            raise ValueError(f"{name!r}: its objects would change")


def write_table(path: Location, table: "Table | DataclassInstance") -> None:
    """Write a table, or a dataclass with one; errors as of `to_parquet` and `write_bytes`.

    `Columns` of more rows than a batch are written in batches, the same bytes; each column is had
    once, whole. Columns of objects have no type before all are seen: they are gone through twice.
    """
    held, facts = table_of(table), facts_json(table)
    if isinstance(held, Columns) and len(held) > BATCH_ROWS:
        cells = held.cells
        if not isinstance(cells, Shelf):
            cells = Shelf(batch_rows=BATCH_ROWS)
            cells.update((name, held[name]) for name in held.columns)
        _write_in_batches(path, cells, held.index, facts)
        return
    write_bytes(path, _file(_as_arrow(whole(held), facts)))


def _write_in_batches(path: Location, cells: Shelf, index: pd.Index, facts: bytes) -> None:
    types, batches = objects.types_of_objects(cells.batches(index)), cells.batches(index)
    batch = next(batches)
    first = _as_arrow(batch, facts)
    typed = objects.with_types(first, batch, types)
    schema = typed.schema.with_metadata(_of_all_rows(first.schema.metadata, index))
    with streamed(path) as place, pq.ParquetWriter(place, schema, write_page_checksum=True) as file:
        file.write_table(typed, row_group_size=BATCH_ROWS)
        for some in batches:
            rows = objects.with_types(pa.Table.from_pandas(some), some, types)
            file.write_table(rows, row_group_size=BATCH_ROWS)


def _of_all_rows(metadata: Mapping[bytes, bytes], index: pd.Index) -> dict[bytes, bytes]:
    """What pandas notes of a batch, as it would of the table: a range of row numbers is only noted."""
    notes = json.loads(metadata[b"pandas"])
    if isinstance(index, pd.RangeIndex):
        notes["index_columns"][0]["stop"] = index.stop
    return {**metadata, b"pandas": json.dumps(notes).encode()}


@overload
def read_table(path: Location) -> pd.DataFrame: ...
@overload
def read_table(path: Location, kind: type[Held]) -> Held: ...
def read_table(path: Location, kind: Any = pd.DataFrame) -> Any:
    """Return a table as it was written: values, types, index; or the dataclass that holds it.

    A large one is a DataFrame on maps of a column each; who declares a `Table` is given it as a
    `StoredTable`.

    Raises:
        StorageUnreachable: there is none, or it cannot be read.
        EntryCorrupt: the file is no Parquet file, or was cut short.
    """
    if size_of(path) <= WHOLE_BYTES:
        content = read_bytes(path)
        with _told_as_damage(path):
            return from_parquet(content, kind)
    stays = (
        kind is not pd.DataFrame and get_type_hints(kind)[_parts_of(kind)[0]] is not pd.DataFrame
    )
    stored = StoredTable.at(path, Shelf(KEPT_BYTES) if stays else None)
    table = stored if stays else mapped_frame(stored)
    with _told_as_damage(path):
        return _held(kind, table, stored.cells.metadata)


@contextmanager
def _told_as_damage(path: Location) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # Arrow's errors are one or the other
        raise EntryCorrupt(
            str(path), f"is no whole Parquet file: {error}", "Materialize its asset again."
        ) from error


class StoredTable(Columns):
    """A table in a file, which is read a column, or a batch of rows, at a time.

    Errors while it is read are those of `read_table`. Whoever replaces the file changes nothing for
    who has opened it: a file on a disk stays what it was, and a bucket tells that it did not.
    """

    cells: "_StoredCells"

    @classmethod
    def at(cls, path: Location, kept: Shelf | None = None) -> "StoredTable":
        """Open a file, whose columns go there once they are read; errors as of `read_table`."""
        cells = _StoredCells(path, kept)
        return cls(cells.index(), cells)

    def batches(self, names: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Give the rows in batches as they lie in the file, with all or some of the columns."""
        start = 0
        for batch in self.cells.batches(list(self.columns if names is None else names)):
            yield batch.set_axis(self.index[start : start + len(batch)])
            start += len(batch)


class _StoredCells(Mapping[str, pd.Series]):
    def __init__(self, path: Location, kept: Shelf | None) -> None:
        self._path = path
        source = open_file(path)
        with _told_as_damage(path):
            self._file = pq.ParquetFile(source, page_checksum_verification=True)
        self.metadata: Mapping[bytes, bytes] = self._file.schema_arrow.metadata or {}
        notes = json.loads(self.metadata.get(b"pandas", b"{}"))
        index = [one for one in notes.get("index_columns", ()) if isinstance(one, str)]
        names = self._file.schema_arrow.names
        self._names = dict.fromkeys(name for name in names if name not in index)
        self._kept = kept

    def index(self) -> pd.Index:
        with _told_as_damage(self._path):
            rows: pd.DataFrame = self._file.read(columns=[], use_pandas_metadata=True).to_pandas()
        return rows.index

    def __getitem__(self, name: str) -> pd.Series:
        if self._kept is not None and name in self._kept:
            return self._kept[name]
        if name not in self._names:
            raise KeyError(name)
        with _told_as_damage(self._path):
            column = _as_frame(self._file.read(columns=[name]))[name]
        if self._kept is None:
            return column
        self._kept[name] = column
        return self._kept[name]

    def batches(self, names: list[str]) -> Iterator[pd.DataFrame]:
        for number in range(self._file.num_row_groups):
            with _told_as_damage(self._path):
                table = self._file.read_row_group(number, names, use_pandas_metadata=True)
                batch = _as_frame(table)
            yield batch[names]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names
