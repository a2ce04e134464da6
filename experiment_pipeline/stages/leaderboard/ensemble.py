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
from functools import cached_property

import numpy as np

from experiment_pipeline.spec import Scalar
from experiment_pipeline.spec.algorithms import COLUMNS, ENSEMBLE, competes
from experiment_pipeline.stages.leaderboard.ranking import Measured, RankedRows
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
from experiment_pipeline.statistics.metrics import better, metric_of, names_of
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
# Share of the gain over the best model that must remain when members are removed.
KEPT = 0.95
MOST_ROWS = 20_000  # more do not change the weights of five models
_ROUNDING = 1e-9  # relative to a score; a smaller gain is none
_NO_FOLD = -1  # selection on all rows

# Of a prediction: greater is better, -inf where it is undefined.
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
        return [member.configuration.key for member in self.members]

    @property
    def fingerprint(self) -> str:
        """The digest of its members' fingerprints and their weights."""
        parts = sorted((member.fingerprint, member.weight) for member in self.members)
        return fingerprint_of(**{ENSEMBLE: parts})

    @property
    def configuration(self) -> Configuration:
        """The ensemble as a configuration: its members, and their hyperparameters that
        reweight classes.
        """
        settings: dict[str, Scalar] = {"members": self.in_words}
        for member in self.members:
            for name, value in member.configuration.hyperparameters.items():
                if reweighting({name: value}) is not None:
                    settings[f"members__{name}"] = value
        return Configuration(ENSEMBLE, ENSEMBLE, default_features(ENSEMBLE), settings)

    @property
    def in_words(self) -> str:
        """`0.6 of lightgbm__7f3a9c2e, 0.4 of linear__C=0.1`."""
        return ", ".join(
            f"{member.weight:.2g} of {member.configuration.key}"
            for member in self.members
        )

    def result(self, members: Sequence[ModelResult], metric: str) -> ModelResult:
        """Return the numbers of its row: sums over its members; scores are nan."""
        types = {name for member in members for name in member.trusted_types}
        notes = [note for member in members for note in member.notes]
        configuration = self.configuration
        return ModelResult(
            key=ENSEMBLE,
            fingerprint=self.fingerprint,
            encoder_fingerprint="",
            algorithm=ENSEMBLE,
            features=configuration.features,
            hyperparameters=configuration.hyperparameters,
            status=TRAINED,
            metric=metric,
            train_score=math.nan,
            test_score=math.nan,
            test_scores={},
            rounds=None,
            fit_cpu_seconds=sum(member.fit_cpu_seconds for member in members),
            fit_wall_seconds=sum(member.fit_wall_seconds for member in members),
            predict_seconds_per_row=sum(
                member.predict_seconds_per_row for member in members
            ),
            model_bytes=sum(member.model_bytes for member in members),
            trusted_types=tuple(sorted(types)),
            notes=tuple(dict.fromkeys(notes)),
        )

    def cross_fitted(
        self,
        predictions: Callable[[str], np.ndarray],
        y: np.ndarray,
        clusters: np.ndarray,
    ) -> np.ndarray:
        """Return its predictions of the test rows, each by the weights of other folds.

        `predictions`: fingerprint → a model's predictions of these rows.
        """
        fold_of_row = folds_of(y, clusters).of_row
        total = None
        for fingerprint in sorted(set().union(*self.folds)):
            weights = np.array([fold.get(fingerprint, 0.0) for fold in self.folds])
            part = (predictions(fingerprint).T * weights[fold_of_row]).T
            total = part if total is None else np.add(total, part, out=total)
        return np.asarray(total)


