"""One column against its schema, and why rows are rejected, in words.

pandera's own lazy validation stops at a column that cannot be coerced. Here its checks
are called one by one, so that a row gets every reason.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

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
    def of(
        cls, noun: Literal["value", "row"], what: str, cells: pd.Series
    ) -> "Counted":
        """Count the cells (k,) of a column by their values."""
        hashable = cells.map(repr) if kind_of(cells) == "nested" else cells
        counts = hashable.value_counts(sort=False)
        counts = counts[counts > 0].head(
            MOST_NAMED
        )  # pandas also counts absent categories
        return cls(str(cells.name), noun, what, len(cells), dict(counts.items()))

    def and_those_of(self, later: "Counted") -> "Counted":
        """Add the counts of later rows."""
        named = Counter(self.named) + Counter(later.named)
        most = dict(
            named if len(named) <= MOST_NAMED else named.most_common(MOST_NAMED)
        )
        return replace(self, cells=self.cells + later.cells, named=most)

    @property
    def text(self) -> str:
        """`size: 4 values kept against isin(['S', 'M']): 'XL' (3), 'L' (1)`."""
        note = f"{self.column}: {numbers.counted(self.cells, self.noun)} {self.what}"
        return f"{note}: {self.most_often}" if self.named else note

    @property
    def reason(self) -> str:
        """A broken rule with counts: `size: fails isin(['S', 'M']) (4 rows, most often
        'XL' (3), 'L' (1))`.
        """
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
        more = len(self.named) - len(most)
        return shown + (f" and {numbers.counted(more, 'other')}" if more else "")


class Counts(dict[tuple[str, str], Counted]):
    """The counts of one batch of rows after the other, by column and `what`."""

    def add(self, found: Iterable[Counted]) -> None:
        """Add the counts of the next batch."""
        for one in found:
            before = self.get(key := (one.column, one.what))
            self[key] = before.and_those_of(one) if before else one


@dataclass(frozen=True)
class CheckedColumn:
    """A column of n cells after its checks: broken rules, and counts of tolerated
    cells, also if 0.

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
        wanted = np.delete(rows, self.left_out)
        cells: pd.Series = self.fitting if wanted.all() else self.fitting[wanted]
        # A rejected row, such as one of totals, must not decide the type of the others.
        return (
            cells if self.narrow is None or cells.hasnans else cells.astype(self.narrow)
        )


def check_column(
    column: pd.Series,
    schema: pa.Column,
    unparsable: np.ndarray,
    validation: Validation | None = None,
    missing_rule: Broken | None = None,
) -> CheckedColumn:
    """Check one column of prepared values (n,), cell by cell.

    `unparsable`: cells that are rejected already; `missing_rule` already names rows
    without a value.
    InvalidSchema: the schema cannot be applied to a column of this type.
    """
    name, given, declared, narrow = str(column.name), len(column), schema.dtype, None
    tolerated, broken, positions = list[Counted](), list[Broken](), np.arange(given)
    if len(unparsable):
        positions = np.delete(positions, unparsable)
        column = column.iloc[positions]
    if schema.default is not None:
        filled = int(column.isna().sum())
        tolerated.append(
            Counted(name, "missing value", f"became {schema.default!r}", filled)
        )
        column = _filled(column, schema.default) if filled else column
    missing = column.isna().to_numpy()
    if not schema.nullable and missing_rule is None:
        lenient = validation and validation.unseen_missing_values == "allow"
        if lenient and schema.metadata != NEVER_MISSING:
            what = "kept: the schema does not mention missing values"
            tolerated.append(Counted(name, "missing value", what, int(missing.sum())))
            if missing.any() and not has_room_for_missing(schema):
                schema, narrow = copy.copy(schema), declared.type
                wider = str(declared).replace("int", "Int").replace("uI", "UI")
                schema.dtype = "boolean" if wider == "bool" else wider
        elif missing.any():
            broken.append(Broken(name, "is missing", positions[missing]))
    fitting, bad = _typed(column, schema)
    if bad.any():
        broken.append(
            Broken(name, f"is not of type {declared}", positions[bad], column[bad])
        )
    if len(fitting) < len(column):
        positions = positions[column.index.isin(fitting.index)]
    left_out = np.delete(np.arange(given), positions)
    fails, counted = _judged(fitting, positions, schema, validation)
    return CheckedColumn(
        fitting, left_out, (*broken, *fails), (*tolerated, *counted), narrow
    )


