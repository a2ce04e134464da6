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
from experiment_pipeline.stages.search.learners.algorithms import (
    estimator_for,
    is_baseline,
    is_own_estimator,
    settle,
)
from experiment_pipeline.stages.search.learners.learner import Clock, FittedModel, StoredFit
from experiment_pipeline.stages.search.shared_work import EncodedRows, labels_of
from experiment_pipeline.stages.search.slices import SlicedTable
from experiment_pipeline.statistics.weights import Weights
from experiment_pipeline.storage import persistence

if TYPE_CHECKING:
    from experiment_pipeline.stages.search.configurations import Configuration
    from experiment_pipeline.stages.search.shared_work import SharedWork
    from experiment_pipeline.stages.search.training_sets import TrainingSets

# Rows on which a user's own estimator must predict the same after it was stored and loaded.
RELOADED_ROWS = 100


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
        return spec.metric if is_baseline(configuration, sets.task) else None

    def shared_table(
        self,
        configuration: "Configuration",  # noqa: ARG002
        sets: "TrainingSets",  # noqa: ARG002
        spec: ExperimentSpec,  # noqa: ARG002
    ) -> None:
        """None: an estimator reads the encoded table itself."""
        return

    def reads_all(self, configuration: "Configuration") -> bool:
        """Yes, but for the baseline, which looks at the target alone."""
        return competes(configuration.algorithm)

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
        """Fit an estimator, with the early-stopping set where it has a place for it."""
        from experiment_pipeline.stages.search.scoring import predictions_of

        rows = work.train_rows(configuration.features)
        weights = rows.weights
        estimator = estimator_for(configuration, sets.task, spec, rows, sets.classes)
        encoded = work.encoded[configuration.features]
        if rounds is not None:
            algorithms.fix_rounds(estimator, rounds)
        stopping = settle(estimator, sets.early_stopping)
        X, held_out = _readable(encoded.train), dict[str, Any]()
        y = labels_of(rows.y, sets.classes)
        if stopping.on_slice:
            held_out = {"X_val": X[sets.early_stopping], "y_val": y[sets.early_stopping]}
            X, y = X[sets.fit_mask], y[sets.fit_mask]
            if weights is not None:
                held_out["sample_weight_val"] = weights[sets.early_stopping]
                weights = weights[sets.fit_mask]
        # Once more here: the import of a user's own estimator may have loaded another OpenMP.
        with threadpool_limits(limits=1, user_api="openmp"), Clock() as clock:
            estimator.fit(X, y, **held_out, **_weighted(weights))

        def predict(rows: Any) -> np.ndarray:
            return predictions_of(estimator, rows, sets.task, sets.classes)

        model = persistence.to_bytes(estimator) if stored else b""
        trusted_types: tuple[str, ...] = ()
        if stored and is_own_estimator(configuration.algorithm):
            trusted_types = persistence.untrusted_types(model)
            reloaded = persistence.from_bytes(model, trusted_types)
            _check_reloaded(configuration, predict, reloaded, encoded.test[:RELOADED_ROWS], sets)
        return FittedModel(
            predict=predict,
            model=model,
            cpu_seconds=clock.cpu_seconds,
            wall_seconds=clock.wall_seconds,
            rounds=estimator.n_iter_ if stopping.on_slice else None,
            trusted_types=trusted_types,
            notes=stopping.notes,
        )

    def restore(
        self,
        stored: StoredFit,
        model: bytes,
        sets: "TrainingSets",  # noqa: ARG002
        spec: ExperimentSpec,  # noqa: ARG002
    ) -> Any:
        """Read the skops file, trusting what was noted when it was fitted."""
        return persistence.from_bytes(model, stored.trusted_types)

    def refit(
        self,
        configuration: "Configuration",
        rounds: int | None,
        rows: EncodedRows,
        sets: "TrainingSets",
        spec: ExperimentSpec,
    ) -> Any:
        """Fit an estimator of as many rounds, which stops nowhere."""
        labels = labels_of(rows.y, sets.classes)
        estimator = estimator_for(configuration, sets.task, spec, rows, sets.classes)
        algorithms.fix_rounds(estimator, rounds)
        return estimator.fit(_readable(rows.table), labels, **_weighted(rows.weights))


def _readable(table: Any) -> Any:
    """What `fit` is given: the shape alone of a table that it does not look at."""
    return table.outline if isinstance(table, SlicedTable) else table


def _weighted(weights: Weights) -> dict[str, np.ndarray]:
    """The arguments by which `fit` is told how much each row counts."""
    return {} if weights is None else {"sample_weight": weights}


def _check_reloaded(
    configuration: "Configuration",
    predict: Callable[[Any], np.ndarray],
    reloaded: Any,
    rows: Any,
    sets: "TrainingSets",
) -> None:
    from experiment_pipeline.stages.search.scoring import predictions_of

    again = predictions_of(reloaded, rows, sets.task, sets.classes)
    if not np.array_equal(predict(rows), again, equal_nan=True):
        raise errors.TrainingError(
            f"configuration {configuration.key}",
            "the estimator predicts something else after it was stored and loaded",
            "keep everything that it has learnt in attributes of plain data and arrays",
        )
