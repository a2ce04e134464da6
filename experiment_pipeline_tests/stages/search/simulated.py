"""A search whose fits take as long as is said, without a fit: its events, when they come."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiment_pipeline.stages.search.conclusions import Event, Fitted, RungStarted
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import estimated_cost
from experiment_pipeline.stages.search.progress import Progress
from experiment_pipeline.stages.search.results import Predictions, TrainedModel
from experiment_pipeline.stages.search.rungs import Rung
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests.results import model_result

NO_ROWS = Predictions(np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class Fit:
    """A fit as it was, or as it is made up.

    Attributes:
        configuration: what is fitted.
        seconds: that it takes.
        score: on the test rows.
        rounds: of boosting.
    """

    configuration: Configuration
    seconds: float
    score: float
    rounds: int | None = None


@dataclass(frozen=True)
class Step:
    """A rung of a simulated search.

    Attributes:
        rung: which one.
        fits: those that have to be made.
        set_up: seconds before the first of them.
    """

    rung: Rung
    fits: tuple[Fit, ...]
    set_up: float = 0.2


@dataclass(frozen=True)
class Said:
    """A line with a time left.

    Attributes:
        at: seconds since the search began.
        left: seconds that were guessed.
        truth: seconds that it took from there.
        text: the line.
    """

    at: float
    left: float
    truth: float
    text: str

    @property
    def ratio(self) -> float:
        """Guessed over true."""
        return self.left / self.truth


def sets_of(n_rows: int, n_columns: int = 10, n_classes: int = 2) -> TrainingSets:
    """Sets of that size, without cells."""
    nothing = pd.DataFrame(index=pd.RangeIndex(n_rows))
    return TrainingSets(
        train=nothing,
        test=nothing[:0],
        features=tuple(map(str, range(n_columns))),
        target="y",
        task="binary" if n_classes else "regression",
        classes=tuple(range(n_classes)) or None,
        early_stopping=np.zeros(n_rows, dtype=bool),
        digests={},
    )


def rungs(full: TrainingSets, steps: Sequence[tuple[float, int]]) -> list[Rung]:
    """Rungs of these fractions, and how many go on from each."""
    return [
        Rung(
            number,
            len(steps),
            fraction,
            kept,
            replace(full, train=full.train[: round(len(full.train) * fraction)]),
        )
        for number, (fraction, kept) in enumerate(steps, start=1)
    ]


def events(steps: Sequence[Step], workers: int) -> Iterator[tuple[float, Event]]:
    """Hand the fits out as the sweep does; each event with the seconds since the beginning."""
    now = 0.0
    ladder = tuple(step.rung for step in steps)
    for step in steps:
        entered = tuple(one.configuration for one in step.fits)
        yield now, RungStarted(step.rung, entered, {}, ladder[step.rung.number :])
        now += step.set_up
        ended = _handed_out(step, workers, now)
        for at, one in ended:
            result = replace(
                model_result(one.configuration.key, one.score),
                algorithm=one.configuration.algorithm,
                fit_wall_seconds=one.seconds,
                rounds=one.rounds,
            )
            yield at, Fitted(step.rung, TrainedModel(result, b"", NO_ROWS))
        now = max([now, *(at for at, _ in ended)])


def lines(steps: Sequence[Step], progress: Progress, workers: int) -> list[Said]:
    """What a search says of the time left, and what was true."""
    played = list(events(steps, workers))
    end = played[-1][0]
    said = list[tuple[float, float, str]]()
    for at, event in played:
        for note in progress.told(event, at):
            if "left" in note.text:
                part = progress.standing(at).part
                said.append((at, at / part - at, note.text))
    return [Said(at, left, end - at, text) for at, left, text in said if at < end]


def _handed_out(step: Step, workers: int, now: float) -> list[tuple[float, Fit]]:
    size = len(step.rung.sets.train), len(step.rung.sets.classes or ())
    free, ended = [now] * workers, list[tuple[float, Fit]]()
    for one in sorted(
        step.fits, key=lambda fit: estimated_cost(fit.configuration, *size), reverse=True
    ):
        at = heapq.heappop(free) + one.seconds
        heapq.heappush(free, at)
        ended.append((at, one))
    return sorted(ended, key=lambda pair: pair[0])
