"""The ranking on the test set: scores with intervals, ties, leads over the baseline.

A `Ranking` orders the results of a search; `build_rows` makes a table of it with the
columns of COLUMNS, a row for each configuration. The choice is made in `board.py`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard.incumbent import IncumbentAnswers
from experiment_pipeline.stages.leaderboard.scored import (
    NOTHING_EARLIER,
    EarlierScores,
    single_reach,
)
from experiment_pipeline.stages.search.conclusions import TRAINED, Conclusion
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.statistics import comparisons, scores
from experiment_pipeline.statistics.interval import (
    LEVEL,
    ConsecutiveClusters,
    Interval,
    Layout,
    Linearised,
    Spread,
    Weights,
    cluster_sums,
    spread_of,
)
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.skill import PairedLosses
from experiment_pipeline.statistics.thresholds import cross_fitted

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

# Columns that are fields of a result.
_OF_RESULT = [name for name in COLUMNS if name in ModelResult.__dataclass_fields__]

TestPredictions = Callable[[ModelResult], np.ndarray]


@dataclass(frozen=True)
class RankedModel:
    """A configuration with a score, or the ensemble.

    Intervals hold for all ranked models together, so also for the best of them.
    """

    result: ModelResult  # of its training
    score: Interval  # on the test set, at a cross-fitted threshold
    # minus the best score; bounds of the true difference to the truly best
    difference: Interval
    tied: bool  # whether it is statistically tied with the best
    difference_to_baseline: Interval  # the score minus the baseline's on the same rows

    @property
    def key(self) -> str:
        """The key of the configuration."""
        return self.result.key

    @property
    def is_ensemble(self) -> bool:
        """Whether it is the mean of others."""
        return self.key == ENSEMBLE


@dataclass(frozen=True)
class Ranking:
    """The configurations with a score, the best first, and those without."""

    # by score; the ensemble by its lead over a single model that is picked
    # cross-fitted, as its members are. Of equal scores the ensemble comes last, else
    # the smaller model, then the smaller key first
    entries: tuple[RankedModel, ...]
    undefined: tuple[ModelResult, ...]  # whose score is not a finite number, by key
    baseline: float  # what predicting without features scores on the test set
    # expected selection bias of the best single score, as the best of many; nan when
    # the test set is one resampling cluster
    optimism: float
    earlier: EarlierScores = NOTHING_EARLIER  # the intervals hold for these as well

    def entry(self, key: str) -> RankedModel:
        """Return the entry of a key; StopIteration: it has no score."""
        return next(entry for entry in self.entries if entry.key == key)

    @property
    def single(self) -> tuple[RankedModel, ...]:
        """The entries without the ensemble."""
        return tuple(entry for entry in self.entries if not entry.is_ensemble)

    @property
    def tie_group(self) -> tuple[RankedModel, ...]:
        """The entries that are statistically tied with the best, which is the first."""
        return tuple(entry for entry in self.entries if entry.tied)


@dataclass(frozen=True, eq=False)
class Measured:
    """A result's score, at cross-fitted thresholds, and what each cluster
    adds to it.
    """

    result: ModelResult
    score: Spread
    contribution: np.ndarray  # (G,) of the clusters that comparisons resample
    in_ledger: np.ndarray  # (H,) of the groups of rows in the ledger of scores
    # (G,) mean loss of the rows of each; None: the metric has no losses
    losses: np.ndarray | None = None
    # the score by which it is ranked, where that is not its own: for the ensemble the
    # best single score plus its lead over a single model, both cross-fitted. One that
    # leads by nothing has exactly the best single score
    ranked_by: float | None = None

    @property
    def is_defined(self) -> bool:
        """Whether its score is a finite number."""
        return math.isfinite(self.score.estimate)

    @property
    def compared(self) -> float:
        """The score by which it is ranked."""
        return self.score.estimate if self.ranked_by is None else self.ranked_by


@dataclass(frozen=True, eq=False)
class RankedRows:
    """The test rows by which models are ranked, and what is predicted for them."""

    spec: ExperimentSpec
    predictions: TestPredictions
    y: np.ndarray  # encoded targets (n,)
    clusters: np.ndarray  # (n,) codes of the resampling clusters
    y_train: np.ndarray  # encoded targets of the train set, for the baseline
    n_classes: int = 0  # of the target; 0 for regression
    weights: Weights = None  # (n,) how much each row counts; None: all alike
    w_train: Weights = None  # the same for the train rows
    variance_factor: float = 1.0  # as of `SetPrediction`
    row_numbers: np.ndarray | None = None  # (n,) in the raw table; None: 0 … n-1
    incumbent: IncumbentAnswers | None = None  # of the rule in use today

    @cached_property
    def cluster_codes(self) -> np.ndarray:
        """(n,) codes of the clusters that comparisons resample."""
        return comparisons.comparison_codes(self.clusters)

    @cached_property
    def groups(self) -> np.ndarray:
        """(n,) codes that no change of features moves: the clusters, or the rows where
        clusters depend on features.
        """
        by_features = self.spec.split.by in {"random", "column"}
        if not by_features or self.spec.split.id_columns:
            return self.cluster_codes
        if self.row_numbers is None:
            return comparisons.comparison_codes(np.arange(len(self.y)))
        return comparisons.comparison_codes(self.row_numbers)

    @cached_property
    def _layout(self) -> Layout:
        return scores.layout(self.spec.metric, self.y, self.clusters, self.weights)

    def drawn(self) -> comparisons.Drawn:
        """Return how comparisons resample the clusters."""
        consecutive = isinstance(self.clusters, ConsecutiveClusters)
        scarcest = scores.one_sample(self.clusters, self.weights).scarcest
        return comparisons.Drawn(self.spec.seed, consecutive, scarcest)

    def predicted(self, prediction: np.ndarray) -> scores.SetPrediction:
        """Return predictions of the test rows, with these rows' targets, clusters and
        weights.
        """
        return scores.SetPrediction(
            self.y, prediction, self.clusters, self.weights, self.variance_factor
        )

    def measured(self, result: ModelResult, prediction: np.ndarray) -> Measured:
        """Score a model by its predictions of the test rows."""
        predicted = self.predicted(prediction)
        score = cross_fitted(self.spec.metric, predicted).score
        contribution = cluster_sums(score.influence, self.cluster_codes)
        spread = spread_of(score, self._layout)
        losses = self._losses(predicted)
        in_ledger = cluster_sums(score.influence, self.groups)
        return Measured(result, spread, contribution, in_ledger, losses)

    def _losses(self, predicted: scores.SetPrediction) -> np.ndarray | None:
        of_rows = scores.row_losses(self.spec.metric, predicted)
        if of_rows is None:
            return None
        return cluster_sums(of_rows, self.cluster_codes)

    @cached_property
    def _baseline(self) -> scores.SetPrediction:
        """Predicting without features: the best constant of the train set."""
        spec = self.spec
        constant = scores.best_constant(
            spec.metric, self.y_train, spec.task, self.n_classes, self.w_train
        )
        return self.predicted(scores.repeated(constant, len(self.y)))

    @cached_property
    def baseline(self) -> Linearised:
        """The score of predicting without features."""
        return self._baseline.linearise(self.spec.metric)

    def leads(
        self, ranked: Sequence[Measured], contributions: np.ndarray, widening: float
    ) -> Sequence[Interval]:
        """Return the scores minus the baseline's, with bounds that hold for all of
        them together; `contributions` are those of the ranked, (G, C).

        `widening`: how many times as wide the bounds are, for those scored earlier.
        """
        drawn = self.drawn()
        control = cluster_sums(self.baseline.influence, self.cluster_codes)
        of_baseline = self._losses(self._baseline)
        if of_baseline is None or not of_baseline.sum() > 0:
            estimates = np.array([model.score.estimate for model in ranked])
            leads = estimates - self.baseline.estimate
            return comparisons.compare_with_control(
                leads, contributions, control, drawn, widening
            )
        level = comparisons.level_for_all(contributions, control, drawn, widening)
        drawn_alone = np.arange(len(of_baseline)).view(type(self.clusters))
        layout = scores.one_sample(drawn_alone)
        return [
            replace(
                scores.lead_by_losses(
                    self.spec.metric,
                    self.baseline.estimate,
                    PairedLosses(
                        of_baseline, model.losses, layout, self.variance_factor
                    ),
                    level,
                ),
                level=LEVEL,
            )
            for model in ranked
            if model.losses is not None
        ]


def order(
    measured: Sequence[Measured],
    rows: RankedRows,
    earlier: EarlierScores = NOTHING_EARLIER,
) -> Ranking:
    """Rank measured models; intervals hold for those scored earlier as well."""
    metric = rows.spec.metric
    sign = metric_of(metric).sign
    undefined = tuple(model.result for model in measured if not model.is_defined)
    baseline = rows.baseline
    ranked = _best_first(measured, sign)
    if not ranked:
        return Ranking((), undefined, baseline.estimate, math.nan)
    contributions = np.column_stack([model.contribution for model in ranked])
    drawn = rows.drawn()
    compared = np.array([model.compared for model in ranked])
    best = comparisons.compare_with_best(
        sign * compared,
        sign * contributions,
        drawn,
        picked=np.array([model.result.key != ENSEMBLE for model in ranked]),
    )
    in_ledger = np.column_stack([model.in_ledger for model in ranked])
    widening = earlier.widening(in_ledger, drawn)
    leads = rows.leads(ranked, contributions, widening)
    reach = _reach(contributions, drawn, widening)
    entries = tuple(
        RankedModel(
            result=model.result,
            score=scores.interval_of(metric, model.score, reach=reach),
            difference=difference,
            tied=bool(is_tied),
            difference_to_baseline=lead,
        )
        for model, difference, is_tied, lead in zip(
            ranked, _differences(best, sign), best.tied, leads, strict=True
        )
    )
    optimism = best.optimism
    if earlier.configurations:
        optimism = comparisons.optimism_of_best(
            sign * np.append(compared, earlier.scores),
            sign * earlier.beside(in_ledger),
            drawn,
        )
    return Ranking(entries, undefined, baseline.estimate, optimism, earlier)


def _reach(
    contributions: np.ndarray, drawn: comparisons.Drawn, widening: float
) -> float:
    """How many standard errors the intervals of the scores reach."""
    reach = comparisons.simultaneous_reach(contributions, drawn)
    if widening > 1:
        return widening * (reach or single_reach(contributions))
    return reach


def _differences(best: comparisons.Comparison, sign: int) -> list[Interval]:
    """The differences to the best, in the metric's own direction."""
    # Adding 0.0 turns the -0.0 of the best into 0.0.
    estimates = (sign * best.difference + 0.0).tolist()
    bounds = sign * np.column_stack([best.low, best.high]) + 0.0
    lows, highs = np.sort(bounds, axis=1).T.tolist()
    return list(map(Interval, estimates, lows, highs))


