"""One column against its schema, and why rows are rejected, in words.

In: a prepared column and its pandera schema. Out: the cells that fit, in the schema's type, and the
rules that rows break; of these, one text per rejected row and a count per reason. pandera's own lazy
validation stops at a column that cannot be coerced, and loses missing values among its failure
cases; here its checks are called one by one on the cells that can be judged, so that every row gets
every reason. Python-level work is done for rejected cells only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.engines import pandas_engine

from experiment_pipeline.errors import InvalidSchema
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Validation
from experiment_pipeline.table.coercion import Coerced, coerce, schema_kind, with_room_for_missing
from experiment_pipeline.table.kinds import kind_of
from experiment_pipeline.table.schema import NEVER_MISSING
from experiment_pipeline.table.table import slices

LONGEST_VALUE, LONGEST_RULE = 80, 200
SHOWN_VALUES = 5
# Of a column of ids that are all new, a name for each would be as large as the column.
MOST_NAMED = 262_144


@dataclass(frozen=True)
class Broken:
    """One rule, and the rows that break it.

    Attributes:
        column: the column it is about; None for rules about the whole row.
        rule: what is wrong, to be read after the value: "is missing".
        positions: int (k,): positions of the rows in the table, ascending.
        values: (k,) what stands there, of several columns a row each; None where the rule says it all.
    """

    column: str | None
    rule: str
    positions: np.ndarray
    values: pd.Series | pd.DataFrame | None = None

    @property
    def reason(self) -> str:
        """The rule without a value, such as "age: is missing"."""
        return self.rule if self.column is None else f"{self.column}: {self.rule}"

    def texts(self, some: slice) -> np.ndarray:
        """Return a reason for each of some of the rows, with the offending value: object (k,)."""
        if self.values is None:
            return np.full(len(self.positions[some]), self.reason, dtype=object)
        start, found = "" if self.column is None else f"{self.column}: ", self.values.iloc[some]
        values = found.tolist() if isinstance(found, pd.Series) else found.to_dict("records")
        return np.array([f"{start}{_shown(v)} {self.rule}" for v in values], dtype=object)


@dataclass(frozen=True)
class Tolerated:
    """How many cells of a column were tolerated, or filled.

    Attributes:
        column: its name.
        what: filled with the default; missing, of which the schema says nothing; against a rule
            that only counts; unseen by the training.
        cells: how many.
        rule: what they are against, or filled with.
        named: value → cells, in the order they came; of more than MOST_NAMED the first ones.
    """

    column: str
    what: Literal["filled", "missing", "against", "unseen"]
    cells: int
    rule: str = ""
    named: Mapping[object, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, what: Literal["against", "unseen"], cells: pd.Series, rule: str = ""
    ) -> "Tolerated":
        """Count the cells (k,) of a column by their values."""
        counts = cells.value_counts(sort=False).head(MOST_NAMED)
        return cls(str(cells.name), what, len(cells), rule, dict(counts.items()))

    def and_those_of(self, later: "Tolerated") -> "Tolerated":
        """Add what was counted of the rows after these."""
        named = dict(self.named)
        for value, cells in later.named.items():
            if value in named or len(named) < MOST_NAMED:
                named[value] = named.get(value, 0) + cells
        return replace(self, cells=self.cells + later.cells, named=named)

    @property
    def text(self) -> str:
        """`size: 3 values kept against isin(['S', 'M']): 'XL' (3)`."""
        match self.what:
            case "filled":
                note = f"{self.cells} missing values became {self.rule}"
            case "missing":
                kept = numbers.counted(self.cells, "missing value")
                note = f"{kept} kept: the schema says nothing of missing ones"
            case "against":
                kept = numbers.counted(self.cells, "value")
                note = f"{kept} kept against {self.rule}: {self._most_frequent}"
            case "unseen":
                rows = numbers.counted(self.cells, "row")
                which = f"a category that training did not see: {self._most_frequent}"
                note = f"{rows} with {which}"
        return f"{self.column}: {note}"

    @property
    def _most_frequent(self) -> str:
        """The most frequent values with their counts: `'ZZ' (2), 'QQ' (1) and 3 others`."""
        counts = sorted(self.named.items(), key=lambda counted: -counted[1])
        shown = [f"{_shown(value)} ({cells:,})" for value, cells in counts[:SHOWN_VALUES]]
        more = len(counts) - len(shown)
        least = "at least " if len(counts) == MOST_NAMED else ""
        return ", ".join(shown) + (f" and {least}{numbers.counted(more, 'other')}" if more else "")


@dataclass(frozen=True)
class CheckedColumn:
    """A column of n cells after its checks.

    Attributes:
        fitting: (m,) the cells in the schema's type, without those that the type cannot hold.
        left_out: int (n - m,): positions of the others, ascending.
        broken: rules that rows break.
        tolerated: what is counted, also where it is 0: the same ones whatever the cells are.
    """

    fitting: pd.Series
    left_out: np.ndarray
    broken: tuple[Broken, ...] = ()
    tolerated: tuple[Tolerated, ...] = ()

    @property
    def positions(self) -> np.ndarray:
        """Where in the table each of the fitting cells is: int (m,)."""
        return np.delete(np.arange(len(self.fitting) + len(self.left_out)), self.left_out)

    def of_rows(self, rows: np.ndarray) -> pd.Series:
        """Return the cells of rows, bool (n,), that are fitting."""
        wanted = np.delete(rows, self.left_out)
        cells: pd.Series = self.fitting if wanted.all() else self.fitting[wanted]
        return cells


def check_column(
    column: pd.Series,
    schema: pa.Column,
    unparsable: np.ndarray | None,
    validation: Validation | None = None,
    missing_rule: Broken | None = None,
) -> CheckedColumn:
    """Check one column, cell by cell.

    Args:
        column: (n,) prepared values; its name is the column's.
        schema: what they must satisfy; `coerce` already includes the table's.
        unparsable: bool (n,): cells that are rejected already and hold nothing to judge.
        validation: of a feature: what becomes of values never seen before; None: the schema
            as it is.
        missing_rule: a rule that already names the rows with a missing value.

    Raises:
        InvalidSchema: the schema cannot be applied to a column of this type.
    """
    name, tolerated, given = str(column.name), list[Tolerated](), len(column)
    positions = np.arange(given)
    if unparsable is not None:
        positions = np.flatnonzero(~unparsable)
        column = column.iloc[positions]
    if schema.default is not None:
        filled = int(column.isna().sum())
        tolerated.append(Tolerated(name, "filled", filled, repr(schema.default)))
        column = column.where(column.notna(), schema.default) if filled else column
    # The schema's own word: the type with room for missing ones depends on what else is there.
    broken, declared = [], schema.dtype
    missing = column.isna().to_numpy()
    if not schema.nullable and missing_rule is None:
        if _keeps_missing(schema, validation):
            tolerated.append(Tolerated(name, "missing", int(missing.sum())))
            schema = with_room_for_missing(schema) if missing.any() else schema
        elif missing.any():
            broken.append(Broken(name, "is missing", positions[missing]))
    coerced = _typed(column, schema)
    if coerced.bad.any():
        bad = coerced.bad
        broken.append(Broken(name, f"is no {declared}", positions[bad], column[bad]))
    if len(coerced.fitting) < len(column):
        positions = positions[column.index.isin(coerced.fitting.index)]
    found = [_judged(coerced.fitting, positions, check, validation) for check in schema.checks]
    broken += [one for one in found if isinstance(one, Broken) and len(one.positions)]
    tolerated += [one for one in found if isinstance(one, Tolerated)]
    left_out = np.delete(np.arange(given), positions)
    return CheckedColumn(coerced.fitting, left_out, tuple(broken), tuple(tolerated))


def _judged(
    cells: pd.Series, positions: np.ndarray, check: pa.Check, validation: Validation | None
) -> Broken | Tolerated:
    failed = failing_cells(cells, check, f"columns.{cells.name}")
    rule, failing = shortened(str(check.error or check.name)), cells[failed]
    if _only_counts(check, validation):
        return Tolerated.of("against", failing, rule)
    return Broken(str(cells.name), f"fails {rule}", positions[failed], failing)


def failing_cells(cells: pd.Series | pd.DataFrame, check: pa.Check, place: str) -> np.ndarray:
    """Call a pandera check: bool (n,), True where a cell, or a row of a table, fails.

    Raises:
        InvalidSchema: the check does not work on values of this type.
    """
    failed = np.zeros(len(cells), dtype=bool)
    if not len(cells):
        return failed
    try:
        passed = check(cells).check_output
    except (TypeError, AttributeError) as error:
        raise InvalidSchema(
            f"{place}.{check.name}",
            f"it does not work on this type: {error}",
            "Correct the check's value, or the column's dtype.",
        ) from None
    wrong = passed.index[~passed.fillna(False).to_numpy(dtype=bool)]
    failed[cells.index.get_indexer(wrong)] = True
    return failed


def _keeps_missing(schema: pa.Column, validation: Validation | None) -> bool:
    if validation is None or schema.metadata == NEVER_MISSING:
        return False
    return validation.unseen_missing_values == "allow"


def _only_counts(check: pa.Check, validation: Validation | None) -> bool:
    chosen = validation.unseen_categories if validation and check.name == "isin" else None
    return bool(check.raise_warning) if chosen is None else chosen == "allow"


def _typed(column: pd.Series, schema: pa.Column) -> Coerced:
    if schema.coerce or schema.dtype is None:
        return coerce(column, schema)
    actual = pandas_engine.Engine.dtype(column.dtype)
    both_dates = schema_kind(schema) == kind_of(column) == "datetime"
    if not both_dates and not schema.dtype.check(actual):
        raise InvalidSchema(
            f"columns.{column.name}.dtype",
            f"the schema says {schema.dtype}, the column holds {column.dtype}",
            "Write coerce: true, or correct the dtype.",
        )
    return Coerced(column, np.zeros(len(column), dtype=bool))


def rejection_reasons(broken: Sequence[Broken], rejected: np.ndarray) -> pd.Series:
    """Write all reasons of every rejected row, one per line.

    Args:
        broken: the rules, whose rows are all rejected.
        rejected: int (k,): positions of the rows in the table, ascending.

    Returns:
        str (k,).
    """
    parts = [_reasons(broken, rejected[rows]) for rows in slices(len(rejected))]
    reasons: pd.Series = pd.concat(parts, ignore_index=True)
    return reasons


def _reasons(broken: Sequence[Broken], rejected: np.ndarray) -> pd.Series:
    reasons = np.full(len(rejected), "", dtype=object)
    for rule in broken if len(rejected) else ():
        first, end = np.searchsorted(rule.positions, [rejected[0], rejected[-1] + 1])
        at = np.searchsorted(rejected, rule.positions[first:end])
        before, texts = reasons[at], rule.texts(slice(first, end))
        reasons[at] = before + np.where(before == "", "", "\n").astype(object) + texts
    return pd.Series(reasons, dtype="str")


def count_reasons(broken: Sequence[Broken]) -> pd.DataFrame:
    """Count the rows per reason, most frequent first: columns `reason`, `rows`."""
    counts = [(rule.reason, len(rule.positions)) for rule in broken]
    table = pd.DataFrame(counts, columns=["reason", "rows"])
    return table.sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def _shown(value: object) -> str:
    return shortened(repr(value.item() if isinstance(value, np.generic) else value), LONGEST_VALUE)


def shortened(text: str, most: int = LONGEST_RULE) -> str:
    """Cut a rule or a value that is too long to be read."""
    return text if len(text) <= most else f"{text[:most]}…"
