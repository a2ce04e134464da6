"""Rules about the target: whether it exists, fits the declared task and has rows to
learn from.
"""

from typing import Any

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Task
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    Severity,
    Threshold,
)
from experiment_pipeline.stages.data_analysis.findings.columns import number_preparation
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics.metrics import metric_of, names_of
from experiment_pipeline.table.kinds import NUMERIC, QUANTITIES, kind_of, numbers_of

_MANY = 1e12


class TargetMissing(Rule):
    """Rows without a target, which are rejected before the split; often because of the
    outcome.
    """

    code, title = "target_missing", "Rows without a target"
    advice = "Find out why: if it depends on the outcome, the model learns from a biased part."
    threshold = Threshold(0.05, 0, 1, "share of rows without a target, found above it")
    blocks = Threshold(0.5, 0, 1, "share of rows without a target, blocks above")

    def check(self, subject: Subject) -> Finding:
        target = subject.visible_target
        unusable = target.isna().to_numpy()
        if subject.spec.task == "regression" and kind_of(target) in NUMERIC:
            unusable = ~np.isfinite(numbers_of(target))
        share = float(unusable.mean()) if len(target) else 1.0
        limit = self.limit(subject)
        blocks = max(limit, self.limit(subject, severe=True))
        return self.found(
            "blocks" if share > blocks else "condition" if share > limit else None,
            f"{numbers.share(share)} of {numbers.counted(len(target), 'row')} outside the "
            "validation set have no target.",
            share,
            blocks if share > blocks else limit,
            [subject.spec.target],
        )


class TargetConstant(Rule):
    """A target with fewer than two values: there is nothing to predict."""

    code, title = "target_constant", "Target with one value"
    advice = "Name another target, or deliver rows of every class."

    def check(self, subject: Subject) -> Finding:
        values = subject.visible_target.dropna().unique()
        only = (
            f", which is {numbers.shown(values[0])!r} in all rows"
            if len(values) == 1
            else ""
        )
        return self.found(
            "blocks" if len(values) < 2 else None,
            f"The target has {numbers.counted(len(values), 'value')}{only}, outside the "
            "validation set.",
            len(values),
            2,
            [subject.spec.target],
        )


class TargetLooksLikeAnotherTask(Rule):
    """A target whose values fit another task; it blocks where the declared one cannot
    be fitted.
    """

    code, title = (
        "target_looks_like_another_task",
        "Target that looks like another task",
    )
    advice = "Change task and metric, or accept this finding with the reason why it is meant."
    threshold = Threshold(
        10, 2, _MANY, "distinct values of a regression target, found up to it"
    )

    def check(self, subject: Subject) -> Finding:
        spec, known, limit = (
            subject.spec,
            subject.visible_target.dropna(),
            self.limit(subject),
        )
        distinct, declared = int(known.nunique()), spec.task
        if distinct < 2:
            return self.not_applicable("The target has fewer than two values.")
        fractions = kind_of(known) in QUANTITIES and bool((known % 1 != 0).any())
        many = kind_of(known) in QUANTITIES and distinct > limit
        likely: Task = "regression" if fractions or many else "multiclass"
        if distinct == 2:
            likely = "binary"
        severity: Severity | None = None if declared == likely else "condition"
        if (declared == "binary" and distinct > 2) or (
            declared == "regression" and kind_of(known) not in NUMERIC
        ):
            severity = "blocks"
        elif declared == "multiclass" and likely == "regression" and not fractions:
            severity = None  # whole numbers may well be codes of classes
        fix: dict[str, Any] = {"task": likely, "metric": names_of(likely)[0]}
        facts = subject.texts_and_target.get(spec.target)
        if declared == "regression" and facts and facts.writing.reads.all():
            fix = number_preparation({spec.target: facts})
        elif spec.acceptance or spec.positive_class is not None:
            fix = {}  # they would have to change too, and only the user knows how
        examples = numbers.some_of(
            [numbers.shown(value) for value in known.unique()], most=3
        )
        return self.found(
            severity,
            f"The target has {distinct:,} distinct values of type {known.dtype} ({examples}), which "
            f"look like {likely}; the task is {declared}.",
            distinct,
            limit,
            [spec.target],
            fix,
        )


class TooManyClasses(Rule):
    """More classes than can be learnt: usually the target is a number or an id."""

    code, title = "too_many_classes", "Too many classes"
    advice = "Merge classes in a preparation function, or predict a number (task: regression)."
    threshold = Threshold(100, 2, _MANY, "classes, found above it")

    def check(self, subject: Subject) -> Finding:
        if subject.spec.task != "multiclass":
            return self.not_applicable(f"The task is {subject.spec.task}.")
        known = subject.visible_target.dropna()
        classes, limit = int(known.nunique()), self.limit(subject)
        severity: Severity = "blocks" if classes > len(known) / 2 else "condition"
        return self.found(
            severity if classes > limit else None,
            f"{numbers.counted(classes, 'class', 'classes')} in {len(known):,} rows.",
            classes,
            limit,
            [subject.spec.target],
        )


