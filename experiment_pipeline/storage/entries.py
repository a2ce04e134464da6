"""Entries: results stored by fingerprint, written once, verified when read, reused by later runs.

    <root>/<experiment>/<stage>/<fingerprint>/
        report.<digest>.html …       the files of one entry
        result.json                  written last; without it the entry does not exist
    <root>/<experiment>/damaged/<stage>/<fingerprint>/<time>-…/      an entry in quarantine

`result.json` holds the entry's record, names its files with their sha256, and has a digest of its
own. The digests in file names keep two writers apart: the first `result.json` decides whose files
count. A damaged entry is moved to quarantine as a whole, and made again.
"""

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType
from typing import Generic, TypeVar

from upath import UPath

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.storage.files import (
    create_exclusive,
    exists,
    fetched,
    list_names,
    put_file,
    read_many,
    remove,
    unfinished,
    write_many,
)
from experiment_pipeline.storage.locations import storage_root
from experiment_pipeline.storage.records import sealed, unsealed
from experiment_pipeline.table.digests import sha256, sha256_of

RESULT = "result.json"
DAMAGED = "damaged"
_CHECKED_AT_ONCE = 8  # entries in memory: models may be large
_Record = TypeVar("_Record")


@dataclass(frozen=True)
class Entry(Generic[_Record]):
    """One stored entry: its record, and name → content and path of the files asked for."""

    record: _Record
    files: Mapping[str, bytes]
    paths: Mapping[str, UPath]


@dataclass(frozen=True)
class _EntryFile:
    """A file of an entry: its name in the folder, and its digest in hex."""

    name: str
    sha256: str

    @classmethod
    def of(cls, name: str, digest: str) -> "_EntryFile":
        stem, _, ending = name.rpartition(".")
        return cls(f"{stem}.{digest[:12]}.{ending}", digest)


@dataclass(frozen=True)
class _EntryManifest(Generic[_Record]):
    """The content of `result.json`, besides its own digest."""

    fingerprint: str
    result: _Record
    files: Mapping[str, _EntryFile]


