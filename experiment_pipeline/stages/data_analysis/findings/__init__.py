"""All rules in the order in which they run, the user's own rules, and the check of
their settings.
"""

import inspect

from experiment_pipeline.errors import InvalidExperiment, did_you_mean, imported
from experiment_pipeline.spec.reading import Problem
from experiment_pipeline.spec.table import Analysis
from experiment_pipeline.stages.data_analysis.finding import FindingRule, Threshold
from experiment_pipeline.stages.data_analysis.findings import (
    columns,
    leaks,
    random_split,
    rows,
    target,
)
from experiment_pipeline.stages.data_analysis.findings.probe import PROBE_RULES

TABLE_RULES: tuple[FindingRule, ...] = (
    *(*target.RULES, *leaks.RULES),
    *(*rows.RULES, *random_split.RULES, *columns.RULES),
)


def own_rule(path: str) -> FindingRule:
    """The rule that the YAML names by import path; InvalidExperiment where it is not
    one.
    """
    rule = imported(path, "analysis.findings", "finding")
    if inspect.isclass(rule) or not isinstance(rule, FindingRule):
        rule = f"{path} is not a rule"
        fix = "Name an instance of a class with a code, thresholds and check(subject)."
        raise InvalidExperiment("analysis.findings", rule, fix)
    return rule


def problems(analysis: Analysis) -> list[Problem]:
    """Unknown codes and thresholds, impossible values and unusable rules in
    the YAML.
    """
    codes, thresholds = set[str](), dict[str, Threshold]()
    for one in (*TABLE_RULES, *PROBE_RULES):
        codes.add(one.code)
        thresholds |= one.thresholds
    found = []
    for number, path in enumerate(analysis.findings):
        try:
            rule = own_rule(path)
        except InvalidExperiment as error:
            place = ("analysis", "findings", number)
            found.append(
                Problem(place, f"{error.rule}; {error.fix.lower().removesuffix('.')}")
            )
            continue
        if rule.code in codes:
            there = f"the code {rule.code!r} is already used; give the rule another one"
            found.append(Problem(("analysis", "findings"), there))
        codes.add(rule.code)
        thresholds |= rule.thresholds
    for code in analysis.accept:
        if code not in codes:
            unknown = (
                f"{code!r} is not a finding code; {did_you_mean(code, sorted(codes))}"
            )
            found.append(Problem(("analysis", "accept", code), unknown))
    for name, value in analysis.thresholds.items():
        limit = thresholds.get(name)
        if limit is None:
            wrong = f"{name!r} is not a threshold; {did_you_mean(name, thresholds)}"
        elif not limit.low <= value <= limit.high:
            wrong = (
                f"threshold {name} is {value:g}; it is the {limit.meaning}: "
                f"write a number from {limit.low:g} to {limit.high:g}"
            )
        else:
            continue
        found.append(Problem(("analysis", "thresholds", name), wrong))
    return found
