"""Trained configurations in order of their score on the test set, each with its uncertainty.

Which of them is chosen, and the table, live in `leaderboard.py`. In: results and predictions
of the test rows. Out: a `Ranking`, the same whatever the order of the results.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.core.comparisons import (
    Comparison,
    compare_with_best,
    comparison_codes,
)
from experiment_pipeline.core.influence import linearise
from experiment_pipeline.core.intervals import (
    interval_of,
    layout,
    spread_of,
    unit_sums,
)
from experiment_pipeline.core.metrics import METRICS, Interval
from experiment_pipeline.core.trained_model import ModelResult


@dataclass(frozen=True)
class Entry:
    """A configuration with a score.

    Attributes:
        result: what training left behind.
        score: on the test set, with its own 95 % interval.
        difference: the score minus the best one, in units of the metric; the bounds hold for
            all configurations together.
        tied: whether the test set cannot tell it from the best.
    """

    result: ModelResult
    score: Interval
    difference: Interval
    tied: bool


@dataclass(frozen=True)
class Ranking:
    """The configurations with a score, the best first, and those without.

    Attributes:
        entries: by score; of equal scores the smaller model, then the smaller key first.
        undefined: results whose score is no finite number, by key.
        optimism: by how much the best score is expected to flatter; nan when the test set is
            one resampling unit.
    """

    entries: tuple[Entry, ...]
    undefined: tuple[ModelResult, ...]
    optimism: float

    @property
    def tie_group(self) -> tuple[Entry, ...]:
        """The entries that cannot be told from the best, which is one of them."""
        return tuple(entry for entry in self.entries if entry.tied)


@dataclass(frozen=True, eq=False)
class _Measured:
    result: ModelResult
    score: Interval
    contribution: np.ndarray


def order(
    results: Sequence[ModelResult],
    predictions: Mapping[str, np.ndarray],
    y_test: np.ndarray,
    units: np.ndarray,
    metric: str,
    seed: int,
) -> Ranking:
    """Score the results anew from their predictions, and put them in order.

    Args:
        results: fully trained ones, in any order.
        predictions: key → prediction of the test rows; read once per key.
        y_test: encoded targets (n,).
        units: (n,) codes of the resampling units.
        metric: that ranks.
        seed: of the comparison's draws.
    """
    measured = _measure(sorted(results, key=lambda r: r.key), predictions, y_test, units, metric)
    sign = METRICS[metric].sign
    scored = sorted(
        (one for one in measured if math.isfinite(one.score.estimate)),
        key=lambda one: (-sign * one.score.estimate, one.result.model_bytes, one.result.key),
    )
    undefined = tuple(one.result for one in measured if not math.isfinite(one.score.estimate))
    if not scored:
        return Ranking((), undefined, math.nan)
    comparison = compare_with_best(
        sign * np.array([one.score.estimate for one in scored]),
        sign * np.column_stack([one.contribution for one in scored]),
        best=0,
        seed=seed,
    )
    return Ranking(_entries(scored, comparison, sign), undefined, comparison.optimism)


def _measure(
    results: Sequence[ModelResult],
    predictions: Mapping[str, np.ndarray],
    y_test: np.ndarray,
    units: np.ndarray,
    metric: str,
) -> list[_Measured]:
    drawn, compared = layout(metric, y_test, units), comparison_codes(units)
    measured = []
    for result in results:
        linearised = linearise(metric, y_test, predictions[result.key])
        score = interval_of(metric, spread_of(linearised, drawn))
        measured.append(_Measured(result, score, unit_sums(linearised.influence, compared)))
    return measured


def _entries(scored: Sequence[_Measured], comparison: Comparison, sign: int) -> tuple[Entry, ...]:
    # Adding 0.0 turns the -0.0 of the best into 0.0.
    ends = np.sort(sign * np.column_stack([comparison.low, comparison.high]), axis=1) + 0.0
    return tuple(
        Entry(one.result, one.score, Interval(float(sign * middle) + 0.0, *bounds), bool(tied))
        for one, middle, bounds, tied in zip(
            scored, comparison.difference, ends.tolist(), comparison.tied, strict=True
        )
    )
