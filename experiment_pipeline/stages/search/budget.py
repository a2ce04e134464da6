"""The limits of a search: a budget of seconds, what more seconds are worth, and
failures in a row.

Search, refit and report share the seconds. Estimates only decide which fits start; they
never change a result.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from experiment_pipeline.spec import Budget, Features, algorithms
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners.hyperparameters import (
    NAMES,
    estimated_cost,
)
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.rungs import ENOUGH_COMPARED as ENOUGH
from experiment_pipeline.stages.search.rungs import Room, Rung, best_first, competes
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.tails import expected_gain
from experiment_pipeline.table.kinds import NUMERIC, kind_of

# The least share of the seconds that fits get, however long refit and report take; the
# share of this time that even a small rung may use until enough configurations are
# compared.
_LEAST_FOR_FITS, _SHARE_UNTIL_ENOUGH = 0.4, 0.6
_SHARE_OF_A_KIND = (
    1 / 16
)  # of the seconds: the longest full fit for which a kind's best goes on
# Safety factors: of a fit over its estimate; of a refit with its predictions over the
# fit per row, for boosting (more rows take more rounds) and for other algorithms.
_FIT, _REFIT_OF_BOOSTING, _REFIT = 1.4, 1.8, 1.3
# Seconds of a report's imports, evaluation and plots; how often rows are encoded, for
# two fits that predict.
_REPORT_SECONDS, _ENCODINGS = 2.5, 2.5
# Measured seconds to encode a number, a text, and a distinct text by its letters.
_PER_NUMBER, _PER_TEXT, _PER_LETTERS = 1e-7, 3e-6, 8e-5
_PER_TREE = 1e-3  # seconds, of a forest of any rows
# An ensemble has so many members, each of which is fitted again.
_MEMBERS = 5
# Seconds per number in a pass, measured on 565 to 36,000 rows. Boosting also scans a
# column's bins, which costs 10 times its rows, at most 2,000; others cost 3.5 times as
# much. Last: passes of an unknown algorithm.
_PER_ROW, _BINS, _ROWS_OF_BINS, _OF_OTHERS, _UNKNOWN_PASSES = 1e-9, 10, 2_000, 3.5, 100


def fit_seconds(result: ModelResult, sets: TrainingSets) -> float:
    """Return how long a fit took with its predictions of the test rows."""
    return result.fit_wall_seconds + result.predict_seconds_per_row * len(sets.test)


def pass_seconds(rows: int, features: int, *, boosts: bool = True) -> float:
    """Estimate the seconds of one pass over the rows, a level of a tree; `boosts`: by a
    boosting library.
    """
    read = rows + _BINS * min(rows, _ROWS_OF_BINS) if boosts else _OF_OTHERS * rows
    return _PER_ROW * features * read


def usual_seconds(one: Configuration, sets: TrainingSets) -> float:
    """Estimate, before any fit, how long the fits of a configuration take, those of
    folds included.
    """
    total, boosts = 0.0, one.algorithm in NAMES
    for part in (sets, *(fold.sets for fold in sets.folds)):
        rows = len(part.train)
        passes = estimated_cost(one, rows, len(sets.classes or ()))
        passes = passes if 0 < passes < math.inf else _UNKNOWN_PASSES
        total += passes * pass_seconds(rows, len(sets.features), boosts=boosts)
    return total


def room_of(
    seconds: float | None, configurations: Sequence[Configuration], workers: int
) -> Room:
    """Return a function that estimates for how many configurations the budget has time
    on given sets.
    """

    def room(sets: TrainingSets) -> float:
        every = math.inf if seconds is None else seconds * workers * len(configurations)
        return every / max(
            sum(usual_seconds(one, sets) for one in configurations), 1e-9
        )

    return room


@dataclass(frozen=True)
class AfterSearch:
    """Estimates how long refits and report take once a search has ended."""

    # the full train and test set; the validation set is taken to be as large as the
    # latter
    sets: TrainingSets
    workers: int  # fits at a time
    fits: int = 1  # `export.fits`
    _encoding: dict[Features, float] = field(default_factory=dict)

    def encoding(self, encoder: Features) -> float:
        """Return the seconds to fit an encoder and to encode all rows, without those of
        each fold.
        """
        if encoder not in self._encoding:
            sets, seconds = self.sets, 0.0
            rows = len(sets.train) + len(sets.test)
            for name in sets.features:
                column = sets.train[name]
                if kind_of(column) in NUMERIC:
                    seconds += rows * _PER_NUMBER
                elif (
                    encoder == "text"
                    and (distinct := column.nunique()) > algorithms.FEW_TEXTS
                ):
                    seconds += distinct * rows / len(column) * _PER_LETTERS
                else:
                    seconds += rows * _PER_TEXT
            if encoder == algorithms.STACKED:
                # Where rows are related, each part of them is predicted by forests
                # fitted on the others.
                times = 1 if sets.split.by == "random" else algorithms.PARTS + 1
                trees = 2 * algorithms.TREES * times
                passes = algorithms.forest_passes({"n_estimators": trees}, rows)
                seconds += passes * pass_seconds(rows, len(sets.features), boosts=False)
                seconds += trees * _PER_TREE
            self._encoding[encoder] = seconds
        return self._encoding[encoder]

    def seconds(
        self, fits: Sequence[tuple[Configuration | ModelResult, float]]
    ) -> float:
        """Return the seconds of refits and report, for models whose fits on all train
        rows took these.
        """
        fitted = len(self.sets.train) + sum(
            len(fold.sets.train) for fold in self.sets.folds
        )
        rows = len(self.sets.row_numbers) / max(fitted, 1)
        # The use of features is that of one more, without a fold.
        refits, every, once_more = [0.0], 0.0, bool(self.sets.folds)
        for one, took in fits:
            refits.append(
                rows * took * (_REFIT_OF_BOOSTING if one.algorithm in NAMES else _REFIT)
            )
            every += refits[-1] * (
                algorithms.refit_count(one.algorithm, self.fits) + once_more
            )
        encoding = _ENCODINGS * sum(
            map(self.encoding, {one.features for one, _ in fits})
        )
        # Refits run side by side.
        return max(every / self.workers, *refits) + encoding + _REPORT_SECONDS

    def of(self, members: Sequence[ModelResult]) -> float:
        """Return the same for the members of an ensemble."""
        return self.seconds([(one, fit_seconds(one, self.sets)) for one in members])


class Brake:
    """Decides which fits may start: all until a limit is reached. Threads may
    share it.
    """

    def __init__(
        self,
        budget: Budget,
        now: Callable[[], float],
        after: AfterSearch | None = None,
        metric: str = "",
        reason: str = "",
    ) -> None:
        """Start the clock `now`, in seconds; `reason`: why nothing may start at all."""
        self.seconds = budget.seconds
        self._most_failures, self._failures = budget.failures_in_a_row, 0
        self._worth, self._rung_began = budget.worth, now()
        self._lock = threading.Lock()
        self.now, self._started, self._stopped = now, now(), reason
        self._after, self._metric = after, metric
        # Pace, measured over usual seconds: of a configuration's last fit; an
        # algorithm's least and greatest.
        self._own, self._paces = dict[str, float](), dict[str, tuple[float, float]]()
        self._last = dict[str, ModelResult]()
        # Of the current rung: the configurations, their results so far, how many of
        # these were known before.
        self._rung: Rung | None = None
        self._entered, self._here = dict[str, Configuration](), dict[str, ModelResult]()
        self._known = 0
        # Seconds kept for refit and report; why nothing more starts; key → why that one
        # does not.
        self._reserved, self._spent, self._late = 0.0, "", dict[str, str]()
        self._per_conclusion = 0.0  # seconds to record a stopped one

    @property
    def is_timed(self) -> bool:
        """Whether seconds, or what they are worth, decide what starts."""
        return not self._stopped and (
            self.seconds is not None or self._worth is not None
        )

    @property
    def is_out_of_time(self) -> bool:
        """Whether time alone holds fits back: there is none, or more of it is not worth
        its price.
        """
        return not self._stopped and bool(self._spent or self._late)

    @property
    def _left(self) -> float:
        return (
            math.inf
            if self.seconds is None
            else self.seconds - (self.now() - self._started)
        )

    @property
    def _kept(self) -> float:
        """Seconds kept back for refit and report, and to record configurations that do
        not start.
        """
        record = self._per_conclusion * max(len(self._entered) - len(self._here), 0)
        return min(
            self._reserved + record, (self.seconds or math.inf) * (1 - _LEAST_FOR_FITS)
        )

    def reason_of(self, key: str) -> tuple[str, float | None]:
        """Return why a configuration did not start, and the seconds that it would have
        taken.
        """
        if self._stopped:
            return self._stopped, None
        return self._late.get(key, self._spent), self._needed(key) or None

    def rung_began(
        self,
        rung: Rung,
        entered: Sequence[Configuration],
        found: Mapping[str, ModelResult],
    ) -> None:
        """Give a rung an equal share of the seconds, and what those before it have
        left.
        """
        self._rung, self._spent, self._late, self._here = rung, "", {}, {}
        self._rung_began, self._known = self.now(), len(found)
        self._entered = {one.key: one for one in entered if competes(one) or one.named}
        for result in found.values():
            self.fit_ended(result)

    def were_concluded(self, began: float, count: int) -> None:
        """Learn how long it takes to record a stopped configuration: in Dagster as long
        as a quick fit.
        """
        self._per_conclusion = (self.now() - began) / count if count else 0.0

    def fit_ended(self, result: ModelResult) -> None:
        """Learn from a fit, and reserve the seconds that the best so far need after the
        search.
        """
        if self._rung is None or not competes(result):
            return  # the baseline's fit is all overhead
        self._here[result.key] = result
        if not self.is_timed or self._after is None:
            return
        rung, algorithm = self._rung, result.algorithm
        usual = usual_seconds(result.configuration, rung.sets)
        pace = fit_seconds(result, rung.sets) / max(usual, 1e-9)
        self._own[result.key] = pace
        quickest, slowest = self._paces.get(algorithm, (pace, pace))
        self._paces[algorithm] = min(pace, quickest), max(pace, slowest)
        self._last[result.key] = result
        best = best_first(self._here, self._metric)
        if rung.is_full:
            # As many of the best few, an ensemble's members, as there is time to fit
            # again; at least one.
            endings = [self._ending(*best[:few]) for few in range(_MEMBERS, 0, -1)]
            self._reserved = next(
                (one for one in endings if one <= self._left), endings[-1]
            )
        else:
            in_time = (
                self._ending(k) for k in best if self._needed_in_full(k) <= self._left
            )
            self._reserved = next(in_time, 0.0)

    def with_time(self, missing: Sequence[Configuration]) -> Sequence[Configuration]:
        """Return what there is time to fit, in order: baseline, best so far of each
        kind, best of all, the rest.
        """
        if not self.is_timed:
            return missing
        first = [*self.of_each_kind(self._last), *best_first(self._last, self._metric)]
        place = {key: number for number, key in enumerate(dict.fromkeys(first))}
        ordered = sorted(
            missing, key=lambda one: (competes(one), place.get(one.key, len(place)))
        )
        # Encoders are fitted before the first fit.
        needed = {
            one.key: self._encoded(one.key) + self._needed(one.key) for one in ordered
        }
        return [one for one in ordered if self._affords(one.key, needed[one.key])]

    def beyond(self, left: Sequence[Configuration]) -> list[Configuration]:
        """Return what is fitted although the time is spent: the baseline, and the
        quickest other.
        """
        rivals = sorted(filter(competes, left), key=lambda one: self._needed(one.key))
        return [*(one for one in left if not competes(one)), *rivals[:1]]

    def of_each_kind(self, scored: Mapping[str, ModelResult]) -> list[str]:
        """Return the best of each algorithm and encoder whose fit is quick, best first;
        none without a budget.
        """
        # Few rows favour simple models, and codes over letters. A fold has about as
        # many rows as all.
        if not self.is_timed or self._after is None or self._after.sets.folds:
            return []
        kinds, most = (
            dict[tuple[str, str], str](),
            _SHARE_OF_A_KIND * (self.seconds or math.inf),
        )
        for key in best_first(scored, self._metric):
            if key in self._entered and self._fit(key, self._after.sets) <= most:
                kinds.setdefault((scored[key].algorithm, scored[key].features), key)
        return list(kinds.values())

    def may_go_on(self, scored: Mapping[str, ModelResult]) -> Mapping[str, ModelResult]:
        """Return those that there is time to fit on all rows; all of them if there is
        time for none.
        """
        if not self.is_timed:
            return scored
        found = {
            key: one
            for key, one in scored.items()
            if self._affords(key, self._needed_in_full(key))
        }
        return found or scored

    def may_start(self, key: str = "") -> bool:
        """Whether the fit of a configuration may start now."""
        if self._stopped or self._gains_too_little():
            return False
        if self.seconds is None:
            return True
        for_fits = self.seconds - (kept := self._kept)
        share = 1.0 if self._rung is None else self._rung.number / self._rung.of
        if len(self._here) < min(ENOUGH, len(self._entered)):
            share = max(share, _SHARE_UNTIL_ENOUGH)
        if self.seconds - self._left < share * for_fits:
            return self._affords(key, self._needed(key))
        part = "" if share == 1 else f"{for_fits * share:.3g} of "
        rest = f", {kept:.1f} are kept for refit and report" if kept >= 0.1 else ""
        self._spent = f"{part}the budget of {self.seconds:g} seconds was spent{rest}"
        return False

    def _gains_too_little(self) -> bool:
        """Whether the expected gain of more fits at this rung is below what
        budget.worth requires.
        """
        fits, seconds = len(self._here) - self._known, self.now() - self._rung_began
        if self._worth is None or fits <= 0 or seconds <= 0:
            return False
        sign, window = metric_of(self._metric).sign, self._worth.per_seconds
        scores = np.array([sign * one.test_score for one in list(self._here.values())])
        gain = expected_gain(scores, fits_in_window := window * fits / seconds)
        if gain.high >= self._worth.least_gain:
            return False
        before = scores[: max(len(scores) - round(fits_in_window), 1)]
        realised = np.fmax.reduce(scores) - np.fmax.reduce(before)
        self._spent = (
            f"another {window:g} seconds were expected to gain {gain.estimate:.2g} (at most "
            f"{gain.high:.2g}; the last gained {realised:.2g}), less than budget.worth requires"
        )
        return True

    def saw(self, *, failure: bool) -> None:
        """Count consecutive failures."""
        most = self._most_failures
        with self._lock:
            self._failures = self._failures + 1 if failure else 0
            if most is not None and self._failures >= most:
                self._stopped = (
                    self._stopped or f"{most} configurations in a row had failed"
                )

    def _affords(self, key: str, needed: float) -> bool:
        if needed <= self._left:
            return True
        self._late[key] = (
            "fit, refit and report would have taken longer than what was left of the budget of "
            f"{self.seconds:g} seconds"
        )
        return False

    def _fit(self, key: str, sets: TrainingSets) -> float:
        """Seconds of a fit, at the pace of the configuration's last one, else of its
        algorithm: at the full rung the slowest, or the usual pace; at a small rung the
        quickest, or 0: not known.
        """
        one, full = self._entered[key], self._rung is None or self._rung.is_full
        pace = self._own.get(key, self._paces.get(one.algorithm, (0.0, 1.0))[full])
        return pace * usual_seconds(one, sets)

    def _needed(self, key: str) -> float:
        """Seconds from the start of a fit at this rung to the end of a report; 0: not
        known.
        """
        if self._rung is None or key not in self._entered:
            return 0.0
        fit = _FIT * self._fit(key, self._rung.sets)
        if self._rung.is_full:
            return fit + max(self._ending(key), self._kept)
        # An unknown algorithm may start at a small rung: its first fits measure what
        # larger ones take.
        return fit + self._needed_in_full(key) if fit else 0.0

    def _needed_in_full(self, key: str) -> float:
        """Seconds of encoding and fitting all rows, and what follows to the end of a
        report.
        """
        assert self._after is not None
        return (
            self._encoded(key)
            + _FIT * self._fit(key, self._after.sets)
            + self._ending(key)
        )

    def _encoded(self, key: str) -> float:
        """Seconds to encode all rows, and those of each fold; 0 for the baseline."""
        if (after := self._after) is None or key not in self._entered:
            return 0.0
        return (1 + len(after.sets.folds)) * after.encoding(self._entered[key].features)

    def _ending(self, *keys: str) -> float:
        """Seconds of refits and report of configurations that were fitted on
        all rows.
        """
        assert self._after is not None
        sets = self._after.sets
        return self._after.seconds(
            [(self._entered[k], self._fit(k, sets)) for k in keys]
        )
