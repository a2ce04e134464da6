"""Every row against the schema: kept, or rejected with every rule it breaks.

In: the raw table, the prepared one, the schema. Out: `ValidatedData`, whose two parts hold
each raw row exactly once. Which columns there must be belongs to `table/schema.py`, a single column,
and the words to `columns.py`.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Generic, Literal

import numpy as np
import pandas as pd
import pandera.pandas as pa

from experiment_pipeline.errors import TooManyRejectedRows, UnusableTable
from experiment_pipeline.spec import ExperimentSpec, Validation
from experiment_pipeline.stages.validated_data.columns import (
    Broken,
    CheckedColumn,
    CheckedColumns,
    LetPass,
    check_column,
    count_reasons,
    failing_cells,
    rejection_reasons,
    shortened,
)
from experiment_pipeline.storage.tables import Codes
from experiment_pipeline.table.digests import row_hashes
from experiment_pipeline.table.kinds import QUANTITIES, kind_of
from experiment_pipeline.table.membership import (
    may_have_rare_classes,
    rare_classes_in,
    set_aside_in_words,
)
from experiment_pipeline.table.preparation import Prepared
from experiment_pipeline.table.schema import column_schemas, columns_of, fit_columns
from experiment_pipeline.table.table import AnyTable, Table, made, picked, with_cells

REASONS = "rejection_reasons"
KEEP: dict[str, Literal["first", "last", False]] = {
    "all": False,
    "exclude_first": "first",
    "exclude_last": "last",
}


@dataclass(frozen=True)
class ValidatedData(Generic[AnyTable]):
    """The table in two parts.

    Attributes:
        validated: prepared rows that satisfy the schema, in its types.
        rejected: the other rows as delivered, and `rejection_reasons`: one broken rule per
            line, with the offending value.
        rejection_rate: rejected rows but those set aside / all rows, in [0, 1].
        reasons: columns `reason`, `rows`; most frequent first. A row counts for each reason.
        notes: what was left out, filled or let pass, for people to read.
        set_aside: class (k,) of each rejected row whose only fault is that its class is too rare,
            with the rows' index.
        let_pass: those of the notes that count cells, and what was counted in vain; in the same
            order for any rows of the same columns.
    """

    validated: AnyTable
    rejected: AnyTable
    rejection_rate: float
    reasons: pd.DataFrame
    notes: tuple[str, ...] = ()
    set_aside: pd.Series = field(default_factory=lambda: pd.Series(dtype="str"))
    let_pass: tuple[LetPass, ...] = ()


@dataclass(frozen=True)
class Origin:
    """What rows were made of, as the stages after them must know it.

    Attributes:
        raw_digest: of the table as delivered.
        raw_types: dtype of every column of the table as delivered.
        profile: digest of the profile of the validated rows, which an export makes the accepted
            one: that of the rows it was made from, whatever another run has validated meanwhile.
        set_aside: of which classes no score is, in sentences.
    """

    raw_digest: str
    raw_types: Mapping[str, str]
    profile: str
    set_aside: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ValidatedRows:
    """The validated rows as they are stored.

    Attributes:
        rows: prepared rows that satisfy the schema.
        sets: the set of each row, of `SETS`; one more: of none.
        origin: what they were made of.
    """

    rows: Table
    sets: Codes
    origin: Origin


def validate(
    raw: AnyTable,
    prepared: Prepared[AnyTable],
    schema: pa.DataFrameSchema,
    spec: ExperimentSpec | None = None,
    validation: Validation | None = None,
    sets: pd.Series | None = None,
    cells: MutableMapping[str, pd.Series] | None = None,
) -> ValidatedData[AnyTable]:
    """Part the rows that satisfy the schema from those that do not.

    Uniqueness is judged last, among the rows that break no other rule: a row is not rejected
    for repeating one that is itself rejected. Missing values are never duplicates.

    Args:
        raw: the table as delivered.
        prepared: what `prepare` made of it.
        schema: from `load_schema`.
        spec: the experiment; None for rows to predict on, which need no target.
        validation: of rows to predict on, all of whose columns are features; an experiment has
            its own. Such rows come in batches, and of one batch none need be left.
        sets: the set of each prepared row, index `row_number`; None: no class is too rare for them.
        cells: where reasons go, and columns that get another type; None: they stay in memory.

    Raises:
        InvalidSchema: the schema and the table's columns contradict each other.
        TooManyRejectedRows: not one row of an experiment is left.
        UnusableTable: the table already has a column `rejection_reasons`.
    """
    _check_given(raw, prepared)
    frame, notes = fit_columns(prepared.frame, raw.columns, schema)
    schemas = column_schemas(frame, schema)
    cells = {} if cells is None else cells
    columns = CheckedColumns(frame, cells)
    broken = _check_columns(columns, prepared, schemas, spec, validation)
    notes += [one.text for one in columns.let_pass if one.cells]
    broken += _check_weights(columns, spec)
    broken += _check_rows(frame, columns, schema)
    broken += _check_unique(columns, schemas, schema, _intact(broken, len(frame)))
    if spec is not None and spec.validation.duplicate_rows == "reject":
        broken += _check_duplicates(frame, columns, _intact(broken, len(frame)))
    rare = _too_rare(columns, _intact(broken, len(frame)), frame.index, spec, sets)
    if len(rare):
        broken.append(_rare(rare, frame.index))
        notes += set_aside_in_words(rare)
    intact = _intact(broken, len(frame))
    reasons = count_reasons(broken)
    if validation is None and not intact.any():
        raise no_rows_left(len(intact), reasons["reason"])
    rejected = np.flatnonzero(~intact)
    cells[REASONS] = rejection_reasons(broken, rejected)
    return ValidatedData(
        validated=_kept(frame, columns, intact),
        rejected=with_cells(picked(raw, rejected), {REASONS: cells[REASONS]}),
        rejection_rate=float((~intact).sum() - len(rare)) / len(frame),
        reasons=reasons,
        notes=tuple(notes),
        set_aside=rare,
        let_pass=tuple(columns.let_pass),
    )


def no_rows_left(rows: int, reasons: Iterable[str]) -> TooManyRejectedRows:
    """Say that all rows break the schema; the most frequent reasons are first."""
    return TooManyRejectedRows(
        "the schema",
        f"all {rows} rows break it; most often: {'; '.join(itertools.islice(reasons, 3))}",
        "Correct schema.yaml or preparation, or the data.",
    )


def _check_given(raw: Table, prepared: Prepared) -> None:
    if not raw.index.equals(prepared.frame.index):
        raise ValueError("raw and prepared are not of the same rows")
    if REASONS in raw.columns:
        raise UnusableTable(
            f"column {REASONS}", "this name is kept for why rows were rejected", "Rename it."
        )


def _rare(rows: pd.Series, index: pd.Index) -> Broken:
    rule, positions = "is a class with too few rows", index.get_indexer(rows.index)
    return Broken(str(rows.name), rule, positions, rows)


def _too_rare(
    columns: Mapping[str, CheckedColumn],
    intact: np.ndarray,
    index: pd.Index,
    spec: ExperimentSpec | None,
    sets: pd.Series | None,
) -> pd.Series:
    """Class of each intact row whose class is too rare, with the rows' index."""
    none = pd.Series(dtype="str")
    if spec is None or sets is None or spec.task == "regression" or spec.target not in columns:
        return none
    target = _of_rows(columns[spec.target], intact).set_axis(index[intact])
    if spec.validation.rare_classes == "stop" or not may_have_rare_classes(target):
        return none
    rare: pd.Series = target[target.isin(rare_classes_in(target, sets))]
    return rare


