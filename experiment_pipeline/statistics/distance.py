"""How far two samples of a column are apart, from 0 (alike) to 1 (nothing in common).

In: two parts of one column. Out: the Kolmogorov-Smirnov distance for numbers, the total
variation distance for texts; a missing value counts as a value of its own.
"""

import numpy as np
import pandas as pd

from experiment_pipeline.columns.kinds import NUMERIC, TEXTS, kind_of, numbers_of


def distance(first: pd.Series, second: pd.Series) -> float:
    """Distance of the two distributions; nan for a column that is neither number nor text."""
    kind = kind_of(first)
    if kind in NUMERIC:
        return number_distance(numbers_of(first), numbers_of(second))
    return _text_distance(first, second) if kind in TEXTS else float("nan")


def number_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Largest gap between the two distribution functions of float64 values (n,) and (m,)."""
    first, second = np.sort(first), np.sort(second)  # missing values come last
    places = np.unique(np.concatenate([first, second]))
    below = [np.searchsorted(part, places, side="right") / len(part) for part in (first, second)]
    return float(np.max(np.abs(below[0] - below[1])))


def _text_distance(first: pd.Series, second: pd.Series) -> float:
    codes = pd.factorize(pd.concat([first, second], ignore_index=True), use_na_sentinel=False)[0]
    parts = codes[: len(first)], codes[len(first) :]
    shares = [np.bincount(part, minlength=codes.max() + 1) / len(part) for part in parts]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)
