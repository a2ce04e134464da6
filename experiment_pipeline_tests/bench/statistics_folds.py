"""How often the interval of a cross-validation holds the truth: its models share rows.

The truth is what the interval is about (Nadeau and Bengio 2003): the score that such
models, of as many rows as a fold is fitted on, have on average in the population. How
intervals are widened for what the models share lives in `statistics/interval.py`; folds
are cut here as `table/membership.py` does, at random, every row predicted once in each
repeat.
"""

from functools import cache, partial

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from experiment_pipeline.statistics.interval import variance_factor
from experiment_pipeline.statistics.scores import SetPrediction, score
from experiment_pipeline_tests.bench.statistics_rows import Aim, share

ROWS, FOLDS, REPEATS = 300, 5, 3
# Models that the truth is the mean of, and rows that each is judged on.
MODELS, POPULATION = 400, 20_000
_FEATURES = 8
_SMALL = {"max_leaf_nodes": 8, "min_samples_leaf": 10, "random_state": 0}
# Of classes and of numbers: another row in hundred changes little, or decides the first
# split.
_LEARNERS = {
    "a linear model": (LogisticRegression(), Ridge()),
    "a tree": (DecisionTreeClassifier(**_SMALL), DecisionTreeRegressor(**_SMALL)),
}

Rows = tuple[np.ndarray, np.ndarray]


def coverage(
    simulations: int, seed: int, *, metric: str, learner: str, corrected: bool = True
) -> float:
    """Return the share of the intervals that hold the truth; not corrected: as rows are
    taken.
    """
    truth = _truth(metric, learner)
    held = 0
    for number in range(simulations):
        found = _cross_validated(
            np.random.default_rng([seed, number]), metric, learner, corrected
        )
        interval = found.interval(metric)
        held += interval.low <= truth <= interval.high
    return held / simulations


@cache
def _truth(metric: str, learner: str) -> float:
    X, y = _drawn(np.random.default_rng(0), POPULATION, metric)
    scores = []
    for number in range(1, MODELS + 1):
        rows = _drawn(np.random.default_rng([0, number]), ROWS - ROWS // FOLDS, metric)
        scores.append(score(metric, y, _predicted(learner, rows, X)))
    return float(np.mean(scores))


def _cross_validated(
    generator: np.random.Generator, metric: str, learner: str, corrected: bool
) -> SetPrediction:
    """Every row as often as there are repeats, predicted by models that have not seen
    it.
    """
    X, y = _drawn(generator, ROWS, metric)
    prediction = np.empty((REPEATS, ROWS))
    fitted, predicted = list[int](), list[int]()
    for repeat in range(REPEATS):
        fold_of = generator.permutation(np.arange(ROWS) % FOLDS)
        for fold in range(FOLDS):
            out = fold_of == fold
            prediction[repeat, out] = _predicted(learner, (X[~out], y[~out]), X[out])
            fitted.append(int((~out).sum()))
            predicted.append(int(out.sum()))
    factor = variance_factor(fitted, predicted, REPEATS) if corrected else 1.0
    clusters = np.tile(np.arange(ROWS), REPEATS)
    return SetPrediction(
        np.tile(y, REPEATS), prediction.ravel(), clusters, None, factor
    )


def _drawn(generator: np.random.Generator, rows: int, metric: str) -> Rows:
    """Features of which three tell something, one of them by a step; classes or
    numbers.
    """
    X = generator.normal(size=(rows, _FEATURES))
    signal = X[:, 0] + 0.5 * X[:, 1] + 1.0 * (X[:, 2] > 0) - 0.5
    if metric == "rmse":
        return X, signal + generator.normal(size=rows)
    return X, (generator.random(rows) < expit(signal)).astype(np.int64)


def _predicted(learner: str, rows: Rows, X: np.ndarray) -> np.ndarray:
    classifier, regressor = _LEARNERS[learner]
    if rows[1].dtype == float:
        return regressor.fit(*rows).predict(X)
    # A leaf of one class is certain, which log loss would not forgive.
    return classifier.fit(*rows).predict_proba(X)[:, 1].clip(0.01, 0.99)


INTERVALS_OF_FOLDS = tuple(
    partial(
        share,
        f"{learner}, {how}: the interval of {metric} holds the truth",
        Aim(low=0.93) if corrected else None,
        coverage,
        simulations=500,
        metric=metric,
        learner=learner,
        corrected=corrected,
    )
    for metrics in (["roc_auc", "log_loss"], ["rmse"])
    for learner in _LEARNERS
    for metric in metrics
    for how, corrected in (("as it is", True), ("without the correction", False))
)
