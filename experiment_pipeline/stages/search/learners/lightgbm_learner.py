"""LightGBM as a `Learner`: boosted on binned tables that the fits of a sweep share.

What is exported is an LGBMClassifier or LGBMRegressor, made from a Booster without
fitting it again.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.spec import Scalar
from experiment_pipeline.spec.algorithms import positive
from experiment_pipeline.stages.search.averaging import label_encoder
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners.hyperparameters import (
    LEARNING_RATE,
    LIGHTGBM,
    Rounds,
    take_rounds,
    watchable,
)
from experiment_pipeline.stages.search.learners.learner import (
    Clock,
    FitRequest,
    FittedModel,
    Learner,
    Restorable,
)
from experiment_pipeline.stages.search.shared_work import (
    HELD_ROWS,
    ROWS_OF_A_SLICE,
    EncodedRows,
    SharedWork,
    SlicedTable,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.table.digests import mixed, salt_number

if TYPE_CHECKING:
    import lightgbm as lgb

# Binned rows that trees are grown on, and the early-stopping set where there is one.
# Any number of threads may read both.
Bins = tuple["lgb.Dataset", "lgb.Dataset | None"]

# They decide the bins: configurations that agree on them share one binned Dataset.
DATASET_PARAMETERS = frozenset(
    {
        "bin_construct_sample_cnt",
        "enable_bundle",
        "is_enable_sparse",
        "linear_tree",
        "max_bin",
        "min_data_in_bin",
        "use_missing",
        "zero_as_missing",
    }
)
# With at most so many early-stopping rows each round is evaluated; with more, every
# second, third … fifth.
_EVALUATED_ROWS, _MOST_BETWEEN = 100_000, 5
# A refit of more rows keeps one copy of its bins.
_BY_ROWS = HELD_ROWS
_SALT = salt_number("rows to make bins of")


@dataclass(frozen=True)
class BoostingPlan:
    """How one configuration is boosted."""

    # LightGBM's own names → values, all but the number of rounds and the metric
    parameters: Mapping[str, Scalar]
    rounds: Rounds  # how many, and what stops it

    @property
    def binning(self) -> tuple[tuple[str, Scalar], ...]:
        """The parameters that decide the bins: equal ones can share binned rows."""
        names = sorted(self.parameters.keys() & DATASET_PARAMETERS)
        return tuple((name, self.parameters[name]) for name in names)

    def settings(self, rows: EncodedRows) -> dict[str, Any]:
        """Return the arguments of every Dataset of these rows.

        Raw data is freed and no feature filtered beforehand: otherwise a fit that
        differs in `min_data_in_leaf` would rebuild the table under the fits that are
        reading it.
        """
        names = {*_fixed(0), "force_col_wise"}
        settings = {
            name: value for name, value in self.parameters.items() if name in names
        }
        return {
            "params": {**dict(self.binning), **settings, "feature_pre_filter": False},
            "categorical_feature": rows.categorical,
            "free_raw_data": True,
        }


def boosting_plan(
    request: FitRequest, *, stops: bool = True, rounds: int | None = None
) -> BoostingPlan:
    """Return how to boost; InvalidExperiment: a wrong hyperparameter."""
    sets, metric = request.sets, metric_of(request.spec.metric)
    parameters = LIGHTGBM.own_names(request.configuration, sets.task)
    quantile = metric.objective.get("alpha")
    if quantile is not None and parameters.get("alpha", quantile) != quantile:
        raise InvalidExperiment(
            request.culprit,
            rule=f"alpha is {parameters['alpha']}, metric {request.spec.metric} judges "
            f"the quantile {quantile:g}",
            fix="drop alpha, or write the metric of another quantile",
        )
    planned = take_rounds(parameters, request, stops=stops, fixed=rounds)
    # LightGBM's objectives have the names of our tasks.
    defaults: dict[str, Scalar] = {
        "objective": sets.task,
        "learning_rate": LEARNING_RATE,
    }
    # LightGBM has no monotone constraints where it boosts towards a median.
    if not (sets.directions and metric.objective.get("objective") == "regression_l1"):
        defaults |= metric.objective
    if sets.task == "multiclass" and sets.classes is not None:
        defaults["num_class"] = len(sets.classes)
    if any(name.endswith("bagging_fraction") for name in parameters):
        # LightGBM's default 0 would switch the fraction off without a warning.
        defaults["bagging_freq"] = 1
    return BoostingPlan(defaults | parameters | _fixed(request.spec.seed), planned)


def _fixed(seed: int) -> dict[str, Scalar]:
    return {
        "seed": seed,
        # Without a layout, LightGBM would time two and choose, which makes runs differ.
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def bin_rows(rows: EncodedRows, plan: BoostingPlan, sets: TrainingSets) -> Bins:
    """Bin encoded rows once, for every configuration with the same binning.

    Bins of a large dense table are made of `rows_for_bins`. Where the plan stops early,
    the early-stopping set of `sets` is held out.
    """

    def binned(
        part: EncodedRows, reference: "lgb.Dataset | None" = None
    ) -> "lgb.Dataset":
        import lightgbm as lgb

        return lgb.Dataset(
            _data(part.table, plan, sampled=reference is None),
            part.y,
            reference=reference,
            weight=part.weights,
            **plan.settings(rows),
        ).construct()

    if not plan.rounds.patience:
        return binned(rows), None
    fit = binned(rows.part(sets.fit_mask))
    return fit, binned(rows.part(sets.early_stopping), fit)


def _data(table: Any, plan: BoostingPlan, *, sampled: bool) -> Any:
    """A table as a Dataset takes it; `sampled`: its rows also decide the bins."""
    import lightgbm as lgb
    from scipy.sparse import issparse

    rows, is_linear = table.shape[0], bool(plan.parameters.get("linear_tree"))
    if is_linear and isinstance(table, SlicedTable):
        # LightGBM also keeps the raw numbers, and must get them as an array (4.7 writes
        # past its end).
        table = table[:]
    if is_linear or issparse(table):
        return table
    count = int(positive(plan.parameters.get("bin_construct_sample_cnt"), HELD_ROWS))
    is_small = rows <= count or not sampled
    if is_small and not isinstance(table, SlicedTable):
        return table
    lgb.Sequence.register(InTurn)
    return InTurn(table, rows_for_bins(rows, count) if sampled else ())


class InTurn:
    """Rows as LightGBM asks for them: first a sample row by row, to make bins of, then
    all in slices.

    LightGBM samples different rows for each kind of table. So whichever single row it
    asks for, it is given the next of `sampled`, the positions of the rows to make bins
    of.
    """

    batch_size = ROWS_OF_A_SLICE

    def __init__(self, table: Any, sampled: Sequence[int] | np.ndarray) -> None:
        self._table = table
        self._sampled = iter(table[sampled] if len(sampled) else ())

    def __len__(self) -> int:
        return int(self._table.shape[0])

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, slice):
            return np.ascontiguousarray(self._table[rows])
        return next(self._sampled)


def rows_for_bins(rows: int, count: int) -> np.ndarray:
    """Draw a row of each of `count` equal stretches, by a hash: int64, ascending."""
    if rows <= count:
        return np.arange(rows)
    bounds = np.arange(count + 1) * rows // count
    drawn = mixed(np.arange(count, dtype=np.uint64) ^ _SALT) % np.diff(bounds).astype(
        np.uint64
    )
    return bounds[:-1] + drawn.astype(np.int64)


def boost(
    bins: Bins, plan: BoostingPlan, rows: EncodedRows, task: str
) -> "lgb.Booster":
    """Grow trees on binned rows; several threads may do so on the same bins at once.

    With patience the best round on the early-stopping set is `booster.best_iteration`;
    without it that is 0. `lightgbm.train` evaluates every round: the AUC of a large
    early-stopping set takes a fifth of a fit, and neighbouring rounds differ by less
    than chance there.
    """
    import lightgbm as lgb

    fit, early_stopping = bins
    rounds = plan.rounds
    parameters: dict[str, Any] = {
        **plan.parameters,
        "metric": "None",
        "num_iterations": rounds.at_most,
        "feature_pre_filter": False,
    }
    if rows.directions is not None:
        # By LightGBM's method `basic`: of the two slower ones none was better on new
        # rows.
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
    step = min(1 + early_stopping.num_data() // _EVALUATED_ROWS, _MOST_BETWEEN)
    _boost_until_no_better(booster, rounds, step)
    return booster


def _boost_until_no_better(booster: "lgb.Booster", rounds: Rounds, step: int) -> None:
    """Evaluate after each `step` rounds, and note the best one."""
    best_score, booster.best_iteration = math.nan, 0
    for number in range(1, rounds.at_most + 1):
        booster.update()
        if number % step and number < rounds.at_most:
            continue
        (_, _, score, higher_is_better, *_) = booster.eval_valid()[0]
        gain = score - best_score if higher_is_better else best_score - score
        if not booster.best_iteration or gain > rounds.min_delta:
            best_score, booster.best_iteration = score, number
        elif number - booster.best_iteration >= rounds.patience:
            return


def as_estimator(
    text: str, plan: BoostingPlan, classes: tuple | None, rounds: int | None
) -> Any:
    """Return the fitted scikit-learn estimator of a model's text.

    The private attributes are those that `fit` sets in lightgbm 4.7; a test compares
    the result with an ordinary `fit`. `classes_` keeps the order of the classes.
    """
    import lightgbm as lgb

    booster = lgb.Booster(model_str=text)
    rounds = rounds or booster.current_iteration()
    # A fit has one thread. OMP_NUM_THREADS decides those of a prediction: 0 is what
    # OpenMP gives, and the bits are the same.
    parameters = {**plan.parameters, "num_iterations": rounds, "num_threads": 0}
    parameters.pop("num_class", None)
    # Under the names that LGBMModel declares, where it has one.
    declared = lgb.LGBMModel().get_params()
    aliases = {
        **LIGHTGBM.accepted,
        "seed": ("random_state",),
        "num_threads": ("n_jobs",),
    }
    named = dict[str, Any]()
    for name, value in parameters.items():
        its_aliases = [alias for alias in aliases.get(name, ()) if alias in declared]
        named[its_aliases[0] if its_aliases else name] = value
    make: Any = lgb.LGBMRegressor if classes is None else lgb.LGBMClassifier
    estimator = make(**named)
    n_features = booster.num_feature()
    vars(estimator).update(
        _Booster=booster,
        _objective=plan.parameters["objective"],
        _n_features=n_features,
        _n_features_in=n_features,
        n_features_in_=n_features,
        _best_iteration=0,
        _best_score={},
        _evals_result={},
        fitted_=True,
    )
    if classes is not None:
        encoder = label_encoder(classes)
        vars(estimator).update(
            _le=encoder, _classes=encoder.classes_, _n_classes=len(classes)
        )
    return estimator


class LightGBMLearner(Learner):
    """Boosts on shared bins; a model is stored as LightGBM's own text."""

    def check_hyperparameters(self, configuration: Configuration, task: str) -> None:
        """Look the names up in a list, and the objective among those of the task."""
        LIGHTGBM.own_names(configuration, task)

    def watched(self, request: FitRequest) -> str | None:
        """The objective of a fit, and LightGBM's metric that stops it."""
        with suppress(InvalidExperiment):
            plan = boosting_plan(request)
            names = [name for name in ("objective", "alpha") if name in plan.parameters]
            towards = " ".join(str(plan.parameters[name]) for name in names)
            return f"{towards} until {plan.rounds.watched}"
        return None

    def reads_all(self, configuration: Configuration) -> bool:  # noqa: ARG002
        """False: bins are made slice by slice."""
        return False

    def fit(
        self,
        request: FitRequest,
        work: SharedWork,
        rounds: int | None = None,
        *,
        stored: bool,
    ) -> FittedModel:
        """Boost until the early-stopping set gets no better."""
        plan = boosting_plan(request, stops=rounds is None, rounds=rounds)
        train = work.train[request.configuration.features]
        make = partial(bin_rows, train, plan, request.sets)
        bins = work.tables.get(_table_of(request, plan), make)
        with Clock() as clock:
            booster = boost(bins, plan, train, request.sets.task)
        rounds = booster.best_iteration or booster.current_iteration()

        def predict(rows: Any) -> np.ndarray:
            predicted = booster.predict(rows, num_iteration=rounds, num_threads=1)
            return np.asarray(predicted)

        text = booster.model_to_string(num_iteration=rounds) if stored else ""
        return FittedModel(
            predict=predict,
            model=text.encode(),
            cpu_seconds=clock.cpu_seconds,
            wall_seconds=clock.wall_seconds,
            rounds=rounds,
        )

    def restore(self, request: FitRequest, stored: Restorable, model: bytes) -> Any:
        """Put scikit-learn's interface around the text's Booster."""
        plan = boosting_plan(request)
        return as_estimator(model.decode(), plan, request.sets.classes, stored.rounds)

    def refit(self, request: FitRequest, rounds: int | None, rows: EncodedRows) -> Any:
        """Boost that many rounds on bins that one fit after the other shares."""
        plan = boosting_plan(request, stops=False, rounds=rounds)
        if len(rows.y) > _BY_ROWS:
            # The same trees without a second copy of the bins: 20 bytes of 53 a row
            # less, as measured on 20 columns, for up to 40 % more time. A refit has
            # most rows of all fits.
            parameters = {**plan.parameters, "force_col_wise": True}
            del parameters["force_row_wise"]
            plan = replace(plan, parameters=parameters)
        make = partial(bin_rows, rows, plan, request.sets)
        bins = rows.library_table.get(_table_of(request, plan), make)
        text = boost(bins, plan, rows, request.sets.task).model_to_string()
        return as_estimator(text, plan, request.sets.classes, plan.rounds.at_most)


def _table_of(request: FitRequest, plan: BoostingPlan) -> Hashable:
    return (
        "lightgbm",
        request.configuration.features,
        bool(plan.rounds.patience),
        plan.binning,
    )
