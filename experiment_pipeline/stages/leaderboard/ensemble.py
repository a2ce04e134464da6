"""The ensemble of the best few configurations: one more row of the leaderboard, which
can be chosen.

Forward selection with replacement from a sorted start (Caruana, Niculescu-Mizil, Crew
and Ksikes 2004, "Ensemble Selection from Libraries of Models") averages predictions of
the test rows; nothing is fitted. Weights chosen on rows make the score on these rows
optimistic, so the row's score is cross-fitted (Chernozhukov et al. 2018). The exported
weights come from all test rows.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.spec.algorithms import ENSEMBLE, competes
from experiment_pipeline.stages.leaderboard.ranking import (
    Measured,
    RankedRows,
    TestPredictions,
)
from experiment_pipeline.stages.search.conclusions import TRAINED
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    default_features,
)
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.statistics.calibration import reweighting
from experiment_pipeline.statistics.comparisons import comparison_codes
from experiment_pipeline.statistics.interval import (
    ConsecutiveClusters,
    Weights,
    relative_weights,
)
from experiment_pipeline.statistics.metrics import metric_of, names_of
from experiment_pipeline.statistics.scores import score
from experiment_pipeline.statistics.thresholds import (
    FOLDS,
    cross_fitted,
    fold_of_rows,
    scoring_threshold,
)
from experiment_pipeline.storage.records import fingerprint_of

LIBRARY = 30  # candidates: models further behind lose more than an average regains
STEPS = 20  # of the selection: weights are multiples of a twentieth at the finest
PATIENCE = 4  # steps without a better score before it stops
KEPT = 0.95  # share of the gain over the best model that must remain when members are removed
MOST_ROWS = 20_000  # more do not change the weights of five models
_ROUNDING = 1e-9  # relative to a score; a smaller gain is none

Score = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class EnsembleMember:
    """A configuration of an ensemble, as it was fitted, and its weight."""

    configuration: Configuration  # with its full hyperparameters
    fingerprint: str  # of its model
    rounds: int | None  # boosting rounds of that fit; None for other algorithms
    weight: float  # those of all members sum to 1


@dataclass(frozen=True)
class Ensemble:
    """Which configurations are averaged, with which weights."""

    members: tuple[EnsembleMember, ...]  # by all test rows, the largest weight first
    # of each fold, what was chosen on the other folds: fingerprint → weight
    folds: tuple[Mapping[str, float], ...]

    @property
    def keys(self) -> list[str]:
        """The keys of its members."""
        return [one.configuration.key for one in self.members]

    @property
    def fingerprint(self) -> str:
        """The digest of its members' fingerprints and their weights."""
        parts = sorted((one.fingerprint, one.weight) for one in self.members)
        return fingerprint_of(**{ENSEMBLE: parts})

    @property
    def configuration(self) -> Configuration:
        """The ensemble as a configuration: its members, and their hyperparameters that
        reweight classes.
        """
        settings: dict[str, Scalar] = {"members": self.in_words}
        for one in self.members:
            given = one.configuration.hyperparameters
            reweights = {
                n: v for n, v in given.items() if reweighting({n: v}) is not None
            }
            settings |= {f"members__{name}": value for name, value in reweights.items()}
        return Configuration(ENSEMBLE, ENSEMBLE, default_features(ENSEMBLE), settings)

    @property
    def in_words(self) -> str:
        """`0.6 of lightgbm__7f3a9c2e, 0.4 of linear__C=0.1`."""
        return ", ".join(
            f"{one.weight:.2g} of {one.configuration.key}" for one in self.members
        )

    def result(self, members: Sequence[ModelResult], metric: str) -> ModelResult:
        """Return the numbers of the row: sums over its members, in any order; scores
        are nan.
        """
        return ModelResult(
            key=ENSEMBLE,
            fingerprint=self.fingerprint,
            encoder_fingerprint="",
            algorithm=ENSEMBLE,
            features=self.configuration.features,
            hyperparameters=self.configuration.hyperparameters,
            status=TRAINED,
            metric=metric,
            train_score=float("nan"),
            test_score=float("nan"),
            test_scores={},
            rounds=None,
            fit_cpu_seconds=sum(one.fit_cpu_seconds for one in members),
            fit_wall_seconds=sum(one.fit_wall_seconds for one in members),
            predict_seconds_per_row=sum(one.predict_seconds_per_row for one in members),
            model_bytes=sum(one.model_bytes for one in members),
            trusted_types=tuple(
                sorted({kind for one in members for kind in one.trusted_types})
            ),
            notes=tuple(dict.fromkeys(note for one in members for note in one.notes)),
        )

    def cross_fitted(
        self, known: Callable[[str], np.ndarray], y: np.ndarray, clusters: np.ndarray
    ) -> np.ndarray:
        """Return its cross-fitted predictions of the test rows; `known`: fingerprint →
        a model's predictions.
        """
        of_row, total = folds_of(y, clusters).of_row, None
        for one in sorted({one for fold in self.folds for one in fold}):
            weights = np.array([fold.get(one, 0.0) for fold in self.folds])[of_row]
            part = (known(one).T * weights).T
            total = part if total is None else np.add(total, part, out=total)
        return np.asarray(total)


