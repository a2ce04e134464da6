"""Hyperparameters of the boosting libraries: their names, and how many rounds a fit
makes.

The names stand here because an import takes a second. Tests compare them with the
libraries.
"""

import importlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from experiment_pipeline.errors import InvalidExperiment, did_you_mean
from experiment_pipeline.spec import Scalar
from experiment_pipeline.spec.algorithms import ALGORITHMS, positive
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners.learner import FitRequest
from experiment_pipeline.statistics.metrics import metric_of

PATIENCE = 50
ROUNDS_AT_MOST = 2_000
# Without early stopping: LightGBM's own default.
ROUNDS_FIXED = 100
LEARNING_RATE = 0.1
# On so many rows, early stopping keeps about this number of rounds times the learning
# rate (2 to 40 measured); it grows with the root of the rows (on 16 times the rows .7
# to 3.9 times the rounds).
LEARNT_WHEN_STOPPED, _ROWS_OF_THAT = 10, 10_000
# What stops metrics that LightGBM does not have.
LOSSES = {"binary": "binary_logloss", "multiclass": "multi_logloss", "regression": "l2"}
_ABOVE_0 = math.ulp(0.0)


def _table(aliases: str, without_alias: str = "") -> dict[str, tuple[str, ...]]:
    """Own name → aliases, of lines of a name and its aliases, and names without."""
    table: dict[str, tuple[str, ...]] = dict.fromkeys(without_alias.split(), ())
    for line in aliases.strip().splitlines():
        own_name, *names = line.split()
        table[own_name] = tuple(names)
    return table


def _limits(lines: str) -> dict[str, tuple[float, float]]:
    """Own name → smallest and largest value, of lines of these two and the names."""
    limits = dict[str, tuple[float, float]]()
    for line in lines.replace(">0", str(_ABOVE_0)).strip().splitlines():
        low, high, *names = line.split()
        limits |= dict.fromkeys(names, (float(low), float(high)))
    return limits


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _by_task(
    binary: str, multiclass: str, regression: str
) -> dict[str, tuple[str, ...]]:
    texts = {"binary": binary, "multiclass": multiclass, "regression": regression}
    return {task: tuple(text.split()) for task, text in texts.items()}


@dataclass(frozen=True, eq=False)
class ParameterNames:
    """What a configuration of a library may set, and what it may not."""

    library: str  # name of the package
    # own name → aliases; those that decide the rounds are called as in `take_rounds`
    accepted: Mapping[str, tuple[str, ...]]
    # all names of what decides determinism, or is the same for all configurations
    reserved: frozenset[str]
    objective: str  # the own name of the loss
    # task → its values; what follows a colon is the library's
    objectives: Mapping[str, tuple[str, ...]]
    # own names of the others that take a text. None: the library checks values, and is
    # imported only to look up further names of its constructor.
    texts: frozenset[str] | None = None
    # own name → the smallest and the largest value that the library takes
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def own_name(self) -> Mapping[str, str]:
        """Own name or alias → own name."""
        return {
            alias: own_name
            for own_name, aliases in self.accepted.items()
            for alias in (own_name, *aliases)
        }

    @cached_property
    def of_constructor(self) -> frozenset[str]:
        """The further names that the constructor takes, one by one."""
        if self.texts is not None:
            return frozenset()
        module, _, name = ALGORITHMS[self.library].classifier.path.rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        names = {*inspect.signature(cls).parameters, *cls().get_params()}
        return frozenset(names - {"kwargs"})

    def own_names(self, configuration: Configuration, task: str) -> dict[str, Scalar]:
        """Return the hyperparameters of a configuration under the library's own names.

        Raises
        ------
        InvalidExperiment: an unknown or reserved name, one parameter under two names, a
        text for a number, a number beyond its limits, or an objective that is not of
        the task.
        """
        culprit = f"configuration {configuration.key}"
        named = dict[str, Scalar]()
        for name, value in configuration.hyperparameters.items():
            own_name = self._own_name_of(name, culprit)
            if own_name in named:
                raise InvalidExperiment(
                    culprit,
                    rule=f"{name} sets {own_name}, which is set already",
                    fix="keep one of the two names",
                )
            self._check_value(name, own_name, value, culprit)
            named[own_name] = value
        if self.objective in named:
            self._check_objective(str(named[self.objective]), task, culprit)
        return named

    def _own_name_of(self, name: str, culprit: str) -> str:
        if name in self.reserved:
            raise InvalidExperiment(
                culprit,
                rule=f"{name!r} is the same for every configuration, so that scores "
                "can be compared and reproduced",
                fix="drop it; seed, metric and workers of the experiment decide it",
            )
        if name in self.own_name:
            return self.own_name[name]
        if name in self.of_constructor:
            return name
        names = sorted({*self.own_name, *self.of_constructor} - self.reserved)
        raise InvalidExperiment(
            culprit,
            rule=f"{name!r} is not a hyperparameter of {self.library} that can be set "
            "here",
            fix=f"correct the name: {did_you_mean(name, names)}",
        )

    def _check_value(
        self, name: str, own_name: str, value: Scalar, culprit: str
    ) -> None:
        if isinstance(value, str):
            takes_text = self.texts is None or own_name in self.texts
            if not takes_text and own_name != self.objective:
                raise InvalidExperiment(
                    culprit,
                    rule=f"{value!r} is a text, and {name!r} takes none",
                    fix="write a number, such as 0.1, or true or false, without "
                    "quotes; more than one as a list",
                )
            return
        low, high = self.limits.get(own_name, (-math.inf, math.inf))
        if value is not None and not low <= value <= high:
            least = "above 0 and up" if low == _ABOVE_0 else f"from {low:g}"
            raise InvalidExperiment(
                culprit,
                rule=f"{name!r} is {value}",
                fix=f"write a number {least} to {high:g}",
            )

    def _check_objective(self, objective: str, task: str, culprit: str) -> None:
        allowed = self.objectives[task]
        # `Quantile:alpha=0.9` is CatBoost's own form; in XGBoost the colon is part of
        # the name.
        if objective not in allowed and objective.partition(":")[0] not in allowed:
            raise InvalidExperiment(
                culprit,
                rule=f"{objective!r} is not an objective of task {task}",
                fix=f"use one of {', '.join(allowed)}",
            )