def _best_first(measured: Sequence[Measured], sign: int) -> list[Measured]:
    """The models with a score, in the order of a `Ranking`."""
    return sorted(
        (model for model in measured if model.is_defined),
        key=lambda model: (
            -sign * model.compared,
            model.result.key == ENSEMBLE,
            model.result.model_bytes,
            model.result.key,
        ),
    )


def build_rows(
    ranking: Ranking,
    chosen: str,
    concluded: Sequence[Conclusion],
    metric: str,
    members: str,
) -> pd.DataFrame:
    """Return a row per configuration and one for the ensemble, with COLUMNS.

    After the ranked ones come those with an undefined score, stopped early, failed, and
    not started. `reason` marks the choice, and lists the ensemble's members.
    """
    sign = metric_of(metric).sign
    rows = []
    for rank, entry in enumerate(ranking.entries, start=1):
        reasons = ["chosen"] if entry.key == chosen else []
        if entry.is_ensemble:
            reasons.append(members)
        place = {
            "rank": rank,
            "low": entry.score.low,
            "high": entry.score.high,
            "difference_to_best": entry.difference.estimate,
            "difference_low": entry.difference.low,
            "difference_high": entry.difference.high,
            "in_tie_group": entry.tied,
            "reason": ": ".join(reasons),
        }
        rows.append(_measurements(entry.result, entry.score.estimate, sign) | place)
    for result in ranking.undefined:
        reason = {"reason": f"{metric} is undefined"}
        rows.append(_measurements(result, result.test_score, sign) | reason)
    unranked = [end for end in concluded if end.status != TRAINED]
    for end in sorted(unranked, key=lambda end: _place_of_unranked(end, sign)):
        row: dict[str, object] = {
            "key": end.key,
            "algorithm": end.algorithm,
            "status": end.status,
            "reason": end.failure.in_words if end.failure else end.reason,
        }
        if end.result is not None:
            row = _measurements(end.result, end.result.test_score, sign) | row
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(in_tie_group=table["in_tie_group"].eq(True)).astype(COLUMNS)


def _place_of_unranked(end: Conclusion, sign: int) -> tuple[float | str | bool, ...]:
    """Stopped: by rung, then by score there, undefined ones last. Failed: by reason.
    Not started: as declared.
    """
    if end.result is not None:
        score = end.result.test_score
        return 0, -(end.fraction or 0.0), math.isnan(score), -sign * score, end.key
    if end.failure is not None:
        return 1, end.failure.in_words, end.key
    return (2,)


def _measurements(result: ModelResult, score: float, sign: int) -> dict[str, object]:
    seeds = result.seeds
    return {
        **{name: getattr(result, name) for name in _OF_RESULT},
        "test_score": score,
        "overfit_gap": sign * (result.train_score - score),
        "seed_mean": None if seeds is None else seeds.mean,
        "seed_deviation": None if seeds is None else seeds.deviation,
        "predict_microseconds_per_row": 1e6 * result.predict_seconds_per_row,
    }
