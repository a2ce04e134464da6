"""The validation report: what the chosen configuration is worth on rows nobody chose by.

Scores live in `statistics/scores.py`, criteria in `gates.py`, weak parts in `segments.py`; why it
is not good enough is `next_search.py`'s question, and how a report looks `page.py`'s.
In: predictions of three kinds (see `judge`). Out: a frozen `ValidationReport`, rendered last.
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
from experiment_pipeline.stages.validation_report.segments import Segment
from experiment_pipeline.statistics.calibration import (
    Miscalibration,
    miscalibration,
    reweighting,
)
from experiment_pipeline.statistics.caveats import caveats, few_clusters_note
from experiment_pipeline.statistics.interval import Interval, difference
from experiment_pipeline.statistics.metrics import better, better_bound, reported_of
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    baseline,
    best_constant,
    difference_to_baseline,
    interval_of,
)
from experiment_pipeline.statistics.spread import spread_of
from experiment_pipeline.statistics.thresholds import (
    DecisionThreshold,
    cross_fitted,
    threshold_value,
)
from experiment_pipeline.statistics.weights import Weights, weighted_mean
from experiment_pipeline.storage.records import from_json, to_json


@dataclass(frozen=True)
class Gap:
    """How one and the same train-only fit scores on test, where it was chosen, and on validation.

    After a cross-validation there is no such fit: `test` is the score of models of folds on the
    rows that they were not fitted on, `validation` that of the exported model, which has seen more.

    On test it decides at a cross-fitted threshold, so that what is lost on validation is not the
    luck of the threshold; the interval of the difference, validation minus test, holds that luck.
    `worse`: even the interval's better end is worse than no difference. `evaluation`: what the
    choice rests on, by its name in the YAML; `rows`: of validation, where they are not all.
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
        refitted: whether the exported fit has seen the test rows as well.
        scores: of the ranking metric, of the criteria, then of `metrics.reported_of`.
            f1, accuracy and balanced_accuracy of a binary model are at `threshold`.
        gates: at least one.
        gap: of the ranking metric.
        positive_class: binary only; the class that was modelled, whether or not the YAML names it.
        hyperparameters: of the configuration.
        threshold: binary only; chosen on the test set.
        prevalence: binary only: share of positive rows in the validation set.
        miscalibration: of a reweighted model that is not calibrated; None for any other.
        calibrated_by: how its probabilities were calibrated; None: they are as they are.
        clusters_that_count: metric → clusters that decide how sure it is: those of the rarest class,
            where it compares classes, else all.
        details: what else there is to know of it.
        usage: which features it uses, and how, on the test rows; None: not looked at.
        segments: the weakest parts of the validation set.
        champion: how it stands against the exported model; None when there is none, or the
            YAML does not ask.
        looks: how many models have looked at these rows, this one included.
        overlap: share of these rows that another model has seen at once, at most.
        notes: what to know before believing it, one sentence each.
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
        """Return what the exported fit scores; StopIteration for a metric of another task."""
        return next(score for score in self.scores if score.metric == metric)

    def to_json(self) -> str:
        """Return strict JSON; numbers that JSON lacks are the texts NaN and Infinity."""
        return to_json(self, not_finite="strings").decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the report that `to_json` wrote; EntryCorrupt for another text."""
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
        train_only: the fit of the search, on these rows or an even part; without a refit `exported`.
        test: that fit on the test rows.
        y_fitted: encoded targets of the rows that `exported` saw: all that the baseline knows.
        classes: of the target, for binary the positive one last; None for regression.
        w_fitted: their weights; None: all count alike.
        threshold: of the decision, chosen on the test rows; None without one.
        usage: by `effects.usage`, of `train_only`.
        segments: by `weakest_segments`, of `exported`.
        earlier_looks: of other models at these validation rows.
        champion: how `exported` stands against the exported model.
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
        calibrated_by=uncalibrated.mended_by if uncalibrated else None,
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
    """How far a reweighted model is off that nothing has calibrated."""
    setting = None if uncalibrated else reweighting(hyperparameters)
    return miscalibration(setting, exported, classes)


def _scores(
    spec: ExperimentSpec,
    exported: SetPrediction,
    cut: float,
    known: tuple[np.ndarray, str, int, Weights],
) -> tuple[MetricScore, ...]:
    """The metrics of the experiment, then the others that every report of the task shows."""
    others = reported_of(spec.task)
    if spec.task == "regression" and (exported.y == 0).any():
        # Relative to a target of zero, an error has no size.
        others = tuple(name for name in others if name != "mape")
    return tuple(
        _scored(metric, exported, cut, best_constant(metric, *known))
        for metric in dict.fromkeys((*spec.metric_names, *others))
    )


def _scored(metric: str, exported: SetPrediction, cut: float, constant: np.ndarray) -> MetricScore:
    """What the exported fit scores, beside a constant."""
    return MetricScore(
        metric,
        exported.interval(metric, cut),
        baseline(metric, exported.y, constant, exported.weights).estimate,
        difference_to_baseline(metric, exported, constant, cut),
    )


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
            "look makes their scores more flattering"
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
        return f"{lost}: drift and the optimism of the choice, which cannot be told apart here"
    return f"{lost}: more than chance; the choice was optimistic, or the sets are not alike"
