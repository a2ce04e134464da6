"""Parts of the validation rows: weakest segments and scores by time, found where they
are, not by chance.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from scipy.special import expit

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.reporting.document import render
from experiment_pipeline.reporting.run_record import AuditRow
from experiment_pipeline.stages.validation_report import effects
from experiment_pipeline.stages.validation_report.audit import section
from experiment_pipeline.stages.validation_report.gates import (
    audit_gates,
    coverage_gate,
)
from experiment_pipeline.stages.validation_report.page import build_document
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.features import check_target
from experiment_pipeline.table.intervals import Calibrated
from experiment_pipeline.table.kinds import groups_of
from experiment_pipeline_tests.bench.statistics_choice import accused
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of
from experiment_pipeline_tests.stages.validation_report.checked import look_at, table
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    judged,
    report_of,
)

N = 2_000


def rows_of(generator: np.random.Generator) -> pd.DataFrame:
    """A category, a number, a number with gaps, a flag."""
    return pd.DataFrame(
        {
            "origin": generator.choice(["EWR", "JFK", "LGA"], N),
            "distance": generator.normal(1_000, 300, N),
            "age": np.where(
                generator.random(N) < 0.2, np.nan, generator.integers(0, 40, N)
            ),
            "night": generator.random(N) < 0.3,
        }
    )


def predicted(weak: np.ndarray, generator: np.random.Generator) -> SetPrediction:
    """Return predictions that know nothing in the weak rows."""
    y = (generator.random(N) < 0.4).astype(int)
    signal = np.where(weak, 0, 2.5 * y)
    return SetPrediction(
        y, 1 / (1 + np.exp(-signal - generator.normal(size=N))), np.arange(N)
    )


@pytest.mark.parametrize(
    ("column", "value", "weak"),
    [
        ("origin", "JFK", lambda rows: rows["origin"] == "JFK"),
        (
            "distance",
            "1,19",
            lambda rows: rows["distance"] > rows["distance"].quantile(0.75),
        ),
        ("age", "missing", lambda rows: rows["age"].isna()),
        ("night", "True", lambda rows: rows["night"]),
    ],
)
def test_where_the_model_knows_nothing_comes_first(column, value, weak) -> None:
    """A planted weakness is found by itself and called clear: a value, a quarter, a
    gap, a flag.
    """
    generator = np.random.default_rng(0)
    rows = rows_of(generator)
    mask = weak(rows).to_numpy()
    model = judged(exported=predicted(mask, generator), rows=rows, features=tuple(rows))
    worst, *_ = effects.weakest_segments(model)
    assert (worst.column, worst.clearly_worse) == (column, True)
    assert worst.value.startswith(value)
    assert worst.rows == pytest.approx(mask.sum(), abs=1)
    assert worst.score.low < 0.5 < worst.score.high


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "f1", "r2", "mae"])
def test_a_perfect_model_is_weak_nowhere(metric: str) -> None:
    """Rare classes, and large numbers with large errors, are no weakness of
    the model.
    """
    assert accused(4, 0, metric=metric) == 0


def test_small_parts_the_whole_and_parts_of_one_class_are_not_judged() -> None:
    """A part needs enough rows, a constant column has no parts, and a metric must be
    defined.
    """
    seen = predicted(np.arange(N) < 50, np.random.default_rng(4))

    def weakest(rows: pd.DataFrame, *features: str) -> tuple | None:
        return effects.weakest_segments(
            judged(exported=seen, rows=rows, features=features)
        )

    rows = pd.DataFrame({"rare": ["x"] * 50 + ["y"] * (N - 50), "same": "z"})
    segments = weakest(rows, *rows)
    assert all((segment.column, segment.value) == ("rare", "y") for segment in segments)
    answers = pd.DataFrame({"answer": np.where(seen.y == 1, "yes", "no")})
    assert weakest(answers, "answer") == ()
    assert weakest(rows, "same") is None


DAYS, ROWS_A_DAY = 60, 40
BY_TIME = {"split": {"by": "time", "column": "day"}}
FITTED = pd.DataFrame({"day": [pd.Timestamp("2024-01-30"), pd.Timestamp("2024-01-31")]})


def horizons(
    metric: str, seed: int, decay: float = 0.0, **settings
) -> tuple[effects.Segment, ...]:
    """Return those of days that resemble the last; the feature loses up to `decay` of
    its signal.
    """
    generator, day = np.random.default_rng(seed), np.repeat(np.arange(DAYS), ROWS_A_DAY)
    luck = lfilter([1.0], [1.0, -0.5], np.sqrt(0.75) * generator.normal(size=DAYS))[day]
    (signal, noise, error), kept = (
        generator.normal(size=(3, len(day))),
        1 - decay * day / DAYS,
    )
    seen, task = kept * signal + np.sqrt(1 - kept**2) * noise, "regression"
    y, prediction = signal + 0.3 * luck + 0.5 * error, seen
    if metric in {"roc_auc", "log_loss"}:
        y = (generator.random(len(day)) < expit(1.5 * signal + 0.3 * luck)) * 1.0
        prediction, task = expit(1.5 * seen), "binary"
    frame = pd.DataFrame(
        {"day": pd.Timestamp("2024-02-01") + pd.to_timedelta(day, unit="D")}
    )
    spec = spec_of(metric=metric, task=task, **BY_TIME | settings)
    rows = SetPrediction(y, prediction, day.view(ConsecutiveClusters))
    return effects.by_horizon(judged(spec, rows, rows=frame, fitted=FITTED))


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "rmse", "r2"])
def test_a_planted_decay_is_shown_and_chance_is_none(metric: str) -> None:
    """A lost half of the signal is found at the end; of 60 steady models at most 5 %
    are accused.
    """
    first, *_, last = horizons(metric, 0, decay=0.6)
    assert (first.value, last.value) == ("1 to 15 days", "46 to 60 days")
    assert (first.rows, first.clearly_worse, last.clearly_worse) == (600, False, True)
    steady = [
        any(one.clearly_worse for one in horizons(metric, seed))
        for seed in range(1, 61)
    ]
    assert sum(steady) <= 3


def test_only_enough_rows_under_a_split_by_time_have_horizons() -> None:
    """Other splits have no time, and a hundred rows are one stretch."""
    assert horizons("mae", 0, split={"by": "random"}) == ()
    few = pd.DataFrame({"day": np.arange(199.0)})
    spec, rows = spec_of(metric="mae", task="regression", **BY_TIME), np.arange(199)
    model = judged(spec, SetPrediction(rows, rows, rows), rows=few, fitted=few - 200)
    assert effects.by_horizon(model) == ()


def test_the_report_shows_horizons_and_notes_a_decay() -> None:
    """A section of its own, and a caveat with the first stretch that is worse."""
    report = report_of(spec_of(**BY_TIME), horizons=horizons("roc_auc", 0, decay=0.6))
    assert "| day | 46 to 60 days | 600 |" in render(build_document(report))
    assert any(
        note.startswith("the score decays: 46 to 60 days after")
        for note in report.notes
    )


# --- coverage on the validation rows ---


ASKED: dict[str, Any] = {"task": "regression", "metric": "mae", **BY_TIME}


def drawn(
    seed: int, n: int = 600, weak: float = 1, drift: float = 0
) -> tuple[Any, SetPrediction]:
    """Days of ten rows of two shops; the errors of `west` are larger, or those of later
    days.
    """
    generator, day = np.random.default_rng(seed), np.arange(n) // 10
    frame = pd.DataFrame(
        {"shop": generator.choice(["east", "west"], n), "day": day * 1.0}
    )
    size = np.where(frame["shop"] == "west", weak, 1.0) + drift * day / day[-1]
    prediction, error = generator.normal(size=(2, n))
    return frame, SetPrediction(
        prediction + size * error, prediction, day.view(ConsecutiveClusters)
    )


def check(seed: int = 1, rows: int = 600, **changes: float) -> effects.CoverageCheck:
    """Calibrated on one draw, held against another, with changes."""
    frame, tested = drawn(0, rows)
    calibrated = Calibrated.on(frame[["shop"]], tested, None)
    new, exported = drawn(seed, **changes)
    model = judged(
        spec_of(**ASKED),
        exported,
        rows=new,
        features=("shop",),
        fitted=frame.assign(day=-1.0),
    )
    return effects.check_coverage(model, calibrated)


def test_a_part_or_a_time_with_larger_errors_is_named() -> None:
    """Steady rows are held; a shop that became loud, or days that drift, are below the
    promise.
    """
    every, *_ = check().parts
    assert (every.column, every.rows, every.clearly_worse) == ("all rows", 600, False)
    assert every.score.low < 0.9 < every.score.high
    assert {one.value: one.clearly_worse for one in check(weak=4.0).parts}["west"]
    first, *_, last = [one for one in check(drift=3.0).parts if one.column == "day"]
    assert (last.value, first.clearly_worse, last.clearly_worse) == (
        "46 to 60",
        False,
        True,
    )


def test_the_gate_fails_where_significantly_fewer_rows_are_held() -> None:
    """Of 40 steady models two at most; where few rows cannot promise it, it fails and
    says so.
    """
    assert sum(not coverage_gate(check(seed)).passed for seed in range(1, 41)) <= 2
    assert not coverage_gate(check(drift=3.0)).passed
    few = check(rows=60)
    known = ("FAIL", (), False)
    assert (
        coverage_gate(few).outcome,
        few.parts,
        few.calibrated.at(0.5) is None,
    ) == known
    text = render(build_document(report_of(coverage=few)))
    assert (
        "Coverage of 90 %: too few rows or clusters for it. Calibrated on 60 rows"
        in text
    )


@pytest.mark.parametrize("coverage", [None, 0.9])
def test_the_report_shows_and_keeps_it_and_the_gate_is_asked_for(
    coverage: float | None,
) -> None:
    """A section, a caveat for what is not held, and a gate where the YAML
    promises it.
    """
    spec, rows = spec_of(**ASKED, coverage=coverage), drawn(1)[1]
    found = {"classes": None, "coverage": check(drift=3.0)}
    report = report_of(spec, rows, rows, **found)
    assert [gate.metric for gate in report.gates] == ["mae"] + ["coverage"] * (
        coverage is not None
    )
    assert report.accepted is (coverage is None)
    assert ValidationReport.from_json(report.to_json()).to_json() == report.to_json()
    assert "| day | 46 to 60 | 150 |" in render(build_document(report))
    assert any(note.endswith("of 150 rows, day 46 to 60") for note in report.notes)


# --- the audit by groups ---


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
    """It passes within the limit and fails beyond it; with the limit inside nothing is
    decided.
    """
    *_, measure = limits
    (gate,) = audit_gates(spec_of(audit=limits), [_row(measure, low, high)])
    assert (gate.outcome, gate.value, gate.passed) == (
        outcome,
        value,
        outcome != "FAIL",
    )


def test_what_is_not_decided_is_a_condition() -> None:
    """Too few rows block nothing and are said; a failed gate refuses; no key,
    no gate.
    """
    assert [*audit_gates(spec_of(), ())] == [*section(report_of().audit)] == []
    spec = spec_of(audit=RATIO)
    report = report_of(spec)
    assert report.accepted
    (condition,) = report.conditions
    assert condition.endswith(
        "selection_rate_ratio of sex at least 0.8: undefined, INCONCLUSIVE"
    )
    refused = report_of(spec, audit=(_row("selection_rate_ratio", 0.4, 0.6),))
    assert [gate.metric for gate in refused.failed_gates] == ["selection_rate_ratio"]
    assert ValidationReport.from_json(refused.to_json()) == refused


def test_groups_are_values_ranges_and_what_is_missing() -> None:
    """Numbers of many values are cut into quarters; rare texts beyond the first twenty
    are one group.
    """
    names, codes = groups_of(pd.Series(["F", None, "M", "F", "F", "M"]))
    assert [names[code] for code in codes] == ["F", "missing", "M", "F", "F", "M"]
    names, codes = groups_of(pd.Series(np.arange(80.0)))
    assert (len(names), np.bincount(codes).tolist()) == (4, [20] * 4)
    names, codes = groups_of(
        pd.Series([f"t{n}" for n in range(20) for _ in range(2)] + ["x", "y"])
    )
    assert (len(names), names[codes[-1]]) == (21, "other values")


def test_groups_whose_names_look_alike_stay_apart() -> None:
    """Long names that begin alike, a text `missing` beside a gap, and numbers of more
    digits than shown.
    """
    long = "department of " * 5
    for cells in (
        [f"{long}north", f"{long}south"],
        ["missing", None],
        ["other values", "a"],
    ):
        names, codes = groups_of(pd.Series(cells))
        assert (len({*names}), sorted(codes)) == (2, [0, 1])
    names, codes = groups_of(pd.Series(20_260_101 + np.arange(80)))
    assert (len({*names}), np.bincount(codes).tolist()) == (4, [20] * 4)


def test_columns_that_form_no_groups_are_named_before_the_search() -> None:
    """A column that is not there, and times."""
    rows = pd.DataFrame(
        {"y": [0, 1], "at": pd.to_datetime(["2026-01-01", "2026-01-02"])}
    )
    for column, message in (
        ("sex", "the table has no column 'sex'"),
        ("at", "has no groups"),
    ):
        with pytest.raises(UnusableTable, match=message):
            check_target(rows, spec_of(target="y", audit=[column]))


def test_a_refused_audit_is_explained_on_the_page() -> None:
    """Groups, comparison and gate of an excluded column, whose texts are escaped; and a
    reason of its own.
    """
    frame, draw = table("binary", 1_500), np.random.default_rng(1)
    men = draw.random(1_500) < 0.5
    y = np.where(men & (draw.random(1_500) < 0.6), "yes & <b>", frame["y"])
    frame = frame.assign(
        sex=np.where(men, "M", "<i>F</i>"), noise=frame["noise"] + men * 2, y=y
    )
    more = {
        "exclude": {"sex": "protected"},
        "audit": RATIO,
        "search": [{"algorithm": "linear"}],
    }
    found = look_at(frame, "binary", {**more, "positive_class": "yes & <b>"})
    assert "sex" not in found.check.pipeline.feature_names_in_
    assert not found.check.report.accepted
    assert found.check.next_search.reasons[0].code == "groups_differ"
    assert "M and &lt;i&gt;F&lt;/i&gt;" in found.page
    assert "<i>F</i>" not in found.page
    compared = {
        one.measure: one for one in found.check.report.audit if "and" in one.group_name
    }
    assert compared["equalized_odds_ratio"].value == min(
        compared[f"{name}_positive_rate_ratio"].value for name in ("true", "false")
    )