@dataclass(frozen=True, eq=False)
class Folds:
    """Resampling clusters dealt into folds."""

    of_row: np.ndarray  # (n,) the fold of each row, 0 … K-1
    of_cluster: (
        np.ndarray
    )  # (G,) the fold of each cluster of `comparisons.comparison_codes`
    rows: (
        np.ndarray
    )  # (G,) total weight of the rows of each cluster, on average 1 a row

    @property
    def count(self) -> int:
        """K: at most five, fewer with few clusters."""
        return int(self.of_cluster.max()) + 1


def folds_of(y: np.ndarray, clusters: np.ndarray, weights: Weights = None) -> Folds:
    """Deal clusters (n,) into folds, balanced by encoded targets (n,); consecutive
    clusters in blocks.
    """
    codes = comparison_codes(clusters)
    rows = np.bincount(codes, relative_weights(weights))
    if isinstance(clusters, ConsecutiveClusters):
        of_cluster = np.arange(len(rows)) * min(FOLDS, len(rows)) // len(rows)
    else:
        of_cluster = np.empty(len(rows), dtype=np.int64)
        of_cluster[codes] = fold_of_rows(y, codes)
    return Folds(of_cluster[codes], of_cluster, rows)


def forward_selection(library: np.ndarray, score: Score, members: int) -> np.ndarray:
    """Return the weights (L,) of the best mean found; they sum to 1.

    It starts with the first few models that score best together, and adds, step by
    step, the model that helps most. The library (L, n, …) has the best model first; at
    most `members` models get a weight.
    """
    sums = np.cumsum(library[:members], axis=0)
    starts = [_defined(score(total / size)) for size, total in enumerate(sums, 1)]
    start = next(
        size for size, one in enumerate(starts, 1) if not _gains(max(starts), one)
    )
    counts = (np.arange(len(library)) < start).astype(np.float64)
    total = np.tensordot(counts, library, axes=1)
    best, best_score = counts, _defined(score(total / counts.sum()))
    waited = 0
    for size in range(start + 1, STEPS + 1):
        allowed = (
            np.flatnonzero(counts)
            if (counts > 0).sum() >= members
            else range(len(library))
        )
        tried = {
            int(one): _defined(score((total + library[one]) / size)) for one in allowed
        }
        taken = max(tried, key=tried.__getitem__)
        counts = counts + (np.arange(len(library)) == taken)
        total = total + library[taken]
        waited += 1
        if _gains(tried[taken], best_score):
            best, best_score, waited = counts, tried[taken], 0
        if waited == PATIENCE:
            break
    return np.asarray(best / best.sum())


def without_dispensable(
    library: np.ndarray, weights: np.ndarray, score: Score, sizes: Sequence[float]
) -> np.ndarray:
    """Return the weights (L,) without models that hardly help; those with the largest
    of `sizes` go first.

    The rest keeps at least KEPT of the mean's gain over the first model alone.
    """
    alone = _defined(score(library[0]))
    if not np.isfinite(alone):
        return weights

    def without(one: int) -> np.ndarray:
        left = np.where(np.arange(len(weights)) == one, 0.0, weights)
        return np.asarray(left / left.sum())

    def gain(by: np.ndarray) -> float:
        return _defined(score(np.tensordot(by, library, axes=1))) - alone

    needed = KEPT * gain(weights)
    while np.count_nonzero(weights) > 1:
        members = np.flatnonzero(weights).tolist()
        removable = [one for one in members if gain(without(one)) >= needed]
        if not removable:
            break
        weights = without(max(removable, key=lambda one: (sizes[one], one)))
    return weights


