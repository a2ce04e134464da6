"""The validated and the rejected rows as outcomes.

In: the two parts of a table, and how they differ from the accepted version. Out: outcomes.
"""

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.outcome import Check, ColumnTypes, Notes, Outcome, Rows
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.validated_data import guards
from experiment_pipeline.stages.validated_data.accepted import Changed
from experiment_pipeline.stages.validated_data.rows import ValidatedData
from experiment_pipeline.table.membership import set_aside_in_words
from experiment_pipeline.table.preparation import PreparedTable

# Of the reasons to reject rows, the most frequent ones.
_RECORDED_REASONS = 10


def within_limit(data: ValidatedData, changed: Changed, spec: ExperimentSpec) -> Check:
    """Return the check of the share of rejected rows."""
    most = spec.validation.max_rejected_fraction
    return Check.of(
        "rejection_rate_within_limit",
        guards.check_rejection_rate(data, spec.validation, changed.previous_rate),
        holds=f"{_rejected_in_words(data)}, at most {numbers.share(most)} is allowed",
        value=data.rejection_rate,
        limit=most,
    )


def validated(
    raw: pd.DataFrame, prepared: PreparedTable, data: ValidatedData, changed: Changed, within: Check
) -> Outcome:
    """The rows that satisfy the schema."""
    return Outcome(
        facts={
            "dagster/row_count": len(data.validated),
            "rejected": _rejected_in_words(data),
            "set_aside": Notes(set_aside_in_words(data.set_aside)),
            "preparation": Rows(prepared.changes),
            "notes": Notes(data.notes),
            **changed.facts(),
            "dagster/column_schema": ColumnTypes(data.validated.iloc[:1]),
            "rejection_rate": data.rejection_rate,
        },
        checks=[
            Check.of(
                "rows_conserved",
                guards.check_conserved(raw, data),
                holds=(
                    f"{numbers.counted(len(raw), 'delivered row')}: {len(data.validated):,} "
                    f"validated and {len(data.rejected):,} rejected, as delivered"
                ),
            ),
            within,
            changed.check(),
        ],
    )


def _rejected_in_words(data: ValidatedData) -> str:
    rows, broken = (
        len(data.validated) + len(data.rejected),
        len(data.rejected) - len(data.set_aside),
    )
    share = numbers.share(data.rejection_rate)
    return f"{broken:,} of {numbers.counted(rows, 'row')} ({share}) are rejected"


def rejected(prepared: pd.DataFrame, data: ValidatedData, spec: ExperimentSpec) -> Outcome:
    """Return the rejected rows, with a warning when they differ from the others."""
    bias = guards.rejection_bias(prepared, data, guards.key_columns(prepared, spec))
    resemble = Check.of(
        "rejected_rows_resemble_the_others",
        guards.check_rejection_bias(bias, data.rejection_rate),
        "warning",
        holds="no group of rows is rejected more often than chance explains",
    )
    return Outcome(
        value=data.rejected,
        notes=data.notes,
        facts={
            "dagster/row_count": len(data.rejected),
            "reasons": Rows(data.reasons),
            "whom_rejecting_hits": Rows(bias),
        },
        record=[
            RunFacts(
                rejected_rows=len(data.rejected),
                rejection_reasons={
                    str(reason): int(rows)
                    for reason, rows in data.reasons.head(_RECORDED_REASONS)
                    .set_index("reason")["rows"]
                    .items()
                },
            )
        ],
        checks=[resemble],
    )
