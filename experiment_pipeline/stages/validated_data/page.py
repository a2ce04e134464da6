"""The validated and the rejected rows as outcomes, and the checks of both."""

from dataclasses import replace

import numpy as np
import pandas as pd

from experiment_pipeline.intake.validation import ValidatedData
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.outcome import (
    Check,
    ColumnTypes,
    Fact,
    Notes,
    Outcome,
    Rows,
)
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.spec import Drift, ExperimentSpec, Validation
from experiment_pipeline.stages.data_analysis.pictures import grouped
from experiment_pipeline.stages.validated_data.changes import DataChanges
from experiment_pipeline.table.kinds import kind_of
from experiment_pipeline.table.membership import set_aside_in_words
from experiment_pipeline.table.preparation import PreparedTable
from experiment_pipeline.table.samples import differences

# Of the reasons to reject rows, the most frequent ones.
_RECORDED_REASONS = 10
LISTED_VALUES = 20
CHECK = "data_resembles_the_accepted"
FIRST = "no accepted version yet: the first export makes one"
_BIAS = [
    "column",
    "value",
    "rows",
    "rejected",
    "rejected_fraction",
    "effect_size",
    "alarming",
]
_ALIKE = (
    "nothing has changed since the accepted version by more than validation.drift "
    "allows"
)
_RAISE = (
    "if the data is right, raise validation.drift.block for one run: once its model is "
    "exported, its data is the accepted version"
)
_WAY_ON = (
    "\n  fix: Correct these rows or their rule in schema.yaml, or raise the limit."
)


def within_limit(
    data: ValidatedData, previous_rate: float | None, spec: ExperimentSpec
) -> Check:
    """Return the check of the share of rejected rows, and of its rise since the run
    before.
    """
    most = spec.validation.max_rejected_fraction
    check = Check.of(
        "rejection_rate_within_limit",
        check_rejection_rate(data, spec.validation, previous_rate),
        holds=f"{data.in_words}, at most {numbers.share(most)} is allowed",
    )
    return replace(check, value=data.rejection_rate, limit=most)


def validated(
    raw: pd.DataFrame,
    prepared: PreparedTable,
    data: ValidatedData,
    changes: DataChanges | None,
    within: Check,
    limits: Drift,
) -> Outcome:
    """The rows that satisfy the schema; a change ends the run only past the YAML's
    limit.
    """
    shown: dict[str, Fact] = {"changes": FIRST}
    resembles = Check(CHECK, passed=True, means=FIRST)
    if changes is not None:
        shown = {"changes": Notes(changes.schema), "drift": Rows(changes.drift)}
        resembles = _resembles(changes, limits)
    conserved = Check.of(
        "rows_conserved",
        check_conserved(raw, data),
        holds=f"{numbers.counted(len(raw), 'delivered row')}: "
        f"{len(data.validated):,} validated and {len(data.rejected):,} rejected, as "
        "delivered",
    )
    return Outcome(
        facts={
            "dagster/row_count": len(data.validated),
            "rejected": data.in_words,
            "set_aside": Notes(set_aside_in_words(data.set_aside)),
            "preparation": Rows(prepared.changes),
            "notes": Notes(data.notes),
            **shown,
            "dagster/column_schema": ColumnTypes(data.validated.iloc[:1]),
            "rejection_rate": data.rejection_rate,
        },
        checks=[conserved, within, resembles],
    )


def _resembles(changes: DataChanges, limits: Drift) -> Check:
    if stopping := changes.blocking(limits):
        return Check.of(CHECK, [*stopping, _RAISE], holds=_ALIKE)
    return Check.of(CHECK, changes.problems(limits), "warning", holds=_ALIKE)