class TooFewRowsPerClass(Rule):
    """Classes with too few rows in a set (of the validation set: expected rows), and
    those set aside.
    """

    code, title = "too_few_rows_per_class", "Classes with too few rows in a set"
    advice = "Deliver more rows, merge classes (preparation.categories) or enlarge the small sets."
    threshold = Threshold(10, 1, _MANY, "rows of a class in a set, found below it")

    def check(self, subject: Subject) -> Finding:
        target = subject.target
        if subject.spec.task == "regression":
            return self.not_applicable("The task is regression.")
        if target.problem:
            return self.not_applicable(f"No classes to count: {target.problem}.")
        rows = subject.set_counts(
            target.y.astype(np.int64), target.rows, target.n_classes
        )
        limit = self.limit(subject)
        rarest, place = np.unravel_index(int(np.argmin(rows)), rows.shape)
        fewest, where = (
            float(rows[rarest, place]),
            ("train", "test", "validation")[place],
        )
        name = numbers.shown((target.classes or ())[rarest])
        evidence = (
            f"Class {name!r} has {fewest:.3g} row{'s' * (fewest != 1)} in the {where} set, the fewest of "
            f"{len(rows)} classes in three sets."
        )
        if target.set_aside:
            each = [
                f"{numbers.shown(c)!r} ({numbers.counted(n, 'row')})"
                for c, n in target.set_aside.items()
            ]
            evidence += (
                " Classes too rare for three sets will be set aside, and no model can predict them: "
                f"{numbers.some_of(each)}, not counting the validation set's rows."
            )
        severity: Severity = "blocks" if fewest < 1 else "condition"
        return self.found(
            severity if fewest < limit or target.set_aside else None,
            evidence,
            fewest,
            limit,
            [subject.spec.target],
            {"validation": {"rare_classes": "stop"}} if target.set_aside else None,
        )


class ClassImbalance(Rule):
    """A rare class: accuracy says little about it, and scores need many rows to be
    precise.
    """

    code, title = "class_imbalance", "Rare class"
    advice = (
        "Rank by more than accuracy. Do not reweight by habit: it breaks calibration."
    )
    threshold = Threshold(0.05, 0, 0.5, "share of the rarest class, found below it")

    def check(self, subject: Subject) -> Finding:
        if subject.spec.task == "regression":
            return self.not_applicable("The task is regression.")
        if subject.target.problem:
            return self.not_applicable(
                f"No classes to compare: {subject.target.problem}."
            )
        shares = np.bincount(subject.target.y.astype(np.int64)) / len(subject.target.y)
        rarest = int(np.argmin(shares))
        share, limit = float(shares[rarest]), self.limit(subject)
        name = numbers.shown((subject.target.classes or ())[rarest])
        hidden = metric_of(subject.spec.metric).hides_rare
        better = (
            "average_precision"
            if subject.spec.task == "binary"
            else "balanced_accuracy"
        )
        return self.found(
            None if share >= limit else "condition" if hidden else "note",
            f"The rarest class, {name!r}, has {numbers.share(share)} of the rows.",
            share,
            limit,
            [subject.spec.target],
            {"metric": better} if hidden else None,
        )


class TooFewRows(Rule):
    """Too few rows for the number of columns, or too few for any conclusion."""

    code, title = "too_few_rows", "Too few rows for the columns"
    advice = "Deliver more rows, exclude columns or regularise strongly; expect wide intervals."
    threshold = Threshold(10, 0, _MANY, "train rows per feature, found below it")
    blocks = Threshold(30, 2, _MANY, "rows of the table, blocks below it")

    def check(self, subject: Subject) -> Finding:
        rows, features = len(subject.frame), max(len(subject.features), 1)
        train = np.count_nonzero(subject.sets == "train")
        per_feature, limit = train / features, self.limit(subject)
        fewest = self.limit(subject, severe=True)
        evidence = (
            f"{numbers.counted(rows, 'row')}, {train:,} of them in the train set, for "
            f"{numbers.counted(features, 'feature')}: {per_feature:.3g} train rows per feature."
        )
        if rows < fewest:
            return self.found("blocks", evidence, rows, fewest)
        severity: Severity | None = "condition" if per_feature < limit else None
        return self.found(severity, evidence, per_feature, limit)


RULES = (
    TargetMissing(),
    TargetConstant(),
    TargetLooksLikeAnotherTask(),
    TooManyClasses(),
    TooFewRowsPerClass(),
    ClassImbalance(),
    TooFewRows(),
)
