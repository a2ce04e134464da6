"""Check every row against the schema: it is kept, or rejected with every rule that it
breaks, never both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, Self

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
from experiment_pipeline.reporting import numbers
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
# How the rule begins that sets rows aside for `label`.
NO_LABEL_YET = "has no label yet"
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
    classes that no score covers, in words; `offsets` are those of `PreparedTable`.
    """

    raw_digest: str
    raw_types: Mapping[str, str]
    profile: str
    set_aside: tuple[str, ...]
    offsets: Mapping[str, Offsets] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ValidatedRows:
    """The validated rows as stored, and each row's place among `SETS`, one more for
    none.
    """

    rows: pd.DataFrame
    sets: Codes
    origin: Origin

    def __repr__(self) -> str:
        return f"<ValidatedRows: {len(self.rows):,} rows>"


@dataclass(frozen=True)
class ValidatedData:
    """The table in two parts.

    `validated` are the prepared rows that satisfy the schema, in its types; `rejected`
    the other rows as delivered, and `rejection_reasons`: one broken rule per line.
    `rejection_rate` is rejected rows without those set aside / all rows, in [0, 1].
    `reasons` are why rows are rejected, the most frequent first; a row counts for each.
    `notes` say what was left out, filled or tolerated. `set_aside` is the class (k,) of
    each rejected row whose only fault is that its class is too rare; `tolerated` what
    the schema counts, in the same order for any rows of the same columns. `broken` are
    the broken rules, by the positions of their rows; `unlabelled` are the rejected rows
    whose only fault is that their label is not in yet.
    """

    validated: pd.DataFrame
    rejected: pd.DataFrame
    rejection_rate: float
    reasons: Sequence[Counted]
    notes: tuple[str, ...] = ()
    set_aside: pd.Series = field(default_factory=lambda: pd.Series(dtype="str"))
    tolerated: tuple[Counted, ...] = ()
    broken: tuple[Broken, ...] = ()
    unlabelled: pd.Index = field(default_factory=lambda: pd.Index([]))

    def __repr__(self) -> str:
        return f"<ValidatedData: {self.in_words}>"

    @property
    def in_words(self) -> str:
        """`12 of 480 rows (2.5 %) are rejected`."""
        rows = len(self.validated) + len(self.rejected)
        rejected = len(self.rejected) - len(self.set_aside) - len(self.unlabelled)
        share = numbers.share(self.rejection_rate)
        return f"{rejected:,} of {numbers.counted(rows, 'row')} ({share}) are rejected"

    def some_left(self) -> Self:
        """Return itself; DataError: all rows are rejected."""
        if self.validated.empty:
            raise no_rows_left(len(self.rejected), self.reasons)
        return self

    def to_split(
        self,
        prepared: PreparedTable,
        raw_digest: str = "",
        raw_types: Mapping[str, str] = MappingProxyType({}),
        profile: str = "",
    ) -> ValidatedRows:
        """Return the validated rows of `prepared`, as later stages must know them."""
        set_aside = tuple(membership.set_aside_in_words(self.set_aside))
        origin = Origin(raw_digest, raw_types, profile, set_aside, prepared.offsets)
        places = prepared.frame.index.get_indexer(self.validated.index)
        codes = membership.codes_of(prepared.sets)
        return ValidatedRows(self.validated, codes[places], origin)


class _Verdicts:
    """The broken rules so far, and which rows break none: bool (n,)."""

    def __init__(self, rows: int) -> None:
        self.broken: list[Broken] = []
        self.intact = np.ones(rows, dtype=bool)

    def add(self, rules: Iterable[Broken]) -> None:
        for rule in rules:
            if len(rule.positions):
                self.broken.append(rule)
                self.intact[rule.positions] = False


