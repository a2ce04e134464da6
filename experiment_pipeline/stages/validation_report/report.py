"""The validation report: scores of the chosen configuration on rows not used to choose it.

In: predictions of three kinds (see `judge`). Out: a frozen `ValidationReport`; `page.py` renders it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

import numpy as np

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import CalibrationMethod, ExperimentSpec, Scalar
from experiment_pipeline.stages.leaderboard.notes import cluster_in_words, weights_in_words
from experiment_pipeline.stages.validation_report.details import (
    Details,
    Segment,
    Uncalibrated,
    details_of,
    metric_threshold,
)
from experiment_pipeline.stages.validation_report.effects import Usage
from experiment_pipeline.stages.validation_report.gates import (
    ChampionComparison,
    Gate,
    MetricScore,
    hold,
)
from experiment_pipeline.stages.validation_report.ledger import NO_LOOKS, EarlierLooks
from experiment_pipeline.statistics.calibration import (
    Miscalibration,
    miscalibration,
    reweighting,
)
from experiment_pipeline.statistics.caveats import caveats, few_clusters_note
from experiment_pipeline.statistics.interval import (
    Interval,
    Weights,
    difference,
    spread_of,
    weighted_mean,
)
from experiment_pipeline.statistics.metrics import better, better_bound, reported_of
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    baseline,
    best_constant,
    difference_to_baseline,
    interval_of,
)
from experiment_pipeline.statistics.thresholds import (
    DecisionThreshold,
    cross_fitted,
    threshold_value,
)
from experiment_pipeline.storage.records import from_json, to_json


@dataclass(frozen=True)
class Gap:
    """Scores of the train-only fit on test, where it was chosen, and on validation.

    After a cross-validation, `test` is the out-of-fold score and `validation` that of the exported
    model, which was fitted on more rows.

    Attributes:
        test: at a cross-fitted threshold, so that it is not optimistic.
        validation: at the threshold chosen on test.
        difference: validation minus test; its interval includes the error of the threshold.
        worse: whether the better bound of the difference is below zero improvement.
        evaluation: the rows that the choice was made on, by their name in the YAML.
        rows: validation rows used; None: all.
    """

    test: Interval
    validation: Interval
    difference: Interval
    worse: bool
    evaluation: str = "test_set"
    rows: int | None = None


@dataclass(frozen=True)
class ValidationReport:
    """The judgement of one exported fit.

    Attributes:
        experiment: its name.
        configuration: key of the chosen configuration.
        metric: the ranking metric.
        rows: of the validation set.
        refitted: whether the exported model was fitted on the test rows, too.
        scores: of the ranking metric, of the criteria, then of `metrics.reported_of`.
            f1, accuracy and balanced_accuracy of a binary model are at `threshold`.
        gates: at least one.
        gap: of the ranking metric.
        positive_class: binary only; the class that was modelled.
        hyperparameters: of the configuration.
        threshold: binary only; chosen on the test set.
        prevalence: binary only: share of positive rows in the validation set.
        miscalibration: of a reweighted model that is not calibrated; None for any other.
        calibrated_by: how its probabilities were calibrated; None: they were not.
        clusters_that_count: metric → number of clusters that determines its uncertainty: of the
            rarest class for a metric that compares classes, else all.
        details: calibration, decisions, classes, residuals.
        usage: which features it uses, on the test rows; None: not measured.
        segments: the weakest parts of the validation set.
        champion: the comparison with the exported model; None: none exists, or none is requested.
        looks: number of models scored on these rows, this one included.
        overlap: largest share of these rows that another model was scored on.
        notes: caveats, one sentence each.
    """

    experiment: str
    configuration: str
    metric: str
    rows: int
    refitted: bool
    scores: tuple[MetricScore, ...]
    gates: tuple[Gate, ...]
    gap: Gap
    positive_class: Scalar
    hyperparameters: Mapping[str, Scalar]
    threshold: DecisionThreshold | None
    prevalence: float | None
    miscalibration: Miscalibration | None
    calibrated_by: CalibrationMethod | None
    clusters_that_count: Mapping[str, int]
    details: Details
    usage: Usage | None
    segments: tuple[Segment, ...]
    champion: ChampionComparison | None
    looks: int
    overlap: float
    notes: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether every gate passed."""
        return all(gate.passed for gate in self.gates)

    @property
    def failed_gates(self) -> tuple[Gate, ...]:
        """The gates that did not pass."""
        return tuple(gate for gate in self.gates if not gate.passed)

    def score(self, metric: str) -> MetricScore:
        """Return the score of a metric; StopIteration for one of another task."""
        return next(score for score in self.scores if score.metric == metric)

    def to_json(self) -> str:
        """Return strict JSON; NaN and Infinity become texts."""
        return to_json(self, not_finite="strings").decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the report back; EntryCorrupt for another text."""
        fix = "Materialize validation_report again."
        return from_json(cls, text, EntryCorrupt("report.json", "is no validation report", fix))


def judge(
    spec: ExperimentSpec,
    configuration: str,
    exported: SetPrediction,
    train_only: SetPrediction,
    test: SetPrediction,
    y_fitted: np.ndarray,
    classes: tuple[Scalar, ...] | None,
    *,
    w_fitted: Weights = None,
    threshold: DecisionThreshold | None,
    usage: Usage | None = None,
    segments: Sequence[Segment] = (),
    earlier_looks: EarlierLooks = NO_LOOKS,
    champion: ChampionComparison | None = None,
    hyperparameters: Mapping[str, Scalar] = MappingProxyType({}),
    uncalibrated: Uncalibrated | None = None,
) -> ValidationReport:
    """Judge the chosen configuration on the validation set.

    Args:
        spec: the experiment.
        configuration: key of the chosen one.
        exported: the fit that would be exported, on the validation rows.
        train_only: the fit of the search, on these rows or an evenly spread part.
        test: that fit on the test rows.
        y_fitted: encoded targets that `exported` was fitted on; the baseline is derived from them.
        classes: of the target, for binary the positive one last; None for regression.
        w_fitted: weights of these rows.
        threshold: chosen on the test rows; None: not binary.
        usage: by `effects.usage`, of `train_only`.
        segments: by `weakest_segments`, of `exported`.
        earlier_looks: of other models at these validation rows.
        champion: the comparison with the exported model.
        hyperparameters: of the configuration.
        uncalibrated: `exported` without its calibrators; None: it has none.
    """
    cut, binary = threshold_value(threshold), spec.task == "binary"
    scores = _scores(spec, exported, cut, (y_fitted, spec.task, len(classes or ()), w_fitted))
    report = ValidationReport(
        *(spec.name, configuration, spec.metric, len(exported.y)),
        refitted=spec.export.refit == "train_and_test",
        scores=scores,
        gates=(*hold(spec, scores), *([] if champion is None else [champion.gate])),
        gap=_gap(spec, train_only, test, len(exported.y)),
        positive_class=classes[1] if binary and classes else None,
        hyperparameters=dict(hyperparameters),
        threshold=threshold,
        prevalence=float(weighted_mean(exported.y, exported.weights)) if binary else None,
        miscalibration=_miscalibration(uncalibrated, hyperparameters, exported, classes),
        calibrated_by=uncalibrated.calibrated_by if uncalibrated else None,
        clusters_that_count={x.metric: exported.spread(x.metric, cut).scarcest for x in scores},
        details=details_of(spec, exported, test, classes, threshold, uncalibrated),
        usage=usage,
        segments=tuple(segments),
        champion=champion,
        looks=earlier_looks.models + 1,
        overlap=earlier_looks.overlap,
    )
    return replace(report, notes=tuple(_notes(spec, report, earlier_looks, exported, test)))


def _miscalibration(
    uncalibrated: Uncalibrated | None,
    hyperparameters: Mapping[str, Scalar],
    exported: SetPrediction,
    classes: tuple[Scalar, ...] | None,
) -> Miscalibration | None:
    """The shift of a reweighted model's probabilities; None for a calibrated model."""
    setting = None if uncalibrated else reweighting(hyperparameters)
    return miscalibration(setting, exported, classes)


