"""How often an interval holds the truth: samples drawn again and again from made-up
populations.

The truth is the score of the same predictions in the population: on so many rows that
its own error is small beside an interval. What an interval is lives in
`statistics/interval.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from scipy import stats
from scipy.signal import lfilter
from scipy.special import expit, softmax

from experiment_pipeline.statistics.caveats import caveats, few_clusters_note
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests import own_metrics
from experiment_pipeline_tests.bench.statistics_rows import (
    COVERED,
    SEED,
    Aim,
    Row,
    rows_of,
)

# Rows of the population: the truth is known 20 to 100 times better than a sample knows
# it.
POPULATION = 2_000_000
# Of samples without a caveat, where at least so many have none.
UNNOTED, LEAST = Aim(low=0.9), 0.05
WIDTH = Aim(high=1.5)  # of the best interval that holds
NOTED = {"false": Aim(high=0.05), "owed": Aim(low=0.6)}

Draw = Callable[[np.random.Generator, int], SetPrediction]
# Generator, number of clusters, memory → their luck, of variance 1.
Series = Callable[[np.random.Generator, int, float | None], np.ndarray]


@dataclass(frozen=True)
class Scenario:
    """A population and what is asked of its samples."""

    name: str  # of the table
    metrics: tuple[str, ...]  # whose intervals are judged
    clusters: int  # in a sample
    draw: Draw  # generator, number of clusters → a sample
    # whether a caveat on an interval is a false alarm, an open question, owed, or
    # always given
    note: Literal["false", "open", "owed", "always"] = "false"
    threshold: float = 0.5  # from which probability on a row is positive
    # true scores that are known, and that even a large sample of heavy tails misses
    truth: Mapping[str, float] = field(default_factory=dict)


def coverage(place: int, *, simulations: int) -> list[Row]:
    """Return a row per metric of one of SCENARIOS, one for the caveats, and one for the
    metric that holds the truth least often in samples without one.
    """
    scenario = SCENARIOS[place]
    truth, names = _truth(scenario), scenario.metrics
    estimates = np.empty((simulations, len(names)))
    bounds = np.empty((simulations, len(names), 2))
    noted = np.empty((simulations, len(names)), dtype=bool)
    for number in range(simulations):
        sample = scenario.draw(np.random.default_rng([SEED, number]), scenario.clusters)
        intervals = [sample.interval(name, scenario.threshold) for name in names]
        estimates[number] = [interval.estimate for interval in intervals]
        bounds[number] = [(interval.low, interval.high) for interval in intervals]
        noted[number] = _noted(scenario, sample)
    widths = {
        name: _width(estimates[:, names.index(name)], bounds[:, names.index(name)])
        for name in scenario.truth
    }
    # A sample without a positive has no interval, and says so.
    known = np.isfinite(bounds).all(axis=2)
    low, high = np.moveaxis(bounds, 2, 0)
    held = (low <= truth) & (truth <= high)
    left = known & ~noted
    shares = np.mean(held, axis=0, where=known).tolist()
    counts = zip(
        names, left.sum(axis=0).tolist(), (left & held).sum(axis=0), strict=True
    )
    without = [
        (float(held / n), m, n) for m, n, held in counts if n >= LEAST * simulations
    ]
    figures: dict[str, tuple[float, Aim | None]] = {
        name: (one, COVERED) for name, one in zip(names, shares, strict=True)
    }
    figures["a note"] = float(noted.any(axis=1).mean()), NOTED.get(scenario.note)
    return [
        *rows_of(f"{scenario.name}: ", simulations, figures),
        *(
            Row(
                f"{scenario.name}: without a note, lowest ({metric})",
                figure,
                UNNOTED,
                n,
            )
            for figure, metric, n in sorted(without)[:1]
        ),
        *(
            Row(f"{scenario.name}: {metric}, width", width, WIDTH, simulations)
            for metric, width in widths.items()
        ),
    ]


def _width(scores: np.ndarray, bounds: np.ndarray) -> float:
    """The median width of intervals, as a share of that of the best one that holds: by
    the true distribution of the scores.
    """
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(np.median(bounds[:, 1] - bounds[:, 0]) / (high - low))


def _noted(scenario: Scenario, sample: SetPrediction) -> list[bool]:
    """Whether there is a caveat on the interval of each metric."""
    if few_clusters_note(sample.clusters, "unit", "sample", sample.weights):
        return [True] * len(scenario.metrics)
    said = list(caveats(scenario.metrics, sample, "unit", "sample", scenario.threshold))
    named = {
        word.strip(",") for one in said for word in one.partition(" on the ")[0].split()
    }
    return [name in named for name in scenario.metrics]


def _truth(scenario: Scenario) -> list[float]:
    rows_of_ten = len(scenario.draw(np.random.default_rng(0), 10).y)
    population = scenario.draw(np.random.default_rng(0), 10 * POPULATION // rows_of_ten)
    return [
        scenario.truth.get(name, population.score(name, scenario.threshold))
        for name in scenario.metrics
    ]


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

    def draw(generator: np.random.Generator, clusters: int) -> SetPrediction:
        codes = np.repeat(np.arange(clusters), rows_per_cluster)
        known = np.log(rate / (1 - rate)) + 1.2 * generator.normal(size=len(codes))
        shared = (series or luck_of)(generator, clusters, memory)
        truth = expit(known - 0.4 + luck * shared[codes])
        y = (generator.random(len(codes)) < truth).astype(np.int64)
        return SetPrediction(y, expit(known), _clusters(codes, memory))

    return draw


def numbers(
    noise: Callable[[np.random.Generator, int], np.ndarray],
    rows_per_cluster: int = 1,
    luck: float = 0.0,
    memory: float | None = None,
) -> Draw:
    """Return a draw of numbers: a known signal, the cluster's luck, and noise."""

    def draw(generator: np.random.Generator, clusters: int) -> SetPrediction:
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

    def draw(generator: np.random.Generator, clusters: int) -> SetPrediction:
        known = np.exp(0.5 * generator.normal(size=clusters))
        amount = known * generator.gamma(2, 0.5, size=clusters)
        y = np.where(generator.random(clusters) < share, amount, 0.0)
        return SetPrediction(y, share * known, np.arange(clusters))

    return draw


