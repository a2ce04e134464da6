"""The files of an exported model: their names, and all of them before they have a version."""

from collections.abc import Mapping
from dataclasses import dataclass

from experiment_pipeline.storage import manifest
from experiment_pipeline.storage.manifest import Manifest
from experiment_pipeline.storage.provenance import CodeProvenance

MODEL = "model.skops"

METRICS = "metrics.json"

TRUSTED = "trusted_types.json"

EXAMPLE = "input_example.json"

EXPECTED = "expected_predictions.json"

CARD = "README.md"

SCHEMA = "schema.yaml"


@dataclass(frozen=True)
class ModelPackage:
    """The files of one version, before it has a number.

    Attributes:
        experiment: the experiment's name.
        created: ISO 8601.
        fingerprint: of the chosen configuration.
        configuration: its partition key.
        headline: the first metric with its interval, in words.
        code: the code that made it.
        files: file name → content, all but the manifest.
        own_packages: top-level packages of a user's own estimator.
    """

    experiment: str
    created: str
    fingerprint: str
    configuration: str
    headline: str
    code: CodeProvenance
    files: Mapping[str, bytes]
    own_packages: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """The sha256 hex by which two packages are the same model."""
        return manifest.identity(self.fingerprint, self.files)

    def manifest(self, version: str) -> Manifest:
        """Return the manifest that makes this package that version."""
        return manifest.build_manifest(
            self.files,
            experiment=self.experiment,
            version=version,
            created=self.created,
            fingerprint=self.fingerprint,
            code=self.code,
        )
