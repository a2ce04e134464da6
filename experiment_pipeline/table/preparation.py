"""Apply the declared preparation to a raw table, and count the changed cells.

First every column alone (missing values, categories, type), then the calendar, then the
user's own function, which runs in this process and is checked to work row by row. Cells
that cannot be parsed are counted here; the validation rejects their rows.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import UnusableTable, did_you_mean, imported, listed
from experiment_pipeline.spec import CalendarPart, Numbers, Preparation, Scalar
from experiment_pipeline.table import coercion, kinds, table

RULES = {
    "number": "is not a number",
    "integer": "is not a whole number",
    "boolean": "is neither true nor false",
    "datetime": "is not a date in a declared format",
}
LONGEST_VALUE, LONGEST_RULE = 80, 200
# Offset from UTC → number of times with it; "" is no offset.
Offsets = Mapping[str, int]


@dataclass(frozen=True)
class Broken:
    """A rule, phrased to follow the value, and the ascending positions (k,) of the rows
    that break it.

    `column` is None for rules about the whole row; `cells` are the offending values
    (k,), or rows of several columns, or None if the rule needs no value.
    """

    column: str | None
    rule: str
    positions: np.ndarray
    cells: pd.Series | pd.DataFrame | None = None

    def texts(self, rows: slice) -> np.ndarray:
        """Return a reason with the offending value for some rows: object (k,)."""
        start = "" if self.column is None else f"{self.column}: "
        if self.cells is None:
            return np.full(len(self.positions[rows]), start + self.rule, dtype=object)
        cells = self.cells.iloc[rows]
        if isinstance(cells, pd.Series):
            values = cells.tolist()
        else:
            values = cells.to_dict("records")
        texts = [f"{start}{in_words(value)} {self.rule}" for value in values]
        return np.array(texts, dtype=object)


def in_words(value: object) -> str:
    """Return a cell as a message shows it."""
    plain = value.item() if isinstance(value, np.generic) else value
    # Of a time, pandas' repr is code.
    text = str(plain) if isinstance(plain, datetime) else repr(plain)
    return shortened(text, LONGEST_VALUE)


def shortened(text: str, most: int = LONGEST_RULE) -> str:
    """Shorten a rule or value that is too long to read."""
    return text if len(text) <= most else f"{text[:most]}…"


@dataclass(frozen=True)
class PreparedTable:
    """A prepared table: the rows of the raw table, in their order, with their index.

    `changes` has a row per step: `column`, `step`, `cells_changed`; `unparsable`:
    delivered cells that are not of the declared type; `sets`: the result of
    `assign_sets`, or empty; `offsets`: column → UTC offsets; `labelled`: which rows
    have a label, bool (n,), or None for an experiment without `label`.
    """

    frame: pd.DataFrame
    changes: pd.DataFrame
    unparsable: tuple[Broken, ...]
    notes: tuple[str, ...] = ()
    sets: pd.Series = field(default_factory=lambda: pd.Series(dtype="str"))
    offsets: Mapping[str, Offsets] = field(default_factory=dict)
    labelled: np.ndarray | None = None

    def __repr__(self) -> str:
        rows, columns = self.frame.shape
        return f"<PreparedTable: {rows:,} rows, {columns} columns>"


@dataclass(frozen=True)
class _PreparedColumn:
    """A column after its own steps: step → cells changed, unparsable positions (k,)."""

    cells: pd.Series
    changed: Mapping[str, int]
    unparsable: np.ndarray
    offsets: Offsets | None


def prepare(
    raw: pd.DataFrame, preparation: Preparation, may_be_absent: Collection[str] = ()
) -> PreparedTable:
    """Apply the declared preparation to every row.

    `may_be_absent`: columns that may be missing. Raises UnusableTable: a declared
    column is absent or of the wrong type, a calendar column's name is taken, or the
    user's function changed the rows; InvalidExperiment: that function cannot be
    imported.
    """
    _check_declared([*raw.columns, *may_be_absent], preparation)
    columns = {str(name): raw[name] for name in raw.columns}
    changes: list[tuple[str, str, int]] = []
    unparsable: list[Broken] = []
    offsets: dict[str, Offsets] = {}
    for name, delivered in list(columns.items()):
        prepared = _prepare_column(delivered, name, preparation)
        changes += [(name, step, count) for step, count in prepared.changed.items()]
        if prepared.cells is not delivered:
            columns[name] = table.spilled(prepared.cells)
        if prepared.offsets is not None:
            offsets[name] = prepared.offsets
        if len(prepared.unparsable):
            rows = prepared.unparsable
            reason = RULES[preparation.types[name]]
            unparsable.append(Broken(name, reason, rows, delivered.iloc[rows]))
    for name, numbers in _calendar(columns, preparation).items():
        columns[name] = table.spilled(numbers)
        changes.append((name, "calendar", int(numbers.notna().sum())))
    frame = table.of_columns(columns, raw.index)
    if preparation.function is not None:
        frame, counts = _through_function(preparation.function, frame)
        changes += [(name, "function", count) for name, count in counts.items()]
    return PreparedTable(
        frame,
        changes=pd.DataFrame(changes, columns=["column", "step", "cells_changed"]),
        unparsable=tuple(unparsable),
        notes=tuple(_notes_of_offsets(offsets)),
        offsets=offsets,
    )


def _check_declared(columns: Collection[str], preparation: Preparation) -> None:
    for setting, column in declared_columns(preparation):
        if column not in columns:
            raise UnusableTable(
                f"preparation.{setting}.{column}",
                rule=f"the table has no column {column!r}; "
                f"{did_you_mean(column, columns)}",
                fix="Correct the name in the YAML, or drop the entry.",
            )


def _notes_of_offsets(offsets: Mapping[str, Offsets]) -> Iterator[str]:
    for name, counts in offsets.items():
        if any(counts):
            shown = ", ".join(sorted(counts))
            yield f"{name}: times with an offset from UTC ({shown}) are read as UTC"


def declared_columns(preparation: Preparation) -> Iterator[tuple[str, str]]:
    """Yield (setting, column) for every column that the preparation names."""
    for setting in ("missing_values", "categories", "types", "calendar"):
        for column in getattr(preparation, setting):
            yield setting, column


def _prepare_column(
    delivered: pd.Series, name: str, preparation: Preparation
) -> _PreparedColumn:
    missing = [
        *preparation.missing_values_everywhere,
        *preparation.missing_values.get(name, ()),
    ]
    changed: dict[str, int] = {}
    unparsable = np.empty(0, np.int64)
    offsets = None
    cells = _without(delivered, missing)
    if missing:
        changed["missing_values"] = int(cells.isna().sum() - delivered.isna().sum())
    if name in preparation.categories:
        spelt = coercion.as_text(cells)
        cells = coercion.unify(spelt, preparation.categories[name])
        changed["categories"] = int((cells != spelt)[spelt.notna()].sum())
    if name in preparation.types:
        typed = _typed(cells, name, preparation)
        unparsable = np.flatnonzero(cells.notna() & typed.isna())
        if preparation.types[name] == "datetime":
            formats = preparation.datetime_formats.get(name, ())
            offsets = coercion.offsets_of(cells[typed.notna()], formats)
        is_changed = typed.dtype != cells.dtype
        changed["types"] = int(typed.notna().sum()) if is_changed else 0
        # A placeholder such as -999 may be recognizable only after parsing the text as
        # a number.
        cells = _without(typed, missing)
        if missing:
            changed["missing_values"] += int(cells.isna().sum() - typed.isna().sum())
    return _PreparedColumn(cells, changed, unparsable, offsets)


# Types that stay what they are beside a missing value.
_NULLABLE: Mapping[str, Any] = {"boolean": "boolean", "integer": "Int64"}


def _without(column: pd.Series, missing: Sequence[Scalar]) -> pd.Series:
    """Replace the declared values by missing ones.

    The type of the result never depends on the cells.
    """
    if not missing:
        return column
    kind = kinds.kind_of(column)
    if kind in kinds.NUMERIC:
        return _number_without(column, kind, missing)
    if kind == "datetime":
        declared = pd.Series([str(value) for value in missing], dtype="str")
        instants = coercion.read_datetimes(declared, ()).dropna()
        return column.mask(kinds.naive_utc(column).isin(instants))
    texts = [coercion.value_as_text(value).strip() for value in missing]
    return column.mask(coercion.as_text(column).str.strip().isin(texts))


def _number_without(
    column: pd.Series, kind: str, missing: Sequence[Scalar]
) -> pd.Series:
    placeholders = _as_numbers(missing)
    if kind == "boolean":
        placeholders = [value for value in missing if isinstance(value, bool)]
    if not placeholders:
        return column
    nullable = "UInt64" if kinds.is_unsigned(column) else _NULLABLE.get(kind)
    if nullable:
        column = column.astype(nullable)
    return column.mask(column.isin(placeholders))


def _as_numbers(missing: Sequence[Scalar]) -> list[float]:
    numbers = []
    for value in missing:
        if isinstance(value, int | float):
            number = value
        else:
            number = pd.to_numeric(str(value), errors="coerce")
        if not isinstance(value, bool) and not pd.isna(number):
            numbers.append(number)
    return numbers


def _typed(cells: pd.Series, name: str, preparation: Preparation) -> pd.Series:
    match preparation.types[name]:
        case "text":
            return coercion.as_text(cells)
        case "datetime":
            formats = preparation.datetime_formats.get(name, ())
            return coercion.as_instants(cells, formats)
        case "boolean":
            return coercion.as_booleans(cells)
        case "integer":
            return _integers(cells, preparation.numbers.get(name))
        case _:
            return _floats(cells, preparation.numbers.get(name))


def _integers(cells: pd.Series, notation: Numbers | None) -> pd.Series:
    match kinds.kind_of(cells):
        case "datetime":
            return pd.Series(pd.NA, index=cells.index, name=cells.name, dtype="Int64")
        case "boolean":
            return cells.astype("Int64")
        case "integer":
            return cells.where(cells <= np.iinfo(np.int64).max).astype("Int64")
        case "float":
            return coercion.whole(cells)
        case _:
            return coercion.read_integers(coercion.as_text(cells), notation)


def _floats(cells: pd.Series, notation: Numbers | None) -> pd.Series:
    kind = kinds.kind_of(cells)
    if kind == "datetime":
        return pd.Series(np.nan, index=cells.index, name=cells.name)
    if kind == "boolean":
        cells = cells.astype("Int64")
    if kind in kinds.NUMERIC:
        return cells.astype("float64")
    return coercion.read_numbers(coercion.as_text(cells), notation)


def calendar_columns(name: str, *parts: CalendarPart) -> list[str]:
    """Return the columns that parts of a datetime column become."""
    waves = ("_sin", "_cos")
    return [
        f"{name}_{part}{wave}"
        for part in parts
        for wave in (waves if part in _CYCLES else ("",))
    ]


def source_columns(
    features: Iterable[str], delivered: Collection[str], preparation: Preparation
) -> list[str]:
    """Return the delivered columns that the features need; with a user's function also
    all dates.
    """
    features = list(features)
    columns = [name for name in features if name in delivered]
    for name, parts in preparation.calendar.items():
        date_columns = calendar_columns(name, *parts)
        if preparation.function is not None or {*date_columns} & {*features}:
            columns.append(name)
    return list(dict.fromkeys(columns))


def day_columns(preparation: Preparation) -> set[str]:
    """Return the columns that hold days since 1970.

    Later rows always exceed them, which is not drift.
    """
    return {
        column
        for name, parts in preparation.calendar.items()
        if "days" in parts
        for column in calendar_columns(name, "days")
    }


def _calendar(
    columns: Mapping[str, pd.Series], preparation: Preparation
) -> dict[str, pd.Series]:
    """Return the parts of all datetime columns that are in the calendar."""
    calendar: dict[str, pd.Series] = {}
    for name, parts in preparation.calendar.items():
        if name not in columns:
            continue
        instants = columns[name]
        if kinds.kind_of(instants) != "datetime":
            raise UnusableTable(
                f"preparation.calendar.{name}",
                rule=f"the column holds {instants.dtype}, not datetimes",
                fix=f"Write types: {{{name}: datetime}}, or take it out of calendar.",
            )
        for part in parts:
            new = calendar_columns(name, part)
            for column, numbers in zip(new, _part_of(instants, part), strict=True):
                if column in columns:
                    raise UnusableTable(
                        f"preparation.calendar.{name}",
                        rule=f"the table already has a column {column!r}",
                        fix="Rename that column in the source, or leave this part out "
                        "of calendar.",
                    )
                calendar[column] = pd.Series(numbers, index=instants.index)
    return calendar


def _part_of(instants: pd.Series, part: CalendarPart) -> tuple[np.ndarray, ...]:
    """Return a part of instants (n,), missing as nan: two waves float64 (n,) if it is
    a cycle.
    """
    if part in _CYCLES:
        angle = 2 * np.pi * _CYCLES[part](instants).to_numpy(dtype=np.float64)
        return np.sin(angle), np.cos(angle)
    if part == "days":
        days = kinds.microseconds(instants) / kinds.DAY
        return (np.where(instants.notna(), days, np.nan),)
    accessor = "day" if part == "day_of_month" else part
    return (getattr(instants.dt, accessor).to_numpy(dtype=np.float64),)


def _share_of_day(instants: pd.Series) -> pd.Series:
    return (instants.dt.hour + instants.dt.minute / 60) / 24


# Cycle → the position in it, as a share in [0, 1).
_CYCLES: Mapping[CalendarPart, Callable[[pd.Series], pd.Series]] = {
    "cycle_of_year": lambda at: (
        (at.dt.day_of_year - 1 + _share_of_day(at))
        / (365 + at.dt.is_leap_year.astype("float64"))
    ),
    "cycle_of_week": lambda at: (at.dt.day_of_week + _share_of_day(at)) / 7,
    "cycle_of_day": _share_of_day,
}

CULPRIT = "preparation.function"
# Enough rows to detect a mean or a rank over the table; few enough to cost nothing.
ROWS_TRIED_ALONE = 50


def _through_function(
    path: str, frame: pd.DataFrame
) -> tuple[pd.DataFrame, Mapping[str, int]]:
    """Apply the user's function batch by batch, and count changed cells.

    A few rows are also tried alone: a function that uses other rows would give other
    values at prediction time than in training.
    """
    function = imported(path, CULPRIT, "function")
    step = max(1, len(frame) // ROWS_TRIED_ALONE)
    tried = frame.iloc[::step].iloc[:ROWS_TRIED_ALONE]
    alone = _applied(function, tried, path)
    changed: Counter[str] = Counter()
    batches: list[pd.DataFrame] = []
    for rows in table.slices(len(frame), table.SLICE_ROWS):
        batch = frame.iloc[rows]
        returned = _applied(function, batch, path)
        common = batch.index.intersection(tried.index)
        different = differing_columns(returned.loc[common], alone.loc[common])
        if different:
            raise UnusableTable(
                f"{CULPRIT} {path}",
                rule=f"{len(common)} rows alone get other values than within the table "
                f"(columns: {listed(different)})",
                fix="Use no values of other rows; what is learnt from the table "
                "belongs in the model.",
            )
        nothing = pd.Series(None, batch.index, dtype=object)
        for name, column in returned.items():
            before = batch.get(name, nothing)
            changed[str(name)] += int((~_equal_cells(before, column)).sum())
        batches.append(table.on_map(returned) if len(batch) < len(frame) else returned)
    columns = {
        str(name): table.spilled(
            table.one_below_another([batch[name] for batch in batches])
        )
        for name in batches[0].columns
    }
    return table.of_columns(columns, frame.index), changed


def _applied(
    function: Callable[[pd.DataFrame], Any], rows: pd.DataFrame, path: str
) -> pd.DataFrame:
    returned = function(rows.copy())
    description = type(returned).__name__
    if isinstance(returned, pd.DataFrame):
        if returned.index.equals(rows.index) and returned.columns.is_unique:
            return returned.set_axis(rows.index)
        description = (
            f"{len(returned)} rows, other or reordered ones, or a column twice"
        )
    raise UnusableTable(
        f"{CULPRIT} {path}",
        rule=f"was given {len(rows)} rows and returned {description}",
        fix="Return a table of the same rows with the same index; use the schema to "
        "reject rows.",
    )


def differing_columns(within: pd.DataFrame, alone: pd.DataFrame) -> list[str]:
    """Return the columns in which the same rows (n, columns) of two tables differ.

    Rounding is no difference: vectorised arithmetic may give another last digit for
    another number of rows.
    """
    different = [
        str(name) for name in within.columns.symmetric_difference(alone.columns)
    ]
    for name in within.columns.intersection(alone.columns):
        columns = (within[name], alone[name])
        if all(kinds.kind_of(column) in kinds.NUMERIC for column in columns):
            numbers, again = map(kinds.numbers_of, columns)
            equal = np.allclose(numbers, again, rtol=1e-9, atol=0, equal_nan=True)
        else:
            equal = _equal_cells(within[name], alone[name]).all()
        if not equal:
            different.append(str(name))
    return different


def _equal_cells(before: pd.Series, after: pd.Series) -> pd.Series:
    both_missing = before.isna() & after.isna()
    return before.astype(object).eq(after.astype(object)) | both_missing
