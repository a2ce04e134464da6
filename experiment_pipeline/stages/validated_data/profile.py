"""A profile of a table in a few kilobytes, to compare with a later version; and the
comparison.

    <root>/<experiment>/data_profiles/
        <digest>.json            a profile, under the digest of its content
        runs/<time>-….json       a run whose rejection rate was within its limits
        accepted/<time>-….json   an export

Schema changes, and drift per column as an effect size: with a million rows any
difference has a small p-value. Names of rare values are not kept: in a column of ids
they would show who was in the table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import EntryCorrupt, listed
from experiment_pipeline.spec import Drift, ExperimentSpec
from experiment_pipeline.stages.validated_data.rows import ValidatedData
from experiment_pipeline.statistics.distances import STATISTIC, difference
from experiment_pipeline.storage import records
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.kinds import QUANTITIES, kind_of, numbers_of
from experiment_pipeline.table.preparation import day_columns
from experiment_pipeline.table.samples import BINS, Bins, has_many_values, most_frequent

# A value has a bin of its own when it stands in this share of the rows, and more than
# once.
LEAST_SHARE = 0.01
SHOWN_CATEGORIES = 3
DECILES = np.linspace(0, 1, BINS + 1)


@dataclass(frozen=True)
class ColumnProfile:
    """A column, counted."""

    dtype: str  # pandas' name of its type
    # `number` and `instant` are cut at their deciles; `category`: texts, booleans, and
    # numbers with few values, counted one by one; `nested`: lists or mappings
    kind: str
    # 11 numbers from smallest to largest value; instants in microseconds since 1970
    deciles: tuple[float, ...]
    categories: tuple[
        Any, ...
    ]  # the values with a bin of their own, most frequent first
    # rows per bin; the last is missing values; for categories the last but one is other
    # values
    counts: tuple[int, ...]

    @property
    def bins(self) -> Bins:
        """The bins that `counts` were counted over."""
        edges = (
            np.unique(self.deciles[1:-1])
            if self.kind in ("number", "instant")
            else None
        )
        return Bins(edges, pd.Index(self.categories))

    @property
    def text(self) -> str:
        """The column in a line, for people."""
        rows, missing = sum(self.counts), self.counts[-1]
        parts = [f"{missing / rows:.1%} missing"] if rows and missing else []
        if self.deciles:
            numbers = [self.deciles[place] for place in (0, BINS // 2, BINS)]
            if self.kind == "instant":
                low, middle, high = (
                    str(pd.Timestamp(int(n), unit="us")) for n in numbers
                )
            else:
                low, middle, high = (f"{number:.6g}" for number in numbers)
            parts.insert(0, f"median {middle} ({low} to {high})")
        elif self.categories:
            named = zip(self.categories[:SHOWN_CATEGORIES], self.counts, strict=False)
            parts.insert(
                0, ", ".join(f"{value} {count / rows:.1%}" for value, count in named)
            )
        return ", ".join(parts) or self.kind


@dataclass(frozen=True)
class DataProfile:
    """A version of the validated data: rows, rejection rate in [0, 1], name →
    profile.
    """

    rows: int
    rejection_rate: float
    columns: Mapping[str, ColumnProfile]

    def to_bytes(self) -> bytes:
        """The profile as JSON, the same bytes for the same profile."""
        return records.to_json(self, not_finite="constants")

    @cached_property
    def digest(self) -> str:
        """Sha256 in hex of the profile as JSON."""
        return sha256(self.to_bytes())


def profile_from(content: bytes, source: str) -> DataProfile:
    """Return the profile that `to_bytes` wrote; EntryCorrupt, about `source`: it is not
    one.
    """
    return records.from_json(
        DataProfile, content, EntryCorrupt(source, "is not a profile of a table", _FIX)
    )


def profile(validated: pd.DataFrame, rejection_rate: float) -> DataProfile:
    """Profile every column of a table."""
    columns = {str(name): _profile(validated[name]) for name in validated.columns}
    return DataProfile(len(validated), rejection_rate, columns)


def _counted_as(column: pd.Series) -> str:
    """Return number, instant, category or nested: how a column can be counted."""
    ways = {"datetime": "instant", "nested": "nested"} | dict.fromkeys(
        QUANTITIES, "number"
    )
    return ways.get(kind_of(column), "category")


def _profile(column: pd.Series) -> ColumnProfile:
    kind, dtype = _counted_as(column), str(column.dtype)
    if kind == "nested":
        missing = int(column.isna().sum())
        return ColumnProfile(dtype, kind, (), (), (len(column) - missing, missing))
    if kind == "number" and not has_many_values(column):
        kind = "category"
    deciles, categories = list[float](), list[Any]()
    if kind == "category":
        for value, count in most_frequent(column).items():
            value = value.item() if isinstance(value, np.generic) else value  # noqa: PLW2901
            if count >= max(2, LEAST_SHARE * len(column)):
                is_plain = isinstance(value, bool | int | float | str)
                categories.append(value if is_plain else str(value))
    elif len(present := column.dropna()):
        # "lower" is always a value of the column, so that a rounded one is not cut in
        # between.
        deciles = np.quantile(numbers_of(present), DECILES, method="lower").tolist()
    empty = ColumnProfile(dtype, kind, tuple(deciles), tuple(categories), ())
    return replace(empty, counts=tuple(empty.bins.counts(column).tolist()))


TARGET, FEATURE, NOT_USED = "target", "feature", "not used"
_DRIFT = [
    "column",
    "role",
    "statistic",
    "effect_size",
    "noise",
    "real",
    "accepted",
    "current",
]


@dataclass(frozen=True)
class DataChanges:
    """The current version against the accepted one."""

    schema: tuple[str, ...]  # changes of columns and types, in words
    # a row per column of both, largest effects first: `column`, `role` (target, feature
    # or not used), `statistic`, `effect_size` (see `distances.Difference`), `noise`,
    # `real` (more than noise), `accepted` and `current` (the column in a line)
    drift: pd.DataFrame

    def drifted(self, least: float) -> list[str]:
        """Return the target and features that drifted by this effect size or more, in
        words.
        """
        table = self.drift
        found = table[
            (table["effect_size"] >= least)
            & table["real"]
            & (table["role"] != NOT_USED)
        ]
        return [
            f"{row.column} ({row.role}) drifted: {STATISTIC} {row.effect_size:.2f}, limit "
            f"{least:g}; accepted: {row.accepted}; now: {row.current}"
            for row in found.itertuples()
        ]

    def blocking(self, limits: Drift) -> list[str]:
        """Return what must end the run, in words; nothing where the YAML gives no
        limit.
        """
        return [] if limits.block is None else self.drifted(limits.block)

    def problems(self, limits: Drift) -> list[str]:
        """Return everything worth a warning, in words."""
        return [*self.schema, *self.drifted(limits.warn)]


def compare(
    accepted: DataProfile,
    current: DataProfile,
    validated: pd.DataFrame,
    spec: ExperimentSpec,
) -> DataChanges:
    """Compare a version of the data with the accepted one, over the accepted one's
    bins.
    """
    before, now_, drift = accepted.columns, current.columns, []
    days = day_columns(spec.preparation)
    for name, old in before.items():
        if name not in now_:
            continue
        column = validated[name]
        kind = _counted_as(column)
        if "nested" in (kind, old.kind) or old.kind not in ("category", kind):
            continue  # the types allow no comparison
        apart = difference(np.array(old.counts), old.bins.counts(column))
        unused = name in spec.not_features or name in days or kind == "instant"
        role = TARGET if name == spec.target else NOT_USED if unused else FEATURE
        sizes = (apart.effect_size, apart.noise, apart.effect_size > apart.noise)
        drift.append((name, role, STATISTIC, *sizes, old.text, now_[name].text))
    gone = [name for name in before if name not in now_]
    new = [name for name in now_ if name not in before]
    schema = (
        [f"columns gone since the accepted version: {listed(gone)}"] if gone else []
    )
    schema += [f"columns new since the accepted version: {listed(new)}"] if new else []
    schema += [
        f"{name} was {before[name].dtype}, is {one.dtype}"
        for name, one in now_.items()
        if name in before and one.dtype != before[name].dtype
    ]
    table = pd.DataFrame(drift, columns=_DRIFT).sort_values(
        ["real", "effect_size"], ascending=False, kind="stable", ignore_index=True
    )
    return DataChanges(tuple(schema), table)


RUNS, ACCEPTED = "runs", "accepted"
_FIX = "Materialize validated_data again: the version before it counts."


@dataclass(frozen=True)
class ProfileNote:
    """A note that this profile is from the latest run, or was accepted; `at`: when, by
    `now`.
    """

    at: str
    profile: str


class DataProfiles(records.Journals):
    """The profiles of one experiment."""

    FOLDER = "data_profiles"

    def put(self, profile: DataProfile) -> None:
        """Store a profile; the same one again changes nothing, or replaces what was
        damaged.
        """
        self._profiles.put(profile.to_bytes())

    @property
    def _profiles(self) -> records.NamedByDigest:
        return records.NamedByDigest(
            self.folder, "json", "is not what was written", _FIX
        )

    def _notes(self, which: str) -> records.Journal[ProfileNote]:
        return records.Journal(
            self.folder / which, ProfileNote, "names no profile", _FIX
        )

    def latest(self, which: str, warn: Callable[[str], object]) -> DataProfile | None:
        """Return the last undamaged profile of RUNS or ACCEPTED; `warn` is called for
        damaged ones.
        """
        for note in reversed(self._notes(which).notes().values()):
            try:
                if isinstance(note, EntryCorrupt):
                    raise note
                return self.get(note.profile)
            except EntryCorrupt as found:
                warn(f"{found.culprit} {found.rule}: the version before it counts")
        return None

    def get(self, digest: str) -> DataProfile:
        """Return a profile; EntryCorrupt: it is gone or damaged."""
        return profile_from(
            self._profiles.read(digest), str(self._profiles.path(digest))
        )

    def note(self, which: str, digest: str) -> None:
        """Note that a stored profile is the latest run's, or that a model was exported
        from its data.
        """
        notes = self._notes(which)
        latest = next(reversed(notes.notes().values()), None)
        if not isinstance(latest, ProfileNote) or latest.profile != digest:
            notes.append(ProfileNote(records.now(), digest), digest)


def against_the_accepted(
    spec: ExperimentSpec, outcome: ValidatedData, warn: Callable[[str], object]
) -> tuple[str, float | None, DataChanges | None]:
    """Store the profile of the validated rows, and compare it; `warn` is called for
    damage. Return its digest, the rejection rate of the run before, and the changes
    since the accepted version, if any.
    """
    store, current = (
        DataProfiles.of(spec.name),
        profile(outcome.validated, outcome.rejection_rate),
    )
    store.put(current)
    previous, accepted = store.latest(RUNS, warn), store.latest(ACCEPTED, warn)
    changes = (
        None
        if accepted is None
        else compare(accepted, current, outcome.validated, spec)
    )
    return (
        current.digest,
        None if previous is None else previous.rejection_rate,
        changes,
    )
