import pytest

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.spec.table import Analysis
from experiment_pipeline.stages.data_analysis.findings import own_code, problems
from experiment_pipeline_tests import runs
from experiment_pipeline_tests.stages.data_analysis import own_findings
from experiment_pipeline_tests.stages.data_analysis.tables import (
    ROWS,
    analysed,
    experiment,
    table,
)

HERE = own_findings.__name__
EVEN = {"findings": [f"{HERE}:even_numbers"]}


def _even_numbers(frame, **analysis):
    findings = analysed(frame, analysis=analysis).findings
    return next(finding for finding in findings if finding.code == "even_numbers")


def test_a_finding_of_ones_own_is_examined_beside_the_others() -> None:
    """Named by import path, it has its evidence, its threshold, its place in the verdict."""
    frame = table(x=[2.0] * ROWS)
    finding = _even_numbers(frame, **EVEN)
    assert (finding.outcome, finding.columns, finding.number) == ("found", ("x",), 1.0)
    assert finding.evidence == "1 feature of even numbers: x (100%)."
    assert _even_numbers(table(), **EVEN).outcome == "not_found"


def test_it_is_set_and_accepted_like_any_other() -> None:
    """Its threshold and its code may stand in the YAML."""
    strict = {**EVEN, "thresholds": {"even_numbers": 0}, "accept": {"even_numbers": "we round"}}
    finding = _even_numbers(table(), **strict)
    assert (finding.outcome, finding.threshold, finding.accepted) == ("found", 0, "we round")
    assert "is no threshold" in str(problems(Analysis(thresholds={"even_numbers": 0}))[0])


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("no_such_package.findings:late", "no_such_package.findings cannot be imported"),
        (f"{HERE}:even_number", "did you mean 'even_numbers'?"),
        (f"{HERE}:no_rule", "has no code and no thresholds and no check"),
        (f"{HERE}:EvenNumbers", "is a class"),
        (f"{HERE}:outliers_again", "the code 'outliers' is taken"),
    ],
)
def test_what_is_no_finding_is_refused_with_its_place(path, told) -> None:
    """A path that leads nowhere, or to what satisfies no rule, is told what is asked for."""
    (problem,) = problems(Analysis(findings=(path,)))
    assert problem.location[:2] == ("analysis", "findings")
    assert told in problem.message


def test_a_rule_that_returns_no_finding_is_named() -> None:
    """What a rule must return is said where it did not."""
    with pytest.raises(InvalidExperiment, match="the rule 'nothing' returned None"):
        analysed(table(), analysis={"findings": [f"{HERE}:nothing"]})


def test_its_source_counts(monkeypatch) -> None:
    """A changed module asks again: its digest is part of what the analysis was given."""
    before = own_code(Analysis(**EVEN))
    monkeypatch.setattr("inspect.getsource", lambda module: f"changed {module}")
    assert own_code(Analysis(**EVEN)) != before
    assert own_code(Analysis()) == {}


@pytest.mark.usefixtures("storage")
def test_the_asset_shows_it(tmp_path) -> None:
    """A run asks the rule that the YAML names, and tells the finding with all others."""
    path = tmp_path / "table.csv"
    table(x=[2.0, 4.0] * (ROWS // 2)).to_csv(path, index=False)
    schema = "columns: {y: {dtype: str}}\nstrict: false\n"
    done = runs.run(experiment(data=str(path), analysis=EVEN), schema)
    assert "1 feature of even numbers: x" in done.metadata("data_analysis")["findings"]
