"""The importance of features: what a score loses, in both directions."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from experiment_pipeline.stages.search.features import build_features, encoded_columns
from experiment_pipeline.statistics.importance import (
    FEWEST_ROWS,
    MOST_REPEATS,
    MOST_ROWS,
    Effort,
    FeatureImportance,
    Score,
    ScoredRows,
    permutation_importance,
    scored_by,
)

ROWS = np.random.default_rng(0).normal(size=(400, 3))
Y = 3 * ROWS[:, 0] + 0.5 * ROWS[:, 1]
COLUMNS = {
    name: np.array([place]) for place, name in enumerate(("much", "little", "none"))
}


def _predict(rows: np.ndarray) -> np.ndarray:
    return 3 * rows[:, 0] + 0.5 * rows[:, 1]


def _importance(
    metric: str | Score = "rmse",
    repeats: int = 5,
    columns: dict[str, np.ndarray] = COLUMNS,
    workers: int = 1,
    **changed: Any,
) -> tuple[FeatureImportance, ...]:
    score = scored_by(metric) if isinstance(metric, str) else metric
    judged = ScoredRows(_predict, ROWS, Y, score)
    return permutation_importance(
        replace(judged, **changed), columns, repeats, seed=0, workers=workers
    )


@pytest.mark.parametrize("metric", ["rmse", "r2"])
def test_features_are_ordered_by_what_the_score_loses(metric: str):
    """The feature the prediction rests on comes first; an unused one loses nothing."""
    much, little, none = _importance(metric)
    assert _importance(metric, workers=3, encoded=csr_matrix(ROWS)) == (
        much,
        little,
        none,
    )
    assert (much.feature, little.feature, none.feature) == ("much", "little", "none")
    assert much.drop > little.drop > none.drop == 0


def test_the_columns_of_a_text_change_places_together():
    """A category that is encoded as several columns is one feature, and never two at
    once.
    """
    codes = np.random.default_rng(1).integers(0, 3, 300)
    rows = np.column_stack([np.eye(3)[codes], np.zeros(300)])

    def predict(shown: np.ndarray) -> np.ndarray:
        assert (shown[:, :3].sum(axis=1) == 1).all()
        return shown[:, 1]

    y = (codes == 1).astype(int)
    columns = {"word": np.arange(3), "other": np.array([3])}
    word, _ = _importance(
        "roc_auc", 2, predict=predict, encoded=rows, y=y, columns=columns
    )
    assert word.feature == "word"
    assert word.drop > 0.3


@pytest.mark.parametrize("encoder", ["ordinal", "onehot"])
def test_every_encoded_column_belongs_to_one_feature(encoder: str):
    """Shuffling a feature before the encoding changes just the columns that are named
    for it.
    """
    table = pd.DataFrame(
        {
            "word": ["a", "b", None, "c"] * 30,
            "gaps": [1.0, np.nan, 3.0, 4.0] * 30,
            "whole": np.arange(120.0),
            "other": ["x", "y", "z"] * 40,
        }
    )
    features = build_features(encoder, table, list(table)).fit(table)
    encoded, columns = np.asarray(features.transform(table)), encoded_columns(features)
    assert sorted(np.concatenate(list(columns.values()))) == list(
        range(encoded.shape[1])
    )
    for name, places in columns.items():
        shuffled = table.assign(**{name: table[name].to_numpy()[::-1]})
        again = np.asarray(features.transform(shuffled))
        changed = ~(np.isclose(again, encoded, equal_nan=True)).all(axis=0)
        assert set(np.flatnonzero(changed)) <= set(places)
        assert changed.any()


def test_importance_is_at_the_threshold_of_the_model():
    """Probabilities of rare positives never reach 0.5: there, no feature would lose
    anything.
    """
    y = (ROWS[:, 0] > 1.2).astype(int)

    def rare(rows: np.ndarray) -> np.ndarray:
        return 0.2 / (1 + np.exp(-5 * (rows[:, 0] - 1.2)))

    at_half = _importance("f1", predict=rare, y=y)
    assert [one.drop for one in at_half] == [0, 0, 0]
    most, *_ = _importance(scored_by("f1", 0.1), predict=rare, y=y)
    assert most.feature == "much"
    assert most.drop > 0.5


def test_an_undefined_score_has_no_importance():
    """Where the model has no score nothing can be lost."""
    assert _importance("roc_auc", y=np.zeros(400)) == ()


def test_the_work_is_bounded_by_the_time_that_predicting_takes():
    """A slow model is given fewer rows, then fewer repeats, and at last
    nothing at all.
    """
    wide = (50, 50)
    assert Effort.within(10, 1e-6, 100_000, wide) == Effort(MOST_ROWS, MOST_REPEATS)
    slow = Effort.within(10, 1e-4, 100_000, wide)
    assert slow == Effort(MOST_ROWS // MOST_REPEATS, MOST_REPEATS)
    assert Effort.within(10, 4e-4, 100_000, wide) == Effort(FEWEST_ROWS, 2)
    assert Effort.within(10, 1e-2, 100_000, wide) is None


def test_few_features_without_effect_are_significant_and_none_by_few_shuffles():
    """At most 2.5 % of what a model reads in vain; 12 of 200 are beyond chance."""
    generator = np.random.default_rng(5)
    rows = generator.normal(size=(400, 200))
    columns = {str(place): np.array([place]) for place in range(200)}
    given = {"encoded": rows, "columns": columns, "y": generator.normal(size=400)}
    in_vain = {"predict": lambda some: 0.2 * some.sum(axis=1), **given}
    assert sum(bool(one.significant) for one in _importance("rmse", **in_vain)) <= 11
    assert _importance()[0].significant
    assert {one.significant for one in _importance("rmse", 4)} == {None}
