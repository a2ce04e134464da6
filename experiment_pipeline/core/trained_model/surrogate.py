"""The surrogate: a model of the scores so far says which configurations are worth training next.

Bayesian optimisation over a finite pool: a forest predicts the score of each configuration that
waits, the spread of its trees says how sure it is, and the greatest expected improvement goes
first (SMAC: Hutter, Hoos and Leyton-Brown 2011; batches by the constant liar of Ginsbourger et
al. 2010). Samplers of libraries suggest points of a space, not members of a pool. Training
lives in `rounds.py`. In: a pool, scores, a seed. Out: keys, the same whatever the order of the
pool and the time of day.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np

from experiment_pipeline.core.configurations import Configuration
from experiment_pipeline.core.metrics import METRICS
from experiment_pipeline.core.spec import Scalar
from experiment_pipeline.core.trained_model.order import drawn

TREES = 100
ABSENT = -1.0


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
    known = [place for place, one in enumerate(ordered) if one.key in scored]
    waiting = [place for place, one in enumerate(ordered) if one.key not in scored]
    y = np.array([goodness[ordered[place].key] for place in known])
    places = _greatest_improvements(encoded, known, waiting, y, count, seed)
    return tuple(ordered[place].key for place in places)


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


def _greatest_improvements(
    encoded: np.ndarray, known: list[int], waiting: list[int], y: np.ndarray, count: int, seed: int
) -> list[int]:
    """Return places of the pool, one after the other; each pick is believed to score as predicted.

    Args:
        encoded: (n, columns) the pool.
        known: places that have been trained.
        waiting: the other places.
        y: (n_known,) goodness.
        count: how many to return at the most.
        seed: of the forest.
    """
    best, picked = y.max(), list[int]()
    while waiting and len(picked) < count:
        mean, spread = _predicted(encoded[known + picked], y, encoded[waiting], seed)
        first = int(np.argmax(_expected_improvement(mean, spread, best)))
        picked.append(waiting[first])
        waiting = waiting[:first] + waiting[first + 1 :]
        y = np.append(y, mean[first])
    return picked


def _predicted(
    trained: np.ndarray, y: np.ndarray, others: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the trees say on average, and how far they disagree: (n_others,) each."""
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(TREES, bootstrap=True, random_state=seed, n_jobs=1)
    forest.fit(trained, y)
    said = np.stack([tree.predict(others) for tree in forest.estimators_])
    return said.mean(axis=0), said.std(axis=0)


def _expected_improvement(mean: np.ndarray, spread: np.ndarray, best: float) -> np.ndarray:
    """Return by how much each is expected to pass the best one, (n,)."""
    from scipy.stats import norm

    gain, sure = mean - best, np.maximum(spread, np.finfo(float).tiny)
    return np.asarray(gain * norm.cdf(gain / sure) + spread * norm.pdf(gain / sure))
