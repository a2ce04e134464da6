"""Profiles of validated data, and which of them counts as previous and as accepted.

    <root>/<experiment>/data_profiles/
        <digest>.json              a profile, under the digest of its content
        runs/<time>-….json         a run whose rejection rate kept its limits; never changed
        accepted/<time>-….json     an export; never changed

Notes are small files of their own, as in `stages/validation_report/ledger.py`; the latest counts, or the one before where
it or its profile is damaged, which is told. In: profiles. Out: the same ones, checked. What a
difference means is said by `stages/validated_data/profile.py`.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from upath import UPath

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.stages.validated_data.profile import DataProfile
from experiment_pipeline.storage.files import list_names, read_many, write_bytes

Tell = Callable[[str], object]
RUNS, ACCEPTED = "runs", "accepted"
_FIX = "Materialize validated_data again: the version before it counts."
_SHORT = 12  # characters of a digest in a file name; what is inside counts


@dataclass(frozen=True)
class DataProfiles:
    """The profiles of one experiment.

    Attributes:
        root: the storage root.
        experiment: the experiment's name.
    """

    root: UPath
    experiment: str

    @property
    def folder(self) -> UPath:
        """Where the profiles are."""
        return self.root / self.experiment / "data_profiles"

    def put(self, profile: DataProfile) -> None:
        """Store a profile; the same one again changes nothing, or mends what was damaged."""
        path, content = self.folder / f"{profile.digest}.json", profile.to_bytes()
        if read_many([path]).get(path) != content:
            write_bytes(path, content)

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

    def _latest(self, notes: str, tell: Tell) -> DataProfile | None:
        for path in self._notes(notes):
            try:
                return self._profile(_noted(path))
            except EntryCorrupt as damage:
                tell(f"{damage.culprit} {damage.rule}: the version before it counts")
        return None

    def _notes(self, notes: str) -> Iterator[UPath]:
        """The latest first."""
        folder = self.folder / notes
        return (folder / name for name in reversed(list_names(folder)))

    def _profile(self, digest: str) -> DataProfile:
        path = self.folder / f"{digest}.json"
        content = _content(path)
        if hashlib.sha256(content).hexdigest() != digest:
            raise EntryCorrupt(str(path), "is not what was written", _FIX)
        return DataProfile.from_bytes(content, str(path))

    def _names(self, notes: str, digest: str) -> bool:
        """Whether the latest note is about this profile already."""
        latest = next(self._notes(notes), None)
        try:
            return latest is not None and _noted(latest) == digest
        except EntryCorrupt:
            return False

    def _note(self, notes: str, digest: str) -> None:
        if self._names(notes, digest):
            return
        at = datetime.now(UTC)
        stamp = at.strftime("%Y%m%dT%H%M%S.%fZ")
        name = f"{stamp}-{digest[:_SHORT]}-{secrets.token_hex(4)}.json"
        said = {"at": at.isoformat(timespec="microseconds"), "profile": digest}
        write_bytes(self.folder / notes / name, json.dumps(said, indent=2).encode())


def _noted(path: UPath) -> str:
    """Return the digest of the profile that a note is about."""
    try:
        return str(json.loads(_content(path))["profile"])
    except (ValueError, KeyError, TypeError) as error:
        raise EntryCorrupt(str(path), "names no profile", _FIX) from error


def _content(path: UPath) -> bytes:
    found = read_many([path])
    if path not in found:
        raise EntryCorrupt(str(path), "is gone", _FIX)
    return found[path]
