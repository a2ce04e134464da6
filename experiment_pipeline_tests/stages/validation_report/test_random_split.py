"""What a random split of the same rows would have promised."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.reporting.document import render
from experiment_pipeline.reporting.run_record import EvidenceRow
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline_tests.stages.validation_report.checked import Checked, look_at

BY_CUSTOMER = {"by": "group", "column": "customer"}
BY_DAY = {"by": "time", "column": "day"}
FOREST = {"algorithm": "random_forest", "hyperparameters": {"n_estimators": [30]}}
BOOSTED = {
    "algorithm": "lightgbm",
    "hyperparameters": {
        "num_leaves": [15],
        "n_estimators": [100],
        "learning_rate": [0.1],
    },
}
ALONE: dict[str, Any] = {"search": [FOREST], "ensemble": "off"}


def customers(recognised: float, seed: int = 0) -> pd.DataFrame:
    """Rows of 250 customers, 8 each on 60 days; a customer is known by a feature, and
    adds so much to the target.
    """
    generator = np.random.default_rng(seed)
    customer = np.repeat(np.arange(250), 8)
    known_by = generator.normal(size=250)
    effect = generator.normal(size=250)
    x = generator.normal(size=2_000)
    noise = generator.normal(size=2_000)
    days = pd.Timestamp("2026-01-01") + pd.to_timedelta(
        generator.integers(0, 60, 2_000), "D"
    )
    frame = pd.DataFrame(
        {
            "customer": customer,
            "day": days,
            "age": known_by[customer],
            "x": x,
            "y": x + recognised * effect[customer] + noise,
        }
    )
    return frame.rename_axis(index="row_number")


def told(frame: pd.DataFrame, split: dict[str, str], **settings: Any) -> Checked:
    """The final evaluation of a forest under a split."""
    exclude = {"customer": "an id", "day": "a date"}
    own = split["column"]
    others = {name: why for name, why in exclude.items() if name != own}
    declared = {**ALONE, "split": split, "exclude": others, **settings}
    return look_at(frame, "regression", declared)


def promise(report: ValidationReport) -> list[EvidenceRow]:
    """What the report says of a random split."""
    return [row for row in report.evidence if row.kind == "random split"]


@pytest.mark.parametrize(
    "settings",
    [{}, {"evaluation": {"cross_validation": {"folds": 3, "repeats": 1}}}],
    ids=["test set", "cross-validation"],
)
def test_a_model_that_recognises_customers_would_have_promised_too_much(
    settings: dict[str, Any],
):
    """The random split scores better than the declared one by more than chance."""
    checked = told(customers(4.0), BY_CUSTOMER, **settings)
    (row,) = promise(checked.check.report)
    assert row.what.endswith("a random split would have promised too much")
    assert row.difference <= row.high < 0, "of an error: less is better"
    assert "What a random split would have said" in render(checked.document)


@pytest.mark.parametrize("split", [BY_CUSTOMER, BY_DAY], ids=["group", "time"])
def test_nothing_is_said_against_a_difference_that_may_be_chance(
    split: dict[str, str],
):
    """Where customers and days add nothing, the interval contains 0, which is said."""
    (row,) = promise(told(customers(0.0), split).check.report)
    assert row.low <= 0 <= row.high
    assert row.what.endswith("the difference may be chance")


def test_the_declared_score_is_that_of_the_leaderboard():
    """Score minus difference is the test score, of all rows that it is of."""
    frame = customers(1.0)
    report = told(frame, BY_CUSTOMER).check.report
    (row,) = promise(report)
    assert row.score - row.difference == pytest.approx(report.gap.test.estimate)
    assert row.rows == 456
    assert told(frame, BY_CUSTOMER).check.report.evidence == report.evidence


def test_the_same_rows_are_predicted_so_that_a_small_promise_shows():
    """Boosting recognises customers a little: the paired interval excludes 0, where
    that of two unrelated samples is several times as wide.
    """
    checked = told(customers(2.0), BY_CUSTOMER, search=[BOOSTED])
    report = checked.check.report
    (row,) = promise(report)
    assert row.high < 0
    unrelated = report.gap.test.high - report.gap.test.low
    assert 2 * (row.high - row.low) < unrelated


def test_all_rows_of_a_cross_validation_by_groups_are_predicted_once_more():
    """Each once; of folds in time only the last, whose fit has the most rows."""
    folds: dict[str, dict[str, int]] = {
        "group": {"folds": 3, "repeats": 2},
        "time": {"folds": 3},
    }
    rows = {}
    for split in (BY_CUSTOMER, BY_DAY):
        settings: dict[str, Any] = {
            "search": [{"algorithm": "linear"}],
            "evaluation": {"cross_validation": folds[split["by"]]},
        }
        checked = told(customers(0.0), split, **settings)
        (row,) = promise(checked.check.report)
        rows[split["by"]] = row.rows
    assert rows["group"] > 1_500, "of about 1,600 in train and test set"
    assert 0 < rows["time"] < rows["group"] / 2


def test_a_random_split_is_not_compared_with_itself():
    """Also with ids that stay together."""
    frame = customers(2.0).drop(columns="day")
    settings = {**ALONE, "split": {"by": "random", "id_columns": ["customer"]}}
    assert promise(look_at(frame, "regression", settings).check.report) == []


def test_without_time_it_is_not_fitted_again():
    """A row says so, without a score."""
    settings = {**ALONE, "split": BY_CUSTOMER, "exclude": {"day": "a date"}}
    checked = look_at(customers(2.0), "regression", settings, seconds_left=0.0)
    (row,) = promise(checked.check.report)
    assert "would take too long" in row.what
    assert row.score is None


@pytest.mark.parametrize("test_rows", [200, 400])
def test_a_class_that_random_rows_lack_stops_nothing(test_rows: int):
    """Where both of its rows are left out, a row says so, without a score."""
    sizes = {"train": 200, "test": test_rows, "validation": 200}
    part = np.repeat([*sizes], [*sizes.values()])
    frame = customers(0.0).drop(columns=["customer", "day"]).head(len(part))
    levels = np.where(frame["y"] > 0, "high", "low").astype(object)
    levels[np.unique(part, return_index=True)[1]] = "rare"
    settings = {
        **ALONE,
        "split": {"by": "column", "column": "part"},
        "metric": "accuracy",
        "search": [{"algorithm": "linear"}],
    }
    frame = frame.assign(y=levels, part=part)
    (row,) = promise(look_at(frame, "multiclass", settings).check.report)
    if test_rows == sizes["train"]:
        assert row.score is not None, "classes are spread over the parts"
    else:
        assert row.score is None
        assert row.what.endswith("its train rows lack a class")