def panel(customers_per_day: float, luck: float) -> Draw:
    """Return a draw of rows of customers, each with luck of its own, on days with
    theirs.
    """

    def draw(generator: np.random.Generator, clusters: int) -> SetPrediction:
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

    def weighted(generator: np.random.Generator, clusters: int) -> SetPrediction:
        rows = draw(generator, clusters)
        return replace(
            rows, weights=generator.lognormal(sigma=spread, size=len(rows.y))
        )

    return weighted


def amounts(generator: np.random.Generator, clusters: int) -> SetPrediction:
    """Draw lognormal amounts, such as prices; half of the variance of the logarithm is
    known.
    """
    signal = np.sqrt(0.5) * generator.normal(size=clusters)
    y = np.exp(signal + np.sqrt(0.5) * generator.normal(size=clusters))
    return SetPrediction(y, np.exp(signal + 0.25), np.arange(clusters))


def several_classes(generator: np.random.Generator, clusters: int) -> SetPrediction:
    """Draw four classes, of 50, 30, 15 and 5 %."""
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    y = generator.choice(4, size=clusters, p=shares)
    evidence = 1.3 * np.eye(4)[y] + generator.normal(size=(clusters, 4))
    return SetPrediction(
        y, softmax(evidence + np.log(shares), axis=1), np.arange(clusters)
    )


def luck_of(
    generator: np.random.Generator, clusters: int, memory: float | None
) -> np.ndarray:
    """Draw an autoregressive series of variance 1 that has been running for ever."""
    persists = memory or 0.0
    shocks = np.sqrt(1 - persists**2) * generator.normal(size=clusters)
    shocks[0] = generator.normal()
    return lfilter([1.0], [1.0, -persists], shocks)


