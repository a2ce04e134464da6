import re
from collections import Counter
from pathlib import Path

import pytest

from experiment_pipeline.spec.table import Analysis
from experiment_pipeline.stages.data_analysis.finding import FindingRule
from experiment_pipeline.stages.data_analysis.findings import (
    PROBE_RULES,
    TABLE_RULES,
    check_settings,
    problems,
)
from experiment_pipeline_tests.stages.data_analysis.tables import experiment, subject, table

RULES = (*TABLE_RULES, *PROBE_RULES)


def test_every_rule_has_a_code_of_its_own_and_is_tested_to_hit() -> None:
    """A finding without its own tests does not exist; what it lets pass is tested beside them."""
    tests = [
        path for path in Path(__file__).parent.glob("test_*.py") if "no_finding" not in path.stem
    ]
    asked = {code for path in tests for code in re.findall(r'check\("(\w+)"', path.read_text())}
    assert Counter(rule.code for rule in RULES) == Counter(asked)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_rule_is_one_that_a_user_could_write(rule) -> None:
    """A threshold is named after its finding, and the default lies in the range that makes sense."""
    assert isinstance(rule, FindingRule)
    assert rule.title
    assert rule.advice
    for name, threshold in rule.thresholds.items():
        assert name in {rule.code, f"{rule.code}_blocks"}
        assert threshold.low <= threshold.default <= threshold.high


@pytest.mark.parametrize("rule", TABLE_RULES, ids=lambda rule: rule.code)
def test_every_finding_has_the_code_and_the_words_of_its_rule(rule) -> None:
    """Code, title and advice are declared once."""
    finding = rule.check(subject(table()))
    assert (finding.code, finding.title, finding.advice) == (rule.code, rule.title, rule.advice)


@pytest.mark.parametrize(
    ("analysis", "place", "told"),
    [
        (
            {"accept": {"leak_suspects": "fine"}},
            "analysis.accept.leak_suspects",
            "did you mean 'leak_suspect'?",
        ),
        ({"thresholds": {"outlier": 3}}, "analysis.thresholds.outlier", "did you mean 'outliers'?"),
        (
            {"thresholds": {"leak_suspect": 2}},
            "analysis.thresholds.leak_suspect",
            "write a number from 0 to 1",
        ),
        ({"thresholds": {"target_constant": 1}}, "analysis.thresholds", "is no threshold"),
    ],
)
def test_a_yaml_that_names_nothing_is_refused(analysis, place, told) -> None:
    """Unknown codes and thresholds, and impossible numbers, are errors that say what fits."""
    (problem,) = problems(Analysis(**analysis))
    assert place in str(problem)
    assert told in str(problem)
    with pytest.raises(Exception, match="fix: correct the YAML"):
        check_settings(Analysis(**analysis))


def test_an_acceptance_needs_its_reason() -> None:
    """Nobody accepts a finding without saying why."""
    with pytest.raises(ValueError, match="gives no reason"):
        experiment(analysis={"accept": {"leak_suspect": " "}})
