"""Intervals and sets beside predictions: their widths follow the errors, and travel with a version."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.prediction.intervals import Calibrated
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.storage.records import from_json, to_json

DAMAGE = InvalidModel("here", "damaged", "")


def drawn(
    noise: str, n: int = 1_000, seed: int = 0
) -> tuple[pd.DataFrame, SetPrediction, np.ndarray]:
    """Features, predicted rows, and which of them have five times the noise."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": np.where(generator.random(n) < 0.2, np.nan, generator.normal(size=n)),
            "count": generator.integers(0, 9, n),
            "shop": pd.array(generator.choice(["<north>", "south"], n), dtype="str"),
            "when": pd.Timestamp("2026-01-01"),
        }
    )
    prediction = generator.normal(size=n)
    loud = {
        "size": frame["size"] > 0.5,
        "missing": frame["size"].isna(),
        "shop": frame["shop"] == "<north>",
        "prediction": pd.Series(prediction > 0),
        "nothing": pd.Series(np.zeros(n, dtype=bool)),
    }[noise].to_numpy()
    y = prediction + np.where(loud, 5.0, 1.0) * generator.normal(size=n)
    return frame, SetPrediction(y, prediction, np.arange(n)), loud


@pytest.mark.parametrize("noise", ["size", "missing", "shop", "prediction", "nothing"])
def test_widths_follow_the_noise_and_survive_json(noise: str) -> None:
    """By a number, a gap, a text or the prediction; nine tenths of new rows are held in both parts."""
    frame, tested, _ = drawn(noise)
    found = from_json(Calibrated, to_json(Calibrated.on(frame, tested, None)), DAMAGE)
    assert len(to_json(found)) < 8_000
    new, rows, loud = drawn(noise, 4_000, seed=1)
    ends = found.columns(0.9, None, new, rows.prediction)
    held = (ends["lower"] <= rows.y) & (rows.y <= ends["upper"])
    width = ends["upper"] - ends["lower"]
    assert held[~loud].mean() == pytest.approx(0.9, abs=0.04)
    if noise == "nothing":
        assert width.std() < 1e-9
    else:
        assert held[loud].mean() == pytest.approx(0.9, abs=0.04)
        assert 3.5 < width[loud].mean() / width[~loud].mean() < 6.5


def test_skewed_errors_have_uneven_bounds() -> None:
    """As many rows lie below as above."""
    frame, tested, _ = drawn("nothing")
    tested = replace(tested, y=tested.prediction + np.exp(tested.y - tested.prediction))
    low, high = Calibrated.on(frame, tested, None).at(0.9) or (np.nan, np.nan)
    assert 0 < low < high / 10


def test_a_model_without_errors_has_intervals() -> None:
    """All rows are predicted exactly; infinite features divide nothing."""
    frame, tested, _ = drawn("nothing", 200)
    frame = frame.assign(size=np.inf)
    ends = Calibrated.on(frame, replace(tested, y=tested.prediction), None)
    assert ends.columns(0.9, None, frame, tested.prediction)["lower"] == pytest.approx(
        tested.y * 0 + tested.prediction
    )


def test_sets_name_classes_in_the_order_of_the_model() -> None:
    """The bounds are in the order of the target's classes, probabilities in that of the pipeline's."""
    generator = np.random.default_rng(3)
    p = generator.random(500)
    y = (generator.random(500) < p).astype(int)
    found = Calibrated.on(
        pd.DataFrame(index=range(500)), SetPrediction(y, p, np.arange(500)), ("no", 'y"s')
    )
    sure = np.array([[0.99, 0.01], [0.5, 0.5], [0.01, 0.99]])
    texts = found.columns(0.9, ('y"s', "no"), pd.DataFrame(), sure)["prediction_set"]
    assert [json.loads(text) for text in texts] == [['y"s'], ['y"s', "no"], ["no"]]


def test_what_cannot_be_promised_is_said() -> None:
    """Twenty rows are enough for 90 %, and for no more than 18 of 20 on both sides."""
    frame, tested, _ = drawn("nothing", 20)
    found = Calibrated.on(frame, tested, None)
    assert found.at(0.895) == found.at(0.9) != found.at(0.8)
    with pytest.raises(InvalidModel, match=r"coverage 0\.95: .* 50 to 90 % of rows"):
        found.columns(0.95, None, frame, tested.prediction)
    with pytest.raises(InvalidModel, match="50 to 0 % of rows"):
        Calibrated().columns(0.9, None, frame, tested.prediction)
    assert found.columns(None, None, frame, tested.prediction) == {}
