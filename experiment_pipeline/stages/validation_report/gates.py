"""The gates: the scores of the exported fit against acceptance criteria, baseline and champion.

In: criteria, scores with intervals, the published champion, rows as delivered. Out: `Gate`s and a
`ChampionComparison`. Without criteria, the ranking metric must be significantly better than the
baseline's. Challenger and champion are compared by the paired difference of their scores on the
validation rows that the champion was neither fitted nor chosen on.
"""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import InvalidModel, PredictionsChanged, UnusableTable
from experiment_pipeline.prediction.files import Model, verified_model
from experiment_pipeline.prediction.rows import prepared
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Criterion, ExperimentSpec, Scalar
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.statistics import metrics
from experiment_pipeline.statistics.caveats import FEW_CLUSTERS
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.scores import SetPrediction, paired_difference
from experiment_pipeline.storage import registry as versions
from experiment_pipeline.storage.mapped import some_rows
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.table.clusters import FITTED_ROWS, FittedRows
from experiment_pipeline.table.table import SLICE_ROWS, slices

# Of the difference's interval: its better bound is a one-sided test at the 5 % level. Simulated
# (logistic data, 1,000 validation rows): it stops 67 % of the models that are worse by 0.02 AUC and
# 3 % of those that are not worse; a level of 95 % stops 59 % and 0 %, one of 80 % 74 % and 6 %.
CONFIDENCE = 0.9


@dataclass(frozen=True)
class MetricScore:
    """A score of the exported fit on the validation set."""

    metric: str
    interval: Interval
    baseline: float  # the score of the best constant on the same rows
    difference_to_baseline: Interval  # paired


@dataclass(frozen=True)
class Gate:
    """One criterion and its outcome."""

    metric: str  # that is judged
    rule: str  # such as `lower bound of roc_auc at least 0.65`
    # a bound or the estimate; nan never passes. For the baseline's gate: the baseline plus the
    # worse bound of the difference
    value: float
    limit: float  # what `value` is compared with
    by_bound: bool  # whether `value` is a bound
    passed: bool  # the outcome
    conclusive: bool = True  # False: too little data to decide; such a gate blocks nothing
    means: str = ""  # the meaning of the outcome, a phrase

    @property
    def outcome(self) -> str:
        """PASS, FAIL or INCONCLUSIVE."""
        if not self.conclusive:
            return "INCONCLUSIVE"
        return "PASS" if self.passed else "FAIL"

    def in_words(self) -> str:
        """`lower bound of roc_auc at least 0.65: 0.6803, PASS`."""
        return f"{self.rule}: {numbers.score(self.value)}, {self.outcome}"


def hold(spec: ExperimentSpec, scores: Sequence[MetricScore]) -> tuple[Gate, ...]:
    """Return every gate of an experiment; `scores` are at least those of `spec.metric_names`."""
    by_name = {score.metric: score for score in scores}
    if not spec.acceptance:
        return (_against_baseline(by_name[spec.metric]),)
    return tuple(_held(one, by_name[one.metric].interval) for one in spec.acceptance)


def _held(criterion: Criterion, interval: Interval) -> Gate:
    by_bound, metric = criterion.judged_by == "bound", criterion.metric
    value = metrics.worse_bound(metric, interval) if by_bound else interval.estimate
    if criterion.at_least is not None:
        limit, relation, passed = criterion.at_least, "at least", value >= criterion.at_least
    else:
        limit = float(criterion.at_most)  # type: ignore[arg-type]
        relation, passed = "at most", value <= limit
    judged = f"{_worse_end(metric)} bound" if by_bound else "estimate"
    means = f"the {judged}{' of the 95 % interval' if by_bound else ''} "
    means += "passes" if passed else "does not pass"
    rule = f"{judged} of {metric} {relation} {limit:g}"
    return Gate(metric, rule, value, limit, by_bound, bool(passed), means=means)


