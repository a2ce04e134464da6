"""Weakest segments: found by value, range and absence, and not by chance."""

import numpy as np
import pandas as pd

from experiment_pipeline.stages.validation_report.effects import weakest_segments
from experiment_pipeline.statistics.scores import SetPrediction

N = 2_000


def _rows(generator: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "origin": generator.choice(["EWR", "JFK", "LGA"], N),
            "distance": generator.normal(1_000, 300, N),
            "age": np.where(generator.random(N) < 0.2, np.nan, generator.integers(0, 40, N)),
            "night": generator.random(N) < 0.3,
        }
    )


def _predicted(weak: np.ndarray, generator: np.random.Generator) -> SetPrediction:
    """Return predictions that know nothing in the weak rows."""
    y = (generator.random(N) < 0.4).astype(int)
    signal = np.where(weak, 0, 2.5 * y)
    return SetPrediction(y, 1 / (1 + np.exp(-signal - generator.normal(size=N))), np.arange(N))


def test_a_category_where_the_model_knows_nothing_comes_first() -> None:
    """The planted weakness is found by itself and called clear."""
    generator = np.random.default_rng(0)
    rows = _rows(generator)
    predicted = _predicted((rows["origin"] == "JFK").to_numpy(), generator)
    worst, *_ = weakest_segments(rows, list(rows), predicted, "roc_auc")
    assert (worst.column, worst.value, worst.clearly_worse) == ("origin", "JFK", True)
    assert worst.rows == (rows["origin"] == "JFK").sum()
    assert worst.score.low < 0.5 < worst.score.high


def test_a_range_of_a_number_and_missing_values_are_segments() -> None:
    """Numbers are cut at their quartiles; missing ones are a part of their own."""
    generator = np.random.default_rng(1)
    rows = _rows(generator)
    far = (rows["distance"] > rows["distance"].quantile(0.75)).to_numpy()
    worst, *_ = weakest_segments(rows, list(rows), _predicted(far, generator), "roc_auc")
    assert worst.column == "distance"
    assert worst.value.startswith("1,2")
    lost = rows["age"].isna().to_numpy()
    worst, *_ = weakest_segments(rows, list(rows), _predicted(lost, generator), "roc_auc")
    assert (worst.column, worst.value) == ("age", "missing")


def test_a_boolean_is_cut_by_value() -> None:
    """True and False are two parts."""
    generator = np.random.default_rng(2)
    rows = _rows(generator)
    predicted = _predicted(rows["night"].to_numpy(), generator)
    worst, *_ = weakest_segments(rows, ["night"], predicted, "log_loss")
    assert (worst.column, worst.value) == ("night", "True")


def test_without_a_weakness_nothing_is_called_clear() -> None:
    """Chance differences between a dozen parts are not called clear."""
    generator = np.random.default_rng(3)
    rows = _rows(generator)
    predicted = _predicted(np.full(N, False), generator)
    segments = weakest_segments(rows, list(rows), predicted, "roc_auc")
    assert segments
    assert not any(segment.clearly_worse for segment in segments)


def test_small_parts_and_the_whole_are_not_judged() -> None:
    """A part needs enough rows, and a constant column has no parts."""
    rows = pd.DataFrame({"rare": ["x"] * 50 + ["y"] * (N - 50), "same": "z"})
    predicted = _predicted(np.arange(N) < 50, np.random.default_rng(4))
    segments = weakest_segments(rows, list(rows), predicted, "roc_auc")
    assert all((segment.column, segment.value) == ("rare", "y") for segment in segments)


def test_a_part_with_one_class_is_passed_over() -> None:
    """Where the metric is undefined there is no segment."""
    generator = np.random.default_rng(5)
    predicted = _predicted(np.full(N, False), generator)
    rows = pd.DataFrame({"answer": np.where(predicted.y == 1, "yes", "no")})
    assert weakest_segments(rows, ["answer"], predicted, "roc_auc") == ()


def test_regression_errors_are_found_by_segment_too() -> None:
    """A loss is worse where it is greater."""
    generator = np.random.default_rng(6)
    rows = _rows(generator)
    scale = np.where(rows["origin"] == "LGA", 3.0, 1.0)
    y = generator.normal(size=N)
    predicted = SetPrediction(y, y + scale * generator.normal(size=N), np.arange(N))
    worst, *_ = weakest_segments(rows, list(rows), predicted, "rmse")
    assert (worst.value, worst.clearly_worse) == ("LGA", True)
