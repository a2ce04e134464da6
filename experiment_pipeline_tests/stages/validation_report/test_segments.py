"""Weakest segments: found by value, range and absence, and not by chance."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from experiment_pipeline.stages.validation_report.effects import weakest_segments
from experiment_pipeline.statistics.scores import SetPrediction

N = 2_000


def rows_of(generator: np.random.Generator) -> pd.DataFrame:
    """A category, a number, a number with gaps, a flag."""
    return pd.DataFrame(
        {
            "origin": generator.choice(["EWR", "JFK", "LGA"], N),
            "distance": generator.normal(1_000, 300, N),
            "age": np.where(generator.random(N) < 0.2, np.nan, generator.integers(0, 40, N)),
            "night": generator.random(N) < 0.3,
        }
    )


def predicted(weak: np.ndarray, generator: np.random.Generator) -> SetPrediction:
    """Return predictions that know nothing in the weak rows."""
    y = (generator.random(N) < 0.4).astype(int)
    signal = np.where(weak, 0, 2.5 * y)
    return SetPrediction(y, 1 / (1 + np.exp(-signal - generator.normal(size=N))), np.arange(N))


@pytest.mark.parametrize(
    ("column", "value", "weak"),
    [
        ("origin", "JFK", lambda rows: rows["origin"] == "JFK"),
        ("distance", "1,19", lambda rows: rows["distance"] > rows["distance"].quantile(0.75)),
        ("age", "missing", lambda rows: rows["age"].isna()),
        ("night", "True", lambda rows: rows["night"]),
    ],
)
def test_where_the_model_knows_nothing_comes_first(column, value, weak) -> None:
    """A planted weakness is found by itself and called clear: a value, a quarter, a gap, a flag."""
    generator = np.random.default_rng(0)
    rows = rows_of(generator)
    mask = weak(rows).to_numpy()
    worst, *_ = weakest_segments(rows, list(rows), predicted(mask, generator), "roc_auc")
    assert (worst.column, worst.clearly_worse) == (column, True)
    assert worst.value.startswith(value)
    assert worst.rows == pytest.approx(mask.sum(), abs=1)
    assert worst.score.low < 0.5 < worst.score.high


def test_without_a_weakness_nothing_is_called_clear() -> None:
    """Chance differences between a dozen parts are not called clear."""
    generator = np.random.default_rng(3)
    rows = rows_of(generator)
    even = predicted(np.full(N, False), generator)
    segments = weakest_segments(rows, list(rows), even, "roc_auc")
    assert segments
    assert not any(segment.clearly_worse for segment in segments)


def _perfect(metric: str, generator: np.random.Generator) -> tuple[pd.DataFrame, SetPrediction]:
    """Predict with the truth itself, where prevalence and noise differ between segments."""
    rows = rows_of(generator)
    level = rows["origin"].map({"EWR": -2.0, "JFK": 0.0, "LGA": 1.5}).to_numpy(dtype=float)
    logit = level + (rows["distance"].to_numpy() - 1_000) / 300
    y, prediction = generator.random(N) < expit(logit), expit(logit)
    if metric in {"r2", "mae"}:
        prediction = np.exp(logit)
        y = prediction * np.exp(generator.normal(0, 0.5, N) - 0.125)
    return rows, SetPrediction(y * 1.0, prediction, np.arange(N))


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "f1", "r2", "mae"])
def test_a_perfect_model_is_weak_nowhere(metric: str) -> None:
    """Rare classes, and large numbers with large errors, are no weakness of the model."""
    for seed in range(4):
        rows, found = _perfect(metric, np.random.default_rng([9, seed]))
        segments = weakest_segments(rows, list(rows), found, metric, threshold=0.4)
        assert not any(segment.clearly_worse for segment in segments)


def test_small_parts_the_whole_and_parts_of_one_class_are_not_judged() -> None:
    """A part needs enough rows, a constant column has no parts, and a metric must be defined."""
    generator = np.random.default_rng(4)
    known = predicted(np.arange(N) < 50, generator)
    rows = pd.DataFrame({"rare": ["x"] * 50 + ["y"] * (N - 50), "same": "z"})
    segments = weakest_segments(rows, list(rows), known, "roc_auc")
    assert all((segment.column, segment.value) == ("rare", "y") for segment in segments)
    answers = pd.DataFrame({"answer": np.where(known.y == 1, "yes", "no")})
    assert weakest_segments(answers, ["answer"], known, "roc_auc") == ()
    assert weakest_segments(rows, ["same"], known, "roc_auc") is None
