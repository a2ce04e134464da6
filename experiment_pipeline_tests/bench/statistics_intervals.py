"""How many new rows intervals and sets hold, of 90 % promised: worlds whose errors are
known.

Test rows calibrate, new rows of other clusters are counted; a figure is the mean share
that is held.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.signal import lfilter
from scipy.special import softmax

from experiment_pipeline.stages.validation_report.effects import check_coverage
from experiment_pipeline.stages.validation_report.gates import coverage_gate
from experiment_pipeline.statistics.calibration import sets_of
from experiment_pipeline.statistics.interval import (
    ConsecutiveClusters,
    weighted_quantile,
)
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.intervals import Calibrated
from experiment_pipeline_tests import scenario as clinic
from experiment_pipeline_tests.bench.simulations import anew
from experiment_pipeline_tests.stages.validation_report.report_examples import judged

COVERAGE, NEW_ROWS = 0.9, 4_000
Drawn = tuple[pd.DataFrame, SetPrediction, np.ndarray]


@dataclass(frozen=True)
class World:
    """Numbers of known mean. Clusters share their luck, which days remember."""

    clusters: int = 400  # of test rows
    size: int = 1  # rows of each
    luck: float = 0.0
    memory: float | None = None  # None: clusters have no order
    uneven: bool = (
        False  # a quarter of the clusters is ten times as large, and twice as loud
    )
    noise: str = "even"  # or by feature, by category
    part: str = "all"  # of the new rows, that is counted: all, loud or quiet ones

    def draw(self, seed: list[int], clusters: int) -> Drawn:
        """Return features, predicted rows, and which of them are counted."""
        generator = np.random.default_rng(seed)
        large = self.uneven & (generator.random(clusters) < 0.25)
        codes = np.repeat(np.arange(clusters), np.where(large, 10, 1) * self.size)
        shared, error = (
            generator.normal(size=clusters),
            generator.normal(size=len(codes)),
        )
        if self.memory is not None:
            shared = lfilter(
                [1.0], [1.0, -self.memory], np.sqrt(1 - self.memory**2) * shared
            )
            codes = codes.view(ConsecutiveClusters)
        frame = pd.DataFrame(
            generator.normal(size=(len(codes), 3)), columns=["a", "b", "c"]
        )
        known, loud = frame["a"].to_numpy(), np.ones(len(codes))
        if self.noise == "by category":  # four times in one of ten
            kind = generator.random(len(codes)) < 0.1
            frame["kind"] = pd.array(np.where(kind, "x", "y"), dtype="str")
            loud = np.where(kind, 4.0, 1.0)
        elif self.noise == "by feature":
            loud = np.where(frame["b"] > 0.67, 3.0, 1.0)
        y = known + (1 + large[codes]) * (self.luck * shared[codes] + loud * error)
        quarter = np.quantile(loud, 0.75)
        among = {
            "all": loud > 0,
            "loud": loud > 1 if self.noise == "by category" else loud >= quarter,
            "quiet": loud <= 1,
        }
        return frame, SetPrediction(y, known, codes), among[self.part]


def _samples(
    simulations: int, seed: int, world: World, new_clusters: int
) -> Iterator[tuple[Drawn, Drawn]]:
    """Draw test rows, and new rows of other clusters."""
    for number in range(simulations):
        tested = world.draw([seed, number, 0], world.clusters)
        yield tested, world.draw([seed, number, 1], new_clusters)


def held(
    simulations: int, seed: int, *, hierarchical: bool = False, **of_world: Any
) -> float:
    """Return the share of new rows in their interval: ours, or one with weights of
    1/size.
    """
    shares = []
    world = World(**of_world)
    count = max(NEW_ROWS // world.size, 100)
    for tested, drawn in _samples(simulations, seed, world, count):
        frame, rows, _ = tested
        new, predicted, part = drawn
        error = predicted.y - predicted.prediction
        if hierarchical:  # Lee, Barber and Willett 2023
            errors, sizes = rows.y - rows.prediction, np.bincount(rows.clusters)
            known = 1 / sizes[rows.clusters], (1 + COVERAGE) / 2 * (1 + 1 / len(sizes))
            low = -weighted_quantile(-errors, *known)
            high = weighted_quantile(errors, *known)
        else:
            intervals = Calibrated.on(frame, rows, None)
            ends = intervals.columns(COVERAGE, None, new, predicted.prediction)
            low = ends["lower"] - predicted.prediction
            high = ends["upper"] - predicted.prediction
        shares.append(((low <= error) & (error <= high))[part].mean())
    return float(np.mean(shares))


def refused(simulations: int, seed: int, **of_world: Any) -> float:
    """Return how often the gate of 90 % refuses sound intervals, on a fifth as many
    validation clusters.
    """
    spec, passed = clinic.spec("regression", coverage=COVERAGE), 0
    world = World(**of_world)
    samples = _samples(simulations, seed, world, world.clusters // 5)
    for (frame, rows, _), (new, predicted, _) in samples:
        known = Calibrated.on(frame, rows, None)
        model = judged(spec, predicted, rows=new, fitted=frame)
        passed += coverage_gate(check_coverage(model, known)).passed
    return 1 - passed / simulations


def _share_in_set(tested: SetPrediction, new: np.ndarray, code: int) -> float:
    """The share of the probabilities of new rows whose set has the class."""
    unused = pd.DataFrame(index=range(len(tested.y)))
    known = Calibrated.on(unused, tested, range(new.shape[1]))
    return sets_of(new, known.at(COVERAGE) or ())[:, code].mean()


@anew
def sets_held(generator: np.random.Generator, *, shares: list[float]) -> float:
    """Return the share of new rows of the second class that have it in their set.

    Of classes with these `shares`, in clusters of ten rows, whose luck moves the log
    odds.
    """
    codes = np.arange(800 + NEW_ROWS) // 10
    odds, luck = np.log(shares) + generator.normal(size=(2, len(codes), len(shares)))
    truth = softmax(odds + luck[codes] - np.log(shares), axis=1).cumsum(axis=1)
    y = (generator.random((len(codes), 1)) > truth).sum(axis=1)
    every = SetPrediction(y, softmax(odds, axis=1), codes)
    new = every.rows((y == 1) & (codes >= 80))
    return _share_in_set(every.rows(slice(800)), new.prediction, 1)


@anew
def rare_held(generator: np.random.Generator, *, rows: int) -> float:
    """Return the share of new rows of a rare class that have it in their set.

    Of 600 calibration rows, so many are of the class; the others are of two.
    """
    test_y = np.append(np.full(rows, 2), np.arange(600 - rows) % 2)
    y = np.append(test_y, np.full(NEW_ROWS, 2))
    shares = np.bincount(test_y) / len(test_y)
    evidence = 1.2 * np.eye(3)[y] + generator.normal(size=(len(y), 3))
    p = softmax(evidence + np.log(shares), axis=1)
    return _share_in_set(SetPrediction(test_y, p[:600], np.arange(600)), p[600:], 2)