@dataclass(frozen=True, eq=False)
class Folds:
    """Resampling clusters dealt into folds."""

    of_row: np.ndarray  # (n,) the fold of each row, 0 … K-1
    # (G,) the fold of each cluster of `comparisons.comparison_codes`
    of_cluster: np.ndarray
    # (G,) total weight of the rows of each cluster, on average 1 a row
    rows: np.ndarray

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
    """Return the weights (L,) of the best mean of models; they sum to 1.

    It starts with the first few models that score best together, and adds, step by
    step, the model that helps most. The library (L, n, …) has the best model first; at
    most `members` models get a weight.
    """
    sums = np.cumsum(library[:members], axis=0)
    starts = [score(total / size) for size, total in enumerate(sums, start=1)]
    start = next(
        size
        for size, start_score in enumerate(starts, start=1)
        if not _gains(max(starts), start_score)
    )
    counts = (np.arange(len(library)) < start).astype(np.float64)
    total = np.tensordot(counts, library, axes=1)
    best_counts = counts
    best_score = score(total / start)
    steps_without_gain = 0
    for size in range(start + 1, STEPS + 1):
        is_full = np.count_nonzero(counts) >= members
        candidates = np.flatnonzero(counts) if is_full else np.arange(len(library))
        scores = [score((total + library[model]) / size) for model in candidates]
        added = candidates[np.argmax(scores)]
        counts = counts + (np.arange(len(library)) == added)
        total = total + library[added]
        steps_without_gain += 1
        if _gains(max(scores), best_score):
            best_counts = counts
            best_score = max(scores)
            steps_without_gain = 0
        if steps_without_gain == PATIENCE:
            break
    return best_counts / best_counts.sum()


def without_dispensable(
    library: np.ndarray, weights: np.ndarray, score: Score, sizes: Sequence[float]
) -> np.ndarray:
    """Return the weights (L,) without models that hardly help; those with the largest
    of `sizes` go first.

    The rest keeps at least KEPT of the mean's gain over the first model alone.
    """
    alone = score(library[0])
    if not math.isfinite(alone):
        return weights

    def without(model: int) -> np.ndarray:
        remaining = np.where(np.arange(len(weights)) == model, 0.0, weights)
        return remaining / remaining.sum()

    def gain(weights: np.ndarray) -> float:
        return score(np.tensordot(weights, library, axes=1)) - alone

    needed = KEPT * gain(weights)
    while np.count_nonzero(weights) > 1:
        members = np.flatnonzero(weights).tolist()
        dispensable = [model for model in members if gain(without(model)) >= needed]
        if not dispensable:
            break
        weights = without(max(dispensable, key=lambda model: (sizes[model], model)))
    return weights


def _gains(score: float, over: float) -> bool:
    return score > over + (_ROUNDING * abs(over) if math.isfinite(over) else 0.0)


@dataclass(frozen=True, eq=False)
class CrossFittedEnsemble:
    """An ensemble and the best single model, both picked on other rows than they are
    scored on.
    """

    ensemble: Ensemble
    members: Sequence[ModelResult]
    measured: Measured  # its row of the ranking
    on_test: np.ndarray  # its cross-fitted predictions of the test rows
    # the cross-fitted score of the best single model: in each fold, of the one that is
    # best on the other folds. The best score of the board is not comparable: it was
    # picked on these very rows
    single_score: float

    @property
    def is_better(self) -> bool:
        """Whether it scores better than the best single model."""
        return better(
            self.measured.result.metric, self.measured.score.estimate, self.single_score
        )


def find_ensemble(
    measured: Sequence[Measured],
    rows: RankedRows,
    fixed_weights: Mapping[str, float] | None = None,
) -> CrossFittedEnsemble | None:
    """Return the ensemble of the best few; None: off, or one model suffices.

    `fixed_weights`: key → weight, in place of a selection.
    """
    settings = rows.spec.ensemble
    library = _Library(rows, _candidates(measured, rows))
    if settings is None or len(library.candidates) < 2 or library.folds.count < 2:
        return None
    folds = range(library.folds.count)
    if fixed_weights:
        results = library.results.values()
        by_key = {result.key: result.fingerprint for result in results}
        fixed = {by_key[key]: weight for key, weight in fixed_weights.items()}
        return library.averaged(fixed, [fixed for _ in folds])
    weights = library.weights(settings.members)
    if len(weights) < 2:
        return None
    by_fold = [library.weights(settings.members, without=fold) for fold in folds]
    return library.averaged(weights, by_fold)


