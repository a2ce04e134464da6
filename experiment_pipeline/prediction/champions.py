"""The published versions that a new model is compared with, and what they predict.

In: a registry. Out: `PublishedChampion`s, which load their model only when asked.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import InvalidModel, PredictionsChanged
from experiment_pipeline.prediction.files import Model, load_model
from experiment_pipeline.spec.search import Export
from experiment_pipeline.stages.search.scoring import predictions_of
from experiment_pipeline.stages.validation_report.gates import (
    ChampionModel,
    Classes,
    Role,
)
from experiment_pipeline.storage import registry as versions
from experiment_pipeline.table.clusters import FITTED_ROWS, FittedRows
from experiment_pipeline.table.table import SLICE_ROWS, slices


@dataclass(frozen=True)
class PublishedChampion:
    """A version that a challenger must not be worse than."""

    version: str
    exported: versions.ExportedModel
    role: Role = "champion"

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its model; empty if its manifest is damaged."""
        with suppress(InvalidModel):
            return self.exported.manifest.fingerprint
        return ""

    def is_made_of(self, fingerprint: str, export: Export) -> bool:
        """Whether it is the model of this fingerprint, refitted as `export` says."""
        with suppress(InvalidModel):
            experiment = self.exported.settings()
            declared = experiment.get("export") or {}
            return (
                self.fingerprint == fingerprint
                and declared.get("fits", 1) == export.fits
                and declared.get("refit", "train_and_test") == export.refit
            )
        return False

    @property
    def models(self) -> list[str]:
        """Fingerprints of its trained models; for an ensemble those of its members."""
        with suppress(InvalidModel):
            if members := self.facts["members"]:
                return list(members)
        return [self.fingerprint]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The content of metrics.json: scores, gates, threshold, looks, champion; or
        InvalidModel.
        """
        return json.loads(self.exported.read(versions.METRICS))

    def read(self, trusted: Sequence[str] = ()) -> ChampionModel:
        """Load the model, `trusted` as of `load_model`, and the rows that it was fitted
        or chosen on.

        InvalidModel: it was changed, needs code that is not trusted, or predicts
        something else here.
        """
        try:
            model = load_model(str(self.exported.folder), trusted)
        except PredictionsChanged as error:
            fix = "Install the versions of its environment.txt to compare with it."
            raise InvalidModel(self.version, error.rule, fix) from None
        fitted_rows = self.exported.read(FITTED_ROWS)
        return as_champion(model, FittedRows.from_bytes(fitted_rows, self.version))


def as_champion(model: Model, fitted: FittedRows) -> ChampionModel:
    """Return a loaded model as one that a challenger is compared with."""
    signature = model.signature

    def predict(rows: pd.DataFrame, classes: Classes) -> np.ndarray:
        predictions = []
        for part in slices(len(rows), SLICE_ROWS):
            features = model.features_of(rows.iloc[part])
            predictions.append(
                predictions_of(model.pipeline, features, signature.task, classes)
            )
        return np.concatenate(predictions)

    return ChampionModel(
        task=signature.task,
        target=signature.target,
        classes=signature.classes,
        positive_class=signature.positive_class,
        threshold=signature.threshold,
        fitted=fitted,
        predict=predict,
    )


def find_champions(registry: versions.Registry) -> list[PublishedChampion]:
    """Return the champion, if any, and the best version so far where it is another."""
    version = registry.champion()
    if version is None:
        return []
    champions = [PublishedChampion(version, registry.model(version))]
    with suppress(InvalidModel):
        best = champions[0].facts.get("best")
        if best is not None and best not in registry.approvals("retired"):
            champions.append(PublishedChampion(best, registry.model(best), "best"))
    return champions


def held_against(
    champions: Sequence[PublishedChampion], fingerprint: str, export: Export
) -> list[str]:
    """Return the versions that a model, given by its fingerprint and `export`, is
    compared with.

    If it is the champion itself: those that the champion was compared with, so that its
    report is found again.
    """
    if champions and champions[0].is_made_of(fingerprint, export):
        with suppress(InvalidModel):
            compared = champions[0].facts.get("champions", ())
            return [comparison["version"] for comparison in compared]
    return [champion.version for champion in champions]
