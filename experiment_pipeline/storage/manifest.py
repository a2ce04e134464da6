"""The manifest of an exported model: what the version is made of, and the proof that it is.

Written last, so a version without a manifest does not exist. In: the files as bytes, and
where they come from. Out: a `Manifest` to store, or the verdict that files still match one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.storage.documents import json_bytes
from experiment_pipeline.storage.provenance import CodeProvenance

MANIFEST = "manifest.json"
FORMAT = 1

# What decides a prediction, or which rows get one. The same in all of them = the same model,
# whatever the card, the clock or the ledger of looks say by now.
DECISIVE = (
    "model.skops",
    "trusted_types.json",
    "signature.json",
    "preparation.yaml",
    "schema.yaml",
    "hyperparameters.yaml",
    "sets.json",
)


@dataclass(frozen=True)
class Manifest:
    """One version of an exported model.

    Attributes:
        experiment: the experiment's name.
        version: `v0001` and so on.
        created: when the model was exported, ISO 8601.
        fingerprint: of the chosen configuration (sha256 hex).
        identity: sha256 hex over the fingerprint and the decisive files: two versions
            with one identity predict the same.
        code: the code that made the model.
        files: file name → sha256 hex, of every file but the manifest.
    """

    experiment: str
    version: str
    created: str
    fingerprint: str
    identity: str
    code: CodeProvenance
    files: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON."""
        return json_bytes({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> "Manifest":
        """Read a manifest back.

        Args:
            data: the content of manifest.json.
            source: the file, for the message.

        Raises:
            InvalidModel: it is no manifest, or one of another format.
        """
        try:
            fields: dict[str, Any] = json.loads(data)
            known = fields.pop("format") == FORMAT
            code = CodeProvenance(**fields.pop("code"))
            manifest = cls(**{**fields, "code": code, "files": dict(fields["files"])})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _no_manifest(source) from None
        if not known:
            raise _no_manifest(source)
        return manifest

    def verify(self, name: str, content: bytes, source: str) -> bytes:
        """Return `content` when it is what was exported under `name`.

        Raises:
            InvalidModel: the file is not in the manifest, or its sha256 differs.
        """
        if name not in self.files:
            raise InvalidModel(
                source, f"the manifest lists no {name}", "Name a complete version folder."
            )
        found = sha256(content)
        if found != self.files[name]:
            raise InvalidModel(
                f"{source}/{name}",
                f"sha256 is {found[:12]}…, the manifest says {self.files[name][:12]}…",
                "Use an unchanged copy, or run the experiment again: it publishes a new version.",
            )
        return content


def sha256(content: bytes) -> str:
    """Return the sha256 of some bytes as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def identity(fingerprint: str, files: Mapping[str, bytes]) -> str:
    """Return the sha256 hex by which two exports are the same model."""
    parts = [fingerprint, *(f"{name} {sha256(files[name])}" for name in DECISIVE)]
    return sha256("\n".join(parts).encode())


def build_manifest(
    files: Mapping[str, bytes],
    *,
    experiment: str,
    version: str,
    created: str,
    fingerprint: str,
    code: CodeProvenance,
) -> Manifest:
    """Return the manifest of the files of one version."""
    return Manifest(
        experiment=experiment,
        version=version,
        created=created,
        fingerprint=fingerprint,
        identity=identity(fingerprint, files),
        code=code,
        files={name: sha256(content) for name, content in files.items()},
    )


def _no_manifest(source: str) -> InvalidModel:
    return InvalidModel(
        source,
        f"it is not a manifest of format {FORMAT}, or one that was cut short",
        "Name a version that `experiment-pipeline models` lists, or run the experiment again: a "
        "damaged version is followed by a new one.",
    )
