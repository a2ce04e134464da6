"""Partial dependence: what a model says on average when one feature is set to a value.

Friedman 2001. Every row of a sample is given each value in turn, and the predictions are averaged.
It describes the model, not the world: features that go together are torn apart, so it is no cause.
The rows are encoded once, as for the importance of features; a value is encoded once and put into
the feature's own columns. In: encoded rows and values, and how to predict them. Out: averages.
"""

from collections.abc import Callable

import numpy as np

# A value more costs a prediction of all rows.
MOST_VALUES, FEWEST_ROWS, MOST_ROWS = 12, 100, 2_000


def affordable_rows(seconds: float, seconds_per_row: float, n_rows: int, features: int) -> int:
    """Return how many rows can be predicted at MOST_VALUES values of each feature; 0: too few.

    Args:
        seconds: of one core, for all features.
        seconds_per_row: of one core, to predict an encoded row.
        n_rows: that there are.
        features: how many are looked at.
    """
    affordable = int(seconds / (max(seconds_per_row, 1e-9) * MOST_VALUES * max(features, 1)))
    rows = min(n_rows, MOST_ROWS, affordable)
    return rows if rows >= min(n_rows, FEWEST_ROWS) else 0


def partial_dependence(
    predict: Callable[[np.ndarray], np.ndarray],
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
) -> np.ndarray:
    """Return the mean prediction at each value of a feature.

    Args:
        predict: encoded rows → their prediction, (n,) or (n, k).
        rows: (n, d) encoded rows, dense.
        columns: (c,) positions of the columns that encode the feature.
        values: (v, c) the feature's values, encoded.

    Returns:
        (v,) or (v, k).
    """
    changed, means = rows.copy(), []
    for value in values:
        changed[:, columns] = value
        means.append(predict(changed).mean(axis=0))
    return np.array(means)
