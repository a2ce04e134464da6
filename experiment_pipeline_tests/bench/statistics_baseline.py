"""Does the gate against the baseline accept winners, and only those? Targets with heavy
tails, and days of a trend.

Model and baseline share their large errors there. A winner explains half of the
variance or more, what knows nothing predicts chance; both are judged at the first look
and at the third.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from experiment_pipeline.stages.validation_report.ledger import EarlierLooks
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.metrics import significantly_better
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    best_constant,
    difference_to_baseline,
)
from experiment_pipeline_tests.bench.statistics_coverage import luck_of
from experiment_pipeline_tests.bench.statistics_rows import (
    BY_LUCK,
    NEARLY_ALWAYS,
    Aim,
    Job,
    each,
    repeated,
)

Generator = np.random.Generator
# Fitted rows, which the baseline learns from, and validation rows with predictions.
Drawn = tuple[np.ndarray, SetPrediction]
World = Callable[[Generator], Drawn]
_HOURS = 24


def sums(rows: int, explained: float, freedom: float) -> World:
    """A feature and noise, both of Student's t."""

    def draw(generator: Generator) -> Drawn:
        feature, noise = generator.standard_t(freedom, size=(2, 3 * rows))
        known = math.sqrt(explained) * feature
        return _split(known + math.sqrt(1 - explained) * noise, known, rows)

    return draw


def amounts(rows: int, explained: float, spread: float) -> World:
    """Lognormal amounts, whose logarithms have this spread."""
    variance = spread**2
    known_part = math.log1p(explained * math.expm1(variance)) / variance

    def draw(generator: Generator) -> Drawn:
        known, noise = spread * generator.normal(size=(2, 3 * rows))
        known = math.sqrt(known_part) * known
        y = np.exp(known + math.sqrt(1 - known_part) * noise)
        return _split(y, np.exp(known + (1 - known_part) * variance / 2), rows)

    return draw


def trend(days: int, explained: float, kind: str) -> World:
    """Days whose level moves; what is not explained is of the hour and of the day,
    which resembles the day before.
    """

    def draw(generator: Generator) -> Drawn:
        day = np.arange(3 * days) / days
        level = {
            "rise": 3 * day,
            "growth": np.exp(day),
            "season": 2 * np.sin(math.pi * (day + 2 * generator.random())),
            "walk": np.cumsum(generator.normal(size=3 * days)) * 3 / math.sqrt(days),
        }[kind]
        known = level[:, None] + generator.normal(size=(3 * days, _HOURS))
        of_days = luck_of(generator, 3 * days, 0.5)[:, None]
        of_hours = generator.normal(size=known.shape)
        noise = math.sqrt(0.3) * of_days + math.sqrt(0.7) * of_hours
        variance = np.mean((known[:days] - known.mean()) ** 2)
        noise *= math.sqrt(variance * (1 - explained) / explained)
        return _split((known + noise).ravel(), known.ravel(), days * _HOURS, days)

    return draw


def chance(rows: int, target: Callable[[Generator, int], np.ndarray]) -> World:
    """A model that predicts the mean, and chance."""

    def draw(generator: Generator) -> Drawn:
        y = target(generator, 3 * rows)
        size = min(y.std(), 50.0) * generator.choice([0.02, 0.1, 0.5])
        return _split(y, y.mean() + size * generator.normal(size=3 * rows), rows)

    return draw


def chance_by_day(days: int, memory: float) -> World:
    """The same, where target and prediction resemble those of the day before."""

    def draw(generator: Generator) -> Drawn:
        shape = 3 * days, _HOURS
        level, luck = (luck_of(generator, 3 * days, memory)[:, None] for _ in "ab")
        y = level + generator.normal(size=shape)
        size = generator.choice([0.02, 0.1, 0.5])
        known = y.mean() + size * (luck + generator.normal(size=shape))
        return _split(y.ravel(), known.ravel(), days * _HOURS, days)

    return draw


