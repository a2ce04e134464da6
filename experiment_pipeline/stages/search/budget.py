"""The limits of a search: a budget of seconds, and failures in a row.

Search, refit and report share the seconds, so a fit starts only where its own time and that of the refit
and the report after it are left. Estimates only decide which fits start; they never change a result.
"""

import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from experiment_pipeline.spec import Budget, ExperimentSpec, Features
from experiment_pipeline.spec.algorithms import FEW_TEXTS
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import estimated_cost, seconds_of
from experiment_pipeline.stages.search.learners.hyperparameters import PATIENCE
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.rungs import Rung, best_first, competes, promising_first
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.table.kinds import NUMERIC, kind_of

# The share of a budget of seconds that fits have at least, however long the rest takes.
_LEAST_FOR_FITS = 0.4
# Fits take up to so many times as long as estimated.
_MARGIN = 1.4
# An ensemble has so many members, each of which is fitted again.
_MEMBERS = 5
# A small rung does not end by its share of the time before it has found so many that there is time for.
_ENOUGH = 3
# Seconds to encode a number, a text, and a different text that is read letter by letter; measured.
_PER_NUMBER, _PER_TEXT, _PER_LETTERS = 1e-7, 3e-6, 8e-5
# Of a fit before any has ended: seconds per cell and pass. A pass costs so many cells beside its rows.
_PER_CELL, _OVERHEAD_CELLS = 1.5e-9, 50_000
_PASSES_OF_OTHERS = 10.0
# A report loads its libraries, judges and draws; it encodes the rows for two fits and predicts with both.
_REPORT_SECONDS, _ENCODINGS = 2.5, 2.5
# A refit with its predictions takes up to so many times what the fit on fewer rows promises.
_REFIT = 1.5


@dataclass(frozen=True)
class NotBegun:
    """Why a configuration was not begun.

    Attributes:
        why: in words that are the same for all that share the cause.
        needed: seconds that it was expected to take; None where there is no estimate.
    """

    why: str
    needed: float | None = None


class Brake:
    """Lets fits start until a limit is reached; from then on none. Threads may share it."""

    def __init__(self, budget: Budget, now: Callable[[], float], reason: str = "") -> None:
        """Start the clock.

        Args:
            budget: its seconds and failures in a row are limits.
            now: seconds of any clock that only goes forward.
            reason: given when nothing may start from the beginning.
        """
        self.seconds = budget.seconds
        self._most_failures, self._failures = budget.failures_in_a_row, 0
        self._lock = threading.Lock()
        self._now, self._started, self._for_good = now, now(), reason
        self._share, self._reserved, self._spent, self._beyond_share = 1.0, 0.0, "", False
        self._needed, self._too_long = dict[str, float](), dict[str, NotBegun]()

    def reason_of(self, key: str) -> NotBegun:
        """Return why a configuration was not begun."""
        if self._for_good:
            return NotBegun(self._for_good)
        return self._too_long.get(key, NotBegun(self._spent, self._needed.get(key)))

    @property
    def is_timed(self) -> bool:
        """Whether a budget of seconds decides what starts."""
        return self.seconds is not None and not self._for_good

    @property
    def is_out_of_time(self) -> bool:
        """Whether it is the clock alone that holds fits back."""
        return not self._for_good and bool(self._spent or self._too_long)

    @property
    def left(self) -> float:
        """Seconds of the budget; infinite without one."""
        return math.inf if self.seconds is None else self.seconds - (self._now() - self._started)

    def open(self, share: float) -> None:
        """Give a rung a share of the seconds, counted from the start."""
        self._share, self._spent, self._beyond_share = share, "", False
        self._needed, self._too_long = {}, {}

    def expect(
        self, needed: Mapping[str, float], reserved: float, *, beyond_share: bool = False
    ) -> None:
        """Note what is estimated.

        Args:
            needed: key → seconds from the start of its fit to the end of a report on it.
            reserved: seconds that refit and report take, as long as fits have their part.
            beyond_share: whether the rung may take more than its share of the seconds.
        """
        self._needed, self._reserved, self._beyond_share = dict(needed), reserved, beyond_share

    def affords(self, key: str, needed: float) -> bool:
        """Whether so many seconds are left for a configuration; remembers the reason if not."""
        if needed <= self.left:
            return True
        self._too_long[key] = NotBegun(
            "fit, refit and report would have taken longer than what was left of the budget of "
            f"{self.seconds:g} seconds",
            needed,
        )
        return False

    def may_start(self, key: str = "") -> bool:
        """Whether the fit of a configuration may start now."""
        if self.seconds is not None:
            for_fits = max(self.seconds - self._reserved, self.seconds * _LEAST_FOR_FITS)
            share = 1.0 if self._beyond_share else self._share
            if self.seconds - self.left >= for_fits * share:
                self._spent = self._why_spent(self.seconds, for_fits)
            elif not self.affords(key, self._needed.get(key, 0.0)):
                return False
        return not (self._for_good or self._spent)

    def _why_spent(self, seconds: float, for_fits: float) -> str:
        part = "" if self._share == 1 else f"{for_fits * self._share:.3g} of "
        rest = seconds - for_fits
        spent = f"{part}the budget of {seconds:g} seconds was spent"
        return spent if rest < 0.1 else f"{spent}, {rest:.1f} are kept for refit and report"

    def saw(self, *, failure: bool) -> None:
        """Count failures that follow one another."""
        most = self._most_failures
        with self._lock:
            self._failures = self._failures + 1 if failure else 0
            if most is not None and self._failures >= most:
                self._for_good = self._for_good or f"{most} configurations in a row had failed"


