"""A simple model predicts nearly everything: good luck, or a leak spread over several columns."""

import math

from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, percent
from experiment_pipeline.stages.data_analysis.probe import NoProbe, Probe
from experiment_pipeline.stages.data_analysis.skill import NAMES
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "probe_nearly_perfect",
    "Too good to be true",
    "Ask of the strongest columns when each becomes known; accept the finding if the task is "
    "that easy.",
)


def check(subject: Subject, probe: Probe | NoProbe) -> Finding:
    """Compare the skill of the best probe model with the threshold."""
    if isinstance(probe, NoProbe):
        return RULE.not_applicable(probe.reason)
    if not math.isfinite(probe.skill):
        return RULE.not_applicable("The skill is undefined on the folds of the probe.")
    limit = subject.threshold(RULE.code)
    evidence = (
        f"The best probe ({probe.best}) has a skill of {percent(probe.skill)}, as "
        f"{NAMES[subject.spec.task]}."
    )
    if probe.skill < limit:
        return RULE.not_found(evidence, number=probe.skill, threshold=limit)
    strongest = [association.column for association in subject.associations[:5]]
    return RULE.found(
        "condition",
        evidence,
        columns=[column for column in strongest if column not in probe.left_out],
        number=probe.skill,
        threshold=limit,
    )
