"""Files that searches share: made by the first that needs them, removed by the last at work.

    <root>/<experiment>/shared/<digest>/          an entry of files alone
    <root>/<experiment>/leases/<search>.uses      a search is at work with them
    <root>/<experiment>/leases/<search>.clears    it is removing some: who comes waits

They are large, and can be made again: a damaged one is removed, and a search that ends well removes
all but what it has said to keep. Not while another one is at work, which does so at its own end; one
that fails, is killed or cancelled leaves all to the next. Who comes takes its lease before it looks for
files and for who clears, and who clears says so before it looks for leases: one of the two sees the
other, whatever they do at a time, on every storage whose listing shows what was written before it. In:
digests, what writes files and what reads them. Out: what was read.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import NoneType
from typing import Self, TypeVar

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.storage.entries import Entries
from experiment_pipeline.storage.files import list_names, read_many, remove, size_of, write_bytes
from experiment_pipeline.storage.locations import Location, location
from experiment_pipeline.storage.processes import Process

STAGE, LEASES = "shared", "leases"
# What says that a process is at work, and for how long it is believed of one on another machine,
# which cannot be asked: no search takes longer, no clearing either.
_USES, _CLEARS = ".uses", ".clears"
_BELIEVED = {_USES: timedelta(days=7), _CLEARS: timedelta(minutes=10)}
_SECONDS_BETWEEN_LOOKS = 0.2
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Place:
    """Where shared files are.

    Attributes:
        url: of the storage root.
        experiment: whose they are.
    """

    url: str
    experiment: str

    @property
    def folder(self) -> Location:
        """All of the experiment."""
        return location(self.url) / self.experiment

    @property
    def entries(self) -> Entries[None]:
        """The entries there."""
        return Entries(location(self.url), self.experiment, STAGE, NoneType)


@dataclass
class SharedFiles:
    """The shared files that one search uses: a context that ends with it.

    Nothing is written, and nothing removed, before the first file is looked for.

    Attributes:
        place: where they are.
        warn: hears of damaged files, which are made again.
        say: hears what is kept.
    """

    place: Place
    warn: Callable[[str], object]
    say: Callable[[str], object]
    _looked_into: set[str] = field(default_factory=set)
    _kept: set[str] = field(default_factory=set)
    _lease: "_Lease | None" = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._lease is not None:
            self._lease.end(self._clear if kind is None else None)
            self._lease = None

    def lacks(self, digest: str) -> bool:
        """Whether an entry is to be made, asked for the first time: what is there is looked into."""
        if digest in self._looked_into:
            return False
        return self.find(digest, lambda _: True) is None

    def find(self, digest: str, read: Callable[[Mapping[str, Path]], _Read]) -> _Read | None:
        """Return what is read of an entry's files, by name; None: it is to be made."""
        if self._lease is None:
            self._lease = _Lease.take(self.place.folder / LEASES)
        self._looked_into.add(digest)
        entries = self.place.entries
        if not entries.has(digest):
            return None
        try:
            with entries.as_files(digest) as (_, files):
                return read(files)
        except EntryCorrupt as damage:
            entries.discard(digest)
            self.warn(f"{damage.culprit} {damage.rule}: it is made again")
            return None

    def put(self, digest: str, write: Callable[[Path], object]) -> None:
        """Make an entry of what is written into an empty folder; in it no file is ever bytes here."""
        self.place.entries.put_written(digest, write, None)

    def keep(self, digest: str) -> None:
        """Leave an entry to later searches when this one ends."""
        self._kept.add(digest)

    def _clear(self) -> None:
        shared = self.place.folder / STAGE
        names = list_names(shared)
        kept = [shared / name for name in names if name in self._kept]
        if not kept:
            remove(shared)
            return
        for name in names:
            if name not in self._kept:
                remove(shared / name)
        size = sum(size_of(path / name) for path in kept for name in list_names(path))
        self.say(f"{size / 1e6:,.0f} MB of binned rows are kept for later searches: {shared}")


@dataclass(frozen=True)
class _Lease:
    """What a search says while it is at work: who it is, and since when."""

    folder: Location
    name: str

    @classmethod
    def take(cls, folder: Location) -> Self:
        """Say so; where another one is clearing, wait for its end."""
        lease = cls(folder, secrets.token_hex(8))
        lease._say(_USES)
        while lease._others(_CLEARS):
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return lease

    def end(self, clear: Callable[[], object] | None) -> None:
        """Say so no more; `clear` where nobody else does."""
        if clear is not None:
            self._say(_CLEARS)
        remove(self.folder / f"{self.name}{_USES}")
        try:
            if clear is not None and not self._others(_USES):
                clear()
        finally:
            remove(self.folder / f"{self.name}{_CLEARS}")

    def _say(self, what: str) -> None:
        said = Process.here().as_noted | {"since": datetime.now(UTC).isoformat()}
        write_bytes(self.folder / f"{self.name}{what}", json.dumps(said).encode())

    def _others(self, what: str) -> bool:
        """Whether another one says this that may still be at work; what a dead one said is removed."""
        names = [name for name in list_names(self.folder) if name.endswith(what)]
        said = read_many(self.folder / name for name in names if name != f"{self.name}{what}")
        for path, content in said.items():
            if not _may_live(content, _BELIEVED[what]):
                remove(path)
        return any(_may_live(content, _BELIEVED[what]) for content in said.values())


def _may_live(content: bytes, believed: timedelta) -> bool:
    said = json.loads(content)
    process = Process.of(said)
    if process.is_here:
        return not process.is_gone
    return datetime.now(UTC) - datetime.fromisoformat(said["since"]) < believed
