"""Coverage on the validation rows: what is promised, what holds, for whom and until when, and the gate."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.prediction.intervals import Calibrated
from experiment_pipeline.reporting.document import render
from experiment_pipeline.stages.validation_report.effects import CoverageCheck, check_coverage
from experiment_pipeline.stages.validation_report.page import build_document
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of
from experiment_pipeline_tests.stages.validation_report.report_examples import report_of

NUMBERS = {"task": "regression", "metric": "mae"}
BY_TIME = {"split": {"by": "time", "column": "day"}}


def drawn(
    seed: int, n: int = 600, weak: float = 1.0, drift: float = 0.0
) -> tuple[pd.DataFrame, SetPrediction]:
    """Days of ten rows of two shops; the errors of `west` are larger, or those of later days."""
    generator, day = np.random.default_rng(seed), np.arange(n) // 10
    frame = pd.DataFrame({"shop": generator.choice(["east", "west"], n), "day": day * 1.0})
    scale = np.where(frame["shop"] == "west", weak, 1.0) + drift * day / day[-1]
    prediction = generator.normal(size=n)
    y = prediction + scale * generator.normal(size=n)
    return frame, SetPrediction(y, prediction, day.view(ConsecutiveClusters))


def check(seed: int = 1, settings: dict | None = None, rows: int = 600, **changes) -> CoverageCheck:
    """Calibrated on one draw, held against another, with changes."""
    tested, spec = drawn(0, rows), spec_of(**NUMBERS | BY_TIME | (settings or {}))
    calibrated = Calibrated.on(tested[0][["shop"]], tested[1], None)
    fitted = pd.DataFrame({"day": [-1.0]})
    return check_coverage(spec, calibrated, *drawn(seed, **changes), ["shop"], fitted)


def test_a_part_or_a_time_with_larger_errors_is_named() -> None:
    """Steady rows are held; a shop that became loud, or days that drift, are below the promise."""
    every, *_ = check().parts
    assert (every.column, every.rows, every.clearly_worse) == ("all rows", 600, False)
    assert every.score.low < 0.9 < every.score.high
    loud = {one.value: one.clearly_worse for one in check(weak=4.0).parts}
    assert loud["west"]
    late = [one for one in check(drift=3.0).parts if one.column == "day"]
    assert [one.value for one in late][-1] == "46 to 60"
    assert not late[0].clearly_worse
    assert late[-1].clearly_worse


def test_the_gate_fails_where_significantly_fewer_rows_are_held() -> None:
    """Of steady models it stops at most one in twenty; more is promised than few rows can keep: it fails."""
    stopped = sum(not check(seed).gate.passed for seed in range(1, 41))
    assert stopped <= 2
    assert not check(drift=3.0).gate.passed
    few = check(rows=60)
    assert (few.gate.outcome, few.parts, few.calibrated.at(0.5) is None) == ("FAIL", (), False)
    text = render(build_document(report_of(coverage=few)))
    assert "Coverage of 90 %: too few rows or clusters to promise it. Calibrated on 60 rows" in text


@pytest.mark.parametrize("coverage", [None, 0.9])
def test_the_report_shows_and_keeps_it_and_the_gate_is_asked_for(coverage: float | None) -> None:
    """A section, a caveat for what is not held, and a gate where the YAML promises it."""
    found, settings = check(drift=3.0), NUMBERS | BY_TIME
    spec, rows = spec_of(**settings, coverage=coverage), drawn(1)[1]
    report = report_of(spec, rows, rows, classes=None, threshold=None, coverage=found)
    assert [gate.metric for gate in report.gates] == ["mae"] + ["coverage"] * (coverage is not None)
    assert report.accepted is (coverage is None)
    assert ValidationReport.from_json(report.to_json()).to_json() == report.to_json()
    text = render(build_document(report))
    assert "## Prediction intervals\n\nCoverage of 90 %: 0." in text
    assert "| day | 46 to 60 | 150 |" in text
    assert any(note.endswith("of 150, day 46 to 60") for note in report.notes)


def test_sets_are_held_class_by_class() -> None:
    """A class that the model no longer knows is below the promise, the other is not."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 1_000)
    p = np.clip(0.5 + 0.3 * (2 * y - 1) + 0.2 * generator.normal(size=1_000), 0.01, 0.99)
    tested, frame = SetPrediction(y, p, np.arange(1_000)), pd.DataFrame({"x": np.ones(1_000)})
    calibrated = Calibrated.on(frame, tested, ("no", "yes"))
    lost = SetPrediction(y, np.where(y == 1, 1 - p, p), np.arange(1_000))
    found = check_coverage(spec_of(), calibrated, frame, lost, ["x"], frame)
    assert {one.value: one.clearly_worse for one in found.parts} == {
        "": True,
        "no": False,
        "yes": True,
    }
    assert 1 <= found.size <= 2
