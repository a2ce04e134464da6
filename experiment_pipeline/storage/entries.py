"""What is stored by fingerprint: put once, never changed, read checked, reused by a rerun.

    <root>/<experiment>/<stage>/<fingerprint>/
        report.<digest>.html …                       the files of one entry
        result.json                                  written last, once: only with it it exists
    <root>/<experiment>/damaged/<stage>/<fingerprint>/<time>-…/      an entry in quarantine

Digests in the names keep two writers apart: the first `result.json` decides whose files count.
A damaged entry is none: quarantine takes it whole out of the way of every run, where it is kept
for whoever looks into the cause, and what it held is made again. In: files by name. Out: the
same ones, checked.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from upath import UPath

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.rows.digests import sha256
from experiment_pipeline.storage.files import (
    create_exclusive,
    list_names,
    read_many,
    remove,
    write_bytes,
)

RESULT = "result.json"
DAMAGED = "damaged"


@dataclass(frozen=True)
class StageResult:
    """One stored result.

    Attributes:
        files: name → content.
        paths: name → where it is.
    """

    files: Mapping[str, bytes]
    paths: Mapping[str, UPath]


@dataclass(frozen=True)
class ResultStore:
    """The results of one stage of one experiment."""

    root: UPath
    experiment: str
    stage: str

    def get(self, fingerprint: str) -> StageResult | None:
        """The result of a fingerprint; None when there is none.

        Raises:
            EntryCorrupt: a file is gone, or not what was written.
        """
        folder = self._folder(fingerprint)
        for content in read_many([folder / RESULT]).values():
            digests = self._digests(folder / RESULT, content)
            paths = {name: folder / _stored_name(name, digest) for name, digest in digests.items()}
            found = read_many(paths.values())
            files = {n: self._checked(path, digests[n], found) for n, path in paths.items()}
            return StageResult(files, paths)
        return None

    def intact(self, fingerprint: str, tell: Callable[[str], object]) -> StageResult | None:
        """The result to reuse; None: there is none, or `tell` hears where the damaged one went."""
        try:
            return self.get(fingerprint)
        except EntryCorrupt as damage:
            tell(quarantine(self._folder(fingerprint), damage))
            return None

    def require(self, fingerprint: str) -> StageResult:
        """The result of a fingerprint that must be there.

        Raises:
            EntryCorrupt: there is none.
        """
        result = self.get(fingerprint)
        if result is None:
            raise self._corrupt(self._folder(fingerprint), "is gone")
        return result

    def put(self, fingerprint: str, files: Mapping[str, bytes]) -> StageResult:
        """Write a result; what the store holds now: these files, or those of a faster writer."""
        folder = self._folder(fingerprint)
        digests = {name: sha256(content) for name, content in files.items()}
        for name, content in files.items():
            write_bytes(folder / _stored_name(name, digests[name]), content)
        create_exclusive(folder / RESULT, json.dumps(digests, sort_keys=True).encode())
        return self.require(fingerprint)

    def _folder(self, fingerprint: str) -> UPath:
        return self.root / self.experiment / self.stage / fingerprint

    def _digests(self, path: UPath, content: bytes) -> dict[str, str]:
        try:
            digests = {str(name): str(digest) for name, digest in json.loads(content).items()}
        except (ValueError, AttributeError) as error:
            raise self._corrupt(path, "is not what was written") from error
        return digests

    def _checked(self, path: UPath, digest: str, found: Mapping[UPath, bytes]) -> bytes:
        if path not in found:
            raise self._corrupt(path, "is gone")
        if sha256(found[path]) != digest:
            raise self._corrupt(path, "is not what was written")
        return found[path]

    def _corrupt(self, path: UPath, rule: str) -> EntryCorrupt:
        fix = f"Materialize {self.stage}: it moves the damaged result away and makes it again."
        return EntryCorrupt(str(path), rule, fix)


def quarantine(folder: UPath, damage: EntryCorrupt) -> str:
    """Move an entry to the damaged ones, and return what to say about it.

    A bucket cannot rename: the files are copied, `result.json` is removed, then the others. Who
    dies in between leaves a damaged entry, or none.
    """
    time = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    place = folder.parent.parent / DAMAGED / folder.parent.name / folder.name / time
    for path, content in read_many(folder / name for name in list_names(folder)).items():
        write_bytes(place / path.name, content)
    remove(folder / RESULT)
    remove(folder)
    return f"{damage.culprit} {damage.rule}: the entry was moved to {place}, and is made again"


def _stored_name(name: str, digest: str) -> str:
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{digest[:12]}.{ending}"
