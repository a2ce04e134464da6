"""The ensemble of the best few configurations: one more row of the leaderboard, and of the choice.

Its members and weights come from what trained configurations predict for the test rows; nothing is
fitted for it. Its row has the score of cross-fitted predictions, so that it can be compared with
the others; the weights that are exported come from all test rows. How weights are found:
`statistics/ensemble.py`. In: measured configurations and their predictions. Out: an `Ensemble`,
which stands with the board, and what it predicts.
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
from experiment_pipeline.stages.search.conclusions import TRAINED
from experiment_pipeline.stages.search.configurations import Configuration, default_features
from experiment_pipeline.stages.search.foresight import AfterSearch, FullFit
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

Known = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class EnsembleMember:
    """A configuration of an ensemble, as it was fitted, and its weight.

    Attributes:
        configuration: with its full hyperparameters.
        fingerprint: of its model.
        rounds: boosting rounds of that fit; None for what does not boost.
        weight: of all members' together 1.
    """

    configuration: Configuration
    fingerprint: str
    rounds: int | None
    weight: float


@dataclass(frozen=True)
class Ensemble:
    """Which configurations are averaged, with which weights.

    Attributes:
        members: by all test rows, the heaviest first.
        folds: of each fold, what the other folds chose: fingerprint → weight.
    """

    members: tuple[EnsembleMember, ...]
    folds: tuple[Mapping[str, float], ...]

    @property
    def fingerprint(self) -> str:
        """Everything that decides the model: its members' fingerprints and their weights."""
        parts = sorted((one.fingerprint, one.weight) for one in self.members)
        return fingerprint_of({ENSEMBLE: parts})

    @property
    def configuration(self) -> Configuration:
        """The row of the leaderboard as a configuration: its settings are its members.

        What reweights classes in one of them moves the mean's probabilities, too.
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

    def told(self, metric: str, ensemble: RankedModel, best: RankedModel, alone: float) -> str:
        """What it brings and costs beside the best configuration alone.

        Args:
            metric: that ranks.
            ensemble: its entry.
            best: that of the best configuration.
            alone: as of `Found`.
        """
        seconds = best.result.predict_seconds_per_row
        times = ensemble.result.predict_seconds_per_row / seconds if seconds else math.nan
        slower = "" if math.isnan(times) else f", {times:.1f} times the prediction time"
        return (
            f"{metric} {numbers.score(ensemble.score.estimate)} instead of "
            f"{numbers.score(alone)} of one configuration alone, both picked by other rows than "
            f"they are scored on; {len(self.members)} models{slower} of {best.result.key}, no more "
            "fits"
        )

    def result(self, members: Sequence[ModelResult], metric: str) -> ModelResult:
        """Return the numbers of the row; what was not measured of the whole is nan.

        Args:
            members: their numbers, in any order: its cost is what they have cost already.
            metric: that ranks.
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

    def cross_fitted(self, known: Known, y: np.ndarray, clusters: np.ndarray) -> np.ndarray:
        """Return what it predicts for the test rows, each by weights of other rows, (n,) or (n, k).

        Args:
            known: fingerprint → what that model predicts for the test rows; asked once of each.
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
class Found:
    """An ensemble beside the best alone, both picked by other rows than those they are scored on.

    Attributes:
        ensemble: its members and weights.
        result: the numbers of its row.
        on_test: what it predicts for the test rows, cross-fitted.
        alone: the score of always taking the configuration that is best on the other folds. The
            best score of the board is no measure for an ensemble: it was picked by these very rows.
        is_better: whether the ensemble's cross-fitted score is better than that.
    """

    ensemble: Ensemble
    result: ModelResult
    on_test: np.ndarray
    alone: float
    is_better: bool


def find_ensemble(
    measured: Sequence[Measured],
    predictions: TestPredictions,
    rows: RankedRows,
    spec: ExperimentSpec,
) -> Found | None:
    """Return the ensemble of the best few; None where it is off, or where one alone is best.

    Args:
        measured: configurations that were trained on all rows, in any order.
        predictions: gives what a result predicts for the test rows; asked of the best only, of
            its members once more, so that no more than a part of the rows is held of many.
        rows: the test rows.
        spec: its metric decides, and how many members there may be.
    """
    candidates = _candidates(measured, METRICS[spec.metric].sign)
    folds, rule = folds_of(rows.y, rows.clusters, rows.weights), spec.ensemble
    if rule is None or len(candidates) < 2 or folds.count < 2:
        return None
    best = dict(_libraries(candidates, folds, rows, METRICS[spec.metric].sign))
    some = some_rows(len(rows.y))
    looked_at = sorted({one for library in best.values() for one in library})
    seen = {one: predictions(candidates[one].result)[some] for one in looked_at}

    def chosen(left_out: int | None) -> dict[int, float]:
        keep = np.full(len(some), True) if left_out is None else folds.of_row[some] != left_out
        library = np.stack([seen[one][keep] for one in best[left_out]])
        score = partial(_score, spec.metric, rows, some[keep])
        weights = forward_selection(library, score, rule.members)
        # What a prediction costs grows with the bytes, and these are the same in every run.
        sizes = [candidates[one].result.model_bytes for one in best[left_out]]
        weights = without_dispensable(library, weights, score, sizes)
        # The heaviest first; of equal weights the better one.
        heaviest = np.argsort(-weights, kind="stable").tolist()
        return {best[left_out][i]: float(weights[i]) for i in heaviest if weights[i] > 0}

    if len(members := chosen(None)) < 2:
        return None
    results = [one.result for one in candidates]
    prints = [one.fingerprint for one in results]
    ensemble = Ensemble(
        tuple(_member(results[one], weight) for one, weight in members.items()),
        tuple(
            {prints[one]: weight for one, weight in chosen(fold).items()}
            for fold in range(folds.count)
        ),
    )
    known = dict(zip(prints, results, strict=True))

    def predicted(one: Ensemble) -> np.ndarray:
        return one.cross_fitted(lambda print_: predictions(known[print_]), rows.y, rows.clusters)

    on_test = predicted(ensemble)
    if math.isnan(together := _score(spec.metric, rows, slice(None), on_test)):
        return None
    firsts = tuple({prints[best[fold][0]]: 1.0} for fold in range(folds.count))
    alone = _score(spec.metric, rows, slice(None), predicted(replace(ensemble, folds=firsts)))
    result = ensemble.result([results[one] for one in members], spec.metric)
    better = together > alone or math.isnan(alone)
    return Found(ensemble, result, on_test, METRICS[spec.metric].sign * alone, better)


def _member(result: ModelResult, weight: float) -> EnsembleMember:
    return EnsembleMember(result.configuration, result.fingerprint, result.rounds, weight)


def _candidates(measured: Sequence[Measured], sign: int) -> list[Measured]:
    """Those with a score that compete, the best first; of equal models one is enough."""
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
    """Who is looked at: on all rows (None), and without each fold, whose rows have no say in it."""
    scores = sign * np.array([one.score.estimate for one in candidates])
    yield None, library_of(scores).tolist()
    # As they are, without what makes intervals of overlapping fits wider.
    scale = sign / math.sqrt(rows.variance_factor)
    contributions = scale * np.column_stack([one.contribution for one in candidates])
    for fold in range(folds.count):
        yield fold, library_of(scores_without(scores, contributions, folds, fold)).tolist()


def _score(
    metric: str, rows: RankedRows, some: np.ndarray | slice, prediction: np.ndarray
) -> float:
    """Greater is better; a metric that depends on a threshold at the best one."""
    judged, y = METRICS[metric], rows.y[some]
    weights = None if rows.weights is None else rows.weights[some]
    if judged.by_threshold and prediction.ndim == 1:
        return judged.sign * on_test([metric], y, prediction, weights).estimate
    return judged.sign * linearise(metric, y, prediction, weights=weights).estimate


@dataclass(frozen=True)
class RefitTime:
    """What is left of a budget of seconds when the ranking is made.

    Attributes:
        left: seconds.
        after: how long refit and report take.
    """

    left: float
    after: AfterSearch

    def why_not(self, members: Sequence[ModelResult]) -> str:
        """Say why an ensemble of these is left out; empty where there is time for it."""
        needed = self.after.seconds([FullFit.of(one) for one in members])
        if needed <= self.left:
            return ""
        return (
            f"an ensemble of {len(members)} of them is left out: its refit and report would have "
            f"taken {needed:.1f} seconds or so of the {max(self.left, 0.0):.1f} that were left"
        )


def ensemble_in_time(
    measured: Sequence[Measured],
    predictions: TestPredictions,
    rows: RankedRows,
    spec: ExperimentSpec,
    time: RefitTime | None,
) -> tuple[Found | None, str]:
    """Return the ensemble of the best few that there is time to fit again, of fewer members if need be.

    Args:
        measured: as of `find_ensemble`, as are the next three.
        predictions: see there.
        rows: see there.
        spec: see there.
        time: what is left; None: there is no limit.

    Returns:
        The ensemble, and why a larger one that would be chosen is left out; empty: none is.
    """
    found, said = find_ensemble(measured, predictions, rows, spec), ""
    results = {one.result.fingerprint: one.result for one in measured}
    while found is not None and time is not None and found.is_better and spec.ensemble is not None:
        members = [results[one.fingerprint] for one in found.ensemble.members]
        if not (why := time.why_not(members)):
            break
        said, fewer = said or why, len(members) - 1
        smaller = spec.ensemble.model_copy(update={"members": fewer})
        spec = spec.model_copy(update={"ensemble": smaller})
        found = find_ensemble(measured, predictions, rows, spec) if fewer > 1 else None
    return found, said
