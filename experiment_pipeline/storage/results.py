"""Results of a stage by fingerprint: written once, never changed, reused by a rerun.

    <root>/<experiment>/<stage>/<fingerprint>/
        report.<digest>.html …       the files of one result
        result.json                  written last, once: only with it does the result exist

As in `trained_models.py`, digests in the names keep two writers apart: the first `result.json`
decides whose files count. In: files by name. Out: the same ones, checked.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from upath import UPath

from experiment_pipeline.core.errors import EntryCorrupt
from experiment_pipeline.storage.files import create_exclusive, exists, read_bytes, write_bytes

RESULT = "result.json"


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
            EntryCorrupt: a file is not what was written.
        """
        folder = self._folder(fingerprint)
        if not exists(folder / RESULT):
            return None
        digests: dict[str, str] = json.loads(read_bytes(folder / RESULT))
        paths = {name: folder / _stored_name(name, digest) for name, digest in digests.items()}
        files = {name: _checked(path, digests[name]) for name, path in paths.items()}
        return StageResult(files, paths)

    def require(self, fingerprint: str) -> StageResult:
        """The result of a fingerprint that must be there.

        Raises:
            EntryCorrupt: there is none.
        """
        result = self.get(fingerprint)
        if result is None:
            raise EntryCorrupt(
                str(self._folder(fingerprint)), "is gone", f"Materialize {self.stage} again."
            )
        return result

    def put(self, fingerprint: str, files: Mapping[str, bytes]) -> StageResult:
        """Write a result; what the store holds now: these files, or those of a faster writer."""
        folder = self._folder(fingerprint)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        for name, content in files.items():
            write_bytes(folder / _stored_name(name, digests[name]), content)
        create_exclusive(folder / RESULT, json.dumps(digests, sort_keys=True).encode())
        return self.require(fingerprint)

    def _folder(self, fingerprint: str) -> UPath:
        return self.root / self.experiment / self.stage / fingerprint


def _stored_name(name: str, digest: str) -> str:
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{digest[:12]}.{ending}"


def _checked(path: UPath, digest: str) -> bytes:
    content = read_bytes(path)
    if hashlib.sha256(content).hexdigest() != digest:
        raise EntryCorrupt(
            str(path), "is not what was written", f"Delete {path.parent}, and run again."
        )
    return content
