"""The ensemble of the best few configurations: one more row of the leaderboard, and of the choice.

Members and weights come from the predictions of trained configurations for the test rows; nothing is
fitted. Its row has the score of cross-fitted predictions, so that it can be compared with the others;
the exported weights come from all test rows. How weights are chosen: `statistics/ensemble.py`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.spec.algorithms import ENSEMBLE, competes
from experiment_pipeline.stages.leaderboard.ranking import (
    Measured,
    RankedModel,
    RankedRows,
    TestPredictions,
)
from experiment_pipeline.stages.search.budget import AfterSearch
from experiment_pipeline.stages.search.conclusions import TRAINED
from experiment_pipeline.stages.search.configurations import Configuration, default_features
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.statistics.calibration import reweighting
from experiment_pipeline.statistics.ensemble import (
    Folds,
    folds_of,
    forward_selection,
    library_of,
    scores_without,
    some_rows,
    without_dispensable,
)
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.statistics.scores import linearise
from experiment_pipeline.statistics.thresholds import on_test
from experiment_pipeline.storage.records import fingerprint_of


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
    def fingerprint(self) -> str:
        """The digest of its members' fingerprints and their weights."""
        parts = sorted((one.fingerprint, one.weight) for one in self.members)
        return fingerprint_of({ENSEMBLE: parts})

    @property
    def configuration(self) -> Configuration:
        """The row of the leaderboard as a configuration: its settings are its members.

        Settings that reweight classes in a member are listed: they shift the mean's probabilities.
        """
        settings: dict[str, Scalar] = {"members": self.in_words}
        for one in self.members:
            given = one.configuration.hyperparameters
            moved = {n: v for n, v in given.items() if reweighting({n: v}) is not None}
            settings |= {f"members__{name}": value for name, value in moved.items()}
        return Configuration(ENSEMBLE, ENSEMBLE, default_features(ENSEMBLE), settings)

    @property
    def in_words(self) -> str:
        """`0.6 of lightgbm__7f3a9c2e, 0.4 of linear__C=0.1`."""
        return ", ".join(f"{one.weight:.2g} of {one.configuration.key}" for one in self.members)

    def against_best(self, metric: str, own: RankedModel, best: RankedModel, alone: float) -> str:
        """Compare it in words with the best configuration.

        Args:
            metric: that ranks.
            own: the ensemble's entry.
            best: that of the best configuration.
            alone: as of `FoundEnsemble`.
        """
        seconds = best.result.predict_seconds_per_row
        times = own.result.predict_seconds_per_row / seconds if seconds else math.nan
        slower = "" if math.isnan(times) else f", {times:.1f} times the prediction time"
        return (
            f"its cross-fitted {metric} ({numbers.score(own.score.estimate)}) is better than the "
            f"best single model's ({numbers.score(alone)}, also cross-fitted); "
            f"{len(self.members)} models{slower} of {best.result.key}, no additional fits"
        )

    def result(self, members: Sequence[ModelResult], metric: str) -> ModelResult:
        """Return the numbers of the row: sums over its members; what was not measured is nan.

        The members' results may be in any order; the metric is the one that ranks.
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
            trusted_types=tuple(sorted({kind for one in members for kind in one.trusted_types})),
            notes=tuple(dict.fromkeys(note for one in members for note in one.notes)),
        )

    def cross_fitted(
        self, known: Callable[[str], np.ndarray], y: np.ndarray, clusters: np.ndarray
    ) -> np.ndarray:
        """Return its predictions of the test rows by weights of other rows, (n,) or (n, k).

        Args:
            known: fingerprint → that model's predictions of the test rows; called once for each.
            y: encoded targets (n,) of the test rows.
            clusters: (n,) codes of the resampling clusters.
        """
        of_row = folds_of(y, clusters).of_row

        def part(fingerprint: str) -> np.ndarray:
            weights = np.array([fold.get(fingerprint, 0.0) for fold in self.folds])[of_row]
            return np.asarray((known(fingerprint).T * weights).T)

        first, *others = sorted({one for fold in self.folds for one in fold})
        total = part(first)
        for one in others:
            total += part(one)
        return total


@dataclass(frozen=True, eq=False)
class FoundEnsemble:
    """An ensemble beside the best single model, both picked on other rows than they are scored on."""

    ensemble: Ensemble  # its members and weights
    result: ModelResult  # the numbers of its row
    on_test: np.ndarray  # its cross-fitted predictions of the test rows
    # the score of taking, for each fold, the configuration that is best on the others. The best
    # score of the board is not comparable: it was picked on these very rows
    alone: float
    is_better: bool  # whether the ensemble's cross-fitted score is better than that


def find_ensemble(
    measured: Sequence[Measured],
    predictions: TestPredictions,
    rows: RankedRows,
    spec: ExperimentSpec,
) -> FoundEnsemble | None:
    """Return the ensemble of the best few; None where it is off, or where one model is better alone.

    Args:
        measured: configurations that were trained on all rows, in any order.
        predictions: called once for each of the best, and once more for members, so that only a
            part of the rows is held of many models.
        rows: the test rows.
        spec: its metric decides, and how many members there may be.
    """
    sign = METRICS[spec.metric].sign
    candidates = _candidates(measured, sign)
    folds, rule = folds_of(rows.y, rows.clusters, rows.weights), spec.ensemble
    if rule is None or len(candidates) < 2 or folds.count < 2:
        return None
    best = dict(_libraries(candidates, folds, rows, sign))
    some = some_rows(len(rows.y))
    needed = sorted({one for library in best.values() for one in library})
    seen = {one: predictions(candidates[one].result)[some] for one in needed}

    def chosen(left_out: int | None) -> dict[int, float]:
        keep = np.full(len(some), True) if left_out is None else folds.of_row[some] != left_out
        score = partial(_score, spec.metric, rows, some[keep])
        library = {one: seen[one][keep] for one in best[left_out]}
        # Bytes stand for the prediction time, because they are the same in every run.
        sizes = [candidates[one].result.model_bytes for one in library]
        return _weights(library, score, rule.members, sizes)

    if len(members := chosen(None)) < 2:
        return None
    results = [one.result for one in candidates]
    prints = [one.fingerprint for one in results]
    ensemble = Ensemble(
        tuple(
            EnsembleMember(of.configuration, of.fingerprint, of.rounds, weight)
            for of, weight in ((results[one], weight) for one, weight in members.items())
        ),
        tuple(
            {prints[one]: weight for one, weight in chosen(fold).items()}
            for fold in range(folds.count)
        ),
    )
    by_print = dict(zip(prints, results, strict=True))

    def predicted(one: Ensemble) -> np.ndarray:
        return one.cross_fitted(lambda key: predictions(by_print[key]), rows.y, rows.clusters)

    on_test = predicted(ensemble)
    if math.isnan(together := _score(spec.metric, rows, slice(None), on_test)):
        return None
    firsts = tuple({prints[best[fold][0]]: 1.0} for fold in range(folds.count))
    alone = _score(spec.metric, rows, slice(None), predicted(replace(ensemble, folds=firsts)))
    result = ensemble.result([results[one] for one in members], spec.metric)
    better = together > alone or math.isnan(alone)
    return FoundEnsemble(ensemble, result, on_test, sign * alone, better)


def _weights(
    library: Mapping[int, np.ndarray],
    score: Callable[[np.ndarray], float],
    members: int,
    sizes: Sequence[int],
) -> dict[int, float]:
    """Return model → weight, the largest first, of predictions with the best model first."""
    predictions = np.stack(list(library.values()))
    weights = forward_selection(predictions, score, members)
    weights = without_dispensable(predictions, weights, score, sizes)
    names, heaviest = list(library), np.argsort(-weights, kind="stable").tolist()
    return {names[i]: float(weights[i]) for i in heaviest if weights[i] > 0}


def _candidates(measured: Sequence[Measured], sign: int) -> list[Measured]:
    """Competing configurations with a score, the best first, and each model once."""
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
) -> Iterator[tuple[int | None, list[int]]]:
    """The best candidates on all rows (None), and without each fold."""
    scores = sign * np.array([one.score.estimate for one in candidates])
    yield None, library_of(scores).tolist()
    # Without the factor that widens the intervals of overlapping fits.
    scale = sign / math.sqrt(rows.variance_factor)
    contributions = scale * np.column_stack([one.contribution for one in candidates])
    for fold in range(folds.count):
        yield fold, library_of(scores_without(scores, contributions, folds, fold)).tolist()


def _score(
    metric: str, rows: RankedRows, some: np.ndarray | slice, prediction: np.ndarray
) -> float:
    """The score with its sign, greater is better; at the best threshold where it needs one."""
    declared, y = METRICS[metric], rows.y[some]
    weights = None if rows.weights is None else rows.weights[some]
    if declared.by_threshold and prediction.ndim == 1:
        return declared.sign * on_test([metric], y, prediction, weights).estimate
    return declared.sign * linearise(metric, y, prediction, weights=weights).estimate


@dataclass(frozen=True)
class RefitTime:
    """What is left of a budget of seconds when the ranking is made."""

    left: float  # seconds
    after: AfterSearch  # estimates how long refit and report take

    def why_not(self, members: Sequence[ModelResult]) -> str:
        """Return why an ensemble of these is left out; empty where there is time for it."""
        needed = self.after.seconds(members)
        if needed <= self.left:
            return ""
        return (
            f"an ensemble of {len(members)} of them is left out: its refit and report need about "
            f"{needed:.1f} seconds, and {max(self.left, 0.0):.1f} are left of the budget"
        )
