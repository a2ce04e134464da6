"""Which features a model uses: what its score loses when a feature's values change places.

Permutation importance (Breiman 2001) on test rows with the train-only fit: on rows that the
model was fitted on, it would also count what was learnt by heart; and a model's own importance
differs in meaning between algorithms. Two features that say the same each look unimportant.
In: a fitted pipeline and test rows. Out: a table.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.core import metrics

MOST_ROWS = 2_000
# Predictions of MOST_ROWS rows; a table with more features than that gets no importance.
MOST_PREDICTIONS = 300
_MOST_REPEATS = 5


def permutation_importance(
    predict: Callable[[pd.DataFrame], np.ndarray],
    rows: pd.DataFrame,
    y: np.ndarray,
    metric: str,
    seed: int,
    *,
    threshold: float = 0.5,
) -> pd.DataFrame | None:
    """Return how much worse the score is without each feature, the most important first.

    Args:
        predict: features of some rows → their prediction.
        rows: (n, features) of the test set; above MOST_ROWS every k-th is used.
        y: encoded targets (n,).
        metric: one of `metrics.METRICS`.
        seed: of the permutations.
        threshold: of the metrics that need one.

    Returns:
        Columns feature, drop (in units of the metric, positive = worse without it), deviation
        (between repeats); None for more than MOST_PREDICTIONS features, or an undefined score.
    """
    from sklearn.inspection import permutation_importance as by_permutation

    step = -(-len(rows) // MOST_ROWS)
    rows, y = rows.iloc[::step], y[::step]
    sign = metrics.METRICS[metric].sign

    def scored(_: Any, shuffled: pd.DataFrame, truth: np.ndarray) -> float:
        return sign * metrics.score(metric, truth, predict(shuffled), threshold)

    if rows.shape[1] > MOST_PREDICTIONS or np.isnan(scored(None, rows, y)):
        return None
    found = by_permutation(
        _Fitted(),
        rows,
        y,
        scoring=scored,
        n_repeats=int(np.clip(MOST_PREDICTIONS // rows.shape[1], 1, _MOST_REPEATS)),
        random_state=seed,
    )
    table = pd.DataFrame(
        {
            "feature": list(map(str, rows.columns)),
            "drop": found["importances_mean"],
            "deviation": found["importances_std"],
        }
    )
    return table.sort_values(["drop", "feature"], ascending=[False, True], ignore_index=True)


class _Fitted:
    """What scikit-learn asks an estimator to be; the scorer never uses it."""

    def fit(self) -> None:
        """Do nothing: the model is fitted."""
