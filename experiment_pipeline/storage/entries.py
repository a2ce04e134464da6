"""What is stored by fingerprint: put once, never changed, read checked, reused by every later run.

    <root>/<experiment>/<stage>/<fingerprint>/
        report.<digest>.html …                       the files of one entry
        result.json                                  written last, once: only with it it exists
    <root>/<experiment>/damaged/<stage>/<fingerprint>/<time>-…/      an entry in quarantine

`result.json` holds the entry's record, names its files with their sha256, and has a digest of its
own, so that a changed number shows too. The digests in the names keep two writers apart: each file
is whole, and the first `result.json` decides which ones count. A damaged entry is none: quarantine
takes it whole out of the way of every run, where it is kept for whoever looks into the cause, and
what it held is made again. In: a record, files by name. Out: the same ones, checked. What decides
a fingerprint, and what an entry means, is the stages' own.
"""

import json
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
    """One stored entry: its record, name → content of the files asked for, and where these are."""

    record: _Record
    files: Mapping[str, bytes]
    paths: Mapping[str, UPath]


@dataclass(frozen=True)
class Entries(Generic[_Record]):
    """The entries of one stage of one experiment.

    `kind` is that of the records: a frozen dataclass; `NoneType` where files say everything.
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
        """Return fingerprint → entry, of those that exist, from a bucket many at once.

        Args:
            fingerprints: which entries, in this order.
            names: the files to read, of those that an entry has; None: all.

        Raises:
            EntryCorrupt: a file of an entry is gone, cut short or changed.
        """
        whole = {}
        for fingerprint, found in self._look(fingerprints, names).items():
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
        """Whether there is an entry, sound or not."""
        return exists(self.folder(fingerprint) / RESULT)

    @contextmanager
    def as_files(self, fingerprint: str) -> Iterator[tuple[_Record, Mapping[str, Path]]]:
        """Give an entry's record, and its files by name, checked, to be mapped by who reads them.

        They lie on the disk of this machine: from a bucket they are copied, and the copies are
        gone afterwards, while maps of them last.

        Raises:
            EntryCorrupt: there is no such entry, or a file is gone, cut short or changed.
        """
        place = self.folder(fingerprint) / RESULT
        written = read_many([place])
        if place not in written:
            raise self._corrupt(place, "is gone")
        commit = self._commit(fingerprint, place, written[place])
        if isinstance(commit, EntryCorrupt):
            raise commit
        with TemporaryDirectory() as copies:
            found = {}
            for name, file in commit.files.items():
                path = self.folder(fingerprint) / file.name
                if not exists(path):
                    raise self._corrupt(path, "is gone")
                found[name] = fetched(path, Path(copies))
                if _digest_of(found[name]) != file.sha256:
                    raise self._corrupt(path, "is not what was written")
            yield commit.result, found

    def intact(self, fingerprint: str, tell: Callable[[str], object]) -> Entry[_Record] | None:
        """Return the entry to reuse; None: there is none, or `tell` hears where a damaged one went."""
        found = self._look([fingerprint], None).get(fingerprint)
        if isinstance(found, EntryCorrupt):
            tell(self._quarantine(fingerprint, found))
            return None
        return found

    def quarantine_damaged(
        self, fingerprints: Iterable[str], tell: Callable[[str], object]
    ) -> None:
        """Look into every file of the entries that exist; `tell` hears where damaged ones went.

        What is left can be reused to the end of a run.
        """
        asked = list(fingerprints)
        for start in range(0, len(asked), _CHECKED_AT_ONCE):
            some = asked[start : start + _CHECKED_AT_ONCE]
            for fingerprint, found in self._look(some, None).items():
                if isinstance(found, EntryCorrupt):
                    tell(self._quarantine(fingerprint, found))

    def put(self, fingerprint: str, files: Mapping[str, bytes], record: _Record) -> Entry[_Record]:
        """Store an entry, and return what the store holds now: an entry never changes.

        That is the one given, or the one that was there before, or that of another writer who
        was faster.

        Raises:
            EntryCorrupt: there is an entry, and it is damaged.
        """
        if (existing := self.get(fingerprint)) is not None:
            return existing
        stored = {name: _File.of(name, content) for name, content in files.items()}
        folder = self.folder(fingerprint)
        paths = {name: folder / file.name for name, file in stored.items()}
        write_many({path: files[name] for name, path in paths.items()})
        commit = sealed(_Commit(fingerprint, record, stored))
        if create_exclusive(folder / RESULT, commit):
            return Entry(record, files, paths)
        return self.require(fingerprint)

    def put_written(
        self, fingerprint: str, write: Callable[[Path], object], record: _Record
    ) -> None:
        """Do what `put` does, of files that are too large to be bytes, and of which nothing is read back.

        Args:
            fingerprint: as of `put`.
            write: writes them into an empty folder; a kill leaves it beside the entries.
            record: as of `put`.
        """
        stored = dict[str, _File]()
        with unfinished(self.folder(f"unfinished-{secrets.token_hex(4)}")) as folder:
            write(folder)
            for path in sorted(folder.iterdir()):
                stored[path.name] = file = _File.named(path.name, _digest_of(path))
                put_file(path, self.folder(fingerprint) / file.name)
        commit = sealed(_Commit(fingerprint, record, stored))
        create_exclusive(self.folder(fingerprint) / RESULT, commit)

    def discard(self, fingerprint: str) -> None:
        """Remove an entry that can be made again: from its first moment on there is none."""
        remove(self.folder(fingerprint) / RESULT)
        remove(self.folder(fingerprint))

    def _look(
        self, fingerprints: Iterable[str], names: Collection[str] | None
    ) -> dict[str, Entry[_Record] | EntryCorrupt]:
        """Fingerprint → the entry, its files read at once; or what is wrong with it."""
        places = {print_: self.folder(print_) / RESULT for print_ in fingerprints}
        written = read_many(places.values())
        commits = {
            print_: self._commit(print_, path, written[path])
            for print_, path in places.items()
            if path in written
        }
        paths = {
            print_: {
                name: self.folder(print_) / file.name
                for name, file in commit.files.items()
                if names is None or name in names
            }
            for print_, commit in commits.items()
            if isinstance(commit, _Commit)
        }
        found = read_many(path for some in paths.values() for path in some.values())
        return {
            print_: self._checked(commit, paths[print_], found)
            if isinstance(commit, _Commit)
            else commit
            for print_, commit in commits.items()
        }

    def _commit(
        self, fingerprint: str, path: UPath, content: bytes
    ) -> "_Commit[_Record] | EntryCorrupt":
        damage = self._corrupt(path, "is not what was written")
        kind: type[_Commit[_Record]] = _Commit[self.kind]  # type: ignore[name-defined]
        try:
            commit = unsealed(kind, content, damage)
        except EntryCorrupt as error:
            older = _is_of_an_older_version(content)
            return self._corrupt(path, "is of an older version of this package") if older else error
        if commit.fingerprint != fingerprint:
            return self._corrupt(path, "belongs to another fingerprint")
        return commit

    def _checked(
        self, commit: "_Commit[_Record]", paths: Mapping[str, UPath], found: Mapping[UPath, bytes]
    ) -> Entry[_Record] | EntryCorrupt:
        for name, path in paths.items():
            if path not in found:
                return self._corrupt(path, "is gone")
            if sha256(found[path]) != commit.files[name].sha256:
                return self._corrupt(path, "is not what was written")
        return Entry(commit.result, {name: found[path] for name, path in paths.items()}, paths)

    def _quarantine(self, fingerprint: str, damage: EntryCorrupt) -> str:
        """Move an entry to the damaged ones, and return what to say about it.

        A bucket cannot rename: the files are copied, `result.json` is removed, then the others.
        Who dies in between leaves a damaged entry, or none.
        """
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
    """Return the entries of a stage whose files say everything, under the storage root."""
    return Entries(storage_root(), experiment, stage, NoneType)


def _is_of_an_older_version(content: bytes) -> bool:
    """Whether a `result.json` was written before entries named their own fingerprint."""
    try:
        said = json.loads(content)
    except ValueError:
        return False
    return isinstance(said, dict) and bool(said) and "fingerprint" not in said


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return sha256_of(file)


@dataclass(frozen=True)
class _File:
    """A file of an entry: its name in the folder, and its digest in hex."""

    name: str
    sha256: str

    @classmethod
    def of(cls, name: str, content: bytes) -> "_File":
        return cls.named(name, sha256(content))

    @classmethod
    def named(cls, name: str, digest: str) -> "_File":
        stem, _, ending = name.rpartition(".")
        return cls(f"{stem}.{digest[:12]}.{ending}", digest)


@dataclass(frozen=True)
class _Commit(Generic[_Record]):
    """What `result.json` says, besides its own digest."""

    fingerprint: str
    result: _Record
    files: Mapping[str, _File]
