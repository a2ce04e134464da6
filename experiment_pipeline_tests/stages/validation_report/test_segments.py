"""Weak segments, horizons, coverage and the audit by groups: what is planted is found,
and chance is not.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from scipy.special import expit

from experiment_pipeline.reporting.run_record import AuditRow
from experiment_pipeline.spec.schema import Meaning
from experiment_pipeline.stages.validation_report import effects
from experiment_pipeline.stages.validation_report.audit import section
from experiment_pipeline.stages.validation_report.gates import (
    audit_gates,
    coverage_gate,
)
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.intervals import Calibrated
from experiment_pipeline_tests.bench.statistics_choice import accused
from experiment_pipeline_tests.results import apart
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of
from experiment_pipeline_tests.stages.validation_report.checked import look_at, table
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    judged,
    report_of,
    text_of,
)

N = 2_000
Segments = tuple[effects.Segment, ...] | None


def weakest(rows: pd.DataFrame, weak: np.ndarray) -> Segments:
    """The segments of a model that knows nothing in the weak rows."""
    generator = np.random.default_rng(1)
    y = (generator.random(N) < 0.4).astype(int)
    signal = np.where(weak, 0, 2.5 * y) + generator.normal(size=N)
    seen = apart(y, expit(signal))
    return effects.weakest_segments(
        judged(exported=seen, rows=rows, features=tuple(rows))
    )


@pytest.mark.parametrize(
    ("column", "value", "weak"),
    [
        ("distance", "1,19", lambda rows: rows["distance"].rank(pct=True) > 0.75),
        ("origin", "missing", lambda rows: rows["origin"].isna()),
    ],
)
def test_where_the_model_knows_nothing_comes_first(
    column: str, value: str, weak: Callable[[pd.DataFrame], pd.Series]
):
    """A planted weakness is found by itself and called clear: a quarter, a gap."""
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "origin": generator.choice(["EWR", "JFK", None], N),
            "distance": generator.normal(1_000, 300, N),
        }
    )
    mask = weak(rows).to_numpy()
    worst, *_ = weakest(rows, mask)
    assert (worst.column, worst.clearly_worse) == (column, True)
    assert worst.value.startswith(value)
    assert worst.rows == pytest.approx(mask.sum(), abs=1)
    assert worst.score.low < 0.5 < worst.score.high < worst.expected < 1


@pytest.mark.parametrize("metric", ["f1", "mae"])
def test_a_perfect_model_is_weak_nowhere(metric: str):
    """Rare classes, and large numbers with large errors, are no weakness of
    the model.
    """
    assert accused(2, 0, metric=metric) == 0


def test_small_parts_the_whole_and_parts_of_one_class_are_not_judged():
    """A part needs enough rows, a constant column has no parts, and a metric must be
    defined.
    """
    rare = np.arange(N) < 50
    rows = pd.DataFrame({"rare": np.where(rare, "x", "y"), "same": "z"})
    segments = weakest(rows, rare)
    assert {(part.column, part.value) for part in segments} <= {("rare", "y")}
    assert weakest(rows[["same"]], rare) is None
    seen = apart(rare * 1, np.random.default_rng(4).random(N))
    answers = judged(exported=seen, rows=rows, features=("rare",))
    assert effects.weakest_segments(answers) == ()


DAYS, ROWS_A_DAY = 60, 40
BY_TIME = {"split": {"by": "time", "column": "day"}}
FITTED = pd.DataFrame({"day": pd.to_datetime(["2024-01-30", "2024-01-31"])})


def horizons(metric: str, seed: int, decay: float = 0.0, **settings: Any) -> Segments:
    """Return those of days that resemble the last; the feature loses up to `decay` of
    its signal.
    """
    generator, day = np.random.default_rng(seed), np.repeat(np.arange(DAYS), ROWS_A_DAY)
    luck = lfilter([1.0], [1.0, -0.5], np.sqrt(0.75) * generator.normal(size=DAYS))[day]
    signal, noise, error = generator.normal(size=(3, len(day)))
    share = 1 - decay * day / DAYS
    prediction = share * signal + np.sqrt(1 - share**2) * noise
    y, task = signal + 0.3 * luck + 0.5 * error, "regression"
    if metric in {"roc_auc", "log_loss"}:
        y = (generator.random(len(day)) < expit(1.5 * signal + 0.3 * luck)) * 1.0
        prediction, task = expit(1.5 * prediction), "binary"
    days = pd.Timestamp("2024-02-01") + pd.to_timedelta(day, unit="D")
    model = judged(
        spec_of(metric=metric, task=task, **BY_TIME | settings),
        SetPrediction(y, prediction, day.view(ConsecutiveClusters)),
        rows=pd.DataFrame({"day": days}),
        fitted=FITTED,
    )
    return effects.by_horizon(model)


@pytest.mark.parametrize("metric", ["roc_auc", "rmse"])
def test_a_planted_decay_is_shown_and_chance_is_none(metric: str):
    """A lost half of the signal is found at the end; steady models are not accused."""
    first, *_, last = horizons(metric, 0, decay=0.6)
    assert (first.value, last.value) == ("1 to 15 days", "46 to 60 days")
    assert (first.rows, first.clearly_worse, last.clearly_worse) == (600, False, True)
    for seed in range(1, 4):
        assert not any(part.clearly_worse for part in horizons(metric, seed))


def test_only_enough_rows_under_a_split_by_time_have_horizons():
    """Other splits have no time, and a hundred rows are one stretch."""
    assert horizons("mae", 0, split={"by": "random"}) == ()
    few = pd.DataFrame({"day": np.arange(199.0)})
    seen = apart(np.arange(199), np.arange(199))
    spec = spec_of(metric="mae", task="regression", **BY_TIME)
    assert effects.by_horizon(judged(spec, seen, rows=few, fitted=few - 200)) == ()


def test_the_report_shows_horizons_and_notes_a_decay():
    """A section of its own, and a caveat with the first stretch that is worse."""
    report = report_of(spec_of(**BY_TIME), horizons=horizons("roc_auc", 0, decay=0.6))
    assert "| day | 46 to 60 days | 600 |" in text_of(report)
    assert "takes months (long memory)" in text_of(report)
    assert "long memory" not in text_of(report_of())
    assert "the score decays: 46 to 60 days after" in "".join(report.notes)


# --- coverage on the validation rows ---


NUMBERS: dict[str, Any] = {"task": "regression", "metric": "mae", **BY_TIME}


def drawn(
    seed: int, n: int = 600, weak: float = 1, drift: float = 0
) -> tuple[pd.DataFrame, SetPrediction]:
    """Days of ten rows of two shops; the errors of `west` are larger, or those of later
    days.
    """
    generator, day = np.random.default_rng(seed), np.arange(n) // 10
    shop = generator.choice(["east", "west"], n)
    size = np.where(shop == "west", weak, 1.0) + drift * day / day[-1]
    prediction, error = generator.normal(size=(2, n))
    rows = pd.DataFrame({"shop": shop, "day": day * 1.0})
    clusters = day.view(ConsecutiveClusters)
    return rows, SetPrediction(prediction + size * error, prediction, clusters)


def check(seed: int = 1, n: int = 600, **changes: float) -> effects.CoverageCheck:
    """Calibrated on one draw, held against another, with changes."""
    frame, tested = drawn(0, n)
    rows, exported = drawn(seed, **changes)
    fitted = frame.assign(day=-1.0)
    model = judged(
        spec_of(**NUMBERS), exported, rows=rows, features=("shop",), fitted=fitted
    )
    calibrated = Calibrated.on(frame[["shop"]], tested, None)
    return effects.check_coverage(model, calibrated)


def test_a_part_or_a_time_with_larger_errors_is_named():
    """Steady rows are held; a shop that became loud, or days that drift, are below the
    promise.
    """
    whole, *_ = check().parts
    assert (whole.column, whole.rows, whole.clearly_worse) == ("all rows", 600, False)
    assert whole.score.low < 0.9 < whole.score.high
    assert {part.value: part.clearly_worse for part in check(weak=4.0).parts}["west"]
    first, *_, last = (part for part in check(drift=3.0).parts if part.column == "day")
    assert (last.value, first.clearly_worse) == ("46 to 60", False)
    assert last.clearly_worse


def test_the_gate_fails_where_significantly_fewer_rows_are_held():
    """And where few rows cannot promise it, which it says; a steady model passes."""
    assert coverage_gate(check()).passed
    assert not coverage_gate(check(drift=3.0)).passed
    few = check(n=60)
    assert (coverage_gate(few).outcome, few.parts) == ("FAIL", ())
    assert few.calibrated.at(0.5) is not None
    rule = "Coverage of 90 %: too few rows or clusters for it. Calibrated on 60 rows"
    assert rule in text_of(report_of(coverage=few))


@pytest.mark.parametrize(("coverage", "gates"), [(None, []), (0.9, ["coverage"])])
def test_the_report_shows_and_keeps_it_and_the_gate_is_asked_for(
    coverage: float | None, gates: list[str]
):
    """A section, a caveat for what is not held, and a gate where the YAML
    promises it.
    """
    rows, spec = drawn(1)[1], spec_of(**NUMBERS, coverage=coverage)
    report = report_of(spec, rows, rows, classes=None, coverage=check(drift=3.0))
    assert [gate.metric for gate in report.gates] == [*gates, "mae"]
    assert [gate.metric for gate in report.failed_gates] == gates
    assert ValidationReport.from_json(report.to_json()).to_json() == report.to_json()
    assert "| day | 46 to 60 | 150 |" in text_of(report)
    assert "of 150 rows, day 46 to 60" in "".join(report.notes)


def test_a_class_with_too_few_calibration_rows_is_named():
    """The page names the class that every set holds, and no other."""
    y = np.arange(400) % 2
    y[:8] = 2
    p = np.random.default_rng(0).dirichlet([1, 1, 1], 400)
    labels = ("no", "yes", "never mind")
    calibrated = Calibrated.on(pd.DataFrame(index=range(400)), apart(y, p), labels)
    text = text_of(report_of(coverage=effects.CoverageCheck(0.9, calibrated)))
    assert "In every set: never mind. Such a class has fewer than 9 " in text
    half = text_of(report_of(coverage=effects.CoverageCheck(0.5, calibrated)))
    assert "In every set" not in half


def test_customers_that_no_id_declares_are_named_under_a_split_by_time():
    """The page says that the intervals are not about new customers, and what is."""
    generator, day = np.random.default_rng(0), np.repeat(np.arange(90), 20)
    customer = generator.integers(0, 60, len(day))
    delivered = pd.DataFrame(
        {"day": day, "customer": [f"c{code}" for code in customer], "week": day // 7}
    )
    prediction, error = generator.normal(size=(2, len(day)))
    y = prediction + generator.normal(size=60)[customer] + error
    seen = SetPrediction(y, prediction, day.view(ConsecutiveClusters))
    spec = spec_of(metric="mae", task="regression", **BY_TIME)
    report = report_of(spec, seen, seen, classes=None, delivered=delivered)
    (note,) = (note for note in report.notes if "about new ones" in note.lower())
    assert note.startswith("rows with one value of customer share their errors")
    assert note.endswith("split: {group: customer} makes it so")


def acquaintance(own: float, **settings: Any) -> Segments:
    """Those of 60 days and 60 customers; the model knows the first 30, with an error of
    their `own` for the others.
    """
    generator, day = np.random.default_rng(0), np.repeat(np.arange(DAYS), ROWS_A_DAY)
    customer = generator.integers(0, 60, len(day))
    prediction, error = generator.normal(size=(2, len(day)))
    of_customer = np.where(np.arange(60) < 30, 0.0, own * generator.normal(size=60))
    y = prediction + of_customer[customer] + 0.5 * error
    clusters = np.column_stack([day, customer]).view(ConsecutiveClusters)
    split = {"by": "time", "column": "day", "group": "customer"} | settings
    return effects.by_acquaintance(
        judged(
            spec_of(metric="rmse", task="regression", split=split),
            SetPrediction(y, prediction, clusters),
            rows=pd.DataFrame({"day": day, "customer": customer}),
            fitted=pd.DataFrame({"customer": np.arange(30)}),
        )
    )


def test_known_and_new_customers_are_scored_apart():
    """New ones with errors of their own are shown to be worse, others are not; who asks
    for one kind gets no table.
    """
    known, new = acquaintance(own=2.0)
    assert (known.column, known.value, new.value) == ("customer", "known", "new")
    assert known.rows + new.rows == DAYS * ROWS_A_DAY
    assert known.score.high < known.expected < new.score.estimate
    assert (known.clearly_worse, new.clearly_worse) == (False, True)
    assert not acquaintance(own=0.0)[1].clearly_worse
    assert acquaintance(own=2.0, predicts="new") == ()
    report = report_of(spec_of(**BY_TIME), acquaintance=(known, new))
    assert "Known and new values of customer" in text_of(report)
    assert "significantly worse for new values of customer" in "".join(report.notes)


# --- the audit by groups ---


RATIO = {"columns": ["sex"], "selection_rate_ratio": 0.8}
DIFFERENCE = {"columns": ["sex"], "selection_rate_difference": 0.1}


def row(measure: str, low: float, high: float) -> AuditRow:
    """A comparison of two groups."""
    return AuditRow(
        column_name="sex",
        group_name="F and M",
        measure=measure,
        value=low,
        low=low,
        high=high,
        rows=500,
    )


@pytest.mark.parametrize(
    ("limits", "low", "high", "outcome", "value"),
    [
        (RATIO, 0.8, 0.95, "PASS", 0.8),
        (RATIO, 0.5, 0.79, "FAIL", 0.79),
        (DIFFERENCE, 0.0, 0.1, "PASS", 0.1),
        (DIFFERENCE, 0.11, 0.3, "FAIL", 0.11),
        (DIFFERENCE, 0.0, 0.2, "INCONCLUSIVE", 0.2),
    ],
)
def test_the_whole_interval_decides(
    limits: dict, low: float, high: float, outcome: str, value: float
):
    """It passes within the limit and fails beyond it; with the limit inside nothing is
    decided.
    """
    *_, measure = limits
    (gate,) = audit_gates(spec_of(audit=limits), [row(measure, low, high)])
    assert (gate.outcome, gate.value) == (outcome, value)
    assert gate.passed is (outcome != "FAIL")


def test_what_is_not_decided_is_a_condition():
    """Too few rows block nothing and are said; a failed gate refuses; no key,
    no gate.
    """
    assert [*audit_gates(spec_of(), ()), *section((), {})] == []
    spec = spec_of(audit=RATIO)
    report = report_of(spec)
    assert report.accepted
    (condition,) = report.conditions
    gate = "selection_rate_ratio of sex at least 0.8"
    assert condition.endswith(f"{gate}: undefined, INCONCLUSIVE")
    refused = report_of(spec, audit=(row("selection_rate_ratio", 0.4, 0.6),))
    assert [gate.metric for gate in refused.failed_gates] == ["selection_rate_ratio"]
    assert ValidationReport.from_json(refused.to_json()) == refused


def test_personal_and_protected_features_are_named_with_or_without_an_audit():
    """And whether their groups are compared, so that a gap is seen."""
    meanings = {
        "sex": Meaning(protected=True),
        "age": Meaning(personal=True, protected=True),
        "distance": Meaning(unit="miles"),
    }
    audit = (row("selection_rate_ratio", 0.4, 0.6),)
    told = [section(audited, meanings) for audited in ((), audit)]
    tables = [next(iter(one)).blocks[0] for one in told]
    assert [table.rows[0] for table in tables] == [
        ("sex", "protected", "no"),
        ("sex", "protected", "yes"),
    ]
    assert tables[0].rows[1:] == [("age", "personal and protected", "no")]
    report = replace(report_of(), meanings=meanings)
    assert ValidationReport.from_json(report.to_json()) == report


def test_a_refused_audit_is_explained_on_the_page():
    """Groups, comparison and gate of an excluded column, whose texts are escaped; and a
    reason of its own.
    """
    frame, draw = table("binary", 1_500), np.random.default_rng(1)
    men = draw.random(1_500) < 0.5
    late = np.where(men & (draw.random(1_500) < 0.6), "yes & <b>", frame["y"])
    sex, noise = np.where(men, "M", "<i>F</i>"), frame["noise"] + men * 2
    settings = {
        "exclude": {"sex": "protected"},
        "audit": RATIO,
        "search": [{"algorithm": "linear"}],
        "positive_class": "yes & <b>",
    }
    shown = look_at(frame.assign(sex=sex, noise=noise, y=late), "binary", settings)
    check = shown.check
    assert "sex" not in check.pipeline.feature_names_in_
    assert check.next_search.reasons[0].code == "groups_differ"
    assert "M and &lt;i&gt;F&lt;/i&gt;" in shown.page
    assert "<i>F</i>" not in shown.page
    ratios = {part.measure: part.value for part in check.report.audit}
    assert ratios["equalized_odds_ratio"] == min(
        ratios["true_positive_rate_ratio"], ratios["false_positive_rate_ratio"]
    )