def _gains(score: float, over: float) -> bool:
    return score > over + (_ROUNDING * abs(over) if np.isfinite(over) else 0.0)


def _defined(score: float) -> float:
    return -np.inf if np.isnan(score) else score


@dataclass(frozen=True, eq=False)
class FoundEnsemble:
    """An ensemble and the best single model, both picked on other rows than they are
    scored on.
    """

    ensemble: Ensemble  # its members and weights
    result: ModelResult  # the numbers of its row
    on_test: np.ndarray  # its cross-fitted predictions of the test rows
    # the cross-fitted score of the best single model: in each fold, of the one that is
    # best on the other folds. The best score of the board is not comparable: it was
    # picked on these very rows
    alone: float
    allowance: (
        float  # the best score of the board minus `alone`; 0 where that is undefined
    )
    is_better: bool  # whether the ensemble's cross-fitted score is better than `alone`


def find_ensemble(
    measured: Sequence[Measured],
    predictions: TestPredictions,
    rows: RankedRows,
    spec: ExperimentSpec,
    given: Mapping[str, float] | None,
) -> FoundEnsemble | None:
    """Return the ensemble of the best few, or of `given` key → weight; None: off, or
    one model suffices.
    """
    # Only some predictions of the best models are held; those of members are read again
    # in full.
    sign, rule = metric_of(spec.metric).sign, spec.ensemble
    candidates = _candidates(measured, sign)
    folds = folds_of(rows.y, rows.clusters, rows.weights)
    if rule is None or len(candidates) < 2 or folds.count < 2:
        return None
    best = _libraries(candidates, folds, rows, sign)
    some = np.linspace(0, len(rows.y) - 1, min(len(rows.y), MOST_ROWS)).astype(np.int64)
    results = [one.result for one in candidates]
    seen = {
        one: predictions(results[one])[some]
        for one in sorted(set().union(*best.values()))
    }

    def chosen(left_out: int | None) -> dict[int, float]:
        """Candidate → weight, the largest first, selected on the rows outside a fold;
        None: on all rows.
        """
        if given:
            return {
                [one.key for one in results].index(key): given[key] for key in given
            }
        keep = (
            np.full(len(some), True)
            if left_out is None
            else folds.of_row[some] != left_out
        )
        names = best[left_out]
        library = np.stack([seen[one][keep] for one in names])
        score = partial(_score, spec, rows, some[keep])
        weights = forward_selection(library, score, rule.members)
        # Bytes stand for the prediction time, because they are the same in every run.
        sizes = [results[one].model_bytes for one in names]
        weights = without_dispensable(library, weights, score, sizes)
        heaviest = np.argsort(-weights, kind="stable").tolist()
        return {names[i]: float(weights[i]) for i in heaviest if weights[i] > 0}

    if len(weights := chosen(None)) < 2:
        return None
    members = tuple(
        EnsembleMember(
            results[i].configuration, results[i].fingerprint, results[i].rounds, weight
        )
        for i, weight in weights.items()
    )
    each_fold = [chosen(fold) for fold in range(folds.count)]
    ensemble = Ensemble(
        members,
        tuple(
            {results[i].fingerprint: w for i, w in fold.items()} for fold in each_fold
        ),
    )
    by_print = {one.fingerprint: one for one in results}

    def predicted(one: Ensemble) -> np.ndarray:
        return one.cross_fitted(
            lambda key: predictions(by_print[key]), rows.y, rows.clusters
        )

    together = predicted(ensemble)
    if math.isnan(
        own := cross_fitted(spec.metric, rows.predicted(together)).score.estimate
    ):
        return None
    firsts = tuple(
        {results[best[fold][0]].fingerprint: 1.0} for fold in range(folds.count)
    )
    picked = rows.predicted(predicted(replace(ensemble, folds=firsts)))
    alone = cross_fitted(spec.metric, picked).score.estimate
    result = ensemble.result([results[i] for i in weights], spec.metric)
    allowance = 0.0 if math.isnan(alone) else candidates[0].score.estimate - alone
    is_better = math.isnan(alone) or sign * (own - alone) > 0
    return FoundEnsemble(ensemble, result, together, alone, allowance, is_better)