def _split(
    y: np.ndarray, known: np.ndarray, rows: int, days: int | None = None
) -> Drawn:
    """The first rows are the validation set."""
    clusters = np.arange(rows)
    if days is not None:
        codes = np.repeat(np.arange(days), rows // days)
        clusters = codes.view(ConsecutiveClusters)
    return y[rows:], SetPrediction(y[:rows], known[:rows], clusters)


_WINNERS = {
    "sums with tails of t(2.5), 1,000 rows, R² .5": sums(1_000, 0.5, 2.5),
    "sums with tails of t(2), 3,000 rows, R² .9": sums(3_000, 0.9, 2.0),
    "lognormal amounts, 1,000 rows, R² .5": amounts(1_000, 0.5, 1.0),
    "very skewed amounts, 1,000 rows, R² .8": amounts(1_000, 0.8, 1.5),
    "150 days that rise, R² .5": trend(150, 0.5, "rise"),
    "150 days that grow, R² .5": trend(150, 0.5, "growth"),
    "150 days of a season, R² .5": trend(150, 0.5, "season"),
    "150 days of a random walk, R² .8": trend(150, 0.8, "walk"),
}
_IGNORANT = {
    "normal targets, 100 rows": chance(100, lambda g, n: g.normal(size=n)),
    "targets of t(2.5), 100 rows": chance(100, lambda g, n: g.standard_t(2.5, n)),
    "lognormal targets, 100 rows": chance(100, lambda g, n: g.lognormal(0, 1.5, n)),
}
# So few days hardly show how much they resemble each other.
_IGNORANT_DAYS = {
    "20 days without memory": chance_by_day(20, 0.0),
    "20 days, memory .8": chance_by_day(20, 0.8),
    "150 days, memory .8": chance_by_day(150, 0.8),
}
WORLDS = {**_WINNERS, **_IGNORANT, **_IGNORANT_DAYS}


@repeated
def passes(generator: Generator, *, world: str, look: int, metric: str) -> bool:
    """Whether the model is significantly better than the baseline at this look."""
    fitted, predicted = WORLDS[world](generator)
    known = np.concatenate([fitted, predicted.y])
    constant = best_constant(metric, known, "regression")
    level = EarlierLooks(look - 1, 1.0, look - 1.0).level
    gain = difference_to_baseline(metric, predicted, constant, level=level)
    return significantly_better(metric, gain)


@repeated
def explained_share_is_held(generator: Generator, *, world: str, truth: float) -> bool:
    """Whether the interval of r2 minus the baseline, with this baseline given, holds
    the share of the variance that is truly explained.
    """
    fitted, predicted = WORLDS[world](generator)
    constant = np.asarray(np.concatenate([fitted, predicted.y]).mean())
    gain = difference_to_baseline("r2", predicted, constant)
    baseline = predicted.score("r2") - gain.estimate
    return gain.low <= truth * (1 - baseline) <= gain.high


def _jobs() -> Iterator[Job]:
    name = "{world}: passes {metric} at look {look}"
    for world in _WINNERS:
        case = {"world": world, "look": [1, 3], "metric": "rmse"}
        yield from each(NEARLY_ALWAYS, 500, passes, {name: case})
    for worlds, aim in ((_IGNORANT, BY_LUCK), (_IGNORANT_DAYS, Aim(high=0.05))):
        for world, metric in zip(worlds, ("rmse", "mae", "r2"), strict=True):
            case = {"world": world, "look": 1, "metric": metric}
            yield from each(aim, 500, passes, {f"chance, {name}": case})
    held = {
        "{world}: its interval holds the explained share": {
            "world": "lognormal amounts, 1,000 rows, R² .5",
            "truth": 0.5,
        }
    }
    yield from each(Aim(low=0.9), 500, explained_share_is_held, held)


BASELINE: tuple[Job, ...] = tuple(_jobs())
