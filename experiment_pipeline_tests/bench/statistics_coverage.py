"""How often an interval holds the truth: samples drawn again and again from made-up populations.

The truth is the score of the same predictions in the population: on so many rows that its own
error is small beside an interval. What an interval is lives in `core/intervals.py`, the table
in `statistics.py`. In: a scenario, a number of samples. Out: `Coverage`, a metric each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.special import expit, softmax

from experiment_pipeline.core.intervals import ConsecutiveUnits
from experiment_pipeline.core.set_prediction import SetPrediction

# Rows of the population: an error of the truth of 1/50 to 1/140 of a sample's.
POPULATION = 2_000_000


@dataclass(frozen=True)
class Scenario:
    """A population and what is asked of its samples.

    Attributes:
        name: of the table.
        metrics: whose intervals are judged.
        units: in a sample.
        rows_per_unit: rows of each.
        draw: generator, number of units → a sample.
        ordinary: whether intervals are expected to hold here.
    """

    name: str
    metrics: tuple[str, ...]
    units: int
    rows_per_unit: int
    draw: Callable[[np.random.Generator, int], SetPrediction]
    ordinary: bool = True


@dataclass(frozen=True)
class Coverage:
    """What the intervals of one metric held.

    Attributes:
        held: share of the samples whose interval holds the truth.
        below: share whose interval lies below the truth.
        width: mean of the widths, in units of the metric.
        noted: share of the samples of which a note says that the interval is too narrow.
    """

    held: float
    below: float
    width: float
    noted: float


_PROBABILITY = ("roc_auc", "average_precision", "log_loss", "brier")
_DECISION = ("accuracy", "f1", "balanced_accuracy")
_NUMBER = ("rmse", "mae", "r2")


def binary(
    rate: float, rows_per_unit: int = 1, luck: float = 0.0, memory: float | None = None
) -> Callable:
    """Return a draw of labels and probabilities.

    Args:
        rate: about the share of positives.
        rows_per_unit: rows that share their luck.
        luck: its standard deviation on the scale of the logit.
        memory: correlation of a unit's luck with that of the unit before.
    """
    return lambda generator, units: _binary(generator, units, rate, rows_per_unit, luck, memory)


def _binary(
    generator: np.random.Generator,
    units: int,
    rate: float,
    rows_per_unit: int,
    luck: float,
    memory: float | None,
) -> SetPrediction:
    codes = np.repeat(np.arange(units), rows_per_unit)
    known = np.log(rate / (1 - rate)) + 1.2 * generator.normal(size=len(codes))
    truth = expit(known - 0.4 + luck * _luck(generator, units, memory)[codes])
    y = (generator.random(len(codes)) < truth).astype(np.int64)
    return SetPrediction(y, expit(known), _units(codes, memory))


def regression(
    noise: Callable[[np.random.Generator, int], np.ndarray],
    rows_per_unit: int = 1,
    luck: float = 0.0,
    memory: float | None = None,
) -> Callable:
    """Return a draw of numbers: a known signal, the unit's luck, and noise."""

    def draw(generator: np.random.Generator, units: int) -> SetPrediction:
        codes = np.repeat(np.arange(units), rows_per_unit)
        signal = generator.normal(size=len(codes))
        shared = luck * _luck(generator, units, memory)[codes]
        y = signal + shared + noise(generator, len(codes))
        return SetPrediction(y, signal, _units(codes, memory))

    return draw


def lognormal(generator: np.random.Generator, units: int) -> SetPrediction:
    """Return amounts such as prices: their logarithm is normal, and half of it is known."""
    signal = np.sqrt(0.5) * generator.normal(size=units)
    y = np.exp(signal + np.sqrt(0.5) * generator.normal(size=units))
    return SetPrediction(y, np.exp(signal + 0.25), np.arange(units))


def several_classes(generator: np.random.Generator, units: int) -> SetPrediction:
    """Return four classes, of 50, 30, 15 and 5 %."""
    y = generator.choice(4, size=units, p=[0.5, 0.3, 0.15, 0.05])
    evidence = 1.3 * np.eye(4)[y] + generator.normal(size=(units, 4))
    return SetPrediction(
        y, softmax(evidence + np.log([0.5, 0.3, 0.15, 0.05]), axis=1), np.arange(units)
    )


def _luck(generator: np.random.Generator, units: int, memory: float | None) -> np.ndarray:
    """An autoregressive series of variance 1, as after a long time."""
    memory = memory or 0.0
    shocks = np.sqrt(1 - memory**2) * generator.normal(size=units)
    shocks[0] = generator.normal()
    return lfilter([1.0], [1.0, -memory], shocks)


def _units(codes: np.ndarray, memory: float | None) -> np.ndarray:
    return codes.view(ConsecutiveUnits) if memory is not None else codes


def _normal(generator: np.random.Generator, n: int) -> np.ndarray:
    return generator.normal(size=n)


def _heavy(generator: np.random.Generator, n: int) -> np.ndarray:
    return generator.standard_t(5, size=n)


_DAY = 40
SCENARIOS = (
    Scenario("30 % positives, 150 rows", _PROBABILITY + _DECISION, 150, 1, binary(0.3)),
    Scenario("20 % positives, 1,000 rows", _PROBABILITY + _DECISION, 1_000, 1, binary(0.2)),
    Scenario(
        "30 % positives, 60 groups of 10", _PROBABILITY + _DECISION, 60, 10, binary(0.3, 10, 0.8)
    ),
    Scenario(
        "four classes, 400 rows",
        ("log_loss", "accuracy", "balanced_accuracy", "f1_macro", "roc_auc_ovr"),
        400,
        1,
        several_classes,
    ),
    Scenario("normal errors, 200 rows", _NUMBER, 200, 1, regression(_normal)),
    Scenario("errors of Student's t (5), 200 rows", _NUMBER, 200, 1, regression(_heavy)),
    Scenario(
        "60 days, each for itself",
        ("roc_auc", "log_loss", "accuracy"),
        60,
        _DAY,
        binary(0.3, _DAY, 0.5, 0.0),
    ),
    Scenario("60 days, normal errors", _NUMBER, 60, _DAY, regression(_normal, _DAY, 0.5, 0.0)),
    Scenario(
        "5 % positives, 200 rows", _PROBABILITY + _DECISION, 200, 1, binary(0.05), ordinary=False
    ),
    Scenario(
        "5 % positives, 20 groups of 10",
        _PROBABILITY + _DECISION,
        20,
        10,
        binary(0.05, 10, 1.5),
        ordinary=False,
    ),
    Scenario("lognormal, 300 rows", _NUMBER, 300, 1, lognormal, ordinary=False),
    Scenario("lognormal, 2,000 rows", _NUMBER, 2_000, 1, lognormal, ordinary=False),
    Scenario(
        "60 days, memory 0.5",
        ("roc_auc", "log_loss", "accuracy"),
        60,
        _DAY,
        binary(0.3, _DAY, 1.0, 0.5),
        ordinary=False,
    ),
    Scenario(
        "60 days, memory 0.8",
        ("roc_auc", "log_loss", "accuracy"),
        60,
        _DAY,
        binary(0.3, _DAY, 1.0, 0.8),
        ordinary=False,
    ),
    Scenario(
        "20 days, memory 0.5",
        ("roc_auc", "log_loss", "accuracy"),
        20,
        _DAY,
        binary(0.3, _DAY, 1.0, 0.5),
        ordinary=False,
    ),
    Scenario(
        "60 days, normal errors, memory 0.5",
        _NUMBER,
        60,
        _DAY,
        regression(_normal, _DAY, 1.0, 0.5),
        ordinary=False,
    ),
)
