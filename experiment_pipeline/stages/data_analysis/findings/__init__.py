"""All rules in the order in which they run, the user's own, and their settings."""

import inspect
from collections.abc import Iterator, Mapping

from experiment_pipeline.errors import InvalidExperiment, did_you_mean, imported
from experiment_pipeline.spec.reading import Problem
from experiment_pipeline.spec.table import Analysis
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    FindingRule,
    Threshold,
)
from experiment_pipeline.stages.data_analysis.findings import (
    columns,
    dictionary,
    labels,
    leaks,
    random_split,
    rows,
    target,
)
from experiment_pipeline.stages.data_analysis.findings.probe import PROBE_RULES
from experiment_pipeline.stages.data_analysis.subject import Subject

TABLE_RULES: tuple[FindingRule, ...] = (
    *target.RULES,
    labels.LabelsNotInYet(),
    *dictionary.RULES,
    *leaks.RULES,
    *rows.RULES,
    *random_split.RULES,
    *columns.RULES,
)


def own_rule(path: str) -> FindingRule:
    """The rule that the YAML names by import path; else raises InvalidExperiment."""
    rule = imported(path, "analysis.findings", "finding")
    if inspect.isclass(rule) or not isinstance(rule, FindingRule):
        raise InvalidExperiment(
            "analysis.findings",
            rule=f"{path} is not a rule",
            fix="Name an instance of a class with code, thresholds and check(subject).",
        )
    return rule


def own_finding(path: str, subject: Subject) -> Finding:
    """What a user's rule finds; raises InvalidExperiment if it is no Finding."""
    rule = own_rule(path)
    finding = rule.check(subject)
    if not isinstance(finding, Finding) or finding.code != rule.code:
        raise InvalidExperiment(
            "analysis.findings",
            rule=f"the rule {rule.code!r} returned {finding!r}",
            fix="Return a Finding of that code.",
        )
    return finding


def problems(analysis: Analysis) -> list[Problem]:
    """Unknown codes and thresholds, impossible values, unusable rules in the YAML."""
    codes = set[str]()
    limits: dict[str, Threshold] = {}
    for rule in (*TABLE_RULES, *PROBE_RULES):
        codes.add(rule.code)
        limits |= rule.thresholds
    unusable = []
    for number, path in enumerate(analysis.findings):
        try:
            rule = own_rule(path)
        except InvalidExperiment as error:
            message = f"{error.rule}; {error.fix.lower().removesuffix('.')}"
            unusable.append(Problem(("analysis", "findings", number), message))
            continue
        if rule.code in codes:
            used = f"the code {rule.code!r} is already used; give the rule another one"
            unusable.append(Problem(("analysis", "findings"), used))
        codes.add(rule.code)
        limits |= rule.thresholds
    for code in analysis.accept:
        if code not in codes:
            meant = did_you_mean(code, sorted(codes))
            unknown = f"{code!r} is not a finding code; {meant}"
            unusable.append(Problem(("analysis", "accept", code), unknown))
    return [*unusable, *_impossible(analysis.thresholds, limits)]


def _impossible(
    thresholds: Mapping[str, float], limits: Mapping[str, Threshold]
) -> Iterator[Problem]:
    for name, value in thresholds.items():
        place = ("analysis", "thresholds", name)
        limit = limits.get(name)
        if limit is None:
            meant = did_you_mean(name, limits)
            yield Problem(place, f"{name!r} is not a threshold; {meant}")
        elif not limit.low <= value <= limit.high:
            message = (
                f"threshold {name} is {value:g}; it is the {limit.meaning}: "
                f"write a number from {limit.low:g} to {limit.high:g}"
            )
            yield Problem(place, message)
