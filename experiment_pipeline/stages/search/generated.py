"""Generated features: columns made of pairs of features, beside what `ordinal` makes of each.

arithmetic: ratio, product and difference of two numbers.
deviations: a number minus its mean in the row's category.

All is learnt on rows of the fit mask. A family keeps the MOST_KEPT pairs that the target follows beyond
both parents: by partial rank correlation, larger than the largest of all its candidates is by chance
with 95 % (Bonferroni). Rows of one group, or one time, count as one.

Crosses of categories, as cross-fitted target means, made LightGBM worse on 7 of 12 tables.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata
from threadpoolctl import threadpool_limits

from experiment_pipeline.statistics.importance import spread_evenly

# The numbers that the target follows most are paired; and the categories, as the YAML has them.
MOST_NUMBERS, MOST_CATEGORIES = 12, 12
MOST_KEPT = 10  # of a family: each costs time in every fit, and for every predicted row
ROWS = 4_000  # that judge the candidates
ERROR_RATE = 0.05  # of a family on noise
MOST_VALUES = 50  # of a category: more have too few rows each for a mean
SMALLEST = float(np.finfo(np.float32).tiny)  # what a ratio takes for less
Kinds = tuple[list[str], list[str]]
RATIO, PRODUCT, DIFFERENCE, DEVIATION = "ratio", "product", "difference", "deviation"
# Kind → how a column is called.
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
    strength: float = 0.0  # how closely the target follows it beyond them: 0 to 1

    @property
    def name(self) -> str:
        """Of the column: `price / weight`."""
        return _CALLED[self.kind].format(*self.parents)


def worth_making(
    family: str, rows: pd.DataFrame, labels: np.ndarray, kinds: Kinds, related: Sequence[str]
) -> list[GeneratedColumn]:
    """Return the columns of a family that rows (n, …) speak for, the strongest first.

    `labels` (n, k): the target, or of several classes whether it is each. `kinds`: the numbers and the texts
    among the features. Rows are one where they are equal in all of `related`.
    """
    some = spread_evenly(len(rows), min(len(rows), ROWS))
    rows, labels = rows.iloc[some], labels[some]
    # The bits of a product depend on the threads that share it.
    with threadpool_limits(limits=1):
        found = list(_candidates(family, rows, _ranks(labels), kinds))
    independent = len(rows[list(related)].drop_duplicates()) if related else len(rows)
    tail = ERROR_RATE / 2 / max(len(found) * labels.shape[1], 1)
    # Fisher's z; a mean and two parents are known.
    least = np.tanh(norm.isf(tail) / np.sqrt(max(independent - 5, 1)))
    strong = [one for one in found if one.strength > least and one.name not in rows]
    return sorted(strong, key=lambda one: (-round(one.strength, 9), one.name))[:MOST_KEPT]


def _candidates(
    family: str, rows: pd.DataFrame, followed: np.ndarray, kinds: Kinds
) -> Iterator[GeneratedColumn]:
    """The candidates of a family, judged by ranks (n, k) of the labels."""
    numbers, texts = kinds
    cells, ranks = dict[str, np.ndarray](), dict[str, np.ndarray]()
    for name in numbers:
        found = rows[name].to_numpy(np.float64, na_value=np.nan)
        finite = np.isfinite(found)
        # Of two values, ratio, product and difference say the same.
        if len(np.unique(found[finite])) > 2:
            cells[name] = np.where(finite, found, np.median(found[finite]))
            ranks[name] = _ranks(cells[name][:, None])
    top = sorted(ranks, key=lambda name: -np.abs(ranks[name].T @ followed).max())[:MOST_NUMBERS]
    if family == "arithmetic":
        for one, other in combinations(sorted(top, key=numbers.index), 2):
            made = {DIFFERENCE: cells[one] - cells[other], PRODUCT: cells[one] * cells[other]}
            if min(cells[one].min(), cells[other].min()) >= 0:
                first, second = (np.log(np.maximum(cells[name], SMALLEST)) for name in (one, other))
                made[RATIO] = first - second
            columns = _ranks(np.column_stack([*made.values()]))
            strengths = _beyond(columns, [ranks[one], ranks[other]], followed)
            for kind, strength in zip(made, strengths.tolist(), strict=True):
                yield GeneratedColumn(kind, (one, other), strength)
        return
    few = [name for name in texts if 2 <= rows[name].nunique() <= MOST_VALUES]
    for category in few[:MOST_CATEGORIES]:
        of, _ = pd.factorize(rows[category], use_na_sentinel=False)
        for name in top:
            mean = (np.bincount(of, cells[name]) / np.bincount(of))[of]
            columns = _ranks((cells[name] - mean)[:, None])
            # With the category's mean target, which knows the labels, 38 % of noise passed.
            parents = [ranks[name], _ranks(mean[:, None])]
            (strength,) = _beyond(columns, parents, followed).tolist()
            yield GeneratedColumn(DEVIATION, (name, category), strength)


def _ranks(columns: np.ndarray) -> np.ndarray:
    found = rankdata(columns, axis=0)
    return np.asarray(found - found.mean(axis=0))


def _beyond(columns: np.ndarray, parents: Sequence[np.ndarray], followed: np.ndarray) -> np.ndarray:
    """The largest partial correlation of each column (n, c) with those followed (n, k), of mean zero: (c,)."""
    basis = np.linalg.qr(np.column_stack(parents))[0]
    own, other = (one - basis @ (basis.T @ one) for one in (columns, followed))
    scale = np.outer(np.linalg.norm(own, axis=0), np.linalg.norm(other, axis=0))
    # What the parents say entirely leaves rounding errors.
    whole = np.outer(np.linalg.norm(columns, axis=0), np.linalg.norm(followed, axis=0))
    found = np.divide(own.T @ other, scale, out=np.zeros_like(scale), where=scale > 1e-6 * whole)
    return np.asarray(np.abs(found).max(axis=1))