def _candidates(measured: Sequence[Measured], sign: int) -> list[Measured]:
    """Competing configurations with a score, the best first, each distinct
    model once.
    """
    scored = [
        one
        for one in measured
        if np.isfinite(one.score.estimate) and competes(one.result.algorithm)
    ]
    scored.sort(key=lambda one: (-sign * one.score.estimate, one.result.key))
    seen: dict[str, Measured] = {}
    for one in scored:
        seen.setdefault(one.result.fingerprint, one)
    return list(seen.values())


def _libraries(
    candidates: Sequence[Measured], folds: Folds, rows: RankedRows, sign: int
) -> dict[int | None, list[int]]:
    """Positions of the best candidates, the best first, on all rows (None) and without
    each fold.
    """
    scores = sign * np.array([one.score.estimate for one in candidates])
    # Without the factor that widens the intervals of overlapping fits.
    scale = sign / math.sqrt(rows.variance_factor)
    contributions = scale * np.column_stack([one.contribution for one in candidates])
    n, without = folds.rows.sum(), dict[int | None, np.ndarray]({None: scores})
    for fold in range(folds.count):
        # To first order, a score moves by -Σψ / (n - m) when m rows with influence ψ
        # are left out.
        out = folds.of_cluster == fold
        left = max(n - folds.rows[out].sum(), 1)
        without[fold] = scores - contributions[out].sum(axis=0) * n / left
    return {
        fold: np.argsort(-of, kind="stable")[:LIBRARY].tolist()
        for fold, of in without.items()
    }


def _score(
    spec: ExperimentSpec,
    rows: RankedRows,
    some: np.ndarray | slice,
    prediction: np.ndarray,
) -> float:
    """The score with its sign, greater is better; at the best threshold where it needs
    one.
    """
    # Thousands of averages are scored: too slow for a user's own metric, which only
    # judges the result.
    metric = names_of(spec.task)[0] if metric_of(spec.metric).is_own else spec.metric
    y, weights = rows.y[some], None if rows.weights is None else rows.weights[some]
    threshold = scoring_threshold([metric], y, prediction, weights)
    return metric_of(metric).sign * score(metric, y, prediction, threshold, weights)


@dataclass(frozen=True)
class RefitTime:
    """What is left of a budget of seconds when the ranking is made."""

    left: float  # seconds
    after: Callable[
        [Sequence[ModelResult]], float
    ]  # estimates the seconds of refit and report

    def why_not(self, members: Sequence[ModelResult]) -> str:
        """Return why an ensemble of these is left out; empty where there is time for
        it.
        """
        needed = self.after(members)
        if needed <= self.left:
            return ""
        return (
            f"an ensemble of {len(members)} of them is left out: its refit and report need about "
            f"{needed:.1f} seconds, and {max(self.left, 0.0):.1f} are left of the budget"
        )


def find_in_time(
    measured: Sequence[Measured],
    predictions: TestPredictions,
    rows: RankedRows,
    spec: ExperimentSpec,
    given: Mapping[str, float] | None,
    time: RefitTime | None,
) -> tuple[FoundEnsemble | None, str]:
    """Return the ensemble of what there is time to fit again, and why a better one is
    left out.
    """
    left_out, found = "", find_ensemble(measured, predictions, rows, spec, given)
    while found is not None and time is not None and found.is_better:
        results = {one.result.fingerprint: one.result for one in measured}
        members = [results[one.fingerprint] for one in found.ensemble.members]
        if not (why := time.why_not(members)):
            return found, ""
        left_out = left_out or why
        if given:
            return None, left_out
        # Try again with the best one, which is refitted anyway, and those quicker than
        # the slowest member.
        best = _candidates(measured, metric_of(spec.metric).sign)[0].result.fingerprint
        slowest = max(time.after([one]) for one in members if one.fingerprint != best)
        quick = {
            key
            for key, one in results.items()
            if key == best or time.after([one]) < slowest
        }
        measured = [one for one in measured if one.result.fingerprint in quick]
        found = find_ensemble(measured, predictions, rows, spec, given)
    return found, left_out
