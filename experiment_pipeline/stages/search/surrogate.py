"""The surrogate: a model of the scores so far says which configurations are worth training next.

Bayesian optimisation over a finite pool, as SMAC does it (Hutter, Hoos and Leyton-Brown 2011): a
forest predicts the score of each configuration that waits, the spread of its trees says how sure
it is, and the greatest expected improvements go first. scikit-learn's forest, because samplers
of the tuning libraries suggest points of a space, not members of a pool, and a forest takes
mixed hyperparameters and is replayed from a seed. Training lives in `rounds.py`. In: a pool,
scores, a seed. Out: keys, the same whatever the order of the pool and of the scores.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np

from experiment_pipeline.spec import Scalar
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.order import drawn
from experiment_pipeline.statistics.metrics import METRICS

TREES = 100
ABSENT = -1.0
# The least spread that is believed.
SURE = 1e-6


def pick(
    pool: Sequence[Configuration],
    scored: Mapping[str, float],
    count: int,
    *,
    metric: str,
    seed: int,
) -> tuple[str, ...]:
    """Return the keys to train next, the most promising first; fewer picks are a beginning.

    Args:
        pool: all that compete, in any order.
        scored: key → test score of what was trained; nan where it failed or is undefined.
        count: how many to return, if there are so many.
        metric: its direction says what is better.
        seed: of the first round's draw and of the forest.
    """
    ordered = drawn_evenly(pool, seed)
    goodness = _goodness(scored, metric)
    if len(set(goodness.values())) < 2:
        # Nothing tells one configuration from another yet.
        return tuple(one.key for one in ordered if one.key not in scored)[:count]
    encoded = encode(ordered)
    known = np.array([one.key in scored for one in ordered])
    y = np.array([goodness[one.key] for one in ordered if one.key in scored])
    waiting = [one.key for one in ordered if one.key not in scored]
    if not waiting:
        return ()
    expected = _expected_improvements(encoded[known], y, encoded[~known], seed)
    # Equal ones in the order of the draw.
    return tuple(waiting[place] for place in np.argsort(-expected, kind="stable")[:count])


def drawn_evenly(pool: Sequence[Configuration], seed: int) -> list[Configuration]:
    """Shuffle by the seed, one of each algorithm in turn: a beginning has some of each."""
    turns = Counter[str]()
    places = []
    for one in drawn(pool, seed):
        turns[one.algorithm] += 1
        places.append((turns[one.algorithm], one.algorithm, one))
    return [one for *_, one in sorted(places, key=lambda place: place[:2])]


def encode(pool: Sequence[Configuration]) -> np.ndarray:
    """Return the configurations as numbers, (n, columns).

    A number becomes its place among the pool's values, 0 to 1: so a logarithmic range is even,
    and so is a list. A text, a truth value or none is a column of its own, of ones and zeros;
    so is the algorithm. What an algorithm does not have is ABSENT.
    """
    settings = [
        {
            ("", "algorithm"): one.algorithm,
            (one.algorithm, "features"): one.features,
            **{(one.algorithm, name): value for name, value in one.hyperparameters.items()},
        }
        for one in pool
    ]
    names = sorted({name for one in settings for name in one})
    columns = [c for name in names for c in _columns([one.get(name, _Absent) for one in settings])]
    return np.column_stack([np.zeros(len(pool)), *columns])


class _Absent:
    """Stands for a hyperparameter that an algorithm does not have."""


def _columns(values: Sequence[Scalar | type[_Absent]]) -> list[np.ndarray]:
    """Return the columns of one hyperparameter that tell configurations apart."""
    numbers = np.array([float(v) if _is_number(v) else np.nan for v in values])
    levels = np.unique(numbers[~np.isnan(numbers)])
    ranks = np.searchsorted(levels, numbers) / max(len(levels) - 1, 1)
    choices = sorted({repr(v) for v in values if not _is_number(v) and v is not _Absent})
    found = [np.where(np.isnan(numbers), ABSENT, ranks)]
    found += [np.array([float(repr(value) == choice) for value in values]) for choice in choices]
    return [column for column in found if len(np.unique(column)) > 1]


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _goodness(scored: Mapping[str, float], metric: str) -> dict[str, float]:
    """Return scores of which the greatest is the best; what has none counts as the worst."""
    signed = {key: METRICS[metric].sign * score for key, score in scored.items()}
    worst = min((score for score in signed.values() if math.isfinite(score)), default=0.0)
    return {key: score if math.isfinite(score) else worst for key, score in signed.items()}


def _expected_improvements(
    trained: np.ndarray, goodness: np.ndarray, waiting: np.ndarray, seed: int
) -> np.ndarray:
    """Return by how much each that waits is expected to pass the best one, (n_waiting,).

    Args:
        trained: (n_trained, columns) encoded.
        goodness: (n_trained,) greater is better.
        waiting: (n_waiting, columns) encoded.
        seed: of the forest.
    """
    from scipy.stats import norm, rankdata
    from sklearn.ensemble import ExtraTreesRegressor

    # As normal scores of their ranks: one that went wrong altogether hides no differences.
    y = norm.ppf((rankdata(goodness) - 0.5) / len(goodness))
    forest = ExtraTreesRegressor(TREES, random_state=seed, n_jobs=1).fit(trained, y)
    said = np.stack([tree.predict(waiting) for tree in forest.estimators_])
    gain, spread = said.mean(axis=0) - y.max(), np.maximum(said.std(axis=0), SURE)
    return np.asarray(gain * norm.cdf(gain / spread) + spread * norm.pdf(gain / spread))
