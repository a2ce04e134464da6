"""Compare the challenger with the champion, by the paired difference of their scores.

Both predict the same validation rows, without those that the champion was fitted or chosen on.
In: the exported champion, rows as delivered, the challenger's predictions. Out: a
`ChampionComparison`. A published champion is read from a registry and checked against its manifest.
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
from experiment_pipeline.table.clusters import FITTED_ROWS, FittedRows
from experiment_pipeline.table.table import SLICE_ROWS, slices

# Of the difference's interval: its better bound is a one-sided test at the 5 % level. Simulated
# (logistic data, 1,000 validation rows): it stops 67 % of the models that are worse by 0.02 AUC and
# 3 % of those that are not worse; a level of 95 % stops 59 % and 0 %, one of 80 % 74 % and 6 %.
CONFIDENCE = 0.9


@dataclass(frozen=True, eq=False)
class Champion:
    """An exported model with its files.

    `fitted_rows` are the rows it was fitted and chosen on; None: an old export without them.
    """

    pipeline: Any
    signature: Signature
    reading: delivered.Reading
    fitted_rows: FittedRows | None


@dataclass(frozen=True, eq=False)
class CurrentVersion:
    """The version that a challenger would replace, and its configuration's fingerprint.

    `read` loads it; it raises InvalidModel for a model that cannot be loaded.
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
    """Compare the challenger with the champion; None: there is none, or it is not requested.

    Args:
        spec: the experiment.
        current: the champion.
        fingerprint: of the challenger's configuration.
        challenger: the challenger's predictions of the validation rows (n,).
        threshold: the challenger's; the champion keeps its own.
        validation: (n, columns) the same rows as delivered; the champion prepares them itself.
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
        return replace(blank, why_untold=f"not compared, {error.culprit} {error.rule}")
    found = _compared(blank, challenger.rows(unseen), prediction, threshold, champion)
    return replace(found, left_out=int((~unseen).sum()))


def _unseen(champion: Champion, validation: pd.DataFrame) -> np.ndarray:
    """Rows that the champion was not fitted or chosen on; UnusableTable when that is unknown."""
    seen = None if champion.fitted_rows is None else champion.fitted_rows.among(validation)
    if seen is None:
        raise UnusableTable(
            "the validation set",
            "may hold rows that the champion was fitted on: its record of them is missing, or is by "
            "columns that are missing now",
            "The next export keeps a record.",
        )
    return ~seen


def _predictions(
    champion: Champion,
    rows: pd.DataFrame,
    spec: ExperimentSpec,
    classes: tuple[Scalar, ...] | None,
) -> np.ndarray:
    """Predict; UnusableTable when the champion has another target or other classes."""
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
            f"not compared, {n_clusters} of the validation set's clusters are new to the champion, "
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
        return replace(blank, why_untold=f"not compared, {metric} is undefined on these rows")
    return replace(blank, scores=PairedScores(len(y), new.estimate, old.estimate, difference))


@dataclass(frozen=True)
class PublishedChampion:
    """The latest visible version of a registry."""

    version: str
    exported: versions.ExportedModel

    @property
    def fingerprint(self) -> str:
        """Of its configuration; empty when its manifest is damaged."""
        try:
            return self.exported.manifest.fingerprint
        except InvalidModel:
            return ""

    @property
    def models(self) -> list[str]:
        """Fingerprints of its trained models: of an ensemble those of its members."""
        with suppress(InvalidModel):
            return [str(one) for one in self.facts.get("members", ())] or [self.fingerprint]
        return [self.fingerprint]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The content of metrics.json: scores, gates, threshold, looks, champion; or InvalidModel."""
        found: dict[str, Any] = json.loads(self.exported.read(versions.METRICS))
        return found

    @property
    def held_against(self) -> str | None:
        """The version that it replaced; None when it was the first. InvalidModel as of `facts`."""
        before = self.facts.get("champion")
        return None if before is None else before["version"]

    def read(self, trusted_types: Sequence[str] = (), function: str | None = None) -> Champion:
        """Load the model with its files.

        Args:
            trusted_types: types of a user's own estimator that may be loaded.
            function: `module:function` of the preparation in the YAML; no other may run.

        Raises:
            InvalidModel: a file was changed after the export, the model needs code that is not
                trusted, or it predicts something else here than at its export.
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
        fitted_rows = None
        if FITTED_ROWS in self.exported.manifest.files:
            fitted_rows = FittedRows.from_bytes(self.exported.read(FITTED_ROWS), self.version)
        return Champion(pipeline, signature, reading, fitted_rows)


def find_champion(registry: Registry) -> PublishedChampion | None:
    """Return the champion; None when nothing was exported yet."""
    version = registry.champion()
    return None if version is None else PublishedChampion(version, registry.model(version))
