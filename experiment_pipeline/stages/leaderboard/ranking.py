"""The ranking on the test set: scores with intervals, ties, leads over the baseline, and its rows.

In: the results of a search and its predictions of the test rows. Out: a `Ranking`, and a table
of it with the columns of COLUMNS: every declared configuration in a row, nobody forgotten.
Which one is chosen, and what a `Leaderboard` is: `board.py`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.search.conclusions import NOT_STARTED, TRAINED, Conclusion
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.statistics import comparisons
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    baseline,
    best_constant,
    effective_clusters,
    interval_of,
    layout,
)
from experiment_pipeline.statistics.spread import (
    ConsecutiveClusters,
    Linearised,
    cluster_sums,
    spread_of,
    widened,
)
from experiment_pipeline.statistics.thresholds import cross_fitted, on_test
from experiment_pipeline.statistics.weights import Weights

COLUMNS = {
    "rank": "Int64",
    "key": "str",
    "algorithm": "str",
    "test_score": "float64",
    "low": "float64",
    "high": "float64",
    "difference_to_best": "float64",
    "difference_low": "float64",
    "difference_high": "float64",
    "in_tie_group": "bool",
    "train_score": "float64",
    "overfit_gap": "float64",
    "seed_mean": "float64",
    "seed_deviation": "float64",
    "calibration": "str",
    "fit_cpu_seconds": "float64",
    "predict_microseconds_per_row": "float64",
    "model_bytes": "Int64",
    "rounds": "Int64",
    "status": "str",
    "reason": "str",
    "fingerprint": "str",
}

TestPredictions = Callable[[ModelResult], np.ndarray]


@dataclass(frozen=True)
class RankedModel:
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

    @property
    def is_ensemble(self) -> bool:
        """Whether it is the mean of others."""
        return self.result.key == ENSEMBLE


@dataclass(frozen=True)
class Ranking:
    """The configurations with a score, the best first, and those without.

    Attributes:
        entries: by score; of equal scores an ensemble comes last, else the smaller model, then the
            smaller key first.
        undefined: results whose score is no finite number, by key.
        baseline: what predicting without features scores on the test set.
        optimism: by how much the best score is expected to flatter, because it is the best of
            many and because its threshold is the best of many; nan when the test set is one
            resampling cluster.
    """

    entries: tuple[RankedModel, ...]
    undefined: tuple[ModelResult, ...]
    baseline: float
    optimism: float

    @property
    def tie_group(self) -> tuple[RankedModel, ...]:
        """The entries that cannot be told from the best, which is one of them."""
        return tuple(entry for entry in self.entries if entry.tied)

    @property
    def single(self) -> tuple[RankedModel, ...]:
        """The entries that are configurations, not their ensemble."""
        return tuple(entry for entry in self.entries if not entry.is_ensemble)


@dataclass(frozen=True, eq=False)
class Measured:
    """What one configuration scores, what each cluster adds to it, and both cross-fitted."""

    result: ModelResult
    score: Interval
    contribution: np.ndarray
    honest: float
    honest_contribution: np.ndarray


@dataclass(frozen=True, eq=False)
class RankedRows:
    """What the predictions of the test rows are held against.

    Attributes:
        y: encoded targets (n,).
        clusters: (n,) codes of the resampling clusters.
        y_train: encoded targets of the train set, which the baseline knows.
        weights: (n,) how much each row counts; None: alike.
        w_train: that of the train rows.
        variance_factor: how many times the variance of a score is what the rows show.
    """

    y: np.ndarray
    clusters: np.ndarray
    y_train: np.ndarray
    weights: Weights = None
    w_train: Weights = None
    variance_factor: float = 1.0

    def predicted(self, prediction: np.ndarray) -> SetPrediction:
        """Put a fit's predictions of the test rows beside them."""
        return SetPrediction(self.y, prediction, self.clusters, self.weights, self.variance_factor)


def order(
    measured: Sequence[Measured],
    rows: RankedRows,
    spec: ExperimentSpec,
    n_classes: int,
) -> Ranking:
    """Put what was measured in order.

    Args:
        measured: by `measure`, of fully trained configurations and their ensemble.
        rows: the test rows.
        spec: its metric ranks, its seed is that of the comparison's draws.
        n_classes: of the target; 0 for regression.
    """
    sign = METRICS[spec.metric].sign
    scored = sorted(
        (one for one in measured if math.isfinite(one.score.estimate)),
        key=lambda one: (
            -sign * one.score.estimate,
            one.result.key == ENSEMBLE,
            one.result.model_bytes,
            one.result.key,
        ),
    )
    undefined = tuple(one.result for one in measured if not math.isfinite(one.score.estimate))
    constant = best_constant(spec.metric, rows.y_train, spec.task, n_classes, rows.w_train)
    control = widened(baseline(spec.metric, rows.y, constant, rows.weights), rows.variance_factor)
    if not scored:
        return Ranking((), undefined, control.estimate, math.nan)
    comparison = comparisons.compare_with_best(
        sign * np.array([one.score.estimate for one in scored]),
        sign * np.column_stack([one.contribution for one in scored]),
        seed=spec.seed,
        consecutive=isinstance(rows.clusters, ConsecutiveClusters),
        told=effective_clusters(rows.clusters, rows.weights),
    )
    flattery = max(sign * (scored[0].score.estimate - scored[0].honest), 0.0)
    return Ranking(
        tuple(_entries(scored, comparison, _leads(scored, control, rows, spec.seed), sign)),
        undefined,
        control.estimate,
        comparison.optimism + flattery,
    )


