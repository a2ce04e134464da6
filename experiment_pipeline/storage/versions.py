"""One version of an exported model: its files, and the manifest with which they are verified.

The manifest is written last: a version without one does not exist. Numbers and history live in
`registry.py`, what is in the files is decided by `stages/exported_model/export.py`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from upath import UPath

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.storage.files import exists, read_bytes, read_many
from experiment_pipeline.storage.provenance import CodeProvenance
from experiment_pipeline.storage.records import from_json, to_json
from experiment_pipeline.table.digests import sha256

MANIFEST = "manifest.json"
FORMAT: Literal[1] = 1
MODEL = "model.skops"
METRICS = "metrics.json"
TRUSTED = "trusted_types.json"
EXAMPLE = "input_example.json"
EXPECTED = "expected_predictions.json"
CARD = "README.md"
SCHEMA = "schema.yaml"
# For a reviewer to sign; versions of earlier packages have none.
RECORD = "decision_record.md"
# What decides a prediction, or which rows get one. The same in all of them = the same model.
DECISIVE = (
    *(MODEL, TRUSTED, "signature.json", "preparation.yaml", SCHEMA),
    *("hyperparameters.yaml", "sets.json"),
)
_AGAIN = "Use a complete copy, or run the experiment again: it publishes a new version."


@dataclass(frozen=True)
class Manifest:
    """One version of an exported model.

    Attributes:
        format: of the manifest itself.
        experiment: the experiment's name.
        version: `v0001` and so on.
        created: when the model was exported, ISO 8601.
        fingerprint: of the chosen configuration (sha256 hex).
        identity: of `ModelPackage`: two versions with one identity predict the same.
        code: the code that made the model.
        files: file name → sha256 hex, of every file but the manifest.
    """

    format: Literal[1]
    experiment: str
    version: str
    created: str
    fingerprint: str
    identity: str
    code: CodeProvenance
    files: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON."""
        return to_json(self)

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> "Manifest":
        """Read a manifest back; InvalidModel, about `source`, when it is not one of this format."""
        damage = InvalidModel(
            source,
            f"it is not a manifest of format {FORMAT}, or one that was cut short",
            "Name a version that `experiment-pipeline models` lists, or run the experiment again: "
            "a damaged version is followed by a new one.",
        )
        return from_json(cls, data, damage)

    def verify(self, name: str, content: bytes, source: str) -> bytes:
        """Return `content` when it is what was exported under `name`; else raise InvalidModel."""
        if name not in self.files:
            fix = "Name a complete version folder."
            raise InvalidModel(source, f"the manifest lists no {name}", fix)
        digest = sha256(content)
        if digest != self.files[name]:
            raise InvalidModel(
                f"{source}/{name}",
                f"sha256 is {digest[:12]}…, the manifest says {self.files[name][:12]}…",
                _AGAIN,
            )
        return content


def _nothing_more(_version: str) -> Mapping[str, bytes]:
    return {}


@dataclass(frozen=True)
class ModelPackage:
    """The files of one version, before it has a number; what is not named here, as of `Manifest`.

    Attributes:
        configuration: the partition key of the chosen one.
        headline: the first metric with its interval, in words.
        files: file name → content, all but the manifest.
        own_packages: top-level packages of a user's own estimator.
        approval_required: whether it can only be champion once it is approved.
        more: version → files that can only be made once it has its number; none is decisive.
    """

    experiment: str
    created: str
    fingerprint: str
    configuration: str
    headline: str
    code: CodeProvenance
    files: Mapping[str, bytes]
    own_packages: tuple[str, ...] = ()
    approval_required: bool = False
    more: Callable[[str], Mapping[str, bytes]] = _nothing_more

    def numbered(self, version: str) -> "ModelPackage":
        """Return the package with the files of that version."""
        more = self.more(version)
        return replace(self, files={**self.files, **more}, more=_nothing_more) if more else self

    @property
    def identity(self) -> str:
        """The sha256 hex over fingerprint and decisive files, by which two are the same model."""
        decisive = [f"{name} {sha256(self.files[name])}" for name in DECISIVE]
        return sha256("\n".join([self.fingerprint, *decisive]).encode())

    def manifest(self, version: str) -> Manifest:
        """Return the manifest that makes this package that version."""
        return Manifest(
            format=FORMAT,
            experiment=self.experiment,
            version=version,
            created=self.created,
            fingerprint=self.fingerprint,
            identity=self.identity,
            code=self.code,
            files={name: sha256(content) for name, content in self.files.items()},
        )


@dataclass(frozen=True)
class ExportedModel:
    """The folder of one version; nothing is read from it without verification."""

    folder: UPath

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest; InvalidModel when there is none."""
        path = self.folder / MANIFEST
        if not exists(path):
            raise InvalidModel(
                str(self.folder),
                f"holds no {MANIFEST}, so it is not an exported model",
                "Name a version folder, or <storage root>/<experiment> for its champion.",
            )
        return Manifest.from_bytes(read_bytes(path), str(path))

    def read(self, name: str) -> bytes:
        """Return a file of the version; InvalidModel when it is not what was exported."""
        return self._read([name])[name]

    def files(self) -> dict[str, bytes]:
        """Return every file, verified, with the manifest."""
        return {**self._read(self.manifest.files), MANIFEST: self.manifest.to_bytes()}

    def is_model(self, identity: str) -> bool:
        """Whether this is the intact model of an identity; only one that claims to be is read whole."""
        try:
            return self.manifest.identity == identity and bool(self.files())
        except InvalidModel:
            return False

    def damage(self) -> str | None:
        """Return which file is not what was exported, in words; None: all are."""
        try:
            self.files()
        except InvalidModel as error:
            return f"{error.culprit}: {error.rule}"
        return None

    def _read(self, names: Iterable[str]) -> dict[str, bytes]:
        """Name → content, verified; from a bucket many at once."""
        manifest, paths = self.manifest, {name: self.folder / name for name in names}
        found = read_many(paths.values())
        for name, path in paths.items():
            if name in manifest.files and path not in found:
                raise InvalidModel(str(path), "is gone", _AGAIN)
        source = str(self.folder)
        return {n: manifest.verify(n, found.get(path, b""), source) for n, path in paths.items()}