def long_memory_of(
    generator: np.random.Generator, clusters: int, order: float | None
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


def _normal(generator: np.random.Generator, n: int) -> np.ndarray:
    return generator.normal(size=n)


def errors_of(
    name: str,
    distribution: Any,
    clusters: int,
    note: Literal["false", "open"] = "open",
    rows_per_cluster: int = 1,
) -> Scenario:
    """Return the scenario of errors of a scipy distribution around its mean, which rows
    of a cluster share.
    """
    centre, variance = distribution.mean(), float(distribution.var())

    def noise(generator: np.random.Generator, n: int) -> np.ndarray:
        shared = distribution.rvs(size=n // rows_per_cluster, random_state=generator)
        return np.repeat(shared - centre, rows_per_cluster)

    size = f"{clusters:,} rows"
    if rows_per_cluster > 1:
        size = f"{clusters:,} groups of {rows_per_cluster}"
    return Scenario(
        f"errors of {name}, {size}",
        _NUMBERS,
        clusters,
        numbers(noise, rows_per_cluster),
        note,
        truth={"rmse": variance**0.5, "r2": 1 / (1 + variance)},
    )


_LABELS = ("roc_auc", "average_precision", "log_loss", "brier", "accuracy", "f1")
_CLASSES = ("log_loss", "accuracy", "balanced_accuracy", "f1_macro", "roc_auc_ovr")
_BY_DAY = ("roc_auc", "log_loss", "accuracy")
_NUMBERS = ("rmse", "mae", "r2")
OWN = tuple(f"{own_metrics.__name__}:{name}" for name in ("profit", "top_tenth"))
_OWN_NUMBERS = (f"{own_metrics.__name__}:median_error",)
_DAY, _MOST_DAYS = 40, 10_000

_grouped = labels(0.3, 10, 0.8)
_days = labels(0.3, _DAY, 0.5, 0.0)
SCENARIOS = (
    Scenario("30 % positives, 150 rows", _LABELS, 150, labels(0.3)),
    Scenario("20 % positives, 1,000 rows", _LABELS, 1_000, labels(0.2)),
    Scenario("30 % positives, 60 groups of 10", _LABELS, 60, _grouped),
    Scenario("four classes, 400 rows", _CLASSES, 400, several_classes),
    errors_of("the normal distribution", stats.norm(), 200, "false"),
    errors_of("the normal distribution", stats.norm(), 2_000, "false"),
    errors_of("the uniform distribution", stats.uniform(), 200, "false"),
    errors_of("Student's t (5)", stats.t(5), 200, "false"),
    errors_of("an exponential distribution", stats.expon(), 500),
    errors_of("a lognormal distribution (0.5)", stats.lognorm(0.5), 500),
    errors_of("a lognormal distribution (1)", stats.lognorm(1), 500),
    errors_of("a lognormal distribution (1.5)", stats.lognorm(1.5), 500),
    errors_of("Student's t (4)", stats.t(4), 500),
    errors_of("the normal distribution", stats.norm(), 40, "open", 15),
    errors_of("Student's t (4)", stats.t(4), 40, "open", 15),
    Scenario(
        "30 % positives, 400 rows of uneven weight", _LABELS, 400, uneven(labels(0.3))
    ),
    Scenario(
        "normal errors, 300 rows of uneven weight",
        _NUMBERS,
        300,
        uneven(numbers(_normal)),
    ),
    Scenario(
        "30 % positives, 60 groups of 10 rows of uneven weight",
        _LABELS,
        60,
        uneven(_grouped),
    ),
    errors_of("Student's t (3)", stats.t(3), 2_000),
    errors_of("Student's t (3)", stats.t(3), 300),
    errors_of("Student's t (2.5)", stats.t(2.5), 500),
    errors_of("Student's t (2.5)", stats.t(2.5), 2_000),
    errors_of("Pareto (2.5)", stats.pareto(2.5), 500),
    errors_of("Burr (1.5, 1.7)", stats.burr12(1.5, 1.7), 500),
    errors_of("a generalised Pareto (0.45)", stats.genpareto(0.45), 500),
    Scenario("lognormal amounts, 300 rows", _NUMBERS, 300, amounts, "open"),
    Scenario("lognormal amounts, 2,000 rows", _NUMBERS, 2_000, amounts, "open"),
    Scenario("claims of 5 %, 2,000 rows", _NUMBERS, 2_000, claims(0.05)),
    Scenario("claims of 20 %, 300 rows", _NUMBERS, 300, claims(0.2), "open"),
    Scenario("relative errors of amounts, 40 rows", ("mape",), 40, amounts),
    Scenario("5 % positives, 200 rows", _LABELS, 200, labels(0.05), "open", 0.1),
    Scenario(
        "5 % positives, 20 groups of 10",
        _LABELS,
        20,
        labels(0.05, 10, 1.5),
        "open",
        0.1,
    ),
    Scenario("60 days without memory", _BY_DAY, 60, _days, "always"),
    Scenario("60 days, memory 0.9", _BY_DAY, 60, labels(0.3, _DAY, 1.0, 0.9), "always"),
    Scenario("180 days without memory", _BY_DAY, 180, _days),
    Scenario(
        "180 days without memory, normal errors",
        _NUMBERS,
        180,
        numbers(_normal, _DAY, 0.5, 0),
    ),
    Scenario("180 days, memory 0.5", _BY_DAY, 180, labels(0.3, _DAY, 1.0, 0.5), "open"),
    Scenario("180 days, memory 0.9", _BY_DAY, 180, labels(0.3, _DAY, 1.0, 0.9), "owed"),
    Scenario(
        "250 days, faint memory 0.9", _BY_DAY, 250, labels(0.3, _DAY, 0.3, 0.9), "open"
    ),
    Scenario("180 days, 450 customers", _LABELS, 180, panel(2.5, 1.0)),
    *(
        Scenario(
            f"{days} days, long memory of order 0.35",
            _BY_DAY,
            days,
            labels(0.3, _DAY, 0.6, 0.35, long_memory_of),
            "open",
        )
        for days in (180, 365)
    ),
    Scenario("own metrics, 400 rows", OWN, 400, labels(0.3), threshold=0.4),
    Scenario("own metrics, 60 groups of 10", OWN, 60, _grouped, threshold=0.4),
    Scenario("own metrics, 180 days", OWN, 180, _days, threshold=0.4),
    Scenario("own metric, 200 rows", _OWN_NUMBERS, 200, numbers(_normal)),
    Scenario(
        "own metric, 60 groups of 10", _OWN_NUMBERS, 60, numbers(_normal, 10, 0.5)
    ),
)
# By their places: draws do not pickle.
COVERAGE = tuple(
    partial(coverage, place, simulations=1_000) for place in range(len(SCENARIOS))
)
