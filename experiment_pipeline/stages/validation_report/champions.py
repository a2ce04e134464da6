"""The champion of a registry: its version, its model, and what is known about it.

In: a registry. Out: what `stages/validation_report/champion.py` compares with. Nothing is read before it is needed,
and everything is checked against the manifest.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from experiment_pipeline.errors import InvalidModel, PredictionsChanged
from experiment_pipeline.prediction.rows import PREPARATION, Reading, check_predictions
from experiment_pipeline.prediction.signature import SIGNATURE, Signature
from experiment_pipeline.rows.identity import FITTED_ROWS, FittedRows
from experiment_pipeline.stages.validation_report.challenge import Champion, CurrentVersion
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.storage.versions import EXAMPLE, EXPECTED, METRICS, MODEL, ExportedModel


@dataclass(frozen=True)
class PublishedChampion:
    """The latest visible version of a registry.

    Attributes:
        version: `v0001` and so on.
        exported: its folder.
    """

    version: str
    exported: ExportedModel

    @property
    def fingerprint(self) -> str:
        """Of its configuration; empty when its manifest is damaged: then it is no known model."""
        try:
            return self.exported.manifest.fingerprint
        except InvalidModel:
            return ""

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What metrics.json says: scores, gates, threshold, looks, champion.

        Raises:
            InvalidModel: it is not what was exported.
        """
        found: dict[str, Any] = json.loads(self.exported.read(METRICS))
        return found

    @property
    def held_against(self) -> str | None:
        """The version that it replaced; None when it was the first.

        Raises:
            InvalidModel: its facts are not what was exported.
        """
        before = self.facts.get("champion")
        return None if before is None else before["version"]

    def read(self, trusted_types: Sequence[str] = (), function: str | None = None) -> Champion:
        """Return the model with what travels with it.

        Args:
            trusted_types: types of a user's own estimator, known from where it was fitted.
            function: `module:function` of a preparation that may run: the YAML's.

        Raises:
            InvalidModel: a file is not what was exported, or needs code that is not trusted.
        """
        reading = Reading.from_bytes(self.exported.read(PREPARATION), self.version)
        if reading.preparation.function not in {None, function}:
            raise InvalidModel(
                self.version,
                f"prepares rows by {reading.preparation.function}, which the YAML does not name",
                "Name it under preparation.function, if you know where it comes from.",
            )
        signature = Signature.from_bytes(self.exported.read(SIGNATURE), self.version)
        pipeline = persistence.from_bytes(self.exported.read(MODEL), trusted_types)
        self._prove(pipeline, signature)
        return Champion(pipeline, signature, reading, self._fitted_rows())

    def _prove(self, pipeline: Any, signature: Signature) -> None:
        """Stop when it predicts otherwise here than at its export, or not at all."""
        files = (self.exported.read(EXAMPLE), self.exported.read(EXPECTED))
        fix = "Install the versions of its environment.txt to compare with it."
        try:
            check_predictions(pipeline, *files, signature)
        except PredictionsChanged as error:
            raise InvalidModel(self.version, error.rule, fix) from None
        # An old model in new libraries, or a user's own estimator, may raise anything.
        except Exception as error:
            why = f"cannot predict here: {type(error).__name__}: {error}"
            raise InvalidModel(self.version, why, fix) from error

    def _fitted_rows(self) -> FittedRows | None:
        if FITTED_ROWS not in self.exported.manifest.files:
            return None
        return FittedRows.from_bytes(self.exported.read(FITTED_ROWS), self.version)

    def current(self, trusted_types: Sequence[str], function: str | None) -> CurrentVersion:
        """Return it as the version that a challenger would replace; arguments as of `read`."""
        return CurrentVersion(
            self.version, self.fingerprint, lambda: self.read(trusted_types, function)
        )


def find_champion(registry: Registry) -> PublishedChampion | None:
    """Return the champion; None when nothing was exported yet."""
    version = registry.champion()
    return None if version is None else PublishedChampion(version, registry.model(version))
