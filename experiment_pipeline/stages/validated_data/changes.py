"""What changed since the accepted version of the data, and the stored profiles.

    <root>/<experiment>/data_profiles/
        <digest>.json            a profile, under the digest of its content
        runs/<time>-….json       a run whose rejection rate was within its limits
        accepted/<time>-….json   an export

Schema changes, and drift per column as an effect size: with a million rows any
difference has a small p-value.
"""

from collections.abc import Callable
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
        kind = counted_as(column)
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
            self.folder, "json", "is not what was written", FIX
        )

    def _notes(self, which: str) -> records.Journal[ProfileNote]:
        return records.Journal(
            self.folder / which, ProfileNote, "names no profile", FIX
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
