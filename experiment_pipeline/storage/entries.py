"""Entries: results stored by fingerprint, written once, verified on every read, reused
by later runs.

    <root>/<experiment>/<stage>/<fingerprint>/
        report.<digest>.html …       the files of one entry
        result.json                  written last; without it the entry does not exist
    <root>/<experiment>/damaged/<stage>/<fingerprint>/<time>-…/      in quarantine

`result.json` holds the entry's record, the digests of its files, and its own digest.
Digests in file names keep concurrent writers apart: the first `result.json` decides
whose files count.
"""

import html
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import NoneType
from typing import Generic, TypeVar

from upath import UPath

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.storage import files as storage
from experiment_pipeline.storage.records import (
    NamedByDigest,
    read_verified,
    sealed,
    unsealed,
)
from experiment_pipeline.table.digests import sha256

RESULT, DAMAGED = "result.json", "damaged"
_AT_ONCE = 8  # entries in memory: models may be large
_Record = TypeVar("_Record")


@dataclass(frozen=True)
class Entry(Generic[_Record]):
    """One stored entry: its record, and contents and paths of the requested files by
    name.
    """

    record: _Record
    files: Mapping[str, bytes] = field(repr=False)
    paths: Mapping[str, UPath]


@dataclass(frozen=True)
class _EntryFile:
    """A file of an entry: its name in the folder, and its digest (hex)."""

    name: str
    sha256: str

    @classmethod
    def of(cls, name: str, digest: str) -> "_EntryFile":
        stem, _, ending = name.rpartition(".")
        return cls(f"{stem}.{digest[:12]}.{ending}", digest)


@dataclass(frozen=True)
class _EntryManifest(Generic[_Record]):
    """The content of `result.json`, except its own digest."""

    fingerprint: str
    result: _Record
    files: Mapping[str, _EntryFile]


@dataclass(frozen=True)
class Entries(Generic[_Record]):
    """The entries of one stage of one experiment."""

    root: UPath
    experiment: str
    stage: str
    kind: type[_Record]  # the class of records, a frozen dataclass; `NoneType` for none

    def folder(self, fingerprint: str) -> UPath:
        """Return the folder of a fingerprint's entry, whether it exists or not."""
        return self.root.joinpath(self.experiment, self.stage, fingerprint)

    def get(
        self, fingerprint: str, names: Collection[str] | None = None
    ) -> Entry[_Record] | None:
        """Return an entry with these files (None: all), or None if there is none.

        EntryCorrupt: a file is gone or changed.
        """
        manifest = self._manifest(fingerprint)
        if manifest is None:
            return None
        paths = {}
        digests = {}
        for name, file in manifest.files.items():
            if names is None or name in names:
                paths[name] = path = self.folder(fingerprint) / file.name
                digests[path] = file.sha256
        contents = read_verified(digests, self._corrupt)
        files = {name: contents[path] for name, path in paths.items()}
        return Entry(manifest.result, files, paths)

    def read(
        self, fingerprints: Iterable[str], names: Collection[str] | None = None
    ) -> dict[str, Entry[_Record]]:
        """Return fingerprint → entry, for those that exist; otherwise as `get`."""
        fingerprints = list(fingerprints)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            entries = pool.map(lambda print_: self.get(print_, names), fingerprints)
            return {
                fingerprint: entry
                for fingerprint, entry in zip(fingerprints, entries, strict=True)
                if entry is not None
            }

    def require(
        self, fingerprint: str, names: Collection[str] | None = None
    ) -> Entry[_Record]:
        """Return an entry that must exist; EntryCorrupt also if it does not."""
        entry = self.get(fingerprint, names)
        if entry is None:
            raise self._gone(fingerprint)
        return entry

    def has(self, fingerprint: str) -> bool:
        """Whether there is an entry, intact or not."""
        return storage.exists(self.folder(fingerprint) / RESULT)

    def intact(
        self, fingerprint: str, warn: Callable[[str], object]
    ) -> Entry[_Record] | None:
        """Return the entry to reuse, or None; a damaged one is moved away, and reported
        to `warn`.
        """
        try:
            return self.get(fingerprint)
        except EntryCorrupt as damage:
            warn(self._quarantine(fingerprint, damage))
            return None

    def quarantine_damaged(
        self, fingerprints: Iterable[str], warn: Callable[[str], object]
    ) -> None:
        """Verify all files of the entries that exist; damaged ones are moved away as by
        `intact`.
        """

        def warnings(fingerprint: str) -> list[str]:
            sentences: list[str] = []
            self.intact(fingerprint, sentences.append)
            return sentences

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for sentences in pool.map(warnings, fingerprints):
                for sentence in sentences:
                    warn(sentence)

    def put(
        self, fingerprint: str, files: Mapping[str, bytes], record: _Record
    ) -> Entry[_Record]:
        """Store an entry, and return that of the first writer.

        EntryCorrupt: it exists and is damaged.
        """
        existing = self.get(fingerprint)
        if existing is not None:
            return existing
        stored = {}
        paths = {}
        folder = self.folder(fingerprint)
        for name, content in files.items():
            stored[name] = file = _EntryFile.of(name, sha256(content))
            paths[name] = folder / file.name
            storage.write_bytes(paths[name], content)
        if self._commit(fingerprint, record, stored):
            return Entry(record, files, paths)
        return self.require(fingerprint)

    def discard(self, fingerprint: str) -> None:
        """Remove an entry: `result.json` first, so that a partly removed entry no
        longer exists.
        """
        storage.remove(self.folder(fingerprint) / RESULT)
        storage.remove(self.folder(fingerprint))

    def _commit(
        self, fingerprint: str, record: object, files: Mapping[str, _EntryFile]
    ) -> bool:
        """Make an entry exist; False: another writer was faster."""
        manifest = sealed(_EntryManifest(fingerprint, record, files))
        return storage.create_exclusive(self.folder(fingerprint) / RESULT, manifest)

    def _manifest(self, fingerprint: str) -> _EntryManifest[_Record] | None:
        path = self.folder(fingerprint) / RESULT
        content = storage.read_if_exists(path)
        if content is None:
            return None
        damage = self._corrupt(
            path, "is damaged, or of another version of this package"
        )
        kind: type[_EntryManifest[_Record]] = _EntryManifest[self.kind]  # type: ignore[name-defined]
        manifest = unsealed(kind, content, damage)
        if manifest.fingerprint != fingerprint:
            raise self._corrupt(path, "belongs to another fingerprint")
        return manifest

    def _quarantine(self, fingerprint: str, damage: EntryCorrupt) -> str:
        """Move an entry away; return what happened in a sentence."""
        folder = self.folder(fingerprint)
        damaged = self.root / self.experiment / DAMAGED / self.stage / fingerprint
        place = damaged / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        paths = [folder / name for name in storage.list_names(folder)]
        for path, content in storage.read_many(paths).items():
            storage.write_bytes(place / path.name, content)
        self.discard(fingerprint)
        return (
            f"{damage.culprit} {damage.rule}: the entry was moved to {place} and is "
            "made again"
        )

    def _gone(self, fingerprint: str) -> EntryCorrupt:
        return self._corrupt(self.folder(fingerprint) / RESULT, "is gone")

    def _corrupt(self, path: UPath, rule: str) -> EntryCorrupt:
        return EntryCorrupt(
            str(path),
            rule,
            fix=f"Materialize {self.stage}: this moves the damaged entry away and "
            "makes a new one.",
        )


