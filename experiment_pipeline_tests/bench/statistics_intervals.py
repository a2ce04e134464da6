"""How many new rows intervals and sets hold, of 90 % promised: worlds whose errors are
known.

Test rows calibrate, new rows of other clusters are counted; a figure is the mean share
that is held.
"""

from dataclasses import dataclass
from typing import Literal

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
from experiment_pipeline_tests.bench.statistics_rows import Aim, each
from experiment_pipeline_tests.stages.validation_report.report_examples import judged

COVERAGE, NEW_ROWS = 0.9, 4_000
Drawn = tuple[pd.DataFrame, SetPrediction, np.ndarray]


@dataclass(frozen=True)
class World:
    """Numbers of known mean. Clusters share their luck, which days remember."""

    name: str
    clusters: int = 400  # of test rows
    size: int = 1  # rows of each
    luck: float = 0.0
    memory: float | None = None  # None: clusters have no order
    uneven: bool = (
        False  # a quarter of the clusters is ten times as large, and twice as loud
    )
    noise: Literal["even", "by feature", "by prediction", "by category"] = "even"
    part: Literal["all", "loud", "quiet"] = "all"  # of the new rows, that is counted

    def __str__(self) -> str:
        return self.name

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
        elif self.noise != "even":
            loud = np.where(frame["b"] > 0.67, 3.0, 1.0)
            loud = loud if self.noise == "by feature" else np.exp(0.7 * known)
        y = known + (1 + large[codes]) * (self.luck * shared[codes] + loud * error)
        quarter = np.quantile(loud, 0.75)
        among = {
            "all": loud > 0,
            "loud": loud > 1 if self.noise == "by category" else loud >= quarter,
            "quiet": loud <= 1,
        }
        return frame, SetPrediction(y, known, codes), among[self.part]


