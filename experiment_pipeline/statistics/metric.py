"""What is declared of a metric. Which metrics there are, with their formulas, is in `metrics.py`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from experiment_pipeline.statistics.outcomes import Called
from experiment_pipeline.statistics.spread import Linearised, Spread
from experiment_pipeline.statistics.weights import Judged, Weights, weighted_mean

Form = Callable[[Judged], Linearised]
Errors = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: all that is known of it.

    Attributes:
        name: as the YAML writes it.
        words: what it measures, a clause for people.
        tasks: what it can judge; the first metric that is declared for a task is its usual one.
        greater_is_better: the direction.
        lowest: no score lies below.
        highest: no score lies above.
        form: rows → the score and the influence of each row.
        bounds: the law of its interval, (spread, t) → low and high.
        by_class: it compares classes, so the rarest decides how much is known; else it is a mean.
        by_pairs: it counts pairs in the right order: near 1, as if sure, on few rows of a class.
        by_probability: it takes probabilities for what they say, so that reweighting moves it.
        at_thresholds: scores at each threshold of a binary model; None: it depends on none.
        errors: (y, prediction) → what each row adds, (n,), where a few rows can make up the most.
        constant: y (n,), weights → the best prediction () without classes, or with two.
        of_equals: what to predict for rows that nothing tells apart; None: it hangs on others.
        hides_rare: always guessing the frequent class does well.
        lightgbm: its name there, for early stopping; None: not there, or it moves in steps.
        objective: LightGBM's parameters that make it boost towards the metric; empty: it boosts
            towards what is usual for the task.
        lowest_target: no target may lie below.
        when_asked: it answers a question of its own (a quantile, counts): reported where the
            experiment names it, and not beside every other metric of the task.
    """

    name: str
    words: str
    tasks: frozenset[str]
    greater_is_better: bool = True
    lowest: float = 0.0
    highest: float = 1.0
    form: Form
    bounds: Callable[[Spread, float], tuple[float, float]]
    by_class: bool = False
    by_pairs: bool = False
    by_probability: bool = False
    at_thresholds: Callable[[Called], np.ndarray] | None = None
    errors: Errors | None = None
    constant: Callable[[np.ndarray, Weights], np.ndarray] = weighted_mean
    of_equals: Literal["mean", "median"] | None = None
    hides_rare: bool = False
    lightgbm: str | None = None
    objective: Mapping[str, str | float] = field(default_factory=dict)
    lowest_target: float = -math.inf
    when_asked: bool = False

    @property
    def sign(self) -> int:
        """1 or -1: multiplied by it, greater scores are better ones."""
        return 1 if self.greater_is_better else -1

    @property
    def better_is(self) -> str:
        """`higher` or `lower`: which scores are the better ones, in words."""
        return "higher" if self.greater_is_better else "lower"

    @property
    def by_threshold(self) -> bool:
        """Whether a binary score depends on the decision threshold."""
        return self.at_thresholds is not None
