"""Which features a model uses: what its score loses when a feature's values change places.

Permutation importance (Breiman 2001) on test rows with the train-only fit: on rows that the
model was fitted on, it would also count what was learnt by heart; and a model's own importance
differs in meaning between algorithms. Two features that say the same each look unimportant.
The rows are encoded once: a feature's encoded columns change places together. In: encoded rows
and how to predict them. Out: a table.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.statistics.weights import Weights

MOST_ROWS, FEWEST_ROWS = 2_000, 200
MOST_REPEATS = 5
# Numbers in one table of shuffled rows: 160 MB for each worker.
_MOST_CELLS = 20_000_000


@dataclass(frozen=True)
class Effort:
    """How many rows are predicted, and how often each feature is shuffled."""

    rows: int
    repeats: int

    @classmethod
    def within(
        cls, seconds: float, seconds_per_row: float, n_rows: int, shape: tuple[int, int]
    ) -> Self | None:
        """Return what can be done in a time: many rows first, then repeats.

        Args:
            seconds: of one core.
            seconds_per_row: of one core, to predict an encoded row.
            n_rows: that there are.
            shape: number of features, and of columns that encode them.

        Returns:
            None where not even FEWEST_ROWS (or all, if they are fewer) can be predicted once
            for each feature.
        """
        n_features, n_columns = shape
        per_feature = min(
            seconds / (max(seconds_per_row, 1e-9) * n_features), _MOST_CELLS / n_columns
        )
        rows = min(n_rows, MOST_ROWS, int(per_feature))
        if rows < min(n_rows, FEWEST_ROWS):
            return None
        return cls(rows, int(np.clip(per_feature // rows, 1, MOST_REPEATS)))


def permutation_importance(
    predict: Callable[[np.ndarray], np.ndarray],
    encoded: Any,
    columns: Mapping[str, np.ndarray],
    score: Callable[[np.ndarray, np.ndarray, Weights], float],
    y: np.ndarray,
    repeats: int,
    *,
    weights: Weights = None,
    seed: int,
    workers: int = 1,
) -> pd.DataFrame | None:
    """Return how much worse the score is without each feature, the most important first.

    Args:
        predict: encoded rows → their prediction; called by several threads at once.
        encoded: (n, d) rows as the model reads them, dense or sparse.
        columns: feature → positions of the columns that encode it.
        score: (truth, prediction, weights) → score, greater is better.
        y: encoded targets (n,).
        repeats: how often each feature is shuffled.
        weights: (n,) of the rows; None: alike.
        seed: of the permutations; each feature has its own, whatever the workers.
        workers: features that are shuffled at a time, with one thread each.

    Returns:
        Columns feature, drop (in units of the metric, positive = worse without it), deviation
        (between repeats); None for an undefined score.
    """
    from scipy.sparse import issparse

    rows = encoded.toarray() if issparse(encoded) else np.asarray(encoded)
    whole = score(y, predict(rows), weights)
    if np.isnan(whole):
        return None

    def drops(number: int) -> np.ndarray:
        generator = np.random.default_rng([seed, number])
        orders = [generator.permutation(len(rows)) for _ in range(repeats)]
        predicted = predict(_shuffled(rows, columns[names[number]], orders))
        parts = np.split(predicted, repeats)
        return whole - np.array([score(y, part, weights) for part in parts])

    names = list(columns)
    with ThreadPoolExecutor(workers, initializer=one_openmp_thread) as pool:
        found = np.array(list(pool.map(drops, range(len(names)))))
    table = pd.DataFrame(
        {"feature": names, "drop": found.mean(axis=1), "deviation": found.std(axis=1)}
    )
    return table.sort_values(["drop", "feature"], ascending=[False, True], ignore_index=True)


def spread_evenly(n_rows: int, wanted: int) -> np.ndarray:
    """Return positions of rows at even distances: int64 (wanted,)."""
    return np.linspace(0, n_rows - 1, wanted).astype(np.int64)


def scored_by(
    metric: str, threshold: float = 0.5
) -> Callable[[np.ndarray, np.ndarray, Weights], float]:
    """Return (truth, prediction, weights) → score by a metric; greater is better."""
    sign = METRICS[metric].sign
    return lambda y, prediction, weights: (
        sign * scores.score(metric, y, prediction, threshold, weights)
    )


def _shuffled(rows: np.ndarray, columns: np.ndarray, orders: list[np.ndarray]) -> np.ndarray:
    """Stack one copy of the rows for each order: one prediction costs less than many."""
    stacked = np.tile(rows, (len(orders), 1))
    stacked[:, columns] = rows[np.concatenate(orders)][:, columns]
    return stacked


def one_openmp_thread() -> None:
    """Limit a worker thread for as long as it lives: nothing is to be restored."""
    threadpool_limits(limits=1, user_api="openmp")
