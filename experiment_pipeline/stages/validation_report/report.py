"""The validation report: scores of the chosen configuration on rows not used to choose
it.

In: predictions of three kinds (see `judge`). Out: a frozen `ValidationReport`;
`page.py` renders it. The validation rows only decide the gates: even the threshold was
chosen on test rows.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

import numpy as np

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.run_record import AuditRow, EvidenceRow
from experiment_pipeline.spec import CalibrationMethod, ExperimentSpec, Scalar
from experiment_pipeline.stages.leaderboard.notes import (
    cluster_in_words,
    weights_in_words,
)
from experiment_pipeline.stages.validation_report import effects
from experiment_pipeline.stages.validation_report.gates import (
    ChampionComparison,
    Gate,
    MetricScore,
    hold,
    hold_audit,
)
from experiment_pipeline.stages.validation_report.ledger import NO_LOOKS, EarlierLooks
from experiment_pipeline.statistics.calibration import (
    CalibrationCurve,
    ClassOutcome,
    Miscalibration,
    QuantileCheck,
    Residuals,
    calibrations,
    class_outcomes,
    confusion,
    miscalibration,
    quantile_check,
    residuals_of,
    reweighting,
)
from experiment_pipeline.statistics.caveats import caveats, few_clusters_note
from experiment_pipeline.statistics.interval import (
    LEVEL,
    Interval,
    Weights,
    difference,
    spread_of,
    weighted_mean,
)
from experiment_pipeline.statistics.metrics import (
    metric_of,
    reported_of,
    significantly_worse,
)
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    best_constant,
    difference_to_baseline,
    interval_of,
    mean_with_interval,
    repeated,
)
from experiment_pipeline.statistics.thresholds import (
    DecisionThreshold,
    cheapest_threshold,
    cost_interval,
    cost_of,
    cross_fitted,
    decision_threshold,
    threshold_value,
)
from experiment_pipeline.storage.records import from_json, to_json

_NO_BASELINE = (
    "baseline: off, so no gate asks whether the model is better than the baseline"
)


@dataclass(frozen=True)
class Gap:
    """Scores of the train-only fit on test, where it was chosen, and on validation;
    after a cross-validation the out-of-fold score, and that of the exported model.
    """

    test: Interval  # at a cross-fitted threshold, so that it is not optimistic
    validation: Interval  # at the threshold chosen on test
    difference: (
        Interval  # validation minus test; it includes the error of the threshold
    )
    worse: bool  # whether the better bound of the difference is below zero improvement
    evaluation: str = (
        "test_set"  # the rows that the choice was made on, as the YAML names them
    )
    rows: int | None = None  # validation rows used; None: all


@dataclass(frozen=True)
class WayToDecide:
    """A threshold and the cost of its wrong decisions."""

    name: str  # a phrase
    threshold: float  # positive from this probability on
    on_test: float  # expected cost per test row; thresholds are chosen there
    on_validation: Interval  # the same on the validation rows


@dataclass(frozen=True)
class AtThreshold:
    """The decisions at the exported threshold, on the validation rows."""

    called: float  # share of the rows that is predicted positive
    precision: Interval  # share of these that is positive
    recall: Interval  # share of the positive rows that is predicted positive
    # the exported threshold, the one without costs, no row, every row; empty without
    # costs
    ways: tuple[WayToDecide, ...]


@dataclass(frozen=True)
class Details:
    """What the report shows besides scores and gates."""

    # of the positive class, or of the most frequent ones
    calibration: tuple[CalibrationCurve, ...] = ()
    # the same before calibration; empty for a model without calibrators
    uncalibrated: tuple[CalibrationCurve, ...] = ()
    at_threshold: AtThreshold | None = None  # binary only
    classes: tuple[
        ClassOutcome, ...
    ] = ()  # in the order of the target's; empty for regression
    residuals: Residuals | None = None  # regression only
    quantile: QuantileCheck | None = None  # where a quantile is predicted


@dataclass(frozen=True)
class ValidationReport:
    """The judgement of one exported fit."""

    experiment: str  # its name
    configuration: str  # key of the chosen configuration
    metric: str  # the ranking metric
    rows: int  # of the validation set
    refitted: bool  # whether the exported model was fitted on the test rows, too
    # of the ranking metric, of the criteria, then of `metrics.reported_of`. f1,
    # accuracy and balanced_accuracy of a binary model are at `threshold`
    scores: tuple[MetricScore, ...]
    gates: tuple[Gate, ...]
    gap: Gap  # of the ranking metric
    positive_class: Scalar  # binary only; the class that was modelled
    hyperparameters: Mapping[str, Scalar]  # of the configuration
    threshold: DecisionThreshold | None  # binary only; chosen on the test set
    prevalence: (
        float | None
    )  # binary only: share of positive rows in the validation set
    miscalibration: (
        Miscalibration | None
    )  # of a reweighted model that is not calibrated
    calibrated_by: (
        CalibrationMethod | None
    )  # of its probabilities; None: not calibrated
    # metric → number of clusters that determines its uncertainty: those of the rarest
    # class for a metric that compares classes, else all
    clusters_that_count: Mapping[str, int]
    details: Details  # calibration, decisions, classes, residuals
    usage: (
        effects.Usage | None
    )  # which features it uses, on the test rows; None: not measured
    segments: (
        tuple[effects.Segment, ...] | None
    )  # its weakest parts; None: not computed
    # with the champion, and the best if it is another one
    champions: tuple[ChampionComparison, ...]
    looks: int  # number of models scored on these rows, this one included
    overlap: float  # largest share of these rows that another model was scored on
    level: (
        float  # of the intervals that the gates judge; that of `scores` is always 95 %
    )
    conditions: tuple[str, ...]  # under which it is accepted, a sentence each
    notes: tuple[str, ...] = ()  # caveats, one sentence each
    horizons: tuple[
        effects.Segment, ...
    ] = ()  # by time after the fitted rows; empty: not computed
    audit: tuple[AuditRow, ...] = ()  # of the groups of the columns that the YAML names
    coverage: effects.CoverageCheck = (
        effects.NOT_CHECKED
    )  # of intervals, or sets of classes
    evidence: tuple[EvidenceRow, ...] = ()  # for a referee; it decides nothing

    @property
    def accepted(self) -> bool:
        """Whether every gate passed."""
        return not self.failed_gates

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
        """Read the report back; EntryCorrupt for any other text."""
        fix = "Materialize validation_report again."
        return from_json(
            cls, text, EntryCorrupt("report.json", "is not a validation report", fix)
        )


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
    usage: effects.Usage | None = None,
    segments: Sequence[effects.Segment] | None = None,
    horizons: Sequence[effects.Segment] = (),
    audited: Sequence[AuditRow] = (),
    earlier_looks: EarlierLooks = NO_LOOKS,
    champions: Sequence[ChampionComparison] = (),
    conditions: Sequence[str] = (),
    hyperparameters: Mapping[str, Scalar] = MappingProxyType({}),
    calibrated_by: CalibrationMethod | None = None,
    uncalibrated: SetPrediction | None = None,
    coverage: effects.CoverageCheck = effects.NOT_CHECKED,
) -> ValidationReport:
    """Judge the chosen configuration on the validation set.

    `exported`: predictions of the validation rows by the fit that would be exported;
    `train_only`: by the fit of the search, of these rows or an evenly spread part;
    `test`: by that fit, of the test rows. `y_fitted`: encoded targets that `exported`
    was fitted on, for the baseline. `classes` end in the positive one.
    """
    cut, known = (
        threshold_value(threshold),
        (y_fitted, spec.task, len(classes or ()), w_fitted),
    )
    scores, level = tuple(_scores(spec, exported, cut, known)), earlier_looks.level
    judged = (
        scores if level == LEVEL else tuple(_scores(spec, exported, cut, known, level))
    )
    binary, held = spec.task == "binary", [one.gate for one in champions]
    setting = None if calibrated_by else reweighting(hyperparameters)
    report = ValidationReport(
        *(spec.name, configuration, spec.metric, len(exported.y)),
        refitted=spec.export.refit == "train_and_test",
        scores=scores,
        gates=(*hold(spec, judged, coverage), *held, *hold_audit(spec, audited)),
        gap=_gap(spec, train_only, test, len(exported.y)),
        positive_class=classes[1] if binary and classes else None,
        hyperparameters=dict(hyperparameters),
        threshold=threshold,
        prevalence=float(weighted_mean(exported.y, exported.weights))
        if binary
        else None,
        miscalibration=miscalibration(setting, exported, classes),
        calibrated_by=calibrated_by,
        clusters_that_count={
            x.metric: exported.spread(x.metric, cut).scarcest for x in scores
        },
        details=_details(spec, exported, test, classes, threshold, uncalibrated),
        usage=usage,
        segments=None if segments is None else tuple(segments),
        horizons=tuple(horizons),
        audit=tuple(audited),
        coverage=coverage,
        champions=tuple(champions),
        looks=earlier_looks.models + 1,
        overlap=earlier_looks.overlap,
        level=level,
        conditions=(*conditions, *_conditions(spec, audited)),
    )
    return replace(report, notes=tuple(_notes(spec, report, exported, test)))


def _conditions(spec: ExperimentSpec, audited: Sequence[AuditRow]) -> Iterator[str]:
    if not spec.baseline:
        yield _NO_BASELINE
    gates = hold_audit(spec, audited)
    yield from (f"audit: {gate.in_words()}" for gate in gates if not gate.conclusive)


def exported_threshold(
    spec: ExperimentSpec, test: SetPrediction
) -> DecisionThreshold | None:
    """Return the threshold, chosen on test: the cheapest, or without costs the best;
    None: not binary.
    """
    if spec.costs is not None:
        return cheapest_threshold(spec.costs, test.y, test.prediction, test.weights)
    return _ranked_at(spec, test)


def _ranked_at(spec: ExperimentSpec, test: SetPrediction) -> DecisionThreshold | None:
    return decision_threshold(spec.metric_names, test.y, test.prediction, test.weights)


def _scores(
    spec: ExperimentSpec,
    exported: SetPrediction,
    cut: float,
    known: tuple[np.ndarray, str, int, Weights],
    level: float = LEVEL,
) -> Iterator[MetricScore]:
    # The baseline's constant also learns from the validation rows: no other constant
    # can beat it by luck.
    y, task, n_classes, weights = known
    both = (y, weights), (exported.y, exported.weights)  # None: all alike in that set
    if any(one is not None for _, one in both):
        weights = np.concatenate(
            [np.ones(len(of)) if one is None else one for of, one in both]
        )
    y = np.concatenate([y, exported.y])
    others = reported_of(spec.task)
    if spec.task == "regression" and (exported.y == 0).any():
        # A relative error is undefined for a target of zero.
        others = tuple(name for name in others if name != "mape")
    for metric in dict.fromkeys((*spec.metric_names, *others)):
        constant = best_constant(metric, y, task, n_classes, weights)
        without = replace(exported, prediction=repeated(constant, len(exported.y)))
        yield MetricScore(
            metric,
            exported.interval(metric, cut, level),
            without.score(metric),
            difference_to_baseline(metric, exported, constant, cut, level),
        )


def _gap(
    spec: ExperimentSpec, validation: SetPrediction, test: SetPrediction, n_rows: int
) -> Gap:
    metric, threshold = spec.metric, threshold_value(_ranked_at(spec, test))
    fitted = cross_fitted(metric, test)
    on_test = spread_of(fitted.score, test.layout(metric))
    seen = validation.spread(metric, threshold)
    error = fitted.threshold_error(metric, validation)
    gap = difference(
        on_test, replace(seen, standard_error=math.hypot(seen.standard_error, error))
    )
    return Gap(
        test=interval_of(metric, on_test),
        validation=interval_of(metric, seen),
        difference=gap,
        worse=significantly_worse(metric, gap),
        evaluation=spec.evaluation_name,
        rows=len(validation.y) if len(validation.y) < n_rows else None,
    )


def _details(
    spec: ExperimentSpec,
    exported: SetPrediction,
    test: SetPrediction,
    classes: tuple[Scalar, ...] | None,
    threshold: DecisionThreshold | None,
    uncalibrated: SetPrediction | None,
) -> Details:
    if classes is None:
        level = metric_of(spec.metric).objective.get("alpha")
        return Details(
            residuals=residuals_of(exported.y, exported.prediction),
            quantile=None
            if level is None
            else quantile_check(float(level), exported, test),
        )
    decided = exported.decided(threshold_value(threshold))
    at_threshold = None
    if threshold is not None:
        called, positive = exported.prediction >= threshold.value, exported.y == 1

        def share(found: np.ndarray, among: np.ndarray) -> Interval:
            rows = exported.rows(among)
            return mean_with_interval(
                found[among], rows.clusters, rows.weights, share=True
            )

        at_threshold = AtThreshold(
            called=float(weighted_mean(called, exported.weights)),
            precision=share(positive, called),
            recall=share(called, positive),
            ways=tuple(_ways(spec, exported, test, threshold)),
        )
    return Details(
        calibration=calibrations(exported, classes),
        uncalibrated=()
        if uncalibrated is None
        else calibrations(uncalibrated, classes),
        at_threshold=at_threshold,
        classes=class_outcomes(confusion(exported.y, decided, len(classes)), classes),
    )


def _ways(
    spec: ExperimentSpec,
    exported: SetPrediction,
    test: SetPrediction,
    threshold: DecisionThreshold,
) -> Iterator[WayToDecide]:
    """Costs at the exported threshold, at the one best for the metric, of calling no
    row and every row.
    """
    if spec.costs is None:
        return
    cheapest = f"the chosen threshold, the cheapest {numbers.evaluated(spec.evaluation_name).short}"
    compared = {cheapest: threshold.value}
    if (own := _ranked_at(spec, test)) is not None:
        compared[f"the threshold that is best for {own.metric}"] = own.value
    compared |= {"call no row positive": float("inf"), "call every row positive": 0.0}
    for name, cut in compared.items():
        on_test = cost_of(spec.costs, test.y, test.prediction >= cut)
        interval = cost_interval(spec.costs, exported, cut)
        yield WayToDecide(
            name, cut, float(weighted_mean(on_test, test.weights)), interval
        )


def _notes(
    spec: ExperimentSpec,
    report: ValidationReport,
    exported: SetPrediction,
    test: SetPrediction,
) -> Iterator[str]:
    yield from weights_in_words(spec)
    if report.looks > 1:
        yield (
            "other models were evaluated on these validation rows before: every choice made after "
            "a look makes their scores more optimistic"
        )
    if report.gap.worse:
        lost = report.gap.difference
        who = "the fit that was chosen on test scores"
        why = "more than chance; the choice was optimistic, or the sets are not alike"
        if spec.cross_validation is not None:
            who = "compared with cross-validation, the final model scores"
        elif spec.split.by == "time":
            why = "drift and the optimism of the choice, which cannot be separated here"
        yield (
            f"{who} {spec.metric} {numbers.score(abs(lost.estimate))} worse on validation "
            f"({numbers.bounds(lost)}): {why}"
        )
    yield from _shifted(report)
    cluster = cluster_in_words(spec)
    few = ((exported, "validation"), (test, "test"))
    noted = [
        few_clusters_note(one.clusters, cluster, place, one.weights)
        for one, place in few
    ]
    yield from filter(None, noted)
    metrics = [score.metric for score in report.scores]
    yield from caveats(
        metrics, exported, cluster, "validation", threshold_value(report.threshold)
    )
    for score in report.scores:
        if math.isnan(score.interval.estimate):
            yield f"{score.metric} is undefined on the validation set"
    for segment in report.segments or ():
        if segment.clearly_worse:
            yield (
                f"weaker than expected where {segment.column} is {segment.value} "
                f"({segment.rows:,} rows): {spec.metric} {numbers.interval(segment.score)}, "
                f"expected {numbers.score(segment.expected)}"
            )
    for late in [one for one in report.horizons if one.clearly_worse][:1]:
        yield (
            f"the score decays: {late.value} after the last fitted row it is significantly worse than "
            f"right after it: {spec.metric} {numbers.interval(late.score)}, expected "
            f"{numbers.score(late.expected)}"
        )


def _shifted(report: ValidationReport) -> Iterator[str]:
    if report.miscalibration is not None:
        found = report.miscalibration
        yield (
            f"probabilities are not calibrated ({found.setting}): on the validation set the mean "
            f"predicted probability of {found.of} is {numbers.score(found.predicted)}, its share "
            f"{numbers.score(found.observed)}; log_loss and brier count this shift, ranks do not"
        )
    checked = report.details.quantile
    if checked is not None and checked.in_doubt:
        yield (
            f"{numbers.interval(checked.below)} of the validation targets are below the prediction, not "
            f"{numbers.share(checked.level)}: add {numbers.score(checked.shift)} to every prediction"
        )
    for part in report.coverage.parts:
        if part.clearly_worse:
            held = f"{numbers.interval(part.score)} of {part.rows:,} rows, {part.column} {part.value}"
            yield f"intervals or sets cover less than the {numbers.share(part.expected)} promised: {held}"


@dataclass(frozen=True)
class SetFact:
    """One of the three sets: the number of rows and their digest."""

    name: str
    rows: int
    digest: str


@dataclass(frozen=True)
class Reason:
    """An explanation of a failed gate: a stable code, a sentence with the numbers,
    advice.
    """

    code: str
    evidence: str
    advice: str


@dataclass(frozen=True)
class NextSearch:
    """Why the gate failed, the most certain reason first, and the `search:` to replace
    the YAML's.

    It begins with the current entries, whose fits are reused, and is indented as below
    `attributes:`.
    """

    reasons: tuple[Reason, ...]
    yaml: str
