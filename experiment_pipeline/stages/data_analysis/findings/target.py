"""Rules about the target: whether it exists, fits the task and has enough rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Scalar, Task
from experiment_pipeline.spec.reading import in_line
from experiment_pipeline.stages.data_analysis.facts import (
    NumberFacts,
    by_setting,
    rejection_limit,
)
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    Severity,
    TargetRule,
    Threshold,
)
from experiment_pipeline.stages.data_analysis.findings.columns import number_preparation
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics.metrics import metric_of, names_of
from experiment_pipeline.table.kinds import NUMERIC, QUANTITIES, kind_of, numbers_of

_MANY = 1e12
# Fewer rows of a sentinel do little harm.
LEAST_SENTINELS = 0.001


class TargetMissing(Rule):
    """Rows without a target, which are rejected before the split."""

    code = "target_missing"
    title = "Rows without a target"
    advice = (
        "Find out why: if it depends on the outcome, the model learns from a biased "
        "part."
    )
    threshold = Threshold(0.05, 0, 1, "share of rows without a target, found above it")
    blocks = Threshold(0.5, 0, 1, "share of rows without a target, blocks above")

    def check(self, subject: Subject) -> Finding:
        target = subject.visible_target
        unusable = target.isna().to_numpy()
        if subject.spec.task == "regression" and kind_of(target) in NUMERIC:
            unusable = ~np.isfinite(numbers_of(target))
        share = float(unusable.mean()) if len(target) else 1.0
        limit = self.limit(subject)
        severity: Severity | None = "condition" if share > limit else None
        blocks = self.limit(subject, severe=True)
        if share > max(limit, blocks):
            severity, limit = "blocks", max(limit, blocks)
        evidence = (
            f"{numbers.share(share)} of {numbers.counted(len(target), 'row')} outside "
            "the validation set have no target."
        )
        return self.found(severity, evidence, share, limit, [subject.spec.target])


class TargetPlaceholder(Rule):
    """A repeated number far from all other targets, which may mean that it is missing.

    A model would learn it and be scored by it, so it blocks until people say what it
    is.
    """

    code = "target_placeholder"
    title = "Target that may mean missing"
    advice = "Declare it as missing, or as a value by accepting this finding."
    threshold = Threshold(
        LEAST_SENTINELS, 0, 1, "share of targets with such a number, found from it"
    )

    def check(self, subject: Subject) -> Finding:
        spec = subject.spec
        facts = subject.target_facts
        if not isinstance(facts, NumberFacts):
            return self.not_applicable("The target is not a number.")
        share = facts.sentinels.rows / max(facts.rows, 1)
        limit = self.limit(subject)
        if not facts.sentinels.marks or share < limit:
            evidence = "No number that repeats is far from all other targets."
            return self.not_found(evidence, share, limit)
        missing = sentinels_as_missing(
            facts,
            spec.target,
            declared=spec.preparation.missing_values.get(spec.target, ()),
            limit=spec.validation.max_rejected_fraction,
        )
        return self.found(
            severity="blocks",
            evidence=(
                f"The target is {facts.sentinels.words}, outside the validation set. "
                f"{either(missing)}."
            ),
            number=share,
            threshold=limit,
            columns=[spec.target],
            fix=missing,
        )


def either(missing: Mapping[str, Any]) -> str:
    """Return both answers with their YAML; `missing`: the settings of the first."""
    accepted = {"analysis": {"accept": {TargetPlaceholder.code: "<why>"}}}
    return (
        f"If that means missing, write {in_line(missing)}; if it is a value, write "
        f"{in_line(accepted)}"
    )


def sentinels_as_missing(
    facts: NumberFacts, target: str, declared: Sequence[Scalar], limit: float
) -> dict[str, Any]:
    """The settings that make the sentinels of a target missing, so that their rows are
    rejected.

    `declared`: what is missing there already; `limit`: on the share of rejected rows.
    """
    marks = [*declared, *facts.sentinels.marks]
    settings: dict[str, Any] = {"preparation": {"missing_values": {target: marks}}}
    needed = rejection_limit((facts.missing + facts.sentinels.rows) / facts.rows)
    if needed > limit:
        settings["validation"] = {"max_rejected_fraction": needed}
    return settings


class TargetConstant(Rule):
    """A target with fewer than two values: there is nothing to predict."""

    code = "target_constant"
    title = "Target with one value"
    advice = "Name another target, or deliver rows of every class."

    def check(self, subject: Subject) -> Finding:
        values = subject.visible_target.dropna().unique()
        evidence = f"The target has {numbers.counted(len(values), 'value')}"
        if len(values) == 1:
            evidence += f", which is {numbers.shown(values[0])!r} in all rows"
        return self.found(
            severity="blocks" if len(values) < 2 else None,
            evidence=f"{evidence}, outside the validation set.",
            number=len(values),
            threshold=2,
            columns=[subject.spec.target],
        )


class TargetLooksLikeAnotherTask(Rule):
    """A target whose values fit another task; it blocks if the declared one cannot."""

    code = "target_looks_like_another_task"
    title = "Target that looks like another task"
    advice = (
        "Change task and metric, or accept this finding with the reason why it is "
        "meant."
    )
    threshold = Threshold(
        10, 2, _MANY, "distinct values of a regression target, found up to it"
    )

    def check(self, subject: Subject) -> Finding:
        spec, limit = subject.spec, self.limit(subject)
        values = subject.visible_target.dropna()
        distinct = int(values.nunique())
        if distinct < 2:
            return self.not_applicable("The target has fewer than two values.")
        likely: Task = "multiclass"
        if distinct == 2:
            likely = "binary"
        elif _has_fractions(values) or (
            kind_of(values) in QUANTITIES and distinct > limit
        ):
            likely = "regression"
        examples = numbers.some_of(list(map(numbers.shown, values.unique())), most=3)
        return self.found(
            severity=self._severity(spec.task, likely, values),
            evidence=(
                f"The target has {distinct:,} distinct values of type {values.dtype} "
                f"({examples}), which look like {likely}; the task is {spec.task}."
            ),
            number=distinct,
            threshold=limit,
            columns=[spec.target],
            fix=self._settings(subject, likely),
        )

    def _severity(self, task: Task, likely: Task, target: pd.Series) -> Severity | None:
        if task == likely:
            return None
        if task == "binary" or (
            task == "regression" and kind_of(target) not in NUMERIC
        ):
            return "blocks"
        # Whole numbers may well be codes of classes.
        codes = task == "multiclass" and likely == "regression"
        return None if codes and not _has_fractions(target) else "condition"

    def _settings(self, subject: Subject, likely: Task) -> dict[str, Any]:
        spec = subject.spec
        facts = subject.texts_and_target.get(spec.target)
        if spec.task == "regression" and facts and facts.writing.reads.all():
            preparation = by_setting({spec.target: number_preparation(facts)})
            return {"preparation": preparation} if preparation else {}
        if spec.acceptance or spec.positive_class is not None:
            return {}  # they would have to change too, and only the user knows how
        return {"task": likely, "metric": names_of(likely)[0]}


def _has_fractions(target: pd.Series) -> bool:
    return kind_of(target) in QUANTITIES and bool((target % 1 != 0).any())


class TooManyClasses(Rule):
    """More classes than can be learnt: usually the target is a number or an id."""

    code = "too_many_classes"
    title = "Too many classes"
    advice = (
        "Merge classes in a preparation function, or predict a number (task: "
        "regression)."
    )
    threshold = Threshold(100, 2, _MANY, "classes, found above it")

    def check(self, subject: Subject) -> Finding:
        if subject.spec.task != "multiclass":
            return self.not_applicable(f"The task is {subject.spec.task}.")
        values = subject.visible_target.dropna()
        classes = int(values.nunique())
        limit = self.limit(subject)
        severity: Severity = "blocks" if classes > len(values) / 2 else "condition"
        return self.found(
            severity if classes > limit else None,
            f"{numbers.counted(classes, 'class', 'classes')} in {len(values):,} rows.",
            classes,
            limit,
            [subject.spec.target],
        )


class TooFewRowsPerClass(TargetRule):
    """Classes with too few rows in a set, and those set aside.

    Rows of the validation set are expected ones.
    """

    code = "too_few_rows_per_class"
    title = "Classes with too few rows in a set"
    advice = (
        "Deliver more rows, merge classes (preparation.categories) or enlarge the "
        "small sets."
    )
    threshold = Threshold(10, 1, _MANY, "rows of a class in a set, found below it")
    tasks = ("binary", "multiclass")

    def examine(self, subject: Subject) -> Finding:
        target = subject.target
        rows = subject.set_counts(target.y, target.rows, target.n_classes)
        limit = self.limit(subject)
        rarest, place = np.unravel_index(int(np.argmin(rows)), rows.shape)
        fewest = float(rows[rarest, place])
        where = ("train", "test", "validation")[place]
        name = numbers.shown((target.classes or ())[rarest])
        count = f"has {numbers.counted(int(fewest), 'row')}"
        if where == "validation":  # whose targets are not read
            count = f"is expected to have about {fewest:.2g} rows"
        evidence = (
            f"Class {name!r} {count} in the {where} set, the fewest of {len(rows)} "
            "classes in three sets."
        )
        if target.set_aside:
            words = [
                f"{numbers.shown(rare)!r} ({numbers.counted(count, 'row')})"
                for rare, count in target.set_aside.items()
            ]
            evidence += (
                " Classes too rare for three sets will be set aside, and no model can "
                f"predict them: {numbers.some_of(words)}, not counting the validation "
                "set's rows."
            )
        severity: Severity = "blocks" if fewest < 1 else "condition"
        return self.found(
            severity=severity if fewest < limit or target.set_aside else None,
            evidence=evidence,
            number=fewest,
            threshold=limit,
            columns=[subject.spec.target],
            fix={"validation": {"rare_classes": "stop"}} if target.set_aside else None,
        )


class ClassImbalance(TargetRule):
    """A rare class: accuracy says little about it, and scores need many rows."""

    code = "class_imbalance"
    title = "Rare class"
    advice = (
        "Rank by more than accuracy. Do not reweight by habit: it breaks calibration."
    )
    threshold = Threshold(0.05, 0, 0.5, "share of the rarest class, found below it")
    tasks = ("binary", "multiclass")

    def examine(self, subject: Subject) -> Finding:
        target = subject.target
        shares = np.bincount(target.y) / len(target.y)
        rarest = int(np.argmin(shares))
        share, limit = float(shares[rarest]), self.limit(subject)
        name = numbers.shown((target.classes or ())[rarest])
        severity: Severity = "note"
        fix = None
        if metric_of(subject.spec.metric).hides_rare:
            severity = "condition"
            binary = subject.spec.task == "binary"
            fix = {"metric": "average_precision" if binary else "balanced_accuracy"}
        return self.found(
            severity=severity if share < limit else None,
            evidence=(
                f"The rarest class, {name!r}, has {numbers.share(share)} of the rows."
            ),
            number=share,
            threshold=limit,
            columns=[subject.spec.target],
            fix=fix,
        )


class TooFewRows(Rule):
    """Too few rows for the number of columns, or too few for any conclusion."""

    code = "too_few_rows"
    title = "Too few rows for the columns"
    advice = (
        "Deliver more rows, exclude columns or regularise strongly; expect wide "
        "intervals."
    )
    threshold = Threshold(10, 0, _MANY, "train rows per feature, found below it")
    blocks = Threshold(30, 2, _MANY, "rows of the table, blocks below it")

    def check(self, subject: Subject) -> Finding:
        rows = len(subject.frame)
        features = max(len(subject.features), 1)
        train = np.count_nonzero(subject.sets == "train")
        per_feature = train / features
        evidence = (
            f"{numbers.counted(rows, 'row')}, {train:,} of them in the train set, for "
            f"{numbers.counted(features, 'feature')}: {per_feature:.3g} train rows per "
            "feature."
        )
        fewest = self.limit(subject, severe=True)
        if rows < fewest:
            return self.found("blocks", evidence, rows, fewest)
        limit = self.limit(subject)
        severity: Severity | None = "condition" if per_feature < limit else None
        return self.found(severity, evidence, per_feature, limit)


RULES = (
    TargetMissing(),
    TargetPlaceholder(),
    TargetConstant(),
    TargetLooksLikeAnotherTask(),
    TooManyClasses(),
    TooFewRowsPerClass(),
    ClassImbalance(),
    TooFewRows(),
)
