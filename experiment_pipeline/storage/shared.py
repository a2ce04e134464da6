"""Files that the fits of a search share: written once by digest, read by every worker, then removed.

    <root>/<experiment>/shared/<digest>/          an entry of files alone

They are large, and can be made again: a damaged one is removed, and a search that ends well removes
all but those that it keeps for later searches. A search that fails, is killed or cancelled leaves
them to the next one. Searches of one experiment do not run at a time (their runs share a pool): one
that ends would remove what another one reads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Self, TypeVar

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.storage.entries import Entries
from experiment_pipeline.storage.files import list_names, remove, size_of
from experiment_pipeline.storage.locations import Location, location

STAGE = "shared"
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class SharedFolder:
    """Where the shared files of an experiment are; `url`: of the storage root."""

    url: str
    experiment: str

    @property
    def path(self) -> Location:
        """All of the experiment."""
        return location(self.url) / self.experiment

    @property
    def entries(self) -> Entries[None]:
        """The entries there."""
        return Entries(location(self.url), self.experiment, STAGE, NoneType)


@dataclass
class SharedFiles:
    """The shared files that one search uses: a context that ends with it."""

    folder: SharedFolder
    warn: Callable[[str], object]  # of each damaged file, which is made again
    log: Callable[[str], object]  # of what is kept
    _checked: set[str] = field(default_factory=set)
    _kept: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A search that has used none, as it found all results, removes none.
        if kind is None and self._checked:
            self._clear()

    def lacks(self, digest: str) -> bool:
        """Return whether an entry is to be made; what is there is checked when first asked for."""
        if digest in self._checked:
            return False
        return self.find(digest, lambda _: True) is None

    def find(self, digest: str, read: Callable[[Mapping[str, Path]], _Read]) -> _Read | None:
        """Return what is read of an entry's files, by name; None: it is to be made."""
        self._checked.add(digest)
        entries = self.folder.entries
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
        """Make an entry of what `write` writes into an empty folder; no file is held in memory."""
        self.folder.entries.put_written(digest, write, None)

    def keep(self, digest: str) -> None:
        """Leave an entry to later searches when this one ends."""
        self._kept.add(digest)

    def _clear(self) -> None:
        shared = self.folder.path / STAGE
        kept = [shared / name for name in list_names(shared) if name in self._kept]
        if not kept:
            remove(shared)
            return
        for name in list_names(shared):
            if name not in self._kept:
                remove(shared / name)
        size = sum(size_of(path / name) for path in kept for name in list_names(path))
        self.log(f"{size / 1e6:,.0f} MB of binned rows are kept for later searches: {shared}")
