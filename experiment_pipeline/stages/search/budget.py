"""The limit of a search: its seconds.

The seconds are those of the whole run: search, refit and report share what is left of
them. Estimates only decide which fits start; they never change a result.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from experiment_pipeline.spec import Budget, Features, algorithms
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners.hyperparameters import (
    NAMES,
    estimated_cost,
)
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.rungs import (
    ENOUGH_COMPARED,
    Kind,
    Room,
    Rung,
    best_first,
    competes,
    kind,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.table.kinds import NUMERIC, kind_of

# The time model. Work is counted in passes over a column (measured on 565 to 90,000
# rows); everything that is measured or estimated so may take SAFETY times as long: what
# small rungs took overstates larger fits already (with 16 times the rows, LightGBM's
# pace was .8 of theirs, that of forests .5).
SECONDS_PER_PASS = 1e-9  # a row
SAFETY = 1.2
REPORT_SECONDS = 2.5  # imports, evaluation and plots
# On an idle machine a run reserves them, with the report's. An export takes 2.9 to 4,
# a report and the leaderboard 2.5 to 5; the last second of a process is its exit.
EXPORT_SECONDS = 3.0

# A pass of boosting also scans a column's bins, which costs as much as so many times
# its rows, at most 2,000. A pass of other algorithms costs as much as 3.5 of them.
_BINS = 10
_MOST_ROWS_OF_BINS = 2_000
_OF_OTHERS = 3.5
_UNKNOWN_PASSES = 100  # of an algorithm whose work is not known
_PASSES_PER_NUMBER = 100  # to encode it
_PASSES_PER_TEXT = 1_500
_PASSES_PER_LETTER = 700  # to make n-grams
_ENCODINGS = 2.5  # after the search: of a refit, and of two fits that only predict
_MEMBERS = 5  # of an ensemble, each of which is fitted again
_MOST_BUSY = 4.0  # longer waits are not those of a shared machine
# Short fits also wait for the imports and encoders of their own process: they count
# beside so many seconds without a wait.
_WITHOUT_WAIT = 1.0

# In every reason for which the seconds of a budget leave a configuration out.
_OF_SECONDS = "the {:g} seconds for search, refit and report"
# Shares of the seconds.
_LEAST_FOR_FITS = 0.4  # however long refit and report take
_UNTIL_ENOUGH = 0.6  # of these, for a small rung until enough are compared
_LONGEST_OF_A_KIND = 1 / 16  # a full fit for which the best of a kind goes on
# At a small rung an algorithm without a fit so far may be so quick: what even then has
# no time on all rows does not begin on a few.
_LEAST_PACE = 0.25
_MORE_FOR_THE_BEST = 1 / 4  # than the quickest needs, where there is time for none


def lacks_seconds(reason: str) -> bool:
    """Whether a configuration has this reason for want of more seconds."""
    before, after = _OF_SECONDS.split("{:g}")
    return before in reason and after in reason


def fit_seconds(result: ModelResult, sets: TrainingSets) -> float:
    """Return how long a fit took with its predictions of the test rows."""
    return result.fit_wall_seconds + result.predict_seconds_per_row * len(sets.test)


def pass_seconds(rows: int, features: float, *, boosts: bool = True) -> float:
    """Estimate the seconds of a pass over the rows; `boosts`: by a boosting library."""
    rows_read = _OF_OTHERS * rows
    if boosts:
        rows_read = rows + _BINS * min(rows, _MOST_ROWS_OF_BINS)
    return SECONDS_PER_PASS * features * rows_read


def usual_seconds(configuration: Configuration, sets: TrainingSets) -> float:
    """Estimate, before any fit, the seconds of all fits of a configuration."""
    return sum(
        _seconds_on(len(part.train), configuration, sets)
        for part in (sets, *(fold.sets for fold in sets.folds))
    )


def _seconds_on(rows: int, configuration: Configuration, sets: TrainingSets) -> float:
    """Estimate the seconds of one fit on so many rows."""
    passes = estimated_cost(configuration, rows, len(sets.classes or ()))
    if math.isinf(passes):
        passes = _UNKNOWN_PASSES
    boosts = configuration.algorithm in NAMES
    columns = encoded_columns(configuration.features, sets)
    seconds = passes * pass_seconds(rows, columns, boosts=boosts)
    if configuration.features == algorithms.NGRAMS:
        # Each hash has a coefficient, however few the rows are.
        hashes = algorithms.MOST_HASHES * len(sets.letters)
        seconds += passes * pass_seconds(1, hashes, boosts=False)
    return seconds


def encoded_columns(encoder: Features, sets: TrainingSets) -> float:
    """Return how many columns a fit reads: n-grams make many of one of texts, of which
    a row has about as many as letters.
    """
    columns = float(len(sets.features))
    if encoder == "text":
        columns += sum(
            min(sets.distinct_texts[name], algorithms.NUMBERS_OF_TEXTS)
            for name in sets.letters
        )
    elif encoder == algorithms.NGRAMS:
        columns += sum(sets.letters.values())
    return columns


def room_of(
    seconds: float | None, configurations: Sequence[Configuration], workers: int
) -> Room:
    """Return sets → an estimate of how many configurations there is time to fit."""

    def room(sets: TrainingSets) -> float:
        if seconds is None:
            return math.inf
        usual = sum(
            usual_seconds(configuration, sets) for configuration in configurations
        )
        return seconds * workers * len(configurations) / max(usual, 1e-9)

    return room


@dataclass(frozen=True)
class AfterSearch:
    """Estimates how long refits and report take once a search has ended."""

    # the full train and test set; the validation set is taken to be as large as the
    # latter
    sets: TrainingSets
    workers: int  # fits at a time
    fits: int = 1  # `export.fits`; 0: neither refits nor a report follow
    _encoding: dict[Features, float] = field(default_factory=dict)

    def encoding(self, encoder: Features) -> float:
        """Return the seconds to fit an encoder and encode all rows, folds aside."""
        if encoder not in self._encoding:
            rows = len(self.sets.train) + len(self.sets.test)
            seconds = SECONDS_PER_PASS * rows * self._column_passes(encoder)
            if encoder == algorithms.STACKED:
                seconds += self._stacking(rows)
            self._encoding[encoder] = seconds
        return self._encoding[encoder]

    def _column_passes(self, encoder: Features) -> float:
        """The passes to encode each column once, summed."""
        passes = 0.0
        for name in self.sets.features:
            if kind_of(self.sets.train[name]) in NUMERIC:
                passes += _PASSES_PER_NUMBER
                continue
            passes += _PASSES_PER_TEXT
            if encoder in ("text", algorithms.NGRAMS):
                passes += _PASSES_PER_LETTER * self.sets.letters.get(name, 0.0)
        return passes

    def _stacking(self, rows: int) -> float:
        """The seconds of two forests. Where rows are related, each part of them is
        predicted by forests fitted on the others.
        """
        times = 1 if self.sets.split.by == "random" else algorithms.PARTS + 1
        trees = 2 * algorithms.TREES * times
        passes = algorithms.forest_passes({"n_estimators": trees}, rows)
        return passes * pass_seconds(rows, len(self.sets.features), boosts=False)

    def seconds(
        self,
        fits: Sequence[tuple[Configuration | ModelResult, float]],
        busy: float = 1.0,
    ) -> float:
        """Return the seconds of refits and report, of models whose fits took these.

        `busy`: how many times as long as on an idle machine all work takes.
        """
        if self.fits == 0:
            return 0.0
        folds = self.sets.folds
        longest = total = 0.0
        for model, seconds in fits:
            refit = SAFETY * self._more_work(model) * seconds
            longest = max(longest, refit)
            total += refit * algorithms.refit_count(model.algorithm, self.fits)
            if folds:  # the use of features is that of one more fit
                total += refit
        encoders = {model.features for model, _ in fits}
        encoding = _ENCODINGS * sum(map(self.encoding, encoders))
        # Refits run side by side.
        refits = max(total / self.workers, longest)
        # The run has reserved the export of an idle machine.
        export = (busy - 1) * EXPORT_SECONDS
        return refits + busy * (encoding + REPORT_SECONDS) + export

    def _more_work(self, model: Configuration | ModelResult) -> float:
        """The work of a refit, on all rows, as a multiple of that of the fits."""
        is_fitted = isinstance(model, ModelResult)
        configuration = model.configuration if is_fitted else model
        refit = _seconds_on(len(self.sets.row_numbers), configuration, self.sets)
        return refit / max(usual_seconds(configuration, self.sets), 1e-9)

    def of(self, members: Sequence[ModelResult]) -> float:
        """Return the same for the members of an ensemble."""
        fits = [(result, fit_seconds(result, self.sets)) for result in members]
        wall_seconds = sum(result.fit_wall_seconds for result in members)
        cpu_seconds = sum(result.fit_cpu_seconds for result in members)
        return self.seconds(fits, busyness(wall_seconds, cpu_seconds))


def busyness(wall_seconds: float, cpu_seconds: float) -> float:
    """Return how many times as long as its CPU seconds a fit takes: others use the
    machine, too.
    """
    ratio = (wall_seconds + _WITHOUT_WAIT) / (cpu_seconds + _WITHOUT_WAIT)
    return min(max(ratio, 1.0), _MOST_BUSY)


@dataclass
class Paces:
    """How long fits took, as multiples of their `usual_seconds`."""

    last: dict[str, float] = field(default_factory=dict)  # by key
    quickest: dict[str, float] = field(default_factory=dict)  # by algorithm
    slowest: dict[str, float] = field(default_factory=dict)
    wall_seconds: float = 0.0  # of all fits
    cpu_seconds: float = 0.0

    @property
    def busy(self) -> float:
        """As of `busyness`, over all fits."""
        return busyness(self.wall_seconds, self.cpu_seconds)

    def learn(self, result: ModelResult, sets: TrainingSets) -> None:
        """Take a fit on these sets into account."""
        self.wall_seconds += result.fit_wall_seconds
        self.cpu_seconds += result.fit_cpu_seconds
        usual = usual_seconds(result.configuration, sets)
        pace = fit_seconds(result, sets) / max(usual, 1e-9)
        algorithm = result.algorithm
        self.last[result.key] = pace
        self.quickest[algorithm] = min(pace, self.quickest.get(algorithm, pace))
        self.slowest[algorithm] = max(pace, self.slowest.get(algorithm, pace))

    def of(self, configuration: Configuration, *, at_full: bool) -> float:
        """Return the pace of the configuration's last fit, else of its algorithm.

        At the full rung that is the slowest, or that of the busy machine; at a small
        rung the quickest, or the least that is likely.
        """
        if configuration.key in self.last:
            return self.last[configuration.key]
        if at_full:
            return self.slowest.get(configuration.algorithm, self.busy)
        return self.quickest.get(configuration.algorithm, _LEAST_PACE)


@dataclass
class _AtRung:
    """What a brake knows of the current rung."""

    rung: Rung
    entrants: dict[str, Configuration]  # by key, without the baseline
    results: dict[str, ModelResult] = field(default_factory=dict)
    spent: str = ""  # why no more fits start
    too_long: dict[str, float] = field(default_factory=dict)  # key → seconds it needs


class Brake:
    """Decides which fits may start: all until a limit is reached. Threads may share
    it.

    Every rung has an equal share of the seconds, and what those before it have left.
    """

    def __init__(
        self,
        budget: Budget,
        clock: Callable[[], float],
        after: AfterSearch,
        metric: str,
        stopped: str = "",
    ) -> None:
        """Start; `clock` gives seconds, `stopped` why nothing may start at all."""
        self.budget = budget
        self.seconds = math.inf if budget.seconds is None else budget.seconds
        self.clock = clock
        self.started = clock()
        self.after = after
        self.metric = metric
        self.stopped = stopped
        self.paces = Paces()
        self.reserved = 0.0  # seconds for refit and report of the best so far
        self.at: _AtRung

    @property
    def is_timed(self) -> bool:
        """Whether seconds decide what starts."""
        return not self.stopped and self.budget.seconds is not None

    @property
    def is_out_of_time(self) -> bool:
        """Whether time alone holds fits back at this rung."""
        return not self.stopped and bool(self.at.spent or self.at.too_long)

    @property
    def seconds_left(self) -> float:
        """The seconds until refit and report must have ended."""
        return self.seconds - (self.clock() - self.started)

    def rung_began(
        self,
        rung: Rung,
        entrants: Sequence[Configuration],
        stored: Mapping[str, ModelResult],
    ) -> None:
        """Begin a rung; `stored`: key → result of an earlier run."""
        by_key = {
            entrant.key: entrant
            for entrant in entrants
            if competes(entrant) or entrant.named
        }
        self.at = _AtRung(rung, by_key)
        for result in stored.values():
            self.fit_ended(result)

    def fit_ended(self, result: ModelResult) -> None:
        """Learn from a fit; reserve the seconds that the best need after the search."""
        if not (self.is_timed and competes(result)):
            return  # the baseline's fit is all overhead
        self.at.results[result.key] = result
        self.paces.learn(result, self.at.rung.sets)
        best = best_first(self.at.results, self.metric)
        if self.at.rung.is_full:
            # As many members of an ensemble as there is time to fit again.
            refitted = [best[:members] for members in range(_MEMBERS, 0, -1)]
        else:
            refitted = [[key] for key in best]
        endings = map(self._ending, refitted)
        in_time = (seconds for seconds in endings if seconds <= self.seconds_left)
        self.reserved = next(in_time, self._ending(best[:1]))

    def startable(self, missing: Sequence[Configuration]) -> Sequence[Configuration]:
        """Return what there is time to fit, with the encoders, fitted first."""
        if not self.is_timed:
            return () if self.stopped else missing
        if not self._rung_has_time():
            return ()
        if self.at.rung.is_full:
            return self._startable_in_full(missing)
        return [
            configuration
            for configuration in missing
            if self._affords(
                configuration.key,
                self._encoded(configuration.key) + self._needed(configuration.key),
            )
        ]

    def _startable_in_full(
        self, missing: Sequence[Configuration]
    ) -> Sequence[Configuration]:
        """On all rows the encoders of the others must leave the first its time."""
        in_time = list[Configuration]()
        # Encoder → the seconds to encode all rows.
        encoders = dict[Features, float]()
        first = 0.0  # what the first of them needs once all rows are encoded
        for configuration in missing:
            key = configuration.key
            encoding = {**encoders, configuration.features: self._encoded(key)}
            needed = self._needed(key)
            if self._affords(key, sum(encoding.values()) + max(needed, first)):
                in_time.append(configuration)
                encoders = encoding
                first = first or needed
        return in_time

    def may_start(self, key: str) -> bool:
        """Whether the fit of a configuration may start now."""
        if not self.is_timed:
            return not self.stopped
        return self._rung_has_time() and self._affords(key, self._needed(key))

    def affordable(
        self, results: Mapping[str, ModelResult]
    ) -> Mapping[str, ModelResult]:
        """Return those that there is time to fit on all rows; all, if for none."""
        if not self.is_timed:
            return results
        in_time = {
            key: result
            for key, result in results.items()
            if self._affords(key, self._needed_in_full(key))
        }
        return in_time or results

    def best_of_each_kind(
        self, affordable: Mapping[str, ModelResult], results: Mapping[str, ModelResult]
    ) -> list[str]:
        """Return the best quick fit of each algorithm and encoder, best first.

        The best of all `results` is never dropped whole: if there is no time to fit it
        on all rows, the best of its kind for which there is goes on, else the best with
        its encoder.
        """
        # Few rows favour simple models, and codes over n-grams. A fold has about as
        # many rows as all.
        if not self.is_timed or self.after.sets.folds:
            return []
        longest = _LONGEST_OF_A_KIND * self.seconds
        best = dict[Kind, str]()
        ordered = best_first(affordable, self.metric)
        for key in ordered:
            if key in self.at.entrants and self._fit(key, self.after.sets) <= longest:
                best.setdefault(kind(affordable[key]), key)
        chosen = {*best.values(), *self._instead_of_the_best(ordered, results)}
        return [key for key in ordered if key in chosen]

    def _instead_of_the_best(
        self, ordered: Sequence[str], results: Mapping[str, ModelResult]
    ) -> list[str]:
        """The first in order of the kind of the best result, else with its encoder."""
        if not ordered:
            return []
        best = results[best_first(results, self.metric)[0]]
        of_kind = [key for key in ordered if kind(results[key]) == kind(best)]
        alike = [key for key in ordered if results[key].features == best.features]
        return (of_kind or alike)[:1]

    def beyond(self, missing: Sequence[Configuration]) -> list[Configuration]:
        """Return what is fitted beyond the time: the baseline, and of the others, best
        first, the first that is hardly slower than the quickest.
        """
        baseline = [entrant for entrant in missing if not competes(entrant)]
        needed = {
            entrant.key: self._needed(entrant.key)
            for entrant in filter(competes, missing)
        }
        longest = min(needed.values(), default=0.0) + _MORE_FOR_THE_BEST * self.seconds
        rivals = [
            entrant
            for entrant in missing
            if needed.get(entrant.key, math.inf) <= longest
        ]
        return [*baseline, *rivals[:1]]

    def reason_of(self, key: str) -> tuple[str, float | None]:
        """Return why a configuration did not start, and the seconds that it needs."""
        if self.stopped:
            return self.stopped, None
        if key not in self.at.too_long:
            return self.at.spent, self._needed(key) or None
        reason = (
            "fit, refit and report would have taken longer than what was left of "
            f"{self._of_seconds}"
        )
        return reason, self.at.too_long[key]

    @property
    def _of_seconds(self) -> str:
        return _OF_SECONDS.format(self.seconds)

    def _rung_has_time(self) -> bool:
        """Whether any fit of this rung may start, by its share of the seconds."""
        rung, reserved = self.at.rung, self._kept_back
        for_fits = self.seconds - reserved
        share = rung.number / rung.last
        if len(self.at.results) < min(ENOUGH_COMPARED, len(self.at.entrants)):
            share = max(share, _UNTIL_ENOUGH)
        if self.clock() - self.started < share * for_fits:
            return True
        self.at.spent = f"{for_fits * share:.3g} of {self._of_seconds} were spent"
        if reserved >= 0.1:
            self.at.spent += f", {reserved:.1f} are kept for refit and report"
        return False

    def _affords(self, key: str, needed: float) -> bool:
        if needed <= self.seconds_left:
            return True
        self.at.too_long[key] = needed
        return False

    @property
    def _kept_back(self) -> float:
        """Seconds for refit and report, as far as fits have their least share."""
        return min(self.reserved, self.seconds * (1 - _LEAST_FOR_FITS))

    def _fit(self, key: str, sets: TrainingSets) -> float:
        """Seconds of a fit on these sets."""
        configuration = self.at.entrants[key]
        pace = self.paces.of(configuration, at_full=self.at.rung.is_full)
        return pace * usual_seconds(configuration, sets)

    def _needed(self, key: str) -> float:
        """Seconds from a fit at this rung to the end of a report."""
        if key not in self.at.entrants:
            return 0.0
        fit = SAFETY * self._fit(key, self.at.rung.sets)
        if self.at.rung.is_full:
            return fit + max(self._ending([key]), self._kept_back)
        return fit + self._needed_in_full(key)

    def _needed_in_full(self, key: str) -> float:
        """Seconds from encoding all rows to the end of a report."""
        fit = SAFETY * self._fit(key, self.after.sets)
        return self._encoded(key) + fit + self._ending([key])

    def _encoded(self, key: str) -> float:
        """Seconds to encode all rows, and those of each fold; 0 for the baseline."""
        if key not in self.at.entrants:
            return 0.0
        once = self.paces.busy * self.after.encoding(self.at.entrants[key].features)
        return (1 + len(self.after.sets.folds)) * once

    def _ending(self, keys: Sequence[str]) -> float:
        """Seconds of refits and report of configurations fitted on all rows."""
        sets = self.after.sets
        fits = [(self.at.entrants[key], self._fit(key, sets)) for key in keys]
        return self.after.seconds(fits, self.paces.busy)