def validate(
    raw: pd.DataFrame,
    prepared: PreparedTable,
    schema: pa.DataFrameSchema,
    spec: ExperimentSpec | None = None,
    validation: Validation | None = None,
) -> ValidatedData:
    """Separate the rows that satisfy the schema from the others; uniqueness comes last.

    `spec` is None for rows to predict on, which have a `validation` of their own. All
    rows may be rejected: see `some_left`.
    Raises InvalidSchema: schema and table contradict each other; UnusableTable: the
    table has a column `rejection_reasons`.
    """
    _refuse_reserved(raw.columns)
    index = prepared.frame.index
    schemas = column_schemas(map(str, prepared.frame.columns), schema)
    columns, broken = check_columns(prepared, schemas, spec, validation)
    verdicts = _Verdicts(len(index))
    verdicts.add(broken)
    if spec is not None and spec.sample_weight in columns:
        verdicts.add(_check_weights(columns[spec.sample_weight], spec.sample_weight))
    verdicts.add(_check_rows(index, columns, schema))
    verdicts.add(_check_unique(columns, schemas, schema, verdicts.intact))
    set_aside = pd.Series(dtype="str")
    unlabelled = index[:0]
    if spec is not None:
        not_in_yet = _check_labels(prepared, verdicts.intact, spec)
        unlabelled = index[not_in_yet.positions]
        verdicts.add([not_in_yet])
        verdicts.add(_check_duplicates(columns, verdicts.intact, spec))
        set_aside = _rows_of_rare_classes(columns, verdicts.intact, prepared, spec)
        positions = index.get_indexer(set_aside.index)
        broken_rule = "is a class with too few rows"
        verdicts.add([Broken(str(set_aside.name), broken_rule, positions, set_aside)])
    reasons = count_reasons(verdicts.broken)
    rejected = np.flatnonzero(~verdicts.intact)
    texts = spilled(rejection_reasons(verdicts.broken, rejected))
    tolerated = [count for column in columns.values() for count in column.tolerated]
    return ValidatedData(
        validated=_rows_of(columns, index, verdicts.intact),
        rejected=with_columns(some_rows(raw, rejected), {REASONS: texts}),
        rejection_rate=(len(rejected) - len(set_aside) - len(unlabelled)) / len(index),
        reasons=reasons,
        notes=(
            *prepared.notes,
            *(count.text for count in tolerated if count.cells),
            *membership.set_aside_in_words(set_aside),
            *_unlabelled_in_words(len(unlabelled), spec),
        ),
        set_aside=set_aside,
        tolerated=tuple(tolerated),
        broken=tuple(verdicts.broken),
        unlabelled=unlabelled,
    )


def _refuse_reserved(names: pd.Index) -> None:
    if REASONS in names:
        raise UnusableTable(
            f"column {REASONS}",
            rule="this name is reserved for the reasons of rejected rows",
            fix="Rename it.",
        )


def _rows_of(
    columns: Mapping[str, CheckedColumn], index: pd.Index, rows: np.ndarray
) -> pd.DataFrame:
    """Return these rows, bool (n,), of all columns."""
    if rows.all():  # the cells are where they were
        cells = {name: column.of_rows(rows) for name, column in columns.items()}
    else:
        cells = {
            name: spilled(column.of_rows(rows)) for name, column in columns.items()
        }
    return of_columns(cells, spilled(index[rows]))


def no_rows_left(rows: int, reasons: Sequence[Counted]) -> DataError:
    """Return the error that all rows break the schema; frequent reasons come first."""
    most = "; ".join(reason.reason for reason in reasons[:3])
    return DataError(
        "the schema",
        rule=f"all {rows} rows break it; most often: {most}",
        fix="Correct schema.yaml or preparation, or the data.",
    )


def check_columns(
    prepared: PreparedTable,
    schemas: Mapping[str, pa.Column],
    spec: ExperimentSpec | None,
    validation: Validation | None,
) -> tuple[dict[str, CheckedColumn], list[Broken]]:
    """Check each column, and return them with the rules that rows break so far.

    `validation` applies to every column if there is no `spec`, whose own one applies to
    features.
    """
    columns: dict[str, CheckedColumn] = {}
    broken = [*prepared.unparsable]
    unparsable = {rule.column: rule.positions for rule in prepared.unparsable}
    for name, column in prepared.frame.items():
        lenience = validation
        if spec is not None:
            lenience = None if name in spec.not_features else spec.validation
        checked = check_column(
            column,
            schemas[str(name)],
            unparsable.get(str(name), np.empty(0, np.int64)),
            lenience,
            is_target=spec is not None and name == spec.target,
        )
        if checked.fitting is not column:
            checked = replace(checked, fitting=spilled(checked.fitting))
        columns[str(name)] = checked
        broken += checked.broken
    return columns, broken


def _check_weights(column: CheckedColumn, name: str) -> list[Broken]:
    cells = column.fitting
    if kind_of(cells) not in QUANTITIES:
        raise UnusableTable(
            f"sample_weight {name}",
            rule=f"it holds {cells.dtype}, weights are positive numbers",
            fix=f"Write preparation: types: {{{name}: number}}, or name another "
            "column.",
        )
    rows = len(cells) + len(column.left_out)
    positions = np.delete(np.arange(rows), column.left_out)
    weights = numbers_of(cells)
    wrong = ~(np.isfinite(weights) & (weights > 0))
    for rule in column.broken:
        wrong &= ~np.isin(positions, rule.positions)
    broken_rule = "is not a positive number, which sample_weight asks for"
    return [Broken(name, broken_rule, positions[wrong], cells[wrong])]


