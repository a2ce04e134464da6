import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from experiment_pipeline.spec.catalogue import CODES, PROBE_CODES, TABLE_CODES, THRESHOLDS
from experiment_pipeline.stages.data_analysis import findings
from experiment_pipeline.stages.data_analysis.findings import PROBE_RULES, TABLE_RULES
from experiment_pipeline_tests.stages.data_analysis.tables import experiment


def _stems(folder: Path, prefix: str = "") -> set[str]:
    return {path.stem.removeprefix(prefix) for path in folder.glob(f"{prefix}*.py")}


def test_every_code_is_one_module_and_one_rule() -> None:
    """Codes, modules and rules are the same, in the same order."""
    modules = _stems(Path(findings.__file__).parent) - {"__init__"}
    assert modules == set(CODES)
    for rules, codes in ((TABLE_RULES, TABLE_CODES), (PROBE_RULES, PROBE_CODES)):
        assert [rule.__module__.rpartition(".")[2] for rule in rules] == list(codes)


def test_every_code_has_a_test_file() -> None:
    """A finding without its own tests does not exist."""
    assert set(CODES) <= _stems(Path(__file__).parent, "test_")


def test_every_threshold_belongs_to_a_code_and_allows_its_default() -> None:
    """A threshold is named after its finding and lies in its own range."""
    for name, threshold in THRESHOLDS.items():
        assert name.removesuffix("_blocks") in CODES
        assert threshold.low <= threshold.default <= threshold.high


@pytest.mark.parametrize(
    ("analysis", "told"),
    [
        ({"accept": {"leak_suspects": "fine"}}, "did you mean 'leak_suspect'?"),
        ({"accept": {"leak_suspect": " "}}, "gives no reason"),
        ({"thresholds": {"outlier": 3}}, "did you mean 'outliers'?"),
        ({"thresholds": {"leak_suspect": 2}}, "write a number from 0 to 1"),
        ({"thresholds": {"target_constant": 1}}, "is no threshold"),
    ],
)
def test_a_yaml_that_names_nothing_is_refused(analysis, told) -> None:
    """Unknown codes and thresholds, and impossible numbers, are errors that say what fits."""
    with pytest.raises(ValidationError, match=re.escape(told)):
        experiment(analysis=analysis)