@dataclass(frozen=True)
class Rounds:
    """The boosting rounds of one configuration."""

    at_most: int
    patience: int  # rounds without improvement before it stops; 0 = no early stopping
    min_delta: float  # what counts as an improvement
    watched: str | None  # LightGBM's name of the metric that stops it


def take_rounds(
    parameters: dict[str, Scalar],
    request: FitRequest,
    *,
    stops: bool,
    fixed: int | None,
) -> Rounds:
    """Return the rounds of a fit, and remove what decides them from its parameters.

    `fixed`: a number of rounds to fit on all rows, without early stopping.
    InvalidExperiment: a value is not a number, or a count not whole.
    """
    culprit = request.culprit
    patience = _take_number(parameters, "early_stopping_round", culprit, PATIENCE)
    min_delta = _take_number(parameters, "early_stopping_min_delta", culprit, 0)
    early_stopping = request.sets.early_stopping
    has_set = early_stopping.any() and not early_stopping.all()
    # dart rewrites trees it has grown and rf averages them: there is no best round to
    # return to.
    has_best_round = parameters.get("boosting") not in ("dart", "rf")
    watched = None
    if stops and has_set and has_best_round and patience > 0:
        watched = metric_of(request.spec.metric).lightgbm or LOSSES[request.sets.task]
    default = ROUNDS_AT_MOST if watched else ROUNDS_FIXED
    at_most = _take_number(parameters, "num_iterations", culprit, default)
    return Rounds(
        at_most=fixed or int(at_most),
        patience=int(patience) if watched else 0,
        min_delta=float(min_delta),
        watched=watched,
    )


def _take_number(
    parameters: dict[str, Scalar], name: str, culprit: str, default: float
) -> float:
    number = parameters.pop(name, None)
    if number is None:
        return default
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    is_count = name != "early_stopping_min_delta"
    if not is_number or (is_count and number != int(number)):
        raise InvalidExperiment(
            culprit,
            rule=f"{name} is {number!r}",
            fix="write a number, whole if it is a count",
        )
    return number


