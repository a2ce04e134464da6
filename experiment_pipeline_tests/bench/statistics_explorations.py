"""Who explores: chains of explorations in a notebook, and agents in a laboratory and with
plain cross-validation.

The truth is known: is the score that they end with true, is a model of noise accepted,
and how good is what they find? All models are linear.
"""

import math
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.random import Generator

from experiment_pipeline.stages.leaderboard.ranking import Measured, RankedRows, order
from experiment_pipeline.stages.leaderboard.scored import ScoreLedger
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.statistics.interval import (
    LEVEL,
    Interval,
    level_of_comparison,
    level_of_each,
)
from experiment_pipeline.statistics.scores import layout, paired_difference
from experiment_pipeline.storage.files import location
from experiment_pipeline_tests.bench.simulations import (
    repeated,
)
from experiment_pipeline_tests.bench.statistics_choice import print_of
from experiment_pipeline_tests.bench.statistics_gates import experiment, report
from experiment_pipeline_tests.results import apart
from experiment_pipeline_tests.stages.leaderboard.board_examples import result_of

_OFFERED, _FOLDS = 3, 5  # columns of an agent's proposal; parts of cross-validation
_ROWS = 200  # test rows of a notebook, and a third of its train rows
TRAIN, TEST, LATER = slice(600), slice(600, 800), slice(800, 1_000)
Part = np.ndarray | slice


@dataclass(frozen=True)
class Made:
    """A table whose target has a deviation of 1 that no column explains."""

    columns: np.ndarray  # (n, columns)
    weights: np.ndarray  # of the columns in the target
    y: np.ndarray

    @classmethod
    def by(cls, generator: Generator, rows: int, *weights: float) -> "Made":
        """Draw a table whose columns have these weights."""
        columns = generator.normal(size=(rows, len(weights)))
        signal = columns @ np.array(weights)
        return cls(columns, np.array(weights), signal + generator.normal(size=rows))

    def grown(self, generator: Generator, count: int) -> "Made":
        """Return the table with so many columns of noise more."""
        noise = generator.normal(size=(len(self.y), count))
        weights = np.append(self.weights, np.zeros(count))
        return Made(np.column_stack([self.columns, noise]), weights, self.y)

    def predicted(self, used: list[int] | slice, train: Part, rows: Part) -> np.ndarray:
        """Return what the model of the columns `used` of train rows predicts for rows."""
        return self.columns[rows][:, used] @ self._fitted(used, train)

    def truth(self, used: list[int] | slice, train: Part) -> float:
        """Return the RMSE of that model on endless rows."""
        error = -self.weights
        error[used] += self._fitted(used, train)
        return math.sqrt(1 + float(error @ error))

    def _fitted(self, used: list[int] | slice, train: Part) -> np.ndarray:
        x = self.columns[train][:, used]
        return np.linalg.solve(x.T @ x, x.T @ self.y[train])


ALL = slice(None)


class Board:
    """A leaderboard of models that were explored one after the other."""

    def __init__(self, y_train: np.ndarray, y: np.ndarray) -> None:
        self.y = y
        self.spec = experiment("rmse")
        self.predictions: dict[str, np.ndarray] = {}
        self.measured: dict[str, Measured] = {}
        self.ranked = RankedRows(
            self.spec,
            lambda result: self.predictions[result.fingerprint],
            y,
            np.arange(len(y)),
            y_train,
        )

    def entered(self, predicted: np.ndarray) -> Measured:
        """Measure the predictions of one exploration."""
        name = print_of(f"exploration {len(self.measured)}")
        self.predictions[name] = predicted
        (declared,) = configurations(self.spec)
        result = result_of(declared, 0.0, self.spec, fingerprint=name)
        self.measured[name] = self.ranked.measured(result, predicted)
        return self.measured[name]

    def predicted(self, model: Measured) -> np.ndarray:
        """Return its predictions."""
        return self.predictions[model.result.fingerprint]

    def interval(self, kept: Measured) -> Interval:
        """Return that of the kept model, with the others in the ledger of scores."""
        with TemporaryDirectory() as folder:
            ledger = ScoreLedger(location(folder), self.spec.name)
            scored = ledger.on(pd.Series(self.y), self.ranked.groups, self.spec.metric)
            known = {
                name: model.score.estimate for name, model in self.measured.items()
            }
            columns = [model.in_ledger for model in self.measured.values()]
            scored.enter(known, np.column_stack(columns))
            name = kept.result.fingerprint
            earlier = scored.enter({name: known[name]}, kept.in_ledger[:, None])
        return order([kept], self.ranked, earlier).entries[0].score


