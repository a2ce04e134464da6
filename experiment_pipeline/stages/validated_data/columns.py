"""One column against its schema: missing values, type, checks.

In: a prepared column and its pandera schema. Out: the cells that fit, in the schema's type,
and the rules that rows break. pandera's own lazy validation stops at a column that cannot be
coerced, and loses missing values among its failure cases; here its checks are called one by
one on the cells that can be judged, so that every row gets every reason.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.engines import pandas_engine

from experiment_pipeline.columns.coercion import Coerced, coerce, kind_of, with_room_for_missing
from experiment_pipeline.columns.schema import NEVER_MISSING
from experiment_pipeline.errors import InvalidSchema
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Validation
from experiment_pipeline.stages.validated_data.reasons import Broken, most_frequent, shortened


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
        if _keeps_missing(schema, validation):
            kept = f"{numbers.counted(int(missing.sum()), 'missing value')} kept"
            notes.append(f"{name}: {kept}: the schema says nothing of missing ones")
            schema = with_room_for_missing(schema)
        else:
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
        rule, failing = shortened(str(check.error or check.name)), coerced.fitting[failed]
        if _only_counts(check, validation):
            kept = f"{numbers.counted(len(failing), 'value')} kept against {rule}"
            notes.append(f"{name}: {kept}: {most_frequent(failing)}")
        else:
            broken.append(Broken(name, f"fails {rule}", positions[failed], failing.tolist()))
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
    both_dates = kind_of(schema) == "M" and pd.api.types.is_datetime64_any_dtype(column.dtype)
    if not both_dates and not schema.dtype.check(actual):
        raise InvalidSchema(
            f"columns.{column.name}.dtype",
            f"the schema says {schema.dtype}, the column holds {column.dtype}",
            "Write coerce: true, or correct the dtype.",
        )
    return Coerced(column, np.zeros(len(column), dtype=bool))
