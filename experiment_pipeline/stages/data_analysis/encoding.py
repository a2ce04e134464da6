"""The probe's own view of a table: numbers, and categories as small integer codes.

In: features of some rows. Out: two float64 matrices. Codes come from the values alone, most
frequent first, so that nothing is learnt from a target here; what models learn from, such as
means and encoders, is fitted in `probe.py` within each fold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.columns.kinds import NUMERIC, TEXTS, kind_of, numbers_of
from experiment_pipeline.columns.texts import as_text

MOST_CODES = 50
# Larger values would overflow in a variance.
_LARGEST = 1e100


@dataclass(frozen=True, eq=False)
class Encoded:
    """Features of n rows.

    Attributes:
        values: float64 (n, numbers + categories), numbers first; missing numbers are nan, a
            missing category is code 0, rare ones share the last code.
        numbers: how many of the columns are numbers.
    """

    values: np.ndarray
    numbers: int

    @property
    def categories(self) -> list[int]:
        """Positions of the category columns."""
        return list(range(self.numbers, self.values.shape[1]))


def encode(frame: pd.DataFrame, features: Sequence[str]) -> Encoded:
    """Encode number and text features; others are left out."""
    kinds = {column: kind_of(frame[column]) for column in features}
    numbers = [_number(frame[c]) for c, kind in kinds.items() if kind in NUMERIC]
    texts = [_codes(frame[c]) for c, kind in kinds.items() if kind in TEXTS]
    columns = [*numbers, *texts]
    values = np.column_stack(columns) if columns else np.empty((len(frame), 0))
    return Encoded(values, len(numbers))


def _number(column: pd.Series) -> np.ndarray:
    values = numbers_of(column)
    return np.where(np.isfinite(values), np.clip(values, -_LARGEST, _LARGEST), np.nan)


def _codes(column: pd.Series) -> np.ndarray:
    """Codes (n,): 0 missing, 1 the most frequent text, MOST_CODES all texts beyond."""
    codes, _ = pd.factorize(as_text(column), sort=True)
    counts = np.bincount(codes[codes >= 0])
    rank = np.empty(len(counts) + 1)
    rank[np.argsort(-counts, kind="stable")] = np.minimum(np.arange(1, len(counts) + 1), MOST_CODES)
    rank[-1] = 0  # code -1, a missing value
    return rank[codes]
