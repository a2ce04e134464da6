"""All rules in the order in which they run, the user's own rules, and the check of their settings.

A rule is declared once: its class, and its place in the RULES of its file. A user's own rule is an
instance of any class that satisfies FindingRule, named by import path under `analysis: findings:`.
"""

import importlib
import inspect

from experiment_pipeline.errors import InvalidExperiment, did_you_mean
from experiment_pipeline.spec.reading import Problem
from experiment_pipeline.spec.table import Analysis
from experiment_pipeline.stages.data_analysis.finding import FindingRule
from experiment_pipeline.stages.data_analysis.findings import (
    categories,
    drift,
    kinds,
    leaks,
    probed,
    rows,
    target,
    values,
)
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.preparation import imported

TABLE_RULES: tuple[FindingRule, ...] = (
    *target.RULES,
    *leaks.RULES,
    *rows.RULES,
    *drift.RULES,
    *kinds.RULES,
    *values.RULES,
    *categories.RULES,
)
PROBE_RULES = probed.RULES
_SATISFIES = "an instance of a class with a code, thresholds and check(subject)"


def own_rules(analysis: Analysis) -> tuple[FindingRule, ...]:
    """The rules that the YAML names by import path.

    Raises:
        InvalidExperiment: a path cannot be imported, or is not a rule.
    """
    return tuple(_own_rule(path) for path in analysis.findings)


def own_code(analysis: Analysis) -> dict[str, str]:
    """Import path → digest of its module's source, so that a changed rule runs again.

    Modules that it imports are not read; a compiled module counts by its `__version__`.
    """
    digests = {}
    for path in analysis.findings:
        module = importlib.import_module(path.partition(":")[0])
        try:
            digests[path] = sha256(inspect.getsource(module).encode())
        except (OSError, TypeError):
            digests[path] = str(getattr(module, "__version__", ""))
    return digests


def problems(analysis: Analysis) -> list[Problem]:
    """Unknown codes and thresholds, impossible values and unusable rules in the YAML."""
    own, found = [], []
    for number, path in enumerate(analysis.findings):
        try:
            own.append(_own_rule(path))
        except InvalidExperiment as error:
            place = ("analysis", "findings", number)
            found.append(Problem(place, f"{error.rule}; {error.fix.lower().removesuffix('.')}"))
    known = {rule.code: rule.thresholds for rule in TABLE_RULES}
    known |= {rule.code: rule.thresholds for rule in PROBE_RULES}
    for rule in own:
        if rule.code in known:
            there = f"the code {rule.code!r} is taken; give the rule one of its own"
            found.append(Problem(("analysis", "findings"), there))
        known[rule.code] = rule.thresholds
    for code in analysis.accept:
        if code not in known:
            unknown = f"{code!r} is not a finding code; {did_you_mean(code, list(known))}"
            found.append(Problem(("analysis", "accept", code), unknown))
    thresholds = {name: limit for each in known.values() for name, limit in each.items()}
    for name, value in analysis.thresholds.items():
        key = ("analysis", "thresholds", name)
        limit = thresholds.get(name)
        if limit is None:
            unknown = f"{name!r} is no threshold; {did_you_mean(name, thresholds)}"
            found.append(Problem(key, unknown))
        elif not limit.low <= value <= limit.high:
            beyond = (
                f"threshold {name} is {value:g}; it is the {limit.meaning}: "
                f"write a number from {limit.low:g} to {limit.high:g}"
            )
            found.append(Problem(key, beyond))
    return found


def check_settings(analysis: Analysis) -> None:
    """Raise InvalidExperiment for the first of `problems`."""
    for problem in problems(analysis):
        place = ".".join(map(str, problem.location))
        raise InvalidExperiment(place, problem.message, "correct the YAML")


def _own_rule(path: str) -> FindingRule:
    rule = imported(path, "analysis.findings", "finding")
    if inspect.isclass(rule):
        raise InvalidExperiment(
            "analysis.findings", f"{path} is a class", f"Name {_SATISFIES}, not the class itself."
        )
    lacking = [name for name in ("code", "thresholds", "check") if not hasattr(rule, name)]
    if not isinstance(rule, FindingRule):
        raise InvalidExperiment(
            "analysis.findings", f"{path} has no {' and no '.join(lacking)}", f"Name {_SATISFIES}."
        )
    return rule
