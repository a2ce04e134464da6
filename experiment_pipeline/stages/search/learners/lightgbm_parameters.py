"""The LightGBM parameters that a configuration may set, and those it may not."""

from experiment_pipeline.stages.search.learners.parameter_names import ParameterNames, name_table

_ACCEPTED = name_table("""
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
RESERVED_ALIASES = name_table("""
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
        *("bin_construct_sample_cnt", "enable_bundle", "is_enable_sparse", "linear_tree"),
        *("max_bin", "min_data_in_bin", "use_missing", "zero_as_missing"),
    }
)
_OBJECTIVES = {
    "binary": ("binary",),
    "multiclass": ("multiclass", "multiclassova"),
    "regression": (
        *("regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape"),
        *("gamma", "tweedie"),
    ),
}
_TEXTS = frozenset({"boosting", "data_sample_strategy"})
_RESERVED = frozenset(RESERVED_ALIASES).union(*RESERVED_ALIASES.values())
NAMES = ParameterNames("lightgbm", _ACCEPTED, _RESERVED, "objective", _OBJECTIVES, _TEXTS)
