"""Which features a model uses, and how: permutation importance, partial dependence,
Shapley values.

Permutation importance (Breiman 2001) is the loss in score when a feature's values are
shuffled, on rows that the fit has not seen. Of two features with the same information
each looks unimportant. Partial dependence (Friedman 2001) is the mean prediction when a
feature is set to a value. It describes the model and not causes. Columns that encode a
feature are changed together.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.interval import LEVEL, Weights, quantile
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.threads import one_openmp_thread

MOST_VALUES = 12  # each value costs one prediction of all rows
FEWEST_AVERAGED = 100
MOST_AVERAGED = 2_000
MOST_ROWS = 2_000
FEWEST_ROWS = 200
MOST_REPEATS = 5
# Numbers in one table of shuffled rows: 160 MB for each worker.
_MOST_CELLS = 20_000_000
Predict = Callable[[np.ndarray], np.ndarray]
# (truth, prediction, weights) → score
Score = Callable[[np.ndarray, np.ndarray, Weights], float]


@dataclass(frozen=True)
class Effort:
    """How many rows are predicted, and how often each feature is shuffled."""

    rows: int
    repeats: int

    @classmethod
    def within(
        cls, seconds: float, seconds_per_row: float, n_rows: int, shape: tuple[int, int]
    ) -> Self | None:
        """Return the effort that fits into seconds of one core.

        `shape` is the number of features, and of columns that encode them. None: not
        even FEWEST_ROWS can be shuffled once for each.
        """
        n_features, n_columns = shape
        in_time = seconds / (max(seconds_per_row, 1e-9) * n_features)
        per_feature = min(in_time, _MOST_CELLS / n_columns)
        fewest = min(n_rows, FEWEST_ROWS)
        if per_feature < fewest:
            return None
        rows = max(min(n_rows, MOST_ROWS, int(per_feature / MOST_REPEATS)), fewest)
        return cls(rows, int(np.clip(per_feature // rows, 1, MOST_REPEATS)))


@dataclass(frozen=True)
class FeatureImportance:
    """The loss in score when a feature is shuffled."""

    feature: str
    drop: float  # positive: worse without it
    deviation: float  # standard deviation between repeats; nan for one
    # whether it is positive by a one-sided test at the 2.5 % level; None: fewer than
    # MOST_REPEATS
    significant: bool | None


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """Encoded rows whose predictions are scored against the truth."""

    predict: Predict  # takes rows like `encoded`; called by several threads
    encoded: Any  # (n, d), dense or sparse
    y: np.ndarray  # (n,)
    metric_score: Score  # greater is better
    weights: Weights = None  # (n,)

    def score(self, prediction: np.ndarray) -> float:
        """Return the score of a prediction for the rows."""
        return self.metric_score(self.y, prediction, self.weights)


def permutation_importance(
    judged: ScoredRows,
    columns: Mapping[str, np.ndarray],
    repeats: int,
    *,
    seed: int,
    workers: int,
) -> tuple[FeatureImportance, ...]:
    """Return how much worse the score is with each feature shuffled.

    `columns` has the positions of each feature's columns. The most important feature
    comes first; there is none where the score is undefined.
    """
    from scipy.sparse import issparse

    encoded = judged.encoded
    rows = encoded.toarray() if issparse(encoded) else np.asarray(encoded)
    unshuffled = judged.score(judged.predict(rows))
    if np.isnan(unshuffled):
        return ()
    names = list(columns)

    def drops_of(number: int) -> np.ndarray:
        generator = np.random.default_rng([seed, number])
        orders = [generator.permutation(len(rows)) for _ in range(repeats)]
        # Predicting all copies at once costs less than one by one.
        shuffled = np.tile(rows, (repeats, 1))
        changed = columns[names[number]]
        shuffled[:, changed] = rows[np.concatenate(orders)][:, changed]
        predictions = np.split(judged.predict(shuffled), repeats)
        return unshuffled - np.array([judged.score(part) for part in predictions])

    with ThreadPoolExecutor(workers, initializer=one_openmp_thread) as pool:
        drops = np.array(list(pool.map(drops_of, range(len(names)))))
    noise = np.full(len(names), np.nan)
    if repeats > 1:
        noise = drops.std(axis=1, ddof=1)
    # If a feature has no effect, the original rows are just one more shuffle: the
    # variance of their score minus the mean of R others is 1 + 1/R times that of a
    # shuffle.
    limits = quantile(max(repeats - 1, 1), LEVEL) * math.sqrt(1 + 1 / repeats) * noise
    ranked = []
    for name, drop, deviation, limit in zip(
        names,
        drops.mean(axis=1).tolist(),
        noise.tolist(),
        limits.tolist(),
        strict=True,
    ):
        significant = drop > limit if repeats >= MOST_REPEATS else None
        ranked.append(FeatureImportance(name, drop, deviation, significant))
    ranked.sort(key=lambda feature: (-feature.drop, feature.feature))
    return tuple(ranked)


def sampled_shapley(
    predict: Predict,
    rows: np.ndarray,
    background: np.ndarray,
    groups: Sequence[Sequence[int]],
    output: np.ndarray,
) -> np.ndarray:
    """Return what groups of columns add to the prediction of rows (n, d), (n, g).

    Shapley values (Strumbelj and Kononenko 2014), sampled: in each background row (b,
    d) the groups take the row's values in a random order, and in its reverse
    (antithetic, Mitchell et al. 2022). They sum to its prediction minus the
    background's mean. `output` (n,): which of the k columns of `predict` is explained.
    """
    n, d = rows.shape
    g = len(groups)
    b = len(background)
    generator = np.random.default_rng(0)
    forward = np.stack([generator.permutation(g) for _ in range(b)])
    orders = np.concatenate([forward, forward[:, ::-1]])
    group_of = np.zeros(d, dtype=np.int64)
    for number, positions in enumerate(groups):
        group_of[positions] = number
    turn = np.argsort(orders, axis=1)[:, None, group_of]
    steps = np.arange(g + 1)[:, None]
    contributions = np.zeros((n, g))
    # A pair of a row and an order takes g + 1 predictions.
    pairs = np.arange(n * 2 * b)
    size = max(_MOST_CELLS // ((g + 1) * d), 1)
    for start in range(0, len(pairs), size):
        row, order = np.divmod(pairs[start : start + size], 2 * b)
        replaced = turn[order] < steps
        mixed = np.where(replaced, rows[row, None], background[order % b, None])
        predicted = predict(mixed.reshape(-1, d)).reshape(len(row), g + 1, -1)
        explained = np.take_along_axis(predicted, output[row, None, None], axis=2)
        added = np.diff(explained[..., 0], axis=1)
        np.add.at(contributions, (row[:, None], orders[order]), added)
    return contributions / (2 * b)


def affordable_rows(
    seconds: float, seconds_per_row: float, n_rows: int, features: int
) -> int:
    """Return how many rows can be predicted at MOST_VALUES of each feature; 0: few."""
    seconds_of_row = max(seconds_per_row, 1e-9) * MOST_VALUES * max(features, 1)
    rows = min(n_rows, MOST_AVERAGED, int(seconds / seconds_of_row))
    return rows if rows >= min(n_rows, FEWEST_AVERAGED) else 0


def partial_dependence(
    predict: Predict,
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
) -> np.ndarray:
    """Return the mean prediction of dense rows (n, d) at values, (v,) or (v, k).

    `columns` (c,) are the positions of what encodes it, `values` (v, c) its encoded
    values.
    """
    changed = rows.copy()
    means = []
    for value in values:
        changed[:, columns] = value
        means.append(predict(changed).mean(axis=0))
    return np.array(means)


def spread_evenly(n_rows: int, number: int) -> np.ndarray:
    """Return positions of rows at even distances: int64 (number,)."""
    return np.linspace(0, n_rows - 1, number).astype(np.int64)


def scored_by(metric: str, threshold: float = 0.5) -> Score:
    """Return the score by a metric, with a sign so that greater is better."""
    sign = metric_of(metric).sign
    return lambda y, prediction, weights: (
        sign * scores.score(metric, y, prediction, threshold, weights)
    )
