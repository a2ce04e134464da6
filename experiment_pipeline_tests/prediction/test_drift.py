"""What `predict` says of rows before their labels come: drift, ranges, predictions."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.intake.profile import profile, profile_from
from experiment_pipeline.prediction.drift import DriftCounts, model_profile
from experiment_pipeline.prediction.rows import Signature


def rows(n: int, shift: float = 0.0) -> pd.DataFrame:
    """A number that may have shifted, a text, and days, which are no news."""
    rng = np.random.default_rng(n)
    made = {"age": rng.normal(40 + shift, 10, n), "town": rng.choice(["a", "b"], n)}
    return pd.DataFrame({**made, "on_days": 9_000.0 + shift * np.arange(n)})


def said(delivered: pd.DataFrame) -> tuple[str, ...]:
    """The sentences, of two batches, by a profile that was written and read."""
    features = {"age": "float64", "town": "str", "on_days": "float64"}
    signature = Signature("binary", "late", features, (), ("n", "y"), "y")
    before = rows(1_000)["age"].to_numpy() / 100
    known = model_profile(profile(rows(5_000), 0.0), before, {"on_days"}, signature)
    drift = DriftCounts(profile_from(known.to_bytes(), "here"))
    outputs = pd.DataFrame({"probability_y": delivered["age"] / 100})
    for part in (slice(0, 10), slice(10, None)):
        drift.add(delivered[part], outputs[part])
    return drift.in_words()


@pytest.mark.parametrize(
    ("shift", "large", "outside"), [(0, 0, (0, 0.5)), (30, 2, (10, 100))]
)
def test_what_has_shifted_comes_first_with_its_effect_size(
    shift: int, large: int, outside: tuple[float, float]
):
    """Inputs and predictions alike, shown also where little has; and how many rows no
    training row was like.
    """
    first, second = said(rows(2_000, shift))
    begins = f"{large} of 3 columns with a large drift since training; most: "
    assert first.startswith(begins)
    shown = first.removeprefix(begins).partition(" (")[0].split(", ")
    assert len(shown) == 3
    assert not shift or shown[-1].startswith("town ")
    assert outside[0] <= float(second.split(" %")[0]) < outside[1]


def test_a_version_without_a_profile_says_nothing():
    """As versions of earlier packages have none."""
    drift = DriftCounts(None)
    drift.add(rows(3), pd.DataFrame())
    assert drift.in_words() == ()
