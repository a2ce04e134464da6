"""Journals: small records of their own that are never changed, and larger files that they name.

    <root>/<experiment>/<folder>/<time>-<marks>-<random>.json    one note each, a JSON record
                        <folder>/<sha256>.<ending>               a file that notes name by its digest

Nothing is read before a note is written, so two runs at once lose none; the names sort by time.
"""

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.storage.files import list_names, read_many, write_bytes
from experiment_pipeline.storage.locations import Location, storage_root
from experiment_pipeline.storage.records import from_json, to_json
from experiment_pipeline.table.digests import sha256

_SHORT = 12  # characters of a digest in a file name; what is inside counts


class Dated(Protocol):
    """A frozen dataclass with the time at which it was made."""

    @property
    def at(self) -> str:
        """As `now` gives it."""


_Note = TypeVar("_Note", bound=Dated)


def now() -> str:
    """ISO 8601 in UTC, with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class Journals:
    """The journals of one experiment, in the FOLDER of a subclass."""

    root: Location
    experiment: str
    FOLDER: ClassVar[str]

    @classmethod
    def of(cls, experiment: str) -> Self:
        """Return those under the storage root."""
        return cls(storage_root(), experiment)

    @property
    def folder(self) -> Location:
        """Where they are."""
        return self.root / self.experiment / self.FOLDER


@dataclass(frozen=True)
class Journal(Generic[_Note]):
    """Notes of one kind; `rule` and `fix` are those of the error about a damaged one."""

    folder: Location
    kind: type[_Note]
    rule: str
    fix: str

    def append(self, note: _Note, *digests: str) -> None:
        """Write a note; its name holds the time and the beginnings of the digests."""
        at = datetime.fromisoformat(note.at).strftime("%Y%m%dT%H%M%S.%fZ")
        name = "-".join([at, *(digest[:_SHORT] for digest in digests), secrets.token_hex(4)])
        write_bytes(self.folder / f"{name}.json", to_json(note))

    def notes(self) -> dict[str, _Note | EntryCorrupt]:
        """Return name → the note, or the error about it, oldest first."""
        return self._read(list_names(self.folder))

    def latest_first(self) -> Iterator[_Note | EntryCorrupt]:
        """Each note, or the error about it; an older one is read only when it is asked for."""
        for name in reversed(list_names(self.folder)):
            yield from self._read([name]).values()

    def _read(self, names: Iterable[str]) -> dict[str, _Note | EntryCorrupt]:
        paths = {name: self.folder / name for name in names}
        contents = read_many(paths.values())  # from a bucket many at once
        notes: dict[str, _Note | EntryCorrupt] = {}
        for name, path in paths.items():
            damage = EntryCorrupt(str(path), self.rule, self.fix)
            try:
                notes[name] = from_json(self.kind, contents.get(path, b""), damage)
            except EntryCorrupt:
                notes[name] = damage
        return notes


@dataclass(frozen=True)
class NamedByDigest:
    """Files that notes name by the digest of their content: equal ones are kept once.

    `ending` is that of their names; `rule` and `fix` are those of the error about a damaged one.
    """

    folder: Location
    ending: str
    rule: str
    fix: str

    def put(self, content: bytes) -> str:
        """Store a content and return its digest; a damaged file is written again."""
        digest = sha256(content)
        if read_many([self.path(digest)]).get(self.path(digest)) != content:
            write_bytes(self.path(digest), content)
        return digest

    def read(self, digest: str) -> bytes:
        """Return a content; EntryCorrupt when it is gone or not what was put."""
        content = read_many([self.path(digest)]).get(self.path(digest))
        if content is None or sha256(content) != digest:
            raise EntryCorrupt(str(self.path(digest)), self.rule, self.fix)
        return content

    def path(self, digest: str) -> Location:
        """Return where the content of a digest is, or would be."""
        return self.folder / f"{digest}.{self.ending}"
