"""A table in a few kilobytes, so that a later version can be compared with it; and the comparison.

In: validated rows. Out: `DataProfile`, which JSON holds, and `DataChanges` since the accepted
version: schema changes, and drift per column as an effect size. A p-value decides nothing: with a
million rows any difference has a small one. Names of rare values are not kept: they say little, and
in a column of ids they would say who was in the table. Storing belongs to `accepted.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import listed
from experiment_pipeline.spec import Drift, ExperimentSpec
from experiment_pipeline.statistics.distances import STATISTIC, difference
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.kinds import QUANTITIES, kind_of, microseconds, numbers_of
from experiment_pipeline.table.samples import BINS, Bins, has_many_values, most_frequent

# A value has a bin of its own when it stands in this share of the rows, and more than once.
LEAST_SHARE = 0.01
SHOWN_CATEGORIES = 3
DECILES = np.linspace(0, 1, BINS + 1)


@dataclass(frozen=True)
class ColumnProfile:
    """A column, counted.

    Attributes:
        dtype: pandas' name of its type.
        kind: `number` and `instant` are cut at their deciles; `category`: texts, booleans, and
            numbers with few values, counted one by one; `nested`: lists or mappings.
        deciles: 11 numbers from smallest to largest value; instants in microseconds since 1970.
            Empty when another kind, or when all cells are missing.
        categories: the values with a bin of their own, most frequent first.
        counts: rows per bin, the last two of a category being other values and missing ones;
            the last one of the other kinds is missing ones.
    """

    dtype: str
    kind: str
    deciles: tuple[float, ...]
    categories: tuple[Any, ...]
    counts: tuple[int, ...]

    @property
    def bins(self) -> Bins:
        """The bins that `counts` were counted over."""
        if self.kind in ("number", "instant"):
            return Bins(np.unique(self.deciles[1:-1]), None)
        return Bins(None, pd.Index(self.categories))

    @property
    def text(self) -> str:
        """The column in a line, for people."""
        rows, missing = sum(self.counts), self.counts[-1]
        parts = [f"{missing / rows:.1%} missing"] if rows and missing else []
        if self.deciles:
            low, middle, high = (self._shown(self.deciles[i]) for i in (0, BINS // 2, BINS))
            parts.insert(0, f"median {middle} ({low} to {high})")
        elif self.categories:
            named = zip(self.categories[:SHOWN_CATEGORIES], self.counts, strict=False)
            parts.insert(0, ", ".join(f"{value} {count / rows:.1%}" for value, count in named))
        return ", ".join(parts) or self.kind

    def _shown(self, number: float) -> str:
        if self.kind == "instant":
            return str(pd.Timestamp(int(number), unit="us"))
        return f"{number:.6g}"


@dataclass(frozen=True)
class DataProfile:
    """A version of the validated data.

    Attributes:
        rows: number of validated rows.
        rejection_rate: rejected rows / all rows, in [0, 1].
        columns: name → profile, in the order of the table; the target is among them.
    """

    rows: int
    rejection_rate: float
    columns: Mapping[str, ColumnProfile]

    def to_bytes(self) -> bytes:
        """The profile as JSON, the same bytes for the same profile."""
        return to_json(self, not_finite="constants")

    @cached_property
    def digest(self) -> str:
        """Sha256 in hex of the profile as JSON."""
        return sha256(self.to_bytes())


def profile(validated: pd.DataFrame, rejection_rate: float) -> DataProfile:
    """Profile every column of a table."""
    columns = {str(name): _profile(validated[name]) for name in validated.columns}
    return DataProfile(len(validated), rejection_rate, columns)


def _counted_as(column: pd.Series) -> str:
    """Return number, instant, category or nested: how a column can be counted."""
    kind = kind_of(column)
    ways = {"datetime": "instant", "nested": "nested"} | dict.fromkeys(QUANTITIES, "number")
    return ways.get(kind, "category")


def _profile(column: pd.Series) -> ColumnProfile:
    kind, dtype = _counted_as(column), str(column.dtype)
    if kind == "nested":
        missing = int(column.isna().sum())
        return ColumnProfile(dtype, kind, (), (), (len(column) - missing, missing))
    if kind == "number" and not has_many_values(column):
        kind = "category"
    deciles = () if kind == "category" else _deciles(column)
    categories = _frequent(column) if kind == "category" else ()
    empty = ColumnProfile(dtype, kind, deciles, categories, ())
    counts = empty.bins.counts(column)
    return ColumnProfile(dtype, kind, deciles, categories, tuple(int(n) for n in counts))


def _deciles(column: pd.Series) -> tuple[float, ...]:
    present = column.dropna()
    if present.empty:
        return ()
    instants = kind_of(column) == "datetime"
    numbers = microseconds(present) if instants else numbers_of(present)
    # "lower" is always a value of the column, so that a rounded one is not cut in between.
    return tuple(float(n) for n in np.quantile(numbers, DECILES, method="lower"))


def _frequent(column: pd.Series) -> tuple[Any, ...]:
    counts = most_frequent(column)
    least = max(2, LEAST_SHARE * len(column))
    return tuple(_plain(value) for value, count in counts.items() if count >= least)


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, bool | int | float | str) else str(value)


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
            (name, _role(name, column, spec), STATISTIC, *apart, before.text, now.text)
            for name, before in accepted.columns.items()
            if (now := current.columns.get(name)) is not None
            and (apart := _apart(before, column := validated[name])) is not None
        ],
        columns=_DRIFT,
    ).sort_values(["real", "effect_size"], ascending=False, kind="stable", ignore_index=True)
    return DataChanges(_schema_changes(accepted, current), drift, _totals(accepted, current))


_DRIFT = ["column", "role", "statistic", "effect_size", "noise", "real", "accepted", "current"]


def _apart(before: ColumnProfile, column: pd.Series) -> tuple[float, float, bool] | None:
    """Effect size, noise, and whether it is more; None where the types allow no comparison."""
    kind = _counted_as(column)
    if "nested" in (kind, before.kind) or before.kind not in ("category", kind):
        return None
    found = difference(np.array(before.counts), before.bins.counts(column))
    return found.effect_size, found.noise, found.effect_size > found.noise


def _role(name: str, column: pd.Series, spec: ExperimentSpec) -> str:
    if name == spec.target:
        return TARGET
    unused = name in spec.not_features or kind_of(column) in ("datetime", "nested")
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
