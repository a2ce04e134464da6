"""The gates: acceptance criteria, and the champion, held against what the exported fit scores.

In: criteria, scores with intervals, baselines, the paired scores that `champion.py` found. Out:
`Gate`s. Without criteria there is still one gate, and it says so: the ranking metric must be
better than the baseline's on the same rows by more than chance.
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
    """What the exported fit scores on the validation set: estimate and 95 % bounds.

    `baseline` is what predicting without features scores on the same rows, the difference is
    paired on them.
    """

    metric: str
    interval: Interval
    baseline: float
    difference_to_baseline: Interval


@dataclass(frozen=True)
class Gate:
    """One criterion and how it was met.

    Attributes:
        metric: that is judged.
        rule: in words, such as `lower bound of roc_auc at least 0.65`.
        value: what was held against the limit: a bound or the estimate; nan never passes.
            Against the baseline it is the baseline plus the worse bound of the difference.
        limit: the limit.
        by_bound: whether `value` is a bound.
        passed: the outcome.
        told: False when there is too little to judge by; such a gate blocks nothing.
        means: what the outcome means, in words.
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
    judged = f"{_worse_end(criterion.metric)} bound" if by_bound else "estimate"
    rule = f"{judged} of {criterion.metric} {relation} {limit:g}"
    means = f"the estimate {'holds' if passed else 'does not hold'}"
    if by_bound:
        means = "even the careful end of the interval holds"
        if not passed:
            likely = not metrics.better(criterion.metric, limit, interval.estimate)
            means = "the careful end of the interval does not hold" + (
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
    more = "more" if passed else "no more"
    means = f"better than predicting without features by {more} than chance"
    return Gate(score.metric, rule, value, score.baseline, True, passed, means=means)


def _worse_end(metric: str) -> str:
    return "lower" if metrics.METRICS[metric].greater_is_better else "upper"


@dataclass(frozen=True)
class PairedScores:
    """Two models on the same rows: scores of the one that would be exported, of the one that is,
    and the first minus the second, paired, at the level of `champion.CONFIDENCE`.
    """

    rows: int
    challenger: float
    champion: float
    difference: Interval


@dataclass(frozen=True)
class ChampionComparison:
    """How the challenger stands against the champion.

    Attributes:
        version: the champion's.
        metric: the ranking metric of the challenger.
        tolerance: how much worse the challenger may be, in units of the metric.
        same_model: whether the challenger is the champion; nothing is compared then.
        why_untold: why nothing could be compared; empty where it was.
        left_out: validation rows that the champion was fitted or chosen on.
        scores: of both, where they were compared.
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
        """The gate: failed when even the better bound of the difference is too bad."""
        rule = f"not_worse_than_champion {self.version}"
        limit = 0.0 - metrics.METRICS[self.metric].sign * self.tolerance
        if self.scores is not None:
            bound = metrics.better_bound(self.metric, self.scores.difference)
            passed = not metrics.better(self.metric, limit, bound)
            words = f"{rule}: {self._in_words(self.scores)}"
            means = "not surely worse than it" if passed else "surely worse than it"
            return Gate(self.metric, words, bound, limit, True, passed, means=means)
        if self.same_model:
            rule = f"{rule}: it is this very model"
            means = "nothing would change"
            return Gate(self.metric, rule, 0.0, limit, True, passed=True, means=means)
        rule = f"{rule}: {self.why_untold}"
        means = "too little to judge by; it blocks nothing"
        return Gate(self.metric, rule, math.nan, limit, True, passed=True, told=False, means=means)

    def _in_words(self, scores: PairedScores) -> str:
        return (
            f"{self.metric} {numbers.score(scores.challenger)} after {numbers.score(scores.champion)} on the same "
            f"{scores.rows:,} rows; better bound ({numbers.share(scores.difference.level)}) of the "
            f"difference {numbers.interval(scores.difference)}"
        )
