"""How often an interval holds the truth: samples drawn again and again from made-up
populations.

The truth is the score of the same predictions in the population: on so many rows that
its own error is small beside an interval. What an interval is lives in
`statistics/interval.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy import stats
from scipy.signal import lfilter
from scipy.special import expit, softmax

from experiment_pipeline.statistics.caveats import caveats, few_clusters_note
from experiment_pipeline.statistics.interval import ConsecutiveClusters, Interval
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests import own_metrics
from experiment_pipeline_tests.bench.simulations import (
    Figure,
    of_each,
)

# Rows of the population: the truth is known 20 to 100 times better than a sample knows
# it.
POPULATION = 2_000_000
# Of samples without a caveat so many are enough to tell a share.
LEAST = 0.05

Draw = Callable[[Generator, int], SetPrediction]
# Generator, number of clusters, memory → their luck, of variance 1.
Series = Callable[[Generator, int, float | None], np.ndarray]


def coverage(
    samples: int,
    seed: int,
    *,
    metrics: str,
    clusters: int,
    draw: str,
    threshold: float = 0.5,
    **of_draw: Any,
) -> dict[str, Figure]:
    """Return for each metric whether intervals of so many clusters hold the truth, and
    whether there is a caveat; of samples without one that of the metric which holds it
    least often.

    `threshold`: from which probability on a row is positive.
    """
    names, sampled = METRICS[metrics], DRAWS[draw](**of_draw)
    rows_of_ten = len(sampled(np.random.default_rng(0), 10).y)
    population = sampled(np.random.default_rng(0), 10 * POPULATION // rows_of_ten)
    # Scores that are known, and that even a large sample of heavy tails misses.
    known_truth = true_scores(**of_draw) if draw == "errors" else {}
    truth = [known_truth.get(name, population.score(name, threshold)) for name in names]
    intervals, noted = [], []
    for generator in of_each(samples, seed):
        sample = sampled(generator, clusters)
        intervals.append([sample.interval(name, threshold) for name in names])
        noted.append(_noted(names, sample, threshold))
    # A sample without a positive has no interval, and says so.
    bounds = np.array([[(one.low, one.high) for one in row] for row in intervals])
    known = np.isfinite(bounds).all(axis=2)
    held = (bounds[..., 0] <= truth) & (truth <= bounds[..., 1])
    shares = np.mean(held, axis=0, where=known).tolist()
    figures: dict[str, Figure] = dict(zip(names, shares, strict=True))
    figures["a note"] = float(np.any(noted, axis=1).mean())
    left = known & ~np.array(noted)
    without = {
        f"without a note, lowest ({name})": held[left[:, place], place]
        for place, name in enumerate(names)
        if left[:, place].sum() >= LEAST * samples
    }
    figures |= sorted(without.items(), key=lambda pair: (pair[1].mean(), pair[0]))[:1]
    by_metric = dict(zip(names, zip(*intervals, strict=True), strict=True))
    return figures | {f"{name}, width": _width(by_metric[name]) for name in known_truth}


def _width(intervals: Sequence[Interval]) -> float:
    """The median width, as a share of that of the best interval that holds: by the true
    distribution of the scores.
    """
    scores = [interval.estimate for interval in intervals]
    low, high = np.quantile(scores, [0.025, 0.975])
    widths = [interval.high - interval.low for interval in intervals]
    return float(np.median(widths) / (high - low))


def _noted(names: Sequence[str], sample: SetPrediction, threshold: float) -> list[bool]:
    """Whether there is a caveat on the interval of each metric."""
    if few_clusters_note(sample.clusters, "unit", "sample", sample.weights):
        return [True] * len(names)
    said = list(caveats(names, sample, "unit", "sample", threshold))
    named = {
        word.strip(",") for one in said for word in one.partition(" on the ")[0].split()
    }
    return [name in named for name in names]


def labels(
    rate: float,
    rows_per_cluster: int = 1,
    luck: float = 0.0,
    memory: float | None = None,
    series: Series | None = None,
) -> Draw:
    """Return a draw of labels, about so many positive, and probabilities.

    Rows of a cluster share their luck, of this standard deviation on the scale of the
    logit; `memory` is its correlation with that of the cluster before, where clusters
    are consecutive, or what another `series` takes.
    """

    def draw(generator: Generator, clusters: int) -> SetPrediction:
        codes = np.repeat(np.arange(clusters), rows_per_cluster)
        known = np.log(rate / (1 - rate)) + 1.2 * generator.normal(size=len(codes))
        shared = (series or luck_of)(generator, clusters, memory)
        truth = expit(known - 0.4 + luck * shared[codes])
        y = (generator.random(len(codes)) < truth).astype(np.int64)
        return SetPrediction(y, expit(known), _clusters(codes, memory))

    return draw


def numbers(
    noise: Callable[[Generator, int], np.ndarray],
    rows_per_cluster: int = 1,
    luck: float = 0.0,
    memory: float | None = None,
) -> Draw:
    """Return a draw of numbers: a known signal, the cluster's luck, and noise."""

    def draw(generator: Generator, clusters: int) -> SetPrediction:
        codes = np.repeat(np.arange(clusters), rows_per_cluster)
        signal = generator.normal(size=len(codes))
        shared = luck * luck_of(generator, clusters, memory)[codes]
        y = signal + shared + noise(generator, len(codes))
        return SetPrediction(y, signal, _clusters(codes, memory))

    return draw


