"""Rows that resemble others: equal features with different targets, copies, rows of one entity."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, Severity, Threshold
from experiment_pipeline.stages.data_analysis.subject import ROOM, Subject
from experiment_pipeline.statistics import metrics, scores
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of

_NAME = re.compile(
    r"(?:^|[_\W])(?:id|ids|key|nr|no)$|[a-z](?:Id|ID|Key|Nr|No)$|uuid$|guid$|.num$|.nbr$"
    r"|^(?:id|user|customer|client|patient|subject|person|account|member|device|machine"
    r"|vehicle|household|student|employee|session|store|sensor|engine)(?:$|[_\W]id$)",
)


def is_named_like_an_id(column: str) -> bool:
    """Whether a column has the name of an id: patient_id, tailnum, orderNo."""
    return bool(_NAME.search(column))


class ConflictingLabels(Rule):
    """Rows with the same features and different targets, and the best score they allow.

    The best prediction from the features is the share of each class (the mean, or the median for
    an absolute metric) among equal rows; its score on the same rows is a ceiling for every model.
    Rows without an equal count as perfectly predictable, so the true ceiling is lower.
    """

    code = "conflicting_labels"
    title = "Same features, different targets"
    advice = (
        "Add a column that distinguishes these rows, or correct their labels; no model can exceed "
        "the ceiling."
    )
    threshold = Threshold(
        0.01, 0, 1, "share of the target that equal features contradict, found above it"
    )

    def check(self, subject: Subject) -> Finding:
        target = subject.target
        if target.problem:
            return self.not_applicable(f"Nothing to predict: {target.problem}.")
        if not subject.features:
            return self.not_applicable("There is no feature.")
        groups = np.unique(subject.feature_hashes[target.rows], return_inverse=True)[1]
        repeated = int((np.bincount(groups)[groups] > 1).sum())
        if not repeated:
            reason = "No two rows outside of the validation set have equal features."
            return self.not_applicable(reason)
        share, limit = self._contradicted(subject, groups), self.limit(subject)
        metric = subject.spec.metric
        if not metrics.METRICS[metric].of_equals:
            metric = "r2" if subject.spec.task == "regression" else "accuracy"
        ceiling = scores.score(metric, target.y, self._best_prediction(subject, groups, metric))
        evidence = (
            f"{repeated:,} of {len(groups):,} rows share their features with another; equal "
            f"features contradict {numbers.share(share)} of the target, so {metric} can be "
            f"{ceiling:.4g} at best."
        )
        criteria = [each.limit for each in subject.spec.acceptance if each.metric == metric]
        beyond = [limit for limit in criteria if metrics.better(metric, limit, ceiling)]
        own = ceiling if metric == subject.spec.metric else None
        # With few possible combinations, different targets of equal rows are noise.
        room = subject.possible_combinations >= ROOM * len(subject.frame)
        severity: Severity | None = None
        if share > limit:
            severity = "condition" if room and subject.spec.task != "regression" else "note"
        if beyond:
            severity = "blocks"
            evidence += f" The acceptance criterion asks for {beyond[0]:g}."
        finding = self.judged(
            severity, evidence, columns=[subject.spec.target], number=share, threshold=limit
        )
        return replace(finding, ceiling=own)

    @staticmethod
    def _contradicted(subject: Subject, groups: np.ndarray) -> float:
        """Share of rows that differ from their group's mode; of the variance for a number."""
        y = subject.target.y
        if subject.spec.task == "regression":
            left = y - _mean(groups, y)[groups]
            return float(np.mean(left**2) / np.var(y))
        pairs = groups * subject.target.n_classes + y.astype(np.int64)
        pairs, rows = np.unique(pairs, return_counts=True)
        largest = np.zeros(int(groups.max()) + 1)
        np.maximum.at(largest, pairs // subject.target.n_classes, rows)
        return float(1 - largest.sum() / len(y))

    @staticmethod
    def _best_prediction(subject: Subject, groups: np.ndarray, metric: str) -> np.ndarray:
        y, task = subject.target.y, subject.spec.task
        if task == "multiclass":
            outcomes = subject.target.outcomes()
            return np.column_stack([_mean(groups, one)[groups] for one in outcomes])
        of_equals = _median if metrics.METRICS[metric].of_equals == "median" else _mean
        return np.asarray(of_equals(groups, y)[groups])


def _mean(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean (groups,) of each group's values."""
    return np.asarray(np.bincount(groups, weights=values) / np.bincount(groups))


def _median(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Lower median (groups,) of each group's values."""
    order = np.lexsort((values, groups))
    sizes = np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    return np.asarray(values[order][starts + (sizes - 1) // 2])


class DuplicateRows(Rule):
    """Rows that repeat another one in every column but the target, over all sets.

    Every split keeps them in one set, so they only count twice. In a table with few possible
    combinations equal rows are not copies, and the rule does not apply.
    """

    code = "duplicate_rows"
    title = "Rows that repeat another"
    advice = "Reject the copies, unless the same case can really occur twice."
    threshold = Threshold(0.01, 0, 1, "share of rows that repeat another, found above it")

    def check(self, subject: Subject) -> Finding:
        if subject.spec.validation.duplicate_rows == "reject":
            return self.not_applicable("The validation rejects rows that repeat another.")
        combinations, rows = subject.possible_combinations, len(subject.frame)
        if not rows:
            return self.not_applicable("The table has no row.")
        if combinations < ROOM * rows:
            return self.not_applicable(
                f"The features allow only {combinations:,.0f} combinations for {rows:,} rows, so "
                "equal rows need not be copies."
            )
        distinct = len(np.unique(subject.whole_row_hashes))
        share, limit = 1 - distinct / rows, self.limit(subject)
        evidence = (
            f"{rows - distinct:,} of {rows:,} rows ({numbers.share(share)}) repeat an earlier one."
        )
        return self.judged(
            None if share <= limit else "note",
            evidence,
            number=share,
            threshold=limit,
            fix={"validation": {"duplicate_rows": "reject"}},
        )


class RepeatedEntities(Rule):
    """Several rows of one customer, patient or machine: a random split lets models recognise them.

    A column names entities when its values repeat and it has the name of an id, or when it is a
    text that determines at least two other columns. The intraclass correlation of the target
    (one-way analysis of variance; Shrout and Fleiss 1979, ICC(1)) measures how similar the rows of
    an entity are. Excluded columns count too: models recognise an entity by its other features.
    """

    code = "repeated_entities"
    title = "Entities with several rows"
    advice = (
        "If the model will meet entities it has not seen, keep the rows of one entity in one set."
    )
    threshold = Threshold(0.1, 0, 1, "intraclass correlation of the target, a condition from it")
    _fewest_entities = 20
    _fewest_fixed = 2
    _rows_for_fixed = 20_000
    _columns_for_fixed = 100

    @dataclass(frozen=True)
    class Entity:
        """A column that names entities; `likeness` is the intraclass correlation (-1 to 1)."""

        column: str
        distinct: int
        rows_each: float
        likeness: float

        def __str__(self) -> str:
            return (
                f"{numbers.shown(self.column)} ({self.distinct:,} entities, {self.rows_each:.3g} rows "
                f"each, intraclass correlation of the target {self.likeness:.2f})"
            )

    def check(self, subject: Subject) -> Finding:
        split = subject.spec.split
        if subject.target.problem:
            return self.not_applicable(f"Nothing to compare: {subject.target.problem}.")
        if split.by == "group":
            return self.not_applicable(f"The split keeps {numbers.shown(split.column)} together.")
        limit = self.limit(subject)
        judged = [self._entity(subject, column, limit) for column in self._candidates(subject)]
        entities = sorted((e for e in judged if e), key=lambda entity: -entity.likeness)
        if not entities:
            return self.not_found("No column names entities that repeat.", threshold=limit)
        alike = entities[0].likeness >= limit
        random = split.by == "random"
        return self.found(
            "condition" if alike and random else "note",
            f"Values repeat in {numbers.some_of(list(map(str, entities)), most=3)}.",
            columns=[entity.column for entity in entities],
            number=entities[0].likeness,
            threshold=limit,
            fix={"split": {"by": "group", "column": entities[0].column}} if random else None,
        )

    def _candidates(self, subject: Subject) -> list[str]:
        """Text and whole-number columns with 20 or more values of two or more rows on average."""
        split_column = getattr(subject.spec.split, "column", None)
        names = [c for c in subject.frame.columns if c not in {subject.spec.target, split_column}]
        return [name for name in names if self._repeats(name, subject.frame[name])]

    def _repeats(self, name: str, column: pd.Series) -> bool:
        kind = kind_of(column)
        if kind not in TEXTS and not (is_named_like_an_id(name) and kind in NUMERIC):
            return False
        if kind in NUMERIC:
            known = column.dropna().to_numpy(dtype=np.float64)
            if not np.all(known == np.trunc(known)):
                return False
        return bool(self._fewest_entities <= column.nunique() <= column.notna().sum() / 2)

    def _entity(self, subject: Subject, column: str, limit: float) -> Entity | None:
        codes = pd.factorize(subject.frame[column].iloc[subject.target.rows])[0]
        known = codes >= 0
        y = subject.target.y.astype(np.float64)
        if subject.spec.task == "multiclass":  # whether it is the most frequent class
            y = (y == np.bincount(y.astype(np.int64)).argmax()).astype(np.float64)
        likeness = _intraclass_correlation(codes[known], y[known])
        named = is_named_like_an_id(column)
        if not named and (
            likeness < limit or self._fixed_columns(subject, column) < self._fewest_fixed
        ):
            return None
        distinct = int(subject.frame[column].nunique())
        rows_each = float(subject.frame[column].notna().sum() / distinct)
        return self.Entity(column, distinct, rows_each, likeness)

    def _fixed_columns(self, subject: Subject, column: str) -> int:
        """Number of other varying features with one value per entity, on at most 20,000 rows."""
        rows = subject.sample(np.arange(len(subject.frame)), self._rows_for_fixed)
        sample = subject.frame.iloc[rows]
        codes = pd.factorize(sample[column])[0]
        fixed = 0
        for other in subject.features[: self._columns_for_fixed]:
            values = pd.factorize(sample[other])[0]
            if other != column and values.max(initial=0) >= 2:
                pairs = np.unique(codes.astype(np.int64) * (len(rows) + 1) + values + 1)
                fixed += len(pairs) == len(np.unique(codes))
        return fixed


def _intraclass_correlation(codes: np.ndarray, y: np.ndarray) -> float:
    sizes = np.bincount(codes)
    sizes, groups, rows = sizes[sizes > 0], int((sizes > 0).sum()), len(y)
    if groups < 2 or rows <= groups or np.ptp(y) == 0:
        return 0.0
    means = np.bincount(codes, weights=y)[np.bincount(codes) > 0] / sizes
    between = float(np.sum(sizes * (means - y.mean()) ** 2)) / (groups - 1)
    within = float(np.sum((y - y.mean()) ** 2) - (groups - 1) * between) / (rows - groups)
    usual_size = (rows - float(np.sum(sizes**2)) / rows) / (groups - 1)
    spread = between + (usual_size - 1) * within
    return (between - within) / spread if spread > 0 else 0.0


RULES = (ConflictingLabels(), DuplicateRows(), RepeatedEntities())
