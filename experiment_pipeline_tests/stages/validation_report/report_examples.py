"""Judgements of made-up predictions, for the tests of report, reasons and pages."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from scipy.special import expit

from experiment_pipeline.reporting.document import render
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.validation_report.judged_model import JudgedModel
from experiment_pipeline.stages.validation_report.ledger import NO_LOOKS, EarlierLooks
from experiment_pipeline.stages.validation_report.page import build_document
from experiment_pipeline.stages.validation_report.report import (
    Examination,
    ValidationReport,
    judge,
)
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of

CHOSEN = "lightgbm__num_leaves=4"
TOO_HIGH = [{"metric": "roc_auc", "at_least": 0.97}]
# Test rows whose best threshold is 0.5.
AT_HALF = SetPrediction(np.array([0, 1]), np.array([0.4, 0.6]), np.arange(2))
_EXAMINED = {field.name for field in fields(Examination)}


def seen_through(
    noise: float, n: int = 1_500, seed: int = 0, shift: float = 0
) -> SetPrediction:
    """Return a binary model's predictions of n rows, the worse the greater
    the noise.
    """
    generator = np.random.default_rng(seed)
    y = (generator.random(n) < 0.3).astype(int)
    logit = 1.5 * y - 1.5 + noise * generator.normal(size=n) + shift
    return SetPrediction(y, expit(logit), np.arange(n))


def judged(
    spec: ExperimentSpec | None = None,
    exported: SetPrediction | None = None,
    test: SetPrediction | None = None,
    **changes: Any,
) -> JudgedModel:
    """Return a model that is about as good on validation as on test."""
    exported = exported or seen_through(1, seed=1)
    test = test or seen_through(1, seed=2)
    known = {
        "key": CHOSEN,
        "result": model_result(CHOSEN, 0.7),
        "classes": (False, True),
        "train_only": exported,
        "y_fitted": test.y,
    }
    return JudgedModel(
        spec or spec_of(), exported=exported, test=test, **(known | changes)
    )


def report_of(
    spec: ExperimentSpec | None = None,
    exported: SetPrediction | None = None,
    test: SetPrediction | None = None,
    looks: EarlierLooks = NO_LOOKS,
    conditions: Sequence[str] = (),
    **changes: Any,
) -> ValidationReport:
    """Return the report of such a model; `changes` of it, or of its examination."""
    examined = {name: changes.pop(name) for name in _EXAMINED & changes.keys()}
    model = judged(spec, exported, test, **changes)
    return judge(model, Examination(**examined), looks, conditions)


def text_of(report: ValidationReport) -> str:
    """Return the report as Markdown."""
    return render(build_document(report))
