"""The chosen model: the stored fits behind it, and the estimator that is exported."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, Features
from experiment_pipeline.spec.algorithms import competes
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.ensemble import folds_of
from experiment_pipeline.stages.search import averaging, fitting
from experiment_pipeline.stages.search.encoding import through_own
from experiment_pipeline.stages.search.results import (
    ModelResult,
    ModelStore,
    Predictions,
    TrainedModel,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.search.voting import in_order, weighted_mean
from experiment_pipeline.statistics.metrics import better, metric_of
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.statistics.threads import one_openmp_thread, one_thread


@dataclass(frozen=True, eq=False)
class ChosenModel:
    """What was chosen."""

    result: ModelResult  # its numbers, as in its row
    # its predictions of the test rows; of an ensemble, cross-fitted
    on_test: np.ndarray
    # the models behind it (one, unless it is an ensemble), without their predictions
    members: tuple[TrainedModel, ...]
    weights: tuple[float, ...]  # of each member; they sum to 1
    clusters: np.ndarray  # (n,) codes of the resampling clusters of the test rows
    linear: "ChosenModel | None" = None  # the best linear model of the search, if any
    # of each member; empty: members predict as they were fitted
    calibrators: tuple[averaging.Calibrators, ...] = ()
    notes: tuple[str, ...] = ()  # on the calibrators, one sentence each

    @classmethod
    def of(
        cls,
        board: Leaderboard,
        store: ModelStore,
        y_test: np.ndarray,
        clusters: np.ndarray,
    ) -> "ChosenModel":
        """Return the choice of a board, for encoded targets (n,) of the test rows and
        their clusters.
        """
        linear = None
        if fingerprint := _best_linear(board):
            linear = cls._single(store.require(fingerprint), clusters)
        ensemble = board.chosen_ensemble
        if ensemble is None:
            single = cls._single(store.require(board.fingerprint), clusters)
            return replace(single, linear=linear)
        members = [store.require(member.fingerprint) for member in ensemble.members]
        return cls(
            ensemble.result([member.result for member in members], board.metric),
            ensemble.cross_fitted(partial(_test_predictions, store), y_test, clusters),
            tuple(map(_without_predictions, members)),
            tuple(member.weight for member in ensemble.members),
            clusters,
            linear,
        )

    @classmethod
    def _single(cls, model: TrainedModel, clusters: np.ndarray) -> "ChosenModel":
        members = (_without_predictions(model),)
        return cls(model.result, model.predictions.test, members, (1.0,), clusters)

    @one_thread()
    def calibrated(
        self,
        board: Leaderboard,
        store: ModelStore,
        sets: TrainingSets,
        spec: ExperimentSpec,
    ) -> "ChosenModel":
        """Return the model with calibrated probabilities of several classes, if these
        score better.

        Calibrators are learnt on the test rows, like an ensemble's weights; scores are
        cross-fitted.
        """
        if not self._may_be_calibrated(sets, spec):
            return self
        y = sets.y_test
        weights = sets.w_test
        folds = folds_of(y, self.clusters, weights)
        if folds.count < 2:
            return self

        def across(fingerprint: str) -> np.ndarray:
            on_test = _test_predictions(store, fingerprint)
            return averaging.calibrated_across(on_test, y, folds.of_row, weights)

        if ensemble := board.chosen_ensemble:
            on_test = ensemble.cross_fitted(across, y, self.clusters)
        else:
            on_test = across(board.fingerprint)
        calibrated = replace(self, on_test=on_test)
        before = self.predicted(sets).score(spec.metric)
        after = calibrated.predicted(sets).score(spec.metric)
        if not better(spec.metric, after, before):
            return self
        classes = range(len(sets.classes or ()))
        calibrators = []
        for member in self.members:
            on_test = _test_predictions(store, member.result.fingerprint)
            calibrators.append(
                averaging.learn_calibration(on_test, y, classes, weights)
            )
        where = numbers.evaluated(board.evaluation).where
        note = (
            f"the probabilities of the classes are calibrated {where}: cross-fitted "
            f"{spec.metric} {numbers.score(after)} in place of {numbers.score(before)}"
        )
        return replace(calibrated, calibrators=tuple(calibrators), notes=(note,))

    def _may_be_calibrated(self, sets: TrainingSets, spec: ExperimentSpec) -> bool:
        """Whether it predicts several classes that it does not calibrate by itself."""
        n_classes = len(sets.classes or ())
        if n_classes < 3 or spec.calibrate == "off":
            return False
        if not metric_of(spec.metric).by_probability:
            return False
        results = [member.result for member in self.members]
        if any(
            result.calibration or not competes(result.algorithm) for result in results
        ):
            return False
        rarest = np.bincount(sets.y_test[sets.once], minlength=n_classes).min()
        return bool(rarest >= fitting.FEWEST_TO_CALIBRATE)

    def predicted(self, sets: TrainingSets) -> SetPrediction:
        """Return its predictions of the test rows, with these rows' targets, clusters
        and weights.
        """
        return SetPrediction(
            sets.y_test, self.on_test, self.clusters, sets.w_test, sets.variance_factor
        )

    def train_only(self, sets: TrainingSets, spec: ExperimentSpec) -> Any:
        """Return the model as the search fitted it; for an ensemble the mean of its
        members' fits.
        """
        transformer, read = through_own(sets.train, sets.fit_mask, sets)
        features = {
            encoder: fitting.train_features(encoder, read) for encoder in self._encoders
        }
        pipelines = [
            fitting.fitted_pipeline(
                member.result,
                member.model,
                sets,
                spec,
                features[member.result.features],
            )
            for member in self.members
        ]
        return self._mean(pipelines, sets, transformer)

    def refitted(
        self,
        rows: pd.DataFrame,
        sets: TrainingSets,
        spec: ExperimentSpec,
        workers: int = 1,
    ) -> Any:
        """Return the model fitted on other prepared rows, each fit with its model's
        rounds and one thread.
        """
        configurations = [member.result.configuration for member in self.members]
        # The longest first keeps every core busy; each encoder encodes the rows once.
        longest_first = sorted(
            self.members, key=lambda member: -member.result.fit_wall_seconds
        )
        # BLAS has one limit for all threads, OpenMP one for each thread of the pool.
        with one_thread():
            in_memory = fitting.held_encoders(configurations)
            is_fitted = np.ones(len(rows), dtype=bool)
            transformer, read = through_own(rows, is_fitted, sets)
            encoded = {
                encoder: fitting.encoded_rows(
                    encoder, read.train, read, in_memory=encoder in in_memory
                )
                for encoder in self._encoders
            }
            futures: dict[str, list[Future]] = {}
            pipelines = []
            with ThreadPoolExecutor(workers, initializer=one_openmp_thread) as pool:
                for member in longest_first:
                    _, encoded_rows = encoded[member.result.features]
                    fits = fitting.refits(member, encoded_rows, sets, spec)
                    futures[member.key] = [pool.submit(fit) for fit in fits]
                for member in self.members:
                    features, encoded_rows = encoded[member.result.features]
                    models = [future.result() for future in futures[member.key]]
                    pipeline = fitting.refitted_pipeline(
                        member, models, features, encoded_rows, sets
                    )
                    pipelines.append(pipeline)
        return self._mean(pipelines, sets, transformer)

    @property
    def _encoders(self) -> tuple[Features, ...]:
        return tuple(dict.fromkeys(member.result.features for member in self.members))

    def _mean(
        self, pipelines: list[Pipeline], sets: TrainingSets, transformer: Any | None
    ) -> Any:
        for place, calibrators in enumerate(self.calibrators):
            features, (_, estimator) = pipelines[place].steps
            model = calibrators.around(in_order(estimator, sets.classes))
            pipelines[place] = Pipeline([features, ("model", model)])
        keys = [member.key for member in self.members]
        members = list(zip(keys, pipelines, self.weights, strict=True))
        return weighted_mean(members, sets.classes, transformer)


def _best_linear(board: Leaderboard) -> str | None:
    """Fingerprint of the first linear model with a score.

    The ranked ones stand first, then those that halving stopped, by how far they came.
    """
    is_linear = board.rows["algorithm"].str.match(r"linear$|sklearn\.linear_model\.")
    fingerprints = board.rows["fingerprint"][
        is_linear & board.rows["test_score"].notna()
    ]
    return next(iter(fingerprints), None)


def _test_predictions(store: ModelStore, fingerprint: str) -> np.ndarray:
    return store.require(fingerprint).predictions.test


def _without_predictions(model: TrainedModel) -> TrainedModel:
    """Predictions would stay in memory: a column of the test set for each model."""
    return replace(model, predictions=Predictions(np.empty(0), np.empty(0)))
