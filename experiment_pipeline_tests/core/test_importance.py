"""Permutation importance: what a score loses, in both directions, within bounds."""

import numpy as np
import pandas as pd

from experiment_pipeline.core.importance import MOST_PREDICTIONS, permutation_importance

ROWS = pd.DataFrame(
    np.random.default_rng(0).normal(size=(400, 3)), columns=["much", "little", "none"]
)
Y = 3 * ROWS["much"].to_numpy() + 0.5 * ROWS["little"].to_numpy()


def _predict(rows: pd.DataFrame) -> np.ndarray:
    return 3 * rows["much"].to_numpy() + 0.5 * rows["little"].to_numpy()


def test_features_are_ordered_by_what_the_score_loses() -> None:
    """The feature the prediction rests on comes first; an unused one loses nothing."""
    for metric in ("rmse", "r2"):
        table = permutation_importance(_predict, ROWS, Y, metric, seed=0)
        assert table["feature"].tolist() == ["much", "little", "none"]
        assert (table["drop"].iloc[:2] > 0).all()
        assert table["drop"].iloc[2] == 0


def test_texts_are_shuffled_like_numbers() -> None:
    """A text column that decides is important."""
    rows = pd.DataFrame({"word": ["a", "b"] * 50, "other": ["x"] * 100})
    y = (rows["word"] == "a").to_numpy().astype(int)
    table = permutation_importance(
        lambda shown: (shown["word"] == "a").to_numpy(dtype=float), rows, y, "roc_auc", seed=0
    )
    assert table["feature"].iloc[0] == "word"
    assert table["drop"].iloc[0] > 0.3


def test_importance_is_at_the_threshold_of_the_model() -> None:
    """Probabilities of rare positives never reach 0.5: there, no feature would lose anything."""
    y = (ROWS["much"] > 1.2).to_numpy().astype(int)

    def rare(rows: pd.DataFrame) -> np.ndarray:
        return 0.2 / (1 + np.exp(-5 * (rows["much"].to_numpy() - 1.2)))

    at_half = permutation_importance(rare, ROWS, y, "f1", seed=0)
    assert (at_half["drop"] == 0).all()
    own = permutation_importance(rare, ROWS, y, "f1", seed=0, threshold=0.1)
    assert own["feature"].iloc[0] == "much"
    assert own["drop"].iloc[0] > 0.5


def test_the_same_seed_gives_the_same_table() -> None:
    """Permutations come from the seed alone."""
    first, second = (permutation_importance(_predict, ROWS, Y, "rmse", seed=5) for _ in range(2))
    assert first.equals(second)


def test_the_work_is_bounded() -> None:
    """Many rows are thinned, too many features get no importance at all."""
    seen = []

    def predict(rows: pd.DataFrame) -> np.ndarray:
        seen.append(len(rows))
        return rows.iloc[:, 0].to_numpy()

    many = pd.DataFrame(np.random.default_rng(1).normal(size=(9_001, 2)))
    permutation_importance(predict, many, many[0].to_numpy(), "rmse", seed=0)
    assert max(seen) <= 2_000
    wide = pd.DataFrame(np.zeros((5, MOST_PREDICTIONS + 1)))
    assert permutation_importance(predict, wide, np.arange(5.0), "rmse", seed=0) is None


def test_an_undefined_score_has_no_importance() -> None:
    """Where the model has no score nothing can be lost."""
    none = permutation_importance(_predict, ROWS, np.zeros(400), "roc_auc", seed=0)
    assert none is None