def rounds_on(rows: int, rounds: int | None, request: FitRequest) -> int | None:
    """Return the rounds of a refit on so many rows: where early stopping found them,
    they grow by the root of the rows, up to what the configuration allows.
    """
    names = NAMES.get(request.configuration.algorithm)
    if rounds is None or names is None:
        return rounds
    parameters = names.own_names(request.configuration, request.sets.task)
    requests = [replace(request, sets=fold.sets) for fold in request.sets.folds]
    requests = requests or [request]
    plans = [
        take_rounds(dict(parameters), fit, stops=True, fixed=None) for fit in requests
    ]
    if not all(plan.patience for plan in plans):
        return rounds
    fitted_rows = np.mean([fit.sets.fit_mask.sum() for fit in requests])
    grown = round(rounds * math.sqrt(rows / fitted_rows))
    return max(rounds, min(grown, plans[0].at_most))


def watchable(watched: str, task: str, held_out_classes: int) -> str:
    """Return the metric that can be watched: an early-stopping set of one class has no
    ranking.

    LightGBM would call the first round perfect, CatBoost raise, XGBoost return nan.
    """
    ranks = watched in ("auc", "average_precision")
    return LOSSES[task] if ranks and held_out_classes < 2 else watched


LIGHTGBM = ParameterNames(
    "lightgbm",
    accepted=_table(
        """
        bagging_fraction bagging sub_row subsample
        bagging_freq subsample_freq
        bin_construct_sample_cnt subsample_for_bin
        boosting boost boosting_type
        drop_rate rate_drop
        early_stopping_round early_stopping early_stopping_rounds n_iter_no_change
        enable_bundle bundle is_enable_bundle
        extra_trees extra_tree
        feature_fraction colsample_bytree sub_feature
        feature_fraction_bynode colsample_bynode sub_feature_bynode
        is_enable_sparse enable_sparse is_sparse sparse
        is_unbalance unbalance unbalanced_sets
        lambda_l1 l1_regularization reg_alpha
        lambda_l2 l2_regularization lambda reg_lambda
        learning_rate eta shrinkage_rate
        linear_tree linear_trees
        max_bin max_bins
        max_delta_step max_leaf_output max_tree_output
        min_data_in_leaf min_child_samples min_data min_data_per_leaf min_samples_leaf
        min_gain_to_split min_split_gain
        min_sum_hessian_in_leaf min_child_weight min_hessian min_sum_hessian \
        min_sum_hessian_per_leaf
        neg_bagging_fraction neg_bagging neg_sub_row neg_subsample
        num_iterations max_iter n_estimators n_iter nrounds num_boost_round \
        num_iteration num_round num_rounds num_tree num_trees
        num_leaves max_leaf max_leaf_nodes max_leaves num_leaf
        objective app application loss objective_type
        pos_bagging_fraction pos_bagging pos_sub_row pos_subsample
        """,
        """
        alpha boost_from_average cat_l2 cat_smooth data_sample_strategy
        early_stopping_min_delta fair_c linear_lambda max_cat_threshold
        max_cat_to_onehot max_depth max_drop min_data_in_bin min_data_per_group
        num_grad_quant_bins other_rate path_smooth poisson_max_delta_step
        quant_train_renew_leaf reg_sqrt scale_pos_weight sigmoid skip_drop
        stochastic_rounding top_rate tweedie_variance_power uniform_drop use_missing
        use_quantized_grad xgboost_dart_mode zero_as_missing
        """,
    ),
    reserved=_words("""
        bagging_fraction_seed bagging_seed cat_column cat_feature categorical_column
        categorical_feature categorical_features data_random_seed data_seed
        deterministic device device_type drop_seed extra_seed feature_fraction_seed
        feature_pre_filter first_metric_only force_col_wise force_row_wise metric
        metric_types metrics n_jobs nthread nthreads num_class num_classes num_thread
        num_threads objective_seed random_seed random_state seed tree tree_learner
        tree_learner_type tree_type verbose verbosity
        """),
    objective="objective",
    objectives=_by_task(
        "binary",
        "multiclass multiclassova",
        "regression regression_l1 huber fair poisson quantile mape gamma tweedie",
    ),
    texts=frozenset({"boosting", "data_sample_strategy"}),
    limits=_limits("""
        2 131072 num_leaves
        2 inf max_bin
        1 inf bin_construct_sample_cnt max_cat_threshold max_cat_to_onehot
        1 inf min_data_in_bin
        1 inf min_data_per_group
        1 2 tweedie_variance_power
        0 1 drop_rate other_rate skip_drop top_rate
        >0 1 bagging_fraction feature_fraction feature_fraction_bynode
        >0 1 neg_bagging_fraction
        >0 1 pos_bagging_fraction
        0 inf cat_l2 cat_smooth early_stopping_min_delta lambda_l1 lambda_l2
        0 inf linear_lambda
        0 inf min_data_in_leaf min_gain_to_split min_sum_hessian_in_leaf num_iterations
        0 inf path_smooth
        >0 inf alpha fair_c learning_rate poisson_max_delta_step scale_pos_weight
        >0 inf sigmoid
        """),
)
CATBOOST = ParameterNames(
    "catboost",
    accepted=_table("""
        border_count max_bin
        early_stopping_round early_stopping_rounds od_wait
        l2_leaf_reg reg_lambda
        learning_rate eta
        loss_function objective
        max_depth depth
        max_leaves num_leaves
        min_data_in_leaf min_child_samples
        num_iterations iterations n_estimators num_boost_round num_trees
        rsm colsample_bylevel
        """),
    reserved=_words("""
        allow_const_label allow_writing_files best_model_min_trees callback cat_features
        class_names classes_count custom_loss custom_metric device_config devices
        eval_fraction eval_metric has_time ignored_features logging_level metadata
        metric_period monotone_constraints name od_pval od_type random_seed random_state
        save_snapshot silent snapshot_file snapshot_interval task_type thread_count
        train_dir use_best_model used_ram_limit verbose
        """),
    objective="loss_function",
    objectives=_by_task(
        "Logloss",
        "MultiClass MultiClassOneVsAll",
        "RMSE MAE MAPE Quantile Huber LogCosh Expectile Poisson Tweedie",
    ),
)
XGBOOST = ParameterNames(
    "xgboost",
    # Those without an alias are frequent, or belong to objectives: the constructor
    # takes these without naming them.
    accepted=_table(
        """
        early_stopping_min_delta min_delta
        early_stopping_round early_stopping_rounds
        gamma min_split_loss
        learning_rate eta
        num_iterations n_estimators num_boost_round
        reg_alpha alpha
        reg_lambda lambda
        """,
        """
        colsample_bylevel colsample_bynode colsample_bytree huber_slope max_bin
        max_delta_step max_depth max_leaves min_child_weight objective quantile_alpha
        scale_pos_weight subsample tweedie_variance_power
        """,
    ),
    reserved=_words("""
        booster callbacks device enable_categorical eval_metric feature_types
        importance_type missing monotone_constraints multi_strategy n_jobs nthread
        num_class random_state seed sampling_method tree_method validate_parameters
        verbosity
        """),
    objective="objective",
    objectives=_by_task(
        "binary:logistic",
        "multi:softprob",
        "reg:squarederror reg:absoluteerror reg:pseudohubererror reg:gamma "
        "reg:quantileerror count:poisson reg:tweedie",
    ),
)
NAMES: Mapping[str, ParameterNames] = {
    names.library: names for names in (LIGHTGBM, CATBOOST, XGBOOST)
}


def estimated_cost(
    configuration: Configuration, n_rows: int, n_classes: int = 0
) -> float:
    """Return trees times levels of a tree: passes over the rows that a fit makes;
    infinity: not known.
    """
    algorithm, parameters = configuration.algorithm, configuration.hyperparameters
    names = NAMES.get(algorithm)
    if names is None:
        declared = ALGORITHMS.get(algorithm)
        return declared.passes(parameters, n_rows) if declared else math.inf
    named = {
        names.own_name.get(name, name): value for name, value in parameters.items()
    }
    levels = positive(named.get("max_depth"), 6)
    if algorithm == "lightgbm":
        levels = math.log2(1 + positive(named.get("num_leaves"), 31))
    elif algorithm == "catboost":
        # Target statistics, in several orders of the rows: 3 to 18 times the work,
        # measured.
        levels *= 5
    learnt = LEARNT_WHEN_STOPPED * math.sqrt(n_rows / _ROWS_OF_THAT)
    rounds = min(
        positive(named.get("num_iterations"), ROUNDS_AT_MOST),
        PATIENCE + learnt / positive(named.get("learning_rate"), LEARNING_RATE),
    )
    return rounds * (n_classes if n_classes > 2 else 1) * levels