def measure(
    results: Sequence[ModelResult],
    predictions: TestPredictions,
    rows: RankedRows,
    spec: ExperimentSpec,
) -> Iterator[Measured]:
    """Score results anew from their predictions, in the order of their keys.

    Args:
        results: fully trained ones, in any order.
        predictions: gives what a result predicts for the test rows; asked once of each.
        rows: the test rows.
        spec: its metric ranks.
    """
    drawn = layout(spec.metric, rows.y, rows.clusters, rows.weights)
    compared = comparisons.comparison_codes(rows.clusters)
    by_threshold = METRICS[spec.metric].by_threshold
    for result in sorted(results, key=lambda result: result.key):
        prediction = predictions(result)
        best = widened(
            on_test(spec.metric_names, rows.y, prediction, rows.weights), rows.variance_factor
        )
        predicted = rows.predicted(prediction)
        honest = cross_fitted(spec.metric, predicted).score if by_threshold else best
        yield Measured(
            result,
            interval_of(spec.metric, spread_of(best, drawn)),
            cluster_sums(best.influence, compared),
            honest.estimate,
            cluster_sums(honest.influence, compared),
        )


def _leads(
    scored: Sequence[Measured], control: Linearised, rows: RankedRows, seed: int
) -> list[Interval]:
    """The scores minus the baseline's, in units of the metric."""
    leads = np.array([one.honest for one in scored]) - control.estimate
    bounds = comparisons.compare_with_control(
        leads,
        np.column_stack([one.honest_contribution for one in scored]),
        cluster_sums(control.influence, comparisons.comparison_codes(rows.clusters)),
        seed,
        consecutive=isinstance(rows.clusters, ConsecutiveClusters),
        told=effective_clusters(rows.clusters, rows.weights),
    )
    return [
        Interval(*three) for three in np.column_stack([leads, bounds.low, bounds.high]).tolist()
    ]


def _entries(
    scored: Sequence[Measured],
    comparison: comparisons.Comparison,
    leads: Sequence[Interval],
    sign: int,
) -> Iterator[RankedModel]:
    # Adding 0.0 turns the -0.0 of the best into 0.0.
    ends = np.sort(sign * np.column_stack([comparison.low, comparison.high]), axis=1) + 0.0
    for number, (one, lead) in enumerate(zip(scored, leads, strict=True)):
        difference = Interval(
            float(sign * comparison.difference[number]) + 0.0, *ends[number].tolist()
        )
        yield RankedModel(one.result, one.score, difference, bool(comparison.tied[number]), lead)


def build_rows(
    ranking: Ranking,
    chosen: str,
    concluded: Sequence[Conclusion],
    spec: ExperimentSpec,
    told: str = "",
) -> pd.DataFrame:
    """Return a row per declared configuration with the columns of COLUMNS.

    Args:
        ranking: of the configurations with a score; they come first, then those without one.
        chosen: key of the choice, marked in the column `reason`.
        told: what the column says of an ensemble.
        concluded: of these, what was stopped early follows, the one that came furthest first;
            then what failed, same reasons together; what was not started comes last.
        spec: declares the rest, which nobody has trained.
    """
    sign = METRICS[spec.metric].sign
    met = {one.key for one in concluded}
    missing = [
        Conclusion(one.key, one.algorithm, NOT_STARTED)
        for one in configurations(spec)
        if one.key not in met
    ]
    unranked = [one for one in (*concluded, *missing) if one.status != TRAINED]
    undefined = f"{spec.metric} is undefined"
    rows = [
        *(
            _ranked(number, one, sign, chosen, told)
            for number, one in enumerate(ranking.entries, 1)
        ),
        *(_measured(one, one.test_score, sign, undefined) for one in ranking.undefined),
        *(_unranked(one, sign) for one in sorted(unranked, key=partial(_place, sign=sign))),
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(in_tie_group=table["in_tie_group"].eq(True)).astype(COLUMNS)


def _ranked(
    number: int, entry: RankedModel, sign: int, chosen: str, told: str
) -> dict[str, object]:
    reasons = ["chosen"] if entry.result.key == chosen else []
    reasons += [told] if entry.is_ensemble else []
    return _measured(entry.result, entry.score.estimate, sign, ": ".join(reasons)) | {
        "rank": number,
        "low": entry.score.low,
        "high": entry.score.high,
        "difference_to_best": entry.difference.estimate,
        "difference_low": entry.difference.low,
        "difference_high": entry.difference.high,
        "in_tie_group": entry.tied,
    }


def _measured(result: ModelResult, score: float, sign: int, reason: str) -> dict[str, object]:
    return {
        "key": result.key,
        "algorithm": result.algorithm,
        "test_score": score,
        "train_score": result.train_score,
        "overfit_gap": sign * (result.train_score - score),
        "seed_mean": None if result.seeds is None else result.seeds.mean,
        "seed_deviation": None if result.seeds is None else result.seeds.deviation,
        "calibration": result.calibration,
        "fit_cpu_seconds": result.fit_cpu_seconds,
        "predict_microseconds_per_row": 1e6 * result.predict_seconds_per_row,
        "model_bytes": result.model_bytes,
        "rounds": result.rounds,
        "status": result.status,
        "reason": reason,
        "fingerprint": result.fingerprint,
    }


def _unranked(one: Conclusion, sign: int) -> dict[str, object]:
    measured = {} if one.result is None else _measured(one.result, one.result.test_score, sign, "")
    reason = one.reason if one.failure is None else one.failure.in_words
    what = {"key": one.key, "algorithm": one.algorithm, "status": one.status, "reason": reason}
    return measured | what


def _place(one: Conclusion, sign: int) -> tuple[float | str | bool, ...]:
    """By rung, then by the score there, undefined ones last; by reason; as declared."""
    if one.result is not None:
        score = one.result.test_score
        return 0, -(one.fraction or 0.0), math.isnan(score), -sign * score, one.key
    return (2,) if one.failure is None else (1, one.failure.in_words, one.key)