def claims(share: float) -> Draw:
    """Return a draw of amounts that are zero but for a share, and there have light
    tails.
    """

    def draw(generator: Generator, clusters: int) -> SetPrediction:
        known = np.exp(0.5 * generator.normal(size=clusters))
        amount = known * generator.gamma(2, 0.5, size=clusters)
        y = np.where(generator.random(clusters) < share, amount, 0.0)
        return SetPrediction(y, share * known, np.arange(clusters))

    return draw


def panel(customers_per_day: float, luck: float) -> Draw:
    """Return a draw of rows of customers, each with luck of its own, on days with
    theirs.
    """

    def draw(generator: Generator, clusters: int) -> SetPrediction:
        codes = np.repeat(np.arange(clusters), _DAY)
        customers = int(customers_per_day * clusters)
        who = generator.integers(0, customers, len(codes))
        known = -1 + 1.2 * generator.normal(size=len(codes))
        shared = luck * generator.normal(size=customers)[who]
        days = 0.3 * generator.normal(size=clusters)[codes]
        y = (generator.random(len(codes)) < expit(known + shared + days)).astype(
            np.int64
        )
        both = np.column_stack([codes, who]).view(ConsecutiveClusters)
        return SetPrediction(y, expit(known), both)

    return draw


def uneven(draw: Draw, spread: float = 1.0) -> Draw:
    """Return a draw whose rows have lognormal weights: of spread 1, as much is told as
    by 37 %.
    """

    def weighted(generator: Generator, clusters: int) -> SetPrediction:
        rows = draw(generator, clusters)
        return replace(
            rows, weights=generator.lognormal(sigma=spread, size=len(rows.y))
        )

    return weighted


def amounts(generator: Generator, clusters: int) -> SetPrediction:
    """Draw lognormal amounts, such as prices; half of the variance of the logarithm is
    known.
    """
    signal = np.sqrt(0.5) * generator.normal(size=clusters)
    y = np.exp(signal + np.sqrt(0.5) * generator.normal(size=clusters))
    return SetPrediction(y, np.exp(signal + 0.25), np.arange(clusters))


def several_classes(generator: Generator, clusters: int) -> SetPrediction:
    """Draw four classes, of 50, 30, 15 and 5 %."""
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    y = generator.choice(4, size=clusters, p=shares)
    evidence = 1.3 * np.eye(4)[y] + generator.normal(size=(clusters, 4))
    return SetPrediction(
        y, softmax(evidence + np.log(shares), axis=1), np.arange(clusters)
    )


