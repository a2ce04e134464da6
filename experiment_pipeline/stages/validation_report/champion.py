"""How a challenger stands against the champion, and the gate made of it. Only data.

In: numbers that `challenge.py` found. Out: a `Gate` of the validation report.
"""

import math
from dataclasses import dataclass

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.validation_report.gates import Gate
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import METRICS, better, better_bound


@dataclass(frozen=True)
class PairedScores:
    """Two models on the same rows.

    Attributes:
        rows: validation rows that both predicted.
        challenger: score of the model that would be exported.
        champion: score of the one that is.
        difference: challenger minus champion, paired; its level is `challenge.CONFIDENCE`.
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
        limit = 0.0 - METRICS[self.metric].sign * self.tolerance
        if self.scores is not None:
            bound = better_bound(self.metric, self.scores.difference)
            passed = not better(self.metric, limit, bound)
            words = f"{rule}: {self._in_words(self.scores)}"
            return Gate(self.metric, words, bound, limit, by_bound=True, passed=passed)
        if self.same_model:
            rule = f"{rule}: it is this very model"
            return Gate(self.metric, rule, 0.0, limit, by_bound=True, passed=True)
        rule = f"{rule}: {self.why_untold}"
        return Gate(self.metric, rule, math.nan, limit, by_bound=True, passed=True, told=False)

    def _in_words(self, scores: PairedScores) -> str:
        return (
            f"{self.metric} {numbers.score(scores.challenger)} after {numbers.score(scores.champion)} on the same "
            f"{scores.rows:,} rows; better bound ({numbers.share(scores.difference.level)}) of the "
            f"difference {numbers.interval(scores.difference)}"
        )
