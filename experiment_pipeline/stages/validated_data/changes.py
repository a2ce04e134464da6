"""What changed since the accepted version of the data: the one the last exported model is from.

In: two profiles, and the rows that the newer one is of. Out: `DataChanges`, with schema changes
and drift per column as an effect size. A p-value decides nothing: with a million rows any
difference has a small one.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.spec import Drift, ExperimentSpec
from experiment_pipeline.spec.names import listed
from experiment_pipeline.stages.validated_data.profile import ColumnProfile, DataProfile, kind_of
from experiment_pipeline.statistics.distances import STATISTIC, difference

TARGET, FEATURE, NOT_USED = "target", "feature", "not used"


@dataclass(frozen=True)
class DataChanges:
    """The current version against the accepted one.

    Attributes:
        schema: changes of columns and types, in words.
        drift: a row per column of both, largest effects first: `column`, `role` (target, feature
            or not used), `statistic`, `effect_size` (see `distances.Difference`), `noise`,
            `real` (more than noise), `accepted` and `current` (the column in a line).
        totals: columns `what`, `accepted`, `current`: rows and rejection rate.
    """

    schema: tuple[str, ...]
    drift: pd.DataFrame
    totals: pd.DataFrame

    def drifted(self, least: float) -> list[str]:
        """Return the target and features that drifted by this effect size or more, in words.

        What no model sees may drift: ids and dates of newer rows always do.
        """
        table = self.drift
        found = table[(table["effect_size"] >= least) & table["real"] & (table["role"] != NOT_USED)]
        return [
            f"{row.column} ({row.role}) drifted: {STATISTIC} {row.effect_size:.2f}, limit "
            f"{least:g}; accepted: {row.accepted}; now: {row.current}"
            for row in found.itertuples()
        ]

    def blocking(self, limits: Drift) -> list[str]:
        """Return what must end the run, in words; nothing where the YAML gives no limit."""
        return [] if limits.block is None else self.drifted(limits.block)

    def problems(self, limits: Drift) -> list[str]:
        """Return everything worth a warning, in words."""
        return [*self.schema, *self.drifted(limits.warn)]


def compare(
    accepted: DataProfile, current: DataProfile, validated: pd.DataFrame, spec: ExperimentSpec
) -> DataChanges:
    """Compare a version of the data with the accepted one.

    Args:
        accepted: profile of the accepted version.
        current: profile of this one.
        validated: the rows of this one, counted over the bins of the accepted one: two profiles
            have different bins.
        spec: says what target and features are.
    """
    drift = pd.DataFrame(
        [
            (name, _role(name, validated[name], spec), STATISTIC, *apart, before.text, now.text)
            for name, before in accepted.columns.items()
            if (now := current.columns.get(name)) is not None
            and (apart := _apart(before, validated[name])) is not None
        ],
        columns=_DRIFT,
    ).sort_values(["real", "effect_size"], ascending=False, kind="stable", ignore_index=True)
    return DataChanges(_schema_changes(accepted, current), drift, _totals(accepted, current))


_DRIFT = ["column", "role", "statistic", "effect_size", "noise", "real", "accepted", "current"]


def _apart(before: ColumnProfile, column: pd.Series) -> tuple[float, float, bool] | None:
    """Effect size, noise, and whether it is more; None where the types allow no comparison."""
    kind = kind_of(column)
    if "nested" in (kind, before.kind) or before.kind not in ("category", kind):
        return None
    found = difference(np.array(before.counts), before.bins.counts(column))
    return found.effect_size, found.noise, found.effect_size > found.noise


def _role(name: str, column: pd.Series, spec: ExperimentSpec) -> str:
    if name == spec.target:
        return TARGET
    unused = name in spec.not_features or kind_of(column) in ("instant", "nested")
    return NOT_USED if unused else FEATURE


def _schema_changes(accepted: DataProfile, current: DataProfile) -> tuple[str, ...]:
    before, now = accepted.columns, current.columns
    gone = [name for name in before if name not in now]
    new = [name for name in now if name not in before]
    retyped = [name for name in now if name in before and now[name].dtype != before[name].dtype]
    return (
        *([f"columns gone since the accepted version: {listed(gone)}"] if gone else []),
        *([f"columns new since the accepted version: {listed(new)}"] if new else []),
        *(f"{name} was {before[name].dtype}, is {now[name].dtype}" for name in retyped),
    )


def _totals(accepted: DataProfile, current: DataProfile) -> pd.DataFrame:
    return pd.DataFrame(
        [
            ("validated rows", str(accepted.rows), str(current.rows)),
            ("rejected rows", f"{accepted.rejection_rate:.2%}", f"{current.rejection_rate:.2%}"),
        ],
        columns=["what", "accepted", "current"],
    )