def luck_of(generator: Generator, clusters: int, memory: float | None) -> np.ndarray:
    """Draw an autoregressive series of variance 1 that has been running for ever."""
    persists = memory or 0.0
    shocks = np.sqrt(1 - persists**2) * generator.normal(size=clusters)
    shocks[0] = generator.normal()
    return lfilter([1.0], [1.0, -persists], shocks)


def long_memory_of(
    generator: Generator, clusters: int, order: float | None
) -> np.ndarray:
    """Draw fractional noise of this order and variance 1 (Davies and Harte 1987).

    The population is of independent days: the mean of a long memory converges too
    slowly to show the truth.
    """
    if order is None or clusters > _MOST_DAYS:
        return generator.normal(size=clusters)
    lags = np.arange(1, clusters)
    correlations = np.append(1.0, np.cumprod((lags - 1 + order) / (lags - order)))
    circle = np.append(correlations, correlations[-2:0:-1])
    spectrum = np.maximum(np.fft.fft(circle).real, 0)
    real, imaginary = generator.normal(size=(2, len(circle)))
    shocks = np.sqrt(spectrum / len(circle)) * (real + 1j * imaginary)
    return np.asarray(np.fft.fft(shocks)[:clusters].real)


def _clusters(codes: np.ndarray, memory: float | None) -> np.ndarray:
    return codes if memory is None else codes.view(ConsecutiveClusters)


def _normal(generator: Generator, n: int) -> np.ndarray:
    return generator.normal(size=n)


def errors(
    distribution: str, shape: float | Sequence[float] = (), rows_per_cluster: int = 1
) -> Draw:
    """Return a draw of errors of a scipy distribution around its mean, which rows of a
    cluster share.
    """
    law = getattr(stats, distribution)(*np.atleast_1d(shape))

    def noise(generator: Generator, n: int) -> np.ndarray:
        shared = law.rvs(size=n // rows_per_cluster, random_state=generator)
        return np.repeat(shared - law.mean(), rows_per_cluster)

    return numbers(noise, rows_per_cluster)


def true_scores(
    distribution: str, shape: float | Sequence[float] = (), **_: int
) -> dict[str, float]:
    """Return the scores of such errors on endless rows."""
    variance = float(getattr(stats, distribution)(*np.atleast_1d(shape)).var())
    return {"rmse": variance**0.5, "r2": 1 / (1 + variance)}


OWN = tuple(f"{own_metrics.__name__}:{name}" for name in ("profit", "top_tenth"))
METRICS = {
    "labels": ("roc_auc", "average_precision", "log_loss", "brier", "accuracy", "f1"),
    "classes": (
        "log_loss",
        "accuracy",
        "balanced_accuracy",
        "f1_macro",
        "roc_auc_ovr",
    ),
    "labels by day": ("roc_auc", "log_loss", "accuracy"),
    "numbers": ("rmse", "mae", "r2"),
    "relative errors": ("mape",),
    "own, of labels": OWN,
    "own, of numbers": (f"{own_metrics.__name__}:median_error",),
}
_DAY, _MOST_DAYS = 40, 10_000
DRAWS: dict[str, Callable[..., Draw]] = {
    "labels": labels,
    "labels of uneven weight": lambda rate: uneven(labels(rate)),
    "labels by day": partial(labels, 0.3, _DAY),
    "labels by day, long memory": partial(labels, 0.3, _DAY, series=long_memory_of),
    "customers": panel,
    "classes": lambda: several_classes,
    "numbers": partial(numbers, _normal),
    "numbers of uneven weight": lambda: uneven(numbers(_normal)),
    "errors": errors,
    "amounts": lambda: amounts,
    "claims": claims,
}