def _difference(
    y: np.ndarray, before: np.ndarray, after: np.ndarray, level: float = LEVEL
) -> Interval:
    """Return the interval of what the second predictions are worse by, in RMSE."""
    scores = (apart(y, predicted).linearise("rmse") for predicted in (before, after))
    return paired_difference(*scores, layout("rmse", y, np.arange(len(y))), level)


@repeated
def kept_of_explorations(
    generator: Generator, *, explorations: int, greedy: bool = False
) -> bool:
    """Whether the leaderboard's interval holds the true error of the best of many
    explorations, each of which adds ten columns of noise to the one feature that knows
    something.

    A greedy agent keeps the columns of its best, and adds to them.
    """
    made = Made.by(generator, 4 * _ROWS, 0.5)
    board = Board(made.y[TRAIN], made.y[TEST])
    kept: Measured | None = None
    truth = math.nan
    for _ in range(explorations):
        tried = made.grown(generator, 10)
        model = board.entered(tried.predicted(ALL, TRAIN, TEST))
        if kept is None or model.score.estimate < kept.score.estimate:
            kept, truth = model, tried.truth(ALL, TRAIN)
            made = tried if greedy else made
    assert kept is not None
    interval = board.interval(kept)
    return interval.low <= truth <= interval.high


@repeated
def chain_is_covered(
    generator: Generator, *, explorations: int, corrected: bool = True
) -> bool:
    """Whether the interval of each paired difference of a chain holds the true one.

    Each exploration adds a column of noise to those kept; the user keeps what looks
    better. Without `corrected` each interval is one for itself alone.
    """
    kept = Made.by(generator, 4 * _ROWS, 0.5)
    for number in range(1, explorations):
        tried = kept.grown(generator, 1)
        before, after = (made.predicted(ALL, TRAIN, TEST) for made in (kept, tried))
        level = level_of_comparison(number) if corrected else LEVEL
        change = _difference(kept.y[TEST], before, after, level)
        true_change = tried.truth(ALL, TRAIN) - kept.truth(ALL, TRAIN)
        if not change.low <= true_change <= change.high:
            return False
        if change.estimate < 0:
            kept = tried
    return True


@repeated
def gain_is_shown(
    generator: Generator, *, exploration: int, corrected: bool = True
) -> bool:
    """Whether a column that truly helps, with a weight of .5, is called better at one
    exploration.
    """
    made = Made.by(generator, 4 * _ROWS, 0.5, 0.5)
    before, after = (made.predicted(used, TRAIN, TEST) for used in ([0], [0, 1]))
    level = level_of_comparison(exploration - 1) if corrected else LEVEL
    return _difference(made.y[TEST], before, after, level).high < 0


@repeated
def explored_noise_passes(generator: Generator, *, explorations: int) -> bool:
    """Whether the gates accept the best of many explorations, each of which tries ten
    columns of noise on a target that nothing explains.
    """
    nothing = Made.by(generator, 5 * _ROWS)
    y = nothing.y
    kept, least = np.empty(0), math.inf
    for _ in range(explorations):
        predicted = nothing.grown(generator, 10).predicted(ALL, TRAIN, ALL)
        error = float(np.mean((y[TEST] - predicted[TEST]) ** 2))
        if error < least:
            kept, least = predicted, error
    test, validation = (apart(y[part], kept[part]) for part in (TEST, LATER))
    return report("rmse", validation, test, y[: TEST.stop]).accepted