def _candidates(measured: Sequence[Measured], rows: RankedRows) -> list[Measured]:
    """Competing configurations with a score, the best first, each distinct model
    once.
    """
    sign = metric_of(rows.spec.metric).sign
    candidates: dict[str, Measured] = {}
    best_first = sorted(
        measured, key=lambda model: (-sign * model.score.estimate, model.result.key)
    )
    for model in best_first:
        result = model.result
        # A mean encodes rows once for all members, as numbers.
        is_member = competes(result.algorithm) and result.features != COLUMNS
        if model.is_defined and is_member:
            candidates.setdefault(model.result.fingerprint, model)
    return list(candidates.values())


@dataclass(frozen=True, eq=False)
class _Library:
    """The models that an ensemble may have as members, and how means are scored."""

    rows: RankedRows
    candidates: Sequence[Measured]  # the best first

    @cached_property
    def folds(self) -> Folds:
        return folds_of(self.rows.y, self.rows.clusters, self.rows.weights)

    @cached_property
    def results(self) -> dict[str, ModelResult]:
        """Fingerprint → candidate."""
        return {model.result.fingerprint: model.result for model in self.candidates}

    @cached_property
    def _sample(self) -> np.ndarray:
        """Positions of the rows by which weights are chosen."""
        n = len(self.rows.y)
        return np.linspace(0, n - 1, min(n, MOST_ROWS)).astype(np.int64)

    @cached_property
    def _predictions(self) -> dict[str, np.ndarray]:
        """Fingerprint → predictions of the sample: those of all rows are not kept."""
        folds = (_NO_FOLD, *range(self.folds.count))
        fingerprints = {name for fold in folds for name in self.best(fold)}
        return {
            name: self.rows.predictions(self.results[name])[self._sample]
            for name in sorted(fingerprints)
        }

    def best(self, without: int) -> list[str]:
        """Return the fingerprints of the best candidates by the rows outside a fold,
        the best first.
        """
        sign = metric_of(self.rows.spec.metric).sign
        scores = np.array([model.score.estimate for model in self.candidates])
        influence = np.column_stack([model.contribution for model in self.candidates])
        # Without the factor that widens the intervals of overlapping fits.
        influence = influence / math.sqrt(self.rows.variance_factor)
        # To first order, a score moves by -Σψ / (n - m) when m rows with influence ψ
        # are left out.
        is_out = self.folds.of_cluster == without
        n = self.folds.rows.sum()
        remaining = max(n - self.folds.rows[is_out].sum(), 1)
        scores = scores - influence[is_out].sum(axis=0) * n / remaining
        best_first = np.argsort(-sign * scores, kind="stable")[:LIBRARY]
        return [self.candidates[place].result.fingerprint for place in best_first]

    def weights(self, members: int, without: int = _NO_FOLD) -> dict[str, float]:
        """Return fingerprint → weight of at most so many members, the largest first,
        chosen by the rows outside a fold.
        """
        names = self.best(without)
        is_used = self.folds.of_row[self._sample] != without
        predictions = np.stack([self._predictions[name][is_used] for name in names])
        score = _score_on(self.rows, self._sample[is_used])
        weights = forward_selection(predictions, score, members)
        # Bytes stand for the prediction time, because they are the same in every run.
        sizes = [self.results[name].model_bytes for name in names]
        weights = without_dispensable(predictions, weights, score, sizes)
        largest_first = np.argsort(-weights, kind="stable")
        ordered = {names[model]: float(weights[model]) for model in largest_first}
        return {name: weight for name, weight in ordered.items() if weight > 0}

    def averaged(
        self, weights: Mapping[str, float], folds: Sequence[Mapping[str, float]]
    ) -> CrossFittedEnsemble | None:
        """Return the ensemble of fingerprint → weight, by all rows and without each
        fold; None: its score is undefined.
        """
        metric = self.rows.spec.metric
        results = [self.results[name] for name in weights]
        members = tuple(
            EnsembleMember(
                result.configuration, result.fingerprint, result.rounds, weight
            )
            for result, weight in zip(results, weights.values(), strict=True)
        )
        ensemble = Ensemble(members, tuple(folds))
        on_test = self._cross_fitted(ensemble)
        measured = self.rows.measured(ensemble.result(results, metric), on_test)
        if not measured.is_defined:
            return None
        firsts = tuple({self.best(fold)[0]: 1.0} for fold in range(self.folds.count))
        single = self._cross_fitted(replace(ensemble, folds=firsts))
        predicted = self.rows.predicted(single)
        single_score = cross_fitted(metric, predicted).score.estimate
        if math.isfinite(single_score):
            lead = measured.score.estimate - single_score
            best_single = self.candidates[0].score.estimate
            measured = replace(measured, ranked_by=best_single + lead)
        return CrossFittedEnsemble(ensemble, results, measured, on_test, single_score)

    def _cross_fitted(self, ensemble: Ensemble) -> np.ndarray:
        return ensemble.cross_fitted(
            lambda name: self.rows.predictions(self.results[name]),
            self.rows.y,
            self.rows.clusters,
        )


