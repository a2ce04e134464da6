"""The challenger against the champion: what both score on the same rows.

Both predict the same validation rows, none of which the champion was fitted or chosen on; what
is judged is the paired difference of their scores. In: the champion as it was exported, rows as
delivered, the challenger's predictions. Out: a `ChampionComparison`. A published champion is read
from a registry: nothing before it is needed, and everything is checked against its manifest.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import InvalidModel, PredictionsChanged, UnusableTable
from experiment_pipeline.prediction import rows as delivered
from experiment_pipeline.prediction.signature import SIGNATURE, Signature
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.stages.validation_report.gates import ChampionComparison, PairedScores
from experiment_pipeline.statistics.caveats import FEW_CLUSTERS
from experiment_pipeline.statistics.scores import SetPrediction, paired_difference
from experiment_pipeline.storage import persistence, versions
from experiment_pipeline.storage.mapped import some_rows
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.table.identity import FITTED_ROWS, FittedRows
from experiment_pipeline.table.table import SLICE_ROWS, slices

# Of the difference: a model is stopped when chance explains its loss in one of twenty cases. By
# simulation (logistic data, 1,000 validation rows): stops 67 % of models that are worse by 0.02
# AUC and 3 % of those that are not worse; a 95 % interval 59 % and 0 %, one of 80 % 74 % and 6 %.
# A stop costs a look at the report, a worse champion costs until somebody notices.
CONFIDENCE = 0.9


@dataclass(frozen=True, eq=False)
class Champion:
    """An exported model, and what travels with it.

    Attributes:
        pipeline: the fitted pipeline.
        signature: what it takes and gives.
        reading: how rows as delivered become what it takes.
        fitted_rows: what it was fitted and chosen on; None: exported before that was kept.
    """

    pipeline: Any
    signature: Signature
    reading: delivered.Reading
    fitted_rows: FittedRows | None


@dataclass(frozen=True, eq=False)
class CurrentVersion:
    """The version that a challenger would replace, and its configuration's fingerprint.

    `read` reads it; InvalidModel when it cannot be had.
    """

    version: str
    fingerprint: str
    read: Callable[[], Champion]


def hold_against_champion(
    spec: ExperimentSpec,
    current: CurrentVersion | None,
    fingerprint: str,
    challenger: SetPrediction,
    threshold: float,
    validation: pd.DataFrame,
    classes: tuple[Scalar, ...] | None,
) -> ChampionComparison | None:
    """Compare the model that would be exported with the one that is, if there is one.

    Args:
        spec: the experiment; `not_worse_than_champion` is on.
        current: the champion; None: there is none, or it is not asked for.
        fingerprint: of the challenger's configuration.
        challenger: the challenger's predictions of the validation rows (n,).
        threshold: the challenger's; the champion keeps its own.
        validation: (n, columns) the same rows as delivered: the champion prepares them its way.
        classes: of the target, as `challenger.y` is encoded.
    """
    if current is None:
        return None
    rule = spec.not_worse_than_champion
    blank = ChampionComparison(current.version, spec.metric, rule.tolerance if rule else 0.0)
    if current.fingerprint == fingerprint:
        return replace(blank, same_model=True)
    try:
        champion = current.read()
        unseen = _unseen(champion, validation)
        new = some_rows(validation, np.flatnonzero(unseen))
        prediction = _predictions(champion, new, spec, classes)
    except (InvalidModel, UnusableTable) as error:
        return replace(blank, why_untold=f"cannot be told, {error.culprit} {error.rule}")
    found = _compared(blank, challenger.rows(unseen), prediction, threshold, champion)
    return replace(found, left_out=int((~unseen).sum()))


def _unseen(champion: Champion, validation: pd.DataFrame) -> np.ndarray:
    """Which rows the champion has not seen; UnusableTable when that is not known."""
    seen = None if champion.fitted_rows is None else champion.fitted_rows.among(validation)
    if seen is None:
        raise UnusableTable(
            "the validation set",
            "may hold rows that the champion was fitted on: it kept no record of them, or one by "
            "columns that are gone",
            "The next export keeps one.",
        )
    return ~seen


def _predictions(
    champion: Champion,
    rows: pd.DataFrame,
    spec: ExperimentSpec,
    classes: tuple[Scalar, ...] | None,
) -> np.ndarray:
    """Predict; UnusableTable when the champion answers another question."""
    signature = champion.signature
    answers = (signature.task, signature.target, set(signature.classes or ()))
    positive = classes is None or spec.task != "binary" or signature.positive_class == classes[1]
    if answers != (spec.task, spec.target, set(classes or ())) or not positive:
        raise UnusableTable(
            "the champion", "predicts another target, or other classes", "Nothing is compared."
        )
    if not len(rows):
        return np.empty(0)
    names, found = tuple(signature.features), []
    for some in slices(len(rows), SLICE_ROWS):
        features = delivered.prepared_features(rows.iloc[some], champion.reading, signature)
        found.append(predict(champion.pipeline, features, names, spec.task, classes))
    return np.concatenate(found)


def _compared(
    blank: ChampionComparison,
    challenger: SetPrediction,
    prediction: np.ndarray,
    threshold: float,
    champion: Champion,
) -> ChampionComparison:
    n_clusters = len(np.unique(challenger.clusters))
    if n_clusters < FEW_CLUSTERS:
        why = (
            f"cannot be told, {n_clusters} of the validation set's clusters are new to the champion, "
            f"fewer than {FEW_CLUSTERS}"
        )
        return replace(blank, why_untold=why)
    own = champion.signature.threshold
    y, metric = challenger.y, blank.metric
    new = challenger.linearise(metric, threshold)
    before = replace(challenger, prediction=prediction)
    old = before.linearise(metric, 0.5 if own is None else own)
    difference = paired_difference(old, new, challenger.layout(metric), CONFIDENCE)
    if not np.isfinite(difference.estimate):
        return replace(blank, why_untold=f"cannot be told, {metric} is undefined on these rows")
    return replace(blank, scores=PairedScores(len(y), new.estimate, old.estimate, difference))


@dataclass(frozen=True)
class PublishedChampion:
    """The latest visible version of a registry."""

    version: str
    exported: versions.ExportedModel

    @property
    def fingerprint(self) -> str:
        """Of its configuration; empty when its manifest is damaged: then it is no known model."""
        try:
            return self.exported.manifest.fingerprint
        except InvalidModel:
            return ""

    @property
    def models(self) -> list[str]:
        """Fingerprints of the models it is made of: of an ensemble those of its members."""
        with suppress(InvalidModel):
            return [str(one) for one in self.facts.get("members", ())] or [self.fingerprint]
        return [self.fingerprint]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What metrics.json says: scores, gates, threshold, looks, champion; or InvalidModel."""
        found: dict[str, Any] = json.loads(self.exported.read(versions.METRICS))
        return found

    @property
    def held_against(self) -> str | None:
        """The version that it replaced; None when it was the first. InvalidModel as of `facts`."""
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
        content = self.exported.read(delivered.PREPARATION)
        reading = delivered.Reading.from_bytes(content, self.version)
        if reading.preparation.function not in {None, function}:
            raise InvalidModel(
                self.version,
                f"prepares rows by {reading.preparation.function}, which the YAML does not name",
                "Name it under preparation.function, if you know where it comes from.",
            )
        signature = Signature.from_bytes(self.exported.read(SIGNATURE), self.version)
        pipeline = persistence.from_bytes(self.exported.read(versions.MODEL), trusted_types)
        self._prove(pipeline, signature)
        fitted_rows = None
        if FITTED_ROWS in self.exported.manifest.files:
            fitted_rows = FittedRows.from_bytes(self.exported.read(FITTED_ROWS), self.version)
        return Champion(pipeline, signature, reading, fitted_rows)

    def _prove(self, pipeline: Any, signature: Signature) -> None:
        """Stop when it predicts otherwise here than at its export, or not at all."""
        example, expected = map(self.exported.read, (versions.EXAMPLE, versions.EXPECTED))
        fix = "Install the versions of its environment.txt to compare with it."
        try:
            delivered.check_predictions(pipeline, example, expected, signature)
        except PredictionsChanged as error:
            raise InvalidModel(self.version, error.rule, fix) from None
        # An old model in new libraries, or a user's own estimator, may raise anything.
        except Exception as error:
            why = f"cannot predict here: {type(error).__name__}: {error}"
            raise InvalidModel(self.version, why, fix) from error


def find_champion(registry: Registry) -> PublishedChampion | None:
    """Return the champion; None when nothing was exported yet."""
    version = registry.champion()
    return None if version is None else PublishedChampion(version, registry.model(version))
