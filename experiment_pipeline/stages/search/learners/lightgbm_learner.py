"""LightGBM as a `Learner`: `boosting.py` on the binned tables that the fits of a sweep share."""

from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.learners import boosting, lightgbm_parameters
from experiment_pipeline.stages.search.learners.learner import Clock, FittedModel, StoredFit
from experiment_pipeline.stages.search.learners.parameter_names import ParameterNames
from experiment_pipeline.stages.search.shared_work import EncodedRows
from experiment_pipeline.stages.search.slices import HELD_ROWS

if TYPE_CHECKING:
    from experiment_pipeline.stages.search.configurations import Configuration
    from experiment_pipeline.stages.search.shared_work import SharedWork
    from experiment_pipeline.stages.search.training_sets import TrainingSets


@dataclass(frozen=True)
class LightGBMLearner:
    """Boosts on shared bins; a model is stored as LightGBM's own text. Methods as in `Learner`.

    Attributes:
        names: of its parameters.
    """

    names: ParameterNames = lightgbm_parameters.NAMES

    def check_hyperparameters(self, configuration: "Configuration", task: str) -> None:
        """Look the names up in a list, and the objective among those of the task."""
        self.names.own_names(configuration.key, configuration.hyperparameters, task)

    def watched(
        self, configuration: "Configuration", sets: "TrainingSets", spec: ExperimentSpec
    ) -> str | None:
        """What a fit boosts towards, and LightGBM's metric that stops it."""
        with suppress(InvalidExperiment):
            return boosting.boosting_plan(configuration, sets, spec).taken_from_metric
        return None

    def shared_table(
        self, configuration: "Configuration", sets: "TrainingSets", spec: ExperimentSpec
    ) -> Hashable | None:
        """The encoder, whether rows are held out, and the parameters that decide the bins."""
        with suppress(InvalidExperiment):
            return _bins(configuration, boosting.boosting_plan(configuration, sets, spec))
        return None

    def reads_all(self, configuration: "Configuration") -> bool:  # noqa: ARG002
        """No: bins are made slice by slice."""
        return False

    def make_table(
        self,
        configuration: "Configuration",
        work: "SharedWork",
        sets: "TrainingSets",
        spec: ExperimentSpec,
    ) -> boosting.BinnedTable:
        """Bin the train rows, and the test rows where the fit's bins say what they get."""
        plan = boosting.boosting_plan(configuration, sets, spec)
        return _made(configuration, work, sets, plan, with_test=True)

    def write_table(self, table: boosting.BinnedTable, folder: Path) -> None:
        """Write LightGBM's own binary files."""
        boosting.write_bins(table, folder)

    def read_table(
        self,
        configuration: "Configuration",
        work: "SharedWork",
        sets: "TrainingSets",
        spec: ExperimentSpec,
        files: Mapping[str, Path],
    ) -> boosting.BinnedTable:
        """Read them."""
        plan = boosting.boosting_plan(configuration, sets, spec)
        rows = work.train_rows(configuration.features)
        return boosting.read_bins(files, rows, plan, sets.early_stopping)

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
        """Boost until the early-stopping set gets no better."""
        plan = boosting.boosting_plan(
            configuration, sets, spec, stops=rounds is None, rounds=rounds
        )
        # With rounds given it stands for the fits of the folds, and these are judged.
        judged = rounds is None
        make = partial(_made, configuration, work, sets, plan, with_test=judged)
        with work.tables.borrow(_bins(configuration, plan), make) as binned, Clock() as clock:
            booster = boosting.boost(binned, plan, sets.task)
        kept = booster.best_iteration or booster.current_iteration()
        on_test = None
        if judged and binned.test is not None and plan.scores_bins:
            on_test = boosting.predictions_of_test(booster, binned.test)

        def predict(rows: Any) -> np.ndarray:
            return np.asarray(booster.predict(rows, num_iteration=kept, num_threads=1))

        return FittedModel(
            predict=predict,
            model=booster.model_to_string(num_iteration=kept).encode() if stored else b"",
            cpu_seconds=clock.cpu_seconds,
            wall_seconds=clock.wall_seconds,
            rounds=kept,
            # Rows that were held out to stop on are not among those that trees were grown on.
            on_train=None if plan.rounds.patience else boosting.predictions_of_fitted(booster),
            on_test=on_test,
        )

    def restore(
        self, stored: StoredFit, model: bytes, sets: "TrainingSets", spec: ExperimentSpec
    ) -> Any:
        """Put scikit-learn's interface around the text's Booster."""
        plan = boosting.boosting_plan(stored.configuration, sets, spec)
        return _estimator(model.decode(), plan, sets.classes, stored.rounds)

    def refit(
        self,
        configuration: "Configuration",
        rounds: int | None,
        rows: EncodedRows,
        sets: "TrainingSets",
        spec: ExperimentSpec,
    ) -> Any:
        """Boost that many rounds on bins of these rows, which fits one after the other share."""
        plan = boosting.boosting_plan(configuration, sets, spec, stops=False, rounds=rounds)
        if len(rows.y) > HELD_ROWS:
            plan = _by_columns(plan)
        make = partial(boosting.bin_table, rows, plan)
        binned = rows.made.borrow(_bins(configuration, plan), make)
        booster = boosting.boost(binned, plan, sets.task)
        return _estimator(booster.model_to_string(), plan, sets.classes, plan.rounds.at_most)


def _made(
    configuration: "Configuration",
    work: "SharedWork",
    sets: "TrainingSets",
    plan: boosting.BoostingPlan,
    *,
    with_test: bool = False,
) -> boosting.BinnedTable:
    rows = work.train_rows(configuration.features)
    if plan.rounds.patience:
        return boosting.bin_table(rows, plan, sets.early_stopping, sets.fit_mask)
    test = work.encoded[configuration.features].test if with_test else None
    return boosting.bin_table(rows, plan, test=test)


def _by_columns(plan: boosting.BoostingPlan) -> boosting.BoostingPlan:
    """The same trees without a second copy of the bins: 20 bytes of 53 a row less, as measured on 20
    columns, for up to 40 % more time. A refit has most rows of all fits, and few of its kind.
    """
    parameters = {**plan.parameters, "force_col_wise": True}
    del parameters["force_row_wise"]
    return replace(plan, parameters=parameters)


def _bins(configuration: "Configuration", plan: boosting.BoostingPlan) -> Hashable:
    return "lightgbm", configuration.features, bool(plan.rounds.patience), plan.binning


def _estimator(
    text: str, plan: boosting.BoostingPlan, classes: tuple | None, rounds: int | None
) -> Any:
    import lightgbm as lgb

    booster = lgb.Booster(model_str=text)
    return boosting.as_estimator(booster, plan, classes, rounds or booster.current_iteration())
