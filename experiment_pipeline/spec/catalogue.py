"""The names that a YAML may use about the data analysis: finding codes and thresholds.

Imports nothing heavy, because `spec.py` checks every YAML against it when definitions load.
What a code means is in `findings/<code>.py`. Codes are stable: histories and `accept`
refer to them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from experiment_pipeline.errors import did_you_mean

# Findings about the table alone, in the order in which they are examined and listed.
TABLE_CODES = (
    "target_missing",
    "target_constant",
    "target_looks_like_another_task",
    "too_many_classes",
    "too_few_rows_per_class",
    "class_imbalance",
    "too_few_rows",
    "leak_suspect",
    "made_of_target",
    "telling_missing_values",
    "conflicting_labels",
    "duplicate_rows",
    "repeated_entities",
    "drift_over_time",
    "all_missing_column",
    "constant_column",
    "almost_unique_column",
    "mixed_types",
    "numbers_as_text",
    "dates_as_text",
    "placeholder_values",
    "infinite_values",
    "absurd_magnitudes",
    "outliers",
    "skewed_column",
    "missing_values",
    "category_variants",
    "rare_categories",
    "high_cardinality",
    "near_duplicate_columns",
)
# Findings about what the probe measured.
PROBE_CODES = (
    "probe_no_better_than_baseline",
    "probe_nearly_perfect",
    "criterion_out_of_reach",
)
CODES = TABLE_CODES + PROBE_CODES


@dataclass(frozen=True)
class Threshold:
    """A number that the YAML may change: `<code>`, or `<code>_blocks` for the severe level.

    Attributes:
        default: its value when the YAML says nothing.
        low, high: the values that make sense, both included.
        meaning: what is compared with it.
    """

    default: float
    low: float
    high: float
    meaning: str


_MANY = 1e12

THRESHOLDS: Mapping[str, Threshold] = {
    "target_missing": Threshold(0.05, 0, 1, "share of rows without a target, found above it"),
    "target_missing_blocks": Threshold(0.5, 0, 1, "share of rows without a target, blocks above"),
    "target_looks_like_another_task": Threshold(
        10, 2, _MANY, "distinct values of a regression target, found up to it"
    ),
    "too_many_classes": Threshold(100, 2, _MANY, "classes, found above it"),
    "too_few_rows_per_class": Threshold(10, 1, _MANY, "rows of a class in a set, found below it"),
    "class_imbalance": Threshold(0.05, 0, 0.5, "share of the rarest class, found below it"),
    "too_few_rows": Threshold(10, 0, _MANY, "train rows per feature, found below it"),
    "too_few_rows_blocks": Threshold(30, 2, _MANY, "rows of the table, blocks below it"),
    "leak_suspect": Threshold(0.9, 0, 1, "skill of a one-feature model, found from it"),
    "leak_suspect_blocks": Threshold(0.99, 0, 1, "skill of a one-feature model, blocks from it"),
    "telling_missing_values": Threshold(
        0.95, 0.5, 1, "skill of saying the same of all rows that miss the value, found from it"
    ),
    "conflicting_labels": Threshold(
        0.01, 0, 1, "share of the target that equal features contradict, found above it"
    ),
    "duplicate_rows": Threshold(0.01, 0, 1, "share of rows that repeat another, found above it"),
    "repeated_entities": Threshold(
        0.1, 0, 1, "intraclass correlation of the target, a condition from it"
    ),
    "drift_over_time": Threshold(0.3, 0, 1, "distance of early and late, found from it"),
    "almost_unique_column": Threshold(0.95, 0.5, 1, "distinct values per row, found from it"),
    "mixed_types": Threshold(0.05, 0, 0.5, "share of the rarer kind of value, found from it"),
    "numbers_as_text": Threshold(0.95, 0.5, 1, "share of texts that are numbers, found from it"),
    "dates_as_text": Threshold(0.95, 0.5, 1, "share of texts that are dates, found from it"),
    "placeholder_values": Threshold(0.001, 0, 1, "share of rows with it, found from it"),
    "absurd_magnitudes": Threshold(
        1000, 10, 1e30, "largest magnitude over the 99th percentile, found above it"
    ),
    "outliers": Threshold(10, 1.5, 1e6, "interquartile ranges from a quartile, found above it"),
    "skewed_column": Threshold(10, 1, 1e6, "skewness in absolute value, found above it"),
    "missing_values": Threshold(0.5, 0, 1, "share of missing values, found above it"),
    "rare_categories": Threshold(10, 2, _MANY, "rows of a category, rare below it"),
    "high_cardinality": Threshold(100, 2, _MANY, "distinct texts, found above it"),
    "near_duplicate_columns": Threshold(0.999, 0.5, 1, "rank correlation, found from it"),
    "probe_no_better_than_baseline": Threshold(
        2, 0, 100, "standard errors between probe and baseline, found below it"
    ),
    "probe_nearly_perfect": Threshold(0.995, 0, 1, "skill of the best probe, found from it"),
    "criterion_out_of_reach": Threshold(
        0.25, 0, 1e6, "gain still missing over the gain of the probe, found above it"
    ),
}


def check_codes(codes: Iterable[str]) -> None:
    """Raise ValueError when one of the codes is the code of no finding."""
    for code in codes:
        _check_known(code, CODES, "finding code")


def check_thresholds(values: Mapping[str, float]) -> None:
    """Raise ValueError for an unknown threshold or one outside its sensible range."""
    for name, value in values.items():
        _check_known(name, THRESHOLDS, "threshold")
        limit = THRESHOLDS[name]
        if not limit.low <= value <= limit.high:
            raise ValueError(
                f"threshold {name} is {value:g}; it is the {limit.meaning}: "
                f"write a number from {limit.low:g} to {limit.high:g}"
            )


def _check_known(name: str, known: Iterable[str], what: str) -> None:
    names = tuple(known)
    if name not in names:
        raise ValueError(f"{name!r} is no {what}; {did_you_mean(name, names)}")
