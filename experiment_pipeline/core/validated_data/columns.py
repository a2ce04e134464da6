"""One column against its schema: missing values, type, checks.

In: a prepared column and its pandera schema. Out: the cells that fit, in the schema's type,
and the rules that rows break. pandera's own lazy validation stops at a column that cannot be
coerced, and loses missing values among its failure cases; here its checks are called one by
one on the cells that can be judged, so that every row gets every reason.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.engines import pandas_engine

from experiment_pipeline.core.errors import InvalidSchema
from experiment_pipeline.core.validated_data.coercion import Coerced, coerce, kind_of
from experiment_pipeline.core.validated_data.reasons import Broken, shortened


@dataclass(frozen=True)
class CheckedColumn:
    """A column after its checks.

    Attributes:
        fitting: the cells in the schema's type, without those that the type cannot hold.
        positions: int: where in the table each of them stands.
        broken: rules that rows break.
        notes: what was done or let pass, for people to read.
    """

    fitting: pd.Series
    positions: np.ndarray
    broken: tuple[Broken, ...] = ()
    notes: tuple[str, ...] = field(default=())


def check_column(
    column: pd.Series,
    schema: pa.Column,
    unparsable: np.ndarray | None,
    only_warn: Collection[str],
    missing_rule: Broken | None = None,
) -> CheckedColumn:
    """Check one column, cell by cell.

    Args:
        column: (n,) prepared values; its name is the column's.
        schema: what they must satisfy; `coerce` already includes the table's.
        unparsable: bool (n,): cells that are rejected already and hold nothing to judge.
        only_warn: names of checks that are counted and not enforced.
        missing_rule: a rule that already names the rows with a missing value.

    Raises:
        InvalidSchema: the schema cannot be applied to a column of this type.
    """
    name, notes = str(column.name), []
    positions = np.arange(len(column))
    if unparsable is not None:
        positions = np.flatnonzero(~unparsable)
        column = column.iloc[positions]
    if schema.default is not None and column.hasnans:
        notes.append(f"{name}: {column.isna().sum()} missing values became {schema.default!r}")
        column = column.where(column.notna(), schema.default)
    broken = []
    missing = column.isna().to_numpy()
    if not schema.nullable and missing.any() and missing_rule is None:
        broken.append(Broken(name, "is missing", positions[missing]))
    coerced = _typed(column, schema)
    if coerced.bad.any():
        values = column[coerced.bad].tolist()
        broken.append(Broken(name, f"is no {schema.dtype}", positions[coerced.bad], values))
    if len(coerced.fitting) < len(column):
        positions = positions[column.index.isin(coerced.fitting.index)]
    for check in schema.checks:
        failed = failing_cells(coerced.fitting, check, f"columns.{name}")
        if not failed.any():
            continue
        rule = f"fails {shortened(str(check.error or check.name))}"
        if check.raise_warning or check.name in only_warn:
            notes.append(f"{name}: {failed.sum()} values are kept although each {rule}")
        else:
            values = coerced.fitting[failed].tolist()
            broken.append(Broken(name, rule, positions[failed], values))
    return CheckedColumn(coerced.fitting, positions, tuple(broken), tuple(notes))


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


def _typed(column: pd.Series, schema: pa.Column) -> Coerced:
    if schema.coerce or schema.dtype is None:
        return coerce(column, schema)
    actual = pandas_engine.Engine.dtype(column.dtype)
    both_dates = kind_of(schema) == "M" and pd.api.types.is_datetime64_any_dtype(column.dtype)
    if not both_dates and not schema.dtype.check(actual):
        raise InvalidSchema(
            f"columns.{column.name}.dtype",
            f"the schema says {schema.dtype}, the column holds {column.dtype}",
            "Write coerce: true, or correct the dtype.",
        )
    return Coerced(column, np.zeros(len(column), dtype=bool))
