"""Intervals and sets beside predictions: their widths follow the errors, and survive as
JSON.
"""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.storage.records import from_json, to_json
from experiment_pipeline.table.intervals import Calibrated


def drawn(
    noise: str, n: int, seed: int = 0
) -> tuple[pd.DataFrame, SetPrediction, np.ndarray]:
    """Features, predicted rows, and which of them have five times the noise."""
    generator = np.random.default_rng(seed)
    size = np.where(generator.random(n) < 0.2, np.nan, generator.normal(size=n))
    shop = pd.array(generator.choice(["<north>", "south"], n), dtype="str")
    frame = pd.DataFrame(
        {"size": size, "shop": shop, "when": pd.Timestamp(0), "large": np.inf}
    )
    prediction = generator.normal(size=n)
    loud = {
        "size": size > 0.5,
        "missing": np.isnan(size),
        "shop": shop == "<north>",
        "nothing": prediction > np.inf,
    }[noise]
    y = prediction + np.where(loud, 5.0, 1.0) * generator.normal(size=n)
    return frame, SetPrediction(y, prediction, np.arange(n)), np.asarray(loud)


@pytest.mark.parametrize("noise", ["size", "missing", "shop", "nothing"])
def test_widths_follow_the_noise_and_survive_json(noise: str):
    """By a number, a gap or a text; nine tenths of new rows are held in both parts."""
    text = to_json(Calibrated.on(*drawn(noise, 1_000)[:2], None))
    found = from_json(Calibrated, text, InvalidModel("", "", ""))
    assert len(text) < 8_000
    new, rows, loud = drawn(noise, 4_000, seed=1)
    ends = found.columns(0.9, None, new, rows.prediction)
    held = (ends["lower"] <= rows.y) & (rows.y <= ends["upper"])
    width = np.broadcast_to(ends["upper"] - ends["lower"], len(rows.y))
    assert held[~loud].mean() == pytest.approx(0.9, abs=0.04)
    if noise != "nothing":
        assert held[loud].mean() == pytest.approx(0.9, abs=0.04)
        assert 3.5 < width[loud].mean() / width[~loud].mean() < 6.5


def test_errors_may_be_skewed_or_absent():
    """As many rows lie below as above; what is predicted exactly has an interval of no
    width.
    """
    frame, rows, _ = drawn("nothing", 500)
    skewed = replace(rows, y=rows.prediction + np.exp(rows.y - rows.prediction))
    low, high = Calibrated.on(frame, skewed, None).at(0.9) or (0, 0)
    assert 0 < low < high / 10
    exact = Calibrated.on(frame, replace(rows, y=rows.prediction), None)
    assert (exact.columns(0.9, None, frame, rows.y)["lower"] == rows.y).all()


def test_sets_name_classes_in_the_order_of_the_model():
    """The bounds are in the order of the target's classes, probabilities in that of the
    pipeline's.
    """
    p, drawn_by = np.random.default_rng(3).random((2, 500))
    rows = SetPrediction((drawn_by < p).astype(int), p, np.arange(500))
    found = Calibrated.on(pd.DataFrame(index=range(500)), rows, ("no", 'y"s'))
    sure = np.array([[0.99, 0.01], [0.5, 0.5], [0.01, 0.99]])
    texts = found.columns(0.9, ('y"s', "no"), pd.DataFrame(), sure)["prediction_set"]
    assert [json.loads(text) for text in texts] == [['y"s'], ['y"s', "no"], ["no"]]


def test_what_cannot_be_promised_is_said():
    """Twenty rows are enough for 90 %, and for no more; the next full percent
    is taken.
    """
    frame, rows, _ = drawn("nothing", 20)
    found = Calibrated.on(frame, rows, None)
    assert found.at(0.895) == found.at(0.9) != found.at(0.8)
    for share in (0.3, 0.95):
        with pytest.raises(
            InvalidModel,
            match=r"50 to 90 % of rows\n.* Ask for a coverage in this range",
        ):
            found.columns(share, None, frame, rows.prediction)
