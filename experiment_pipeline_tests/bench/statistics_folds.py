"""How often the interval of a cross-validation holds the truth: its models share rows.

The truth is what the interval is about (Nadeau and Bengio 2003): the score that such models, of as
many rows as a fold is fitted on, have on average in the population. How intervals are widened for
what the models share lives in `statistics/interval.py`; folds are cut here as `table/membership.py` does,
at random, every row predicted once in each repeat. In: a metric, what is learnt with, a number of
simulations. Out: the share of the intervals that hold it.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from experiment_pipeline.statistics.interval import variance_factor
from experiment_pipeline.statistics.scores import SetPrediction, score

ROWS, FOLDS, REPEATS = 300, 5, 3
# Models that the truth is the mean of, and rows that each is judged on.
MODELS, POPULATION = 400, 20_000
_FEATURES = 8

Rows = tuple[np.ndarray, np.ndarray]
Learn = Callable[[np.ndarray, np.ndarray], Any]


def linear_classes(X: np.ndarray, y: np.ndarray) -> Any:
    """Fit a stable classifier: another row in hundred changes little."""
    return LogisticRegression().fit(X, y)


def tree_of_classes(X: np.ndarray, y: np.ndarray) -> Any:
    """Fit an unstable classifier: a few rows decide its first split."""
    return DecisionTreeClassifier(max_leaf_nodes=8, min_samples_leaf=10, random_state=0).fit(X, y)


def linear_numbers(X: np.ndarray, y: np.ndarray) -> Any:
    """Fit a stable regressor."""
    return Ridge().fit(X, y)


def tree_of_numbers(X: np.ndarray, y: np.ndarray) -> Any:
    """Fit an unstable regressor."""
    return DecisionTreeRegressor(max_leaf_nodes=8, min_samples_leaf=10, random_state=0).fit(X, y)


def coverage(
    simulations: int, seed: int, *, metric: str, learn: Learn, corrected: bool = True
) -> float:
    """Return the share of the intervals that hold the truth; not corrected: as rows are taken."""
    truth = _truth(metric, learn)
    held = 0
    for number in range(simulations):
        found = _cross_validated(np.random.default_rng([seed, number]), metric, learn, corrected)
        interval = found.interval(metric)
        held += interval.low <= truth <= interval.high
    return held / simulations


@cache
def _truth(metric: str, learn: Learn) -> float:
    X, y = _drawn(np.random.default_rng(0), POPULATION, metric)
    scores = []
    for number in range(1, MODELS + 1):
        rows = _drawn(np.random.default_rng([0, number]), ROWS - ROWS // FOLDS, metric)
        scores.append(score(metric, y, _predicted(learn(*rows), X)))
    return float(np.mean(scores))


def _cross_validated(
    generator: np.random.Generator, metric: str, learn: Learn, corrected: bool
) -> SetPrediction:
    """Every row as often as there are repeats, predicted by models that have not seen it."""
    X, y = _drawn(generator, ROWS, metric)
    prediction = np.empty((REPEATS, ROWS))
    fitted, predicted = list[int](), list[int]()
    for repeat in range(REPEATS):
        fold_of = generator.permutation(np.arange(ROWS) % FOLDS)
        for fold in range(FOLDS):
            out = fold_of == fold
            prediction[repeat, out] = _predicted(learn(X[~out], y[~out]), X[out])
            fitted.append(int((~out).sum()))
            predicted.append(int(out.sum()))
    factor = variance_factor(fitted, predicted, REPEATS) if corrected else 1.0
    clusters = np.tile(np.arange(ROWS), REPEATS)
    return SetPrediction(np.tile(y, REPEATS), prediction.ravel(), clusters, None, factor)


def _drawn(generator: np.random.Generator, rows: int, metric: str) -> Rows:
    """Features of which three tell something, one of them by a step; classes or numbers."""
    X = generator.normal(size=(rows, _FEATURES))
    signal = X[:, 0] + 0.5 * X[:, 1] + 1.0 * (X[:, 2] > 0) - 0.5
    if metric == "rmse":
        return X, signal + generator.normal(size=rows)
    return X, (generator.random(rows) < expit(signal)).astype(np.int64)


def _predicted(model: Any, X: np.ndarray) -> np.ndarray:
    found = model.predict_proba(X)[:, 1] if hasattr(model, "predict_proba") else model.predict(X)
    # A leaf of one class is certain, which log loss would not forgive.
    return np.clip(found, 0.01, 0.99) if hasattr(model, "predict_proba") else np.asarray(found)