def _scores(
    spec: ExperimentSpec,
    exported: SetPrediction,
    cut: float,
    known: tuple[np.ndarray, str, int, Weights],
) -> tuple[MetricScore, ...]:
    """Score the metrics of the experiment, then those of every report of the task."""
    others = reported_of(spec.task)
    if spec.task == "regression" and (exported.y == 0).any():
        # A relative error is undefined for a target of zero.
        others = tuple(name for name in others if name != "mape")
    scores = []
    for metric in dict.fromkeys((*spec.metric_names, *others)):
        constant = best_constant(metric, *known)
        score = MetricScore(
            metric,
            exported.interval(metric, cut),
            baseline(metric, exported.y, constant, exported.weights).estimate,
            difference_to_baseline(metric, exported, constant, cut),
        )
        scores.append(score)
    return tuple(scores)


def _gap(spec: ExperimentSpec, validation: SetPrediction, test: SetPrediction, n_rows: int) -> Gap:
    metric, threshold = spec.metric, threshold_value(metric_threshold(spec, test))
    fitted = cross_fitted(metric, test)
    on_test = spread_of(fitted.score, test.layout(metric))
    seen = validation.spread(metric, threshold)
    luck = fitted.threshold_error(metric, validation)
    gap = difference(on_test, replace(seen, standard_error=math.hypot(seen.standard_error, luck)))
    best_case = better_bound(metric, gap)
    return Gap(
        test=interval_of(metric, on_test),
        validation=interval_of(metric, seen),
        difference=gap,
        worse=better(metric, 0.0, best_case) and math.isfinite(best_case),
        evaluation=spec.evaluation_name,
        rows=len(validation.y) if len(validation.y) < n_rows else None,
    )


