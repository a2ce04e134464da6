"""Which features a model uses, and how: permutation importance, partial dependence,
Shapley values.

Permutation importance (Breiman 2001) is the loss in score when a feature's values are
shuffled, on rows that the fit has not seen. Of two features with the same information
each looks unimportant. Partial dependence (Friedman 2001) is the mean prediction when a
feature is set to a value. It describes the model and not causes. Columns that encode a
feature are changed together.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from threadpoolctl import threadpool_limits

from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.interval import LEVEL, Weights, quantile
from experiment_pipeline.statistics.metrics import metric_of

# Each value costs one prediction of all rows.
MOST_VALUES, FEWEST_AVERAGED, MOST_AVERAGED = 12, 100, 2_000
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
        """Return the effort that fits into seconds of one core; None: not even
        FEWEST_ROWS once each.

        `shape` is the number of features, and of columns that encode them.
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
) -> tuple[FeatureImportance, ...]:
    """Return how much worse the score is with each feature shuffled, the most important
    first.

    `predict` takes encoded rows, as `encoded` (n, d), and is called by several threads;
    `columns`: feature → positions of its columns; `score`: (truth, prediction, weights)
    → greater is better.
    """
    from scipy.sparse import issparse

    rows = encoded.toarray() if issparse(encoded) else np.asarray(encoded)
    whole = score(y, predict(rows), weights)
    if np.isnan(whole):
        return ()

    def drops(number: int) -> np.ndarray:
        generator = np.random.default_rng([seed, number])
        orders = [generator.permutation(len(rows)) for _ in range(repeats)]
        # Predicting all copies at once costs less than one by one.
        stacked, changed = np.tile(rows, (repeats, 1)), columns[names[number]]
        stacked[:, changed] = rows[np.concatenate(orders)][:, changed]
        parts = np.split(predict(stacked), repeats)
        return whole - np.array([score(y, part, weights) for part in parts])

    names = list(columns)
    with ThreadPoolExecutor(workers, initializer=one_openmp_thread) as pool:
        found = np.array(list(pool.map(drops, range(len(names)))))
    means, noise = found.mean(axis=1), np.full(len(names), np.nan)
    if repeats > 1:
        noise = found.std(axis=1, ddof=1)
    # If a feature has no effect, the original rows are just one more shuffle: the
    # variance of their score minus the mean of R others is 1 + 1/R times that of a
    # shuffle.
    limits = quantile(max(repeats - 1, 1), LEVEL) * math.sqrt(1 + 1 / repeats) * noise
    ranked = [
        FeatureImportance(
            name, drop, deviation, drop > limit if repeats >= MOST_REPEATS else None
        )
        for name, drop, deviation, limit in zip(
            names, means.tolist(), noise.tolist(), limits.tolist(), strict=True
        )
    ]
    return tuple(sorted(ranked, key=lambda one: (-one.drop, one.feature)))


