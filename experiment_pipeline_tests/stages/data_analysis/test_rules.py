import re
from collections import Counter
from pathlib import Path

import pytest

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.spec.table import Analysis
from experiment_pipeline.stages.data_analysis.finding import FindingRule
from experiment_pipeline.stages.data_analysis.findings import TABLE_RULES, problems
from experiment_pipeline.stages.data_analysis.findings.probe import PROBE_RULES
from experiment_pipeline_tests.stages.data_analysis import own_findings
from experiment_pipeline_tests.stages.data_analysis.tables import (
    ROWS,
    analysed,
    experiment,
    table,
)
from experiment_pipeline_tests.stages.data_analysis.test_findings import FOUND

RULES = (*TABLE_RULES, *PROBE_RULES)
HERE = own_findings.__name__
EVEN = {"findings": [f"{HERE}:even_numbers"]}


def test_every_rule_has_a_code_of_its_own_and_is_tested_to_hit():
    """A finding without its own tests does not exist."""
    tests = "".join(
        path.read_text() for path in Path(__file__).parent.glob("test_*.py")
    )
    asked = {*FOUND, *re.findall(r'check\("(\w+)"', tests)}
    assert Counter(rule.code for rule in RULES) == Counter(asked), (
        "test each rule in FOUND of test_findings.py, or by check(code, table)"
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_rule_is_one_that_a_user_could_write(rule):
    """A threshold is named after its finding, and allows its default."""
    assert isinstance(rule, FindingRule)
    assert rule.title
    assert rule.advice
    for name, threshold in rule.thresholds.items():
        assert name in {rule.code, f"{rule.code}_blocks"}
        assert threshold.low <= threshold.default <= threshold.high


@pytest.mark.parametrize(
    ("analysis", "place", "told"),
    [
        (
            {"accept": {"leak_suspects": "?"}},
            "accept.leak_suspects",
            "did you mean 'leak_suspect'",
        ),
        (
            {"thresholds": {"outlier": 3}},
            "thresholds.outlier",
            "did you mean 'outliers'?",
        ),
        (
            {"thresholds": {"leak_suspect": 2}},
            "thresholds.leak_suspect",
            "a number from 0 to 1",
        ),
        ({"thresholds": {"target_constant": 1}}, "thresholds", "is not a threshold"),
        (
            {"findings": ["no_such.one:late"]},
            "findings",
            "no_such.one cannot be imported",
        ),
        (
            {"findings": [f"{HERE}:even_number"]},
            "findings",
            "did you mean 'even_numbers'?",
        ),
        (
            {"findings": [f"{HERE}:no_rule"]},
            "findings",
            "is not a rule; name an instance",
        ),
        (
            {"findings": [f"{HERE}:EvenNumbers"]},
            "findings",
            "is not a rule; name an instance",
        ),
        (
            {"findings": [f"{HERE}:outliers_again"]},
            "findings",
            "'outliers' is already used",
        ),
    ],
)
def test_a_yaml_that_names_nothing_is_refused(analysis, place, told):
    """Unknown codes, thresholds and rules are errors that say what fits."""
    (problem,) = problems(Analysis(**analysis))
    assert f"analysis.{place}" in str(problem)
    assert told in str(problem)
    with pytest.raises(InvalidExperiment, match="fix: correct the YAML"):
        analysed(table(), analysis=analysis)


def test_an_acceptance_needs_its_reason():
    """Nobody accepts a finding without saying why."""
    with pytest.raises(ValueError, match="at least 1 character"):
        experiment(analysis={"accept": {"leak_suspect": ""}})


def test_a_finding_of_ones_own_is_examined_beside_the_others():
    """Named by import path, it has evidence, and its threshold is in the YAML."""

    def even_numbers(frame, **analysis):
        findings = analysed(frame, analysis={**EVEN, **analysis}).findings
        return next(finding for finding in findings if finding.code == "even_numbers")

    finding = even_numbers(table(x=[2.0] * ROWS))
    assert (finding.outcome, finding.columns, finding.number) == ("found", ("x",), 1.0)
    assert finding.evidence == "1 column of even numbers: x (100%)."
    assert even_numbers(table()).outcome == "not_found"
    finding = even_numbers(
        table(), thresholds={"even_numbers": 0}, accept={"even_numbers": "we round"}
    )
    assert (finding.outcome, finding.threshold, finding.accepted) == (
        "found",
        0,
        "we round",
    )


def test_a_rule_that_returns_no_finding_is_named():
    """What a rule must return is said where it did not."""
    with pytest.raises(InvalidExperiment, match="the rule 'nothing' returned None"):
        analysed(table(), analysis={"findings": [f"{HERE}:nothing"]})
