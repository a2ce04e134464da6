"""Agents that experiment, in a laboratory and with plain cross-validation.

The truth is known: is the score that they end with true, is a model of noise accepted,
and how good is what they find?

Each exploration adds three columns to a linear model of one that explains something. Of
all that are offered two explain as much, the others are noise.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from experiment_pipeline.stages.leaderboard.ranking import Measured, RankedRows, order
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.statistics.interval import Interval, level_of_each
from experiment_pipeline.statistics.scores import layout, paired_difference
from experiment_pipeline_tests.bench.statistics_choice import (
    entered,
    experiment,
    print_of,
    report,
)
from experiment_pipeline_tests.bench.statistics_rows import (
    SEED,
    Aim,
    Row,
    means,
    rows_of,
)
from experiment_pipeline_tests.results import apart
from experiment_pipeline_tests.stages.leaderboard.board_examples import result_of

_OFFERED, _FOLDS = 3, 5  # columns of a proposal; parts of cross-validation


@dataclass(frozen=True)
class Agent:
    """How an agent goes on."""

    explorations: int
    builds: bool = True  # on the columns of its best, else on what was given
    reseeds: bool = False  # draws other folds for each exploration, where it may


AGENTS = {
    "random": Agent(50, builds=False),
    "greedy": Agent(50),
    "overfitter": Agent(200, reseeds=True),
}


@dataclass(frozen=True)
class Made:
    """A table whose target has a deviation of 1 that no column explains."""

    columns: np.ndarray  # (n, 1 + those of all proposals)
    weights: np.ndarray  # of the columns in the target
    y: np.ndarray

    @classmethod
    def by(
        cls, generator: np.random.Generator, rows: int, offers: int, weight: float
    ) -> "Made":
        """Draw a table; `weight`: of the columns that are no noise."""
        count = 1 + _OFFERED * offers
        columns = generator.normal(size=(rows, count))
        weights = np.zeros(count)
        weights[[0, *generator.choice(np.arange(1, count), 2, replace=False)]] = weight
        return cls(columns, weights, columns @ weights + generator.normal(size=rows))

    @property
    def sets(self) -> tuple[slice, slice, slice]:
        """Train, test and validation rows: 60, 20 and 20 %."""
        first, second = (len(self.y) * share // 5 for share in (3, 4))
        return slice(first), slice(first, second), slice(second, None)

    def predicted(
        self, used: list[int], train: np.ndarray | slice, rows: np.ndarray | slice
    ) -> np.ndarray:
        """Return what the model of the columns `used` of train rows predicts for rows."""
        return self.columns[rows][:, used] @ self._fitted(used, train)

    def truth(self, used: list[int], train: np.ndarray | slice) -> float:
        """Return the RMSE of that model on endless rows."""
        error = -self.weights
        error[used] += self._fitted(used, train)
        return math.sqrt(1 + float(error @ error))

    def _fitted(self, used: list[int], train: np.ndarray | slice) -> np.ndarray:
        x = self.columns[train][:, used]
        return np.linalg.solve(x.T @ x, x.T @ self.y[train])


@dataclass(frozen=True)
class Ended:
    """What an agent ends with."""

    score: Interval  # that it is told, or could compute
    truth: float
    accepted: bool  # better than a constant, by the final decision

    @property
    def is_covered(self) -> bool:
        return self.score.low <= self.truth <= self.score.high


def in_laboratory(made: Made, agent: Agent, _: np.random.Generator) -> Ended:
    """The best is what the laboratory calls better; a person opens it."""
    spec = experiment("rmse", "regression")
    [declared] = configurations(spec)
    train, test, validation = made.sets
    y = made.y[test]
    clusters = np.arange(len(y))
    rows = layout("rmse", y, clusters)
    level = level_of_each(agent.explorations)
    predictions: dict[str, np.ndarray] = {}
    measured: dict[str, Measured] = {}
    ranked = RankedRows(
        spec,
        lambda result: predictions[result.fingerprint],
        y,
        clusters,
        made.y[train],
    )
    best: Measured | None = None
    best_columns = [0]
    for number in range(agent.explorations + 1):
        used = _proposed(number, best_columns, agent)
        name = print_of(f"exploration {number}")
        predictions[name] = made.predicted(used, train, test)
        result = result_of(declared, 0.0, spec, fingerprint=name)
        measured[name] = ranked.measured(result, predictions[name])
        if best is not None:
            scores = (
                apart(y, predictions[one]).linearise("rmse")
                for one in (best.result.fingerprint, name)
            )
            if paired_difference(*scores, rows, level).high >= 0:
                continue
        best, best_columns = measured[name], used
    assert best is not None
    earlier = entered(spec, ranked, y, measured, best)
    final = made.predicted(best_columns, train, validation)
    decision = report(
        "rmse",
        "regression",
        apart(made.y[validation], final),
        apart(y, predictions[best.result.fingerprint]),
        made.y[: test.stop],
    )
    score = order([best], ranked, earlier).entries[0].score
    return Ended(score, made.truth(best_columns, train), decision.accepted)


def with_cross_validation(
    made: Made, agent: Agent, generator: np.random.Generator
) -> Ended:
    """All rows are cross-validated, each gain is kept, and 95 % intervals are those of
    one model: a final decision asks whether it is better than a constant.
    """
    y = made.y
    rows = len(y)
    folds = generator.permutation(rows) % _FOLDS
    best_columns, best, least = [0], y, math.inf
    for number in range(agent.explorations + 1):
        used = _proposed(number, best_columns, agent)
        if agent.reseeds:
            folds = generator.permutation(rows) % _FOLDS
        predicted = np.empty(rows)
        for fold in range(_FOLDS):
            held_out = folds == fold
            predicted[held_out] = made.predicted(used, ~held_out, held_out)
        error = float(np.mean((y - predicted) ** 2))
        if error < least:
            best_columns, best, least = used, predicted, error
    scores = (
        apart(y, one).linearise("rmse") for one in (np.full(rows, y.mean()), best)
    )
    gain = paired_difference(*scores, layout("rmse", y, np.arange(rows)))
    truth = made.truth(best_columns, slice(None))
    return Ended(apart(y, best).interval("rmse"), truth, gain.high < 0)


def _proposed(number: int, best: list[int], agent: Agent) -> list[int]:
    """The columns of a proposal; number 0 is what was given."""
    if number == 0:
        return [0]
    first = 1 + _OFFERED * (number - 1)
    return [*(best if agent.builds else [0]), *range(first, first + _OFFERED)]


_WAYS = {"in a laboratory": in_laboratory, "cross-validation": with_cross_validation}


def ends(name: str, way: str, rows: int, *, simulations: int) -> list[Row]:
    """Let an agent experiment on tables with something to find, and on pure noise."""
    agent = AGENTS[name]

    def once(generator: np.random.Generator) -> tuple[float, ...]:
        some, nothing = (
            _WAYS[way](
                Made.by(generator, rows, agent.explorations, weight), agent, generator
            )
            for weight in (0.5, 0.0)
        )
        return some.is_covered, nothing.accepted, some.truth - 1

    covered, accepted, lost = means(once, simulations, SEED).tolist()
    is_ours = way == "in a laboratory"
    figures = {
        "the interval holds the truth": (covered, Aim(low=0.93) if is_ours else None),
        "a model of noise is accepted": (
            accepted,
            Aim(high=0.05) if is_ours else None,
        ),
        "its true error is above the least by": (lost, None),
    }
    return rows_of(f"{name}, {rows:,} rows, {way}: ", simulations, figures)


SIMULATED_AGENTS = tuple(
    partial(ends, name, way, rows, simulations=simulations)
    for rows, way, simulations in (
        (300, "in a laboratory", 60),
        (300, "cross-validation", 60),
        (1_000, "in a laboratory", 60),
        (1_000, "cross-validation", 60),
        (5_000, "in a laboratory", 20),
    )
    for name in AGENTS
)
