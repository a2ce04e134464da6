"""scikit-learn's estimators, and users' own, as a `Learner`: `fit` on arrays, stored by skops."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from experiment_pipeline import errors
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import competes
from experiment_pipeline.stages.search.learners import algorithms
from experiment_pipeline.stages.search.learners.learner import Clock, FittedModel, RestorableFit
from experiment_pipeline.stages.search.shared_work import EncodedRows, labels_of
from experiment_pipeline.stages.search.slices import SlicedTable
from experiment_pipeline.storage import persistence

if TYPE_CHECKING:
    from experiment_pipeline.stages.search.configurations import Configuration
    from experiment_pipeline.stages.search.shared_work import SharedWork
    from experiment_pipeline.stages.search.training_sets import TrainingSets

# Rows on which a user's own estimator must predict the same after it was stored and loaded.
RELOADED_ROWS = 100


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted estimator of encoded rows; `rounds` and `notes` as in `FittedModel`."""

    estimator: Any
    rounds: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EstimatorLearner:
    """Fits what has `fit` and `predict`; methods as in `Learner`."""

    def check_hyperparameters(self, configuration: "Configuration", task: str) -> None:
        """Make an unfitted estimator, unless all names are well known."""
        algorithms.check_estimator_hyperparameters(configuration, task)

    def watched(
        self, configuration: "Configuration", sets: "TrainingSets", spec: ExperimentSpec
    ) -> str | None:
        """The metric itself for the baseline, whose constant is the best one for it."""
        return spec.metric if algorithms.is_baseline(configuration, sets.task) else None

    def shared_table(self, *_: object) -> None:
        """None: an estimator reads the encoded table itself."""
        return

    def reads_all(self, configuration: "Configuration") -> bool:
        """True, but for the baseline, which reads the target alone."""
        return competes(configuration.algorithm)

    def fit_rows(
        self,
        configuration: "Configuration",
        rows: EncodedRows,
        sets: "TrainingSets",
        spec: ExperimentSpec,
        rounds: int | None = None,
        *,
        stops: bool = True,
    ) -> Fit:
        """Fit an estimator, with the early-stopping set where its `fit` takes one.

        Args:
            configuration: what to fit.
            rows: what to fit on; where it stops early, the train rows.
            sets: give task, classes and the early-stopping set.
            spec: its seed and its metric are used.
            rounds: a fixed number, without early stopping.
            stops: whether it may stop early.
        """
        estimator = algorithms.estimator_for(configuration, sets.task, spec, rows, sets.classes)
        on_set, notes = False, tuple[str, ...]()
        if rounds is not None or not stops:
            algorithms.fix_rounds(estimator, rounds)
        else:
            on_set, notes = algorithms.set_early_stopping(estimator, sets.early_stopping)
        given: dict[str, Any] = {}
        if on_set:
            held_out, rows = rows.part(sets.early_stopping), rows.part(sets.fit_mask)
            given = {"X_val": held_out.table, "y_val": labels_of(held_out.y, sets.classes)}
            if held_out.weights is not None:
                given["sample_weight_val"] = held_out.weights
        if rows.weights is not None:
            given["sample_weight"] = rows.weights
        # The baseline reads the shape of a sliced table alone.
        X = rows.table.outline if isinstance(rows.table, SlicedTable) else rows.table
        estimator.fit(X, labels_of(rows.y, sets.classes), **given)
        return Fit(estimator, estimator.n_iter_ if on_set else None, notes)

    def fit(
        self,
        configuration: "Configuration",
        work: "SharedWork",
        sets: "TrainingSets",
        spec: ExperimentSpec,
        rounds: int | None = None,
        *,
        stored: bool = True,
    ) -> FittedModel:
        """Fit on the train rows, and check that a user's own estimator survives the store."""
        from experiment_pipeline.stages.search.scoring import predictions_of

        rows = work.train[configuration.features]
        # Once more here: the import of a user's own estimator may have loaded another OpenMP.
        with threadpool_limits(limits=1, user_api="openmp"), Clock() as clock:
            fitted = self.fit_rows(configuration, rows, sets, spec, rounds)

        def predict(rows: Any) -> np.ndarray:
            return predictions_of(fitted.estimator, rows, sets.task, sets.classes)

        model = persistence.to_bytes(fitted.estimator) if stored else b""
        trusted_types: tuple[str, ...] = ()
        if stored and algorithms.is_own_estimator(configuration.algorithm):
            trusted_types = persistence.untrusted_types(model)
            some = work.test[configuration.features][:RELOADED_ROWS]
            reloaded = persistence.from_bytes(model, trusted_types)
            again = predictions_of(reloaded, some, sets.task, sets.classes)
            _check_same(configuration, predict, some, again)
        return FittedModel(
            predict=predict,
            model=model,
            cpu_seconds=clock.cpu_seconds,
            wall_seconds=clock.wall_seconds,
            rounds=fitted.rounds,
            trusted_types=trusted_types,
            notes=fitted.notes,
        )

    def restore(
        self,
        stored: RestorableFit,
        model: bytes,
        sets: "TrainingSets",  # noqa: ARG002
        spec: ExperimentSpec,  # noqa: ARG002
    ) -> Any:
        """Read the skops file, trusting the types that were recorded when it was fitted."""
        return persistence.from_bytes(model, stored.trusted_types)

    def refit(
        self,
        configuration: "Configuration",
        rounds: int | None,
        rows: EncodedRows,
        sets: "TrainingSets",
        spec: ExperimentSpec,
    ) -> Any:
        """Fit an estimator of as many rounds, without early stopping."""
        return self.fit_rows(configuration, rows, sets, spec, rounds, stops=False).estimator


def _check_same(
    configuration: "Configuration",
    predict: Callable[[Any], np.ndarray],
    rows: Any,
    again: np.ndarray,
) -> None:
    if not np.array_equal(predict(rows), again, equal_nan=True):
        raise errors.TrainingError(
            f"configuration {configuration.key}",
            "the estimator predicts something else after it was stored and loaded",
            "keep everything that it has learnt in attributes of plain data and arrays",
        )
