"""Rows that resemble others (equal features, copies, the same entity), and drift over
time.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.facts import is_named_like_an_id
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    Severity,
    Threshold,
)
from experiment_pipeline.stages.data_analysis.subject import ROOM, Subject
from experiment_pipeline.statistics import metrics, scores
from experiment_pipeline.statistics.distances import number_distance, share_distance
from experiment_pipeline.table.digests import row_hashes
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of
from experiment_pipeline.table.preparation import calendar_columns
from experiment_pipeline.table.samples import distance


class ConflictingLabels(Rule):
    """Rows with the same features and different targets, and the best score that they
    allow.

    Rows whose features occur once count as perfectly predictable, so the true ceiling
    is lower.
    """

    code, title = "conflicting_labels", "Same features, different targets"
    advice = "Add a column that tells these rows apart, or correct their labels."
    threshold = Threshold(0.01, 0, 1, "share of contradicted targets, found above it")

    def check(self, subject: Subject) -> Finding:
        target, task, y = subject.target, subject.spec.task, subject.target.y
        if target.problem:
            return self.not_applicable(f"Nothing to predict: {target.problem}.")
        if not subject.features:
            return self.not_applicable("There is no feature.")
        hashes = row_hashes(subject.frame, subject.features, "features", target.rows)
        groups = np.unique(hashes, return_inverse=True)[1]
        sizes = np.bincount(groups)
        repeated = int((sizes[groups] > 1).sum())
        if not repeated:
            return self.not_applicable("No two visible rows have equal features.")
        means = [np.bincount(groups, one) / sizes for one in target.outcomes()]
        outcomes = np.column_stack(means)[groups]
        if task == "regression":
            share = float(np.mean((y - outcomes[:, 0]) ** 2) / np.var(y))
        else:  # rows that differ from the mode of their group
            share = float(1 - outcomes.max(axis=1).mean())
        metric = subject.spec.metric
        if not metrics.metric_of(metric).of_equals:
            metric = "r2" if task == "regression" else "accuracy"
        best = outcomes[:, -1] if task != "multiclass" else outcomes
        if metrics.metric_of(metric).of_equals == "median":
            best = (
                pd.Series(y)
                .groupby(groups)
                .quantile(interpolation="lower")
                .to_numpy()[groups]
            )
        ceiling = scores.score(metric, y, best)
        evidence = (
            f"{repeated:,} of {len(groups):,} rows share their features with another; equal "
            f"features contradict {numbers.share(share)} of the target, so {metric} can be "
            f"{ceiling:.4g} at best."
        )
        # With few possible combinations, different targets of equal rows are noise.
        room = subject.possible_combinations >= ROOM * len(subject.frame)
        limit = self.limit(subject)
        severity: Severity | None = None
        if share > limit:
            severity = "condition" if room and task != "regression" else "note"
        for each in subject.spec.acceptance:
            if each.metric == metric and metrics.better(metric, each.limit, ceiling):
                severity = "blocks"
                evidence += f" The acceptance criterion asks for {each.limit:g}."
        finding = self.found(severity, evidence, share, limit, [subject.spec.target])
        return replace(
            finding, ceiling=ceiling if metric == subject.spec.metric else None
        )


class DuplicateRows(Rule):
    """Rows that repeat another one in all columns but the target: they are in one set,
    and count twice.
    """

    code, title = "duplicate_rows", "Rows that repeat another"
    advice = "Reject the copies, unless the same case can really occur twice."
    threshold = Threshold(
        0.01, 0, 1, "share of rows that repeat another, found above it"
    )

    def check(self, subject: Subject) -> Finding:
        if subject.spec.validation.duplicate_rows == "reject":
            return self.not_applicable(
                "The validation rejects rows that repeat another."
            )
        combinations, rows = subject.possible_combinations, len(subject.frame)
        if not rows or combinations < ROOM * rows:
            few = f"The features allow only {combinations:,.0f} combinations for {rows:,} rows."
            return self.not_applicable(few)
        columns = [
            name for name in subject.frame.columns if name != subject.spec.target
        ]
        distinct = len(np.unique(row_hashes(subject.frame, columns, "duplicates")))
        share, limit = 1 - distinct / rows, self.limit(subject)
        return self.found(
            "note" if share > limit else None,
            f"{rows - distinct:,} of {rows:,} rows ({numbers.share(share)}) repeat an earlier one.",
            share,
            limit,
            fix={"validation": {"duplicate_rows": "reject"}},
        )


class RepeatedEntities(Rule):
    """Several rows of one customer, patient or machine: a random split lets models
    recognise them.

    How similar an entity's rows are: intraclass correlation (Shrout and Fleiss 1979,
    ICC(1)).
    """

    code, title = "repeated_entities", "Entities with several rows"
    advice = (
        "If the model will meet new entities, keep the rows of one entity in one set."
    )
    threshold = Threshold(
        0.1, 0, 1, "intraclass correlation of the target, a condition from it"
    )
    _fewest_entities, _fewest_fixed = 20, 2
    _rows_for_fixed, _columns_for_fixed = 20_000, 100

    def check(self, subject: Subject) -> Finding:
        split = subject.spec.split
        if subject.target.problem:
            return self.not_applicable(f"Nothing to compare: {subject.target.problem}.")
        if split.by == "group":
            return self.not_applicable(
                f"The split keeps {numbers.shown(split.column)} together."
            )
        limit = self.limit(subject)
        likeness: dict[str, float] = {}
        y = subject.target.y.astype(np.float64)
        if subject.spec.task == "multiclass":  # whether it is the most frequent class
            y = (y == np.bincount(y.astype(np.int64)).argmax()).astype(np.float64)
        for name in subject.frame.columns:
            own = name in {subject.spec.target, getattr(split, "column", None)}
            if own or not self._repeats(name, subject.frame[name]):
                continue
            codes = pd.factorize(subject.frame[name].iloc[subject.target.rows])[0]
            known = codes >= 0
            alike = _intraclass_correlation(codes[known], y[known])
            if is_named_like_an_id(name) or (
                alike >= limit
                and self._fixed_columns(subject, name) >= self._fewest_fixed
            ):
                likeness[name] = alike
        if not likeness:
            return self.not_found(
                "No column names entities that repeat.", threshold=limit
            )
        columns = sorted(likeness, key=lambda name: -likeness[name])
        each = []
        for name in columns:
            distinct, rows = (
                subject.frame[name].nunique(),
                subject.frame[name].notna().sum(),
            )
            each.append(
                f"{numbers.shown(name)} ({distinct:,} entities, {rows / distinct:.3g} rows each, "
                f"intraclass correlation of the target {likeness[name]:.2f})"
            )
        random = split.by == "random"
        return self.found(
            "condition" if likeness[columns[0]] >= limit and random else "note",
            f"Values repeat in {numbers.some_of(each, most=3)}.",
            likeness[columns[0]],
            limit,
            columns,
            {"split": {"by": "group", "column": columns[0]}} if random else None,
        )

    def _repeats(self, name: str, column: pd.Series) -> bool:
        """Whether it is a text or whole id with 20 or more values of two or more rows
        on average.
        """
        kind = kind_of(column)
        if kind not in TEXTS and not (is_named_like_an_id(name) and kind in NUMERIC):
            return False
        if kind in NUMERIC:
            known = column.dropna().to_numpy(dtype=np.float64)
            if not np.all(known == np.trunc(known)):
                return False
        return bool(
            self._fewest_entities <= column.nunique() <= column.notna().sum() / 2
        )

    def _fixed_columns(self, subject: Subject, column: str) -> int:
        """Number of other varying features with one value per entity, on at most 20,000
        rows.
        """
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
    within = float(np.sum((y - y.mean()) ** 2) - (groups - 1) * between) / (
        rows - groups
    )
    usual_size = (rows - float(np.sum(sizes**2)) / rows) / (groups - 1)
    spread = between + (usual_size - 1) * within
    return (between - within) / spread if spread > 0 else 0.0


class DriftOverTime(Rule):
    """Columns, or the target, that change over time: the first third of the moments
    against the last.

    Kolmogorov-Smirnov distance for numbers, total variation for texts.
    """

    code, title = "drift_over_time", "Columns that change over time"
    advice = "If the model will predict the future, split by time."
    threshold = Threshold(0.3, 0, 1, "distance of early and late, found from it")
    _most_rows, _most_columns = 20_000, 500
    # From this distance on, another date moves along with the time, as a delivery
    # follows its order.
    _same_time = 0.9

    def check(self, subject: Subject) -> Finding:
        frame, spec = subject.frame, subject.spec
        times = [str(c) for c in frame.columns if kind_of(frame[c]) == "datetime"]
        if spec.split.by == "time":
            times = [spec.split.column]
        if not times:
            return self.not_applicable("There is no datetime column.")
        early, late = self._thirds(subject, times[0], np.arange(len(frame)))
        if not early.size or not late.size:
            return self.not_applicable(
                f"{numbers.shown(times[0])} has too few different moments."
            )

        def apart(column: str) -> float:
            return distance(frame[column].iloc[early], frame[column].iloc[late])

        parts = {
            new
            for date, declared in spec.preparation.calendar.items()
            if date == times[0] or apart(date) >= self._same_time
            for part in declared
            for new in calendar_columns(date, part)
        }
        measured = {
            column: apart(column)
            for column in subject.features[: self._most_columns]
            if kind_of(frame[column]) in NUMERIC | TEXTS and column not in parts
        }
        drifts = dict(sorted(measured.items(), key=lambda item: -item[1]))
        target = self._target_drift(subject, times[0])
        limit, random = self.limit(subject), spec.split.by == "random"
        columns = [spec.target] if target >= limit else []
        columns += [column for column, value in drifts.items() if value >= limit]
        each = numbers.some_of(
            [f"{numbers.shown(c)} {value:.2f}" for c, value in drifts.items()]
        )
        changed: Severity = "condition" if random else "note"
        return self.found(
            changed if columns else None,
            f"Distance between first and last third by {numbers.shown(times[0])} (0: alike, 1: "
            f"disjoint): target {target:.2f}; features {each or 'none'}.",
            max([target, *drifts.values()]),
            limit,
            columns,
            {"split": {"by": "time", "column": times[0]}} if random else None,
        )

    def _thirds(
        self, subject: Subject, time: str, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """At most 20,000 positions each of the first and last third, cut between
        moments.
        """
        moments = pd.factorize(subject.frame[time].iloc[rows], sort=True)[0]
        known, moments = rows[moments >= 0], moments[moments >= 0]
        if not known.size:
            return known, known
        ordered = np.sort(moments)
        first, last = ordered[len(ordered) // 3], ordered[-(len(ordered) // 3) - 1]
        early = subject.sample(known[moments < first], self._most_rows)
        return early, subject.sample(known[moments > last], self._most_rows)

    def _target_drift(self, subject: Subject, time: str) -> float:
        """Distance between the targets of the first and the last third; 0 where there
        is none.
        """
        early, late = self._thirds(subject, time, subject.target.rows)
        if not early.size or not late.size:
            return 0.0
        first, last = subject.target.of(early), subject.target.of(late)
        if subject.spec.task == "regression":
            return number_distance(first, last)
        classes = subject.target.n_classes
        counts = (
            np.bincount(part.astype(int), minlength=classes) for part in (first, last)
        )
        return share_distance(*counts)


RULES = (ConflictingLabels(), DuplicateRows(), RepeatedEntities(), DriftOverTime())
