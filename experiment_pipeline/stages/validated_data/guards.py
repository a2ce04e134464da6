"""Checks of validated and rejected rows: problems in words, an empty list where there are none.

In: the two parts of a table. Out: problems, and which rows rejecting hits more than others.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, Validation
from experiment_pipeline.stages.validated_data.rows import ValidatedData
from experiment_pipeline.table.kinds import QUANTITIES, kind_of
from experiment_pipeline.table.samples import differences

LISTED_VALUES = 20
_WAY_ON = "\n  fix: Correct these rows or their rule in schema.yaml, or raise the limit."


def check_conserved(raw: pd.DataFrame, data: ValidatedData) -> list[str]:
    """Tell whether raw == validated + rejected, each row once, rejected ones as delivered."""
    problems = []
    both = data.validated.index.append(data.rejected.index)
    places = raw.index.get_indexer(both)
    times = np.bincount(places[places >= 0], minlength=len(raw))
    if twice := int((times > 1).sum()):
        problems.append(f"{numbers.counted(twice, 'row')} in both parts, or twice in one")
    if lost := int((times == 0).sum()):
        problems.append(f"{lost:,} of {numbers.counted(len(raw), 'raw row')} in neither part")
    if invented := int((places < 0).sum()):
        problems.append(f"{numbers.counted(invented, 'row')} in no raw table")
    if not problems:
        rejected = raw.index.get_indexer(data.rejected.index)
        if not all(data.rejected[name].equals(raw[name].iloc[rejected]) for name in raw.columns):
            problems.append("rejected rows differ from what was delivered")
    return problems


def check_rejection_rate(
    data: ValidatedData, validation: Validation, previous_rate: float | None = None
) -> list[str]:
    """Tell whether the rejection rate keeps its limits."""
    rate, problems = data.rejection_rate, []
    reasons = data.reasons.set_index("reason")["rows"].head(3)
    most = ", ".join(
        f"{why} ({numbers.counted(int(rows), 'row')})" for why, rows in reasons.items()
    )
    if rate > validation.max_rejected_fraction:
        problems.append(
            f"{rate:.2%} of the rows are rejected, "
            f"max_rejected_fraction is {validation.max_rejected_fraction:.2%}; most often: {most}"
            f"{_WAY_ON}"
        )
    limit = validation.max_rejected_increase
    if limit is not None and previous_rate is not None and rate - previous_rate > limit:
        problems.append(
            f"{rate:.2%} of the rows are rejected, {previous_rate:.2%} before; "
            f"max_rejected_increase is {limit:.2%}; most often: {most}{_WAY_ON}"
        )
    return problems


def rejection_bias(
    prepared: pd.DataFrame, data: ValidatedData, columns: Sequence[str]
) -> pd.DataFrame:
    """Tell whether rejected rows differ from the kept ones, such as in the target.

    Args:
        prepared: all rows as prepared, index `row_number`.
        data: the two parts.
        columns: target and key columns; numbers with many values are cut into quarters.

    Returns:
        A row per column: `column`, `value` (the value, or quarter, that loses the largest
        share of its rows), `rows` with it, `rejected` of them, `rejected_fraction`,
        `effect_size` and `alarming` as in `distances.Difference`, kept against rejected.
    """
    # A rare class that is set aside is reported elsewhere: it is not the schema's bias.
    counted = np.flatnonzero(~prepared.index.isin(data.set_aside.index))
    rejected = prepared.index[counted].isin(data.rejected.index)
    found = []
    for name in columns:
        column = prepared[name].iloc[counted]
        # A row without a target is rejected for just that, which is not a bias.
        present = column.notna().to_numpy()
        (apart,) = differences(column[~rejected & present], column[rejected & present])
        losses = pd.DataFrame({"value": _grouped(column), "rejected": rejected})
        losses = losses.groupby("value", observed=True)["rejected"].agg(["size", "sum", "mean"])
        if losses.empty:
            continue
        worst = losses.sort_values(["mean", "size"], ascending=False).iloc[0]
        counts = (str(worst.name), int(worst["size"]), int(worst["sum"]), float(worst["mean"]))
        found.append((name, *counts, apart.effect_size, apart.alarming))
    names = ["column", "value", "rows", "rejected", "rejected_fraction"]
    return pd.DataFrame(found, columns=[*names, "effect_size", "alarming"])


def key_columns(prepared: pd.DataFrame, spec: ExperimentSpec) -> list[str]:
    """Return the columns in which rejecting must not choose: target, and group or time."""
    names = [spec.target, *([] if spec.split.by == "random" else [spec.split.column])]
    return [
        name for name in names if name in prepared.columns and kind_of(prepared[name]) != "nested"
    ]


def check_rejection_bias(bias: pd.DataFrame, rejection_rate: float) -> list[str]:
    """Return in words which rows rejecting hits more than others, from `rejection_bias`."""
    return [
        f"rejecting removes {row.rejected_fraction:.0%} of the rows with {row.column} = "
        f"{row.value} ({row.rejected} of {row.rows}), and {rejection_rate:.1%} of all rows: "
        "what is learnt and measured without them may not hold for them"
        for row in bias[bias["alarming"]].itertuples()
    ]


def _grouped(column: pd.Series) -> pd.Series:
    kind = kind_of(column)
    if kind == "datetime":
        return pd.qcut(column, 4, duplicates="drop")
    if kind in QUANTITIES:
        if column.nunique() <= LISTED_VALUES:
            return column
        return pd.qcut(
            column.astype("float64").replace([np.inf, -np.inf], np.nan), 4, duplicates="drop"
        )
    frequent = column.value_counts().index[:LISTED_VALUES]
    return column.where(column.isin(frequent))