@dataclass(frozen=True)
class Entries(Generic[_Record]):
    """The entries of one stage of one experiment.

    `kind` is the class of their records, a frozen dataclass; `NoneType` where files are enough.
    """

    root: UPath
    experiment: str
    stage: str
    kind: type[_Record]

    def folder(self, fingerprint: str) -> UPath:
        """Return where the entry of a fingerprint is, or would be."""
        return self.root / self.experiment / self.stage / fingerprint

    def read(
        self, fingerprints: Iterable[str], names: Collection[str] | None = None
    ) -> dict[str, Entry[_Record]]:
        """Return fingerprint → entry, of those that exist; from a bucket many at once.

        Args:
            fingerprints: which entries, in this order.
            names: the files to read; None: all.

        Raises:
            EntryCorrupt: a file of an entry is gone, cut short or changed.
        """
        whole = {}
        for fingerprint, found in self._checked(fingerprints, names).items():
            if isinstance(found, EntryCorrupt):
                raise found
            whole[fingerprint] = found
        return whole

    def get(self, fingerprint: str, names: Collection[str] | None = None) -> Entry[_Record] | None:
        """Return an entry; None when there is none. Arguments and errors as of `read`."""
        return self.read([fingerprint], names).get(fingerprint)

    def require(self, fingerprint: str, names: Collection[str] | None = None) -> Entry[_Record]:
        """Return an entry that must be there; EntryCorrupt also when it is gone."""
        if (found := self.get(fingerprint, names)) is None:
            raise self._corrupt(self.folder(fingerprint) / RESULT, "is gone")
        return found

    def has(self, fingerprint: str) -> bool:
        """Whether there is an entry, intact or not."""
        return exists(self.folder(fingerprint) / RESULT)

    @contextmanager
    def as_files(self, fingerprint: str) -> Iterator[tuple[_Record, Mapping[str, Path]]]:
        """Give an entry's record and its verified files as paths on this machine's disk.

        From a bucket they are copied; the copies are removed afterwards (memory maps of them last).

        Raises:
            EntryCorrupt: there is no such entry, or a file is gone, cut short or changed.
        """
        place = self.folder(fingerprint) / RESULT
        written = read_many([place])
        if place not in written:
            raise self._corrupt(place, "is gone")
        manifest = self._manifest(fingerprint, written[place])
        with TemporaryDirectory() as copies:
            found = {}
            for name, file in manifest.files.items():
                path = self.folder(fingerprint) / file.name
                if not exists(path):
                    raise self._corrupt(path, "is gone")
                found[name] = fetched(path, Path(copies))
                self._verify(path, _digest_of(found[name]), file)
            yield manifest.result, found

    def intact(self, fingerprint: str, warn: Callable[[str], object]) -> Entry[_Record] | None:
        """Return the entry to reuse; None: there is none, or `warn` reported where a damaged one went."""
        found = self._checked([fingerprint], None).get(fingerprint)
        if isinstance(found, EntryCorrupt):
            warn(self._quarantine(fingerprint, found))
            return None
        return found

    def quarantine_damaged(
        self, fingerprints: Iterable[str], warn: Callable[[str], object]
    ) -> None:
        """Verify every file of the entries that exist; `warn` reports where damaged ones went."""
        asked = list(fingerprints)
        for start in range(0, len(asked), _CHECKED_AT_ONCE):
            some = asked[start : start + _CHECKED_AT_ONCE]
            for fingerprint, found in self._checked(some, None).items():
                if isinstance(found, EntryCorrupt):
                    warn(self._quarantine(fingerprint, found))

    def put(self, fingerprint: str, files: Mapping[str, bytes], record: _Record) -> Entry[_Record]:
        """Store an entry, and return what the store holds now: the first writer's.

        Raises:
            EntryCorrupt: there is an entry, and it is damaged.
        """
        if (existing := self.get(fingerprint)) is not None:
            return existing
        stored = {name: _EntryFile.of(name, sha256(content)) for name, content in files.items()}
        paths = {name: self.folder(fingerprint) / file.name for name, file in stored.items()}
        write_many({path: files[name] for name, path in paths.items()})
        if self._commit(fingerprint, record, stored):
            return Entry(record, files, paths)
        return self.require(fingerprint)

    def put_written(
        self, fingerprint: str, write: Callable[[Path], object], record: _Record
    ) -> None:
        """Do what `put` does, for files that are too large to be bytes.

        Args:
            fingerprint: as of `put`.
            write: writes them into an empty folder; a kill leaves it beside the entries.
            record: as of `put`.
        """
        stored = dict[str, _EntryFile]()
        with unfinished(self.folder(f"unfinished-{secrets.token_hex(4)}")) as folder:
            write(folder)
            for path in sorted(folder.iterdir()):
                stored[path.name] = file = _EntryFile.of(path.name, _digest_of(path))
                put_file(path, self.folder(fingerprint) / file.name)
        self._commit(fingerprint, record, stored)

    def discard(self, fingerprint: str) -> None:
        """Remove an entry: `result.json` first, so that half an entry is none."""
        remove(self.folder(fingerprint) / RESULT)
        remove(self.folder(fingerprint))

    def _commit(self, fingerprint: str, record: _Record, files: Mapping[str, _EntryFile]) -> bool:
        """Make an entry exist; False: another writer was faster."""
        manifest = sealed(_EntryManifest(fingerprint, record, files))
        return create_exclusive(self.folder(fingerprint) / RESULT, manifest)

    def _checked(
        self, fingerprints: Iterable[str], names: Collection[str] | None
    ) -> dict[str, Entry[_Record] | EntryCorrupt]:
        """Fingerprint → the entry, or what is wrong with it; files are read many at once."""
        places = {print_: self.folder(print_) / RESULT for print_ in fingerprints}
        written = read_many(places.values())
        found: dict[str, Entry[_Record] | EntryCorrupt] = {}
        manifests, paths = {}, {}
        for print_ in [one for one, path in places.items() if path in written]:
            try:
                manifests[print_] = manifest = self._manifest(print_, written[places[print_]])
            except EntryCorrupt as damage:
                found[print_] = damage
            else:
                paths[print_] = {
                    name: self.folder(print_) / file.name
                    for name, file in manifest.files.items()
                    if names is None or name in names
                }
        contents = read_many(path for some in paths.values() for path in some.values())
        for print_, manifest in manifests.items():
            files = {}
            try:
                for name, path in paths[print_].items():
                    if path not in contents:
                        raise self._corrupt(path, "is gone")
                    self._verify(path, sha256(contents[path]), manifest.files[name])
                    files[name] = contents[path]
                found[print_] = Entry(manifest.result, files, paths[print_])
            except EntryCorrupt as damage:
                found[print_] = damage
        return {print_: found[print_] for print_ in places if print_ in found}

    def _manifest(self, fingerprint: str, content: bytes) -> _EntryManifest[_Record]:
        path = self.folder(fingerprint) / RESULT
        damage = self._corrupt(path, "is damaged, or of another version of this package")
        kind: type[_EntryManifest[_Record]] = _EntryManifest[self.kind]  # type: ignore[name-defined]
        manifest = unsealed(kind, content, damage)
        if manifest.fingerprint != fingerprint:
            raise self._corrupt(path, "belongs to another fingerprint")
        return manifest

    def _verify(self, path: UPath, digest: str, file: _EntryFile) -> None:
        if digest != file.sha256:
            raise self._corrupt(path, "is not what was written")

    def _quarantine(self, fingerprint: str, damage: EntryCorrupt) -> str:
        """Copy an entry to the damaged ones, remove it, and return what to report about it."""
        folder = self.folder(fingerprint)
        time = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        place = self.root / self.experiment / DAMAGED / self.stage / fingerprint / time
        found = read_many(folder / name for name in list_names(folder))
        write_many({place / path.name: content for path, content in found.items()})
        self.discard(fingerprint)
        return f"{damage.culprit} {damage.rule}: the entry was moved to {place}, and is made again"

    def _corrupt(self, path: UPath, rule: str) -> EntryCorrupt:
        fix = f"Materialize {self.stage}: it moves the damaged entry away and makes it again."
        return EntryCorrupt(str(path), rule, fix)


def stage_entries(experiment: str, stage: str) -> Entries[None]:
    """Return the entries of a stage, without records, under the storage root."""
    return Entries(storage_root(), experiment, stage, NoneType)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return sha256_of(file)
