"""Profiles of validated data, and which of them counts as previous and as accepted.

    <root>/<experiment>/data_profiles/
        <digest>.json              a profile, under the digest of its content
        runs/<time>-….json         a run whose rejection rate kept its limits; never changed
        accepted/<time>-….json     an export; never changed

Notes are small files of their own, as in `ledger.py`; the latest counts. In: profiles. Out: the
same ones, checked. What a difference means is said by `core/data_changes.py`.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from upath import UPath

from experiment_pipeline.core.data_profile import DataProfile
from experiment_pipeline.core.errors import EntryCorrupt
from experiment_pipeline.storage.files import exists, list_names, read_bytes, write_bytes

RUNS, ACCEPTED = "runs", "accepted"
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
        """Store a profile; the same one again changes nothing."""
        path = self.folder / f"{profile.digest}.json"
        if not exists(path):
            write_bytes(path, profile.to_bytes())

    def note_run(self, digest: str) -> None:
        """Make a stored profile that of the run before, for the next one."""
        self._note(RUNS, digest)

    def accept(self, digest: str) -> None:
        """Make a stored profile the accepted one: a model was exported from its rows."""
        self._note(ACCEPTED, digest)

    def previous(self) -> DataProfile | None:
        """The profile of the run before; None when there is none."""
        return self._latest(RUNS)

    def accepted(self) -> DataProfile | None:
        """The accepted profile; None when there is none."""
        return self._latest(ACCEPTED)

    def _latest(self, notes: str) -> DataProfile | None:
        digest = self._latest_digest(notes)
        return None if digest is None else self._profile(digest)

    def _latest_digest(self, notes: str) -> str | None:
        names = list_names(self.folder / notes)
        if not names:
            return None
        path = self.folder / notes / names[-1]
        try:
            return str(json.loads(read_bytes(path))["profile"])
        except (ValueError, KeyError, TypeError) as error:
            raise EntryCorrupt(
                str(path), "names no profile", "Delete the file: the one before it counts again."
            ) from error

    def _profile(self, digest: str) -> DataProfile:
        path = self.folder / f"{digest}.json"
        content = read_bytes(path)
        if hashlib.sha256(content).hexdigest() != digest:
            raise EntryCorrupt(
                str(path),
                "is not what was written",
                f"Delete it, and the notes named {digest[:_SHORT]}.",
            )
        return DataProfile.from_bytes(content, str(path))

    def _note(self, notes: str, digest: str) -> None:
        if self._latest_digest(notes) == digest:
            return
        at = datetime.now(UTC)
        stamp = at.strftime("%Y%m%dT%H%M%S.%fZ")
        name = f"{stamp}-{digest[:_SHORT]}-{secrets.token_hex(4)}.json"
        said = {"at": at.isoformat(timespec="microseconds"), "profile": digest}
        write_bytes(self.folder / notes / name, json.dumps(said, indent=2).encode())
