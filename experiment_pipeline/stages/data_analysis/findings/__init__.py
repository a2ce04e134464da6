"""All rules, in the order in which they are examined: one module per finding code.

A rule about the table is `check(subject)`, one about the probe `check(subject, probe)`; each
returns exactly one Finding. A test holds that the modules, the codes of `catalogue.py` and
the test files are the same.
"""

from collections.abc import Callable

from experiment_pipeline.stages.data_analysis.finding import Finding
from experiment_pipeline.stages.data_analysis.findings import (
    absurd_magnitudes,
    all_missing_column,
    almost_unique_column,
    category_variants,
    class_imbalance,
    conflicting_labels,
    constant_column,
    criterion_out_of_reach,
    dates_as_text,
    drift_over_time,
    duplicate_rows,
    high_cardinality,
    infinite_values,
    leak_suspect,
    made_of_target,
    missing_values,
    mixed_types,
    near_duplicate_columns,
    numbers_as_text,
    outliers,
    placeholder_values,
    probe_nearly_perfect,
    probe_no_better_than_baseline,
    rare_categories,
    repeated_entities,
    skewed_column,
    target_constant,
    target_looks_like_another_task,
    target_missing,
    telling_missing_values,
    too_few_rows,
    too_few_rows_per_class,
    too_many_classes,
)
from experiment_pipeline.stages.data_analysis.probe import NoProbe, Probe
from experiment_pipeline.stages.data_analysis.subject import Subject

TABLE_RULES: tuple[Callable[[Subject], Finding], ...] = (
    target_missing.check,
    target_constant.check,
    target_looks_like_another_task.check,
    too_many_classes.check,
    too_few_rows_per_class.check,
    class_imbalance.check,
    too_few_rows.check,
    leak_suspect.check,
    made_of_target.check,
    telling_missing_values.check,
    conflicting_labels.check,
    duplicate_rows.check,
    repeated_entities.check,
    drift_over_time.check,
    all_missing_column.check,
    constant_column.check,
    almost_unique_column.check,
    mixed_types.check,
    numbers_as_text.check,
    dates_as_text.check,
    placeholder_values.check,
    infinite_values.check,
    absurd_magnitudes.check,
    outliers.check,
    skewed_column.check,
    missing_values.check,
    category_variants.check,
    rare_categories.check,
    high_cardinality.check,
    near_duplicate_columns.check,
)
PROBE_RULES: tuple[Callable[[Subject, Probe | NoProbe], Finding], ...] = (
    probe_no_better_than_baseline.check,
    probe_nearly_perfect.check,
    criterion_out_of_reach.check,
)