def encoding_seconds(encoder: Features, sets: TrainingSets) -> float:
    """Estimate how long it takes to fit an encoder and to encode the train and test rows, folds included."""
    rows, seconds = len(sets.train) + len(sets.test), 0.0
    for name in sets.features:
        column = sets.train[name]
        if kind_of(column) in NUMERIC:
            seconds += rows * _PER_NUMBER
        elif encoder == "text" and (distinct := column.nunique()) > FEW_TEXTS:
            seconds += distinct * rows / len(column) * _PER_LETTERS
        else:
            seconds += rows * _PER_TEXT
    return seconds * (1 + len(sets.folds))


class FitTimes:
    """Estimates the seconds of fits, from those that have ended."""

    def __init__(self) -> None:
        """Know nothing yet."""
        # Seconds per unit of work: of a configuration's last fit, and an algorithm's slowest.
        self._own = dict[str, float]()
        self._slowest = dict[str, float]()

    def learn(self, one: Configuration, sets: TrainingSets, seconds: float) -> None:
        """Take a fit into account that has ended."""
        if competes(one):  # the baseline's fit is all overhead
            self._own[one.key] = pace = seconds / _work(one, sets)
            self._slowest[one.algorithm] = max(pace, self._slowest.get(one.algorithm, 0.0))

    def knows(self, algorithm: str) -> bool:
        """Whether a fit of an algorithm has ended."""
        return algorithm in self._slowest

    def seconds(self, one: Configuration, sets: TrainingSets) -> float:
        """Estimate a fit's seconds by its last fit, else by the slowest of its algorithm."""
        pace = self._own.get(one.key, self._slowest.get(one.algorithm, _PER_CELL))
        return pace * _work(one, sets)


@dataclass(frozen=True)
class AfterSearch:
    """Estimates how long refit and report take once a search has ended.

    Attributes:
        sets: the full train and test set; the validation set is taken to be as large as the latter.
        workers: fits at a time.
    """

    sets: TrainingSets
    workers: int
    _encoding: dict[Features, float] = field(default_factory=dict)

    def seconds(self, members: Sequence[ModelResult]) -> float:
        """Return the seconds for the chosen configuration, or the members of the chosen ensemble."""
        refits = [self.refit(seconds_of(one, len(self.sets.test)), one.rounds) for one in members]
        return self.total(refits, {one.features for one in members})

    def encoding(self, encoder: Features) -> float:
        """Return the seconds to encode all rows."""
        if encoder not in self._encoding:
            self._encoding[encoder] = encoding_seconds(encoder, self.sets)
        return self._encoding[encoder]

    def refit(self, seconds: float, rounds: int | None) -> float:
        """Return the seconds of a refit, by those of the fit: its kept rounds on train and test rows."""
        sets = self.sets
        fitted = len(sets.train) + sum(len(fold.sets.train) for fold in sets.folds)
        kept = 1.0 if rounds is None else rounds / (rounds + PATIENCE)
        return _REFIT * seconds * kept * len(sets.row_numbers) / max(fitted, 1)

    def total(self, refits: Sequence[float], encoders: Collection[Features]) -> float:
        """Return the seconds of these refits side by side, of encoding, and of the report."""
        encoding = _ENCODINGS * sum(map(self.encoding, encoders))
        side_by_side = max([sum(refits) / self.workers, *refits, 0.0])
        return side_by_side + encoding + _REPORT_SECONDS


def _work(one: Configuration, sets: TrainingSets) -> float:
    """Passes over the rows times cells: proportional to the seconds of a fit."""
    passes = estimated_cost(one, len(sets.train), len(sets.classes or ()))
    passes = max(passes, 1.0) if math.isfinite(passes) else _PASSES_OF_OTHERS
    return passes * (len(sets.train) * len(sets.features) + _OVERHEAD_CELLS)