def rejected(
    prepared: pd.DataFrame, data: ValidatedData, spec: ExperimentSpec
) -> Outcome:
    """Return the rejected rows, with a warning when they differ from the others."""
    bias = rejection_bias(prepared, data, spec)
    problems = [
        f"rejecting removes {row.rejected_fraction:.0%} of the rows with {row.column} "
        f"= {row.value} ({row.rejected} of {row.rows}), and {data.rejection_rate:.1%} "
        "of all rows: models and scores may not hold for such rows"
        for row in bias[bias["alarming"]].itertuples()
    ]
    reasons = pd.DataFrame(
        [(reason.rule, reason.cells, reason.most_often) for reason in data.reasons],
        columns=["reason", "rows", "most often"],
    )
    recorded = {
        reason.rule: reason.cells for reason in data.reasons[:_RECORDED_REASONS]
    }
    return Outcome(
        value=data.rejected,
        notes=data.notes,
        facts={
            "dagster/row_count": len(data.rejected),
            "reasons": Rows(reasons),
            "whom_rejecting_hits": Rows(bias),
        },
        record=[RunFacts(rejected_rows=len(data.rejected), rejection_reasons=recorded)],
        checks=[
            Check.of(
                "rejected_rows_resemble_the_others",
                problems,
                "warning",
                holds="no group of rows is rejected more often than chance explains",
            )
        ],
    )


def check_conserved(raw: pd.DataFrame, data: ValidatedData) -> list[str]:
    """Check that raw == validated + rejected, each row once, as delivered."""
    places = raw.index.get_indexer(data.validated.index.append(data.rejected.index))
    times = np.bincount(places[places >= 0], minlength=len(raw))
    counts = {
        "in both parts, or twice in one": int((times > 1).sum()),
        "in neither part": int((times == 0).sum()),
        "in no raw table": int((places < 0).sum()),
    }
    problems = [
        f"{numbers.counted(rows, 'row')} {where}"
        for where, rows in counts.items()
        if rows
    ]
    if problems:
        return problems
    rows = raw.index.get_indexer(data.rejected.index)
    for name, column in raw.items():
        if not data.rejected[name].equals(column.iloc[rows]):
            return ["rejected rows differ from what was delivered"]
    return []


def check_rejection_rate(
    data: ValidatedData, validation: Validation, previous_rate: float | None = None
) -> list[str]:
    """Check that the rejection rate keeps its limits."""
    rate = data.rejection_rate
    excesses = []
    limit = validation.max_rejected_fraction
    if rate > limit:
        excesses.append(f"max_rejected_fraction is {limit:.2%}")
    rise = validation.max_rejected_increase
    if rise is not None and previous_rate is not None and rate - previous_rate > rise:
        excesses.append(
            f"{previous_rate:.2%} before; max_rejected_increase is {rise:.2%}"
        )
    most = "; ".join(reason.reason for reason in data.reasons[:3])
    return [
        f"{rate:.2%} of the rows are rejected, {excess}; most often: {most}{_WAY_ON}"
        for excess in excesses
    ]


def rejection_bias(
    prepared: pd.DataFrame, data: ValidatedData, spec: ExperimentSpec
) -> pd.DataFrame:
    """Compare rejected rows with the others by target and split column.

    A row per column, with the value (or quarter) that loses most rows.
    """
    # What is set aside is reported elsewhere: it is not the schema's bias.
    set_aside = data.set_aside.index.append(data.unlabelled)
    judged = np.flatnonzero(~prepared.index.isin(set_aside))
    rejected = prepared.index[judged].isin(data.rejected.index)
    names = [spec.target, *([] if spec.split.by == "random" else [spec.split.column])]
    rows = []
    for name in names:
        if name not in prepared.columns or kind_of(prepared[name]) == "nested":
            continue
        column = prepared[name].iloc[judged]
        # Rows without a target are rejected for that reason, which is not a bias.
        present = column.notna().to_numpy()
        [apart] = differences(column[~rejected & present], column[rejected & present])
        cells = pd.DataFrame(
            {"value": grouped(column, LISTED_VALUES), "rejected": rejected}
        )
        losses = cells.groupby("value", observed=True)["rejected"]
        counts = losses.agg(["size", "sum", "mean"])
        if counts.empty:
            continue
        worst = counts.sort_values(["mean", "size"], ascending=False).iloc[0]
        row = {
            "column": name,
            "value": str(worst.name),
            "rows": int(worst["size"]),
            "rejected": int(worst["sum"]),
            "rejected_fraction": float(worst["mean"]),
            "effect_size": apart.effect_size,
            "alarming": apart.alarming,
        }
        rows.append(row)
    return pd.DataFrame(rows, columns=_BIAS)
