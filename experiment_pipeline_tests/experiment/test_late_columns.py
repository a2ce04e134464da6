"""A whole run on columns that come after the prediction, which only people know."""

import functools

import numpy as np
import pandas as pd
import pytest

import experiment_pipeline as ep
from experiment_pipeline.errors import DataError
from experiment_pipeline.experiment.explore import Exploration

pytestmark = pytest.mark.usefixtures("storage", "quick")
LATE = "share of mails that were answered in the month after"
RULES = """\
columns:
  answer_rate: {dtype: float64, description: %s, known: %s}
  price: {dtype: float64, unit: EUR, description: Monthly price}
  churned: {dtype: str, isin: ["yes", "no"]}
"""
PLAIN = """\
columns:
  answer_rate: {dtype: float64}
  price: {dtype: float64}
  churned: {dtype: str, isin: ["yes", "no"]}
"""


def _subscribers() -> pd.DataFrame:
    """The rate falls for those who left, and varies as much among those who stayed."""
    rng = np.random.default_rng(3)
    price = rng.normal(20, 5, 400)
    churned = price + rng.normal(0, 8, 400) > 22
    answer_rate = rng.normal(0.5, 0.15, 400) - 0.15 * churned
    names = np.where(churned, "yes", "no")
    return pd.DataFrame({"answer_rate": answer_rate, "price": price, "churned": names})


SETTINGS = {
    "target": "churned",
    "name": "subscribers",
    "progress": False,
    "search": [{"algorithm": "linear"}],
    "evaluation": "test_set",
}
explore = functools.partial(ep.explore, _subscribers(), **SETTINGS)


def _codes(explored: Exploration) -> set[str]:
    return {*explored.findings.query("outcome == 'found'")["code"]}


def test_only_the_dictionary_stops_a_rate_from_after_the_event():
    """Without it a model that will not have the rate is the best; with it the run
    stops, and goes on once the column is excluded.
    """
    trusting = explore(schema=PLAIN)
    assert trusting.leaderboard["test_score"].max() > 0.8
    assert not _codes(trusting) & {"leak_suspect", "known_too_late"}
    schema = RULES % (LATE, "30 days")
    with pytest.raises(DataError, match="known_too_late blocks") as stopped:
        ep.run(_subscribers(), schema=schema, **SETTINGS)
    assert "answer_rate (known 30 days after the prediction)" in str(stopped.value)
    honest = explore(schema=schema, exclude={"answer_rate": "comes a month later"})
    assert "known_too_late" not in _codes(honest)
    best = honest.leaderboard["test_score"].max()
    assert best < trusting.leaderboard["test_score"].max() - 0.05


def test_words_about_columns_make_no_other_model():
    """Where all is known in time: same verdict, same models from the storage."""
    plain = explore(schema=PLAIN)
    told = explore(schema=RULES % (LATE, "at prediction"))
    assert _codes(told) == _codes(plain)
    models = [explored.assets["search_results"].rows for explored in (plain, told)]
    assert models[0]["fingerprint"].equals(models[1]["fingerprint"])
