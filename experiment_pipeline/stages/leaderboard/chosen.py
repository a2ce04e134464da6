"""The chosen model: the stored fits behind it, and the fitted estimator that is judged
and exported.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

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
from experiment_pipeline.statistics.importance import one_openmp_thread
from experiment_pipeline.statistics.metrics import better, metric_of
from experiment_pipeline.statistics.scores import SetPrediction


@dataclass(frozen=True, eq=False)
class ChosenModel:
    """What was chosen."""

    result: ModelResult  # its numbers, as in its row
    on_test: (
        np.ndarray
    )  # its predictions of the test rows; of an ensemble, cross-fitted
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
        ensemble = board.chosen_ensemble
        prints = (
            [one.fingerprint for one in ensemble.members]
            if ensemble
            else [board.fingerprint]
        )
        models = [store.require(one) for one in prints]
        known = {one.result.fingerprint: one.predictions.test for one in models}
        # Drop each member's predictions, which would stay in memory: a column of the
        # test set each.
        none = Predictions(np.empty(0), np.empty(0))
        members = tuple(replace(one, predictions=none) for one in models)
        # The ranked ones first, then those that halving stopped, by how far they came.
        rows, linear = board.rows[board.rows["test_score"].notna()], None
        is_linear = rows["algorithm"].str.match(r"linear$|sklearn\.linear_model\.")
        if is_linear.any():
            one = store.require(str(rows["fingerprint"][is_linear].iloc[0]))
            linear = cls(one.result, one.predictions.test, (one,), (1.0,), clusters)
        if ensemble is None:
            (model,) = models
            return cls(
                model.result, model.predictions.test, members, (1.0,), clusters, linear
            )

        def predicted(fingerprint: str) -> np.ndarray:
            if fingerprint in known:
                return known[fingerprint]
            return store.require(fingerprint).predictions.test

        return cls(
            ensemble.result([one.result for one in models], board.metric),
            ensemble.cross_fitted(predicted, y_test, clusters),
            members,
            tuple(one.weight for one in ensemble.members),
            clusters,
            linear,
        )

    @threadpool_limits.wrap(limits=1)
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
        y, weights, results = (
            sets.y_test,
            sets.w_test,
            [one.result for one in self.members],
        )
        classes = range(len(sets.classes or ()))
        if (
            len(classes) < 3
            or spec.calibrate == "off"
            or not metric_of(spec.metric).by_probability
            or any(one.calibration or not competes(one.algorithm) for one in results)
        ):
            return self
        folds = folds_of(y, self.clusters, weights)
        rarest = np.bincount(y[sets.once], minlength=len(classes)).min()
        if folds.count < 2 or rarest < fitting.FEWEST_TO_CALIBRATE:
            return self

        def across(fingerprint: str) -> np.ndarray:
            found = store.require(fingerprint).predictions.test
            return averaging.calibrated_across(found, y, folds.of_row, weights)

        if ensemble := board.chosen_ensemble:
            calibrated = replace(
                self, on_test=ensemble.cross_fitted(across, y, self.clusters)
            )
        else:
            calibrated = replace(self, on_test=across(board.fingerprint))
        before, after = (
            one.predicted(sets).score(spec.metric) for one in (self, calibrated)
        )
        if not better(spec.metric, after, before):
            return self
        tests = (store.require(one.fingerprint).predictions.test for one in results)
        learnt = (
            averaging.learn_calibration("sigmoid", one, y, classes, weights)
            for one in tests
        )
        note = (
            f"the probabilities of the classes are calibrated {numbers.evaluated(board.evaluation).where}: "
            f"cross-fitted {spec.metric} {numbers.score(after)} in place of {numbers.score(before)}"
        )
        return replace(calibrated, calibrators=tuple(learnt), notes=(note,))

    def predicted(self, sets: TrainingSets) -> SetPrediction:
        """Return its predictions of the test rows, with these rows' targets, clusters
        and weights.
        """
        known = (self.on_test, self.clusters, sets.w_test, sets.variance_factor)
        return SetPrediction(sets.y_test, *known)

    def train_only(self, sets: TrainingSets, spec: ExperimentSpec) -> Any:
        """Return the model as the search fitted it; for an ensemble the mean of its
        members' fits.
        """
        own, read = through_own(sets.train, sets.fit_mask, sets)
        features = {
            encoder: fitting.train_features(encoder, read) for encoder in self._encoders
        }
        fitted = [
            fitting.fitted_pipeline(
                one.result, one.model, sets, spec, features[one.result.features]
            )
            for one in self.members
        ]
        return self._mean(fitted, sets, own)

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
        # The longest first keeps every core busy; each encoder encodes the rows once.
        longest_first = sorted(
            self.members, key=lambda one: -one.result.fit_wall_seconds
        )
        # BLAS has one limit for all threads, OpenMP one for each thread of the pool.
        with threadpool_limits(limits=1):
            held = fitting.held_encoders(
                one.result.configuration for one in self.members
            )
            own, read = through_own(rows, np.ones(len(rows), dtype=bool), sets)
            encoded = {
                encoder: fitting.encoded_rows(
                    encoder, read.train, read, in_memory=encoder in held
                )
                for encoder in self._encoders
            }
            with ThreadPoolExecutor(workers, initializer=one_openmp_thread) as pool:
                begun = {
                    one.result.fingerprint: [
                        pool.submit(fit)
                        for fit in fitting.refits(
                            one, encoded[one.result.features][1], sets, spec
                        )
                    ]
                    for one in longest_first
                }
                fitted = [
                    fitting.refitted_pipeline(
                        one,
                        [fit.result() for fit in begun[one.result.fingerprint]],
                        *encoded[one.result.features],
                        sets,
                    )
                    for one in self.members
                ]
        return self._mean(fitted, sets, own)

    @property
    def _encoders(self) -> tuple[Features, ...]:
        return tuple(dict.fromkeys(one.result.features for one in self.members))

    def _mean(self, fitted: list[Pipeline], sets: TrainingSets, own: Any | None) -> Any:
        for n, learnt in enumerate(self.calibrators):
            model = learnt.around(in_order(fitted[n][-1], sets.classes))
            fitted[n] = Pipeline([fitted[n].steps[0], ("model", model)])
        members = list(
            zip([one.key for one in self.members], fitted, self.weights, strict=True)
        )
        return weighted_mean(members, sets.classes, own)