def held(
    simulations: int, seed: int, *, world: World, hierarchical: bool = False
) -> float:
    """Return the share of new rows in their interval: ours, or one with weights of
    1/size.
    """
    found = []
    for number in range(simulations):
        frame, rows, _ = world.draw([seed, number, 0], world.clusters)
        new, predicted, part = world.draw(
            [seed, number, 1], max(NEW_ROWS // world.size, 100)
        )
        ends = Calibrated.on(frame, rows, None).columns(
            COVERAGE, None, new, predicted.prediction
        )
        low, high = (
            ends["lower"] - predicted.prediction,
            ends["upper"] - predicted.prediction,
        )
        if hierarchical:  # Lee, Barber and Willett 2023
            errors, sizes = rows.y - rows.prediction, np.bincount(rows.clusters)
            known = 1 / sizes[rows.clusters], (1 + COVERAGE) / 2 * (1 + 1 / len(sizes))
            low, high = (
                -weighted_quantile(-errors, *known),
                weighted_quantile(errors, *known),
            )
        error = predicted.y - predicted.prediction
        found.append(((low <= error) & (error <= high))[part].mean())
    return float(np.mean(found))


def refused(simulations: int, seed: int, *, world: World) -> float:
    """Return how often the gate of 90 % refuses sound intervals, on a fifth as many
    validation clusters.
    """
    spec, passed = clinic.spec("regression", coverage=COVERAGE), 0
    for number in range(simulations):
        frame, rows, _ = world.draw([seed, number, 0], world.clusters)
        new, predicted, _ = world.draw([seed, number, 1], world.clusters // 5)
        known = Calibrated.on(frame, rows, None)
        model = judged(spec, predicted, rows=new, fitted=frame)
        passed += coverage_gate(check_coverage(model, known)).passed
    return 1 - passed / simulations


def sets_held(simulations: int, seed: int, *, shares: tuple[float, ...]) -> float:
    """Return the share of new rows of the second class that have it in their set.

    Of classes with these `shares`, in clusters of ten rows, whose luck moves the log
    odds.
    """
    found, codes = [], np.arange(800 + NEW_ROWS) // 10
    for number in range(simulations):
        generator = np.random.default_rng([seed, number])
        odds, luck = np.log(shares) + generator.normal(
            size=(2, len(codes), len(shares))
        )
        truth = softmax(odds + luck[codes] - np.log(shares), axis=1).cumsum(axis=1)
        y = (generator.random((len(codes), 1)) > truth).sum(axis=1)
        every, test = SetPrediction(y, softmax(odds, axis=1), codes), slice(800)
        known = Calibrated.on(
            pd.DataFrame(index=range(800)), every.rows(test), range(len(shares))
        )
        new = every.rows((y == 1) & (codes >= 80))
        found.append(sets_of(new.prediction, known.at(COVERAGE) or ())[:, 1].mean())
    return float(np.mean(found))


def rare_held(simulations: int, seed: int, *, rows: int) -> float:
    """Return the share of new rows of a rare class that have it in their set.

    Of 600 calibration rows, so many are of the class; the others are of two.
    """
    test_y = np.append(np.full(rows, 2), np.arange(600 - rows) % 2)
    y = np.append(test_y, np.full(NEW_ROWS, 2))
    shares = np.bincount(test_y) / len(test_y)
    found = []
    for number in range(simulations):
        generator = np.random.default_rng([seed, number])
        evidence = 1.2 * np.eye(3)[y] + generator.normal(size=(len(y), 3))
        p = softmax(evidence + np.log(shares), axis=1)
        tested = SetPrediction(test_y, p[:600], np.arange(600))
        known = Calibrated.on(pd.DataFrame(index=range(600)), tested, range(3))
        found.append(sets_of(p[600:], known.at(COVERAGE) or ())[:, 2].mean())
    return float(np.mean(found))


PROMISED, OF_A_PART, FALSE_ALARMS = Aim(0.88, 0.92), Aim(low=0.85), Aim(high=0.05)
AT_LEAST = Aim(low=0.88)
_WORLDS = [
    World("400 rows"),
    World("20 groups of 10 rows", 20, 10, luck=1.0),
    World("60 groups of 10 rows", 60, 10, luck=1.0),
    World("20 days, neighbours alike", 20, 20, luck=1.0, memory=0.5),
    World("60 days, neighbours alike", 60, 20, luck=1.0, memory=0.5),
    World("60 groups, the large ones loud", 60, 5, luck=1.0, uneven=True),
]
_SOUND = [
    World("1,000 rows", 1_000),
    World("5,000 rows", 5_000),
    World("200 groups of 15 rows", 200, 15, luck=0.3),
    World("200 days of 15 rows", 200, 15, luck=0.0, memory=0.0),
    World("200 days of 15 rows, alike within", 200, 15, luck=0.3, memory=0.0),
]
_PARTS = {"all": PROMISED, "loud": OF_A_PART, "quiet": OF_A_PART}
# A category of one in ten rows has four times the noise.
_NOISES: dict[Literal["by feature", "by prediction", "by category"], list[int]] = {
    "by feature": [500, 2_000],
    "by prediction": [500, 2_000],
    "by category": [400, 2_000],
}
_LATER = {"the same, rows by 1/size": {"world": _WORLDS[-1], "hierarchical": True}}
_REFUSED = {"the gate refuses sound intervals: {world}": {"world": _SOUND}}
_SETS_OF = "sets of classes, {shares}: of the second class"
_SHARES = [(0.3, 0.7), (0.95, 0.05), (0.5, 0.3, 0.2)]
_RARE = {
    "sets of three classes, {rows} calibration rows of one: of it": {
        "rows": [3, 8, 9, 15]
    }
}
NEW_ROWS_HELD = (
    *each(PROMISED, 200, held, {"{world}": {"world": _WORLDS}}),
    *each(None, 200, held, _LATER),
    *(
        job
        for by, sizes in _NOISES.items()
        for rows in sizes
        for part, aim in _PARTS.items()
        for world in [
            World(f"{rows:,} rows, noise {by}: {part}", rows, noise=by, part=part)
        ]
        for job in each(aim, 200, held, {"{world}": {"world": world}})
    ),
    *each(FALSE_ALARMS, 500, refused, _REFUSED),
    *each(PROMISED, 200, sets_held, {_SETS_OF: {"shares": _SHARES}}),
    *each(AT_LEAST, 200, rare_held, _RARE),
)
