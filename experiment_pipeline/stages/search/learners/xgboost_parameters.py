"""The XGBoost parameters that a configuration may set, and those it may not."""

from experiment_pipeline.stages.search.learners.parameter_names import ParameterNames, name_table

# Trees of `hist` alone: only they read the quantised table that configurations share.
_ACCEPTED = name_table("""
base_score
colsample_bylevel
colsample_bynode
colsample_bytree
early_stopping_min_delta min_delta
early_stopping_round early_stopping_rounds
gamma min_split_loss
grow_policy
learning_rate eta
max_bin
max_cat_threshold
max_cat_to_onehot
max_delta_step
max_depth
max_leaves
min_child_weight
num_iterations n_estimators num_boost_round
num_parallel_tree
objective
quantile_alpha
reg_alpha alpha
reg_lambda lambda
scale_pos_weight
subsample
tweedie_variance_power
huber_slope
""")
# They decide determinism, or what the experiment or the encoding decides for every configuration.
_RESERVED = name_table("""
booster
callbacks
device
enable_categorical
eval_metric
feature_types
importance_type
missing
multi_strategy
n_jobs nthread
num_class
random_state seed
sampling_method
tree_method
validate_parameters
verbosity
""")
_OBJECTIVES = {
    "binary": ("binary:logistic",),
    "multiclass": ("multi:softprob",),
    "regression": (
        *("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror"),
        *("count:poisson", "reg:gamma", "reg:tweedie"),
    ),
}
_TEXTS = frozenset({"grow_policy"})
NAMES = ParameterNames("xgboost", _ACCEPTED, _RESERVED, "objective", _OBJECTIVES, _TEXTS)
