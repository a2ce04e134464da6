"""The ranking on the test set: scores with intervals, ties, leads over the baseline,
and the table.

A `Ranking` orders the results of a search; `build_rows` makes a table of it with the
columns of COLUMNS, a row for every declared configuration. The choice is made in
`board.py`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.search.conclusions import (
    NOT_STARTED,
    TRAINED,
    Conclusion,
)
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.statistics import comparisons, scores
from experiment_pipeline.statistics.interval import (
    ConsecutiveClusters,
    Interval,
    Spread,
    Weights,
    cluster_sums,
    spread_of,
)
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.thresholds import cross_fitted

COLUMNS = {
    "rank": "Int64",
    **dict.fromkeys(("key", "algorithm"), "str"),
    **dict.fromkeys(("test_score", "low", "high"), "float64"),
    **dict.fromkeys(
        ("difference_to_best", "difference_low", "difference_high"), "float64"
    ),
    "in_tie_group": "bool",
    **dict.fromkeys(
        ("train_score", "overfit_gap", "seed_mean", "seed_deviation"), "float64"
    ),
    "calibration": "str",
    **dict.fromkeys(("fit_cpu_seconds", "predict_microseconds_per_row"), "float64"),
    **dict.fromkeys(("model_bytes", "rounds"), "Int64"),
    **dict.fromkeys(("status", "reason", "fingerprint"), "str"),
}

TestPredictions = Callable[[ModelResult], np.ndarray]


@dataclass(frozen=True)
class RankedModel:
    """A configuration with a score, or the ensemble; intervals hold for all ranked
    models together.
    """

    result: ModelResult  # of its training
    # on the test set, at a cross-fitted threshold; the interval also holds for the best
    # of all
    score: Interval
    difference: Interval  # minus the best score; bounds of the true difference to the truly best
    tied: bool  # whether it is statistically tied with the best
    difference_to_baseline: Interval  # the score minus the baseline's on the same rows

    @property
    def is_ensemble(self) -> bool:
        """Whether it is the mean of others."""
        return self.result.key == ENSEMBLE


@dataclass(frozen=True)
class Ranking:
    """The configurations with a score, the best first, and those without."""

    # by score; the ensemble by its lead over a single model that is picked
    # cross-fitted, as its members are. Of equal scores the ensemble comes last, else
    # the smaller model, then the smaller key first
    entries: tuple[RankedModel, ...]
    undefined: tuple[
        ModelResult, ...
    ]  # results whose score is not a finite number, by key
    baseline: float  # what predicting without features scores on the test set
    # expected selection bias of the best single score, as the best of many; nan when
    # the test set is one resampling cluster
    optimism: float

    @property
    def single(self) -> tuple[RankedModel, ...]:
        """The entries without the ensemble."""
        return tuple(entry for entry in self.entries if not entry.is_ensemble)


@dataclass(frozen=True, eq=False)
class Measured:
    """A result's score, at cross-fitted thresholds, and what each cluster
    adds to it.
    """

    result: ModelResult
    score: Spread
    contribution: np.ndarray
    # added before scores are compared; for the ensemble, the optimism of single models:
    # the best score minus that of a single model picked on other rows than it is scored
    # on
    allowance: float = 0.0

    @property
    def compared(self) -> float:
        """The score by which it is ranked."""
        return self.score.estimate + self.allowance


@dataclass(frozen=True, eq=False)
class RankedRows:
    """The test rows that predictions are compared with, and what the baseline needs."""

    y: np.ndarray  # encoded targets (n,)
    clusters: np.ndarray  # (n,) codes of the resampling clusters
    y_train: np.ndarray  # encoded targets of the train set, for the baseline
    weights: Weights = None  # (n,) how much each row counts; None: all alike
    w_train: Weights = None  # the same for the train rows
    variance_factor: float = 1.0  # as of `SetPrediction`

    def predicted(self, prediction: np.ndarray) -> scores.SetPrediction:
        """Return a fit's predictions of the test rows, with these rows' targets,
        clusters and weights.
        """
        return scores.SetPrediction(
            self.y, prediction, self.clusters, self.weights, self.variance_factor
        )

    def drawn(self, seed: int) -> comparisons.Drawn:
        """Return how comparisons resample the clusters."""
        consecutive = isinstance(self.clusters, ConsecutiveClusters)
        scarcest = scores.one_sample(self.clusters, self.weights).scarcest
        return comparisons.Drawn(seed, consecutive, scarcest)


def measure(
    results: Sequence[ModelResult],
    predictions: TestPredictions,
    rows: RankedRows,
    spec: ExperimentSpec,
) -> Iterator[Measured]:
    """Score results from their predictions of the test rows, in the order of their
    keys.
    """
    drawn = scores.layout(spec.metric, rows.y, rows.clusters, rows.weights)
    compared = comparisons.comparison_codes(rows.clusters)
    for result in sorted(results, key=lambda result: result.key):
        found = cross_fitted(spec.metric, rows.predicted(predictions(result))).score
        yield Measured(
            result, spread_of(found, drawn), cluster_sums(found.influence, compared)
        )


def order(
    measured: Sequence[Measured], rows: RankedRows, spec: ExperimentSpec, n_classes: int
) -> Ranking:
    """Rank measured results; `n_classes`: of the target, 0 for regression."""
    sign = metric_of(spec.metric).sign
    scored = sorted(
        (one for one in measured if math.isfinite(one.score.estimate)),
        key=lambda one: (
            -sign * one.compared,
            one.result.key == ENSEMBLE,
            one.result.model_bytes,
            one.result.key,
        ),
    )
    undefined = tuple(
        one.result for one in measured if not math.isfinite(one.score.estimate)
    )
    constant = scores.best_constant(
        spec.metric, rows.y_train, spec.task, n_classes, rows.w_train
    )
    control = rows.predicted(scores.repeated(constant, len(rows.y))).linearise(
        spec.metric
    )
    if not scored:
        return Ranking((), undefined, control.estimate, math.nan)
    drawn = rows.drawn(spec.seed)
    contributions = np.column_stack([one.contribution for one in scored])
    best = comparisons.compare_with_best(
        sign * np.array([one.compared for one in scored]),
        sign * contributions,
        drawn,
        picked=np.array([one.result.key != ENSEMBLE for one in scored]),
    )
    leads = comparisons.compare_with_control(
        np.array([one.score.estimate for one in scored]) - control.estimate,
        contributions,
        cluster_sums(control.influence, comparisons.comparison_codes(rows.clusters)),
        drawn,
    )
    reach = comparisons.simultaneous_reach(contributions, drawn)
    shown = [scores.interval_of(spec.metric, one.score, reach=reach) for one in scored]
    # Adding 0.0 turns the -0.0 of the best into 0.0.
    estimates = sign * best.difference + 0.0
    ends = np.sort(sign * np.column_stack([best.low, best.high]), axis=1) + 0.0
    differences = np.column_stack([estimates, ends]).tolist()
    entries = tuple(
        RankedModel(one.result, score, Interval(*three), tied, lead)
        for one, score, three, tied, lead in zip(
            scored, shown, differences, best.tied.tolist(), leads, strict=True
        )
    )
    return Ranking(entries, undefined, control.estimate, best.optimism)


def build_rows(
    ranking: Ranking,
    chosen: str,
    concluded: Sequence[Conclusion],
    spec: ExperimentSpec,
    members: str = "",
) -> pd.DataFrame:
    """Return a row per declared configuration with the columns of COLUMNS.

    After the ranked ones come those with an undefined score, stopped early, failed, and
    not started. `reason` marks the choice, and lists the ensemble's members.
    """
    sign = metric_of(spec.metric).sign
    known = {one.key for one in concluded}
    missing = [
        Conclusion(one.key, one.algorithm, NOT_STARTED)
        for one in configurations(spec)
        if one.key not in known
    ]

    def place(one: Conclusion) -> tuple[float | str | bool, ...]:
        """Stopped: by rung, then by score there, undefined ones last. Failed: by
        reason. Others: as declared.
        """
        if one.result is not None:
            score = one.result.test_score
            return 0, -(one.fraction or 0.0), math.isnan(score), -sign * score, one.key
        return (2,) if one.failure is None else (1, one.failure.in_words, one.key)

    rows = []
    for number, entry in enumerate(ranking.entries, 1):
        reasons = ["chosen"] if entry.result.key == chosen else []
        reasons += [members] if entry.is_ensemble else []
        ranked = {
            "rank": number,
            "low": entry.score.low,
            "high": entry.score.high,
            "difference_to_best": entry.difference.estimate,
            "difference_low": entry.difference.low,
            "difference_high": entry.difference.high,
            "in_tie_group": entry.tied,
            "reason": ": ".join(reasons),
        }
        rows.append(_measured(entry.result, entry.score.estimate, sign) | ranked)
    undefined = {"reason": f"{spec.metric} is undefined"}
    rows += [
        _measured(one, one.test_score, sign) | undefined for one in ranking.undefined
    ]
    unranked = [one for one in (*concluded, *missing) if one.status != TRAINED]
    for one in sorted(unranked, key=place):
        last = (
            {}
            if one.result is None
            else _measured(one.result, one.result.test_score, sign)
        )
        reason = one.reason if one.failure is None else one.failure.in_words
        what = {
            "key": one.key,
            "algorithm": one.algorithm,
            "status": one.status,
            "reason": reason,
        }
        rows.append(last | what)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(in_tie_group=table["in_tie_group"].eq(True)).astype(COLUMNS)


def _measured(result: ModelResult, score: float, sign: int) -> dict[str, object]:
    copied = (
        "key",
        "algorithm",
        "train_score",
        "calibration",
        "fit_cpu_seconds",
        "model_bytes",
    )
    return {
        **{
            name: getattr(result, name)
            for name in (*copied, "rounds", "status", "fingerprint")
        },
        "test_score": score,
        "overfit_gap": sign * (result.train_score - score),
        "seed_mean": None if result.seeds is None else result.seeds.mean,
        "seed_deviation": None if result.seeds is None else result.seeds.deviation,
        "predict_microseconds_per_row": 1e6 * result.predict_seconds_per_row,
    }
