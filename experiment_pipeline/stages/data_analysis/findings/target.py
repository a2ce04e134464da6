"""Rules about the target: whether it exists, fits the declared task and has rows to learn from."""

from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Task
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, Severity, Threshold
from experiment_pipeline.stages.data_analysis.findings.kinds import number_preparation
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics.metrics import METRICS, names_of
from experiment_pipeline.table.kinds import NUMERIC, QUANTITIES, kind_of, numbers_of

_MANY = 1e12


class TargetMissing(Rule):
    """Rows without a target, which are rejected before the split; often because of the outcome."""

    code = "target_missing"
    title = "Rows without a target"
    advice = (
        "Find out why these rows have no target. They are rejected; if that depends on the "
        "outcome, the model learns from a biased part."
    )
    threshold = Threshold(0.05, 0, 1, "share of rows without a target, found above it")
    blocks = Threshold(0.5, 0, 1, "share of rows without a target, blocks above")

    def check(self, subject: Subject) -> Finding:
        target = subject.visible_target
        unusable = target.isna().to_numpy()
        if subject.spec.task == "regression" and kind_of(target) in NUMERIC:
            unusable = ~np.isfinite(numbers_of(target))
        share = float(unusable.mean()) if len(target) else 1.0
        limit, blocks = self.limit(subject), self.severe_limit(subject)
        evidence = (
            f"{numbers.share(share)} of {numbers.counted(len(target), 'row')} outside of the "
            "validation set have no target."
        )
        severe = share > max(limit, blocks)
        return self.judged(
            "blocks" if severe else "condition" if share > limit else None,
            evidence,
            columns=[subject.spec.target],
            number=share,
            threshold=blocks if severe else limit,
        )


class TargetConstant(Rule):
    """A target with fewer than two values: there is nothing to predict."""

    code = "target_constant"
    title = "Target with one value"
    advice = "Name another target, or deliver rows of every class."

    def check(self, subject: Subject) -> Finding:
        known = subject.visible_target.dropna()
        distinct = int(known.nunique())
        if distinct > 1:
            evidence = f"The target has {distinct:,} values."
            return self.not_found(evidence, number=distinct, threshold=2)
        only = f", all {numbers.shown(known.iloc[0])!r}" if distinct else ""
        rows = numbers.counted(len(known), "row")
        return self.found(
            "blocks",
            f"{rows} outside of the validation set have a target{only}.",
            columns=[subject.spec.target],
            number=distinct,
            threshold=2,
        )


class TargetLooksLikeAnotherTask(Rule):
    """A target whose values fit another task than the declared one.

    A regression target with few values is a class; a class with fractions is a number; two
    classes are binary. Blocks where the declared task cannot be fitted at all.
    """

    code = "target_looks_like_another_task"
    title = "Target that looks like another task"
    advice = (
        "Change the task together with its metric, or accept this finding with the reason why "
        "the declared task is meant."
    )
    threshold = Threshold(10, 2, _MANY, "distinct values of a regression target, found up to it")

    def check(self, subject: Subject) -> Finding:
        known = subject.visible_target.dropna()
        distinct = int(known.nunique())
        if distinct < 2:
            return self.not_applicable("The target has fewer than two values.")
        declared = subject.spec.task
        limit = self.limit(subject)
        likely = self._likely_task(known, distinct, limit)
        severity = self._severity(declared, likely, known, distinct)
        examples = ", ".join(numbers.shown(value) for value in known.unique()[:3])
        evidence = (
            f"The target has {distinct:,} distinct values of type {known.dtype} ({examples}"
            f"{', …' if distinct > 3 else ''}), the task is {declared}."
        )
        return self.judged(
            severity,
            f"{evidence[:-1]}; they look like {likely}." if severity else evidence,
            columns=[subject.spec.target],
            number=distinct,
            threshold=limit,
            fix=self._fix(subject, likely),
        )

    @staticmethod
    def _likely_task(known: pd.Series, distinct: int, limit: float) -> Task:
        if distinct == 2:
            return "binary"
        if kind_of(known) not in QUANTITIES:
            return "multiclass"
        fractions = bool((known % 1 != 0).any())
        return "regression" if fractions or distinct > limit else "multiclass"

    @staticmethod
    def _severity(declared: Task, likely: Task, known: pd.Series, distinct: int) -> Severity | None:
        """None where the declared task is plausible, even if another one is too."""
        if declared == "binary" and distinct > 2:
            return "blocks"
        if declared == "regression" and kind_of(known) not in NUMERIC:
            return "blocks"
        if declared == "multiclass" and likely == "regression":
            # Whole numbers may well be codes of classes; fractions are not.
            return "condition" if bool((known % 1 != 0).any()) else None
        return None if declared == likely else "condition"

    @staticmethod
    def _fix(subject: Subject, likely: Task) -> dict[str, Any] | None:
        facts = subject.texts_and_target.get(subject.spec.target)
        if subject.spec.task == "regression" and facts and facts.writing.reads.all():
            return number_preparation({subject.spec.target: facts})
        if subject.spec.acceptance or subject.spec.positive_class is not None:
            return None  # they would have to change too, and only the user knows how
        return {"task": likely, "metric": names_of(likely)[0]}


