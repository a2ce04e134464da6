"""LightGBM: how a configuration is boosted, on binned tables that fits share, and the way back.

scikit-learn's interface cannot boost on shared bins; what is exported is an LGBMClassifier or
LGBMRegressor all the same, made from a Booster without fitting it again. Which names a configuration
may set lives in `lightgbm_parameters.py`, threads in `sweep.py`. In: an encoded table and a
configuration. Out: a Booster; a fitted estimator, which predicts the bits of an ordinary `fit`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.spec.algorithms import positive
from experiment_pipeline.stages.search.averaging import label_encoder
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners import lightgbm_parameters
from experiment_pipeline.stages.search.learners.rounds import (
    LEARNING_RATE,
    LOSSES,
    Rounds,
    rounds_between,
    take_rounds,
    watchable,
)
from experiment_pipeline.stages.search.shared_work import EncodedRows
from experiment_pipeline.stages.search.slices import HELD_ROWS, InTurn, SlicedTable, rows_for_bins
from experiment_pipeline.statistics.metrics import METRICS

if TYPE_CHECKING:
    import lightgbm as lgb

    from experiment_pipeline.stages.search.training_sets import TrainingSets

_FIT, _INNER, _TEST = "fit.bin", "inner.bin", "test.bin"
_OBJECTIVES = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}


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
    def taken_from_metric(self) -> str:
        """All that a fit takes from the experiment's metric: what it boosts towards, what stops it."""
        names = [name for name in ("objective", "alpha") if name in self.parameters]
        towards = " ".join(str(self.parameters[name]) for name in names)
        return f"{towards} until {self.rounds.watched}"

    @property
    def binning(self) -> tuple[tuple[str, Scalar], ...]:
        """The parameters that decide the bins: equal ones can share a binned table."""
        names = sorted(self.parameters.keys() & lightgbm_parameters.DATASET_PARAMETERS)
        return tuple((name, self.parameters[name]) for name in names)

    @property
    def scores_bins(self) -> bool:
        """Whether what all its trees say of bins is what `predict` says of the rows, bit by bit.

        Not where trees are dropped after the best round; nor of linear trees, which read numbers,
        nor of dart and rf, which change trees that they have grown.
        """
        odd = self.parameters.get("boosting") in ("dart", "rf")
        return not (self.rounds.patience or odd or self.parameters.get("linear_tree"))


@dataclass(frozen=True, eq=False)
class BinnedTable:
    """Binned train rows, which any number of threads may read.

    Attributes:
        fit: the rows trees are grown on.
        early_stopping: the held-out slice that early stopping watches; None = no early stopping.
        inner_classes: how many distinct targets the slice has.
        directions: of the columns, by `features.directions`.
        test: the test rows, for `predictions_of_test`; None = they were not given.
    """

    fit: "lgb.Dataset"
    early_stopping: "lgb.Dataset | None"
    inner_classes: int
    directions: list[int] | None = None
    test: "lgb.Dataset | None" = None


def boosting_plan(
    configuration: Configuration,
    sets: "TrainingSets",
    spec: ExperimentSpec,
    *,
    stops: bool = True,
    rounds: int | None = None,
) -> BoostingPlan:
    """Return how a LightGBM configuration is boosted on these sets.

    Args:
        configuration: an algorithm `lightgbm`.
        sets: on their early-stopping set it stops, where there is one.
        spec: its seed and its metric are used.
        stops: whether it may stop early.
        rounds: a fixed number of rounds.

    Raises:
        InvalidExperiment: a hyperparameter that does not exist, or may not be set.
    """
    given = lightgbm_parameters.NAMES.own_names(
        configuration.key, configuration.hyperparameters, sets.task
    )
    _check_level(given, spec.metric, configuration.key)
    # dart rewrites trees it has grown and rf averages them: there is no best round to return to.
    stops = stops and given.get("boosting") not in ("dart", "rf")
    planned = take_rounds(given, configuration.key, sets, spec, stops=stops, fixed=rounds)
    defaults = _defaults(given, sets, spec)
    return BoostingPlan(defaults | given | _fixed(spec.seed), planned)