def _filled(column: pd.Series, default: object) -> pd.Series:
    """Replace missing values by the default, also where only the schema's type can hold
    it.
    """
    try:
        return column.where(column.notna(), default)
    except (TypeError, ValueError):
        return column.astype(object).where(column.notna(), default)


def _judged(
    cells: pd.Series,
    positions: np.ndarray,
    schema: pa.Column,
    validation: Validation | None,
) -> tuple[list[Broken], list[Counted]]:
    """Return the checks that reject failing cells, and those that only count them."""
    broken, tolerated, name = list[Broken](), list[Counted](), str(cells.name)
    for check in schema.checks:
        failed = failing_cells(cells, check, f"columns.{name}")
        rule, failing = shortened(str(check.error or check.name)), cells[failed]
        chosen = (
            validation.unseen_categories
            if validation and check.name == "isin"
            else None
        )
        if chosen == "allow" or (chosen is None and check.raise_warning):
            tolerated.append(Counted.of("value", f"kept against {rule}", failing))
        elif failed.any():
            broken.append(Broken(name, f"fails {rule}", positions[failed], failing))
    return broken, tolerated


def _typed(column: pd.Series, schema: pa.Column) -> tuple[pd.Series, np.ndarray]:
    if schema.coerce or schema.dtype is None:
        return coerce(column, schema)
    both_dates = schema_kind(schema) == kind_of(column) == "datetime"
    if not both_dates and not schema.dtype.check(
        pandas_engine.Engine.dtype(column.dtype)
    ):
        rule = f"the schema says {schema.dtype}, the column holds {column.dtype}"
        fix = "Write coerce: true, or correct the dtype."
        raise InvalidSchema(f"columns.{column.name}.dtype", rule, fix)
    return column, np.zeros(len(column), dtype=bool)


def failing_cells(
    cells: pd.Series | pd.DataFrame, check: pa.Check, place: str
) -> np.ndarray:
    """Call a pandera check: bool (n,), True where a cell, or a row of a
    table, fails.
    """
    failed = np.zeros(len(cells), dtype=bool)
    if not len(cells):
        return failed
    try:
        passed = check(cells).check_output
    except (TypeError, AttributeError) as error:
        rule = f"it does not work on this type: {error}"
        fix = "Correct the check's value, or the column's dtype."
        raise InvalidSchema(f"{place}.{check.name}", rule, fix) from None
    wrong = passed.index[~passed.fillna(False).to_numpy(dtype=bool)]
    failed[cells.index.get_indexer(wrong)] = True
    return failed


def rejection_reasons(broken: Sequence[Broken], rejected: np.ndarray) -> pd.Series:
    """Write all reasons of every rejected row, given as ascending positions (k,), one
    per line.
    """
    parts = []
    for rows in slices(len(rejected)):
        some = rejected[rows]
        reasons = np.full(len(some), "", dtype=object)
        for rule in broken if len(some) else ():
            first, end = np.searchsorted(rule.positions, [some[0], some[-1] + 1])
            at = np.searchsorted(some, rule.positions[first:end])
            before, texts = reasons[at], rule.texts(slice(first, end))
            reasons[at] = (
                before + np.where(before == "", "", "\n").astype(object) + texts
            )
        parts.append(pd.Series(reasons, dtype="str"))
    return pd.concat(parts, ignore_index=True)


def count_reasons(broken: Sequence[Broken]) -> list[Counted]:
    """Count the rows that break each rule, and the values there."""
    none, found = pd.Series(dtype=object), list[Counted]()
    for rule in broken:
        cells = rule.cells if isinstance(rule.cells, pd.Series) else none
        one = Counted.of("row", rule.rule, cells)
        found.append(replace(one, column=rule.column or "", cells=len(rule.positions)))
    return most_frequent_first(found)


def most_frequent_first(reasons: Iterable[Counted]) -> list[Counted]:
    """Sort broken rules by their number of rows, then by name: the order of rows does
    not matter.
    """
    return sorted(reasons, key=lambda one: (-one.cells, one.column, one.what))
