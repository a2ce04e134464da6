"""The gates: the exported fit's scores against acceptance criteria, baseline and
champion.

In: the judged model, its scores and audit, the published champion. Out: `Gate`s and
`ChampionComparison`s, by paired differences on validation rows that the champion was
neither fitted nor chosen on. The best version so far is compared as well, and only a
significantly better one replaces it: else many small losses would add up.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import pandas as pd

from experiment_pipeline.errors import DataError, InvalidModel, UnusableTable
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.run_record import AuditRow
from experiment_pipeline.spec import Criterion, ExperimentSpec, Scalar
from experiment_pipeline.spec.search import Export, NotWorseThanChampion
from experiment_pipeline.stages.leaderboard.incumbent import (
    CONFIDENCE,
    IncumbentComparison,
)
from experiment_pipeline.stages.validation_report.audit import interval_of
from experiment_pipeline.stages.validation_report.effects import CoverageCheck
from experiment_pipeline.stages.validation_report.judged_model import (
    Classes,
    JudgedModel,
    MetricScore,
)
from experiment_pipeline.statistics import metrics
from experiment_pipeline.statistics.caveats import FEW_CLUSTERS
from experiment_pipeline.statistics.interval import LEVEL, Interval, cluster_codes
from experiment_pipeline.statistics.scores import SetPrediction, paired_difference
from experiment_pipeline.table.clusters import FittedRows
from experiment_pipeline.table.table import some_rows

# Level of the interval of the champion's AUC, which is below 1/2 if the target has
# changed its meaning.
_SURE_OF_A_CHANGE = 0.98
BETTER_THAN_BASELINE = "better than the baseline"
_UNDECIDED = "too little data to decide; it blocks nothing"
# A model whose error is a smaller share of the baseline's has probably read the answer.
_PLAUSIBLE_ERROR = 1e-3
# Accepting one of these findings with a reason says that what predicts so well is known
# in time; the first is the one to write.
_SAID_TO_BE_NO_LEAK = ("probe_nearly_perfect", "leak_suspect", "made_of_target")
NO_LEAK = f"analysis: {{accept: {{{_SAID_TO_BE_NO_LEAK[0]}: the reason}}}}"
Role = Literal["champion", "best"]  # the best version so far is another one


@dataclass(frozen=True)
class Gate:
    """One criterion and its outcome."""

    metric: str  # that is judged
    rule: str  # such as `lower bound of roc_auc at least 0.65`
    # a bound or the estimate; nan never passes. For the baseline's gate: the baseline
    # plus the worse bound of the difference
    value: float
    limit: float  # what `value` is compared with
    by_bound: bool  # whether `value` is a bound
    passed: bool  # the outcome
    # False: too little data to decide; such a gate blocks nothing
    conclusive: bool = True
    means: str = ""  # the meaning of the outcome, a phrase

    @property
    def name(self) -> str:
        """What it asks, without numbers: `better than the baseline`."""
        return self.rule.partition(":")[0]

    @property
    def outcome(self) -> str:
        """PASS, FAIL or INCONCLUSIVE."""
        if not self.conclusive:
            return "INCONCLUSIVE"
        return "PASS" if self.passed else "FAIL"

    def in_words(self) -> str:
        """`lower bound of roc_auc at least 0.65: 0.6803, PASS`."""
        return f"{self.rule}: {numbers.score(self.value)}, {self.outcome}"


def score_gates(spec: ExperimentSpec, scores: Sequence[MetricScore]) -> Iterator[Gate]:
    """Yield the gates of `acceptance` and of the baseline; `scores` are at least those
    of `spec.metric_names`.
    """
    by_metric = {score.metric: score for score in scores}
    for criterion in spec.acceptance:
        yield _criterion_gate(criterion, by_metric[criterion.metric].interval)
    if spec.baseline:
        yield _baseline_gate(by_metric[spec.metric])


def _criterion_gate(criterion: Criterion, interval: Interval) -> Gate:
    metric = criterion.metric
    limit = criterion.limit
    by_bound = criterion.judged_by == "bound"
    if by_bound:
        value = metrics.worse_bound(metric, interval)
        subject = f"{_worse_end(metric)} bound"
        in_full = f"{subject} of the {numbers.confidence(interval.level)} interval"
    else:
        value = interval.estimate
        subject = in_full = "estimate"
    if criterion.at_most is None:
        relation = "at least"
        passed = value >= limit
    else:
        relation = "at most"
        passed = value <= limit
    # At the first look it is the 95 % interval, which the report shows anyway.
    shown = subject if interval.level == LEVEL else in_full
    return Gate(
        metric,
        rule=f"{shown} of {metric} {relation} {limit:g}",
        value=value,
        limit=limit,
        by_bound=by_bound,
        passed=bool(passed),
        means=f"the {in_full} is {numbers.score(value)}",
    )


def _baseline_gate(score: MetricScore) -> Gate:
    metric = score.metric
    difference = score.difference_to_baseline
    baseline = numbers.score(score.baseline)
    level = numbers.confidence(difference.level)
    after_looks = "" if difference.level == LEVEL else " after earlier looks"
    beyond = "above" if metrics.metric_of(metric).greater_is_better else "below"
    passed = metrics.significantly_better(metric, difference)
    return Gate(
        metric,
        rule=(
            f"{BETTER_THAN_BASELINE}: {metric} is "
            f"{numbers.estimate(score.interval)}, the baseline's is {baseline}. "
            f"The difference is {numbers.estimate(difference)}, its {level} "
            f"interval{after_looks} {numbers.bounds(difference)}. Baseline plus "
            f"{_worse_end(metric)} bound must be {beyond} {baseline}"
        ),
        value=score.baseline + metrics.worse_bound(metric, difference),
        limit=score.baseline,
        by_bound=True,
        passed=passed,
        means=f"{'' if passed else 'not '}significantly better at the {level} level",
    )


def plausibility_gate(
    spec: ExperimentSpec, scores: Sequence[MetricScore]
) -> Gate | None:
    """Return the gate that holds a model whose error is implausibly small; else None.

    The error is the experiment's metric, or rmse or log_loss where that is none.
    """
    score = _error_score(spec, scores)
    limit = _PLAUSIBLE_ERROR * score.baseline
    error = score.interval.estimate
    if not error < limit:
        return None
    rule = (
        f"error plausible: {score.metric} {numbers.score(error)} is less than a "
        f"thousandth of the baseline's {numbers.score(score.baseline)}"
    )
    accept = spec.analysis.accept
    reasons = [accept[code] for code in _SAID_TO_BE_NO_LEAK if code in accept]
    if reasons:
        means = f"it is no leak: {reasons[0]}"
    else:
        rule += f", held until the YAML says that it is no leak ({NO_LEAK})"
        means = "it may be a leak"
    return Gate(
        score.metric,
        rule=rule,
        value=error,
        limit=limit,
        by_bound=False,
        passed=bool(reasons),
        means=means,
    )


def _error_score(spec: ExperimentSpec, scores: Sequence[MetricScore]) -> MetricScore:
    """The score that is 0 for a perfect model."""
    declared = metrics.metric_of(spec.metric)
    metric = "log_loss"
    if spec.task == "regression":
        is_error = not declared.greater_is_better and declared.lowest == 0
        metric = spec.metric if is_error else "rmse"
    return next(score for score in scores if score.metric == metric)


def _worse_end(metric: str) -> str:
    return "lower" if metrics.metric_of(metric).greater_is_better else "upper"


def coverage_gate(check: CoverageCheck) -> Gate:
    """Return the gate that fails if intervals hold significantly fewer rows than
    promised, or have no data.
    """
    measured = ""
    means = "too few rows or clusters for it"
    passed = check.at_most >= check.coverage
    if check.parts:
        measured = f": {numbers.interval(check.parts[0].score)} of the validation rows"
        means = f"{'not ' if passed else ''}significantly below the promise"
    return Gate(
        "coverage",
        rule=f"coverage of {numbers.share(check.coverage)}{measured}",
        value=check.at_most,
        limit=check.coverage,
        by_bound=True,
        passed=passed,
        means=means,
    )


def audit_gates(spec: ExperimentSpec, audit: Sequence[AuditRow]) -> Iterator[Gate]:
    """Yield a gate per limit and column, by the whole interval; inconclusive if that
    contains the limit.
    """
    measured = {(row.column_name, row.measure): row for row in audit}
    for measure, limit in spec.audit_limits.items():
        for column in spec.audited:
            interval = interval_of(measured.get((column, measure)))
            yield _audit_gate(measure, limit, column, interval)


def _audit_gate(measure: str, limit: float, column: str, interval: Interval) -> Gate:
    if measure.endswith("_ratio"):
        relation, worse, better = "at least", interval.low, interval.high
        passed = worse >= limit
        failed = better < limit
    else:
        relation, worse, better = "at most", interval.high, interval.low
        passed = worse <= limit
        failed = better > limit
    means = _UNDECIDED
    if passed or failed:
        where = "within" if passed else "beyond"
        means = (
            f"the whole {numbers.confidence(interval.level)} interval is {where} the "
            "limit"
        )
    return Gate(
        measure,
        rule=f"{measure} of {column} {relation} {limit:g}",
        value=better if failed else worse,
        limit=limit,
        by_bound=True,
        passed=not failed,
        conclusive=passed or failed,
        means=means,
    )


@dataclass(frozen=True)
class PairedScores:
    """Scores of challenger and champion on the same rows."""

    rows: int
    challenger: float
    champion: float
    difference: Interval  # challenger minus champion, paired, at the level CONFIDENCE
    gain: Interval  # the same at the level of the other gates
    reversed: Interval | None  # the champion's AUC where it is worse than chance
    # whether the champion's lead exceeds what the challenger has learnt, or what is
    # left to learn
    far_above: bool


@dataclass(frozen=True)
class ChampionComparison:
    """The challenger compared with the champion, or with the best version so far."""

    version: str  # the champion's
    metric: str  # the ranking metric of the challenger
    tolerance: float  # how much worse the challenger may be, in units of the metric
    role: Role = "champion"
    # the same for a model that a person has chosen among tied ones; 0: it is not
    tolerance_of_tie: float = 0.0
    must_be_better: bool = False  # significantly, to replace the champion
    # whether the challenger is the champion; nothing is compared then
    same_model: bool = False
    why_not_compared: str = ""  # the reason for no comparison, else empty
    left_out: int = 0  # validation rows that the champion was fitted or chosen on
    scores: PairedScores | None = None  # of both; None: not compared

    @property
    def better(self) -> bool:
        """Whether the challenger is significantly better."""
        return self.scores is not None and metrics.significantly_better(
            self.metric, self.scores.gain
        )

    @property
    def passes_as_tied(self) -> bool:
        """Whether it passes only because a person has chosen it among tied models."""
        strict = replace(self, tolerance_of_tie=0.0)
        return self.gate.passed and not strict.gate.passed

    @property
    def may_have_leaked(self) -> bool:
        """Whether the champion stops the challenger with a lead that is implausible
        without a leak.
        """
        far_above = self.scores is not None and self.scores.far_above
        return far_above and not self.gate.passed

    def retired(self, experiment: str) -> str:
        """What to do with a champion that leaked."""
        command = f"experiment-pipeline retire {experiment} {self.version} --why TEXT"
        return f"retire it: {command}"

    @property
    def gate(self) -> Gate:
        """The gate. It fails if even the better bound of the difference is worse than
        the tolerance; if the challenger must be better, when the worse bound is not
        above 0; and if the champion is reversed.
        """
        criterion = "better" if self.must_be_better else "not_worse"
        gate = Gate(
            self.metric,
            rule=f"{criterion}_than_{self.role} {self.version}",
            value=math.nan,
            limit=0.0 - metrics.metric_of(self.metric).sign * self._tolerated,
            by_bound=True,
            passed=False,
            means="not compared",
        )
        if self.scores is not None:
            return self._paired(gate, self.scores)
        if self.same_model:
            return replace(
                gate,
                rule=f"{gate.rule}: it is this model",
                value=0.0,
                passed=True,
                means="nothing would change",
            )
        gate = replace(gate, rule=f"{gate.rule}: {self.why_not_compared}")
        if self.must_be_better:
            return gate
        return replace(gate, passed=True, conclusive=False, means=_UNDECIDED)

    @property
    def _tolerated(self) -> float:
        return max(self.tolerance, self.tolerance_of_tie)

    def _paired(self, gate: Gate, scores: PairedScores) -> Gate:
        metric = self.metric
        limit = gate.limit
        if self.must_be_better:
            difference = scores.gain
            limit = 0.0
            value = metrics.worse_bound(metric, difference)
            passed = self.better
            means = f"{'' if passed else 'not '}significantly better than it"
        else:
            difference = scores.difference
            value = metrics.better_bound(metric, difference)
            passed = not metrics.better(metric, limit, value)
            means = f"{'not ' if passed else ''}significantly worse than it"
            if limit:
                means += f" by more than {numbers.score(self._tolerated)}"
        both = (scores.champion, scores.challenger)
        paired = _paired_in_words(metric, self.version, both, scores.rows, difference)
        sign = metrics.metric_of(metric).sign
        needed = _requirement(sign, limit, better=self.must_be_better)
        compared = f"{gate.rule}: {paired}. {needed}"
        if scores.reversed is not None:
            auc = numbers.interval(scores.reversed)
            compared += f"; its AUC is worse than chance: {auc}"
            means = "the target may have changed its meaning"
            passed = False
        return replace(
            gate, rule=compared, value=value, limit=limit, passed=passed, means=means
        )


def _paired_in_words(
    metric: str,
    other: str,
    scores: tuple[float, float],
    rows: int,
    difference: Interval,
) -> str:
    """Return the scores of the model and of the other, which is there, and their
    difference.
    """
    before, after = map(numbers.score, scores)
    return (
        f"{metric} is {after}, that of {other} is {before}, on the same {rows:,} rows. "
        f"The difference is {numbers.estimate(difference)}, its "
        f"{numbers.confidence(difference.level)} interval {numbers.bounds(difference)}"
    )


def _requirement(sign: int, limit: float, *, better: bool = False) -> str:
    """Return what a paired difference must be: `better` than the limit, or not worse.

    `sign`: 1 if a greater score is better, else -1.
    """
    ends = ("lower", "upper")[::sign]
    sides = ("below", "above")[::sign]
    if better:
        return f"Its {ends[0]} bound must be {sides[1]} {limit:.4g}"
    return f"Its {ends[1]} bound must not be {sides[0]} {limit:.4g}"


def incumbent_gate(comparison: IncumbentComparison) -> Gate:
    """Return the gate; it fails if even the better bound of the difference is worse."""
    metric = comparison.metric
    difference = comparison.difference
    gate = Gate(
        metric,
        rule=f"not worse than the incumbent {comparison.column}",
        value=math.nan,
        limit=0.0,
        by_bound=True,
        passed=True,
        conclusive=False,
        means="not compared",
    )
    if difference is None:
        return replace(gate, rule=f"{gate.rule}: {comparison.why_not_compared}")
    better = difference.high if comparison.sign > 0 else difference.low
    paired = _paired_in_words(
        metric, "the incumbent", comparison.scores, comparison.rows, difference
    )
    return replace(
        gate,
        rule=f"{gate.rule}: {paired}. {_requirement(comparison.sign, gate.limit)}",
        value=better,
        passed=comparison.sign * better >= 0,
        conclusive=True,
        means=comparison.answer,
    )


def best_after(champions: Sequence[ChampionComparison]) -> str | None:
    """Return the best version once the challenger is published; None: that is the
    challenger.
    """
    # The first that was compared, the best so far before the champion.
    order = sorted(
        champions,
        key=lambda comparison: (
            comparison.scores is None,
            comparison.role == "champion",
        ),
    )
    if not order or order[0].better:
        return None
    return order[0].version


@dataclass(frozen=True, eq=False)
class ChampionModel:
    """A version, loaded: what it answers, and its predictions of rows as delivered."""

    task: str
    target: str
    classes: Classes
    positive_class: Scalar
    threshold: float | None
    fitted: FittedRows  # that it was fitted or chosen on
    # of rows (n, columns), in the order of these classes; DataError: they cannot be
    # prepared
    predict: Callable[[pd.DataFrame, Classes], np.ndarray]


class Champion(Protocol):
    """A version that a challenger must not be worse than."""

    @property
    def version(self) -> str:
        """Its number in the registry."""

    @property
    def role(self) -> Role:
        """Whether it is the champion, or the best version so far."""

    def is_made_of(self, fingerprint: str, export: Export) -> bool:
        """Whether it is the model of this fingerprint, refitted as `export` says."""

    def read(self, trusted: Sequence[str] = ()) -> ChampionModel:
        """Load it; InvalidModel: it cannot be compared with."""


def compare_with_champion(
    model: JudgedModel,
    champion: Champion,
    trusted: Sequence[str] = (),
    level: float = LEVEL,
    tolerance_of_tie: float = 0.0,
) -> ChampionComparison:
    """Compare a model with the champion, or with the best version.

    The champion may run `trusted` code and keeps its own threshold; `level` is that of
    the gates; `tolerance_of_tie` is that of a choice by hand.
    """
    spec = model.spec
    criterion = spec.not_worse_than_champion or NotWorseThanChampion()
    only_if_better = criterion.replace == "if_better" and champion.role == "champion"
    comparison = ChampionComparison(
        champion.version,
        spec.metric,
        criterion.tolerance,
        champion.role,
        tolerance_of_tie=tolerance_of_tie,
        must_be_better=only_if_better,
    )
    if champion.is_made_of(model.result.fingerprint, spec.export):
        return replace(comparison, same_model=True)
    try:
        version = champion.read(trusted)
        _check_same_question(version, model)
        new = _new_rows(version.fitted, model)
        rows = some_rows(model.delivered, np.flatnonzero(new))
        prediction = version.predict(rows, model.classes)
    except (InvalidModel, DataError) as error:
        why = f"not compared, {error.culprit} {error.rule}"
        return replace(comparison, why_not_compared=why)
    challenger = model.exported.rows(new)
    scores = compare(
        spec.metric,
        replace(challenger, prediction=prediction),
        challenger,
        (0.5 if version.threshold is None else version.threshold, model.cut),
        level,
    )
    if not np.isfinite(scores.difference.estimate):
        why = f"not compared, {spec.metric} is undefined on these rows"
        return replace(comparison, why_not_compared=why)
    return replace(comparison, left_out=int((~new).sum()), scores=scores)


def compare(
    metric: str,
    champion: SetPrediction,
    challenger: SetPrediction,
    thresholds: tuple[float, float],
    level: float,
) -> PairedScores:
    """Compare two models on the same rows; `thresholds` are those of champion and
    challenger, `level` is that of the gates.
    """
    drawn = challenger.layout(metric)
    before = champion.linearise(metric, thresholds[0])
    after = challenger.linearise(metric, thresholds[1])
    return PairedScores(
        rows=len(challenger.y),
        challenger=after.estimate,
        champion=before.estimate,
        difference=paired_difference(before, after, drawn, CONFIDENCE),
        gain=paired_difference(before, after, drawn, level),
        reversed=_worse_than_chance(champion),
        far_above=_far_above(champion, challenger),
    )


def _far_above(champion: SetPrediction, challenger: SetPrediction) -> bool:
    """Whether the lead in AUC, by its lower bound, exceeds the challenger's over 0.5,
    or what is left to 1.
    """
    metric = "roc_auc_ovr"
    y = champion.y
    if champion.prediction.ndim == 1:
        metric = "roc_auc"
        y = (y > y.mean()).astype(np.int64)
    challenger = replace(challenger, y=y)
    after = challenger.linearise(metric)
    before = replace(champion, y=y).linearise(metric)
    lead = paired_difference(after, before, challenger.layout(metric), CONFIDENCE)
    return lead.low > min(after.estimate - 0.5, 1 - before.estimate)


def _worse_than_chance(predicted: SetPrediction) -> Interval | None:
    """Return the AUC of a class, or of the values above the mean, if it is
    significantly below 1/2: a model that has learnt something ranks rows like that if
    yes and no, two classes or the sign were swapped.
    """
    y = predicted.y
    columns = np.atleast_2d(predicted.prediction.T)
    level = 1 - (1 - _SURE_OF_A_CHANGE) / len(columns)
    for code, column in enumerate(columns):
        positive = y == code if len(columns) > 1 else y > y.mean()
        ranks = replace(predicted, y=positive.astype(np.int64), prediction=column)
        auc = ranks.interval("roc_auc", level=level)
        if auc.high < 0.5:
            return auc
    return None


def _check_same_question(champion: ChampionModel, model: JudgedModel) -> None:
    spec = model.spec
    classes = model.classes
    same_classes = set(champion.classes or ()) == set(classes or ())
    if same_classes and classes and spec.task == "binary":
        same_classes = champion.positive_class == classes[1]
    answers = (champion.task, champion.target)
    if answers != (spec.task, spec.target) or not same_classes:
        raise UnusableTable(
            "the champion", rule="predicts another target, or other classes", fix=""
        )


def _new_rows(fitted: FittedRows, model: JudgedModel) -> np.ndarray:
    """Rows (n,) that the champion has not seen; UnusableTable when they are unknown, or
    too few.
    """
    fitted_rows = fitted.among(model.delivered)
    if fitted_rows is None:
        raise UnusableTable(
            "the validation set",
            rule="may hold rows that the champion was fitted on: the columns of their "
            "record are missing",
            fix="",
        )
    clusters = len(np.unique(cluster_codes(model.exported.clusters)[~fitted_rows]))
    if clusters < FEW_CLUSTERS:
        raise UnusableTable(
            f"{clusters} of the validation set's clusters",
            rule=f"are new to the champion, fewer than {FEW_CLUSTERS}",
            fix="",
        )
    return ~fitted_rows