def bin_table(
    rows: EncodedRows,
    plan: BoostingPlan,
    early_stopping: np.ndarray | None = None,
    fit_mask: np.ndarray | None = None,
    test: Any = None,
) -> BinnedTable:
    """Bin encoded train rows once, for every configuration with the same binning.

    Sliced rows are encoded slice by slice, and give the same bins. Up to as many rows as LightGBM
    looks at for them, this is what it makes of an array; of more rows, those of
    `slices.rows_for_bins` are looked at (of a sparse table, and for linear trees, those that
    LightGBM draws).

    Raw data is freed and no feature filtered beforehand: otherwise a fit that differs in
    `min_data_in_leaf` would rebuild the table under the fits that are reading it.

    Args:
        rows: n_train of them.
        plan: its binning parameters decide.
        early_stopping: bool (n_train,) rows to hold out; None = none.
        fit_mask: bool (n_train,) rows to grow trees on; None = all that are not held out.
        test: (n_test, d) encoded rows to bin as well; None = none.
    """
    import lightgbm as lgb

    settings = _settings(rows, plan)

    def binned(part: EncodedRows, reference: "lgb.Dataset | None" = None) -> "lgb.Dataset":
        data = _data(part.table, plan, looks=reference is None)
        return lgb.Dataset(
            data, part.y, weight=part.weights, reference=reference, **settings
        ).construct()

    if early_stopping is None:
        fit = binned(rows)
        if test is None:
            return BinnedTable(fit, None, 0, rows.directions)
        like = replace(rows, table=test, y=np.zeros(test.shape[0]), weights=None)
        return BinnedTable(fit, None, 0, rows.directions, binned(like, fit))
    fit = binned(rows.part(~early_stopping if fit_mask is None else fit_mask))
    held_out = rows.part(early_stopping)
    classes = len(np.unique(held_out.y))
    return BinnedTable(fit, binned(held_out, fit), classes, rows.directions)


def _data(table: Any, plan: BoostingPlan, *, looks: bool) -> Any:
    """A table as a Dataset is made of it; `looks`: whether bins are made, too."""
    import lightgbm as lgb
    from scipy.sparse import issparse

    rows = table.shape[0]
    asked = positive(plan.parameters.get("bin_construct_sample_cnt"), HELD_ROWS)
    looked_at = int(asked) if looks else rows
    if plan.parameters.get("linear_tree") and isinstance(table, SlicedTable):
        # LightGBM keeps the numbers, too, and takes them from an array alone (4.7 writes past its end).
        table = table[:]
    whole = issparse(table) or bool(plan.parameters.get("linear_tree"))
    if whole or (rows <= looked_at and not isinstance(table, SlicedTable)):
        return table
    lgb.Sequence.register(InTurn)
    return InTurn(table, rows_for_bins(rows, looked_at) if looks else ())


def write_bins(table: BinnedTable, folder: Path) -> None:
    """Write a binned table in LightGBM's own format: 1.1 bytes per cell or so."""
    import lightgbm as lgb

    # What is read in slices sets this thread's level of messages anew; any table sets it back.
    lgb.Dataset(np.zeros((2, 1)), params=_fixed(0)).construct()
    table.fit.save_binary(folder / _FIT)
    if table.early_stopping is not None:
        table.early_stopping.save_binary(folder / _INNER)
    if table.test is not None:
        table.test.save_binary(folder / _TEST)


def read_bins(
    files: Mapping[str, Path], rows: EncodedRows, plan: BoostingPlan, early_stopping: np.ndarray
) -> BinnedTable:
    """Return what `write_bins` wrote, on which trees grow bit for bit as on the one that was written.

    LightGBM maps no file: it copies the bins into memory, as many bytes as the one that was written
    holds.

    Args:
        files: by name; they are read once.
        rows: and the other arguments as of `bin_table`; the rows are not read.
        plan: its parameters are part of the model's text.
        early_stopping: rows that were held out, where there are any.
    """
    import lightgbm as lgb

    settings = _settings(rows, plan)
    fit = lgb.Dataset(files[_FIT], **settings).construct()
    held_out, test = (
        lgb.Dataset(files[name], reference=fit, **settings).construct() if name in files else None
        for name in (_INNER, _TEST)
    )
    classes = 0 if held_out is None else len(np.unique(rows.y[early_stopping]))
    return BinnedTable(fit, held_out, classes, rows.directions, test)


def _settings(rows: EncodedRows, plan: BoostingPlan) -> dict[str, Any]:
    names = {*_fixed(0), "force_col_wise"}
    fixed = {name: value for name, value in plan.parameters.items() if name in names}
    return {
        "params": {**dict(plan.binning), **fixed, "feature_pre_filter": False},
        "categorical_feature": rows.categorical,
        "free_raw_data": True,
    }


