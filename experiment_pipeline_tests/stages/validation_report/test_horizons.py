"""Scores by time after the last fitted row: a decay is shown, and chance is none."""

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from scipy.special import expit

from experiment_pipeline.reporting.document import render
from experiment_pipeline.stages.validation_report.effects import Segment, by_horizon
from experiment_pipeline.stages.validation_report.page import build_document
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of
from experiment_pipeline_tests.stages.validation_report.report_examples import report_of

DAYS, ROWS_A_DAY = 60, 40
BY_TIME = {"split": {"by": "time", "column": "day"}}
FITTED = pd.DataFrame({"day": [pd.Timestamp("2024-01-30"), pd.Timestamp("2024-01-31")]})


def horizons(metric: str, seed: int, decay: float = 0.0, **settings) -> tuple[Segment, ...]:
    """Return those of days that resemble the last; the feature loses up to `decay` of its signal."""
    generator, day = np.random.default_rng(seed), np.repeat(np.arange(DAYS), ROWS_A_DAY)
    luck = lfilter([1.0], [1.0, -0.5], np.sqrt(0.75) * generator.normal(size=DAYS))[day]
    (signal, noise, error), kept = generator.normal(size=(3, len(day))), 1 - decay * day / DAYS
    seen, task = kept * signal + np.sqrt(1 - kept**2) * noise, "regression"
    y, prediction = signal + 0.3 * luck + 0.5 * error, seen
    if metric in {"roc_auc", "log_loss"}:
        y = (generator.random(len(day)) < expit(1.5 * signal + 0.3 * luck)) * 1.0
        prediction, task = expit(1.5 * seen), "binary"
    frame = pd.DataFrame({"day": pd.Timestamp("2024-02-01") + pd.to_timedelta(day, unit="D")})
    spec = spec_of(metric=metric, task=task, **BY_TIME | settings)
    rows = SetPrediction(y, prediction, day.view(ConsecutiveClusters))
    return by_horizon(spec, FITTED, frame, rows)


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "rmse", "r2"])
def test_a_planted_decay_is_shown_and_chance_is_none(metric: str) -> None:
    """A lost half of the signal is found at the end; of 60 steady models at most 5 % are accused."""
    first, *_, last = horizons(metric, 0, decay=0.6)
    assert (first.value, last.value) == ("1 to 15 days", "46 to 60 days")
    assert (first.rows, first.clearly_worse, last.clearly_worse) == (600, False, True)
    steady = [any(one.clearly_worse for one in horizons(metric, seed)) for seed in range(1, 61)]
    assert sum(steady) <= 3


def test_only_enough_rows_under_a_split_by_time_have_horizons() -> None:
    """Other splits have no time, and a hundred rows are one stretch."""
    assert horizons("mae", 0, split={"by": "random"}) == ()
    few = pd.DataFrame({"day": np.arange(199.0)})
    spec, rows = spec_of(metric="mae", task="regression", **BY_TIME), np.arange(199)
    assert by_horizon(spec, few - 200, few, SetPrediction(rows, rows, rows)) == ()


def test_the_report_shows_horizons_and_notes_a_decay() -> None:
    """A section of its own, and a caveat with the first stretch that is worse."""
    report = report_of(spec_of(**BY_TIME), horizons=horizons("roc_auc", 0, decay=0.6))
    assert "| day | 46 to 60 days | 600 |" in render(build_document(report))
    assert any(note.startswith("the score decays: 46 to 60 days after") for note in report.notes)