def stage_entries(experiment: str, stage: str) -> Entries[None]:
    """Return the entries (without records) of a stage under the storage root."""
    return Entries(storage.storage_root(), experiment, stage, NoneType)


# --- Pages: their script is stored once, in <root>/page_files/<sha256>.js ---

PAGE_FILES = "page_files"
# `reporting` makes self-contained pages, and marks the scripts that they can share.
_SHARED_SCRIPT = re.compile(r"<script data-shared>(.*?)</script>", re.DOTALL)
_LINKED_SCRIPT = re.compile(
    r'<script src="((?:\.\./)*)page_files/([0-9a-f]{64}\.js)".*?></script>'
)
_LACKS_SCRIPT = (
    "The charts of this page need a file of the storage, which is missing beside this "
    "copy. Open the page in the storage, or copy it whole: "
    "experiment-pipeline show RUN --copy-reports FOLDER"
)
_LINK = (
    """<script src="{}page_files/{}.js" onerror="document.querySelector('h1').after("""
    """Object.assign(document.createElement('p'), {{role: 'status', textContent: """
    """'{}'}}))"></script>"""
)


def linked_page(page: bytes, folder: UPath, levels: int = 3) -> bytes:
    """Return a page for a folder so many levels below the root that links its scripts.

    A page without its script shows texts and tables, and a hint.
    """
    scripts = NamedByDigest(
        (folder, *folder.parents)[levels] / PAGE_FILES,
        ending="js",
        rule="is not the script that was written",
        fix="Run the experiment with a change.",
    )

    def link(script: re.Match[str]) -> str:
        digest = scripts.put(script[1].encode())
        return _LINK.format("../" * levels, digest, html.escape(_LACKS_SCRIPT))

    return _SHARED_SCRIPT.sub(link, page.decode()).encode()


def self_contained_page(path: UPath) -> bytes:
    """Return a stored page with its scripts inside; a missing script stays a link."""

    def embed(link: re.Match[str]) -> str:
        levels = len(link[1]) // len("../")
        place = path.parents[levels] / PAGE_FILES / link[2]
        script = storage.read_if_exists(place)
        return link[0] if script is None else f"<script>{script.decode()}</script>"

    return _LINKED_SCRIPT.sub(embed, storage.read_bytes(path).decode()).encode()