class TooManyClasses(Rule):
    """More classes than can be learnt: usually the target is a number or an id."""

    code = "too_many_classes"
    title = "Too many classes"
    advice = "Merge classes in a preparation function, or predict a number (task: regression)."
    threshold = Threshold(100, 2, _MANY, "classes, found above it")

    def check(self, subject: Subject) -> Finding:
        if subject.spec.task != "multiclass":
            return self.not_applicable(f"The task is {subject.spec.task}.")
        known = subject.visible_target.dropna()
        classes, limit = int(known.nunique()), self.limit(subject)
        evidence = f"{numbers.counted(classes, 'class', 'classes')} in {len(known):,} rows."
        severity: Severity = "blocks" if classes > len(known) / 2 else "condition"
        return self.judged(
            severity if classes > limit else None,
            evidence,
            columns=[subject.spec.target],
            number=classes,
            threshold=limit,
        )


class TooFewRowsPerClass(Rule):
    """Classes with too few rows in a set, and those that are set aside.

    Of the validation set (final hold-out) the expected number of rows is used; its targets are
    not read.
    """

    code = "too_few_rows_per_class"
    title = "Classes with too few rows in a set"
    advice = (
        "Deliver more rows of the class, merge it with another under preparation.categories, or "
        "give the smaller sets a larger share. If it must be predicted, write validation: "
        "rare_classes: stop; then a run without it stops."
    )
    threshold = Threshold(10, 1, _MANY, "rows of a class in a set, found below it")
    _sets = ("train", "test", "validation")

    def check(self, subject: Subject) -> Finding:
        target = subject.target
        if subject.spec.task == "regression":
            return self.not_applicable("The task is regression.")
        if target.problem:
            return self.not_applicable(f"No classes to count: {target.problem}.")
        rows = subject.set_counts(target.y.astype(np.int64), target.rows, target.n_classes)
        limit = self.limit(subject)
        rarest, place = np.unravel_index(int(np.argmin(rows)), rows.shape)
        fewest, where = float(rows[rarest, place]), self._sets[place]
        name = numbers.shown((target.classes or ())[rarest])
        about = "about " if where == "validation" else ""
        set_aside = ""
        if rare := target.set_aside:
            each = numbers.some_of(
                [f"{numbers.shown(c)!r} ({numbers.counted(n, 'row')})" for c, n in rare.items()]
            )
            set_aside = (
                f"{numbers.counted(len(rare), 'class', 'classes')} too rare for three sets will be "
                f"set aside, and no model can predict {'it' if len(rare) == 1 else 'them'}: {each}, "
                "without the validation set's rows. Of the others: "
            )
        evidence = (
            f"Class {name!r} has {about}{fewest:.3g} rows in the {where} set, the fewest of "
            f"{len(rows)} classes in three sets."
        )
        severity: Severity = "blocks" if fewest < 1 else "condition"
        return self.judged(
            severity if fewest < limit or target.set_aside else None,
            set_aside + evidence,
            columns=[subject.spec.target],
            number=fewest,
            threshold=limit,
            fix={"validation": {"rare_classes": "stop"}} if target.set_aside else None,
        )


class ClassImbalance(Rule):
    """A rare class: accuracy is uninformative, and a score needs many rows to be precise."""

    code = "class_imbalance"
    title = "Rare class"
    advice = (
        "Use average_precision or roc_auc, next to the prevalence. Do not reweight by habit: "
        "a reweighted model is not calibrated."
    )
    threshold = Threshold(0.05, 0, 0.5, "share of the rarest class, found below it")

    def check(self, subject: Subject) -> Finding:
        if subject.spec.task == "regression":
            return self.not_applicable("The task is regression.")
        if subject.target.problem:
            return self.not_applicable(f"No classes to compare: {subject.target.problem}.")
        shares = np.bincount(subject.target.y.astype(np.int64)) / len(subject.target.y)
        rarest = int(np.argmin(shares))
        share, limit = float(shares[rarest]), self.limit(subject)
        name = numbers.shown((subject.target.classes or ())[rarest])
        evidence = f"The rarest class, {name!r}, has {numbers.share(share)} of the rows."
        hidden = METRICS[subject.spec.metric].hides_rare
        better = "average_precision" if subject.spec.task == "binary" else "balanced_accuracy"
        return self.judged(
            None if share >= limit else "condition" if hidden else "note",
            evidence,
            columns=[subject.spec.target],
            number=share,
            threshold=limit,
            fix={"metric": better} if hidden else None,
        )


class TooFewRows(Rule):
    """Too few rows for the number of columns, or too few for any conclusion."""

    code = "too_few_rows"
    title = "Too few rows for the columns"
    advice = (
        "Deliver more rows, exclude columns that cannot matter, or prefer strongly regularised "
        "models; expect wide intervals."
    )
    threshold = Threshold(10, 0, _MANY, "train rows per feature, found below it")
    blocks = Threshold(30, 2, _MANY, "rows of the table, blocks below it")

    def check(self, subject: Subject) -> Finding:
        rows, features = len(subject.frame), max(len(subject.features), 1)
        train = len(subject.positions("train"))
        per_feature, limit = train / features, self.limit(subject)
        fewest = self.severe_limit(subject)
        evidence = (
            f"{numbers.counted(rows, 'row')}, {train:,} of them in the train set, for "
            f"{numbers.counted(features, 'feature')}: {per_feature:.3g} train rows per feature."
        )
        if rows < fewest:
            return self.found("blocks", evidence, number=rows, threshold=fewest)
        severity: Severity | None = "condition" if per_feature < limit else None
        return self.judged(severity, evidence, number=per_feature, threshold=limit)


RULES = (
    TargetMissing(),
    TargetConstant(),
    TargetLooksLikeAnotherTask(),
    TooManyClasses(),
    TooFewRowsPerClass(),
    ClassImbalance(),
    TooFewRows(),
)