@dataclass(frozen=True)
class Agent:
    """How an agent goes on: each exploration adds three columns to a linear model of one
    that explains something. Of all that are offered two explain as much.
    """

    explorations: int
    builds: bool = True  # on the columns of its best, else on what was given
    reseeds: bool = False  # draws other folds for each exploration, where it may

    def made(self, generator: Generator, rows: int, weight: float) -> Made:
        """Draw a table with the columns of all proposals; `weight`: of those that are no
        noise.
        """
        count = 1 + _OFFERED * self.explorations
        columns = generator.normal(size=(rows, count))
        weights = np.zeros(count)
        weights[[0, *generator.choice(np.arange(1, count), 2, replace=False)]] = weight
        return Made(columns, weights, columns @ weights + generator.normal(size=rows))

    def proposed(self, number: int, best: list[int]) -> list[int]:
        """The columns of a proposal; number 0 is what was given."""
        if number == 0:
            return [0]
        first = 1 + _OFFERED * (number - 1)
        return [*(best if self.builds else [0]), *range(first, first + _OFFERED)]


AGENTS = {
    "random": Agent(50, builds=False),
    "greedy": Agent(50),
    "overfitter": Agent(200, reseeds=True),
}


@dataclass(frozen=True)
class Ended:
    """What an agent ends with."""

    score: Interval  # that it is told, or could compute
    truth: float
    accepted: bool  # better than a constant, by the final decision


def in_laboratory(made: Made, agent: Agent, _: Generator) -> Ended:
    """The best is what the laboratory calls better; a person opens it."""
    first, second = (len(made.y) * share // 5 for share in (3, 4))
    train, test, validation = slice(first), slice(first, second), slice(second, None)
    board = Board(made.y[train], made.y[test])
    level = level_of_each(agent.explorations)
    columns = [0]
    best = board.entered(made.predicted(columns, train, test))
    for number in range(1, agent.explorations + 1):
        used = agent.proposed(number, columns)
        tried = board.entered(made.predicted(used, train, test))
        before, after = board.predicted(best), board.predicted(tried)
        if _difference(board.y, before, after, level).high < 0:
            best, columns = tried, used
    final = made.predicted(columns, train, validation)
    decision = report(
        "rmse",
        apart(made.y[validation], final),
        apart(board.y, board.predicted(best)),
        made.y[:second],
    )
    return Ended(board.interval(best), made.truth(columns, train), decision.accepted)


def with_cross_validation(made: Made, agent: Agent, generator: Generator) -> Ended:
    """All rows are cross-validated, each gain is kept, and 95 % intervals are those of
    one model: a final decision asks whether it is better than a constant.
    """
    y = made.y
    rows = len(y)
    folds = generator.permutation(rows) % _FOLDS
    columns, best, least = [0], y, math.inf
    for number in range(agent.explorations + 1):
        used = agent.proposed(number, columns)
        if agent.reseeds:
            folds = generator.permutation(rows) % _FOLDS
        predicted = np.empty(rows)
        for fold in range(_FOLDS):
            held_out = folds == fold
            predicted[held_out] = made.predicted(used, ~held_out, held_out)
        error = float(np.mean((y - predicted) ** 2))
        if error < least:
            columns, best, least = used, predicted, error
    gain = _difference(y, np.full(rows, y.mean()), best)
    score = apart(y, best).interval("rmse")
    return Ended(score, made.truth(columns, ALL), gain.high < 0)


WAYS = {"in a laboratory": in_laboratory, "cross-validation": with_cross_validation}


@repeated
def ends(generator: Generator, *, agent: str, rows: int, way: str) -> dict[str, float]:
    """Let an agent experiment on tables with something to find, and on pure noise."""
    explorer = AGENTS[agent]
    some, nothing = (
        WAYS[way](explorer.made(generator, rows, weight), explorer, generator)
        for weight in (0.5, 0.0)
    )
    return {
        "the interval holds the truth": some.score.low <= some.truth <= some.score.high,
        "a model of noise is accepted": nothing.accepted,
        "its true error is above the least by": some.truth - 1,
    }