def _notes(
    spec: ExperimentSpec,
    report: ValidationReport,
    earlier: EarlierLooks,
    exported: SetPrediction,
    test: SetPrediction,
) -> Iterator[str]:
    yield from weights_in_words(spec)
    if earlier.models:
        yield (
            f"these validation rows have been {earlier.in_words()}: every choice made after a "
            "look makes their scores more optimistic"
        )
    if report.gap.worse:
        yield _gap_in_words(spec, report.gap)
    if report.miscalibration is not None:
        found = report.miscalibration
        yield (
            f"probabilities are not calibrated ({found.setting}): on the validation set the mean "
            f"predicted probability of {found.of} is {numbers.score(found.predicted)}, its share "
            f"{numbers.score(found.observed)}; log_loss and brier count this shift, ranks do not"
        )
    cluster = cluster_in_words(spec)
    few = ((exported, "validation"), (test, "test"))
    noted = [few_clusters_note(one.clusters, cluster, place, one.weights) for one, place in few]
    yield from filter(None, noted)
    metrics = [score.metric for score in report.scores]
    yield from caveats(metrics, exported, cluster, "validation", threshold_value(report.threshold))
    for score in report.scores:
        if math.isnan(score.interval.estimate):
            yield f"{score.metric} is undefined on the validation set"
    for segment in report.segments:
        if segment.clearly_worse:
            yield (
                f"clearly weaker where {segment.column} is {segment.value} ({segment.rows:,} "
                f"rows): {spec.metric} {numbers.interval(segment.score)}"
            )


def _gap_in_words(spec: ExperimentSpec, gap: Gap) -> str:
    if spec.cross_validation is not None:
        return (
            f"the exported model scores {spec.metric} "
            f"{numbers.score(abs(gap.difference.estimate))} worse on validation than models of "
            f"fewer rows did in cross-validation ({numbers.score(gap.difference.low)} to "
            f"{numbers.score(gap.difference.high)}): more than chance; the choice was optimistic, "
            "or the sets are not alike"
        )
    lost = (
        f"the fit that was chosen on test loses {numbers.score(abs(gap.difference.estimate))} "
        f"{spec.metric} on validation ({numbers.score(gap.difference.low)} to "
        f"{numbers.score(gap.difference.high)})"
    )
    if spec.split.by == "time":
        return f"{lost}: drift and the optimism of the choice, which cannot be separated here"
    return f"{lost}: more than chance; the choice was optimistic, or the sets are not alike"
