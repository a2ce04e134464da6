"""Judgements of made-up predictions, for the tests of report, reasons and pages."""

import numpy as np
from scipy.special import expit

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.validation_report.report import ValidationReport, judge
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.statistics.thresholds import decision_threshold
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of

CHOSEN = "lightgbm__num_leaves=4"


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


def report_of(
    spec: ExperimentSpec | None = None,
    exported: SetPrediction | None = None,
    test: SetPrediction | None = None,
    **changes,
) -> ValidationReport:
    """Return the report of a model that is about as good on validation as on test."""
    spec, exported = spec or spec_of(), exported or seen_through(1, seed=1)
    test = test or seen_through(1, seed=2)
    arguments = {
        "train_only": exported,
        "y_fitted": test.y,
        "classes": (False, True),
        "threshold": decision_threshold(spec.metric_names, test.y, test.prediction),
    }
    return judge(spec, CHOSEN, exported=exported, test=test, **(arguments | changes))


TOO_HIGH = [{"metric": "roc_auc", "at_least": 0.97}]
