"""What changed since the accepted version of the data, and the stored profiles.

    <root>/<experiment>/data_profiles/
        <digest>.json            a profile, under the digest of its content
        runs/<time>-….json       a run whose rejection rate was within its limits
        accepted/<time>-….json   an export

Schema changes, and drift per column as an effect size: with a million rows any
difference has a small p-value.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.errors import EntryCorrupt, listed
from experiment_pipeline.intake.profile import (
    FIX,
    DataProfile,
    counted_as,
    profile,
    profile_from,
)
from experiment_pipeline.intake.validation import ValidatedData
from experiment_pipeline.spec import Drift, ExperimentSpec
from experiment_pipeline.statistics.distances import STATISTIC, difference
from experiment_pipeline.storage import records
from experiment_pipeline.table.preparation import day_columns

TARGET, FEATURE, NOT_USED = "target", "feature", "not used"
RUNS, ACCEPTED = "runs", "accepted"
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
    """The current version against the accepted one.

    `schema` tells changes of columns and types. `drift` has a row per column of both,
    largest effects first: `column`, `role` (target, feature or not used), `statistic`,
    `effect_size` (see `distances.Difference`), `noise`, `real` (more than noise),
    `accepted` and `current` (the column in a line).
    """

    schema: tuple[str, ...]
    drift: pd.DataFrame

    def __repr__(self) -> str:
        changed = int(self.drift["real"].sum())
        return f"<DataChanges: {len(self.schema)} of the schema, {changed} columns>"

    def large(self, least: float) -> pd.DataFrame:
        """Return the rows of `drift` of target and features, from this effect on."""
        drift = self.drift
        is_large = drift["real"] & (drift["effect_size"] >= least)
        return drift[is_large & (drift["role"] != NOT_USED)]

    def drifted(self, least: float) -> list[str]:
        """Return the target and features that drifted by this effect size, in words."""
        return [
            f"{row.column} ({row.role}) drifted: {STATISTIC} {row.effect_size:.2f}, "
            f"limit {least:g}; accepted: {row.accepted}; now: {row.current}"
            for row in self.large(least).itertuples()
        ]

    def blocking(self, limits: Drift) -> list[str]:
        """Return what must end the run; nothing where the YAML gives no limit."""
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
    """Compare the data with the accepted version, over the accepted one's bins."""
    rows = []
    for name, before in accepted.columns.items():
        if name not in current.columns:
            continue
        column = validated[name]
        kind = counted_as(column)
        if "nested" in (kind, before.kind) or before.kind not in ("category", kind):
            continue  # the types allow no comparison
        apart = difference(np.array(before.counts), before.bins.counts(column))
        row = (
            name,
            _role(name, kind, spec),
            STATISTIC,
            apart.effect_size,
            apart.noise,
            apart.effect_size > apart.noise,
            before.text,
            current.columns[name].text,
        )
        rows.append(row)
    drift = pd.DataFrame(rows, columns=_DRIFT).sort_values(
        ["real", "effect_size"], ascending=False, kind="stable", ignore_index=True
    )
    return DataChanges(tuple(_schema_changes(accepted, current)), drift)


def _role(name: str, kind: str, spec: ExperimentSpec) -> str:
    if name == spec.target:
        return TARGET
    later_rows_exceed_it = kind == "instant" or name in day_columns(spec.preparation)
    return NOT_USED if name in spec.not_features or later_rows_exceed_it else FEATURE


def _schema_changes(accepted: DataProfile, current: DataProfile) -> Iterator[str]:
    gone = [name for name in accepted.columns if name not in current.columns]
    if gone:
        yield f"columns gone since the accepted version: {listed(gone)}"
    new = [name for name in current.columns if name not in accepted.columns]
    if new:
        yield f"columns new since the accepted version: {listed(new)}"
    for name, column in current.columns.items():
        if name in accepted.columns and column.dtype != accepted.columns[name].dtype:
            yield f"{name} was {accepted.columns[name].dtype}, is {column.dtype}"


@dataclass(frozen=True)
class ProfileNote:
    """A note that this profile is of the latest run, or accepted; `at`: when."""

    at: str
    profile: str


class DataProfiles(records.Journals):
    """The profiles of one experiment."""

    FOLDER = "data_profiles"

    def put(self, profile: DataProfile) -> None:
        """Store a profile; the same one again replaces what was damaged."""
        self._profiles.put(profile.to_bytes())

    @property
    def _profiles(self) -> records.NamedByDigest:
        return records.NamedByDigest(
            self.folder, "json", rule="is not what was written", fix=FIX
        )

    def _notes(self, which: str) -> records.Journal[ProfileNote]:
        folder = self.folder / which
        return records.Journal(folder, ProfileNote, "names no profile", FIX)

    def latest(self, which: str, warn: Callable[[str], object]) -> DataProfile | None:
        """Return the last undamaged profile of RUNS or ACCEPTED.

        `warn` is called for damaged ones.
        """
        for note in reversed(self._notes(which).notes().values()):
            try:
                if isinstance(note, EntryCorrupt):
                    raise note
                return self.get(note.profile)
            except EntryCorrupt as damage:
                warn(f"{damage.culprit} {damage.rule}: the version before it counts")
        return None

    def get(self, digest: str) -> DataProfile:
        """Return a profile; EntryCorrupt: it is gone or damaged."""
        path = str(self._profiles.path(digest))
        return profile_from(self._profiles.read(digest), path)

    def note(self, which: str, digest: str) -> None:
        """Note that a stored profile is the latest of RUNS or ACCEPTED."""
        notes = self._notes(which)
        latest = next(reversed(notes.notes().values()), None)
        if not isinstance(latest, ProfileNote) or latest.profile != digest:
            notes.append(ProfileNote(records.now(), digest), digest)


@dataclass(frozen=True)
class ComparedData:
    """The stored profile of a run's data, and what came before it."""

    profile: str = ""  # digest
    previous_rate: float | None = None  # of rejected rows, in the run before
    changes: DataChanges | None = None  # since the accepted version
    accepted: DataProfile | None = None  # that version


def against_the_accepted(
    spec: ExperimentSpec, data: ValidatedData, warn: Callable[[str], object]
) -> ComparedData:
    """Store the profile of the validated rows, and compare it with those before.

    `warn` is called for damaged ones.
    """
    store = DataProfiles.of(spec.name)
    current = profile(data.validated, data.rejection_rate)
    store.put(current)
    previous = store.latest(RUNS, warn)
    accepted = store.latest(ACCEPTED, warn)
    changes = None
    if accepted is not None:
        changes = compare(accepted, current, data.validated, spec)
    previous_rate = previous.rejection_rate if previous is not None else None
    return ComparedData(current.digest, previous_rate, changes, accepted)
