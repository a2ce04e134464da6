"""The target: whether an experiment can run on it, its classes, and their codes.

In: a validated table and the experiment. Out: UnusableTable with what fits instead; classes
as Python scalars; arrays that metrics and models take. Which rows lack a target is decided by
the validation, what the sets must hold by `split_sets`.
"""

from collections.abc import Iterable
from typing import NoReturn

import numpy as np
import pandas as pd

from experiment_pipeline.errors import UnusableTable, did_you_mean, listed
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.table.kinds import NUMERIC, kind_of

SETS_TO_FILL = 3


def check_target(validated: pd.DataFrame, spec: ExperimentSpec) -> None:
    """Check that the target exists, varies, and is what the task predicts.

    Raises:
        UnusableTable: it is absent, missing everywhere, constant, infinite, of a type or a
            number of classes that the task does not take, or a class has fewer rows than
            there are sets.
    """
    if spec.target not in validated.columns:
        known = did_you_mean(spec.target, validated.columns)
        _refuse(spec, f"the table has no such column; {known}", "Correct target in the YAML.")
    y = validated[spec.target].dropna()
    if y.empty:
        _refuse(spec, "it is missing in every row", "Deliver it, or name another column.")
    if kind_of(y) == "datetime":
        _refuse(spec, f"it holds {y.dtype}", "Predict a number or a class made of it.")
    if len(y.unique()) == 1:
        _refuse(
            spec,
            f"it is {y.iloc[0]!r} in all {len(y)} rows: there is nothing to learn",
            "Name another column, or deliver rows of every class.",
        )
    if spec.task == "regression":
        _check_number(y, spec)
    else:
        _check_classes(y, spec)


def check_metrics(y: pd.Series, spec: ExperimentSpec) -> None:
    """Check that every metric of the experiment can judge these targets (n,).

    Raises:
        UnusableTable: a target lies below what a metric is defined for.
    """
    for name in spec.metric_names:
        lowest = METRICS[name].lowest_target
        if spec.task == "regression" and (below := int((y < lowest).sum())):
            raise UnusableTable(
                f"metric {name}",
                f"it judges targets from {lowest:g} on, {spec.target} lies below in {below:,} of "
                f"{len(y):,} rows, the lowest is {y.min():g}",
                "Write another metric, such as rmse or mae, or reject these rows in schema.yaml.",
            )


def find_classes(train_y: pd.Series, spec: ExperimentSpec) -> tuple[Scalar, ...] | None:
    """Return the classes in the order of their codes; None for regression.

    They are sorted, so that the order depends on no row; for binary the positive class comes
    last: the one the YAML names, else the greater one (1, True, "yes").
    """
    if spec.task == "regression":
        return None
    values = train_y.dropna().unique().tolist()
    classes = sorted({plain(value) for value in values}, key=lambda v: (isinstance(v, str), v))
    if spec.positive_class is not None:
        classes.sort(key=lambda value: value == spec.positive_class)
    return tuple(classes)


def encode_target(y: pd.Series, classes: tuple[Scalar, ...] | None) -> np.ndarray:
    """Turn target values into what metrics take.

    Args:
        y: values (n,) without missing ones.
        classes: from `find_classes`; None for regression.

    Returns:
        float64 (n,) for regression, else int64 codes (n,): positions in `classes`.

    Raises:
        UnusableTable: a value is none of the classes.
    """
    if classes is None:
        return y.to_numpy(dtype=np.float64)
    positions, distinct = pd.factorize(y)
    known = pd.Index(classes, dtype=object).get_indexer(pd.Index([plain(v) for v in distinct]))
    # A missing value has position -1, and finds the -1 at the end.
    codes = np.append(known, -1)[positions]
    if (codes < 0).any():
        unknown = y[codes < 0].unique()
        raise UnusableTable(
            f"target {y.name}",
            f"{int((codes < 0).sum())} rows hold none of the classes {listed(classes)}: "
            f"{listed(unknown)}",
            "Reject unknown classes by isin in schema.yaml.",
        )
    return codes.astype(np.int64)


def _check_number(y: pd.Series, spec: ExperimentSpec) -> None:
    kind = kind_of(y)
    if kind == "boolean":
        _refuse(spec, "it holds true and false, no quantity", "Write task: binary.")
    if kind not in NUMERIC:
        classes = y.nunique()
        if pd.to_numeric(y.astype("str"), errors="coerce").notna().all():
            _refuse(
                spec,
                "its numbers are stored as text",
                f"Write preparation: types: {{{spec.target}: number}}.",
            )
        _refuse(
            spec,
            f"it holds {y.dtype} with {classes} distinct values, regression needs numbers",
            f"Write task: {'binary' if classes == 2 else 'multiclass'}, or declare how to read it "
            "in preparation.types.",
        )
    infinite = np.isinf(y.to_numpy(dtype=np.float64))
    if infinite.any():
        _refuse(
            spec,
            f"{infinite.sum()} rows are infinite, the first is row {y.index[infinite][0]}",
            f"Reject them in schema.yaml, by columns: {spec.target}: in_range, "
            "or correct them in the source.",
        )


def _check_classes(y: pd.Series, spec: ExperimentSpec) -> None:
    counts, kind = y.value_counts(), kind_of(y)
    if spec.task == "binary" and len(counts) != 2:
        numbers = kind in NUMERIC and len(counts) > 20
        fitting = "regression" if numbers else "multiclass"
        _refuse(
            spec,
            f"it has {len(counts)} classes, task binary needs 2: {listed(counts.index)}",
            f"Write task: {fitting}, or unite classes by preparation.categories.",
        )
    if kind == "float" and (y != np.floor(y)).any():
        _refuse(spec, "it holds fractions, which are no classes", "Write task: regression.")
    if spec.positive_class is not None and spec.positive_class not in set(y.tolist()):
        raise UnusableTable(
            f"positive_class {spec.positive_class!r}",
            f"{spec.target} never holds it; it holds {_typed(counts.index)}",
            "Write one of these, quoted if it is text.",
        )
    rare = counts[counts < SETS_TO_FILL]
    if len(rare):
        _refuse(
            spec,
            f"{len(rare)} of {len(counts)} classes have fewer than {SETS_TO_FILL} rows, so not "
            f"every set can hold one: {listed(rare.index)}",
            "Deliver more rows of them, unite them by preparation.categories, "
            "or reject them by notin in schema.yaml.",
        )


def _refuse(spec: ExperimentSpec, rule: str, fix: str) -> NoReturn:
    raise UnusableTable(f"target {spec.target}", rule, fix)


def plain(value: object) -> Scalar:
    """Return a Python scalar; a class 1.0 that missing values made a float is 1 again."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value  # type: ignore[return-value]


def _typed(values: Iterable[object]) -> str:
    return ", ".join(repr(plain(value)) for value in list(values)[:10])