def sampled_shapley(
    predict: Callable[[np.ndarray], np.ndarray],
    rows: np.ndarray,
    background: np.ndarray,
    groups: Sequence[Sequence[int]],
    output: np.ndarray,
) -> np.ndarray:
    """Return what each group of columns adds to the prediction of each row (n, d):
    float64 (n, g).

    Shapley values (Strumbelj and Kononenko 2014), sampled: in each background row (b,
    d) the groups take the row's values in a random order, and in its reverse
    (antithetic, Mitchell et al. 2022). They sum to its prediction minus the
    background's mean. `output` (n,): which of the k columns of `predict` is explained.
    """
    (n, d), g, b = rows.shape, len(groups), len(background)
    generator, group_of = np.random.default_rng(0), np.zeros(d, dtype=np.int64)
    forward = np.stack([generator.permutation(g) for _ in range(b)])
    orders = np.concatenate([forward, forward[:, ::-1]])
    for number, positions in enumerate(groups):
        group_of[positions] = number
    turn = np.argsort(orders, axis=1)[:, None, group_of]
    found, steps = np.zeros((n, g)), np.arange(g + 1)[:, None]
    # A pair of a row and an order takes g + 1 predictions.
    pairs, size = np.arange(n * 2 * b), max(_MOST_CELLS // ((g + 1) * d), 1)
    for start in range(0, len(pairs), size):
        row, order = np.divmod(pairs[start : start + size], 2 * b)
        mixed = np.where(
            turn[order] < steps, rows[row, None], background[order % b, None]
        )
        predicted = predict(mixed.reshape(-1, d)).reshape(len(row), g + 1, -1)
        explained = np.take_along_axis(predicted, output[row, None, None], axis=2)[
            ..., 0
        ]
        np.add.at(found, (row[:, None], orders[order]), np.diff(explained, axis=1))
    return found / (2 * b)


def affordable_rows(
    seconds: float, seconds_per_row: float, n_rows: int, features: int
) -> int:
    """Return how many rows can be predicted at MOST_VALUES values of each feature; 0:
    too few.
    """
    affordable = int(
        seconds / (max(seconds_per_row, 1e-9) * MOST_VALUES * max(features, 1))
    )
    rows = min(n_rows, MOST_AVERAGED, affordable)
    return rows if rows >= min(n_rows, FEWEST_AVERAGED) else 0


def partial_dependence(
    predict: Callable[[np.ndarray], np.ndarray],
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
) -> np.ndarray:
    """Return the mean prediction of dense rows (n, d) at each value of a feature, (v,)
    or (v, k).

    `columns` (c,) are the positions of what encodes it, `values` (v, c) its encoded
    values.
    """
    changed, means = rows.copy(), []
    for value in values:
        changed[:, columns] = value
        means.append(predict(changed).mean(axis=0))
    return np.array(means)


def spread_evenly(n_rows: int, wanted: int) -> np.ndarray:
    """Return positions of rows at even distances: int64 (wanted,)."""
    return np.linspace(0, n_rows - 1, wanted).astype(np.int64)


def scored_by(
    metric: str, threshold: float = 0.5
) -> Callable[[np.ndarray, np.ndarray, Weights], float]:
    """Return (truth, prediction, weights) → score by a metric; greater is better."""
    sign, score = metric_of(metric).sign, scores.score
    return lambda y, prediction, weights: (
        sign * score(metric, y, prediction, threshold, weights)
    )


def one_openmp_thread() -> None:
    """Limit a worker thread to one OpenMP thread for as long as it lives."""
    threadpool_limits(limits=1, user_api="openmp")


# A leaf's columns on its path: column → whether a row satisfies its splits, bool (n,),
# and the share of train rows that does.
_Path = Mapping[int, tuple[np.ndarray, float]]
_AS_ZERO = 1e-35  # LightGBM's, where zero is missing


def tree_shap(model: Mapping[str, Any], cells: np.ndarray) -> np.ndarray:
    """Return what each column adds to LightGBM's raw scores of rows (n, d): (n, k, d +
    1), the base last.

    `model` is what `Booster.dump_model` returns; the values are those of
    `predict(pred_contrib=True)` (path-dependent TreeSHAP: Lundberg et al. 2020). What
    rows get from a leaf depends only on which columns of its path they satisfy: each
    pattern is computed once (Yang 2021), as an integral of a polynomial (Owen 1972),
    which Gauss-Legendre quadrature gives exactly.
    """
    (n, d), k = cells.shape, model["num_tree_per_iteration"]
    found = np.zeros((k, d + 1, n))
    for number, tree in enumerate(model["tree_info"]):
        of_class = found[number % k]
        for value, path in _leaves(tree["tree_structure"], cells, {}):
            shares = np.array([share for _, share in path.values()])
            of_class[d] += value * shares.prod()
            if path:
                patterns, place = _patterns([held for held, _ in path.values()])
                points, weights = np.polynomial.legendre.leggauss((len(path) + 1) // 2)
                points, weights = (points + 1) / 2, weights / 2
                factors = patterns[..., None] * points + shares[:, None] * (1 - points)
                others = (factors.prod(axis=1) * weights)[:, None] / factors
                added = value * (patterns - shares) * others.sum(axis=2)
                for column, of_column in zip(path, added.T, strict=True):
                    of_class[column] += of_column.take(place)
    return np.moveaxis(found, 2, 0)


def _patterns(held: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Patterns of columns that rows satisfy, 0 or 1 (p, columns), and the pattern of
    each row (n,).
    """
    place = np.zeros(len(held[0]), np.int64)
    for bit, satisfied in enumerate(held):
        place |= satisfied.astype(np.int64) << bit
    patterns = (
        np.arange(2 ** len(held)) if 2 ** len(held) <= len(place) else np.unique(place)
    )
    if len(patterns) < 2 ** len(held):
        place = np.searchsorted(patterns, place)
    return (patterns[:, None] >> np.arange(len(held)) & 1).astype(np.float64), place


def _leaves(node: Any, cells: np.ndarray, path: _Path) -> Iterator[tuple[float, _Path]]:
    if "leaf_value" in node:
        yield node["leaf_value"], path
        return
    column, left = node["split_feature"], _goes_left(node, cells)
    for child, goes in ((node["left_child"], left), (node["right_child"], ~left)):
        share = (
            child.get("internal_count", child.get("leaf_count"))
            / node["internal_count"]
        )
        satisfied, so_far = path.get(column, (True, 1.0))
        yield from _leaves(
            child, cells, {**path, column: (goes & satisfied, share * so_far)}
        )


def _goes_left(node: Mapping[str, Any], cells: np.ndarray) -> np.ndarray:
    values = cells[:, node["split_feature"]]
    missing = np.isnan(values)
    if node["decision_type"] == "==":
        codes = [int(code) for code in node["threshold"].split("||")]
        return np.isin(np.where(missing, -1, values).astype(np.int64), codes)
    kind, values = node["missing_type"], np.where(missing, 0, values)
    absent = (
        missing if kind == "NaN" else (kind == "Zero") & (np.abs(values) <= _AS_ZERO)
    )
    return np.where(absent, node["default_left"], values <= node["threshold"])
