"""How long a search still takes, guessed from how long its fits have taken.

A fit's length is its work (`cost.estimated_cost`) times a factor, which is learnt while the search
runs: an algorithm's from its fits at this rung, else at the rung before, else from those of the
other algorithms. What is left is then handed out to the workers as the sweep does, the longest
first; at later rungs it is who would go on if the rung ended at once. In: rungs as they begin, fits
as they end, seconds since the search began. Out: seconds. No clock, no sentence.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from experiment_pipeline.spec import algorithms
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import estimated_cost, expected_rounds, grown_rounds
from experiment_pipeline.stages.search.learners.boosters import BOOSTERS
from experiment_pipeline.stages.search.rungs import Rung, competes

# What is guessed weighs as much as so many fits: of an algorithm's factor, of its change with rows.
WEIGHT_OF_FACTOR, WEIGHT_OF_DRIFT = 1.0, 3.0
# Of what a fit took more or less than others of its algorithm, and of boosting rounds beyond or
# short of the expected ones, this share is found again on more rows.
PERSISTENCE = 0.5
# A fit that has taken longer than guessed takes this share of its time so far again.
OVERDUE = 0.4
# A pass costs as much as so many cells beside those of its rows: a tree's nodes, a solver's step.
AS_CELLS = 50_000
SECONDS_PER_CELL = 1.5e-9
# What is unknown of imported estimators, and what predicting without features costs.
PASSES_OF_OTHERS, FEWEST_PASSES = 10.0, 0.1
# Encoding the tables for a rung, before one has told.
SET_UP_SECONDS = 0.2
SHORTEST_SECONDS = 1e-4


@dataclass(frozen=True)
class _Told:
    """What a fit told: logarithms of its seconds, and of its rounds, over the expected ones."""

    rung: int
    factor: float
    rounds: float


@dataclass
class TimeLeft:
    """Guesses when a search ends.

    Attributes:
        workers: fits at a time; it may be set anew while the search runs.
    """

    workers: int
    _told: dict[str, list[_Told]] = field(default_factory=lambda: defaultdict(list))
    _drifts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _last: dict[str, _Told] = field(default_factory=dict)
    # (algorithm, rung) → factor, until another fit has told.
    _factors: dict[tuple[str, int], float] = field(default_factory=dict)
    # (key, rung) → work.
    _works: dict[tuple[str, int], float] = field(default_factory=dict)
    _rung: Rung | None = None
    _later: Sequence[Rung] = ()
    _entered: Mapping[str, Configuration] = field(default_factory=dict)
    _waiting: list[Configuration] = field(default_factory=list)
    _running: dict[str, float] = field(default_factory=dict)
    _began: float = 0.0
    _fits_began: float | None = None
    _set_up: float = SET_UP_SECONDS

    def rung_began(
        self,
        rung: Rung,
        later: Sequence[Rung],
        entered: Sequence[Configuration],
        known: Collection[str],
        elapsed: float,
    ) -> None:
        """Take note of who is fitted now.

        Args:
            rung: that begins.
            later: those after it.
            entered: who takes part.
            known: keys of those that an earlier run has fitted here: they cost nothing.
            elapsed: seconds since the search began.
        """
        self._rung, self._later, self._began, self._fits_began = rung, later, elapsed, None
        self._entered = {one.key: one for one in entered}
        left = [one for one in entered if one.key not in known]
        self._waiting = sorted(left, key=lambda one: _passes(one, rung), reverse=True)
        self._running = {}
        self._start(elapsed)

    def fit_ended(
        self, key: str, elapsed: float, seconds: float | None = None, rounds: int | None = None
    ) -> None:
        """Learn from a fit.

        Args:
            key: of its configuration.
            elapsed: seconds since the search began.
            seconds: that it took; None where it failed.
            rounds: of boosting that it keeps.
        """
        if self._rung is None:
            return
        if seconds is not None and self._fits_began is None:
            # The tables were encoded before; for the first rung libraries were loaded, too.
            self._fits_began = max(elapsed - seconds, self._began)
            self._running = dict.fromkeys(self._running, self._fits_began)
            if self._rung.number > 1:
                self._set_up = self._fits_began - self._began
        if self._running.pop(key, None) is None:
            # Under a budget, say, the sweep has another order: someone else is not running yet.
            self._waiting = [one for one in self._waiting if one.key != key]
            if self._running:
                self._waiting.insert(0, self._entered[self._running.popitem()[0]])
        if seconds is not None:
            self._learn(self._entered[key], max(seconds, SHORTEST_SECONDS), rounds, self._rung)
        self._start(elapsed)

    def seconds(self, elapsed: float, best_first: Sequence[str]) -> float | None:
        """Return how long the search still takes; None before its first fit has ended.

        Args:
            elapsed: seconds since the search began.
            best_first: keys of those that are scored at this rung and compete.
        """
        if self._rung is None or not self._last:
            return None
        steps = [self._rung, *self._later]
        return self._here(elapsed, self._rung) + sum(
            self._at(rung, steps[place].kept, best_first) for place, rung in enumerate(self._later)
        )

    def guess(self, key: str, rung: Rung) -> float:
        """Return how long the fit of one that takes part now takes, at this rung or a later one.

        Before a fit has ended, by its work and the size of the table alone.
        """
        return self._seconds(self._entered[key], rung)

    def knows(self, algorithm: str) -> bool:
        """Whether a fit of an algorithm has ended."""
        return bool(self._told.get(algorithm))

    def _start(self, elapsed: float) -> None:
        # Workers that are gone: what was on them is begun again.
        while len(self._running) > max(self.workers, 1):
            self._waiting.insert(0, self._entered[self._running.popitem()[0]])
        while self._waiting and len(self._running) < self.workers:
            self._running[self._waiting.pop(0).key] = elapsed

    def _learn(self, one: Configuration, seconds: float, rounds: int | None, rung: Rung) -> None:
        beyond = 0.0
        # Of what is imported nobody knows how many rounds to expect.
        if rounds is not None and one.algorithm in BOOSTERS:
            beyond = math.log(grown_rounds(rounds) / grown_rounds(expected_rounds(one)))
        told = _Told(rung.number, math.log(seconds / self._work(one, rung)), beyond)
        before = self._last.get(one.key)
        if before is not None and before.rung < rung.number:
            drift = told.factor - before.factor + (1 - PERSISTENCE) * before.rounds
            self._drifts[one.algorithm].append(drift / (rung.number - before.rung))
        self._factors.clear()
        self._told[one.algorithm].append(told)
        self._last[one.key] = told

    def _seconds(self, one: Configuration, rung: Rung) -> float:
        """How long a fit is guessed to take."""
        factor = self._factor(one.algorithm, rung.number)
        if (last := self._last.get(one.key)) is not None:
            factor += PERSISTENCE * (last.factor - self._factor(one.algorithm, last.rung))
        return self._work(one, rung) * math.exp(factor)

    def _work(self, one: Configuration, rung: Rung) -> float:
        if (one.key, rung.number) not in self._works:
            self._works[one.key, rung.number] = _work(one, rung)
        return self._works[one.key, rung.number]

    def _factor(self, algorithm: str, number: int) -> float:
        if (algorithm, number) not in self._factors:
            self._factors[algorithm, number] = self._learnt(algorithm, number)
        return self._factors[algorithm, number]

    def _learnt(self, algorithm: str, number: int) -> float:
        """The logarithm of an algorithm's factor at a rung."""
        # The baseline's fit is all overhead: a thousand times its work, of which nothing follows.
        first = [
            one.factor
            for name, told in self._told.items()
            for one in told
            if one.rung == 1 and algorithms.competes(name)
        ]
        factor = fmean(first) if first else 0.0
        every = [drift for drifts in self._drifts.values() for drift in drifts]
        common = _shrunk(every, 0.0, WEIGHT_OF_DRIFT)
        drift = _shrunk(self._drifts[algorithm], common, WEIGHT_OF_DRIFT)
        rounds = 0.0
        for rung in range(1, number + 1):
            if rung > 1:
                factor += drift - (1 - PERSISTENCE) * rounds
            told = [one for one in self._told[algorithm] if one.rung == rung]
            factor = _shrunk([one.factor for one in told], factor, WEIGHT_OF_FACTOR)
            rounds = fmean([one.rounds for one in told]) if told else 0.0
        return factor

    def _here(self, elapsed: float, rung: Rung) -> float:
        """How long those take that run or wait at this rung."""
        free = [0.0] * (self.workers - len(self._running))
        for key, began in self._running.items():
            spent = max(elapsed - began, 0.0)
            free.append(max(self._seconds(self._entered[key], rung) - spent, OVERDUE * spent))
        heapq.heapify(free)
        for one in self._waiting:
            heapq.heapreplace(free, free[0] + self._seconds(one, rung))
        return max(free)

    def _at(self, rung: Rung, kept: int, best_first: Sequence[str]) -> float:
        """How long a later rung takes, for which so many are kept."""
        rivals = [one for one in self._entered.values() if competes(one)]
        if not rivals:
            return 0.0
        # The more are scored, the more sure is who goes on; for the others it is a draw.
        sure, ahead = len(best_first) / len(rivals), frozenset(best_first[:kept])
        drawn = (1 - sure) * min(kept / len(rivals), 1.0)
        shares = [sure * (one.key in ahead) + drawn for one in rivals]
        seconds = [self._seconds(one, rung) for one in rivals]
        whole = sum(share * one for share, one in zip(shares, seconds, strict=True))
        mean = whole / max(sum(shares), 1e-9)
        # Workers end one after the other: half a fit apart on average.
        return self._set_up + max(mean, (whole + mean * (self.workers - 1) / 2) / self.workers)


def _passes(one: Configuration, rung: Rung) -> float:
    return estimated_cost(one, len(rung.sets.train), len(rung.sets.classes or ()))


def _work(one: Configuration, rung: Rung) -> float:
    """What a fit takes in seconds of no machine in particular."""
    passes = _passes(one, rung)
    cells = len(rung.sets.train) * len(rung.sets.features)
    known = PASSES_OF_OTHERS if math.isinf(passes) else max(passes, FEWEST_PASSES)
    return SECONDS_PER_CELL * known * (cells + AS_CELLS)


def _shrunk(found: Sequence[float], guess: float, weight: float) -> float:
    return (sum(found) + weight * guess) / (len(found) + weight)
