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


def _table(aliases: str, others: str = "") -> dict[str, tuple[str, ...]]:
    """Own name → aliases: a line for each own name with its aliases, and names that
    have none.
    """
    lines = map(str.split, aliases.strip().splitlines())
    return {own: tuple(rest) for own, *rest in lines} | dict.fromkeys(
        others.split(), ()
    )


def _limits(lines: str) -> dict[str, tuple[float, float]]:
    """Own name → the smallest and the largest value, given lines of these two and the
    names.
    """
    split = map(str.split, lines.replace(">0", str(_ABOVE_0)).strip().splitlines())
    return {
        name: (float(low), float(high)) for low, high, *names in split for name in names
    }


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
    # every name of what decides determinism, or is the same for every configuration
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
            alias: own
            for own, aliases in self.accepted.items()
            for alias in (own, *aliases)
        }

    @cached_property
    def of_constructor(self) -> frozenset[str]:
        """The further names that the constructor takes, one by one."""
        if self.texts is not None:
            return frozenset()
        module, _, name = ALGORITHMS[self.library].classifier.path.rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        return frozenset(
            {*inspect.signature(cls).parameters, *cls().get_params()} - {"kwargs"}
        )

    def own_names(self, configuration: Configuration, task: str) -> dict[str, Scalar]:
        """Return the hyperparameters of a configuration under the library's own names.

        Raises
        ------
        InvalidExperiment: an unknown or reserved name, one parameter under two names, a
        text for a number, a number beyond its limits, or an objective that is not of
        the task.
        """

        def refused(rule: str, fix: str) -> InvalidExperiment:
            return InvalidExperiment(f"configuration {configuration.key}", rule, fix)

        named = dict[str, Scalar]()
        for name, value in configuration.hyperparameters.items():
            if name in self.reserved:
                raise refused(
                    f"{name!r} is the same for every configuration, so that scores can be compared "
                    "and reproduced",
                    "drop it; seed, metric and workers of the experiment decide it",
                )
            own = self.own_name.get(name) or (
                name if name in self.of_constructor else None
            )
            if own is None:
                known = [*self.own_name, *sorted(self.of_constructor - self.reserved)]
                raise refused(
                    f"{name!r} is not a hyperparameter of {self.library} that can be set here",
                    f"correct the name: {did_you_mean(name, known)}",
                )
            if own in named:
                raise refused(
                    f"{name} sets {own}, which is set already",
                    "keep one of the two names",
                )
            numeric = self.texts is not None and own not in {
                self.objective,
                *self.texts,
            }
            if numeric and isinstance(value, str) and value not in ("true", "false"):
                try:
                    float(value)
                except ValueError:
                    raise refused(
                        f"{value!r} is a text, and {name!r} takes none",
                        "write a number, such as 0.1, or true or false; more than one as a list",
                    ) from None
            low, high = self.limits.get(own, (-math.inf, math.inf))
            if isinstance(value, int | float) and not low <= value <= high:
                least = "above 0 and up" if low == _ABOVE_0 else f"from {low:g}"
                raise refused(
                    f"{name!r} is {value}", f"write a number {least} to {high:g}"
                )
            named[own] = value
        objective, known = str(named.get(self.objective)), list(self.objectives[task])
        # `Quantile:alpha=0.9` is CatBoost's own form; in XGBoost the colon is part of
        # the name.
        if self.objective in named and not {objective, objective.partition(":")[0]} & {
            *known
        }:
            raise refused(
                f"{objective!r} is not an objective of task {task}",
                f"use one of {', '.join(known)}",
            )
        return named


@dataclass(frozen=True)
class Rounds:
    """The boosting rounds of one configuration."""

    at_most: int
    patience: int  # rounds without improvement before it stops; 0 = no early stopping
    min_delta: float  # what counts as an improvement
    watched: str | None  # LightGBM's name of the metric that stops it


def take_rounds(
    given: dict[str, Scalar], request: FitRequest, *, stops: bool, fixed: int | None
) -> Rounds:
    """Return the rounds of a fit, and remove what decides them from the hyperparameters
    `given`.

    `fixed`: a number of rounds to fit on all rows, without early stopping.
    InvalidExperiment: a value is not a number, or a count not whole.
    """
    names = "num_iterations", "early_stopping_round", "early_stopping_min_delta"
    taken = dict[str, float | None]()
    for name in names:
        value = given.pop(name, None)
        if value is not None and (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or (name != names[-1] and value != int(value))
        ):
            rule, fix = f"{name} is {value!r}", "write a number, whole if it is a count"
            raise InvalidExperiment(request.culprit, rule, fix)
        taken[name] = value
    at_most, patience, min_delta = taken.values()
    held_out = request.sets.early_stopping
    patience = PATIENCE if patience is None else max(int(patience), 0)
    # dart rewrites trees it has grown and rf averages them: there is no best round to
    # return to.
    stops = stops and given.get("boosting") not in ("dart", "rf")
    if not (stops and held_out.any() and not held_out.all()):
        patience = 0
    default = ROUNDS_AT_MOST if patience else ROUNDS_FIXED
    watched = metric_of(request.spec.metric).lightgbm or LOSSES[request.sets.task]
    return Rounds(
        at_most=fixed or int(default if at_most is None else at_most),
        patience=patience,
        min_delta=float(min_delta or 0),
        watched=watched if patience else None,
    )


