"""The LightGBM parameters that a configuration may set, and those it may not.

A list of names kept here, so that a misspelt one is found when the YAML is loaded, without
importing LightGBM (a second and more); a test holds it to the installed library. In: the
hyperparameters as given. Out: the same under LightGBM's own names.
"""

from collections.abc import Mapping

from experiment_pipeline import errors
from experiment_pipeline.errors import did_you_mean
from experiment_pipeline.spec import Scalar


def _names(table: str) -> dict[str, tuple[str, ...]]:
    """LightGBM's own name → its other names, of a table with a parameter in each line."""
    return {own: tuple(others) for own, *others in map(str.split, table.strip().splitlines())}


ACCEPTED = _names("""
alpha
bagging_fraction bagging sub_row subsample
bagging_freq subsample_freq
bin_construct_sample_cnt subsample_for_bin
boost_from_average
boosting boost boosting_type
cat_l2
cat_smooth
data_sample_strategy
drop_rate rate_drop
early_stopping_min_delta
early_stopping_round early_stopping early_stopping_rounds n_iter_no_change
enable_bundle bundle is_enable_bundle
extra_trees extra_tree
fair_c
feature_fraction colsample_bytree sub_feature
feature_fraction_bynode colsample_bynode sub_feature_bynode
is_enable_sparse enable_sparse is_sparse sparse
is_unbalance unbalance unbalanced_sets
lambda_l1 l1_regularization reg_alpha
lambda_l2 l2_regularization lambda reg_lambda
learning_rate eta shrinkage_rate
linear_lambda
linear_tree linear_trees
max_bin max_bins
max_cat_threshold
max_cat_to_onehot
max_delta_step max_leaf_output max_tree_output
max_depth
max_drop
min_data_in_bin
min_data_in_leaf min_child_samples min_data min_data_per_leaf min_samples_leaf
min_data_per_group
min_gain_to_split min_split_gain
min_sum_hessian_in_leaf min_child_weight min_hessian min_sum_hessian min_sum_hessian_per_leaf
neg_bagging_fraction neg_bagging neg_sub_row neg_subsample
num_grad_quant_bins
num_iterations max_iter n_estimators n_iter nrounds num_boost_round num_iteration num_round num_rounds num_tree num_trees
num_leaves max_leaf max_leaf_nodes max_leaves num_leaf
objective app application loss objective_type
other_rate
path_smooth
poisson_max_delta_step
pos_bagging_fraction pos_bagging pos_sub_row pos_subsample
quant_train_renew_leaf
reg_sqrt
scale_pos_weight
sigmoid
skip_drop
stochastic_rounding
top_rate
tweedie_variance_power
uniform_drop
use_missing
use_quantized_grad
xgboost_dart_mode
zero_as_missing
""")
# They decide determinism, or what the experiment decides for every configuration alike.
RESERVED = _names("""
bagging_seed bagging_fraction_seed
categorical_feature cat_column cat_feature categorical_column categorical_features
data_random_seed data_seed
deterministic
device_type device
drop_seed
extra_seed
feature_fraction_seed
feature_pre_filter
first_metric_only
force_col_wise
force_row_wise
metric metric_types metrics
num_class num_classes
num_threads n_jobs nthread nthreads num_thread
objective_seed
seed random_seed random_state
tree_learner tree tree_learner_type tree_type
verbosity verbose
""")
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
_OBJECTIVES: dict[str, tuple[str, ...]] = {
    "binary": ("binary",),
    "multiclass": ("multiclass", "multiclassova"),
    "regression": (
        "regression",
        "regression_l1",
        "huber",
        "fair",
        "poisson",
        "quantile",
        "mape",
        "gamma",
        "tweedie",
    ),
}
# Every name, own or alias → LightGBM's own name.
OWN_NAME: dict[str, str] = {
    alias: own for own, aliases in (ACCEPTED | RESERVED).items() for alias in (own, *aliases)
}


def own_names(key: str, given: Mapping[str, Scalar], task: str) -> dict[str, Scalar]:
    """Return the hyperparameters under LightGBM's own names.

    Raises:
        InvalidExperiment: an unknown or reserved name, one parameter under two names, or an
            objective that is not of the task.
    """
    named: dict[str, Scalar] = {}
    for name, value in given.items():
        own = _own_name(key, name)
        if own in named:
            raise errors.InvalidExperiment(
                f"configuration {key}",
                f"{name} sets {own}, which is set already",
                "keep one of the two names",
            )
        named[own] = value
    _check_objective(key, named, task)
    return named


def _own_name(key: str, name: str) -> str:
    own = OWN_NAME.get(name)
    if own is None:
        raise errors.InvalidExperiment(
            f"configuration {key}",
            f"{name!r} is no hyperparameter of lightgbm that can be set here",
            f"correct the name: {did_you_mean(name, [n for n in OWN_NAME if _is_accepted(n)])}",
        )
    if own in RESERVED:
        raise errors.InvalidExperiment(
            f"configuration {key}",
            f"{name!r} is the same for every configuration, so that scores can be compared "
            "and reproduced",
            "drop it; seed, metric and workers of the experiment decide it",
        )
    return own


def _is_accepted(name: str) -> bool:
    return OWN_NAME[name] in ACCEPTED


def _check_objective(key: str, named: Mapping[str, Scalar], task: str) -> None:
    if (objective := named.get("objective")) is not None and objective not in _OBJECTIVES[task]:
        raise errors.InvalidExperiment(
            f"configuration {key}",
            f"{objective!r} is no objective of task {task}",
            f"use one of {', '.join(_OBJECTIVES[task])}",
        )
