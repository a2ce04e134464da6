"""What is noted and never changed: small files of their own, and larger ones that they name.

    <root>/<experiment>/<folder>/<time>-<marks>-<random>.json    one note each, a JSON record
                        <folder>/<sha256>.<ending>               what notes refer to, by its digest

Nothing is read before a note is written, so two runs at once lose none; the names sort by time.
In: records, bytes. Out: the same ones, checked. What a damaged note means is decided by who reads.
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


class Note(Protocol):
    """A frozen dataclass that says when it was made."""

    @property
    def at(self) -> str:
        """As `now` gives it."""


_Note = TypeVar("_Note", bound=Note)


def now() -> str:
    """ISO 8601 in UTC, with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class Journals:
    """The journals of one experiment; who extends it says what is noted in its FOLDER."""

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
    """Notes of one kind.

    Attributes:
        folder: where they are.
        kind: the record's class.
        rule: what a damaged note is, for the message: `is no look`.
        fix: what to do about it.
    """

    folder: Location
    kind: type[_Note]
    rule: str
    fix: str

    def append(self, note: _Note, *digests: str) -> None:
        """Write a note; its name tells when, and of what."""
        at = datetime.fromisoformat(note.at).strftime("%Y%m%dT%H%M%S.%fZ")
        name = "-".join([at, *(digest[:_SHORT] for digest in digests), secrets.token_hex(4)])
        write_bytes(self.folder / f"{name}.json", to_json(note))

    def notes(self) -> dict[str, _Note | EntryCorrupt]:
        """Return name → the note, or what is wrong with it, of all, oldest first."""
        return self._read(list_names(self.folder))

    def latest_first(self) -> Iterator[_Note | EntryCorrupt]:
        """Each note, or what is wrong with it; an older one is read when it is asked for."""
        for name in reversed(list_names(self.folder)):
            yield from self._read([name]).values()

    def _read(self, names: Iterable[str]) -> dict[str, _Note | EntryCorrupt]:
        paths = {name: self.folder / name for name in names}
        found = read_many(paths.values())  # from a bucket many at once
        return {name: self._parsed(path, found.get(path)) for name, path in paths.items()}

    def _parsed(self, path: Location, content: bytes | None) -> _Note | EntryCorrupt:
        if content is None:
            return EntryCorrupt(str(path), "is gone", self.fix)
        try:
            return from_json(self.kind, content, EntryCorrupt(str(path), self.rule, self.fix))
        except EntryCorrupt as damage:
            return damage


@dataclass(frozen=True)
class Contents:
    """Files under the digest of their content, which notes refer to: equal ones are kept once.

    Attributes:
        folder: where they are.
        ending: of their names.
        rule: what one is that is gone or changed, for the message.
        fix: what to do about it.
    """

    folder: Location
    ending: str
    rule: str
    fix: str

    def put(self, content: bytes) -> str:
        """Store a content and return its digest; the same again mends what was damaged."""
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
