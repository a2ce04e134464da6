"""Profiles of validated data, and which of them counts as previous and as accepted.

    <root>/<experiment>/data_profiles/
        <digest>.json              a profile, under the digest of its content
        runs/<time>-….json         a run whose rejection rate kept its limits
        accepted/<time>-….json     an export

The latest note of a journal counts, or the one before where it or its profile is damaged, which is
told. In: profiles. Out: the same ones, checked. What a difference means: `profile.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.stages.validated_data.profile import DataProfile
from experiment_pipeline.storage.journal import Contents, Journal
from experiment_pipeline.storage.locations import Location
from experiment_pipeline.storage.records import from_json

Tell = Callable[[str], object]
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


@dataclass(frozen=True)
class DataProfiles:
    """The profiles of one experiment.

    Attributes:
        root: the storage root.
        experiment: the experiment's name.
    """

    root: Location
    experiment: str

    @property
    def folder(self) -> Location:
        """Where the profiles are."""
        return self.root / self.experiment / "data_profiles"

    def put(self, profile: DataProfile) -> None:
        """Store a profile; the same one again changes nothing, or mends what was damaged."""
        self._profiles.put(profile.to_bytes())

    def note_run(self, digest: str) -> None:
        """Make a stored profile that of the run before, for the next one."""
        self._note(RUNS, digest)

    def accept(self, digest: str) -> None:
        """Make a stored profile the accepted one: a model was exported from its rows."""
        self._note(ACCEPTED, digest)

    def previous(self, tell: Tell) -> DataProfile | None:
        """The profile of the run before; None when there is none. `tell` hears what is damaged."""
        return self._latest(RUNS, tell)

    def accepted(self, tell: Tell) -> DataProfile | None:
        """The accepted profile; None when there is none. `tell` hears what is damaged."""
        return self._latest(ACCEPTED, tell)

    @property
    def _profiles(self) -> Contents:
        return Contents(self.folder, "json", "is not what was written", _FIX)

    def _notes(self, which: str) -> Journal[ProfileNote]:
        return Journal(self.folder / which, ProfileNote, "names no profile", _FIX)

    def _latest(self, which: str, tell: Tell) -> DataProfile | None:
        for note in self._notes(which).latest_first():
            try:
                return self._profile(note)
            except EntryCorrupt as damage:
                tell(f"{damage.culprit} {damage.rule}: the version before it counts")
        return None

    def _profile(self, note: ProfileNote | EntryCorrupt) -> DataProfile:
        if isinstance(note, EntryCorrupt):
            raise note
        content, path = self._profiles.read(note.profile), self._profiles.path(note.profile)
        damage = EntryCorrupt(str(path), "is no profile of a table", _FIX)
        return from_json(DataProfile, content, damage)

    def _note(self, which: str, digest: str) -> None:
        notes = self._notes(which)
        latest = next(notes.latest_first(), None)
        if isinstance(latest, ProfileNote) and latest.profile == digest:
            return
        at = datetime.now(UTC)
        notes.append(ProfileNote(at.isoformat(timespec="microseconds"), digest), at, digest)
