"""A calibrated and averaged choice, from the search to the judged pipeline and its page."""

from sklearn.calibration import CalibratedClassifierCV

from experiment_pipeline.reporting.document import render
from experiment_pipeline_tests.stages.validation_report.checked import look_at, table


def test_a_report_shows_probabilities_before_and_after() -> None:
    """What would be exported is calibrated; the page says by what, and how far off it was before."""
    search = [
        {
            "algorithm": "lightgbm",
            "hyperparameters": {
                "num_leaves": 7,
                "n_estimators": 25,
                "scale_pos_weight": 6,
                "bagging_fraction": 0.7,
            },
        }
    ]
    more = {
        "search": search,
        "positive_class": "yes & <b>",
        "seeds": {"fits": 2, "average": True},
        "ensemble": "off",
    }
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
    assert "A calibrator was applied (sigmoid), learnt from predictions of train rows" in told
    assert "before calibrating" in told
    assert "not calibrated" not in told
