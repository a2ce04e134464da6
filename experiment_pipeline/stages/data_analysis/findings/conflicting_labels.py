"""Rows with the same features and different targets, and the best score they allow.

No function of the features can tell such rows apart. Its best prediction is the share of
each class (the mean, or the median where the metric is absolute) among equal rows; the score
of that prediction on these very rows is a ceiling. Rows that have no equal count as perfectly
predictable, so the true ceiling is lower.
"""

from dataclasses import replace

import numpy as np

from experiment_pipeline.spec import Criterion
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, Severity, percent
from experiment_pipeline.stages.data_analysis.subject import ROOM, Subject
from experiment_pipeline.statistics import metrics, scores

RULE = Rule(
    "conflicting_labels",
    "Same features, different targets",
    "Add a column that tells these rows apart, or correct their labels; no model can exceed "
    "the ceiling.",
)


def check(subject: Subject) -> Finding:
    """Measure the disagreement within rows of equal features; blocks a criterion above it."""
    target = subject.target
    if target.problem:
        return RULE.not_applicable(f"Nothing to predict: {target.problem}.")
    if not subject.features:
        return RULE.not_applicable("There is no feature.")
    groups = np.unique(subject.feature_hashes[target.rows], return_inverse=True)[1]
    repeated = int((np.bincount(groups)[groups] > 1).sum())
    if not repeated:
        return RULE.not_applicable("No two rows outside of the validation set have equal features.")
    share, limit = _contradicted(subject, groups), subject.threshold(RULE.code)
    metric = _metric(subject)
    ceiling = scores.score(metric, target.y, _best_prediction(subject, groups, metric))
    evidence = (
        f"{repeated:,} of {len(groups):,} rows share their features with another; equal features "
        f"contradict {percent(share)} of the target, so {metric} can be {ceiling:.4g} at best."
    )
    beyond = _criterion_beyond(subject, metric, ceiling)
    own = ceiling if metric == subject.spec.metric else None
    if share <= limit and beyond is None:
        finding = RULE.not_found(evidence, number=share, threshold=limit)
        return replace(finding, ceiling=own)
    # Where few combinations exist, equal rows that differ are noise, not wrong labels.
    room = subject.possible_combinations >= ROOM * len(subject.frame)
    severity: Severity = "condition" if room and subject.spec.task != "regression" else "note"
    if beyond is not None:
        severity = "blocks"
        wanted = beyond.at_least if beyond.at_least is not None else beyond.at_most
        evidence += f" The acceptance criterion asks for {wanted:g}."
    finding = RULE.found(
        severity, evidence, columns=[subject.spec.target], number=share, threshold=limit
    )
    return replace(finding, ceiling=own)


def _contradicted(subject: Subject, groups: np.ndarray) -> float:
    """Share of rows that differ from their group's mode; of the variance for a number."""
    y = subject.target.y
    if subject.spec.task == "regression":
        left = y - _mean(groups, y)[groups]
        return float(np.mean(left**2) / np.var(y))
    pairs = np.unique(groups * subject.target.n_classes + y.astype(np.int64), return_counts=True)
    largest = np.zeros(int(groups.max()) + 1)
    np.maximum.at(largest, pairs[0] // subject.target.n_classes, pairs[1])
    return float(1 - largest.sum() / len(y))


def _best_prediction(subject: Subject, groups: np.ndarray, metric: str) -> np.ndarray:
    y, task = subject.target.y, subject.spec.task
    if task == "multiclass":
        classes = range(subject.target.n_classes)
        return np.column_stack([_mean(groups, y == code)[groups] for code in classes])
    best: np.ndarray = (_median if metrics.METRICS[metric].of_equals == "median" else _mean)(
        groups, y
    )[groups]
    return best


def _mean(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean (groups,) of each group's values."""
    return np.asarray(np.bincount(groups, weights=values) / np.bincount(groups))


def _median(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Lower median (groups,) of each group's values."""
    order = np.lexsort((values, groups))
    sizes = np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    return np.asarray(values[order][starts + (sizes - 1) // 2])


def _metric(subject: Subject) -> str:
    if metrics.METRICS[subject.spec.metric].of_equals:
        return subject.spec.metric
    return "r2" if subject.spec.task == "regression" else "accuracy"


def _criterion_beyond(subject: Subject, metric: str, ceiling: float) -> Criterion | None:
    for criterion in subject.spec.acceptance:
        if criterion.metric == metric:
            limit = criterion.at_least if criterion.at_least is not None else criterion.at_most
            if limit is not None and metrics.better(metric, limit, ceiling):
                return criterion
    return None
