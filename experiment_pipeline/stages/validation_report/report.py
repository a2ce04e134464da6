"""The validation report: scores of the chosen configuration on rows not used to choose
it.

In: a `JudgedModel`, and how it fared by parts, groups and champions. Out: a frozen
`ValidationReport`; `page.py` renders it. The validation rows only decide the gates:
even the threshold was chosen on test rows.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pandas as pd

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.run_record import AuditRow, EvidenceRow
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.spec.schema import Meaning
from experiment_pipeline.stages.leaderboard.incumbent import IncumbentComparison
from experiment_pipeline.stages.leaderboard.notes import (
    cluster_in_words,
    weights_in_words,
)
from experiment_pipeline.stages.validation_report.effects import (
    NOT_CHECKED,
    CoverageCheck,
    Segment,
    Usage,
)
from experiment_pipeline.stages.validation_report.gates import (
    BETTER_THAN_BASELINE,
    ChampionComparison,
    Gate,
    audit_gates,
    coverage_gate,
    incumbent_gate,
    plausibility_gate,
    score_gates,
)
from experiment_pipeline.stages.validation_report.judged_model import (
    JudgedModel,
    MetricScore,
)
from experiment_pipeline.stages.validation_report.ledger import (
    NO_LOOKS,
    EarlierLooks,
    looked_at,
)
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
from experiment_pipeline.statistics.caveats import (
    caveats,
    few_clusters_note,
    undeclared_entities_note,
)
from experiment_pipeline.statistics.interval import (
    LEVEL,
    Interval,
    difference,
    spread_of,
    weighted_mean,
)
from experiment_pipeline.statistics.metrics import metric_of, significantly_worse
from experiment_pipeline.statistics.scores import interval_of, mean_with_interval
from experiment_pipeline.statistics.thresholds import (
    DecisionThreshold,
    best_threshold,
    cost_interval,
    cost_of,
    cross_fitted,
    threshold_value,
)
from experiment_pipeline.storage.records import from_json, to_json
from experiment_pipeline.table.kinds import TEXTS, kind_of

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
    # validation minus test; it includes the error of the threshold
    difference: Interval
    worse: bool  # whether the better bound of the difference is below zero improvement
    # the rows that the choice was made on, as the YAML names them
    evaluation: str = "test_set"
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
    # in the order of the target's; empty for regression
    classes: tuple[ClassOutcome, ...] = ()
    residuals: Residuals | None = None  # regression only
    quantile: QuantileCheck | None = None  # where a quantile is predicted


@dataclass(frozen=True)
class Examination:
    """How a model fares by features, parts, groups and champions."""

    usage: Usage | None = None  # of features, on the test rows; None: not measured
    segments: tuple[Segment, ...] | None = None  # the weakest; None: not computed
    # by time after the fitted rows; empty: not computed
    horizons: tuple[Segment, ...] = ()
    acquaintance: tuple[Segment, ...] = ()  # known and new groups apart, if declared
    coverage: CoverageCheck = NOT_CHECKED  # of intervals, or sets of classes
    audit: tuple[AuditRow, ...] = ()  # of the groups of the columns of the YAML
    # with the champion, and the best if it is another one
    champions: tuple[ChampionComparison, ...] = ()
    incumbent: IncumbentComparison | None = None  # None: the YAML names none


@dataclass(frozen=True, kw_only=True, repr=False)
class ValidationReport(Examination):
    """The judgement of one exported fit."""

    experiment: str  # its name
    configuration: str  # key of the chosen configuration
    metric: str  # the ranking metric
    rows: int  # of the validation set
    refitted: bool  # whether the exported model was fitted on the test rows, too
    # of the ranking metric, of the criteria, then of `metrics.reported_of`. f1,
    # accuracy and balanced_accuracy of a binary model are at `threshold`
    scores: tuple[MetricScore, ...]
    gates: tuple[Gate, ...]  # those that failed first
    gap: Gap  # of the ranking metric
    positive_class: Scalar  # binary only; the class that was modelled
    hyperparameters: Mapping[str, Scalar]  # of the configuration
    threshold: DecisionThreshold | None  # binary only; chosen on the test set
    # binary only: share of positive rows in the validation set
    prevalence: float | None
    # of a reweighted model that is not calibrated
    miscalibration: Miscalibration | None
    # of its probabilities; None: not calibrated
    calibrated_by: str | None
    # metric → number of clusters that determines its uncertainty: those of the rarest
    # class for a metric that compares classes, else all
    clusters_that_count: Mapping[str, int]
    details: Details  # calibration, decisions, classes, residuals
    looks: int  # number of models scored on these rows, this one included
    overlap: float  # largest share of these rows that another model was scored on
    # of the intervals that the gates judge; that of `scores` is always 95 %
    level: float
    conditions: tuple[str, ...]  # under which it is accepted, a sentence each
    notes: tuple[str, ...] = ()  # caveats, one sentence each
    evidence: tuple[EvidenceRow, ...] = ()  # for a referee; it decides nothing
    # feature → what schema.yaml says about it
    meanings: Mapping[str, Meaning] = field(default_factory=dict)

    def __repr__(self) -> str:
        failed = ""
        if not self.accepted:
            failed = f" ({'; '.join(gate.name for gate in self.failed_gates)})"
        score = numbers.interval(self.score(self.metric).interval)
        return (
            f"{self.experiment}: {self.decision}{failed}, {self.configuration}: "
            f"{self.metric} {score} on {self.rows:,} validation rows"
        )

    @property
    def accepted(self) -> bool:
        """Whether every gate passed."""
        return not self.failed_gates

    @property
    def decision(self) -> str:
        """`accepted`, with its conditions, or `not accepted`."""
        if not self.accepted:
            return "not accepted"
        return numbers.accepted_under(self.conditions)

    @property
    def gates_in_words(self) -> str:
        """The gates that failed, else all of them, each with its value and outcome."""
        return "; ".join(gate.in_words() for gate in self.failed_gates or self.gates)

    @property
    def baseline_gate(self) -> Gate | None:
        """The gate of the baseline; None: it is off."""
        gates = (gate for gate in self.gates if gate.name == BETTER_THAN_BASELINE)
        return next(gates, None)

    @property
    def looks_in_words(self) -> str:
        """How often these rows have been looked at, and what that costs."""
        return looked_at(self.looks, self.overlap, self.level)

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
        damage = EntryCorrupt(
            "report.json",
            rule="is not a validation report",
            fix="Materialize validation_report again.",
        )
        return from_json(cls, text, damage)


def judge(
    model: JudgedModel,
    examination: Examination = Examination(),
    looks: EarlierLooks = NO_LOOKS,
    conditions: Sequence[str] = (),
) -> ValidationReport:
    """Judge a model on the validation set, under conditions of the data analysis."""
    spec = model.spec
    exported = model.exported
    result = model.result
    is_binary = spec.task == "binary"
    scores = model.scores()
    # Wider intervals after earlier looks.
    gate_scores = scores if looks.level == LEVEL else model.scores(looks.level)
    plausibility = plausibility_gate(spec, scores)
    gates = [
        *score_gates(spec, gate_scores),
        *(() if plausibility is None else (plausibility,)),
        *_examined_gates(spec, examination),
    ]
    setting = reweighting(result.configuration.declared_settings)
    report = ValidationReport(
        experiment=spec.name,
        configuration=model.key,
        metric=spec.metric,
        rows=len(exported.y),
        refitted=spec.export.refit == "train_and_test",
        scores=scores,
        gates=tuple(sorted(gates, key=lambda gate: gate.passed)),
        gap=_gap(model),
        positive_class=model.classes[1] if is_binary and model.classes else None,
        hyperparameters=dict(result.configuration.declared_settings),
        threshold=model.threshold,
        prevalence=_mean(exported.y, exported.weights) if is_binary else None,
        miscalibration=miscalibration(
            None if result.calibration else setting, exported, model.classes
        ),
        calibrated_by=result.calibration,
        clusters_that_count={
            score.metric: exported.spread(score.metric, model.cut).scarcest
            for score in scores
        },
        details=_details(model),
        looks=looks.models + 1,
        overlap=looks.overlap,
        level=looks.level,
        conditions=(*conditions, *_conditions(spec, plausibility, examination)),
        **vars(examination),
    )
    return replace(report, notes=tuple(_notes(model, report)))


def _examined_gates(spec: ExperimentSpec, examination: Examination) -> Iterator[Gate]:
    """The gates of coverage, of what the model replaces, and of the audit."""
    if spec.coverage:
        yield coverage_gate(examination.coverage)
    for comparison in examination.champions:
        yield comparison.gate
    if examination.incumbent is not None:
        yield incumbent_gate(examination.incumbent)
    yield from audit_gates(spec, examination.audit)


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    return float(weighted_mean(values, weights))


def _conditions(
    spec: ExperimentSpec, plausibility: Gate | None, examination: Examination
) -> Iterator[str]:
    if not spec.baseline:
        yield _NO_BASELINE
    if plausibility is not None and plausibility.passed:
        measured = plausibility.rule.partition(": ")[2]
        yield f"error_plausible: {measured}; {plausibility.means}"
    for gate in audit_gates(spec, examination.audit):
        if not gate.conclusive:
            yield f"audit: {gate.in_words()}"
    for comparison in examination.champions:
        if comparison.scores is not None and comparison.passes_as_tied:
            yield (
                f"chosen_by_hand: significantly worse than the {comparison.role} "
                f"{comparison.version} ({comparison.metric} "
                f"{numbers.interval(comparison.scores.difference)}), but not by more "
                f"than the {numbers.score(comparison.tolerance_of_tie)} by which "
                "models that are tied on the leaderboard may differ"
            )


def _gap(model: JudgedModel) -> Gap:
    spec = model.spec
    test = model.test
    validation = model.train_only
    metric = spec.metric
    on_test = cross_fitted(metric, test)
    test_spread = spread_of(on_test.score, test.layout(metric))
    cut = threshold_value(best_threshold(spec.metric_names, None, test))
    validation_spread = validation.spread(metric, cut)
    error = math.hypot(
        validation_spread.standard_error, on_test.threshold_error(metric, validation)
    )
    gap = difference(test_spread, replace(validation_spread, standard_error=error))
    rows = len(validation.y)
    return Gap(
        test=interval_of(metric, test_spread),
        validation=interval_of(metric, validation_spread),
        difference=gap,
        worse=significantly_worse(metric, gap),
        evaluation=spec.evaluation_name,
        rows=rows if rows < len(model.exported.y) else None,
    )


def _details(model: JudgedModel) -> Details:
    exported = model.exported
    classes = model.classes
    if classes is None:
        level = metric_of(model.spec.metric).objective.get("alpha")
        quantile = None
        if level is not None:
            quantile = quantile_check(float(level), exported, model.test)
        residuals = residuals_of(exported.y, exported.prediction)
        return Details(residuals=residuals, quantile=quantile)
    uncalibrated = ()
    if model.uncalibrated is not None:
        uncalibrated = calibrations(model.uncalibrated, classes)
    decided = confusion(exported.y, exported.decided(model.cut), len(classes))
    return Details(
        calibration=calibrations(exported, classes),
        uncalibrated=uncalibrated,
        at_threshold=None if model.threshold is None else _at_threshold(model),
        classes=class_outcomes(decided, classes),
    )


def _at_threshold(model: JudgedModel) -> AtThreshold:
    exported = model.exported
    called = exported.prediction >= model.cut
    positive = exported.y == 1

    def share(hits: np.ndarray, among: np.ndarray) -> Interval:
        rows = exported.rows(among)
        return mean_with_interval(hits[among], rows.clusters, rows.weights, share=True)

    return AtThreshold(
        called=_mean(called, exported.weights),
        precision=share(positive, called),
        recall=share(called, positive),
        ways=tuple(_ways(model)),
    )


def _ways(model: JudgedModel) -> Iterator[WayToDecide]:
    """Costs at the exported threshold, at the one best for the metric, of calling no
    row and every row.
    """
    spec = model.spec
    test = model.test
    if spec.costs is None:
        return
    where = numbers.evaluated(spec.evaluation_name).short
    cuts = {f"the chosen threshold, the cheapest {where}": model.cut}
    if (ranked := best_threshold(spec.metric_names, None, test)) is not None:
        cuts[f"the threshold that is best for {ranked.metric}"] = ranked.value
    cuts |= {"call no row positive": float("inf"), "call every row positive": 0.0}
    for name, cut in cuts.items():
        cost = cost_of(spec.costs, test.y, test.prediction >= cut)
        on_validation = cost_interval(spec.costs, model.exported, cut)
        yield WayToDecide(name, cut, _mean(cost, test.weights), on_validation)


def _notes(model: JudgedModel, report: ValidationReport) -> Iterator[str]:
    spec = model.spec
    validation = model.exported
    cluster = cluster_in_words(spec)
    yield from weights_in_words(spec)
    if report.looks > 1:
        yield (
            "other models were evaluated on these validation rows before: every choice "
            "made after a look makes their scores more optimistic"
        )
    if report.gap.worse:
        yield _worse_than_on_test(spec, report.gap.difference)
    yield from _shifted(report)
    for rows, place in ((validation, "validation"), (model.test, "test")):
        if note := few_clusters_note(rows.clusters, cluster, place, rows.weights):
            yield note
    metrics = [score.metric for score in report.scores]
    yield from caveats(metrics, validation, cluster, "validation", model.cut)
    yield from _undeclared_entities(model)
    for score in report.scores:
        if math.isnan(score.interval.estimate):
            yield f"{score.metric} is undefined on the validation set"
    yield from _weak_parts(report)


def _undeclared_entities(model: JudgedModel) -> Iterator[str]:
    split = model.spec.split
    if split.by == "time" and not split.entities:
        columns = _repeated_values(model, split.column)
        if note := undeclared_entities_note(
            model.spec.metric, model.exported, columns, model.cut
        ):
            yield note


def _repeated_values(model: JudgedModel, time: str) -> dict[str, np.ndarray]:
    """Codes of the columns, as delivered, that may be ids: texts and whole numbers
    whose values repeat; not of the column of the time.
    """
    codes = {}
    for name, column in model.delivered.items():
        if name in (model.spec.target, time):
            continue
        if kind_of(column) in TEXTS | {"integer"}:
            of_column = pd.factorize(column, use_na_sentinel=False)[0]
            if of_column.max(initial=0) < len(column) / 2:
                codes[str(name)] = of_column
    return codes


def _worse_than_on_test(spec: ExperimentSpec, loss: Interval) -> str:
    model = "the fit that was chosen on test scores"
    why = "more than chance; the choice was optimistic, or the sets are not alike"
    if spec.cross_validation is not None:
        model = "compared with cross-validation, the final model scores"
    elif spec.split.by == "time":
        why = "drift and the optimism of the choice, which cannot be separated here"
    size = numbers.estimate(loss).removeprefix("-")
    return (
        f"{model} {spec.metric} {size} worse on "
        f"validation ({numbers.bounds(loss)}): {why}"
    )


def _shifted(report: ValidationReport) -> Iterator[str]:
    shift = report.miscalibration
    if shift is not None:
        yield (
            f"probabilities are not calibrated ({shift.setting}): on the validation "
            f"set the mean predicted probability of {shift.class_name} is "
            f"{numbers.score(shift.predicted)}, its share "
            f"{numbers.score(shift.observed)}; log_loss and brier count this shift, "
            "ranks do not"
        )
    quantile = report.details.quantile
    if quantile is not None and quantile.in_doubt:
        yield (
            f"{numbers.interval(quantile.below)} of the validation targets are below "
            f"the prediction, not {numbers.share(quantile.level)}: add "
            f"{numbers.score(quantile.shift)} to every prediction"
        )
    for part in report.coverage.parts:
        if part.clearly_worse:
            yield (
                "intervals or sets cover less than the "
                f"{numbers.share(part.expected)} promised: "
                f"{numbers.interval(part.score)} of {part.rows:,} rows, {part.column} "
                f"{part.value}"
            )


def _weak_parts(report: ValidationReport) -> Iterator[str]:
    for segment in report.segments or ():
        if segment.clearly_worse:
            yield (
                f"weaker than expected where {segment.column} is {segment.value} "
                f"({segment.rows:,} rows): {_against_expected(report, segment)}"
            )
    for horizon in report.horizons:
        if horizon.clearly_worse:
            yield (
                f"the score decays: {horizon.value} after the last fitted row it is "
                "significantly worse than right after it: "
                f"{_against_expected(report, horizon)}"
            )
            break  # one is enough: the later ones decay as well
    for part in report.acquaintance:
        if part.clearly_worse:
            yield (
                f"significantly worse for {part.value} values of {part.column} "
                f"({part.rows:,} rows) than for those of the fitted rows: "
                f"{_against_expected(report, part)}"
            )


def _against_expected(report: ValidationReport, segment: Segment) -> str:
    score = numbers.interval(segment.score)
    expected = numbers.score(segment.expected)
    return f"{report.metric} {score}, expected {expected}"


@dataclass(frozen=True)
class SetFact:
    """One of the three sets: the number of rows and their digest."""

    name: str
    rows: int
    digest: str


# Code of a reason → the expected gain of its advice, and what it costs.
EXPECTED = {
    "nothing_learnt": ("open", "new columns"),
    "implausible_error": ("an honest score", "a line of YAML"),
    "label_ceiling": ("up to the limit", "corrected labels or new columns"),
    "too_few_validation_rows": ("a narrower interval, the same score", "labelled rows"),
    "out_of_time": ("open, as most was not tried", "as many seconds again"),
    "looks_spent": ("gates at the first level", "labelled rows that are new"),
    "groups_differ": ("open", "a comparison of labels by group"),
    "coverage_not_held": ("intervals that hold, but wider", "more rows"),
    "worse_than_incumbent": ("the rule stays until then", "new columns"),
    "worse_than_champion": ("the champion stays until then", "a comparison"),
    "target_reversed": ("a target with one meaning", "corrected labels"),
    "champion_may_have_leaked": ("an honest champion", "one command"),
    "drift": ("part of the lost score", "a look at the features, later rows"),
    "overfit": ("part of the gap to the train score", "a search, or more rows"),
    "underfit": ("open", "a larger search, new columns"),
    "weak_segment": ("the score of these rows", "new columns"),
    "search_edge": ("small", "the new fits only, earlier ones are reused"),
    "few_train_rows": ("less than the last step gave", "as many rows again"),
    "one_family": ("open", "the fits of another algorithm"),
    "families_agree": ("open", "new columns"),
}


@dataclass(frozen=True)
class Reason:
    """An explanation of a failed gate: a stable code, a sentence with the numbers,
    advice.
    """

    code: str
    evidence: str
    advice: str

    @property
    def promises(self) -> str:
        """The expected gain of the advice, and its cost, as far as they are known."""
        gain, cost = EXPECTED[self.code]
        return f"Expected gain: {gain}. Cost: {cost}."


@dataclass(frozen=True)
class NextSearch:
    """Why the gate failed, the most certain reason first, and the `search:` to replace
    the YAML's.

    It begins with the current entries, whose fits are reused, and is indented as below
    `attributes:`.
    """

    reasons: tuple[Reason, ...]
    yaml: str
