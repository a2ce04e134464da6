"""LightGBM as a `Learner`: boosted on binned tables that the fits of a sweep share.

scikit-learn's interface cannot boost on shared bins; what is exported is an LGBMClassifier or
LGBMRegressor all the same, made from a Booster without fitting it again. It predicts the bits of an
ordinary `fit`.
"""

import math
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.spec.algorithms import positive
from experiment_pipeline.stages.search.averaging import label_encoder
from experiment_pipeline.stages.search.learners.learner import Clock, FittedModel, RestorableFit
from experiment_pipeline.stages.search.learners.lightgbm_parameters import (
    DATASET_PARAMETERS,
    NAMES,
    RESERVED_ALIASES,
)
from experiment_pipeline.stages.search.learners.parameter_names import ParameterNames
from experiment_pipeline.stages.search.learners.rounds import (
    LEARNING_RATE,
    Rounds,
    take_rounds,
    watchable,
)
from experiment_pipeline.stages.search.shared_work import EncodedRows
from experiment_pipeline.stages.search.slices import HELD_ROWS, InTurn, SlicedTable, rows_for_bins
from experiment_pipeline.statistics.metrics import METRICS

if TYPE_CHECKING:
    import lightgbm as lgb

    from experiment_pipeline.stages.search.configurations import Configuration
    from experiment_pipeline.stages.search.shared_work import SharedWork
    from experiment_pipeline.stages.search.training_sets import TrainingSets

# Binned rows that trees are grown on, and the early-stopping set where there is one. Any number of
# threads may read both.
Bins = tuple["lgb.Dataset", "lgb.Dataset | None"]

_FIT, _EARLY_STOPPING = "fit.bin", "inner.bin"
_OBJECTIVES = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}
# Up to so many rows of an early-stopping set each round is evaluated; of more, each second, third …
_EVALUATED_ROWS, _MOST_BETWEEN = 100_000, 5
# A refit of more rows keeps one copy of its bins.
_BY_ROWS = HELD_ROWS


@dataclass(frozen=True)
class BoostingPlan:
    """How one configuration is boosted.

    Attributes:
        parameters: LightGBM's own names → values, all but the number of rounds and the metric.
        rounds: how many, and what stops it.
    """

    parameters: Mapping[str, Scalar]
    rounds: Rounds

    @property
    def binning(self) -> tuple[tuple[str, Scalar], ...]:
        """The parameters that decide the bins: equal ones can share binned rows."""
        names = sorted(self.parameters.keys() & DATASET_PARAMETERS)
        return tuple((name, self.parameters[name]) for name in names)

    def settings(self, rows: EncodedRows) -> dict[str, Any]:
        """Return the arguments of every Dataset of these rows.

        Raw data is freed and no feature filtered beforehand: otherwise a fit that differs in
        `min_data_in_leaf` would rebuild the table under the fits that are reading it.
        """
        names = {*_fixed(0), "force_col_wise"}
        fixed = {name: value for name, value in self.parameters.items() if name in names}
        return {
            "params": {**dict(self.binning), **fixed, "feature_pre_filter": False},
            "categorical_feature": rows.categorical,
            "free_raw_data": True,
        }


def boosting_plan(
    configuration: "Configuration",
    sets: "TrainingSets",
    spec: ExperimentSpec,
    *,
    stops: bool = True,
    rounds: int | None = None,
) -> BoostingPlan:
    """Return how a LightGBM configuration is boosted on these sets.

    Args:
        configuration: of the algorithm `lightgbm`.
        sets: it stops on their early-stopping set, where there is one.
        spec: its seed and its metric are used.
        stops: whether it may stop early.
        rounds: a fixed number of rounds.

    Raises:
        InvalidExperiment: a hyperparameter that does not exist, or may not be set.
    """
    key, metric = configuration.key, METRICS[spec.metric]
    given = NAMES.own_names(key, configuration.hyperparameters, sets.task)
    level = metric.objective.get("alpha")
    if level is not None and given.get("alpha", level) != level:
        raise InvalidExperiment(
            f"configuration {key}",
            f"alpha is {given['alpha']}, metric {spec.metric} judges the quantile {level:g}",
            "drop alpha, or write the metric of another quantile",
        )
    # dart rewrites trees it has grown and rf averages them: there is no best round to return to.
    stops = stops and given.get("boosting") not in ("dart", "rf")
    planned = take_rounds(given, key, sets, spec, stops=stops, fixed=rounds)
    defaults: dict[str, Scalar] = {
        "objective": _OBJECTIVES[sets.task],
        "learning_rate": LEARNING_RATE,
    }
    # LightGBM has no monotone constraints where it boosts towards a median.
    if not (sets.directions and metric.objective.get("objective") == "regression_l1"):
        defaults |= metric.objective
    if sets.task == "multiclass" and sets.classes is not None:
        defaults["num_class"] = len(sets.classes)
    if any(name.endswith("bagging_fraction") for name in given):
        # LightGBM's default 0 would switch the fraction off without a warning.
        defaults["bagging_freq"] = 1
    return BoostingPlan(defaults | given | _fixed(spec.seed), planned)


