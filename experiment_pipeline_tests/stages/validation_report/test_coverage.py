"""Coverage on the validation rows: what is promised, what holds, for whom and until when, and the gate."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.prediction.intervals import Calibrated
from experiment_pipeline.reporting.document import render
from experiment_pipeline.stages.validation_report.effects import CoverageCheck, check_coverage
from experiment_pipeline.stages.validation_report.gates import held_coverage
from experiment_pipeline.stages.validation_report.page import build_document
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of
from experiment_pipeline_tests.stages.validation_report.report_examples import report_of

SPLIT = {"by": "time", "column": "day"}
ASKED: dict[str, Any] = {"task": "regression", "metric": "mae", "split": SPLIT}


def drawn(seed: int, n: int = 600, weak: float = 1, drift: float = 0) -> tuple[Any, SetPrediction]:
    """Days of ten rows of two shops; the errors of `west` are larger, or those of later days."""
    generator, day = np.random.default_rng(seed), np.arange(n) // 10
    frame = pd.DataFrame({"shop": generator.choice(["east", "west"], n), "day": day * 1.0})
    size = np.where(frame["shop"] == "west", weak, 1.0) + drift * day / day[-1]
    prediction, error = generator.normal(size=(2, n))
    return frame, SetPrediction(
        prediction + size * error, prediction, day.view(ConsecutiveClusters)
    )


def check(seed: int = 1, rows: int = 600, **changes: float) -> CoverageCheck:
    """Calibrated on one draw, held against another, with changes."""
    frame, tested = drawn(0, rows)
    calibrated, fitted = Calibrated.on(frame[["shop"]], tested, None), frame.assign(day=-1.0)
    return check_coverage(spec_of(**ASKED), calibrated, *drawn(seed, **changes), ["shop"], fitted)


def test_a_part_or_a_time_with_larger_errors_is_named() -> None:
    """Steady rows are held; a shop that became loud, or days that drift, are below the promise."""
    every, *_ = check().parts
    assert (every.column, every.rows, every.clearly_worse) == ("all rows", 600, False)
    assert every.score.low < 0.9 < every.score.high
    assert {one.value: one.clearly_worse for one in check(weak=4.0).parts}["west"]
    first, *_, last = [one for one in check(drift=3.0).parts if one.column == "day"]
    assert (last.value, first.clearly_worse, last.clearly_worse) == ("46 to 60", False, True)


def test_the_gate_fails_where_significantly_fewer_rows_are_held() -> None:
    """Of 40 steady models two at most; where few rows cannot promise it, it fails and says so."""
    assert sum(not held_coverage(check(seed)).passed for seed in range(1, 41)) <= 2
    assert not held_coverage(check(drift=3.0)).passed
    few = check(rows=60)
    assert (held_coverage(few).outcome, few.parts, few.calibrated.at(0.5) is None) == (
        "FAIL",
        (),
        False,
    )
    text = render(build_document(report_of(coverage=few)))
    assert "Coverage of 90 %: too few rows or clusters for it. Calibrated on 60 rows" in text


@pytest.mark.parametrize("coverage", [None, 0.9])
def test_the_report_shows_and_keeps_it_and_the_gate_is_asked_for(coverage: float | None) -> None:
    """A section, a caveat for what is not held, and a gate where the YAML promises it."""
    spec, rows = spec_of(**ASKED, coverage=coverage), drawn(1)[1]
    found = {"classes": None, "threshold": None, "coverage": check(drift=3.0)}
    report = report_of(spec, rows, rows, **found)
    assert [gate.metric for gate in report.gates] == ["mae"] + ["coverage"] * (coverage is not None)
    assert report.accepted is (coverage is None)
    assert ValidationReport.from_json(report.to_json()).to_json() == report.to_json()
    assert "| day | 46 to 60 | 150 |" in render(build_document(report))
    assert any(note.endswith("of 150 rows, day 46 to 60") for note in report.notes)