def boost(binned: BinnedTable, plan: BoostingPlan, task: str) -> "lgb.Booster":
    """Grow trees on a binned table; several threads may do so on one table at once.

    With patience the best round on the early-stopping set is `booster.best_iteration`, as LightGBM's own
    early stopping finds it but for `rounds_between`; without it is 0.
    """
    import lightgbm as lgb

    rounds, given = plan.rounds, {"metric": "None", "num_iterations": plan.rounds.at_most}
    parameters: dict[str, Any] = {**plan.parameters, **given, "feature_pre_filter": False}
    if binned.directions is not None:
        # By LightGBM's method `basic`: of the two slower ones none was better on new rows.
        parameters["monotone_constraints"] = binned.directions
    if binned.early_stopping is not None:
        watched = rounds.watched or LOSSES[task]
        parameters["metric"] = watchable(watched, task, binned.inner_classes)
    booster = lgb.Booster(parameters, binned.fit)
    booster.best_iteration = 0
    if binned.early_stopping is None:
        for _ in range(rounds.at_most):
            booster.update()
        return booster
    booster.add_valid(binned.early_stopping, "early_stopping")
    best, every = math.nan, rounds_between(binned.early_stopping.num_data())
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


def predictions_of_fitted(booster: "lgb.Booster") -> np.ndarray:
    """Return what all rounds predict for the rows that trees were grown on, in their order.

    LightGBM keeps them while it boosts: they cost nothing, and are those of `predict` (bit by
    bit; to rounding for dart and rf, to float32 for linear trees).
    """
    return _kept(booster.eval_train)


def predictions_of_test(booster: "lgb.Booster", test: "lgb.Dataset") -> np.ndarray:
    """Return what all rounds predict for binned test rows, in a fifth less time than `predict`.

    LightGBM never bundles the columns of such a table, so that each row keeps its own bins: what
    `BoostingPlan.scores_bins` promises holds for every row.
    """
    return _kept(partial(booster.eval, test, "test"))


def _kept(evaluate: Callable[..., object]) -> np.ndarray:
    """The predictions that LightGBM shows to who evaluates them."""
    kept: list[np.ndarray] = []

    def keep(predictions: np.ndarray, _: object) -> tuple[str, float, bool]:
        kept.append(predictions.copy())
        return "kept", 0.0, True

    evaluate(feval=keep)
    return kept[0]


def _check_level(given: Mapping[str, Scalar], metric: str, key: str) -> None:
    """The level of a quantile is the metric's: what is boosted towards is what is judged."""
    level = METRICS[metric].objective.get("alpha")
    if level is not None and given.get("alpha", level) != level:
        raise InvalidExperiment(
            f"configuration {key}",
            f"alpha is {given['alpha']}, metric {metric} judges the quantile {level:g}",
            "drop alpha, or write the metric of another quantile",
        )


def _towards(sets: "TrainingSets", spec: ExperimentSpec) -> Mapping[str, Scalar]:
    """What the metric says; LightGBM holds no trees to a direction that grow towards a median."""
    towards = METRICS[spec.metric].objective
    return {} if sets.directions and towards.get("objective") == "regression_l1" else towards


def _defaults(
    given: Mapping[str, Scalar], sets: "TrainingSets", spec: ExperimentSpec
) -> dict[str, Scalar]:
    defaults: dict[str, Scalar] = {
        "objective": _OBJECTIVES[sets.task],
        "learning_rate": LEARNING_RATE,
        **_towards(sets, spec),
    }
    if sets.task == "multiclass" and sets.classes is not None:
        defaults["num_class"] = len(sets.classes)
    if any(name.endswith("bagging_fraction") for name in given):
        # LightGBM's default 0 would switch the fraction off without a word.
        defaults["bagging_freq"] = 1
    return defaults


def _fixed(seed: Scalar) -> dict[str, Scalar]:
    # Unset, LightGBM would time two layouts and choose, which makes runs differ.
    return {
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def as_estimator(
    booster: "lgb.Booster", plan: BoostingPlan, classes: tuple | None, rounds: int
) -> Any:
    """Return the fitted scikit-learn estimator around a Booster.

    The private attributes are those that `fit` sets in lightgbm 4.7; a test holds the
    result to an ordinary `fit`. `classes_` keeps the order of the classes, so that column 1 of
    `predict_proba` is the positive class even where it sorts first.
    """
    import lightgbm as lgb

    make: Any = lgb.LGBMRegressor if classes is None else lgb.LGBMClassifier
    estimator = make(**_estimator_parameters(plan, rounds))
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


def _estimator_parameters(plan: BoostingPlan, rounds: int) -> dict[str, Any]:
    """Return the parameters under the names that LGBMModel declares, where it has one."""
    import lightgbm as lgb

    declared = lgb.LGBMModel().get_params()
    aliases = {**lightgbm_parameters.NAMES.accepted, **lightgbm_parameters.NAMES.reserved}
    # A fit has one thread. Who predicts says how many by OMP_NUM_THREADS; 0 is what OpenMP gives:
    # the bits are the same.
    parameters = dict(plan.parameters) | {"num_iterations": rounds, "num_threads": 0}
    parameters.pop("num_class", None)
    return {
        next((alias for alias in aliases[own] if alias in declared), own): value
        for own, value in parameters.items()
    }
