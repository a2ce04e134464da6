"""Does the gate against the baseline accept winners, and only those? Targets with heavy
tails, and days of a trend.

Model and baseline share their large errors there. A winner explains half of the
variance or more, what knows nothing predicts chance; both are judged at the first look
and at the third.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiment_pipeline.stages.validation_report.ledger import EarlierLooks
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.metrics import significantly_better
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    best_constant,
    difference_to_baseline,
)
from experiment_pipeline_tests.bench.simulations import (
    repeated,
)
from experiment_pipeline_tests.bench.statistics_coverage import luck_of

Generator = np.random.Generator
# Fitted rows, which the baseline learns from, and validation rows with predictions.
Drawn = tuple[np.ndarray, SetPrediction]
_HOURS = 24


def sums(generator: Generator, rows: int, explained: float, freedom: float) -> Drawn:
    """A feature and noise, both of Student's t."""
    feature, noise = generator.standard_t(freedom, size=(2, 3 * rows))
    known = math.sqrt(explained) * feature
    return _split(known + math.sqrt(1 - explained) * noise, known, rows)


def amounts(generator: Generator, rows: int, explained: float, spread: float) -> Drawn:
    """Lognormal amounts, whose logarithms have this spread."""
    variance = spread**2
    known_part = math.log1p(explained * math.expm1(variance)) / variance
    known, noise = spread * generator.normal(size=(2, 3 * rows))
    known = math.sqrt(known_part) * known
    y = np.exp(known + math.sqrt(1 - known_part) * noise)
    return _split(y, np.exp(known + (1 - known_part) * variance / 2), rows)


def trend(generator: Generator, kind: str, explained: float) -> Drawn:
    """150 days whose level moves; what is not explained is of the hour and of the day,
    which resembles the day before.
    """
    days = 150
    day = np.arange(3 * days) / days
    level = {
        "rise": 3 * day,
        "season": 2 * np.sin(math.pi * (day + 2 * generator.random())),
        "walk": np.cumsum(generator.normal(size=3 * days)) * 3 / math.sqrt(days),
    }[kind]
    known = level[:, None] + generator.normal(size=(3 * days, _HOURS))
    of_days = luck_of(generator, 3 * days, 0.5)[:, None]
    of_hours = generator.normal(size=known.shape)
    noise = math.sqrt(0.3) * of_days + math.sqrt(0.7) * of_hours
    variance = np.mean((known[:days] - known.mean()) ** 2)
    noise *= math.sqrt(variance * (1 - explained) / explained)
    return _split_by_day(known + noise, known)


def chance(generator: Generator, target: str, shape: Sequence[float]) -> Drawn:
    """A model that predicts the mean, and chance, on 100 rows of a distribution."""
    y = getattr(generator, target)(*shape, size=300)
    size = min(y.std(), 50.0) * generator.choice([0.02, 0.1, 0.5])
    return _split(y, y.mean() + size * generator.normal(size=300), 100)


def chance_by_day(generator: Generator, days: int, memory: float) -> Drawn:
    """The same, where target and prediction resemble those of the day before."""
    shape = 3 * days, _HOURS
    level, luck = (luck_of(generator, 3 * days, memory)[:, None] for _ in "ab")
    y = level + generator.normal(size=shape)
    size = generator.choice([0.02, 0.1, 0.5])
    known = y.mean() + size * (luck + generator.normal(size=shape))
    return _split_by_day(y, known)


def _split(y: np.ndarray, known: np.ndarray, rows: int) -> Drawn:
    """The first rows are the validation set."""
    return y[rows:], SetPrediction(y[:rows], known[:rows], np.arange(rows))


def _split_by_day(y: np.ndarray, known: np.ndarray) -> Drawn:
    """Of (days, hours) the first third is the validation set."""
    days = len(y) // 3
    codes = np.repeat(np.arange(days), _HOURS).view(ConsecutiveClusters)
    predicted = SetPrediction(y[:days].ravel(), known[:days].ravel(), codes)
    return y[days:].ravel(), predicted


WORLDS: dict[str, Callable[..., Drawn]] = {
    "sums": sums,
    "amounts": amounts,
    "trend": trend,
    "chance": chance,
    "chance by day": chance_by_day,
}


@repeated
def passes(
    generator: Generator, *, world: str, look: int, metric: str, **of_world: Any
) -> bool:
    """Whether the model is significantly better than the baseline at this look."""
    fitted, predicted = WORLDS[world](generator, **of_world)
    known = np.concatenate([fitted, predicted.y])
    constant = best_constant(metric, known, "regression")
    level = EarlierLooks(look - 1, 1.0, look - 1.0).level
    gain = difference_to_baseline(metric, predicted, constant, level=level)
    return significantly_better(metric, gain)
