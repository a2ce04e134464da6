"""The CatBoost parameters that a configuration may set, and those it may not."""

from experiment_pipeline.stages.search.learners.parameter_names import ParameterNames, name_table

_ACCEPTED = name_table("""
auto_class_weights
bagging_temperature
boost_from_average
boosting_type
bootstrap_type
border_count max_bin
counter_calc_method
ctr_leaf_count_limit
diffusion_temperature
early_stopping_round early_stopping_rounds od_wait
feature_border_type
fold_len_multiplier
grow_policy
l2_leaf_reg reg_lambda
langevin
leaf_estimation_backtracking
leaf_estimation_iterations
leaf_estimation_method
learning_rate eta
loss_function objective
max_ctr_complexity
max_depth depth
max_leaves num_leaves
min_data_in_leaf min_child_samples
model_shrink_mode
model_shrink_rate
model_size_reg
mvs_reg
nan_mode
num_iterations iterations n_estimators num_boost_round num_trees
one_hot_max_size
posterior_sampling
random_score_type
random_strength
rsm colsample_bylevel
sampling_frequency
scale_pos_weight
score_function
subsample
""")
# They decide determinism, or what the experiment or the encoding decides for every configuration.
_RESERVED = name_table("""
allow_const_label
allow_writing_files
best_model_min_trees
callback
cat_features
class_names
classes_count
custom_loss custom_metric
device_config devices
eval_fraction
eval_metric
has_time
ignored_features
logging_level
metadata
metric_period
name
od_pval
od_type
random_seed random_state
save_snapshot
silent
snapshot_file
snapshot_interval
task_type
thread_count
train_dir
use_best_model
used_ram_limit
verbose
""")
_OBJECTIVES = {
    "binary": ("Logloss",),
    "multiclass": ("MultiClass", "MultiClassOneVsAll"),
    "regression": (
        *("RMSE", "MAE", "MAPE", "Quantile", "Huber", "LogCosh", "Expectile"),
        *("Poisson", "Tweedie"),
    ),
}
_TEXTS = frozenset(
    {
        *("auto_class_weights", "boosting_type", "bootstrap_type", "counter_calc_method"),
        *("feature_border_type", "grow_policy", "leaf_estimation_backtracking", "score_function"),
        *("leaf_estimation_method", "model_shrink_mode", "nan_mode", "random_score_type"),
        "sampling_frequency",
    }
)
NAMES = ParameterNames("catboost", _ACCEPTED, _RESERVED, "loss_function", _OBJECTIVES, _TEXTS)
