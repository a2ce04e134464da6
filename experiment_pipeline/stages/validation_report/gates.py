"""The gates: the exported fit's scores against acceptance criteria, baseline and
champion.

In: criteria, scores with intervals, the audit, the published champion, rows as
delivered. Out: `Gate`s and `ChampionComparison`s, by paired differences on validation
rows that the champion was neither fitted nor chosen on. The best version so far is
compared as well, and only a significantly better one replaces
it: else many small losses would add up.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, Protocol

import numpy as np
import pandas as pd

from experiment_pipeline.errors import (
    DataError,
    InvalidModel,
    UnusableTable,
)
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.run_record import AuditRow
from experiment_pipeline.spec import Criterion, ExperimentSpec, Scalar
from experiment_pipeline.spec.search import Export, NotWorseThanChampion
from experiment_pipeline.stages.validation_report.effects import CoverageCheck
from experiment_pipeline.statistics import metrics
from experiment_pipeline.statistics.caveats import FEW_CLUSTERS
from experiment_pipeline.statistics.interval import LEVEL, Interval, cluster_codes
from experiment_pipeline.statistics.scores import SetPrediction, paired_difference
from experiment_pipeline.table.clusters import FittedRows
from experiment_pipeline.table.table import some_rows

# Level of the difference's interval: its better bound is a one-sided test at the 5 %
# level. Simulated (logistic data, 1,000 validation rows): it stops 67 % of the models
# that are worse by 0.02 AUC and 3 % of those that are not worse; a level of 95 % stops
# 59 % and 0 %, one of 80 % 74 % and 6 %.
CONFIDENCE = 0.9
# Level of the interval of the champion's AUC, which is below 1/2 if the target has
# changed its meaning.
_SURE_OF_A_CHANGE = 0.98
Classes = tuple[Scalar, ...] | None
Role = Literal["champion", "best"]  # the best version so far is another one


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
    # a bound or the estimate; nan never passes. For the baseline's gate: the baseline
    # plus the worse bound of the difference
    value: float
    limit: float  # what `value` is compared with
    by_bound: bool  # whether `value` is a bound
    passed: bool  # the outcome
    conclusive: bool = (
        True  # False: too little data to decide; such a gate blocks nothing
    )
    means: str = ""  # the meaning of the outcome, a phrase

    @property
    def outcome(self) -> str:
        """PASS, FAIL or INCONCLUSIVE."""
        return (
            ("PASS" if self.passed else "FAIL") if self.conclusive else "INCONCLUSIVE"
        )

    def in_words(self) -> str:
        """`lower bound of roc_auc at least 0.65: 0.6803, PASS`."""
        return f"{self.rule}: {numbers.score(self.value)}, {self.outcome}"


def hold(
    spec: ExperimentSpec,
    scores: Sequence[MetricScore],
    coverage: CoverageCheck | None = None,
) -> tuple[Gate, ...]:
    """Return the gates of an experiment; `scores` are at least those of
    `spec.metric_names`.
    """
    by_name = {score.metric: score for score in scores}
    held = [_held(one, by_name[one.metric].interval) for one in spec.acceptance]
    held += [_against_baseline(by_name[spec.metric])] if spec.baseline else []
    return (*held, *([held_coverage(coverage)] if coverage and spec.coverage else []))


def held_coverage(check: CoverageCheck) -> Gate:
    """Return the gate that fails if intervals hold significantly fewer rows than
    promised, or have no data.
    """
    rule, means = (
        f"coverage of {numbers.share(check.coverage)}",
        "too few rows or clusters for it",
    )
    passed = check.at_most >= check.coverage
    if check.parts:
        rule += f": {numbers.interval(check.parts[0].score)} of the validation rows"
        means = f"{'not ' if passed else ''}significantly below the promise"
    return Gate(
        "coverage", rule, check.at_most, check.coverage, True, passed, means=means
    )


def _held(criterion: Criterion, interval: Interval) -> Gate:
    by_bound, metric = criterion.judged_by == "bound", criterion.metric
    value = metrics.worse_bound(metric, interval) if by_bound else interval.estimate
    limit, relation, passed = criterion.limit, "at least", value >= criterion.limit
    if criterion.at_most is not None:
        relation, passed = "at most", value <= limit
    judged = f"{_worse_end(metric)} bound" if by_bound else "estimate"
    whole = (
        f"{judged} of the {numbers.share(interval.level, 6)} interval"
        if by_bound
        else judged
    )
    # At the first look it is the 95 % interval, which the report shows anyway.
    rule = f"{judged if interval.level == LEVEL else whole} of {metric} {relation} {limit:g}"
    means = f"the {whole} {'passes' if passed else 'does not pass'}"
    return Gate(metric, rule, value, limit, by_bound, bool(passed), means=means)


def _against_baseline(score: MetricScore) -> Gate:
    difference = score.difference_to_baseline
    baseline = numbers.score(score.baseline)
    rule = (
        f"better than the baseline: {baseline} plus the {_worse_end(score.metric)} bound of the paired "
        f"difference in {score.metric}, {numbers.interval(difference)}, must beat {baseline}"
    )
    value = score.baseline + metrics.worse_bound(score.metric, difference)
    passed = metrics.significantly_better(score.metric, difference)
    means = (
        f"{'significantly' if passed else 'not significantly'} better than the baseline"
    )
    return Gate(score.metric, rule, value, score.baseline, True, passed, means=means)


def _worse_end(metric: str) -> str:
    return "lower" if metrics.metric_of(metric).greater_is_better else "upper"


def hold_audit(spec: ExperimentSpec, audited: Sequence[AuditRow]) -> Iterator[Gate]:
    """Yield a gate per limit and column, by the whole interval; inconclusive if that
    contains the limit.
    """
    known = {(one.column_name, one.measure): (one.low, one.high) for one in audited}
    for (name, limit), column in product(spec.audit_limits.items(), spec.audited):
        sign, bounds = (
            1 if name.endswith("_ratio") else -1,
            known.get((column, name), (None, None)),
        )
        worse, better = (math.nan if one is None else one for one in bounds[::sign])
        passed, failed = sign * (worse - limit) >= 0, sign * (better - limit) < 0
        means = (
            f"the whole 95 % interval is {'within' if passed else 'beyond'} the limit"
        )
        if not (decided := passed or failed):
            means = "too little data to decide; it blocks nothing"
        rule = f"{name} of {column} at {'least' if sign > 0 else 'most'} {limit:g}"
        yield Gate(
            name,
            rule,
            better if failed else worse,
            limit,
            True,
            not failed,
            decided,
            means,
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
    must_be_better: bool = False  # significantly, to replace the champion
    same_model: bool = (
        False  # whether the challenger is the champion; nothing is compared then
    )
    why_not_compared: str = ""  # the reason for no comparison, else empty
    left_out: int = 0  # validation rows that the champion was fitted or chosen on
    scores: PairedScores | None = None  # of both; None: not compared

    @property
    def better(self) -> bool:
        """Whether the challenger is significantly better."""
        found = self.scores
        return found is not None and metrics.significantly_better(
            self.metric, found.gain
        )

    @property
    def may_have_leaked(self) -> bool:
        """Whether the champion stops the challenger with a lead that is implausible
        without a leak.
        """
        return (
            self.scores is not None and self.scores.far_above and not self.gate.passed
        )

    def retired(self, experiment: str) -> str:
        """What to do with a champion that leaked."""
        return f"retire it: experiment-pipeline retire {experiment} {self.version} --why TEXT"

    @property
    def gate(self) -> Gate:
        """The gate. It fails if even the better bound of the difference is worse than
        the tolerance; if the challenger must be better, when the worse bound is not
        above 0; and if the champion is reversed.
        """
        wanted = "better" if self.must_be_better else "not_worse"
        rule, conclusive = f"{wanted}_than_{self.role} {self.version}", True
        limit = 0.0 - metrics.metric_of(self.metric).sign * self.tolerance
        if self.scores is not None:
            difference, which = self.scores.difference, "better"
            value = metrics.better_bound(self.metric, difference)
            passed = not metrics.better(self.metric, limit, value)
            if self.must_be_better:
                difference, which, passed, limit = (
                    self.scores.gain,
                    "worse",
                    self.better,
                    0.0,
                )
                value = metrics.worse_bound(self.metric, difference)
            means = "not " if passed != self.must_be_better else ""
            means += (
                f"significantly {'better' if self.must_be_better else 'worse'} than it"
            )
            rule += (
                f": {self.metric} {numbers.score(self.scores.challenger)} after "
                f"{numbers.score(self.scores.champion)} on the same {self.scores.rows:,} rows; "
                f"{which} bound ({numbers.share(difference.level, 6)}) of the difference "
                f"{numbers.interval(difference)}"
            )
            if self.scores.reversed is not None:
                passed, means = False, "the target may have changed its meaning"
                rule += f"; its AUC is worse than chance: {numbers.interval(self.scores.reversed)}"
        elif self.same_model:
            value, passed, means = 0.0, True, "nothing would change"
            rule += ": it is this model"
        else:
            value, passed, conclusive = (
                math.nan,
                not self.must_be_better,
                self.must_be_better,
            )
            means = (
                "too little data to decide; it blocks nothing"
                if passed
                else "not compared"
            )
            rule += f": {self.why_not_compared}"
        return Gate(self.metric, rule, value, limit, True, passed, conclusive, means)


def best_after(champions: Sequence[ChampionComparison]) -> str | None:
    """Return the best version once the challenger is published; None: that is the
    challenger.
    """
    first = sorted(
        champions, key=lambda one: (one.scores is None, one.role == "champion")
    )[:1]
    return next((one.version for one in first if not one.better), None)


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


def hold_against_champion(
    spec: ExperimentSpec,
    current: Champion,
    trusted: Sequence[str],
    fingerprint: str,
    challenger: SetPrediction,
    threshold: float,
    validation: pd.DataFrame,
    classes: Classes,
    level: float = LEVEL,
) -> ChampionComparison:
    """Compare the challenger with the champion, or with the best version.

    The champion may run `trusted` code and keeps its own threshold. `fingerprint` is
    the challenger's, `challenger` its predictions of the `validation` rows, which are
    as delivered; `level` is the gates'.
    """
    rule, role = spec.not_worse_than_champion or NotWorseThanChampion(), current.role
    better = rule.replace == "if_better" and role == "champion"
    blank = ChampionComparison(
        current.version, spec.metric, rule.tolerance, role, better
    )
    if current.is_made_of(fingerprint, spec.export):
        return replace(blank, same_model=True)
    try:
        model = current.read(trusted)
        _check_same_question(model, spec, classes)
        new = _new_rows(model.fitted, validation, challenger)
        challenger = challenger.rows(new)
        prediction = model.predict(some_rows(validation, np.flatnonzero(new)), classes)
    except (InvalidModel, DataError) as error:
        return replace(
            blank, why_not_compared=f"not compared, {error.culprit} {error.rule}"
        )
    champion = replace(challenger, prediction=prediction)
    own = 0.5 if model.threshold is None else model.threshold
    compared = compare(spec.metric, champion, challenger, (own, threshold), level)
    if not np.isfinite(compared.difference.estimate):
        why = f"not compared, {spec.metric} is undefined on these rows"
        return replace(blank, why_not_compared=why)
    return replace(blank, left_out=int((~new).sum()), scores=compared)


def compare(
    metric: str,
    champion: SetPrediction,
    challenger: SetPrediction,
    thresholds: tuple[float, float],
    level: float,
) -> PairedScores:
    """Compare two models on the same rows; `thresholds` are theirs, `level` that of the
    gates.
    """
    scores, drawn = (champion, challenger), challenger.layout(metric)
    before, after = (
        one.linearise(metric, t) for one, t in zip(scores, thresholds, strict=True)
    )
    difference = paired_difference(before, after, drawn, CONFIDENCE)
    gain = paired_difference(before, after, drawn, level)
    found = len(challenger.y), after.estimate, before.estimate, difference, gain
    return PairedScores(*found, _worse_than_chance(champion), _far_above(*scores))


def _far_above(champion: SetPrediction, challenger: SetPrediction) -> bool:
    """Whether the lead in AUC, by its lower bound, exceeds the challenger's over 0.5,
    or what is left to 1.
    """
    many, y = champion.prediction.ndim == 2, champion.y
    ruler, y = (
        ("roc_auc_ovr", y) if many else ("roc_auc", (y > y.mean()).astype(np.int64))
    )
    best, own = (replace(one, y=y) for one in (champion, challenger))
    scores = own.linearise(ruler), best.linearise(ruler)
    lead = paired_difference(*scores, own.layout(ruler), CONFIDENCE)
    return lead.low > min(scores[0].estimate - 0.5, 1 - scores[1].estimate)


def _worse_than_chance(predicted: SetPrediction) -> Interval | None:
    """Return the AUC of a class, or of the values above the mean, if it is
    significantly below 1/2: a model that has learnt something ranks rows like that if
    yes and no, two classes or the sign were swapped.
    """
    y, columns = predicted.y, np.atleast_2d(predicted.prediction.T)
    level = 1 - (1 - _SURE_OF_A_CHANGE) / len(columns)
    for code, column in enumerate(columns):
        positive = y == code if len(columns) > 1 else y > y.mean()
        one = replace(predicted, y=positive.astype(np.int64), prediction=column)
        if (found := one.interval("roc_auc", level=level)).high < 0.5:
            return found
    return None


def _check_same_question(
    champion: ChampionModel, spec: ExperimentSpec, classes: Classes
) -> None:
    same_positive = (
        classes is None
        or spec.task != "binary"
        or champion.positive_class == classes[1]
    )
    answers = (champion.task, champion.target, set(champion.classes or ()))
    if answers != (spec.task, spec.target, set(classes or ())) or not same_positive:
        rule = "predicts another target, or other classes"
        raise UnusableTable("the champion", rule, "")


def _new_rows(
    fitted: FittedRows, validation: pd.DataFrame, challenger: SetPrediction
) -> np.ndarray:
    """Rows (n,) that the champion has not seen; UnusableTable when they are unknown, or
    too few.
    """
    if (seen := fitted.among(validation)) is None:
        rule = "may hold rows that the champion was fitted on: the columns of their record are missing"
        raise UnusableTable("the validation set", rule, "")
    if (
        new := len(np.unique(cluster_codes(challenger.clusters)[~seen]))
    ) < FEW_CLUSTERS:
        rule = f"are new to the champion, fewer than {FEW_CLUSTERS}"
        raise UnusableTable(f"{new} of the validation set's clusters", rule, "")
    return ~seen
