"""Settings together: whatever an experiment combines is searched, chosen, judged and
can be stored.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV

from experiment_pipeline.reporting.document import render
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.storage import persistence
from experiment_pipeline_tests.stages.search.scenario import one
from experiment_pipeline_tests.stages.validation_report.checked import (
    look_at,
    searched,
    spec_of,
    table,
)
from experiment_pipeline_tests.table.made_rows import cut_rows

WEIGHTED = {"sample_weight": "weight"}
FOLDED = {"evaluation": {"cross_validation": {"folds": 3, "repeats": 1}}}
IN_TIME = {
    "evaluation": {"cross_validation": {"folds": 3}},
    "split": {"by": "time", "column": "day"},
}
BY_GROUP = {"split": {"by": "group", "column": "house"}}
BY_TIME = {"split": {"by": "time", "column": "day"}}
RISING = {"monotone": {"hour": "increasing"}}
AVERAGED = {"export": {"fits": 2}}
BOOSTED = one("lightgbm", num_leaves=[4, 7], n_estimators=10)
REWEIGHTED = one("lightgbm", num_leaves=[4, 7], n_estimators=15, scale_pos_weight=3)
CATBOOST = one("catboost", iterations=8, depth=3)
XGBOOST = one("xgboost", n_estimators=8, max_depth=3)
FOREST = one("random_forest", n_estimators=10)
LINEAR = {"algorithm": "linear"}
NOT_FEATURES = ["day", "house", "weight"]


def awkward(task: str) -> pd.DataFrame:
    """Return 700 rows with a column of many texts, a weight, a group and a day."""
    frame = table(task, 700)
    generator = np.random.default_rng(1)
    frame["name"] = pd.Series(
        [f"street {n} of <b>" for n in generator.integers(0, 90, len(frame))],
        dtype="str",
    )
    frame["weight"] = generator.lognormal(size=len(frame))
    frame["house"] = generator.integers(0, 120, len(frame))
    frame["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(
        np.sort(generator.integers(0, 300, len(frame))), unit="D"
    ).as_unit("us")
    return frame[[*frame.columns.drop(NOT_FEATURES), *NOT_FEATURES]]


@pytest.mark.parametrize(
    ("task", "search", "settings"),
    [
        ("binary", [REWEIGHTED, FOREST], BY_GROUP | WEIGHTED | RISING | AVERAGED),
        ("binary", [CATBOOST, LINEAR], IN_TIME | {"calibrate": "sigmoid"}),
        ("multiclass", [XGBOOST | {"features": ["text"]}, CATBOOST], FOLDED | AVERAGED),
        (
            "regression",
            [BOOSTED | {"features": ["target", "text"]}],
            IN_TIME | WEIGHTED | RISING,
        ),
    ],
)
def test_settings_combine(
    task: str, search: list[dict[str, Any]], settings: dict[str, Any]
):
    """The report has every score, and the pipeline predicts the same once it was
    stored.
    """
    split, frame = settings.get("split", {}), awkward(task)
    used = {split.get("column"), settings.get("sample_weight")}
    unused = dict.fromkeys({*NOT_FEATURES} - used, "not used here")
    settings = {"exclude": unused, "search": search, **settings}
    if task == "binary":
        settings["positive_class"] = "yes & <b>"
    shown = look_at(frame, task, settings)
    report, pipeline = shown.check.report, shown.check.pipeline
    assert all(np.isfinite(score.interval.estimate) for score in report.scores)
    assert report.scores[0].interval.low < report.scores[0].interval.high
    assert report.usage is not None
    features = list(pipeline.feature_names_in_)
    cut = cut_rows(frame, spec_of(task, settings), features)
    rows = cut.validation.rows[features]
    loaded = persistence.from_bytes(persistence.to_bytes(pipeline))
    method = "predict" if task == "regression" else "predict_proba"
    predicted = getattr(pipeline, method)(rows)
    np.testing.assert_array_equal(predicted, getattr(loaded, method)(rows))
    assert np.isfinite(predicted).all()


def test_a_report_shows_probabilities_before_and_after():
    """What would be exported is calibrated; the page says by what, and how far off it
    was before.
    """
    trees = one(
        "lightgbm",
        num_leaves=7,
        n_estimators=25,
        scale_pos_weight=6,
        bagging_fraction=0.7,
    )
    settings = {"search": [trees], "positive_class": "yes & <b>", "ensemble": "off"}
    shown = look_at(table("binary"), "binary", settings | AVERAGED)
    report = shown.check.report
    assert (report.calibrated_by, report.miscalibration) == ("sigmoid", None)
    (after,), (before,) = report.details.calibration, report.details.uncalibrated
    assert after.expected_error < before.expected_error / 2
    assert abs(after.intercept.estimate) < abs(before.intercept.estimate) / 3
    model = shown.check.pipeline[-1]
    assert isinstance(model, CalibratedClassifierCV)
    (pair,) = model.calibrated_classifiers_
    assert len(pair.estimator.estimators_[0].estimators_) == 2
    text = render(shown.document)
    assert "A calibrator was applied (sigmoid)" in text
    assert "not calibrated" not in text


@pytest.mark.parametrize("settings", [BY_TIME, IN_TIME], ids=["test set", "folds"])
def test_test_rows_of_a_split_by_time_know_that_days_are_consecutive(
    settings: dict[str, Any],
):
    """So their intervals allow for days that resemble their neighbours."""
    choice = searched(
        awkward("regression"), "regression", {"search": [LINEAR]} | settings
    )
    assert isinstance(choice.model.clusters, ConsecutiveClusters)
