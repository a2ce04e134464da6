"""All rules, in the order in which they are examined, and those of the user's own.

A finding is declared once, in the file of what it looks at: its class, and its place in that
file's RULES. A user's own is an instance of any class that satisfies FindingRule, named by import
path under `analysis: findings:`. What the YAML says of findings is judged here, by the rules
themselves: which codes may be accepted, which thresholds there are, which values make sense.
"""

import importlib
import inspect
from collections.abc import Mapping

from experiment_pipeline.errors import InvalidExperiment, did_you_mean
from experiment_pipeline.spec.sentences import Problem
from experiment_pipeline.spec.table import Analysis
from experiment_pipeline.stages.data_analysis.finding import FindingRule, Threshold
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
        InvalidExperiment: a path leads nowhere, or to what is no rule.
    """
    return tuple(_own_rule(path) for path in analysis.findings)


def own_code(analysis: Analysis) -> dict[str, str]:
    """Import path → digest of its module's source: a changed rule asks again.

    Modules that it imports in turn are not looked at; a compiled one counts by its `__version__`.
    """
    return {path: _code(path.partition(":")[0]) for path in analysis.findings}


def _code(module_name: str) -> str:
    module = importlib.import_module(module_name)
    try:
        return sha256(inspect.getsource(module).encode())
    except (OSError, TypeError):
        return str(getattr(module, "__version__", ""))


def problems(analysis: Analysis) -> list[Problem]:
    """What the YAML says wrong of findings, each with its place."""
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
    thresholds = {name: limit for each in known.values() for name, limit in each.items()}
    unknown = [
        Problem(
            ("analysis", "accept", code),
            f"{code!r} is no finding code; {did_you_mean(code, list(known))}",
        )
        for code in analysis.accept
        if code not in known
    ]
    return [*found, *unknown, *_bad_thresholds(analysis, thresholds)]


def check_settings(analysis: Analysis) -> None:
    """Raise InvalidExperiment for what `problems` finds first."""
    for problem in problems(analysis):
        place = ".".join(map(str, problem.location))
        raise InvalidExperiment(place, problem.message, "correct the YAML")


def _bad_thresholds(analysis: Analysis, known: Mapping[str, Threshold]) -> list[Problem]:
    found = []
    for name, value in analysis.thresholds.items():
        place = ("analysis", "thresholds", name)
        limit = known.get(name)
        if limit is None:
            unknown = f"{name!r} is no threshold; {did_you_mean(name, known)}"
            found.append(Problem(place, unknown))
        elif not limit.low <= value <= limit.high:
            beyond = (
                f"threshold {name} is {value:g}; it is the {limit.meaning}: "
                f"write a number from {limit.low:g} to {limit.high:g}"
            )
            found.append(Problem(place, beyond))
    return found


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