def _score_on(rows: RankedRows, places: np.ndarray) -> Score:
    """Return how a mean is scored on some rows: at its best threshold, if it needs
    one.
    """
    metric = rows.spec.metric
    if metric_of(metric).is_own:
        # Thousands of means are scored: too slow for a user's own metric, which only
        # judges the ensemble.
        metric = names_of(rows.spec.task)[0]
    sign = metric_of(metric).sign
    y = rows.y[places]
    weights = None if rows.weights is None else rows.weights[places]

    def signed_score(prediction: np.ndarray) -> float:
        threshold = scoring_threshold([metric], y, prediction, weights)
        signed = sign * score(metric, y, prediction, threshold, weights)
        return -math.inf if math.isnan(signed) else signed

    return signed_score


@dataclass(frozen=True)
class RefitTime:
    """What is left of a budget of seconds when the ranking is made."""

    seconds_left: float
    # estimates the seconds of refit and report
    estimate: Callable[[Sequence[ModelResult]], float]

    def why_not(self, members: Sequence[ModelResult]) -> str:
        """Return why an ensemble of these is left out; empty: there is time for it."""
        needed = self.estimate(members)
        if needed <= self.seconds_left:
            return ""
        return (
            f"; an ensemble of {len(members)} of them is left out: its refit and "
            f"report need about {needed:.1f} seconds, and "
            f"{max(self.seconds_left, 0.0):.1f} are left of the budget"
        )


def find_in_time(
    measured: Sequence[Measured], rows: RankedRows, time: RefitTime | None
) -> tuple[CrossFittedEnsemble | None, str]:
    """Return the ensemble of what there is time to fit again (None: for all), and why a
    better one is left out.
    """
    left_out = ""
    ensemble = find_ensemble(measured, rows)
    while time is not None and ensemble is not None and ensemble.is_better:
        reason = time.why_not(ensemble.members)
        if not reason:
            return ensemble, ""
        left_out = left_out or reason
        best = _candidates(measured, rows)[0]
        measured = _quicker(measured, ensemble.members, best.result, time)
        ensemble = find_ensemble(measured, rows)
    return ensemble, left_out


def _quicker(
    measured: Sequence[Measured],
    members: Sequence[ModelResult],
    best: ModelResult,
    time: RefitTime,
) -> list[Measured]:
    """Return those that are quicker to refit than the slowest member, and the best one,
    which is refitted anyway.
    """

    def seconds(result: ModelResult) -> float:
        is_best = result.fingerprint == best.fingerprint
        return 0.0 if is_best else time.estimate([result])

    slowest = max(map(seconds, members))
    return [model for model in measured if seconds(model.result) < slowest]
