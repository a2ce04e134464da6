"""The validated data against its accepted version: check, facts, and what is kept.

    <root>/<experiment>/data_profiles/
        <digest>.json            a profile, under the digest of its content
        runs/<time>-….json       a run whose rejection rate kept its limits
        accepted/<time>-….json   an export

The latest note of a journal counts, or the one before where it or its profile is damaged, which is
told. The comparison itself is in `profile.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.reporting.outcome import Check, Fact, Notes, Rows
from experiment_pipeline.spec import Drift, ExperimentSpec
from experiment_pipeline.stages.validated_data.profile import (
    DataChanges,
    DataProfile,
    compare,
    profile,
)
from experiment_pipeline.stages.validated_data.rows import ValidatedData
from experiment_pipeline.storage.journal import Journal, Journals, NamedByDigest, now
from experiment_pipeline.storage.records import from_json

RUNS, ACCEPTED = "runs", "accepted"
_FIX = "Materialize validated_data again: the version before it counts."


@dataclass(frozen=True)
class ProfileNote:
    """That a profile became the previous, or the accepted one.

    Attributes:
        at: when, ISO 8601 in UTC, with microseconds.
        profile: its digest.
    """

    at: str
    profile: str


class DataProfiles(Journals):
    """The profiles of one experiment."""

    FOLDER = "data_profiles"

    def put(self, profile: DataProfile) -> None:
        """Store a profile; the same one again changes nothing, or mends what was damaged."""
        self._profiles.put(profile.to_bytes())

    @property
    def _profiles(self) -> NamedByDigest:
        return NamedByDigest(self.folder, "json", "is not what was written", _FIX)

    def _notes(self, which: str) -> Journal[ProfileNote]:
        return Journal(self.folder / which, ProfileNote, "names no profile", _FIX)

    def latest(self, which: str, warn: Callable[[str], object]) -> DataProfile | None:
        """Return the profile of the run before (RUNS), or the accepted one; `warn` of damage."""
        for note in self._notes(which).latest_first():
            try:
                return self._profile(note)
            except EntryCorrupt as damage:
                warn(f"{damage.culprit} {damage.rule}: the version before it counts")
        return None

    def _profile(self, note: ProfileNote | EntryCorrupt) -> DataProfile:
        if isinstance(note, EntryCorrupt):
            raise note
        content, path = self._profiles.read(note.profile), self._profiles.path(note.profile)
        damage = EntryCorrupt(str(path), "is no profile of a table", _FIX)
        return from_json(DataProfile, content, damage)

    def note(self, which: str, digest: str) -> None:
        """Make a stored profile that of the latest run, or the one that a model was exported from."""
        notes = self._notes(which)
        latest = next(notes.latest_first(), None)
        if isinstance(latest, ProfileNote) and latest.profile == digest:
            return
        notes.append(ProfileNote(now(), digest), digest)


CHECK = "data_resembles_the_accepted"
FIRST = "no accepted version yet: the first export makes one"


@dataclass(frozen=True)
class Changed:
    """The profile of this run, and how it differs from what was there before.

    Attributes:
        profile: of this run, stored.
        previous_rate: rejection rate of the run before, in [0, 1]; None for the first.
        changes: against the accepted version; None when there is none.
        limits: from the YAML.
        store: where profiles are.
    """

    profile: DataProfile
    previous_rate: float | None
    changes: DataChanges | None
    limits: Drift
    store: DataProfiles

    def note_run(self) -> None:
        """Let the next run compare its rejection rate with this one's.

        Only for a run that kept the limits: else a second try would pass as no rise.
        """
        self.store.note(RUNS, self.profile.digest)

    def facts(self) -> dict[str, Fact]:
        """What changed, as tables."""
        if self.changes is None:
            return {"changes": FIRST}
        return {
            "changes": Rows(self.changes.totals),
            "schema_changes": Notes(self.changes.schema),
            "drift": Rows(self.changes.drift),
        }

    def check(self) -> Check:
        """Warn of changes; an error, which ends the run, only past the YAML's limit."""
        if self.changes is None:
            return Check(CHECK, passed=True, means=FIRST)
        if stopping := self.changes.blocking(self.limits):
            return Check.of(CHECK, [*stopping, _WAY_ON], holds=_ALIKE)
        return Check.of(CHECK, self.changes.problems(self.limits), "warning", holds=_ALIKE)


_ALIKE = "nothing has changed since the accepted version by more than validation.drift allows"
_WAY_ON = (
    "if the data is right, raise validation.drift.block for one run: what its model is exported "
    "from is the accepted version from then on"
)


def against_the_accepted(
    spec: ExperimentSpec, outcome: ValidatedData, warn: Callable[[str], object]
) -> Changed:
    """Profile the validated rows, keep the profile, and compare it; `warn` of damage."""
    store = DataProfiles.of(spec.name)
    current = profile(outcome.validated, outcome.rejection_rate)
    store.put(current)
    previous, accepted = store.latest(RUNS, warn), store.latest(ACCEPTED, warn)
    return Changed(
        profile=current,
        previous_rate=None if previous is None else previous.rejection_rate,
        changes=None if accepted is None else compare(accepted, current, outcome.validated, spec),
        limits=spec.validation.drift,
        store=store,
    )


def accept(spec: ExperimentSpec, profile_digest: str) -> None:
    """Make the version of the data accepted that an exported model was made from."""
    DataProfiles.of(spec.name).note(ACCEPTED, profile_digest)