def _check_rows(
    index: pd.Index, columns: Mapping[str, CheckedColumn], schema: pa.DataFrameSchema
) -> Sequence[Broken]:
    """Apply the checks over several columns, if all are there.

    A cell of the wrong type counts as missing.
    """
    broken = []
    for check in schema.checks:
        names = columns_of(check)
        if not set(names) <= columns.keys():
            continue
        table = pd.DataFrame({name: _all_rows(columns[name], index) for name in names})
        failed = np.flatnonzero(failing_cells(table, check, "checks"))
        broken_rule = f"fails {shortened(str(check.error or check.name))}"
        broken.append(Broken(None, broken_rule, failed, table.iloc[failed]))
    return broken


def _all_rows(column: CheckedColumn, index: pd.Index) -> pd.Series:
    cells = column.fitting
    if len(cells) == len(index):
        return cells
    wider = cells.astype("Int64") if kind_of(cells) == "integer" else cells
    return wider.reindex(index)


def _check_unique(
    columns: Mapping[str, CheckedColumn],
    schemas: Mapping[str, pa.Column],
    schema: pa.DataFrameSchema,
    intact: np.ndarray,
) -> Sequence[Broken]:
    rows = np.flatnonzero(intact)
    broken = []
    for name, declared in schemas.items():
        if declared.unique:
            cells = columns[name].of_rows(intact)
            repeated = cells.duplicated(keep=KEEP[declared.report_duplicates])
            twice = (repeated & cells.notna()).to_numpy()
            broken.append(Broken(name, "is not unique", rows[twice], cells[twice]))
    if schema.unique and set(schema.unique) <= columns.keys():
        table = pd.DataFrame(
            {name: columns[name].of_rows(intact) for name in schema.unique}
        )
        repeated = table.duplicated(keep=KEEP[schema.report_duplicates])
        twice = (repeated & table.notna().any(axis="columns")).to_numpy()
        broken.append(Broken(None, "is not unique", rows[twice], table[twice]))
    return broken


def _check_duplicates(
    columns: Mapping[str, CheckedColumn], intact: np.ndarray, spec: ExperimentSpec
) -> list[Broken]:
    if spec.validation.duplicate_rows != "reject":
        return []
    sums = np.zeros(int(intact.sum()), dtype=np.uint64)
    for name, column in columns.items():
        sums += column_part(column.of_rows(intact), name, "duplicates")
    twice = pd.Series(sums, copy=False).duplicated().to_numpy()
    return [Broken(None, "repeats an earlier row", np.flatnonzero(intact)[twice])]


def _check_labels(
    prepared: PreparedTable, intact: np.ndarray, spec: ExperimentSpec
) -> Broken:
    """Return the intact rows whose label is not in yet."""
    if prepared.labelled is None or spec.label is None:
        return Broken(spec.target, NO_LABEL_YET, np.empty(0, np.int64))
    positions = np.flatnonzero(~prepared.labelled & intact)
    since = prepared.frame[spec.label_since].iloc[positions]
    rule = f"{NO_LABEL_YET}, which takes {spec.label.within}"
    return Broken(spec.label_since, rule, positions, since)


def _unlabelled_in_words(rows: int, spec: ExperimentSpec | None) -> list[str]:
    """Return a sentence on the rows whose label is not in yet, if there are any."""
    if spec is None or spec.label is None or not rows:
        return []
    have = "has" if rows == 1 else "have"
    sentence = (
        f"{numbers.counted(rows, 'row')} {have} no label yet, and {have} been set "
        f"aside: {spec.target} is known {spec.label.within} after {spec.label_since}"
    )
    return [sentence]


def _rows_of_rare_classes(
    columns: Mapping[str, CheckedColumn],
    intact: np.ndarray,
    prepared: PreparedTable,
    spec: ExperimentSpec,
) -> pd.Series:
    """Return the classes of intact rows whose class is too rare, indexed by row."""
    nothing = pd.Series(dtype="str")
    if spec.task == "regression" or spec.validation.rare_classes == "stop":
        return nothing
    if prepared.sets.empty or spec.target not in columns:
        return nothing
    target = columns[spec.target].of_rows(intact).set_axis(prepared.frame.index[intact])
    if not membership.may_have_rare_classes(target):
        return nothing
    return target[target.isin(membership.rare_classes_in(target, prepared.sets))]