def rounds_on(rows: int, rounds: int | None, request: FitRequest) -> int | None:
    """Return the rounds of a refit on so many rows: where early stopping found them,
    they grow by the root of the rows, up to what the configuration allows.
    """
    if rounds is None or (names := NAMES.get(request.configuration.algorithm)) is None:
        return rounds
    given = names.own_names(request.configuration, request.sets.task)
    each = [replace(request, sets=fold.sets) for fold in request.sets.folds] or [
        request
    ]
    planned = [take_rounds(dict(given), one, stops=True, fixed=None) for one in each]
    if not all(plan.patience for plan in planned):
        return rounds
    fitted = sum(int(one.sets.fit_mask.sum()) for one in each) / len(each)
    return max(
        rounds, min(round(rounds * math.sqrt(rows / fitted)), planned[0].at_most)
    )


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
        min_sum_hessian_in_leaf min_child_weight min_hessian min_sum_hessian min_sum_hessian_per_leaf
        neg_bagging_fraction neg_bagging neg_sub_row neg_subsample
        num_iterations max_iter n_estimators n_iter nrounds num_boost_round num_iteration num_round num_rounds num_tree num_trees
        num_leaves max_leaf max_leaf_nodes max_leaves num_leaf
        objective app application loss objective_type
        pos_bagging_fraction pos_bagging pos_sub_row pos_subsample
        """,
        """
        alpha boost_from_average cat_l2 cat_smooth data_sample_strategy early_stopping_min_delta
        fair_c linear_lambda max_cat_threshold max_cat_to_onehot max_depth max_drop min_data_in_bin
        min_data_per_group num_grad_quant_bins other_rate path_smooth poisson_max_delta_step
        quant_train_renew_leaf reg_sqrt scale_pos_weight sigmoid skip_drop stochastic_rounding
        top_rate tweedie_variance_power uniform_drop use_missing use_quantized_grad
        xgboost_dart_mode zero_as_missing
        """,
    ),
    reserved=_words("""
        bagging_fraction_seed bagging_seed cat_column cat_feature categorical_column
        categorical_feature categorical_features data_random_seed data_seed deterministic device
        device_type drop_seed extra_seed feature_fraction_seed feature_pre_filter first_metric_only
        force_col_wise force_row_wise metric metric_types metrics n_jobs nthread nthreads num_class
        num_classes num_thread num_threads objective_seed random_seed random_state seed tree
        tree_learner tree_learner_type tree_type verbose verbosity
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
        1 inf bin_construct_sample_cnt max_cat_threshold max_cat_to_onehot min_data_in_bin
        1 inf min_data_per_group
        1 2 tweedie_variance_power
        0 1 drop_rate other_rate skip_drop top_rate
        >0 1 bagging_fraction feature_fraction feature_fraction_bynode neg_bagging_fraction
        >0 1 pos_bagging_fraction
        0 inf cat_l2 cat_smooth early_stopping_min_delta lambda_l1 lambda_l2 linear_lambda
        0 inf min_data_in_leaf min_gain_to_split min_sum_hessian_in_leaf num_iterations path_smooth
        >0 inf alpha fair_c learning_rate poisson_max_delta_step scale_pos_weight sigmoid
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
        allow_const_label allow_writing_files best_model_min_trees callback cat_features class_names
        classes_count custom_loss custom_metric device_config devices eval_fraction eval_metric
        has_time ignored_features logging_level metadata metric_period monotone_constraints name
        od_pval od_type random_seed random_state save_snapshot silent snapshot_file
        snapshot_interval task_type thread_count train_dir use_best_model used_ram_limit verbose
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
    # Those without an alias belong to objectives: the constructor takes them without
    # naming them.
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
        "huber_slope max_depth objective quantile_alpha tweedie_variance_power",
    ),
    reserved=_words("""
        booster callbacks device enable_categorical eval_metric feature_types importance_type
        missing monotone_constraints multi_strategy n_jobs nthread num_class random_state seed
        sampling_method tree_method validate_parameters verbosity
        """),
    objective="objective",
    objectives=_by_task(
        "binary:logistic",
        "multi:softprob",
        "reg:squarederror reg:absoluteerror reg:pseudohubererror reg:gamma reg:quantileerror count:poisson reg:tweedie",
    ),
)
NAMES: Mapping[str, ParameterNames] = {
    one.library: one for one in (LIGHTGBM, CATBOOST, XGBOOST)
}


def estimated_cost(
    configuration: Configuration, n_rows: int, n_classes: int = 0
) -> float:
    """Return trees times levels of a tree: passes over the rows that a fit makes;
    infinity: not known.
    """
    algorithm, given = configuration.algorithm, configuration.hyperparameters
    names = NAMES.get(algorithm)
    if names is None:
        declared = ALGORITHMS.get(algorithm)
        return declared.passes(given, n_rows) if declared else math.inf
    own = {names.own_name.get(name, name): value for name, value in given.items()}
    levels = positive(own.get("max_depth"), 6)
    if algorithm == "lightgbm":
        levels = math.log2(1 + positive(own.get("num_leaves"), 31))
    elif algorithm == "catboost":
        # Target statistics, in several orders of the rows: 3 to 18 times the work,
        # measured.
        levels *= 5
    learnt = LEARNT_WHEN_STOPPED * math.sqrt(n_rows / _ROWS_OF_THAT)
    rounds = min(
        positive(own.get("num_iterations"), ROUNDS_AT_MOST),
        PATIENCE + learnt / positive(own.get("learning_rate"), LEARNING_RATE),
    )
    return rounds * (n_classes if n_classes > 2 else 1) * levels
