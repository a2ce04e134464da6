"""The gates: the scores of the exported fit against acceptance criteria and the champion.

In: criteria, scores with intervals, baselines, the paired scores of `champion.py`. Out: `Gate`s.
Without criteria, the ranking metric must be significantly better than the baseline's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Criterion, ExperimentSpec
from experiment_pipeline.statistics import metrics
from experiment_pipeline.statistics.interval import Interval


@dataclass(frozen=True)
class MetricScore:
    """A score of the exported fit on the validation set: estimate and 95 % bounds.

    `baseline` is the score of the best constant on the same rows; the difference is paired.
    """

    metric: str
    interval: Interval
    baseline: float
    difference_to_baseline: Interval


@dataclass(frozen=True)
class Gate:
    """One criterion and its outcome.

    Attributes:
        metric: the metric that is judged.
        rule: such as `lower bound of roc_auc at least 0.65`.
        value: a bound or the estimate; nan never passes. For the baseline's gate: the baseline plus
            the worse bound of the difference.
        limit: what `value` is compared with.
        by_bound: whether `value` is a bound.
        passed: the outcome.
        told: False when there is too little data to decide; such a gate blocks nothing.
        means: the meaning of the outcome, a phrase.
    """

    metric: str
    rule: str
    value: float
    limit: float
    by_bound: bool
    passed: bool
    told: bool = True
    means: str = ""

    @property
    def outcome(self) -> str:
        """PASS, FAIL or CANNOT BE TOLD."""
        if not self.told:
            return "CANNOT BE TOLD"
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
    by_bound = criterion.judged_by == "bound"
    value = metrics.worse_bound(criterion.metric, interval) if by_bound else interval.estimate
    if criterion.at_least is not None:
        limit, relation, passed = criterion.at_least, "at least", value >= criterion.at_least
    else:
        limit = float(criterion.at_most)  # type: ignore[arg-type]
        relation, passed = "at most", value <= limit
    end = _worse_end(criterion.metric)
    judged = f"{end} bound" if by_bound else "estimate"
    rule = f"{judged} of {criterion.metric} {relation} {limit:g}"
    means = f"the estimate {'passes' if passed else 'does not pass'}"
    if by_bound:
        means = f"the {end} bound of the 95 % interval passes"
        if not passed:
            likely = not metrics.better(criterion.metric, limit, interval.estimate)
            means = f"the {end} bound of the 95 % interval does not pass" + (
                f"; the estimate {numbers.score(interval.estimate)} does: more validation rows may "
                "show it"
                if likely and math.isfinite(interval.estimate)
                else ", nor does the estimate"
            )
    return Gate(criterion.metric, rule, value, limit, by_bound, bool(passed), means=means)


def _against_baseline(score: MetricScore) -> Gate:
    difference = score.difference_to_baseline
    rule = (
        f"better than the baseline, as no acceptance criteria are set: the {_worse_end(score.metric)} bound of {score.metric} "
        f"must beat the baseline {numbers.score(score.baseline)}, paired on the same rows (difference "
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
    """Scores of challenger and champion on the same rows.

    `difference`: challenger minus champion, paired, at the level `champion.CONFIDENCE`.
    """

    rows: int
    challenger: float
    champion: float
    difference: Interval


@dataclass(frozen=True)
class ChampionComparison:
    """The challenger compared with the champion.

    Attributes:
        version: the champion's.
        metric: the ranking metric of the challenger.
        tolerance: how much worse the challenger may be, in units of the metric.
        same_model: whether the challenger is the champion; nothing is compared then.
        why_untold: the reason for no comparison, else empty.
        left_out: number of validation rows that the champion was fitted or chosen on.
        scores: of both; None: not compared.
    """

    version: str
    metric: str
    tolerance: float
    same_model: bool = False
    why_untold: str = ""
    left_out: int = 0
    scores: PairedScores | None = None

    @property
    def gate(self) -> Gate:
        """The gate; it fails when the better bound of the difference is beyond the tolerance."""
        rule = f"not_worse_than_champion {self.version}"
        limit = 0.0 - metrics.METRICS[self.metric].sign * self.tolerance
        if self.scores is not None:
            bound = metrics.better_bound(self.metric, self.scores.difference)
            passed = not metrics.better(self.metric, limit, bound)
            scores, difference = self.scores, self.scores.difference
            rule += (
                f": {self.metric} {numbers.score(scores.challenger)} after "
                f"{numbers.score(scores.champion)} on the same {scores.rows:,} rows; better bound "
                f"({numbers.share(difference.level)}) of the difference {numbers.interval(difference)}"
            )
            means = f"{'not ' if passed else ''}significantly worse than it"
            return Gate(self.metric, rule, bound, limit, True, passed, means=means)
        if self.same_model:
            rule = f"{rule}: it is this model"
            means = "nothing would change"
            return Gate(self.metric, rule, 0.0, limit, True, passed=True, means=means)
        rule = f"{rule}: {self.why_untold}"
        means = "too little data to decide; it blocks nothing"
        return Gate(self.metric, rule, math.nan, limit, True, passed=True, told=False, means=means)