def _fixed(seed: Scalar) -> dict[str, Scalar]:
    # Unset, LightGBM would time two layouts and choose, which makes runs differ.
    return {
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def bin_rows(
    rows: EncodedRows,
    plan: BoostingPlan,
    early_stopping: np.ndarray | None = None,
    fit_mask: np.ndarray | None = None,
) -> Bins:
    """Bin encoded train rows once, for every configuration with the same binning.

    Sliced rows are encoded slice by slice, and give the same bins. Up to as many rows as LightGBM
    samples for them, this is what it makes of an array; of more rows, those of
    `slices.rows_for_bins` are sampled (of a sparse table, and for linear trees, those that LightGBM
    draws).

    Args:
        rows: n_train of them.
        plan: its binning parameters decide.
        early_stopping: bool (n_train,) rows to hold out; None = none.
        fit_mask: bool (n_train,) rows to grow trees on; None = all that are not held out.
    """

    def binned(part: EncodedRows, reference: "lgb.Dataset | None" = None) -> "lgb.Dataset":
        import lightgbm as lgb

        data = _data(part.table, plan, sampled=reference is None)
        settings = plan.settings(rows)
        return lgb.Dataset(
            data, part.y, weight=part.weights, reference=reference, **settings
        ).construct()

    if early_stopping is None:
        return binned(rows), None
    fit = binned(rows.part(~early_stopping if fit_mask is None else fit_mask))
    return fit, binned(rows.part(early_stopping), fit)


def _data(table: Any, plan: BoostingPlan, *, sampled: bool) -> Any:
    """A table as a Dataset is made of it; `sampled`: whether bins are made of it, too."""
    import lightgbm as lgb
    from scipy.sparse import issparse

    rows, linear = table.shape[0], bool(plan.parameters.get("linear_tree"))
    count = int(positive(plan.parameters.get("bin_construct_sample_cnt"), HELD_ROWS))
    if linear and isinstance(table, SlicedTable):
        # LightGBM keeps the numbers, too, and takes them from an array alone (4.7 writes past its end).
        table = table[:]
    small = not isinstance(table, SlicedTable) and (rows <= count or not sampled)
    if issparse(table) or linear or small:
        return table
    lgb.Sequence.register(InTurn)
    return InTurn(table, rows_for_bins(rows, count) if sampled else ())


def boost(bins: Bins, plan: BoostingPlan, rows: EncodedRows, task: str) -> "lgb.Booster":
    """Grow trees on binned rows; several threads may do so on the same bins at once.

    With patience the best round on the early-stopping set is `booster.best_iteration`; without it
    that is 0. `lightgbm.train` would give the same model, but evaluates every round: the AUC of a
    large early-stopping set takes a fifth of a fit, and neighbouring rounds differ by less than
    chance there.
    """
    import lightgbm as lgb

    (fit, early_stopping), rounds = bins, plan.rounds
    given = {"metric": "None", "num_iterations": rounds.at_most, "feature_pre_filter": False}
    parameters: dict[str, Any] = {**plan.parameters, **given}
    if rows.directions is not None:
        # By LightGBM's method `basic`: of the two slower ones none was better on new rows.
        parameters["monotone_constraints"] = rows.directions
    if early_stopping is None or rounds.watched is None:
        booster = lgb.Booster(parameters, fit)
        for _ in range(rounds.at_most):
            booster.update()
        booster.best_iteration = 0
        return booster
    classes = len(np.unique(np.asarray(early_stopping.get_label())))
    parameters["metric"] = watchable(rounds.watched, task, classes)
    booster = lgb.Booster(parameters, fit).add_valid(early_stopping, "early_stopping")
    every = min(1 + early_stopping.num_data() // _EVALUATED_ROWS, _MOST_BETWEEN)
    best, booster.best_iteration = math.nan, 0
    for number in range(1, rounds.at_most + 1):
        booster.update()
        if number % every and number < rounds.at_most:
            continue
        (_, _, score, higher_is_better, *_) = booster.eval_valid()[0]
        gain = score - best if higher_is_better else best - score
        if not booster.best_iteration or gain > rounds.min_delta:
            best, booster.best_iteration = score, number
        elif number - booster.best_iteration >= rounds.patience:
            break
    return booster


def as_estimator(
    booster: "lgb.Booster", plan: BoostingPlan, classes: tuple | None, rounds: int
) -> Any:
    """Return the fitted scikit-learn estimator around a Booster.

    The private attributes are those that `fit` sets in lightgbm 4.7; a test compares the result with
    an ordinary `fit`. `classes_` keeps the order of the classes, so that column 1 of
    `predict_proba` is the positive class even where it sorts first.
    """
    import lightgbm as lgb

    # A fit has one thread. OMP_NUM_THREADS decides those of a prediction: 0 is what OpenMP gives,
    # and the bits are the same.
    parameters = dict(plan.parameters) | {"num_iterations": rounds, "num_threads": 0}
    parameters.pop("num_class", None)
    # Under the names that LGBMModel declares, where it has one.
    declared, aliases = lgb.LGBMModel().get_params(), {**NAMES.accepted, **RESERVED_ALIASES}
    named = {
        next((alias for alias in aliases.get(own, ()) if alias in declared), own): value
        for own, value in parameters.items()
    }
    make: Any = lgb.LGBMRegressor if classes is None else lgb.LGBMClassifier
    estimator = make(**named)
    n_features = booster.num_feature()
    learnt: dict[str, Any] = {
        "_Booster": booster,
        "_objective": plan.parameters["objective"],
        "_n_features": n_features,
        "_n_features_in": n_features,
        "n_features_in_": n_features,
        "_best_iteration": 0,
        "_best_score": {},
        "_evals_result": {},
        "fitted_": True,
    }
    if classes is not None:
        encoder = label_encoder(classes)
        learnt |= {"_le": encoder, "_classes": encoder.classes_, "_n_classes": len(classes)}
    vars(estimator).update(learnt)
    return estimator


@dataclass(frozen=True)
class LightGBMLearner:
    """Boosts on shared bins; a model is stored as LightGBM's own text. Methods as in `Learner`.

    Attributes:
        names: of its parameters.
    """

    names: ParameterNames = NAMES

    def check_hyperparameters(self, configuration: "Configuration", task: str) -> None:
        """Look the names up in a list, and the objective among those of the task."""
        self.names.own_names(configuration.key, configuration.hyperparameters, task)

    def watched(
        self, configuration: "Configuration", sets: "TrainingSets", spec: ExperimentSpec
    ) -> str | None:
        """What a fit boosts towards, and LightGBM's metric that stops it."""
        with suppress(InvalidExperiment):
            plan = boosting_plan(configuration, sets, spec)
            names = [name for name in ("objective", "alpha") if name in plan.parameters]
            towards = " ".join(str(plan.parameters[name]) for name in names)
            return f"{towards} until {plan.rounds.watched}"
        return None

    def shared_table(
        self, configuration: "Configuration", sets: "TrainingSets", spec: ExperimentSpec
    ) -> Hashable | None:
        """The encoder, whether rows are held out, and the parameters that decide the bins."""
        with suppress(InvalidExperiment):
            return _table_of(configuration, boosting_plan(configuration, sets, spec))
        return None

    def reads_all(self, configuration: "Configuration") -> bool:  # noqa: ARG002
        """False: bins are made slice by slice."""
        return False

    def make_table(
        self,
        configuration: "Configuration",
        work: "SharedWork",
        sets: "TrainingSets",
        spec: ExperimentSpec,
    ) -> Bins:
        """Bin the train rows."""
        rows = work.train[configuration.features]
        return _bins(rows, sets, boosting_plan(configuration, sets, spec))

    def write_table(self, table: Bins, folder: Path) -> None:
        """Write LightGBM's own binary files: about 1.1 bytes per cell."""
        import lightgbm as lgb

        # Bins made slice by slice change this thread's level of messages; any table sets it back.
        lgb.Dataset(np.zeros((2, 1)), params=_fixed(0)).construct()
        for name, dataset in zip((_FIT, _EARLY_STOPPING), table, strict=True):
            if dataset is not None:
                dataset.save_binary(folder / name)

    def read_table(
        self,
        configuration: "Configuration",
        work: "SharedWork",
        sets: "TrainingSets",
        spec: ExperimentSpec,
        files: Mapping[str, Path],
    ) -> Bins:
        """Read them into memory: LightGBM maps no file. Trees grow on them bit for bit the same."""
        import lightgbm as lgb

        rows = work.train[configuration.features]
        # The settings are part of the model's text.
        settings = boosting_plan(configuration, sets, spec).settings(rows)
        fit = lgb.Dataset(files[_FIT], **settings).construct()
        if _EARLY_STOPPING not in files:
            return fit, None
        held_out = lgb.Dataset(files[_EARLY_STOPPING], reference=fit, **settings)
        return fit, held_out.construct()

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
        plan = boosting_plan(configuration, sets, spec, stops=rounds is None, rounds=rounds)
        rows = work.train[configuration.features]
        make = partial(_bins, rows, sets, plan)
        with work.tables.borrow(_table_of(configuration, plan), make) as bins, Clock() as clock:
            booster = boost(bins, plan, rows, sets.task)
        kept = booster.best_iteration or booster.current_iteration()

        def predict(rows: Any) -> np.ndarray:
            return np.asarray(booster.predict(rows, num_iteration=kept, num_threads=1))

        return FittedModel(
            predict=predict,
            model=booster.model_to_string(num_iteration=kept).encode() if stored else b"",
            cpu_seconds=clock.cpu_seconds,
            wall_seconds=clock.wall_seconds,
            rounds=kept,
        )

    def restore(
        self, stored: RestorableFit, model: bytes, sets: "TrainingSets", spec: ExperimentSpec
    ) -> Any:
        """Put scikit-learn's interface around the text's Booster."""
        plan = boosting_plan(stored.configuration, sets, spec)
        return _from_text(model.decode(), plan, sets.classes, stored.rounds)

    def refit(
        self,
        configuration: "Configuration",
        rounds: int | None,
        rows: EncodedRows,
        sets: "TrainingSets",
        spec: ExperimentSpec,
    ) -> Any:
        """Boost that many rounds on bins of these rows, which fits one after the other share."""
        plan = boosting_plan(configuration, sets, spec, stops=False, rounds=rounds)
        if len(rows.y) > _BY_ROWS:
            # The same trees without a second copy of the bins: 20 bytes of 53 a row less, as
            # measured on 20 columns, for up to 40 % more time. A refit has most rows of all fits.
            parameters = {**plan.parameters, "force_col_wise": True}
            del parameters["force_row_wise"]
            plan = replace(plan, parameters=parameters)
        bins = rows.made.borrow(_table_of(configuration, plan), partial(bin_rows, rows, plan))
        booster = boost(bins, plan, rows, sets.task)
        return _from_text(booster.model_to_string(), plan, sets.classes, plan.rounds.at_most)


def _bins(rows: EncodedRows, sets: "TrainingSets", plan: BoostingPlan) -> Bins:
    held_out = (sets.early_stopping, sets.fit_mask) if plan.rounds.patience else (None, None)
    return bin_rows(rows, plan, *held_out)


def _table_of(configuration: "Configuration", plan: BoostingPlan) -> Hashable:
    return "lightgbm", configuration.features, bool(plan.rounds.patience), plan.binning


def _from_text(text: str, plan: BoostingPlan, classes: tuple | None, rounds: int | None) -> Any:
    import lightgbm as lgb

    booster = lgb.Booster(model_str=text)
    return as_estimator(booster, plan, classes, rounds or booster.current_iteration())