def _check_columns(
    columns: CheckedColumns,
    prepared: Prepared,
    schemas: Mapping[str, pa.Column],
    spec: ExperimentSpec | None,
    validation: Validation | None,
) -> list[Broken]:
    unparsable, broken = _unparsable(prepared)
    for name in columns:
        column = columns.frame[name]
        target, lenience = None, validation
        if spec is not None:
            lenience = None if name in spec.not_features else spec.validation
        if spec is not None and name == spec.target:
            missing = column.isna().to_numpy(copy=True)
            missing[unparsable.get(name, _NONE)] = False
            if missing.any():
                target = Broken(None, "target is missing", np.flatnonzero(missing))
                broken.append(target)
        mask = None
        if name in unparsable:
            mask = np.zeros(len(column), dtype=bool)
            mask[unparsable[name]] = True
        checked = check_column(column, schemas[name], mask, lenience, target)
        columns.put(name, column, checked)
        broken += checked.broken
    return broken


def _check_weights(
    columns: Mapping[str, CheckedColumn], spec: ExperimentSpec | None
) -> list[Broken]:
    """A row without a weight, or with one that is no positive number, counts for nothing known."""
    name = None if spec is None else spec.sample_weight
    # That it is absent is said by who looks for all named columns.
    if name is None or name not in columns:
        return []
    cells, positions = columns[name].fitting, columns[name].positions
    if kind_of(cells) not in QUANTITIES:
        raise UnusableTable(
            f"sample_weight {name}",
            f"it holds {cells.dtype}, weights are positive numbers",
            f"Write preparation: types: {{{name}: number}}, or name another column.",
        )
    told = np.concatenate([np.empty(0, int), *(rule.positions for rule in columns[name].broken)])
    missing = cells.isna().to_numpy() & ~np.isin(positions, told)
    weights = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    odd = cells.notna().to_numpy() & ~(np.isfinite(weights) & (weights > 0))
    found = [Broken(None, f"weight {name} is missing", positions[missing])] if missing.any() else []
    if odd.any():
        rule = "is no positive number, which sample_weight asks for"
        found.append(Broken(name, rule, positions[odd], cells[odd]))
    return found


