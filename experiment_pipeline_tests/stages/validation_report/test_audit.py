"""The audit by groups: which groups there are, its gates, its section."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.reporting.run_record import AuditRow
from experiment_pipeline.stages.validation_report.audit import section
from experiment_pipeline.stages.validation_report.gates import hold_audit
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.table.features import check_target
from experiment_pipeline.table.kinds import groups_of
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of
from experiment_pipeline_tests.stages.validation_report.checked import look_at, table
from experiment_pipeline_tests.stages.validation_report.report_examples import report_of

RATIO = {"columns": ["sex"], "selection_rate_ratio": 0.8}
DIFFERENCE = {"columns": ["sex"], "selection_rate_difference": 0.1}


def _row(measure: str, low: float, high: float) -> AuditRow:
    names = {"column_name": "sex", "group_name": "F and M", "measure": measure}
    return AuditRow(**names, value=low, low=low, high=high, rows=500)


@pytest.mark.parametrize(
    ("limits", "low", "high", "outcome", "value"),
    [
        (RATIO, 0.8, 0.95, "PASS", 0.8),
        (RATIO, 0.5, 0.79, "FAIL", 0.79),
        (RATIO, 0.7, 0.95, "INCONCLUSIVE", 0.7),
        (DIFFERENCE, 0.0, 0.1, "PASS", 0.1),
        (DIFFERENCE, 0.11, 0.3, "FAIL", 0.11),
        (DIFFERENCE, 0.0, 0.2, "INCONCLUSIVE", 0.2),
    ],
)
def test_the_whole_interval_decides(
    limits: dict, low: float, high: float, outcome: str, value: float
) -> None:
    """It passes within the limit and fails beyond it; with the limit inside nothing is decided."""
    *_, measure = limits
    (gate,) = hold_audit(spec_of(audit=limits), [_row(measure, low, high)])
    assert (gate.outcome, gate.value, gate.passed) == (outcome, value, outcome != "FAIL")


def test_what_is_not_decided_is_a_condition() -> None:
    """Too few rows to compare block nothing, and the decision says so; a failed gate refuses the model."""
    spec = spec_of(audit=RATIO)
    report = report_of(spec)
    assert report.accepted
    (condition,) = report.conditions
    assert condition.endswith("selection_rate_ratio of sex at least 0.8: undefined, INCONCLUSIVE")
    refused = report_of(spec, audited=[_row("selection_rate_ratio", 0.4, 0.6)])
    assert [gate.metric for gate in refused.failed_gates] == ["selection_rate_ratio"]
    assert ValidationReport.from_json(refused.to_json()) == refused


def test_without_the_key_nothing_is_said() -> None:
    """No gate and no section."""
    assert [*hold_audit(spec_of(), ())] == [*section(report_of().audit)] == []


def test_groups_are_values_ranges_and_what_is_missing() -> None:
    """Numbers of many values are cut into quarters; rare texts beyond the first twenty are one group."""
    names, codes = groups_of(pd.Series(["F", None, "M", "F", "F", "M"]))
    assert [names[code] for code in codes] == ["F", "missing", "M", "F", "F", "M"]
    names, codes = groups_of(pd.Series(np.arange(80.0)))
    assert (len(names), np.bincount(codes).tolist()) == (4, [20] * 4)
    names, codes = groups_of(pd.Series([f"t{n}" for n in range(20) for _ in range(2)] + ["x", "y"]))
    assert (len(names), names[codes[-1]]) == (21, "other values")


def test_columns_that_form_no_groups_are_named_before_the_search() -> None:
    """A column that is not there, and times."""
    rows = pd.DataFrame({"y": [0, 1], "at": pd.to_datetime(["2026-01-01", "2026-01-02"])})
    for column, message in (("sex", "the table has no column 'sex'"), ("at", "forms no groups")):
        with pytest.raises(UnusableTable, match=message):
            check_target(rows, spec_of(target="y", audit=[column]))


def test_a_refused_audit_is_explained_on_the_page() -> None:
    """Groups, comparison and gate of an excluded column, whose texts are escaped; and a reason of its own."""
    frame, draw = table("binary", 1_500), np.random.default_rng(1)
    men = draw.random(1_500) < 0.5
    y = np.where(men & (draw.random(1_500) < 0.6), "yes & <b>", frame["y"])
    frame = frame.assign(sex=np.where(men, "M", "<i>F</i>"), noise=frame["noise"] + men * 2, y=y)
    more = {"exclude": {"sex": "protected"}, "audit": RATIO, "search": [{"algorithm": "linear"}]}
    found = look_at(frame, "binary", {**more, "positive_class": "yes & <b>"})
    assert "sex" not in found.check.pipeline.feature_names_in_
    assert not found.check.report.accepted
    assert found.check.next_search.reasons[0].code == "groups_differ"
    assert "M and &lt;i&gt;F&lt;/i&gt;" in found.page
    assert "<i>F</i>" not in found.page
    compared = {one.measure: one for one in found.check.report.audit if "and" in one.group_name}
    assert compared["equalized_odds_ratio"].value == min(
        compared[f"{name}_positive_rate_ratio"].value for name in ("true", "false")
    )
