"""Check every row against the schema: it is kept, or rejected with every rule that it
breaks, never both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd
import pandera.pandas as pa

from experiment_pipeline.errors import DataError, UnusableTable
from experiment_pipeline.intake.column_checks import (
    CheckedColumn,
    Counted,
    check_column,
    count_reasons,
    failing_cells,
    rejection_reasons,
)
from experiment_pipeline.spec import ExperimentSpec, Validation
from experiment_pipeline.storage.tables import Codes
from experiment_pipeline.table import membership
from experiment_pipeline.table.digests import column_part
from experiment_pipeline.table.kinds import QUANTITIES, kind_of, numbers_of
from experiment_pipeline.table.preparation import (
    Broken,
    Offsets,
    PreparedTable,
    shortened,
)
from experiment_pipeline.table.schema import column_schemas, columns_of
from experiment_pipeline.table.table import (
    of_columns,
    some_rows,
    spilled,
    with_columns,
)

REASONS = "rejection_reasons"
KEEP: dict[str, Literal["first", "last", False]] = {
    "all": False,
    "exclude_first": "first",
    "exclude_last": "last",
}


@dataclass(frozen=True)
class Origin:
    """Where rows come from, as later stages must know it.

    `raw_digest` and `raw_types` (column → dtype) are of the table as delivered,
    `profile` is the digest of the validated rows' profile, `set_aside` names the
    classes that no score covers, in words.
    """

    raw_digest: str
    raw_types: Mapping[str, str]
    profile: str
    set_aside: tuple[str, ...]
    offsets: Mapping[str, Offsets] = field(
        default_factory=dict
    )  # as of `PreparedTable`


@dataclass(frozen=True, eq=False)
class ValidatedRows:
    """The validated rows as they are stored, and each row's place among `SETS`, one
    more for none.
    """

    rows: pd.DataFrame
    sets: Codes
    origin: Origin


@dataclass(frozen=True)
class ValidatedData:
    """The table in two parts."""

    validated: pd.DataFrame  # prepared rows that satisfy the schema, in its types
    # the other rows as delivered, and `rejection_reasons`: one broken rule per line
    rejected: pd.DataFrame
    rejection_rate: float  # rejected rows without those set aside / all rows, in [0, 1]
    # why rows are rejected, the most frequent first. A row counts for each reason.
    reasons: Sequence[Counted]
    notes: tuple[
        str, ...
    ] = ()  # what was left out, filled or tolerated, for people to read
    # class (k,) of each rejected row whose only fault is that its class is too rare
    set_aside: pd.Series = field(default_factory=lambda: pd.Series(dtype="str"))
    # what the schema counts, in the same order for any rows of the same columns
    tolerated: tuple[Counted, ...] = ()

    def to_split(
        self,
        prepared: PreparedTable,
        raw_digest: str = "",
        raw_types: Mapping[str, str] = MappingProxyType({}),
        profile: str = "",
    ) -> ValidatedRows:
        """Return the validated rows of `prepared` with what later stages must know of
        them.
        """
        set_aside = tuple(membership.set_aside_in_words(self.set_aside))
        origin = Origin(raw_digest, raw_types, profile, set_aside, prepared.offsets)
        places = prepared.frame.index.get_indexer(self.validated.index)
        return ValidatedRows(
            self.validated, membership.codes_of(prepared.sets)[places], origin
        )


def validate(
    raw: pd.DataFrame,
    prepared: PreparedTable,
    schema: pa.DataFrameSchema,
    spec: ExperimentSpec | None = None,
    validation: Validation | None = None,
) -> ValidatedData:
    """Separate the rows that satisfy the schema from those that do not; uniqueness is
    checked last.

    `spec` is None for rows to predict on, which have a `validation` of their own.
    Raises InvalidSchema: schema and table contradict each other; DataError: no row is
    left;
    UnusableTable: the table has a column `rejection_reasons`.
    """
    index = prepared.frame.index
    if REASONS in raw.columns:
        rule, fix = (
            "this name is reserved for the reasons of rejected rows",
            "Rename it.",
        )
        raise UnusableTable(f"column {REASONS}", rule, fix)
    columns, broken, rare = _checked(prepared, schema, spec, validation)
    intact, reasons = _intact(broken, len(index)), count_reasons(broken)
    if validation is None and not intact.any():
        raise no_rows_left(len(intact), reasons)
    rejected = np.flatnonzero(~intact)
    kept = {name: column.of_rows(intact) for name, column in columns.items()}
    if len(rejected):
        kept = {name: spilled(cells) for name, cells in kept.items()}
    tolerated = tuple(one for column in columns.values() for one in column.tolerated)
    return ValidatedData(
        validated=of_columns(kept, spilled(index[intact])),
        rejected=with_columns(
            some_rows(raw, rejected),
            {REASONS: spilled(rejection_reasons(broken, rejected))},
        ),
        rejection_rate=float(len(rejected) - len(rare)) / len(index),
        reasons=reasons,
        notes=(
            *prepared.notes,
            *(one.text for one in tolerated if one.cells),
            *membership.set_aside_in_words(rare),
        ),
        set_aside=rare,
        tolerated=tolerated,
    )


def _checked(
    prepared: PreparedTable,
    schema: pa.DataFrameSchema,
    spec: ExperimentSpec | None,
    validation: Validation | None,
) -> tuple[dict[str, CheckedColumn], list[Broken], pd.Series]:
    """Return the checked columns, every broken rule, and the class of rows of rare
    classes.
    """
    index = prepared.frame.index
    schemas = column_schemas(map(str, prepared.frame.columns), schema)
    columns, broken = check_columns(prepared, schemas, spec, validation)
    if spec is not None and spec.sample_weight in columns:
        broken += _check_weights(columns[spec.sample_weight], spec.sample_weight)
    broken += _check_rows(index, columns, schema)
    broken += _check_unique(columns, schemas, schema, _intact(broken, len(index)))
    rare = pd.Series(dtype="str")
    if spec is not None:
        broken += _check_duplicates(columns, _intact(broken, len(index)), spec)
        rare = _rows_of_rare_classes(
            columns, _intact(broken, len(index)), prepared, spec
        )
        at, rule = index.get_indexer(rare.index), "is a class with too few rows"
        broken.append(Broken(str(rare.name), rule, at, rare))
    return columns, [one for one in broken if len(one.positions)], rare


def no_rows_left(rows: int, reasons: Sequence[Counted]) -> DataError:
    """Return the error that all rows break the schema; the most frequent reasons are
    first.
    """
    return DataError(
        "the schema",
        f"all {rows} rows break it; most often: {'; '.join(one.reason for one in reasons[:3])}",
        "Correct schema.yaml or preparation, or the data.",
    )


def _rows_of_rare_classes(
    columns: Mapping[str, CheckedColumn],
    intact: np.ndarray,
    prepared: PreparedTable,
    spec: ExperimentSpec,
) -> pd.Series:
    """Classes of the intact rows whose class is too rare, indexed by row."""
    none, sets = pd.Series(dtype="str"), prepared.sets
    if sets.empty or spec.task == "regression" or spec.target not in columns:
        return none
    target = columns[spec.target].of_rows(intact).set_axis(prepared.frame.index[intact])
    if spec.validation.rare_classes == "stop" or not membership.may_have_rare_classes(
        target
    ):
        return none
    return target[target.isin(membership.rare_classes_in(target, sets))]


def _check_duplicates(
    columns: Mapping[str, CheckedColumn], intact: np.ndarray, spec: ExperimentSpec
) -> list[Broken]:
    if spec.validation.duplicate_rows != "reject":
        return []
    sums = np.zeros(int(intact.sum()), dtype=np.uint64)
    for name, column in columns.items():
        sums += column_part(column.of_rows(intact), name, "duplicates")
    twice = np.flatnonzero(intact)[pd.Series(sums, copy=False).duplicated().to_numpy()]
    return [Broken(None, "repeats an earlier row", twice)]


def check_columns(
    prepared: PreparedTable,
    schemas: Mapping[str, pa.Column],
    spec: ExperimentSpec | None,
    validation: Validation | None,
) -> tuple[dict[str, CheckedColumn], list[Broken]]:
    """Check each column, and return them with the rules that rows break so far."""
    columns, broken = dict[str, CheckedColumn](), [*prepared.unparsable]
    unparsable = {one.column: one.positions for one in prepared.unparsable}
    for name in map(str, prepared.frame.columns):
        column, missing_target, lenience = prepared.frame[name], None, validation
        positions = unparsable.get(name, np.empty(0, np.int64))
        if spec is not None:
            lenience = None if name in spec.not_features else spec.validation
        if spec is not None and name == spec.target:
            missing = np.setdiff1d(np.flatnonzero(column.isna()), positions)
            if len(missing):
                missing_target = Broken(None, "target is missing", missing)
                broken.append(missing_target)
        checked = check_column(
            column, schemas[name], positions, lenience, missing_target
        )
        if checked.fitting is not column:
            checked = replace(checked, fitting=spilled(checked.fitting))
        columns[name] = checked
        broken += checked.broken
    return columns, broken


def _check_weights(column: CheckedColumn, name: str) -> list[Broken]:
    cells = column.fitting
    if kind_of(cells) not in QUANTITIES:
        rule = f"it holds {cells.dtype}, weights are positive numbers"
        fix = f"Write preparation: types: {{{name}: number}}, or name another column."
        raise UnusableTable(f"sample_weight {name}", rule, fix)
    positions = np.delete(np.arange(len(cells) + len(column.left_out)), column.left_out)
    known = np.concatenate(
        [np.empty(0, int), *(rule.positions for rule in column.broken)]
    )
    weights = numbers_of(cells)
    odd = ~(np.isfinite(weights) & (weights > 0)) & ~np.isin(positions, known)
    rule = "is not a positive number, which sample_weight asks for"
    return [Broken(name, rule, positions[odd], cells[odd])]


def _check_rows(
    index: pd.Index, columns: Mapping[str, CheckedColumn], schema: pa.DataFrameSchema
) -> Sequence[Broken]:
    """Apply the checks over several columns, if all are there; a cell of the wrong type
    counts as missing.
    """
    broken = []
    for check in schema.checks:
        names = columns_of(check)
        if not set(names) <= columns.keys():
            continue
        whole = {}
        for name in names:
            cells = columns[name].fitting
            if len(cells) < len(index):
                wider = cells.astype("Int64") if kind_of(cells) == "integer" else cells
                cells = wider.reindex(index)
            whole[name] = cells
        table = pd.DataFrame(whole)
        failed = np.flatnonzero(failing_cells(table, check, "checks"))
        rule = f"fails {shortened(str(check.error or check.name))}"
        broken.append(Broken(None, rule, failed, table.iloc[failed]))
    return broken


def _check_unique(
    columns: Mapping[str, CheckedColumn],
    schemas: Mapping[str, pa.Column],
    schema: pa.DataFrameSchema,
    intact: np.ndarray,
) -> Sequence[Broken]:
    rows, broken = np.flatnonzero(intact), []
    for name, rule in schemas.items():
        if rule.unique:
            cells = columns[name].of_rows(intact)
            twice = (
                cells.duplicated(keep=KEEP[rule.report_duplicates]) & cells.notna()
            ).to_numpy()
            broken.append(Broken(name, "is not unique", rows[twice], cells[twice]))
    if schema.unique and set(schema.unique) <= columns.keys():
        table = pd.DataFrame(
            {name: columns[name].of_rows(intact) for name in schema.unique}
        )
        repeated = table.duplicated(keep=KEEP[schema.report_duplicates])
        twice = (repeated & table.notna().any(axis="columns")).to_numpy()
        broken.append(Broken(None, "is not unique", rows[twice], table[twice]))
    return broken


def _intact(broken: Sequence[Broken], rows: int) -> np.ndarray:
    intact = np.ones(rows, dtype=bool)
    for rule in broken:
        intact[rule.positions] = False
    return intact
