"""One column against its schema, and why rows are rejected, in words.

pandera's own lazy validation stops at a column that cannot be coerced. Here its checks
are called one by one, so that a row gets every reason.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.engines import pandas_engine

from experiment_pipeline.errors import InvalidSchema
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Validation
from experiment_pipeline.table.coercion import coerce, has_room_for_missing, schema_kind
from experiment_pipeline.table.kinds import Type, kind_of
from experiment_pipeline.table.preparation import Broken, in_words, shortened
from experiment_pipeline.table.schema import NEVER_MISSING
from experiment_pipeline.table.table import slices

SHOWN_VALUES = 5
TARGET_IS_MISSING = "target is missing"  # a rule that no schema has
# For a column of ids that are all new, a name for each would be as large as the column.
MOST_NAMED = 262_144


@dataclass(frozen=True)
class Counted:
    """The cells of a column that were tolerated or filled, or that break a rule.

    `noun` and `what` say what happened to the `cells`: "values" "kept against
    isin(['S', 'M'])". For a broken rule, `what` is the rule, and `column` is empty if
    it concerns the whole row. `named` is value → cells; of more than MOST_NAMED values
    the most frequent ones.
    """

    column: str
    noun: Literal["value", "missing value", "row"]
    what: str
    cells: int
    named: Mapping[object, int] = field(default_factory=dict)

    @classmethod
    def of(cls, noun: Literal["value", "row"], what: str, cells: pd.Series) -> Self:
        """Count the cells (k,) of a column by their values."""
        hashable = cells.map(repr) if kind_of(cells) == "nested" else cells
        counts = hashable.value_counts(sort=False)
        # pandas also counts absent categories.
        named = counts[counts > 0].head(MOST_NAMED)
        return cls(str(cells.name), noun, what, len(cells), dict(named.items()))

    def and_those_of(self, later: "Counted") -> "Counted":
        """Add the counts of later rows."""
        named = Counter(self.named) + Counter(later.named)
        if len(named) > MOST_NAMED:
            named = Counter(dict(named.most_common(MOST_NAMED)))
        return replace(self, cells=self.cells + later.cells, named=dict(named))

    @property
    def text(self) -> str:
        """`size: 4 values kept against isin(['S', 'M']): 'XL' (3), 'L' (1)`."""
        note = f"{self.column}: {numbers.counted(self.cells, self.noun)} {self.what}"
        return f"{note}: {self.most_often}" if self.named else note

    @property
    def reason(self) -> str:
        """`size: fails isin(['S', 'M']) (4 rows, most often 'XL' (3), 'L' (1))`."""
        most = f", most often {self.most_often}" if self.named else ""
        return f"{self.rule} ({numbers.counted(self.cells, 'row')}{most})"

    @property
    def rule(self) -> str:
        """The broken rule alone: `size: fails isin(['S', 'M'])`."""
        return f"{self.column}: {self.what}" if self.column else self.what

    @property
    def most_often(self) -> str:
        """`'XL' (3), 'L' (1) and 2 others`."""
        most = Counter(self.named).most_common(SHOWN_VALUES)
        shown = ", ".join(f"{in_words(value)} ({cells:,})" for value, cells in most)
        hidden = len(self.named) - len(most)
        return f"{shown} and {numbers.counted(hidden, 'other')}" if hidden else shown


class Counts(dict[tuple[str, str], Counted]):
    """The counts of one batch of rows after the other, by column and `what`."""

    def add(self, batch: Iterable[Counted]) -> None:
        """Add the counts of the next batch."""
        for counted in batch:
            key = (counted.column, counted.what)
            before = self.get(key)
            self[key] = before.and_those_of(counted) if before else counted


@dataclass(frozen=True)
class CheckedColumn:
    """A column of n cells after its checks: the broken rules and the counts of
    tolerated cells, also of rules that no cell breaks.

    `fitting` (m,) are the cells that the schema's type can hold, in that type;
    `left_out` int (n - m,) are the positions of the others, ascending. `narrow` is the
    schema's type where a missing value needed a wider one.
    """

    fitting: pd.Series
    left_out: np.ndarray
    broken: tuple[Broken, ...] = ()
    tolerated: tuple[Counted, ...] = ()
    narrow: Type | None = None

    def of_rows(self, rows: np.ndarray) -> pd.Series:
        """Return the cells of rows, bool (n,), that are fitting."""
        chosen = np.delete(rows, self.left_out)
        cells: pd.Series = self.fitting if chosen.all() else self.fitting[chosen]
        # A rejected row, such as one of totals, must not decide the type of the others.
        if self.narrow is None or cells.hasnans:
            return cells
        return cells.astype(self.narrow)


def check_column(
    column: pd.Series,
    schema: pa.Column,
    unparsable: np.ndarray,
    validation: Validation | None = None,
    *,
    is_target: bool = False,
) -> CheckedColumn:
    """Check one column of prepared values (n,), cell by cell.

    `unparsable`: positions that are rejected already. Rows without a target are
    rejected whatever the schema says. Raises InvalidSchema: the schema cannot be
    applied to a column of this type.
    """
    name = str(column.name)
    rows = len(column)
    declared = schema
    broken: list[Broken] = []
    tolerated: list[Counted] = []
    positions = np.delete(np.arange(rows), unparsable)
    if len(unparsable):
        column = column.iloc[positions]
    missing = column.isna().to_numpy()
    if is_target:
        broken.append(Broken(None, TARGET_IS_MISSING, positions[missing]))
    if schema.default is not None:
        sentence = f"became {schema.default!r}"
        tolerated.append(Counted(name, "missing value", sentence, int(missing.sum())))
        column = _filled(column, schema.default)
        missing = column.isna().to_numpy()
    if not schema.nullable and not is_target:
        if _allows_missing(schema, validation):
            sentence = "kept: the schema does not mention missing values"
            tolerated.append(
                Counted(name, "missing value", sentence, int(missing.sum()))
            )
            schema = _with_room(schema, missing)
        else:
            broken.append(Broken(name, "is missing", positions[missing]))
    fitting, bad = _typed(column, schema)
    sentence = f"is not of type {declared.dtype}"
    broken.append(Broken(name, sentence, positions[bad], column[bad]))
    if len(fitting) < len(column):
        positions = positions[column.index.isin(fitting.index)]
    failing, counted = _judged(fitting, positions, schema, validation)
    return CheckedColumn(
        fitting,
        left_out=np.delete(np.arange(rows), positions),
        broken=(*broken, *failing),
        tolerated=(*tolerated, *counted),
        narrow=None if schema is declared else declared.dtype.type,
    )


def _filled(column: pd.Series, default: object) -> pd.Series:
    """Replace missing values by the default, also one that only the schema can hold."""
    if not column.hasnans:
        return column
    try:
        return column.where(column.notna(), default)
    except (TypeError, ValueError):
        return column.astype(object).where(column.notna(), default)


def _allows_missing(schema: pa.Column, validation: Validation | None) -> bool:
    if validation is None or schema.metadata == NEVER_MISSING:
        return False
    return validation.unseen_missing_values == "allow"


def _with_room(schema: pa.Column, missing: np.ndarray) -> pa.Column:
    """Return the schema, with a type that holds missing values if there are any."""
    if has_room_for_missing(schema) or not missing.any():
        return schema
    wider = copy.copy(schema)
    nullable = str(schema.dtype).replace("int", "Int").replace("uI", "UI")
    wider.dtype = "boolean" if nullable == "bool" else nullable
    return wider


def _judged(
    cells: pd.Series,
    positions: np.ndarray,
    schema: pa.Column,
    validation: Validation | None,
) -> tuple[list[Broken], list[Counted]]:
    """Return the checks that reject failing cells, and those that only count them."""
    name = str(cells.name)
    broken: list[Broken] = []
    tolerated: list[Counted] = []
    for check in schema.checks:
        failed = failing_cells(cells, check, f"columns.{name}")
        in_short = shortened(str(check.error or check.name))
        tolerates = bool(check.raise_warning)
        if check.name == "isin" and validation and validation.unseen_categories:
            tolerates = validation.unseen_categories == "allow"
        if tolerates:
            sentence = f"kept against {in_short}"
            tolerated.append(Counted.of("value", sentence, cells[failed]))
        else:
            sentence = f"fails {in_short}"
            broken.append(Broken(name, sentence, positions[failed], cells[failed]))
    return broken, tolerated


def _typed(column: pd.Series, schema: pa.Column) -> tuple[pd.Series, np.ndarray]:
    if schema.coerce or schema.dtype is None:
        return coerce(column, schema)
    both_dates = schema_kind(schema) == kind_of(column) == "datetime"
    dtype = pandas_engine.Engine.dtype(column.dtype)
    if not both_dates and not schema.dtype.check(dtype):
        raise InvalidSchema(
            f"columns.{column.name}.dtype",
            rule=f"the schema says {schema.dtype}, the column holds {column.dtype}",
            fix="Write coerce: true, or correct the dtype.",
        )
    return column, np.zeros(len(column), dtype=bool)


def failing_cells(
    cells: pd.Series | pd.DataFrame, check: pa.Check, place: str
) -> np.ndarray:
    """Call a pandera check: bool (n,), True where a cell, or a row, fails."""
    failed = np.zeros(len(cells), dtype=bool)
    if not len(cells):
        return failed
    try:
        passed = check(cells).check_output
    except (TypeError, AttributeError) as error:
        raise InvalidSchema(
            f"{place}.{check.name}",
            rule=f"it does not work on this type: {error}",
            fix="Correct the check's value, or the column's dtype.",
        ) from None
    wrong = passed.index[~passed.fillna(False).to_numpy(dtype=bool)]
    failed[cells.index.get_indexer(wrong)] = True
    return failed


def rejection_reasons(broken: Sequence[Broken], rejected: np.ndarray) -> pd.Series:
    """Return the reasons of each rejected row, one per line.

    `rejected` are ascending positions (k,).
    """
    parts = [pd.Series(dtype="str")]
    for rows in slices(len(rejected)):
        positions = rejected[rows]
        reasons = np.full(len(positions), "", dtype=object)
        for rule in broken if len(positions) else ():
            ends = [positions[0], positions[-1] + 1]
            first, end = np.searchsorted(rule.positions, ends)
            places = np.searchsorted(positions, rule.positions[first:end])
            before = reasons[places]
            breaks = np.where(before == "", "", "\n").astype(object)
            reasons[places] = before + breaks + rule.texts(slice(first, end))
        parts.append(pd.Series(reasons, dtype="str"))
    return pd.concat(parts, ignore_index=True)


def count_reasons(broken: Sequence[Broken]) -> list[Counted]:
    """Count the rows that break each rule, and the values there."""
    reasons = []
    no_value = pd.Series(dtype=object)
    for rule in broken:
        cells = rule.cells if isinstance(rule.cells, pd.Series) else no_value
        counted = Counted.of("row", rule.rule, cells)
        rows = len(rule.positions)
        reasons.append(replace(counted, column=rule.column or "", cells=rows))
    return most_frequent_first(reasons)


def most_frequent_first(reasons: Iterable[Counted]) -> list[Counted]:
    """Sort broken rules by rows, then by name: the order of rows does not matter."""
    return sorted(
        reasons, key=lambda reason: (-reason.cells, reason.column, reason.what)
    )
