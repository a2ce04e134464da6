"""Apply the declared preparation to a raw table, and count the changed cells.

First every column alone (missing values, categories, type), then the calendar, then the
user's own function, which runs in this process and is checked to work row by row. Cells
that cannot be parsed are counted here; the validation rejects their rows.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from experiment_pipeline.errors import UnusableTable, did_you_mean, imported, listed
from experiment_pipeline.spec import CalendarPart, Preparation, Scalar
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

    def texts(self, some: slice) -> np.ndarray:
        """Return a reason, with the offending value, for each row of a slice of them:
        object (k,).
        """
        start = "" if self.column is None else f"{self.column}: "
        if self.cells is None:
            return np.full(len(self.positions[some]), start + self.rule, dtype=object)
        found = self.cells.iloc[some]
        values = (
            found.tolist() if isinstance(found, pd.Series) else found.to_dict("records")
        )
        return np.array(
            [f"{start}{in_words(v)} {self.rule}" for v in values], dtype=object
        )


def in_words(value: object) -> str:
    """Return a cell as a message shows it."""
    return shortened(
        repr(value.item() if isinstance(value, np.generic) else value), LONGEST_VALUE
    )


def shortened(text: str, most: int = LONGEST_RULE) -> str:
    """Shorten a rule or value that is too long to read."""
    return text if len(text) <= most else f"{text[:most]}…"


@dataclass(frozen=True)
class PreparedTable:
    """A prepared table: the rows of the raw table, in their order, with their index.

    `changes` has a row per step: `column`, `step`, `cells_changed`; `unparsable`:
    delivered cells that are not of the declared type; `sets`: the result of
    `assign_sets`, or empty; `offsets`: column → UTC offsets.
    """

    frame: pd.DataFrame
    changes: pd.DataFrame
    unparsable: tuple[Broken, ...]
    notes: tuple[str, ...] = ()
    sets: pd.Series = field(default_factory=lambda: pd.Series(dtype="str"))
    offsets: Mapping[str, Offsets] = field(default_factory=dict)


def prepare(
    raw: pd.DataFrame,
    preparation: Preparation,
    may_be_absent: Collection[str] = (),
) -> PreparedTable:
    """Apply the declared preparation to every row; `may_be_absent`: columns that may be
    missing.

    UnusableTable: a declared column is absent or of the wrong type, a calendar column's
    name is taken, or the user's function changed the rows; InvalidExperiment: that
    function cannot be imported.
    """
    for setting, column in declared_columns(preparation):
        if column not in raw.columns and column not in may_be_absent:
            rule = f"the table has no column {column!r}; {did_you_mean(column, raw.columns)}"
            fix = "Correct the name in the YAML, or drop the entry."
            raise UnusableTable(f"preparation.{setting}.{column}", rule, fix)
    values = {str(name): raw[name] for name in raw.columns}
    changes: list[tuple[str, str, int]] = []
    unparsable, offsets = list[Broken](), dict[str, Offsets]()
    for name, given in list(values.items()):
        cells, changed, bad = _prepare_column(given, name, preparation, offsets)
        if cells is not given:
            values[name] = table.spilled(cells)
        if len(bad):
            rule = RULES[preparation.types[name]]
            unparsable.append(Broken(name, rule, bad, given.iloc[bad]))
        changes += [(name, step, count) for step, count in changed.items()]
    present = {
        name: parts for name, parts in preparation.calendar.items() if name in values
    }
    for name, parts in present.items():
        for new, numbers in _calendar(values, name, parts).items():
            values[new] = table.spilled(numbers)
            changes.append((new, "calendar", int(numbers.notna().sum())))
    frame = table.of_columns(values, raw.index)
    if preparation.function is not None:
        frame, counts = _through_function(preparation.function, frame)
        changes += [(name, "function", count) for name, count in counts.items()]
    counted = pd.DataFrame(changes, columns=["column", "step", "cells_changed"])
    notes = [
        f"{name}: times with an offset from UTC ({', '.join(sorted(found))}) are read as UTC"
        for name, found in offsets.items()
        if any(found)
    ]
    return PreparedTable(
        frame, counted, tuple(unparsable), tuple(notes), offsets=offsets
    )


def declared_columns(preparation: Preparation) -> Iterator[tuple[str, str]]:
    """Yield (setting, column) for every column that the preparation names."""
    for setting in ("missing_values", "categories", "types", "calendar"):
        yield from ((setting, column) for column in getattr(preparation, setting))


def _prepare_column(
    raw: pd.Series, name: str, preparation: Preparation, offsets: dict[str, Offsets]
) -> tuple[pd.Series, dict[str, int], np.ndarray]:
    """Return the cells, the number of cells changed per step, and the positions of
    unparsable ones.
    """
    missing = preparation.missing_values_everywhere + preparation.missing_values.get(
        name, ()
    )
    values, changed, unparsable = (
        _without(raw, missing),
        dict[str, int](),
        np.empty(0, np.int64),
    )
    if missing:
        changed["missing_values"] = int(values.isna().sum() - raw.isna().sum())
    if name in preparation.categories:
        spelt = coercion.as_text(values)
        values = coercion.unify(spelt, preparation.categories[name])
        changed["categories"] = int((values != spelt)[spelt.notna()].sum())
    if name in preparation.types:
        read = _read(values, name, preparation)
        unparsable = np.flatnonzero(values.notna() & read.isna())
        if preparation.types[name] == "datetime":
            formats = preparation.datetime_formats.get(name, ())
            offsets[name] = coercion.offsets_of(values[read.notna()], formats)
        changed["types"] = 0 if read.dtype == values.dtype else int(read.notna().sum())
        # A placeholder such as -999 may be recognizable only after parsing the text as
        # a number.
        values = _without(read, missing)
        if missing:
            changed["missing_values"] += int(values.isna().sum() - read.isna().sum())
    return values, changed, unparsable


def _without(column: pd.Series, missing: Sequence[Scalar]) -> pd.Series:
    """Replace the declared values by missing ones; the result's type never depends on
    the cells.
    """
    if not missing:
        return column
    kind = kinds.kind_of(column)
    if kind == "boolean":
        flags = [value for value in missing if isinstance(value, bool)]
        return column.astype("boolean").mask(column.isin(flags)) if flags else column
    if kind in kinds.QUANTITIES:
        declared = [value for value in missing if not isinstance(value, bool)]
        written = pd.to_numeric(pd.Series(declared, dtype=object), errors="coerce")
        numbers = [
            value if isinstance(value, int | float) else number
            for value, number in zip(declared, written.tolist(), strict=True)
            if not pd.isna(number)
        ]
        if not numbers:
            return column
        # A nullable type, so that integers stay integers beside a missing value.
        if kind == "integer":
            column = column.astype("UInt64" if kinds.is_unsigned(column) else "Int64")
        return column.mask(column.isin(numbers))
    if kind == "datetime":
        declared_texts = pd.Series([str(value) for value in missing], dtype="str")
        instants = coercion.read_datetimes(declared_texts, ()).dropna()
        return column.mask(kinds.naive_utc(column).isin(instants))
    texts = [coercion.value_as_text(value).strip() for value in missing]
    return column.mask(coercion.as_text(column).str.strip().isin(texts))


def _read(values: pd.Series, name: str, preparation: Preparation) -> pd.Series:
    kind = kinds.kind_of(values)
    match preparation.types[name]:
        case "text":
            return coercion.as_text(values)
        case "datetime" if kind == "datetime":
            return kinds.naive_utc(values)
        case "datetime":
            formats = preparation.datetime_formats.get(name, ())
            return coercion.read_datetimes(coercion.as_text(values), formats)
        case "boolean" if kind == "boolean":
            return values.astype("boolean")
        case "boolean":
            return coercion.read_booleans(coercion.as_text(values))
        case wanted:
            return _read_number(values, name, preparation, whole=wanted == "integer")


def _read_number(
    values: pd.Series, name: str, preparation: Preparation, *, whole: bool
) -> pd.Series:
    kind = kinds.kind_of(values)
    if kind == "boolean":
        values = values.astype("Int64")
    if kind == "datetime":
        none = pd.Series(np.nan, index=values.index, name=name)
        return none.astype("Int64" if whole else "float64")
    if kind not in kinds.NUMERIC:
        read = coercion.read_integers if whole else coercion.read_numbers
        return read(coercion.as_text(values), preparation.numbers.get(name))
    if not whole:
        return values.astype("float64")
    if kind != "float":
        return values.where(values <= np.iinfo(np.int64).max).astype("Int64")
    return values.where((values == np.floor(values)) & (values.abs() < 2.0**63)).astype(
        "Int64"
    )


def calendar_columns(name: str, part: CalendarPart) -> tuple[str, ...]:
    """Return the columns that a part of a datetime column becomes."""
    column = f"{name}_{part}"
    return (f"{column}_sin", f"{column}_cos") if part in _CYCLES else (column,)


def source_columns(
    features: Iterable[str], delivered: Collection[str], preparation: Preparation
) -> list[str]:
    """Return the delivered columns that the features need; with a user's function also
    all dates.
    """
    features = list(features)
    columns = [name for name in features if name in delivered]
    for name, parts in preparation.calendar.items():
        made = [new for part in parts for new in calendar_columns(name, part)]
        if preparation.function is not None or not set(made).isdisjoint(features):
            columns.append(name)
    return list(dict.fromkeys(columns))


def day_columns(preparation: Preparation) -> set[str]:
    """Return the columns that hold days since 1970: later rows always exceed them,
    which is not drift.
    """
    days = [name for name, parts in preparation.calendar.items() if "days" in parts]
    return {column for name in days for column in calendar_columns(name, "days")}


def _calendar(
    values: Mapping[str, pd.Series], name: str, parts: tuple[CalendarPart, ...]
) -> dict[str, pd.Series]:
    instants = values[name]
    if kinds.kind_of(instants) != "datetime":
        rule = f"the column holds {instants.dtype}, not datetimes"
        fix = f"Write types: {{{name}: datetime}}, or take it out of calendar."
        raise UnusableTable(f"preparation.calendar.{name}", rule, fix)
    made: dict[str, pd.Series] = {}
    for part in parts:
        columns = calendar_columns(name, part)
        if taken := [new for new in columns if new in values]:
            rule = f"the table already has a column {taken[0]!r}"
            fix = (
                "Rename that column in the source, or leave this part out of calendar."
            )
            raise UnusableTable(f"preparation.calendar.{name}", rule, fix)
        if part in _CYCLES:
            angle = 2 * np.pi * _CYCLES[part](instants).to_numpy(dtype=np.float64)
            for column, wave in zip(
                columns, (np.sin(angle), np.cos(angle)), strict=True
            ):
                made[column] = pd.Series(wave, index=instants.index)
        elif part == "days":
            days = kinds.microseconds(instants) / _DAY
            made[columns[0]] = pd.Series(days, index=instants.index).where(
                instants.notna()
            )
        else:
            accessor = "day" if part == "day_of_month" else part
            made[columns[0]] = getattr(instants.dt, accessor).astype("float64")
    return made


_DAY = 24 * 3600 * 1_000_000


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
    """Apply the user's function batch by batch, and count changed cells. A few rows are
    also tried alone: a function that uses other rows would give other values at
    prediction time than in training.
    """
    function = imported(path, CULPRIT, "function")

    def applied(given: pd.DataFrame) -> pd.DataFrame:
        returned = function(given.copy())
        what = type(returned).__name__
        if isinstance(returned, pd.DataFrame):
            if returned.index.equals(given.index) and returned.columns.is_unique:
                return returned.set_axis(given.index)
            what = f"{len(returned)} rows, other or reordered ones, or a column twice"
        rule = f"was given {len(given)} rows and returned {what}"
        fix = "Return a table of the same rows with the same index; use the schema to reject rows."
        raise UnusableTable(f"{CULPRIT} {path}", rule, fix)

    few = frame.iloc[:: max(1, len(frame) // ROWS_TRIED_ALONE)].iloc[:ROWS_TRIED_ALONE]
    alone = applied(few)
    changed, parts = dict[str, int](), list[pd.DataFrame]()
    for rows in table.slices(len(frame), table.SLICE_ROWS):
        given = frame.iloc[rows]
        returned = applied(given)
        tried = given.index.intersection(few.index)
        if different := differing_columns(returned.loc[tried], alone.loc[tried]):
            raise UnusableTable(
                f"{CULPRIT} {path}",
                f"{len(tried)} rows alone get other values than within the table"
                f" (columns: {listed(different)})",
                "Use no values of other rows; what is learnt from the table belongs in the model.",
            )
        for name, column in returned.items():
            nothing = pd.Series(None, given.index, dtype=object)
            different = ~_equal_cells(given.get(name, nothing), column)
            changed[str(name)] = changed.get(str(name), 0) + int(different.sum())
        parts.append(returned if len(given) == len(frame) else table.on_map(returned))
    columns = {
        str(name): table.spilled(
            table.one_below_another([part[name] for part in parts])
        )
        for name in parts[0].columns
    }
    return table.of_columns(columns, frame.index), changed


def differing_columns(within: pd.DataFrame, alone: pd.DataFrame) -> list[str]:
    """Return the columns in which the same rows (n, columns) of two tables differ,
    beyond rounding.
    """
    different = [
        str(name) for name in within.columns.symmetric_difference(alone.columns)
    ]
    for name in within.columns.intersection(alone.columns):
        one, other = within[name], alone[name]
        if (
            kinds.kind_of(one) in kinds.NUMERIC
            and kinds.kind_of(other) in kinds.NUMERIC
        ):
            left, right = kinds.numbers_of(one), kinds.numbers_of(other)
            # Vectorised arithmetic may differ in the last digit for other table sizes.
            same = bool(np.allclose(left, right, rtol=1e-9, atol=0, equal_nan=True))
        else:
            same = bool(_equal_cells(one, other).all())
        if not same:
            different.append(str(name))
    return different


def _equal_cells(one: pd.Series, other: pd.Series) -> pd.Series:
    return one.astype(object).eq(other.astype(object)) | (one.isna() & other.isna())