def _against_baseline(score: MetricScore) -> Gate:
    difference = score.difference_to_baseline
    rule = (
        "better than the baseline, as no acceptance criteria are set: the "
        f"{_worse_end(score.metric)} bound of {score.metric} must beat the baseline "
        f"{numbers.score(score.baseline)}, paired on the same rows (difference "
        f"{numbers.interval(difference)})"
    )
    value = score.baseline + metrics.worse_bound(score.metric, difference)
    passed = metrics.significantly_better(score.metric, difference)
    means = f"{'significantly' if passed else 'not significantly'} better than the baseline"
    return Gate(score.metric, rule, value, score.baseline, True, passed, means=means)


def _worse_end(metric: str) -> str:
    return "lower" if metrics.METRICS[metric].greater_is_better else "upper"


@dataclass(frozen=True)
class PairedScores:
    """Scores of challenger and champion on the same rows."""

    rows: int
    challenger: float
    champion: float
    difference: Interval  # challenger minus champion, paired, at the level CONFIDENCE


@dataclass(frozen=True)
class ChampionComparison:
    """The challenger compared with the champion."""

    version: str  # the champion's
    metric: str  # the ranking metric of the challenger
    tolerance: float  # how much worse the challenger may be, in units of the metric
    same_model: bool = False  # whether the challenger is the champion; nothing is compared then
    why_not_compared: str = ""  # the reason for no comparison, else empty
    left_out: int = 0  # validation rows that the champion was fitted or chosen on
    scores: PairedScores | None = None  # of both; None: not compared

    @property
    def gate(self) -> Gate:
        """The gate; it fails when the better bound of the difference is beyond the tolerance."""
        rule, conclusive = f"not_worse_than_champion {self.version}", True
        limit = 0.0 - metrics.METRICS[self.metric].sign * self.tolerance
        if self.scores is not None:
            difference = self.scores.difference
            value = metrics.better_bound(self.metric, difference)
            passed = not metrics.better(self.metric, limit, value)
            rule += (
                f": {self.metric} {numbers.score(self.scores.challenger)} after "
                f"{numbers.score(self.scores.champion)} on the same {self.scores.rows:,} rows; "
                f"better bound ({numbers.share(difference.level)}) of the difference "
                f"{numbers.interval(difference)}"
            )
            means = f"{'not ' if passed else ''}significantly worse than it"
        elif self.same_model:
            value, passed, means = 0.0, True, "nothing would change"
            rule += ": it is this model"
        else:
            value, passed, conclusive = math.nan, True, False
            means = "too little data to decide; it blocks nothing"
            rule += f": {self.why_not_compared}"
        return Gate(self.metric, rule, value, limit, True, passed, conclusive, means)