def _unparsable(prepared: Prepared) -> tuple[dict[str, np.ndarray], list[Broken]]:
    """Turn what the preparation could not read into positions and broken rules."""
    found: dict[str, np.ndarray] = {}
    broken = []
    for name, bad in prepared.unparsable.items():
        found[name] = positions = prepared.frame.index.get_indexer(bad.cells.index)
        broken.append(Broken(name, bad.rule, positions, bad.cells))
    return found, broken


def _check_rows(
    frame: Table, columns: Mapping[str, CheckedColumn], schema: pa.DataFrameSchema
) -> list[Broken]:
    """Apply the checks over several columns; a cell that does not fit counts as missing.

    A check whose column is absent, as `required: false` allows, has nothing to check.
    """
    broken = []
    for check in schema.checks:
        names = columns_of(check)
        if not set(names) <= columns.keys():
            continue
        cells = pd.DataFrame({name: _whole(columns[name], frame.index) for name in names})
        failed = np.flatnonzero(failing_cells(cells, check, "checks"))
        if len(failed):
            rule = f"fails {shortened(str(check.error or check.name))}"
            broken.append(Broken(None, rule, failed, cells.iloc[failed]))
    return broken


def _whole(column: CheckedColumn, index: pd.Index) -> pd.Series:
    if len(column.fitting) == len(index):
        return column.fitting
    integer = kind_of(column.fitting) == "integer"
    cells = column.fitting.astype("Int64") if integer else column.fitting
    return cells.reindex(index)


def _check_unique(
    columns: Mapping[str, CheckedColumn],
    schemas: Mapping[str, pa.Column],
    schema: pa.DataFrameSchema,
    intact: np.ndarray,
) -> list[Broken]:
    rows = np.flatnonzero(intact)
    broken = []
    for name, rule in schemas.items():
        if rule.unique:
            cells = _of_rows(columns[name], intact)
            twice = (cells.duplicated(keep=KEEP[rule.report_duplicates]) & cells.notna()).to_numpy()
            broken.append(Broken(name, "is not unique", rows[twice], cells[twice]))
    if schema.unique and set(schema.unique) <= columns.keys():
        table = pd.DataFrame({name: _of_rows(columns[name], intact) for name in schema.unique})
        repeated = table.duplicated(keep=KEEP[schema.report_duplicates])
        twice = (repeated & table.notna().any(axis="columns")).to_numpy()
        broken.append(Broken(None, "is not unique", rows[twice], table[twice]))
    return [rule for rule in broken if len(rule.positions)]


def _check_duplicates(frame: Table, columns: CheckedColumns, intact: np.ndarray) -> list[Broken]:
    table = _kept(frame, columns, intact)
    hashes = pd.Series(row_hashes(table, list(table.columns), "duplicates"))
    twice = np.flatnonzero(intact)[hashes.duplicated().to_numpy()]
    return [Broken(None, "repeats an earlier row", twice)] if len(twice) else []


def _of_rows(column: CheckedColumn, intact: np.ndarray) -> pd.Series:
    kept = intact[column.positions]
    cells: pd.Series = column.fitting if kept.all() else column.fitting[kept]
    return cells


def _intact(broken: list[Broken], rows: int) -> np.ndarray:
    intact = np.ones(rows, dtype=bool)
    for rule in broken:
        intact[rule.positions] = False
    return intact


def _kept(frame: AnyTable, columns: CheckedColumns, intact: np.ndarray) -> AnyTable:
    return made(frame, frame.index[intact], _OfRows(columns, intact))


_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class _OfRows(Mapping[str, pd.Series]):
    """The cells of rows that break no rule."""

    columns: CheckedColumns
    intact: np.ndarray

    def __getitem__(self, name: str) -> pd.Series:
        return _of_rows(self.columns[name], self.intact)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self.columns
