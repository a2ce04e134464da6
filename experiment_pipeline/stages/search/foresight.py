"""What a budget of seconds still has to pay for: fits on the way up, and refit and report after them.

Guesses, from the size of the table and from the fits so far; they decide what is begun under a budget
and never what a fit gives. How long a fit takes is `time_left.py`'s guess, when nothing more may
start `cost.py`'s rule. In: sets, results, a `TimeLeft`. Out: seconds. No clock.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from statistics import fmean
from typing import Self

from experiment_pipeline.spec import ExperimentSpec, Features
from experiment_pipeline.spec.algorithms import FEW_TEXTS
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import Brake, grown_rounds, most_rounds, seconds_of
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.rungs import Rung, best_first, competes, promising_first
from experiment_pipeline.stages.search.time_left import TimeLeft
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.table.kinds import NUMERIC, kind_of

# Encoding: at least, of a number, of a text as a code or a mean, of a text read letter by letter.
_LEAST_SECONDS, _PER_NUMBER, _PER_TEXT, _PER_LETTERS = 0.02, 1e-7, 3e-6, 8e-5
# Learning the letters of the texts of a column.
_LETTERS_SECONDS = 0.5
# What a report takes beside fits, predictions and features: to load its libraries, to judge, to draw.
_REPORT_SECONDS = 2.5
# A report predicts the validation rows by two fits: the exported one, and that of the search.
_PREDICTIONS = 2
# Features are fitted on train rows again, on train and test rows, and encode the validation rows twice.
_ENCODINGS = 2.5
# Of so many of the best an ensemble is made, each of which is fitted again.
_MEMBERS = 5
# What else a rung begins with; and how far off the guess of encoding may be.
_SET_UP_SECONDS, _SLOWEST = 0.2, 5.0
# So many that there is time for must be fitted before a rung may end for the next one.
_ENOUGH = 3
# How a fit's seconds grow with the rows, by their overhead, and the rounds until a booster stops.
_ROWS, _ROUNDS = 0.75, 0.45
# Guesses are short rather than long.
_MARGIN = 1.4


@dataclass(frozen=True)
class FullFit:
    """A fit on all train rows, measured or guessed.

    Attributes:
        seconds: that it takes.
        kept: the share of its boosting rounds that are kept; 1 without patience.
        seconds_per_row: of one core, to predict an encoded row.
        encoder: of its features.
    """

    seconds: float
    kept: float
    seconds_per_row: float
    encoder: Features

    @classmethod
    def of(cls, result: ModelResult, seconds: float | None = None) -> Self:
        """Return a fit as measured; `seconds`: guessed, as the result is of fewer rows."""
        kept = 1.0 if result.rounds is None else result.rounds / grown_rounds(result.rounds)
        known = result.fit_wall_seconds if seconds is None else seconds
        return cls(known, kept, result.predict_seconds_per_row, result.features)


def encoding_seconds(encoder: Features, sets: TrainingSets) -> float:
    """Guess how long encoding train and test rows by a encoder takes, its features fitted on train."""
    numbers = [name for name in sets.features if kind_of(sets.train[name]) in NUMERIC]
    rows = len(sets.train) + len(sets.test)
    seconds = _LEAST_SECONDS + rows * len(numbers) * _PER_NUMBER
    for name in sets.features:
        if name in numbers:
            continue
        distinct = sets.train[name].nunique() if encoder == "text" else 0
        if distinct > FEW_TEXTS:
            share = rows / max(len(sets.train), 1)
            seconds += _LETTERS_SECONDS + distinct * share * _PER_LETTERS
        else:
            seconds += rows * _PER_TEXT
    return seconds


@dataclass(frozen=True)
class AfterSearch:
    """What decides how long refit and report take.

    Attributes:
        fitted: train rows, of all folds: those that a fit stops on take their time as well.
        all_rows: of train and test set: what the chosen one is fitted on again.
        test: rows of the test set; the validation set is taken to be as large.
        workers: fits at a time.
        encoding: seconds to encode train and test rows by a encoder.
        slower: how many times longer than that it takes.
    """

    fitted: int
    all_rows: int
    test: int
    workers: int
    encoding: Callable[[Features], float]
    slower: float = 1.0

    @classmethod
    def of(cls, sets: TrainingSets, workers: int) -> Self:
        """Return what comes after a search on these sets, with so many fits at a time."""
        # Folds are fitted one after the other, and their test rows are train rows, too.
        of_folds = sum(len(fold.sets.train) for fold in sets.folds)
        beside = 0 if sets.folds else len(sets.test)
        return cls(
            fitted=len(sets.train) + of_folds,
            all_rows=len(sets.train) + beside,
            test=len(sets.test),
            workers=workers,
            encoding=cache(partial(encoding_seconds, sets=sets)),
        )

    def seconds(self, members: Sequence[FullFit]) -> float:
        """Return how long they take once the search has ended.

        Args:
            members: the configuration that is chosen, or those of the ensemble that is.
        """
        refits = [self._refit(one) for one in members]
        refitting = max([sum(refits) / self.workers, *refits, 0.0])
        predicting = sum(one.seconds_per_row for one in members) * self.test * _PREDICTIONS
        encoders = {one.encoder for one in members}
        encoding = _ENCODINGS * self.slower * sum(map(self.encoding, encoders))
        return refitting + predicting / self.workers + encoding + _REPORT_SECONDS

    def _refit(self, one: FullFit) -> float:
        """The rounds it keeps, on more rows."""
        return one.seconds * one.kept * self.all_rows / max(self.fitted, 1)


@dataclass
class Foresight:
    """Looks ahead from a rung to the report; without a budget of seconds it has nothing to say.

    Attributes:
        sets: the full train and test set.
        spec: its budget and its metric are used.
        workers: fits at a time.
        brake: is told what to expect.
    """

    sets: TrainingSets
    spec: ExperimentSpec
    workers: int
    brake: Brake
    _rungs: tuple[Rung, ...] = ()
    _entered: dict[str, Configuration] = field(default_factory=dict)
    _last: dict[str, ModelResult] = field(default_factory=dict)
    # Key → train rows of that result.
    _fitted_on: dict[str, int] = field(default_factory=dict)
    _here: set[str] = field(default_factory=set)
    _in_full: dict[str, ModelResult] = field(default_factory=dict)
    _encoding: dict[tuple[Features, int], float] = field(default_factory=dict)
    _began: float = 0.0
    # How many times longer than guessed encoding takes.
    _slower: float = 1.0
    # Seconds of refit and report, if it is the best so far that is chosen.
    _least: float = 0.0

    @cached_property
    def _pace(self) -> TimeLeft:
        return TimeLeft(self.workers)

    @property
    def _is_asked(self) -> bool:
        return self.spec.budget.seconds is not None and not self.brake.is_on_for_good

    def rung_began(
        self,
        rung: Rung,
        later: Sequence[Rung],
        entered: Sequence[Configuration],
        found: Mapping[str, ModelResult],
    ) -> None:
        """Take note of who is fitted now; arguments as of `RungStarted`."""
        if not self._is_asked:
            return
        self._pace.rung_began(rung, later, entered, known=(), elapsed=0.0)
        self._rungs, self._entered = (rung, *later), {one.key: one for one in entered}
        self._here, self._began = set(), self.brake.elapsed
        for result in found.values():
            self._learn(result)
        self._expect()

    def fit_ended(self, key: str, result: ModelResult | None) -> None:
        """Learn from a fit at this rung, or from its failure: None."""
        if not self._is_asked:
            return
        rung = self._rungs[0]
        if result is None:
            self._pace.fit_ended(key, elapsed=0.0)
            return
        if not self._here and rung.number > 1:
            self._compare_encoding(result, rung)
        self._learn(result)
        self._expect()

    def with_time(self, missing: Sequence[Configuration]) -> Sequence[Configuration]:
        """Return what is to be fitted, the most promising first, and what there is time for.

        The tables of a rung are encoded by every encoder before its first fit.
        """
        if not self._is_asked:
            return missing
        encoded, begin = set[Features](), list[Configuration]()
        for one in promising_first(missing, self._last, self.spec.metric):
            tables = self._tables({*encoded, one.features}, self._rungs[0])
            is_worth = one.features in encoded or not competes(one)
            if is_worth or self.brake.affords(one.key, tables + self._needed(one, self._rungs)):
                encoded |= {one.features} if competes(one) else set()
                begin.append(one)
        return begin

    def beyond(self, left: Sequence[Configuration]) -> list[Configuration]:
        """Return who is trained although the time is spent: the baseline, and one that competes.

        The most promising of those there would be time for, else the quickest.
        """
        beside = [one for one in left if not competes(one)]
        rivals = [one for one in left if competes(one)]
        needed = {one.key: self._needed(one, self._rungs) for one in rivals}
        in_time = [one for one in rivals if self.brake.affords(one.key, needed[one.key])]
        quickest = sorted(rivals, key=lambda one: needed[one.key])
        return [*beside, *(in_time or quickest)[:1]]

    def may_go_on(self, scored: Mapping[str, ModelResult]) -> Mapping[str, ModelResult]:
        """Return those of this rung that there is time for: others are not to take their place."""
        later = self._rungs[1:]
        if not self._is_asked or not later:
            return scored
        needed = {key: self._needed_further(self._entered[key]) for key in scored}
        found = {key: one for key, one in scored.items() if self.brake.affords(key, needed[key])}
        return found or scored

    def _learn(self, result: ModelResult) -> None:
        rung = self._rungs[0]
        seconds = seconds_of(result, len(rung.sets.test))
        self._pace.fit_ended(result.key, 0.0, seconds, result.rounds)
        self._last[result.key] = result
        self._here.add(result.key)
        self._fitted_on[result.key] = len(rung.sets.train)
        if rung.is_full and competes(result):
            self._in_full[result.key] = result
            best = self._in_full[best_first(self._in_full, self.spec.metric)[0]]
            self._least = self._after.seconds([FullFit.of(best)])

    def _compare_encoding(self, first: ModelResult, rung: Rung) -> None:
        """Between the beginning of a rung and that of its first fits its tables are encoded."""
        took = seconds_of(first, len(rung.sets.test))
        waited = self.brake.elapsed - self._began - took - _SET_UP_SECONDS
        guessed = self._tables({one.features for one in self._entered.values()}, rung)
        self._slower = min(max(self._slower * waited / guessed, 1.0), _SLOWEST)

    def skips(self, rung: Rung, entering: Sequence[Configuration]) -> bool:
        """Tell whether a rung between the first and the full one is not worth its time.

        It would stop nobody, or leave no time to train on all rows one for each worker.
        """
        if not self._is_asked or rung.is_full or not self._here or not entering:
            return False
        full = [self._full(one, self._rungs) for one in entering]
        whole = _MARGIN * fmean(one.seconds for one in full)
        here = sum(self._guess(one, rung) for one in entering) / self.workers
        spare = self.brake.left - min(self._after.seconds([one]) for one in full) - here
        return len(entering) <= rung.kept or spare < whole

    def _expect(self) -> None:
        rung = self._rungs[0]
        waiting = {key: one for key, one in self._entered.items() if key not in self._here}
        competing = {key: one for key, one in waiting.items() if competes(one)}
        self.brake.expect(
            {key: _MARGIN * self._guess(one, rung) for key, one in waiting.items()},
            self._reserved(),
            {key: self._needed(one, self._rungs) for key, one in competing.items()},
            is_hopeless=not rung.is_full and sum(map(self._may_follow, self._here)) < _ENOUGH,
        )

    def _reserved(self) -> float:
        """Seconds to fit again and to report: of the best, or of the ensemble that may be chosen."""
        scored = {key: self._last[key] for key in self._here if self._may_follow(key)}
        best = [
            self._full(self._entered[key], self._rungs)
            for key in best_first(scored, self.spec.metric)
            if competes(self._entered[key])
        ]
        return max((self._after.seconds(some) for some in (best[:1], best[:_MEMBERS])), default=0.0)

    def _may_follow(self, key: str) -> bool:
        """Whether one that is fitted here can be trained on all rows and reported on in time."""
        return self._rungs[0].is_full or (
            competes(self._entered[key])
            and self._needed_further(self._entered[key]) <= self.brake.left
        )

    def _needed_further(self, one: Configuration) -> float:
        """As `_needed`, from the tables of all rows on."""
        full = self._rungs[-1:]
        return self._tables({one.features}, full[0]) + self._needed(one, full)

    def _needed(self, one: Configuration, steps: Sequence[Rung]) -> float:
        """Seconds from a fit at the first of these rungs, encoded tables given, to a report on it."""
        # Those in between may be left out.
        steps = list(dict.fromkeys((steps[0], steps[-1])))
        here, *later = (self._guess(one, rung) for rung in steps)
        if later and not self._pace.knows(one.algorithm):
            # A small rung will tell; a guess from the table's size alone may be far off.
            return here
        tables = sum(self._tables({one.features}, rung) for rung in steps[1:])
        full = self._full(one, steps)
        fits = _MARGIN * (here + sum(later))
        return fits + tables + max(self._after.seconds([full]), self._least)

    def _guess(self, one: Configuration, rung: Rung) -> float:
        """Seconds of a fit: of more rows no less than that of fewer ones promises."""
        guess, last = self._pace.guess(one.key, rung), self._last.get(one.key)
        if last is None and not self._rungs[0].is_full:
            # A small rung will tell how many rounds it needs.
            return guess
        if last is None:
            more = [
                self._promised(known, rung) / self._pace.guess(key, rung)
                for key, known in self._last.items()
                if known.algorithm == one.algorithm and key in self._entered
            ]
            return guess * max(fmean(more), 1.0) if more else guess
        return max(guess, self._promised(last, rung))

    def _promised(self, last: ModelResult, rung: Rung) -> float:
        """Seconds of a fit that has been fitted on fewer rows: more rows, and more rounds."""
        more = len(rung.sets.train) / self._fitted_on[last.key]
        seconds = last.fit_wall_seconds * math.pow(more, _ROWS)
        if last.rounds is None or more <= 1 or not rung.sets.early_stopping.any():
            return seconds
        rounds = min(
            last.rounds * math.pow(more, _ROUNDS), max(most_rounds(last.configuration), last.rounds)
        )
        return seconds * grown_rounds(rounds) / grown_rounds(last.rounds)

    def _full(self, one: Configuration, steps: Sequence[Rung]) -> FullFit:
        if one.key in self._in_full:
            return FullFit.of(self._in_full[one.key])
        seconds, last = self._guess(one, steps[-1]), self._last.get(one.key)
        if last is None:
            return FullFit(seconds, 1.0, 0.0, one.features)
        return FullFit.of(last, seconds)

    @cached_property
    def _as_guessed(self) -> AfterSearch:
        return AfterSearch.of(self.sets, self.workers)

    @property
    def _after(self) -> AfterSearch:
        return replace(self._as_guessed, slower=self._slower)

    def _tables(self, encoders: Collection[Features], rung: Rung) -> float:
        """Seconds to encode the tables of a rung."""
        for encoder in encoders:
            if (encoder, rung.number) not in self._encoding:
                once = encoding_seconds(encoder, rung.sets)
                self._encoding[encoder, rung.number] = once * (1 + len(rung.sets.folds))
        return self._slower * sum(self._encoding[encoder, rung.number] for encoder in encoders)
