"""How many new rows intervals and prediction sets hold, of a promised share: worlds with known errors.

Test rows calibrate, new rows of other clusters are counted. In: a world, a number of simulations, a
seed. Out: the mean share of new rows that are held, of all or of a part of them.
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
How = Literal["ours", "hierarchical", "hierarchical, rows by 1/size"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one draw."""

    features: pd.DataFrame
    predicted: SetPrediction
    part: np.ndarray  # bool (n,), those that are counted


@dataclass(frozen=True)
class World:
    """Numbers of known mean. Clusters share their luck, which days remember; noise may differ."""

    clusters: int = 400  # of test rows
    size: int = 1  # rows of each
    skewed: bool = False
    luck: float = 0.0
    memory: float | None = None  # None: clusters have no order
    uneven: bool = False  # a quarter of the clusters is ten times as large, and twice as loud
    noise: Literal["even", "by feature", "by text", "by prediction"] = "even"
    part: Literal["all", "loud", "quiet"] = "all"  # of the new rows, that is counted

    def draw(self, generator: np.random.Generator, clusters: int) -> Rows:
        """Draw rows of so many clusters."""
        large = self.uneven & (generator.random(clusters) < 0.25)
        codes = np.repeat(np.arange(clusters), np.where(large, 10, 1) * self.size)
        n, shared = len(codes), generator.normal(size=clusters)
        if self.memory is not None:
            shared = lfilter([1.0], [1.0, -self.memory], np.sqrt(1 - self.memory**2) * shared)
        x = pd.DataFrame(generator.normal(size=(n, 3)), columns=["a", "b", "c"])
        x = x.assign(shop=generator.choice(["north", "south", "east", "west"], n))
        loud = {
            "even": np.ones(n),
            "by feature": np.where(x["b"] > 0.67, 3.0, 1.0),
            "by text": np.where(x["shop"] == "west", 3.0, 1.0),
            "by prediction": np.exp(0.7 * x["a"].to_numpy()),
        }[self.noise]
        error = generator.normal(size=n)
        if self.skewed:
            error = np.exp(error) - np.exp(0.5)
        y = x["a"] + (1 + large[codes]) * (self.luck * shared[codes] + loud * error)
        among = {"all": loud > 0, "loud": loud >= np.quantile(loud, 0.75), "quiet": loud <= 1}
        kept = codes if self.memory is None else codes.view(ConsecutiveClusters)
        return Rows(x, SetPrediction(y.to_numpy(), x["a"].to_numpy(), kept), among[self.part])


def held(simulations: int, seed: int, *, world: World, how: How = "ours") -> float:
    """Return the share of new rows in their interval."""
    found = []
    for number in range(simulations):
        generator = np.random.default_rng([seed, number])
        test = world.draw(generator, world.clusters)
        new = world.draw(generator, max(NEW_ROWS // world.size, 100))
        y, prediction = new.predicted.y, new.predicted.prediction
        if how == "ours":
            calibrated = Calibrated.on(test.features, test.predicted, None)
            ends = calibrated.columns(COVERAGE, None, new.features, prediction)
            low, high = ends["lower"], ends["upper"]
        else:
            low, high = prediction + np.array(_hierarchical(test.predicted, how))[:, None]
        inside = (low <= y) & (y <= high)
        found.append(inside[new.part].mean())
    return float(np.mean(found))


def _hierarchical(rows: SetPrediction, how: How) -> list[float]:
    """The bounds of hierarchical conformal prediction (Lee, Barber and Willett 2023)."""
    errors, sizes = rows.y - rows.prediction, np.bincount(rows.clusters)
    weights = None if how == "hierarchical" else 1 / sizes[rows.clusters]
    level = min((1 + COVERAGE) / 2 * (1 + 1 / len(sizes)), 1.0)
    ends = (-weighted_quantile(-errors, weights, level), weighted_quantile(errors, weights, level))
    return [float(end) for end in ends]


def refit_held(simulations: int, seed: int, *, rows: int, folds: int) -> float:
    """Return the share in intervals around a fit on all rows, by errors of fits on all but one fold, or on half."""
    found = []
    for number in range(simulations):
        generator = np.random.default_rng([seed, number])
        x = generator.normal(size=(rows + NEW_ROWS, 10))
        y = x @ generator.normal(size=10) + generator.normal(size=len(x))
        fold, prediction = np.arange(rows) % folds, np.empty(rows)
        for out in range(folds):
            left, kept = np.flatnonzero(fold == out), np.flatnonzero(fold != out)
            prediction[left] = x[left] @ np.linalg.lstsq(x[kept], y[kept])[0]
        some = slice(rows if folds > 2 else rows // 2)  # of two halves one is the test set
        frame = pd.DataFrame(x).rename(columns=str)
        tested = SetPrediction(y[:rows], prediction, np.arange(rows)).rows(some)
        calibrated = Calibrated.on(frame[:rows][some], tested, None)
        refit = x[rows:] @ np.linalg.lstsq(x[:rows], y[:rows])[0]
        ends = calibrated.columns(COVERAGE, None, frame[rows:], refit)
        found.append(((ends["lower"] <= y[rows:]) & (y[rows:] <= ends["upper"])).mean())
    return float(np.mean(found))


def sets_held(
    simulations: int,
    seed: int,
    *,
    shares: tuple[float, ...],
    code: int | None = None,
    luck: float = 0.0,
) -> float:
    """Return the share of new rows whose class is in its set, of all or of one class.

    Of classes with these `shares`; clusters of ten rows, whose luck moves the log odds.
    """
    found = []
    for number in range(simulations):
        generator = np.random.default_rng([seed, number])

        def draw(clusters: int, generator: np.random.Generator = generator) -> SetPrediction:
            codes = np.repeat(np.arange(clusters), 10)
            known = np.log(shares) + generator.normal(size=(len(codes), len(shares)))
            moved = known + luck * generator.normal(size=(clusters, len(shares)))[codes]
            truth = softmax(moved, axis=1).cumsum(axis=1)
            y = (generator.random((len(codes), 1)) > truth).sum(axis=1)
            probability = softmax(known, axis=1)
            return SetPrediction(y, probability[:, 1] if len(shares) == 2 else probability, codes)

        test, new = draw(80), draw(NEW_ROWS // 10)
        calibrated = Calibrated.on(pd.DataFrame(index=range(800)), test, range(len(shares)))
        bounds = calibrated.at(COVERAGE)
        assert bounds is not None
        inside = sets_of(new.prediction, bounds)[np.arange(NEW_ROWS), new.y]
        found.append(inside[new.y == code if code is not None else slice(None)].mean())
    return float(np.mean(found))
