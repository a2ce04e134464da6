"""Generated features: columns made of pairs of features, beside what `ordinal` makes of
each.

arithmetic: ratio, product and difference of two numbers.
deviations: a number minus its mean in the row's category.

Everything is learnt on rows of the fit mask. A family keeps at most MOST_KEPT columns
whose partial rank correlation with the target, given both parents, is significant: at
most 5 % of families keep any column on noise (Bonferroni). Rows of one group, or one
time, count as one. All candidates are judged on FIRST_ROWS rows, the MOST_JUDGED
strongest of them again on ROWS rows.

Crosses of categories, as cross-fitted target means, made LightGBM worse on 7 of 12
tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from experiment_pipeline.statistics.importance import spread_evenly

# Only these are paired: the numbers most correlated with the target, and the table's
# first categories.
MOST_NUMBERS, MOST_CATEGORIES = 12, 12
MOST_KEPT = (
    10  # per family: each column costs time in every fit, and for every predicted row
)
FIRST_ROWS, MOST_JUDGED, ROWS = 500, 30, 4_000  # rows are evenly spread
# Per family, nominal: on noise 3 to 4 % pass, as partial rank correlations are skewed.
ERROR_RATE = 0.025
MOST_VALUES = 50  # of a category: with more, each has too few rows for a mean
_ROUNDING = (
    1e-6  # rounding error of ranks of length one that the parents explain completely
)
SMALLEST = float(np.finfo(np.float32).tiny)  # a ratio raises smaller values to this
Kinds = tuple[list[str], list[str]]
RATIO, PRODUCT, DIFFERENCE, DEVIATION = "ratio", "product", "difference", "deviation"
# Kind → name of a column.
_CALLED = {
    RATIO: "{} / {}",
    PRODUCT: "{} * {}",
    DIFFERENCE: "{} - {}",
    DEVIATION: "{} - mean by {}",
}


@dataclass(frozen=True)
class GeneratedColumn:
    """A column made of two features."""

    kind: str
    parents: tuple[str, str]
    strength: float = 0.0  # absolute partial rank correlation with the target: 0 to 1

    @property
    def name(self) -> str:
        """The name of the column: `price / weight`."""
        return _CALLED[self.kind].format(*self.parents)


def worth_making(
    family: str,
    rows: pd.DataFrame,
    labels: np.ndarray,
    kinds: Kinds,
    related: Sequence[str],
) -> list[GeneratedColumn]:
    """Return the columns of a family that are significant on rows (n, …), the strongest
    first.

    `labels` (n, k): the target, or an indicator of each of several classes. `kinds`:
    the numeric and the text features. Rows that are equal in all columns of `related`
    count as one.
    """
    first, some = (
        spread_evenly(len(rows), min(len(rows), most)) for most in (FIRST_ROWS, ROWS)
    )
    found = _candidates(family, rows.iloc[first], labels[first], kinds)
    # Corrected for all candidates, also those the first rows drop: the error rate can
    # only fall.
    tail = ERROR_RATE / 2 / max(len(found) * labels.shape[1], 1)
    rows, labels = rows.iloc[some], labels[some]
    if len(rows) > FIRST_ROWS:
        found = _judged(_strongest(found)[:MOST_JUDGED], rows, labels)
    independent = len(rows[list(related)].drop_duplicates()) if related else len(rows)
    # Fisher's z: its variance is 1 / (n - 3), and two parents take two rows more.
    least = np.tanh(norm.isf(tail) / np.sqrt(max(independent - 5, 1)))
    strong = [one for one in found if one.strength > least and one.name not in rows]
    return _strongest(strong)[:MOST_KEPT]


def _strongest(found: Sequence[GeneratedColumn]) -> list[GeneratedColumn]:
    return sorted(found, key=lambda one: (-round(one.strength, 9), one.name))


def _candidates(
    family: str, rows: pd.DataFrame, labels: np.ndarray, kinds: Kinds
) -> list[GeneratedColumn]:
    numbers, texts = kinds
    # With only two values, ratio, product and difference say nothing new.
    cells = {name: _cells(rows[name]) for name in numbers if rows[name].nunique() > 2}
    if not cells:
        return []
    ranks = _ranks([*cells.values()])
    follows = np.abs(np.einsum("cn,kn->ck", ranks, _ranks(labels.T))).max(axis=1)
    top = [name for _, name in sorted(zip(-follows, cells, strict=True))][:MOST_NUMBERS]
    if family == "arithmetic":
        found = [
            GeneratedColumn(kind, pair)
            for pair in combinations(sorted(top, key=numbers.index), 2)
            for kind in (DIFFERENCE, PRODUCT, RATIO)
            if kind != RATIO or min(cells[name].min() for name in pair) >= 0
        ]
    else:
        few = [name for name in texts if 2 <= rows[name].nunique() <= MOST_VALUES]
        pairs = product(top, few[:MOST_CATEGORIES])
        found = [GeneratedColumn(DEVIATION, pair) for pair in pairs]
    return _judged(found, rows, labels)


def _cells(column: pd.Series) -> np.ndarray:
    """The numbers of a column, with the median in place of missing ones."""
    found = column.to_numpy(np.float64, na_value=np.nan)
    finite = np.isfinite(found)
    return np.where(finite, found, np.median(found[finite]) if finite.any() else 0.0)


def _judged(
    found: Sequence[GeneratedColumn], rows: pd.DataFrame, labels: np.ndarray
) -> list[GeneratedColumn]:
    """The candidates of a family with their strength on these rows."""
    categories = {one.parents[1] for one in found if one.kind == DEVIATION}
    codes = {
        name: pd.factorize(rows[name], use_na_sentinel=False)[0] for name in categories
    }
    names = {name for one in found for name in one.parents} - categories
    parents: dict[object, np.ndarray] = {
        name: _cells(rows[name]) for name in sorted(names)
    }
    logs = {
        name: np.log(np.maximum(cells, SMALLEST)) for name, cells in parents.items()
    }
    made, pairs = list[np.ndarray](), list[tuple[object, object]]()
    for one in found:
        first, second = one.parents
        pairs.append((first, one if one.kind == DEVIATION else second))
        if one.kind == DEVIATION:
            of, own = codes[second], parents[first]
            # Not the category's mean target, which knows the labels: 38 % of noise
            # passed with it.
            parents[one] = (np.bincount(of, own) / np.bincount(of))[of]
            made.append(own - parents[one])
        elif one.kind == PRODUCT:
            made.append(parents[first] * parents[second])
        else:
            of_kind = logs if one.kind == RATIO else parents
            made.append(of_kind[first] - of_kind[second])
    if not found:
        return []
    ranks, place = (
        _ranks([*parents.values()]),
        {key: at for at, key in enumerate(parents)},
    )
    known = np.array([[place[key] for key in pair] for pair in pairs])
    of_parents = ranks[known[:, 0]], ranks[known[:, 1]]
    strengths = _beyond(_ranks(made), *of_parents, _ranks(labels.T)).tolist()
    return [
        replace(one, strength=each) for one, each in zip(found, strengths, strict=True)
    ]


def _ranks(columns: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Ranks within each column (c, n), of mean zero and length one; zeros for a
    constant.
    """
    found = rankdata(columns, axis=1)
    return _of_length_one(found - found.mean(axis=1, keepdims=True))


def _beyond(
    columns: np.ndarray, first: np.ndarray, second: np.ndarray, followed: np.ndarray
) -> np.ndarray:
    """The largest absolute partial correlation of each column (c, n) with any of
    `followed` (k, n), given its two parents, (c, n) each: (c,). All arguments are ranks
    by `_ranks`.
    """
    second = _of_length_one(_without(second, first))
    own = _of_length_one(_without(_without(columns, first), second))
    # Not `@`, whose last bits depend on the number of threads.
    found, *by_parents = (
        np.einsum("cn,kn->ck", one, followed) for one in (own, first, second)
    )
    left = 1 - by_parents[0] ** 2 - by_parents[1] ** 2
    return np.asarray(
        (np.abs(found) / np.sqrt(np.maximum(left, _ROUNDING**2))).max(axis=1)
    )


def _without(columns: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Each column (c, n) minus its part along a direction of length one."""
    return columns - np.einsum("cn,cn->c", columns, directions)[:, None] * directions


def _of_length_one(columns: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(columns, axis=1, keepdims=True)
    return np.divide(
        columns, lengths, out=np.zeros_like(columns), where=lengths > _ROUNDING
    )
