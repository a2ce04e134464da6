"""Settings together: whatever an experiment combines is searched, chosen, judged and
can be stored.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV

from experiment_pipeline.reporting.document import render
from experiment_pipeline.storage import persistence
from experiment_pipeline_tests.stages.validation_report.checked import (
    look_at,
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
AVERAGED = {"seeds": {"fits": 2, "average": True}}
BOOSTED = {
    "algorithm": "lightgbm",
    "hyperparameters": {"num_leaves": [4, 7], "n_estimators": 10},
}
REWEIGHTED = {
    "algorithm": "lightgbm",
    "hyperparameters": {
        "num_leaves": [4, 7],
        "n_estimators": 15,
        "scale_pos_weight": 3,
    },
}
CATBOOST = {"algorithm": "catboost", "hyperparameters": {"iterations": 8, "depth": 3}}
XGBOOST = {
    "algorithm": "xgboost",
    "hyperparameters": {"n_estimators": 8, "max_depth": 3},
}
FOREST = {"algorithm": "random_forest", "hyperparameters": {"n_estimators": 10}}
LINEAR = {"algorithm": "linear"}


def reading(search: dict[str, Any], *encoders: str) -> dict[str, Any]:
    """The entry with the encoders to choose from."""
    return search | {"features": list(encoders)}


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
    unused = {"house", "day", "weight"}
    return frame[[*(name for name in frame if name not in unused), *sorted(unused)]]


@pytest.mark.parametrize(
    ("task", "search", "settings"),
    [
        ("binary", [BOOSTED, LINEAR], FOLDED | WEIGHTED | {"calibrate": "sigmoid"}),
        ("binary", [REWEIGHTED, FOREST], BY_GROUP | WEIGHTED | RISING | AVERAGED),
        ("binary", [CATBOOST, LINEAR], IN_TIME | {"calibrate": "isotonic"}),
        ("multiclass", [reading(XGBOOST, "text"), CATBOOST], FOLDED | AVERAGED),
        ("regression", [reading(BOOSTED, "target", "text")], BY_TIME | AVERAGED),
        ("regression", [reading(CATBOOST, "target")], IN_TIME | WEIGHTED | RISING),
    ],
)
def test_settings_combine(
    task: str, search: list[dict[str, Any]], settings: dict[str, Any]
):
    """The report has every score, and the pipeline predicts the same once it was
    stored.
    """
    more: dict[str, Any] = {"search": search, **settings}
    more |= {"positive_class": "yes & <b>"} if task == "binary" else {}
    used = {settings.get("split", {}).get("column"), settings.get("sample_weight")}
    aside = {
        name: "not used here" for name in ("house", "day", "weight") if name not in used
    }
    frame, more = awkward(task), {"exclude": aside} | more
    found = look_at(frame, task, more)
    report, pipeline = found.check.report, found.check.pipeline
    assert all(np.isfinite(one.interval.estimate) for one in report.scores)
    assert report.scores[0].interval.low < report.scores[0].interval.high
    assert report.usage is not None
    assert found.page
    rows = cut_rows(
        frame, spec_of(task, more), pipeline.feature_names_in_
    ).validation.rows
    loaded = persistence.from_bytes(persistence.to_bytes(pipeline))
    asked = "predict" if task == "regression" else "predict_proba"
    given = rows[list(pipeline.feature_names_in_)]
    predicted = getattr(pipeline, asked)(given)
    np.testing.assert_array_equal(predicted, getattr(loaded, asked)(given))
    assert np.isfinite(predicted).all()


def test_a_report_shows_probabilities_before_and_after() -> None:
    """What would be exported is calibrated; the page says by what, and how far off it
    was before.
    """
    small = {
        "num_leaves": 7,
        "n_estimators": 25,
        "scale_pos_weight": 6,
        "bagging_fraction": 0.7,
    }
    search = [{"algorithm": "lightgbm", "hyperparameters": small}]
    more = {
        "search": search,
        "positive_class": "yes & <b>",
        "ensemble": "off",
    } | AVERAGED
    found = look_at(table("binary"), "binary", more)
    report = found.check.report
    assert report.calibrated_by == "sigmoid"
    assert report.miscalibration is None
    (after,), (before,) = report.details.calibration, report.details.uncalibrated
    assert after.expected_error < before.expected_error / 2
    assert abs(after.intercept.estimate) < abs(before.intercept.estimate) / 3
    model = found.check.pipeline[-1]
    assert isinstance(model, CalibratedClassifierCV)
    (pair,) = model.calibrated_classifiers_
    assert len(pair.estimator.estimators_[0].estimators_) == 2
    told = render(found.document)
    assert (
        "A calibrator was applied (sigmoid), learnt from predictions of train rows"
        in told
    )
    assert "before calibrating" in told
    assert "not calibrated" not in told
