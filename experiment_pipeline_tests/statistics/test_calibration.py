"""Reweighted models are named, measured, and marked wherever their probabilities are
judged.
"""

from dataclasses import replace

import numpy as np
import pytest

from experiment_pipeline.reporting import document
from experiment_pipeline.stages.exported_model.page import build_card
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.validation_report.page import build_document
from experiment_pipeline.statistics.calibration import (
    miscalibration,
    named,
    reweighting,
)
from experiment_pipeline_tests import exported
from experiment_pipeline_tests.results import apart, model_result
from experiment_pipeline_tests.stages.exported_model.test_page import SIGNATURE
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    search_of,
    spec_of,
)
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    report_of,
    seen_through,
)

BALANCED = "class_weight=balanced"


@pytest.mark.parametrize(
    ("name", "value", "reweights"),
    [
        ("class_weight", "balanced", True),
        ("model__class_weight", "balanced", True),
        ("scale_pos_weight", 4.5, True),
        ("is_unbalance", True, True),
        ("unbalance", 1, True),
        ("class_weight", None, False),
        ("scale_pos_weight", 1.0, False),
        ("is_unbalance", False, False),
        ("num_leaves", 31, False),
        ("weight_decay", 0.1, False),
    ],
)
def test_settings_that_move_probabilities_are_known(name, value, reweights):
    """Every spelling of a reweighting is found; its neutral value is none."""
    expected = f"{name}={value}" if reweights else None
    assert reweighting({"learning_rate": 0.1, name: value}) == expected


def test_the_shift_is_measured_on_the_validation_rows():
    """Mean predicted probability against share; of several classes the one furthest
    off.
    """
    y = np.array([0, 0, 0, 1])
    found = miscalibration(
        BALANCED, apart(y, np.array([0.3, 0.4, 0.5, 0.8])), ("no", "yes")
    )
    assert (found.class_name, found.predicted, found.observed) == ("yes", 0.5, 0.25)
    three = np.tile([0.5, 0.3, 0.2], (4, 1))
    found = miscalibration(
        BALANCED, apart(np.array([0, 0, 2, 2]), three), ("a", "b", "c")
    )
    assert (found.class_name, found.predicted, found.observed) == (
        "b",
        pytest.approx(0.3),
        0.0,
    )
    assert miscalibration(None, apart(y, y / 1), ("no", "yes")) is None
    assert miscalibration(BALANCED, apart(y, y / 1), None) is None


def test_a_report_marks_every_probability_metric():
    """log_loss and brier are marked, roc_auc is not; other models are not marked."""
    shifted = seen_through(1, seed=1, shift=1.5)
    balanced = replace(
        model_result("linear", 0.7), hyperparameters={"class_weight": "balanced"}
    )
    report = report_of(exported=shifted, result=balanced)
    text = document.render(build_document(report))
    for metric in ("log_loss", "brier"):
        assert f"{metric} (not calibrated)" in text
    assert "roc_auc (not calibrated)" not in text
    assert "not calibrated" in report.notes[0]
    assert (
        f"is {shifted.prediction.mean():.4f}, its share {shifted.y.mean():.4f}"
        in report.notes[0]
    )
    assert "not calibrated" not in document.render(
        build_document(report_of(exported=shifted))
    )


def test_a_card_marks_the_metrics_of_a_reweighted_model():
    """Whoever reads the card alone is warned as well."""
    plain = exported.accepted()
    scores = [replace(score, metric="brier") for score in plain.report.scores]
    weighted = Configuration("linear", "linear", "onehot", {"class_weight": "balanced"})
    for configuration, marked in ((weighted, True), (plain.configuration, False)):
        model = exported.accepted(scores=scores, configuration=configuration)
        text = document.render(
            build_card(exported.make_spec(), model, SIGNATURE, {}, {})
        )
        assert ("brier (not calibrated)" in text) is marked
    assert named("roc_auc", reweighted=True) == "roc_auc"


def test_a_leaderboard_notes_that_reweighted_ones_are_not_calibrated():
    """The note counts them, and says more where the ranking metric is a
    probability's.
    """
    entry = {
        "algorithm": "lightgbm",
        "hyperparameters": {"scale_pos_weight": [1, 3, 9]},
    }
    for metric, counts in (("log_loss", True), ("roc_auc", False)):
        board = search_of(spec_of(search=[entry], metric=metric), [1, 2, 3]).rank()
        (note,) = [note for note in board.notes if "not calibrated" in note]
        assert note.startswith("2 of 3 ranked configurations are reweighted")
        assert ("which makes their log_loss worse" in note) is counts
    assert not [
        note
        for note in search_of(spec_of(), [1] * 4).rank().notes
        if "calibrat" in note
    ]
