"""Trained configurations in order of their score on the test set, each with its uncertainty.

Which of them is chosen, and the table, live in `board.py`. In: results and predictions
of the test rows, targets that the baseline knows. Out: a `Ranking`, the same whatever the order
of the results.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.statistics.comparisons import (
    Comparison,
    compare_with_best,
    compare_with_control,
    comparison_codes,
)
from experiment_pipeline.statistics.influence import Linearised
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.statistics.paired import baseline, best_constant
from experiment_pipeline.statistics.scores import interval_of, layout
from experiment_pipeline.statistics.spread import ConsecutiveUnits, spread_of, unit_sums
from experiment_pipeline.statistics.thresholds import cross_fitted, on_test


@dataclass(frozen=True)
class Entry:
    """A configuration with a score.

    Attributes:
        result: what training left behind.
        score: on the test set, with its own 95 % interval.
        difference: the score minus the best one, in units of the metric; the bounds are those
            of the true score minus the truly best one, for all configurations together.
        tied: whether the test set cannot tell it from the best.
        difference_to_baseline: the score, at a cross-fitted threshold, minus the baseline's on
            the same rows; the bounds hold for all configurations together.
    """

    result: ModelResult
    score: Interval
    difference: Interval
    tied: bool
    difference_to_baseline: Interval


@dataclass(frozen=True)
class Ranking:
    """The configurations with a score, the best first, and those without.

    Attributes:
        entries: by score; of equal scores the smaller model, then the smaller key first.
        undefined: results whose score is no finite number, by key.
        baseline: what predicting without features scores on the test set.
        optimism: by how much the best score is expected to flatter, because it is the best of
            many and because its threshold is the best of many; nan when the test set is one
            resampling unit.
    """

    entries: tuple[Entry, ...]
    undefined: tuple[ModelResult, ...]
    baseline: float
    optimism: float

    @property
    def tie_group(self) -> tuple[Entry, ...]:
        """The entries that cannot be told from the best, which is one of them."""
        return tuple(entry for entry in self.entries if entry.tied)


@dataclass(frozen=True, eq=False)
class _Measured:
    """What one configuration scores, what each unit adds to it, and both cross-fitted."""

    result: ModelResult
    score: Interval
    contribution: np.ndarray
    honest: float
    honest_contribution: np.ndarray


def order(
    results: Sequence[ModelResult],
    predictions: Mapping[str, np.ndarray],
    y_test: np.ndarray,
    y_train: np.ndarray,
    units: np.ndarray,
    spec: ExperimentSpec,
    n_classes: int,
) -> Ranking:
    """Score the results anew from their predictions, and put them in order.

    Args:
        results: fully trained ones, in any order.
        predictions: key → prediction of the test rows; read once per key.
        y_test: encoded targets (n,).
        y_train: encoded targets of the train set, which the baseline knows.
        units: (n,) codes of the resampling units.
        spec: its metric ranks, its seed is that of the comparison's draws.
        n_classes: of the target; 0 for regression.
    """
    by_key = sorted(results, key=lambda result: result.key)
    measured = list(_measure(by_key, predictions, y_test, units, spec))
    sign = METRICS[spec.metric].sign
    scored = sorted(
        (one for one in measured if math.isfinite(one.score.estimate)),
        key=lambda one: (-sign * one.score.estimate, one.result.model_bytes, one.result.key),
    )
    undefined = tuple(one.result for one in measured if not math.isfinite(one.score.estimate))
    constant = best_constant(spec.metric, y_train, spec.task, n_classes)
    control = baseline(spec.metric, y_test, constant)
    if not scored:
        return Ranking((), undefined, control.estimate, math.nan)
    comparison = compare_with_best(
        sign * np.array([one.score.estimate for one in scored]),
        sign * np.column_stack([one.contribution for one in scored]),
        best=0,
        seed=spec.seed,
        consecutive=isinstance(units, ConsecutiveUnits),
    )
    flattery = max(sign * (scored[0].score.estimate - scored[0].honest), 0.0)
    return Ranking(
        tuple(_entries(scored, comparison, _leads(scored, control, units, spec.seed), sign)),
        undefined,
        control.estimate,
        comparison.optimism + flattery,
    )


def _measure(
    results: Sequence[ModelResult],
    predictions: Mapping[str, np.ndarray],
    y_test: np.ndarray,
    units: np.ndarray,
    spec: ExperimentSpec,
) -> Iterator[_Measured]:
    drawn, compared = layout(spec.metric, y_test, units), comparison_codes(units)
    by_threshold = METRICS[spec.metric].by_threshold
    for result in results:
        prediction = predictions[result.key]
        best = on_test(spec.metric_names, y_test, prediction)
        honest = (
            cross_fitted(spec.metric, y_test, prediction, units).score if by_threshold else best
        )
        yield _Measured(
            result,
            interval_of(spec.metric, spread_of(best, drawn)),
            unit_sums(best.influence, compared),
            honest.estimate,
            unit_sums(honest.influence, compared),
        )


def _leads(
    scored: Sequence[_Measured], control: Linearised, units: np.ndarray, seed: int
) -> list[Interval]:
    """The scores minus the baseline's, in units of the metric."""
    leads = np.array([one.honest for one in scored]) - control.estimate
    bounds = compare_with_control(
        leads,
        np.column_stack([one.honest_contribution for one in scored]),
        unit_sums(control.influence, comparison_codes(units)),
        seed,
        consecutive=isinstance(units, ConsecutiveUnits),
    )
    return [
        Interval(*three) for three in np.column_stack([leads, bounds.low, bounds.high]).tolist()
    ]


def _entries(
    scored: Sequence[_Measured],
    comparison: Comparison,
    leads: Sequence[Interval],
    sign: int,
) -> Iterator[Entry]:
    # Adding 0.0 turns the -0.0 of the best into 0.0.
    ends = np.sort(sign * np.column_stack([comparison.low, comparison.high]), axis=1) + 0.0
    for number, (one, lead) in enumerate(zip(scored, leads, strict=True)):
        difference = Interval(
            float(sign * comparison.difference[number]) + 0.0, *ends[number].tolist()
        )
        yield Entry(one.result, one.score, difference, bool(comparison.tied[number]), lead)
