"""Rows that resemble others (equal, copies, of one entity), and drift over time."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.facts import is_named_like_an_id
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    Severity,
    TargetRule,
    Threshold,
    described,
)
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics import metrics, scores
from experiment_pipeline.statistics.distances import number_distance, share_distance
from experiment_pipeline.table.digests import row_hashes
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of
from experiment_pipeline.table.preparation import calendar_columns
from experiment_pipeline.table.samples import distance


class ConflictingLabels(TargetRule):
    """Rows with the same features and different targets, and the best score they allow.

    Rows whose features occur once count as perfectly predictable, so the true ceiling
    is lower.
    """

    code = "conflicting_labels"
    title = "Same features, different targets"
    advice = "Add a column that tells these rows apart, or correct their labels."
    threshold = Threshold(0.01, 0, 1, "share of contradicted targets, found above it")

    def examine(self, subject: Subject) -> Finding:
        target, spec = subject.target, subject.spec
        if not subject.features:
            return self.not_applicable("There is no feature.")
        hashes = row_hashes(subject.frame, subject.features, "features", target.rows)
        groups = np.unique(hashes, return_inverse=True)[1]
        sizes = np.bincount(groups)
        repeated = int((sizes[groups] > 1).sum())
        if not repeated:
            return self.not_applicable("No two visible rows have equal features.")
        means = np.column_stack(
            [np.bincount(groups, outcome) / sizes for outcome in target.outcomes()]
        )[groups]
        share = _contradicted(target.y, means, regression=spec.task == "regression")
        metric, ceiling = self._ceiling(subject, groups, means)
        evidence = (
            f"{repeated:,} of {len(groups):,} rows share their features with another; "
            f"equal features contradict {numbers.share(share)} of the target, so "
            f"{metric} can be {ceiling:.4g} at best."
        )
        limit = self.limit(subject)
        severity = self._severity(subject) if share > limit else None
        for criterion in spec.acceptance:
            out_of_reach = metrics.better(metric, criterion.limit, ceiling)
            if criterion.metric == metric and out_of_reach:
                severity = "blocks"
                evidence += f" The acceptance criterion asks for {criterion.limit:g}."
        finding = self.found(severity, evidence, share, limit, [spec.target])
        return replace(finding, ceiling=ceiling if metric == spec.metric else None)

    def _severity(self, subject: Subject) -> Severity:
        # With few possible combinations, different targets of equal rows are noise.
        regression = subject.spec.task == "regression"
        is_noise = regression or subject.may_repeat_by_chance
        return "note" if is_noise else "condition"

    def _ceiling(
        self, subject: Subject, groups: np.ndarray, means: np.ndarray
    ) -> tuple[str, float]:
        """The best score of predictions that are the same in each group.

        Of the experiment's metric, or of another where that has no best prediction.
        """
        task, metric, y = subject.spec.task, subject.spec.metric, subject.target.y
        if not metrics.metric_of(metric).of_equals:
            metric = "r2" if task == "regression" else "accuracy"
        best = means if task == "multiclass" else means[:, -1]
        if metrics.metric_of(metric).of_equals == "median":
            by_group = pd.Series(y).groupby(groups)
            best = by_group.quantile(interpolation="lower").to_numpy()[groups]
        return metric, scores.score(metric, y, best)


def _contradicted(y: np.ndarray, means: np.ndarray, *, regression: bool) -> float:
    """Share of the targets (n,) that the means (n, k) of equal rows do not give."""
    if regression:
        return float(np.mean((y - means[:, 0]) ** 2) / np.var(y))
    return float(1 - means.max(axis=1).mean())  # rows beside the mode of their group


class DuplicateRows(Rule):
    """Rows that repeat another one in all columns but the target, and count twice."""

    code = "duplicate_rows"
    title = "Rows that repeat another"
    advice = "Reject the copies, unless the same case can really occur twice."
    threshold = Threshold(
        0.01, 0, 1, "share of rows that repeat another, found above it"
    )

    def check(self, subject: Subject) -> Finding:
        frame, target = subject.frame, subject.spec.target
        rows = len(frame)
        if subject.spec.validation.duplicate_rows == "reject":
            reason = "The validation rejects rows that repeat another."
            return self.not_applicable(reason)
        if not rows or subject.may_repeat_by_chance:
            few = f"{subject.possible_combinations:,.0f} combinations"
            return self.not_applicable(
                f"The features allow only {few} for {rows:,} rows."
            )
        columns = [name for name in frame.columns if name != target]
        copies = _copies(frame, columns)
        whole = _copies(frame, [*columns, target]) if copies else 0
        share = copies / rows
        limit = self.limit(subject)
        evidence = (
            f"{copies:,} of {rows:,} rows ({numbers.share(share)}) repeat an earlier "
            "one in all columns but the target"
        )
        fix = None
        if whole:
            evidence += (
                f", {whole:,} of them in the target, too (duplicate_rows: reject "
                "removes these)"
            )
            fix = {"validation": {"duplicate_rows": "reject"}}
        elif copies:
            evidence += ", and none of them in the target"
        severity: Severity | None = "note" if share > limit else None
        return self.found(severity, f"{evidence}.", share, limit, fix=fix)


def _copies(frame: pd.DataFrame, columns: Sequence[str]) -> int:
    """Count the rows that repeat an earlier one in these columns."""
    return len(frame) - len(np.unique(row_hashes(frame, columns, "duplicates")))


class RepeatedEntities(TargetRule):
    """Several rows of one customer or machine: a random split lets models know them.

    How similar an entity's rows are: intraclass correlation (Shrout and Fleiss 1979,
    ICC(1)).
    """

    code = "repeated_entities"
    title = "Entities with several rows"
    advice = (
        "If the model will meet new entities, keep the rows of one entity in one set."
    )
    threshold = Threshold(
        0.1, 0, 1, "intraclass correlation of the target, a condition from it"
    )
    _fewest_entities, _fewest_fixed = 20, 2
    _rows_for_fixed, _columns_for_fixed = 20_000, 100
    _in_order = 0.9  # Spearman's correlation

    def examine(self, subject: Subject) -> Finding:
        split = subject.spec.split
        if split.by == "group":
            together = f"The split keeps {numbers.shown(split.column)} together."
            return self.not_applicable(together)
        limit = self.limit(subject)
        likeness = self._likeness(subject)
        if not likeness:
            none = "No column names entities that repeat."
            return self.not_found(none, threshold=limit)
        columns = sorted(likeness, key=lambda name: -likeness[name])
        words = {}
        for name in columns:
            column = subject.frame[name]
            entities = column.nunique()
            words[name] = (
                f"{entities:,} entities, {column.notna().sum() / entities:.3g} rows "
                f"each, intraclass correlation of the target {likeness[name]:.2f}"
            )
        random = split.by == "random"
        highest = likeness[columns[0]]
        return self.found(
            severity="condition" if random and highest >= limit else "note",
            evidence=f"Values repeat in {described(words, most=3)}.",
            number=highest,
            threshold=limit,
            columns=columns,
            fix={"split": {"by": "group", "column": columns[0]}} if random else None,
        )

    def _likeness(self, subject: Subject) -> dict[str, float]:
        """Column that names entities → intraclass correlation of the target."""
        target, spec = subject.target, subject.spec
        y = target.y.astype(np.float64)
        if spec.task == "multiclass":  # whether it is the most frequent class
            y = (y == np.bincount(target.y).argmax()).astype(np.float64)
        likeness = {}
        for name in subject.frame.columns:
            by_role = name in {spec.target, getattr(spec.split, "column", None)}
            if by_role or not self._repeats(subject.frame[name]):
                continue
            codes = pd.factorize(subject.frame[name].iloc[target.rows])[0]
            present = codes >= 0
            alike = _intraclass_correlation(codes[present], y[present])
            names_entities = is_named_like_an_id(name)
            if not names_entities and alike >= self.limit(subject):
                names_entities = self._fixes_others(subject, name)
            if names_entities:
                likeness[name] = alike
        return likeness

    def _repeats(self, column: pd.Series) -> bool:
        """Whether a text or whole number has 20 or more values of two or more rows."""
        kind = kind_of(column)
        if kind in NUMERIC:
            present = column.dropna().to_numpy(dtype=np.float64)
            if np.any(present != np.trunc(present)):
                return False
        elif kind not in TEXTS:
            return False
        entities = column.nunique()
        return self._fewest_entities <= entities <= column.notna().sum() / 2

    def _fixes_others(self, subject: Subject, name: str) -> bool:
        """Whether two or more other features that vary have one value per entity.

        Not those that rise or fall with a number: they may be computed from it.
        """
        rows = subject.sample(np.arange(len(subject.frame)), self._rows_for_fixed)
        sample = subject.frame.iloc[rows]
        entities = pd.factorize(sample[name], use_na_sentinel=False)[0]
        fixed = 0
        for feature in subject.features[: self._columns_for_fixed]:
            values = pd.factorize(sample[feature])[0]
            if feature == name or values.max(initial=0) < 2:
                continue
            pairs = pd.DataFrame({"entity": entities, "value": values})
            if len(pairs.drop_duplicates()) == entities.max() + 1:
                fixed += not self._rise_together(sample[[name, feature]])
        return fixed >= self._fewest_fixed

    def _rise_together(self, columns: pd.DataFrame) -> bool:
        """Whether one of two numbers rises or falls with the other."""
        if any(kind_of(column) not in NUMERIC for _, column in columns.items()):
            return False
        ranks = columns.drop_duplicates().astype("float64").rank()
        return abs(ranks.iloc[:, 0].corr(ranks.iloc[:, 1])) >= self._in_order


def _intraclass_correlation(groups: np.ndarray, y: np.ndarray) -> float:
    sizes = np.bincount(groups)
    occur = sizes > 0
    count, rows = int(occur.sum()), len(y)
    if count < 2 or rows <= count or np.ptp(y) == 0:
        return 0.0
    means = np.bincount(groups, weights=y)[occur] / sizes[occur]
    sizes = sizes[occur]
    between = float(np.sum(sizes * (means - y.mean()) ** 2)) / (count - 1)
    total = float(np.sum((y - y.mean()) ** 2))
    within = (total - (count - 1) * between) / (rows - count)
    usual_size = (rows - float(np.sum(sizes**2)) / rows) / (count - 1)
    spread = between + (usual_size - 1) * within
    return (between - within) / spread if spread > 0 else 0.0


class DriftOverTime(Rule):
    """Columns, or the target, that change between the first and last third of moments.

    Kolmogorov-Smirnov distance for numbers, total variation for texts.
    """

    code = "drift_over_time"
    title = "Columns that change over time"
    advice = "If the model will predict the future, split by time."
    threshold = Threshold(0.3, 0, 1, "distance of early and late, found from it")
    _most_rows, _most_columns = 20_000, 500
    # From this distance on, another date moves along with the time, as a delivery
    # follows its order.
    _same_time = 0.9

    def check(self, subject: Subject) -> Finding:
        spec = subject.spec
        times = subject.ordering_columns
        if not times:
            return self.not_applicable("There is no datetime column.")
        time = times[0]
        name = numbers.shown(time)
        drifts = self._drifts(subject, time)
        if drifts is None:
            return self.not_applicable(f"{name} has too few different moments.")
        target = self._target_drift(subject, time)
        words = [f"{numbers.shown(column)} {far:.2f}" for column, far in drifts.items()]
        evidence = (
            f"Distance between first and last third by {name} (0: alike, 1: disjoint): "
            f"target {target:.2f}; features {numbers.some_of(words) or 'none'}."
        )
        drifts = {spec.target: target, **drifts}
        limit, highest = self.limit(subject), max(drifts.values())
        changed = [column for column, far in drifts.items() if far >= limit]
        if not changed:
            return self.not_found(evidence, highest, limit)
        if spec.split.by != "random":
            return self.found("note", evidence, highest, limit, changed)
        fix = {"split": {"by": "time", "column": time}}
        return self.found("condition", evidence, highest, limit, changed, fix)

    def _drifts(self, subject: Subject, time: str) -> dict[str, float] | None:
        """Feature → distance, the largest first; None: too few moments."""
        frame = subject.frame
        early, late = self._thirds(subject, time, np.arange(len(frame)))
        if not early.size or not late.size:
            return None

        def drift(column: str) -> float:
            return distance(frame[column].iloc[early], frame[column].iloc[late])

        # What a calendar makes of the time drifts with it.
        from_time = set[str]()
        for date, parts in subject.spec.preparation.calendar.items():
            if date == time or drift(date) >= self._same_time:
                from_time.update(calendar_columns(date, *parts))
        drifts = {
            column: drift(column)
            for column in subject.features[: self._most_columns]
            if kind_of(frame[column]) in NUMERIC | TEXTS and column not in from_time
        }
        return dict(sorted(drifts.items(), key=lambda pair: -pair[1]))

    def _thirds(
        self, subject: Subject, time: str, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """At most 20,000 positions each of the first and last third of the moments."""
        moments = pd.factorize(subject.frame[time].iloc[rows], sort=True)[0]
        present = moments >= 0
        rows, moments = rows[present], moments[present]
        if not rows.size:
            return rows, rows
        ordered = np.sort(moments)
        third = len(ordered) // 3
        early = rows[moments < ordered[third]]
        late = rows[moments > ordered[-third - 1]]
        return (
            subject.sample(early, self._most_rows),
            subject.sample(late, self._most_rows),
        )

    def _target_drift(self, subject: Subject, time: str) -> float:
        """Distance between the targets of both thirds; 0 where there is none."""
        target = subject.target
        early, late = self._thirds(subject, time, target.rows)
        if not early.size or not late.size:
            return 0.0
        first, last = target.of(early), target.of(late)
        if subject.spec.task == "regression":
            return number_distance(first, last)
        return share_distance(
            np.bincount(first, minlength=target.n_classes),
            np.bincount(last, minlength=target.n_classes),
        )


RULES = (ConflictingLabels(), DuplicateRows(), RepeatedEntities(), DriftOverTime())
