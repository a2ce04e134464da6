"""What `predict` says of rows before their labels come: drift, ranges, predictions."""

import numpy as np
import pandas as pd

from experiment_pipeline.intake.profile import profile, profile_from
from experiment_pipeline.prediction.drift import DriftCounts, model_profile
from experiment_pipeline.prediction.rows import Signature


def rows(n: int, shift: float = 0.0) -> pd.DataFrame:
    """A number that may have shifted, a text, and days, which are no news."""
    rng = np.random.default_rng(n)
    made = {"age": rng.normal(40 + shift, 10, n), "town": rng.choice(["a", "b"], n)}
    return pd.DataFrame({**made, "on_days": 9_000.0 + shift * np.arange(n)})


def said(delivered: pd.DataFrame, predicted: np.ndarray) -> tuple[str, ...]:
    """The sentences, of two batches, by a profile that was written and read."""
    features = {"age": "float64", "town": "str", "on_days": "float64"}
    signature = Signature("binary", "late", features, (), ("n", "y"), "y")
    predicted_before = rows(1_000)["age"].to_numpy() / 100
    known = model_profile(
        profile(rows(5_000), 0.0), predicted_before, {"on_days"}, signature
    )
    drift = DriftCounts(profile_from(known.to_bytes(), "here"))
    outputs = pd.DataFrame({"probability_y": predicted})
    for part in (slice(0, 10), slice(10, None)):
        drift.add(delivered[part], outputs[part])
    return drift.in_words()


def test_what_has_shifted_comes_first_with_its_effect_size():
    """Inputs and predictions alike, shown also where little has; and how many rows no
    training row was like.
    """
    first, second = said(rows(2_000), rows(2_000)["age"].to_numpy() / 100)
    assert first.startswith("0 of 3 columns with a large drift since training; most: ")
    assert float(second.split(" %")[0]) < 0.5
    first, second = said(rows(2_000, 30), rows(2_000, 30)["age"].to_numpy() / 100)
    assert first.startswith("2 of 3 columns with a large drift since training; most: ")
    shown = first.partition("most: ")[2].partition(" (")[0].split(", ")
    assert [one.split()[0] for one in shown][2:] == ["town"]
    assert float(second.split(" %")[0]) > 10


def test_a_version_without_a_profile_says_nothing():
    """As versions of earlier packages have none."""
    drift = DriftCounts(None)
    drift.add(rows(3), pd.DataFrame())
    assert drift.in_words() == ()
