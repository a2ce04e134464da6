"""Results of a stage by fingerprint: written once, never changed, reused by a rerun.

`<root>/<experiment>/<stage>/<fingerprint>/` holds the files of one result and `result.json`,
written last with the sha256 of the others: only with it does the result exist.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from upath import UPath

from experiment_pipeline.core.errors import EntryCorrupt
from experiment_pipeline.storage.files import exists, read_bytes, write_bytes

MANIFEST = "result.json"


@dataclass(frozen=True)
class ResultStore:
    """The results of one stage of one experiment."""

    root: UPath
    experiment: str
    stage: str

    def folder(self, fingerprint: str) -> UPath:
        """Where the result of that fingerprint is, or would be."""
        return self.root / self.experiment / self.stage / fingerprint

    def get(self, fingerprint: str) -> Mapping[str, bytes] | None:
        """The files of a result by name; None when it does not exist.

        Raises:
            EntryCorrupt: a file is gone or is not what was written.
        """
        folder = self.folder(fingerprint)
        if not exists(folder / MANIFEST):
            return None
        digests: dict[str, str] = json.loads(read_bytes(folder / MANIFEST))
        return {name: _checked(folder / name, digest) for name, digest in digests.items()}

    def put(self, fingerprint: str, files: Mapping[str, bytes]) -> UPath:
        """Write a result; the folder it is in. Two writers of one fingerprint write the same."""
        folder = self.folder(fingerprint)
        for name, data in files.items():
            write_bytes(folder / name, data)
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        write_bytes(folder / MANIFEST, json.dumps(digests, sort_keys=True).encode())
        return folder


def _checked(path: UPath, digest: str) -> bytes:
    data = read_bytes(path)
    if hashlib.sha256(data).hexdigest() != digest:
        raise EntryCorrupt(
            str(path), "is not what was written", f"delete {path.parent} and run again"
        )
    return data
