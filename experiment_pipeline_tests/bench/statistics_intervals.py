"""How many new rows intervals and sets hold, of 90 % promised: worlds whose errors are known.

Test rows calibrate, new rows of other clusters are counted. In: a world, a number of simulations, a
seed. Out: the mean share of new rows that are held.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.signal import lfilter
from scipy.special import softmax

from experiment_pipeline.prediction.intervals import Calibrated
from experiment_pipeline.statistics.conformal import sets_of
from experiment_pipeline.statistics.interval import ConsecutiveClusters, weighted_quantile
from experiment_pipeline.statistics.scores import SetPrediction

COVERAGE, NEW_ROWS = 0.9, 4_000


@dataclass(frozen=True)
class World:
    """Numbers of known mean. Clusters share their luck, which days remember."""

    clusters: int = 400  # of test rows
    size: int = 1  # rows of each
    skewed: bool = False
    luck: float = 0.0
    memory: float | None = None  # None: clusters have no order
    uneven: bool = False  # a quarter of the clusters is ten times as large, and twice as loud
    noise: Literal["even", "by feature", "by prediction"] = "even"
    part: Literal["all", "loud", "quiet"] = "all"  # of the new rows, that is counted

    def draw(
        self, seed: list[int], clusters: int
    ) -> tuple[pd.DataFrame, SetPrediction, np.ndarray]:
        """Return features, predicted rows, and which of them are counted."""
        generator = np.random.default_rng(seed)
        large = self.uneven & (generator.random(clusters) < 0.25)
        codes = np.repeat(np.arange(clusters), np.where(large, 10, 1) * self.size)
        shared, error = generator.normal(size=clusters), generator.normal(size=len(codes))
        if self.memory is not None:
            shared = lfilter([1.0], [1.0, -self.memory], np.sqrt(1 - self.memory**2) * shared)
            codes = codes.view(ConsecutiveClusters)
        if self.skewed:
            error = np.exp(error) - np.exp(0.5)
        frame = pd.DataFrame(generator.normal(size=(len(codes), 3)), columns=["a", "b", "c"])
        known, loud = frame["a"].to_numpy(), np.ones(len(codes))
        if self.noise != "even":
            loud = np.where(frame["b"] > 0.67, 3.0, 1.0)
            loud = loud if self.noise == "by feature" else np.exp(0.7 * known)
        y = known + (1 + large[codes]) * (self.luck * shared[codes] + loud * error)
        among = {"all": loud > 0, "loud": loud >= np.quantile(loud, 0.75), "quiet": loud <= 1}
        return frame, SetPrediction(y, known, codes), among[self.part]


def held(simulations: int, seed: int, *, world: World, hierarchical: bool = False) -> float:
    """Return the share of new rows in their interval: in ours, or with weights of 1/size for each cluster."""
    found = []
    for number in range(simulations):
        frame, rows, _ = world.draw([seed, number, 0], world.clusters)
        new, predicted, part = world.draw([seed, number, 1], max(NEW_ROWS // world.size, 100))
        inside = _inside(Calibrated.on(frame, rows, None), new, predicted)
        if hierarchical:
            errors, sizes = rows.y - rows.prediction, np.bincount(rows.clusters)
            level = (1 + COVERAGE) / 2 * (1 + 1 / len(sizes))  # Lee, Barber and Willett 2023
            ends = [
                weighted_quantile(of, 1 / sizes[rows.clusters], level) for of in (-errors, errors)
            ]
            error = predicted.y - predicted.prediction
            inside = (-ends[0] <= error) & (error <= ends[1])
        found.append(inside[part].mean())
    return float(np.mean(found))


def _inside(found: Calibrated, new: pd.DataFrame, predicted: SetPrediction) -> np.ndarray:
    ends = found.columns(COVERAGE, None, new, predicted.prediction)
    return np.asarray((ends["lower"] <= predicted.y) & (predicted.y <= ends["upper"]))


def refit_held(simulations: int, seed: int, *, rows: int, folds: int) -> float:
    """Return the share in intervals around a fit on all rows, by errors of fits without the row's fold."""
    found = []
    for number in range(simulations):
        generator = np.random.default_rng([seed, number])
        x = generator.normal(size=(rows + NEW_ROWS, 10))
        y = x @ generator.normal(size=10) + generator.normal(size=len(x))
        fold, frame, prediction = np.arange(rows) % folds, pd.DataFrame(x), np.empty(rows)
        for out in (fold == one for one in range(folds)):
            fit = np.linalg.lstsq(x[:rows][~out], y[:rows][~out])[0]
            prediction[out] = x[:rows][out] @ fit
        tested = SetPrediction(y[:rows], prediction, np.arange(rows))
        refit = x[rows:] @ np.linalg.lstsq(x[:rows], y[:rows])[0]
        frame = frame.rename(columns=str)
        calibrated = Calibrated.on(frame[:rows], tested, None)
        new = SetPrediction(y[rows:], refit, np.arange(NEW_ROWS))
        found.append(_inside(calibrated, frame[rows:], new).mean())
    return float(np.mean(found))


def sets_held(simulations: int, seed: int, *, shares: tuple[float, ...], code: int) -> float:
    """Return the share of new rows of a class that have it in their set.

    Of classes with these `shares`, in clusters of ten rows, whose luck moves the log odds.
    """
    found = []
    for number in range(simulations):
        generator = np.random.default_rng([seed, number])
        codes = np.arange(800 + NEW_ROWS) // 10
        odds = np.log(shares) + generator.normal(size=(len(codes), len(shares)))
        truth = softmax(odds + generator.normal(size=odds.shape)[codes], axis=1).cumsum(axis=1)
        y = (generator.random((len(codes), 1)) > truth).sum(axis=1)
        every = SetPrediction(y, softmax(odds, axis=1), codes)
        tested, new = every.rows(slice(800)), every.rows(slice(800, None))
        found_bounds = Calibrated.on(pd.DataFrame(index=range(800)), tested, range(len(shares)))
        sets = sets_of(new.prediction, found_bounds.at(COVERAGE) or ())
        found.append(sets[new.y == code, code].mean())
    return float(np.mean(found))