@dataclass(frozen=True)
class PublishedChampion:
    """The latest visible version of a registry."""

    version: str
    exported: versions.ExportedModel

    @property
    def fingerprint(self) -> str:
        """Of its configuration; empty when its manifest is damaged."""
        with suppress(InvalidModel):
            return self.exported.manifest.fingerprint
        return ""

    @property
    def models(self) -> list[str]:
        """Fingerprints of its trained models: of an ensemble those of its members."""
        with suppress(InvalidModel):
            if members := self.facts["members"]:
                return list(members)
        return [self.fingerprint]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The content of metrics.json: scores, gates, threshold, looks, champion; or InvalidModel."""
        found: dict[str, Any] = json.loads(self.exported.read(versions.METRICS))
        return found

    def held_against(self, fingerprint: str) -> str | None:
        """Return the version that a model is compared with, by its configuration's fingerprint.

        It is this one; for the champion itself the one that it replaced, so that its report is
        found again.
        """
        if self.fingerprint == fingerprint:
            with suppress(InvalidModel):
                before = self.facts["champion"]
                return None if before is None else str(before["version"])
        return self.version

    def read(self, trusted: Sequence[str] = ()) -> tuple[Model, FittedRows]:
        """Load the model, and the rows that it was fitted or chosen on.

        Args:
            trusted: as of `prediction.files.load_model`.

        Raises:
            InvalidModel: a file was changed after the export, the model needs code that is not
                trusted, or it predicts something else here than at its export.
        """
        fix = "Install the versions of its environment.txt to compare with it."
        try:
            model = verified_model(self.exported, trusted)
        except InvalidModel:
            raise
        except PredictionsChanged as error:
            raise InvalidModel(self.version, error.rule, fix) from None
        # An old model in new libraries, or a user's own estimator, may raise anything.
        except Exception as error:
            why = f"cannot predict here: {type(error).__name__}: {error}"
            raise InvalidModel(self.version, why, fix) from error
        return model, FittedRows.from_bytes(self.exported.read(FITTED_ROWS), self.version)


def find_champion(registry: Registry) -> PublishedChampion | None:
    """Return the champion; None when nothing was exported yet."""
    version = registry.champion()
    return None if version is None else PublishedChampion(version, registry.model(version))


def hold_against_champion(
    spec: ExperimentSpec,
    current: PublishedChampion | None,
    trusted: Sequence[str],
    fingerprint: str,
    challenger: SetPrediction,
    threshold: float,
    validation: pd.DataFrame,
    classes: tuple[Scalar, ...] | None,
) -> ChampionComparison | None:
    """Compare the challenger with the champion; None: there is none, or it is not requested.

    The champion may run `trusted` code, prepares the rows itself and keeps its own threshold.
    `fingerprint` is that of the challenger's configuration, `challenger` its predictions of the
    validation rows (n,), `validation` (n, columns) the same rows as delivered. `classes` are the
    target's, as `challenger.y` is encoded.
    """
    if current is None:
        return None
    rule = spec.not_worse_than_champion
    blank = ChampionComparison(current.version, spec.metric, rule.tolerance if rule else 0.0)
    if current.fingerprint == fingerprint:
        return replace(blank, same_model=True)
    try:
        model, fitted = current.read(trusted)
        _check_same_question(model, spec, classes)
        new = _new_rows(fitted, validation, challenger)
        challenger = challenger.rows(new)
        rows, signature = some_rows(validation, np.flatnonzero(new)), model.signature
        found = []
        for some in slices(len(rows), SLICE_ROWS):
            ready = prepared(rows.iloc[some], model.reading, signature).frame
            features, names = signature.select(ready), tuple(signature.features)
            found.append(predict(model.pipeline, features, names, spec.task, classes))
    except (InvalidModel, UnusableTable) as error:
        return replace(blank, why_not_compared=f"not compared, {error.culprit} {error.rule}")
    metric, own = spec.metric, signature.threshold
    champion = replace(challenger, prediction=np.concatenate(found))
    before = champion.linearise(metric, 0.5 if own is None else own)
    after = challenger.linearise(metric, threshold)
    difference = paired_difference(before, after, challenger.layout(metric), CONFIDENCE)
    if not np.isfinite(difference.estimate):
        return replace(blank, why_not_compared=f"not compared, {metric} is undefined on these rows")
    compared = PairedScores(len(challenger.y), after.estimate, before.estimate, difference)
    return replace(blank, left_out=int((~new).sum()), scores=compared)


def _check_same_question(
    champion: Model, spec: ExperimentSpec, classes: tuple[Scalar, ...] | None
) -> None:
    """Raise UnusableTable when the champion predicts another target, or other classes."""
    signature = champion.signature
    answers = (signature.task, signature.target, set(signature.classes or ()))
    positive = classes is None or spec.task != "binary" or signature.positive_class == classes[1]
    if answers != (spec.task, spec.target, set(classes or ())) or not positive:
        raise UnusableTable(
            "the champion", "predicts another target, or other classes", "Nothing is compared."
        )


def _new_rows(
    fitted: FittedRows, validation: pd.DataFrame, challenger: SetPrediction
) -> np.ndarray:
    """Rows (n,) that the champion has not seen; UnusableTable when they are unknown, or too few."""
    if (seen := fitted.among(validation)) is None:
        raise UnusableTable(
            "the validation set",
            "may hold rows that the champion was fitted on: its record of them is by columns that "
            "are missing now",
            "The next export keeps a record.",
        )
    new = len(np.unique(challenger.clusters[~seen]))
    if new < FEW_CLUSTERS:
        raise UnusableTable(
            f"{new} of the validation set's clusters",
            f"are new to the champion, fewer than {FEW_CLUSTERS}",
            "Validate on more new rows.",
        )
    return ~seen