class TimePlan:
    """Decides what there is time for, from a rung to the report; without a budget of seconds, all."""

    def __init__(
        self, sets: TrainingSets, spec: ExperimentSpec, workers: int, brake: Brake
    ) -> None:
        """Plan a search on the full sets; the brake gets the estimates."""
        self._metric, self._workers, self._brake = spec.metric, workers, brake
        self._after, self._times = AfterSearch(sets, workers), FitTimes()
        self._full = sets
        self._rung: Rung | None = None
        self._entered = dict[str, Configuration]()
        # Key → result at any rung, the last one; and those of this rung.
        self._last, self._here = dict[str, ModelResult](), dict[str, ModelResult]()

    def rung_began(
        self, rung: Rung, entered: Sequence[Configuration], found: Mapping[str, ModelResult]
    ) -> None:
        """Note which configurations a rung has, and the results that exist."""
        self._rung, self._here = rung, {}
        self._entered = {one.key: one for one in entered}
        for result in found.values():
            self._learn(rung, result)
        self._expect(rung)

    def fit_ended(self, rung: Rung, result: ModelResult) -> None:
        """Learn from a fit."""
        self._learn(rung, result)
        self._expect(rung)

    def with_time(self, rung: Rung, missing: Sequence[Configuration]) -> Sequence[Configuration]:
        """Return what is to be fitted, the most promising first, as far as there is time.

        The tables of a rung are encoded by every encoder before its first fit.
        """
        if not self._brake.is_timed:
            return missing
        encoded, encoding, begin = set[Features](), 0.0, list[Configuration]()
        for one in promising_first(missing, self._last, self._metric):
            new = 0.0
            if competes(one) and one.features not in encoded:
                new = encoding_seconds(one.features, rung.sets)
                needed = encoding + new + self._needed(one, rung)
                if not self._brake.affords(one.key, needed):
                    continue
                encoded.add(one.features)
            encoding += new
            begin.append(one)
        return begin

    def beyond(self, rung: Rung, left: Sequence[Configuration]) -> list[Configuration]:
        """Return what is trained although the time is spent: the baseline, and one that competes.

        The most promising of those that there would be time for, else the quickest.
        """
        rivals = [one for one in left if competes(one)]
        needed = {one.key: self._needed(one, rung) for one in rivals}
        in_time = [one for one in rivals if self._brake.affords(one.key, needed[one.key])]
        chosen = in_time or sorted(rivals, key=lambda one: needed[one.key])
        return [*(one for one in left if not competes(one)), *chosen[:1]]

    def may_go_on(self, rung: Rung, scored: Mapping[str, ModelResult]) -> Mapping[str, ModelResult]:
        """Return those of a rung that there is time to train on all rows; all where there are none."""
        if not self._brake.is_timed or rung.is_full:
            return scored
        found = {
            key: one
            for key, one in scored.items()
            if self._brake.affords(key, self._needed_in_full(self._entered[key]))
        }
        return found or scored

    def skips(self, rung: Rung, entering: Sequence[Configuration]) -> bool:
        """Whether a rung between the first and the full one is not worth its time.

        It would stop no configuration, or leave too little time to train as many on all rows as
        there are workers.
        """
        if not self._brake.is_timed or rung.is_full or not self._here or not entering:
            return False
        here = sum(self._times.seconds(one, rung.sets) for one in entering) / self._workers
        in_full = sum(map(self._needed_in_full, entering)) / len(entering)
        return len(entering) <= rung.kept or here + in_full > self._brake.left

    def _learn(self, rung: Rung, result: ModelResult) -> None:
        seconds = seconds_of(result, len(rung.sets.test))
        self._times.learn(result.configuration, rung.sets, seconds)
        self._last[result.key] = self._here[result.key] = result

    def _expect(self, rung: Rung) -> None:
        """Tell the brake what waits at this rung, and what the best so far need after the search."""
        if not self._brake.is_timed:
            return
        rivals = {key: one for key, one in self._entered.items() if competes(one)}
        here = {key: one for key, one in self._here.items() if key in rivals}
        best = best_first(here, self._metric)
        to_come = self._refit_and_report if rung.is_full else self._needed_in_full
        in_time = [key for key in best if to_come(rivals[key]) <= self._brake.left]
        least = self._refit_and_report(rivals[in_time[0]]) if in_time else 0.0
        refits = [self._refit(rivals[key]) for key in in_time[:_MEMBERS]]
        reserved = self._after.total(refits, {rivals[key].features for key in in_time[:_MEMBERS]})
        needed = {
            key: max(self._needed(one, rung), _MARGIN * self._times.seconds(one, rung.sets) + least)
            for key, one in rivals.items()
            if key not in here
        }
        self._brake.expect(
            needed,
            reserved if in_time else 0.0,
            beyond_share=not rung.is_full and len(in_time) < _ENOUGH,
        )

    def _needed(self, one: Configuration, rung: Rung) -> float:
        """Seconds from a fit at this rung, tables encoded, to the end of a report on it."""
        fit = _MARGIN * self._times.seconds(one, rung.sets)
        if rung.is_full:
            return fit + self._refit_and_report(one)
        # The first fits of an algorithm at a small rung measure what larger ones take.
        return fit + (self._needed_in_full(one) if self._times.knows(one.algorithm) else 0.0)

    def _needed_in_full(self, one: Configuration) -> float:
        """The same, from encoding all rows on."""
        encoding = self._after.encoding(one.features)
        fit = _MARGIN * self._times.seconds(one, self._full)
        return encoding + fit + self._refit_and_report(one)

    def _refit(self, one: Configuration) -> float:
        last = self._last.get(one.key)
        rounds = None if last is None else last.rounds
        return self._after.refit(self._times.seconds(one, self._full), rounds)

    def _refit_and_report(self, one: Configuration) -> float:
        return self._after.total([self._refit(one)], {one.features})
