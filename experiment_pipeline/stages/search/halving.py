"""The search by successive halving: rung after rung, each decided when it is complete.

The outcome does not depend on the number of workers, on the order of the configurations
or on kills in between. A budget of seconds is the exception, which a note states.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import joblib

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search import rungs
from experiment_pipeline.stages.search.budget import AfterSearch, Brake, room_of
from experiment_pipeline.stages.search.conclusions import (
    NOT_STARTED,
    STOPPED_EARLY,
    Conclusion,
    Event,
    Fitted,
    RungStarted,
    SearchCost,
    SearchNote,
    SearchResults,
    Step,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.progress import Progress
from experiment_pipeline.stages.search.results import (
    ModelResult,
    ModelStore,
    Outcome,
    TrainedModel,
)
from experiment_pipeline.stages.search.rungs import Rung
from experiment_pipeline.stages.search.scoring import scored_as_asked
from experiment_pipeline.stages.search.training_sets import TrainingSets

WRITERS = 4  # of models; each waits for the disk most of the time
MOST_UNHEARD = 32  # models in memory and messages that wait for them
Listener = Callable[[SearchNote | Conclusion], object]
Results = Mapping[str, ModelResult]  # by key


class FitEngine(Protocol):
    """Trains configurations; all engines give the same models, bit for bit."""

    @property
    def workers(self) -> int:
        """Fits at a time, at least 1; it may change while a search runs."""

    def train(
        self,
        configurations: Sequence[Configuration],
        sets: TrainingSets,
        spec: ExperimentSpec,
        brake: Brake | None = None,
    ) -> Generator[Outcome, None, None]:
        """Train configurations, and yield each when it is done; closing cancels the
        fits that wait.

        `brake` is asked before each fit. An error of a fit becomes a
        `FailedConfiguration`; one of memory, disk or network gets a second attempt when
        all others are done.
        """


@dataclass(frozen=True)
class Threads:
    """Threads of this process, one for each fit."""

    workers: int  # fits at a time; one per core is right

    def train(
        self,
        configurations: Sequence[Configuration],
        sets: TrainingSets,
        spec: ExperimentSpec,
        brake: Brake | None = None,
    ) -> Generator[Outcome, None, None]:
        """Train in the pool of `sweep.py`."""
        # A rerun that reuses all results imports nothing that fits.
        from experiment_pipeline.stages.search.sweep import train_configurations

        yield from train_configurations(configurations, sets, spec, self.workers, brake)


def workers_of(spec: ExperimentSpec) -> int:
    """Return the fits at a time on this machine: as declared, or one per core."""
    return spec.workers or joblib.cpu_count()


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """The results of a search, and what it cost."""

    results: SearchResults  # a row for each declared configuration
    cost: SearchCost  # of the fits of this run
    not_asked_for: Sequence[Conclusion]  # declared configurations beside `asked_for`
    # whether a rerun would conclude the same; not where a fit failed by the machine
    is_final: bool


def run_search(
    declared: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    store: ModelStore,
    engine: FitEngine,
    *,
    asked_for: Sequence[Configuration] | None = None,
    earlier: Sequence[Conclusion] | None = None,
    listen: Listener = lambda _: None,
) -> SearchOutcome:
    """Train what is not stored yet, store each model at once, and conclude every
    configuration.

    `asked_for`: what may be trained; None: all. `earlier`: how an earlier run concluded
    these; nothing is trained then. `listen` is given each note and each conclusion.
    TrainingError: every configuration failed.
    """
    asked_for = declared if asked_for is None else asked_for
    running = search(asked_for, sets, spec, store, engine, time.perf_counter)
    if earlier is not None:
        running = (conclusion for conclusion in earlier)
    progress = Progress(spec.metric)
    started = time.perf_counter()
    _listened(running, progress, store, listen)
    cost = progress.cost(time.perf_counter() - started, engine.workers)
    not_asked_for = list[Conclusion]()
    if len(asked_for) < len(declared):
        others = settled(declared, sets, spec, store)
        not_asked_for = [end for end in others if end.key not in progress.concluded]
    concluded = [*not_asked_for, *progress.concluded.values()]
    results = SearchResults.of(declared, concluded, spec.metric, sets.digests)
    return SearchOutcome(results, cost, not_asked_for, _is_final(concluded))


def _listened(
    running: Generator[Event, None, None],
    progress: Progress,
    store: ModelStore,
    listen: Listener,
) -> None:
    """Store each model of a search, and pass on what is to be heard of it.

    Fits do not wait for the disk: a few writers store models, which share its syncs.
    One listener hears all in order, of a model once it is stored.
    """
    started = time.perf_counter()
    heard = deque[Future[Any]]()
    with (
        ThreadPoolExecutor(WRITERS, "store") as writers,
        ThreadPoolExecutor(1, "listen") as listener,
        _interruption_said(progress),
        closing(running) as events,
    ):
        for event in events:
            if isinstance(event, Fitted):
                stored = writers.submit(store.put, event.model)
                heard.append(listener.submit(stored.result))
            elapsed = time.perf_counter() - started
            for message in progress.messages(event, elapsed):
                heard.append(listener.submit(listen, message))
            _await_oldest(heard)
    for passed_on in heard:
        passed_on.result()
    for note in progress.end():
        listen(note)


@contextmanager
def _interruption_said(progress: Progress) -> Iterator[None]:
    """Let an interruption say how far the search got."""
    try:
        yield
    except Exception:
        raise
    except BaseException as interruption:
        interruption.args = (progress.cancelled,)
        raise


def _await_oldest(heard: deque[Future[Any]]) -> None:
    """Take out what has been heard; raise what failed; wait while too much is not."""
    while heard and (len(heard) > MOST_UNHEARD or heard[0].done()):
        heard.popleft().result()


def _is_final(concluded: Sequence[Conclusion]) -> bool:
    failures = [end.failure for end in concluded if end.failure is not None]
    return not any(failure.is_of_the_machine for failure in failures)


def search(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    store: ModelStore,
    engine: FitEngine,
    clock: Callable[[], float],
) -> Generator[Event, None, None]:
    """Search, and conclude each configuration once, after its model (`Fitted`)."""
    after = AfterSearch(sets, engine.workers, spec.export.fits)
    brake = Brake(spec.budget, clock, after, spec.metric)
    if brake.is_timed:
        yield SearchNote(
            "a budget of time: what is trained depends on the speed of the machine"
        )
    running = _HalvingRun(configurations, sets, spec, store, engine, brake)
    yield from running.events(alone=len(configurations) == 1)


def settled(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    store: ModelStore,
) -> tuple[Conclusion, ...]:
    """Conclude what was not asked for: the search on stored results, without a fit."""
    after = AfterSearch(sets, workers=1)
    reason = "not asked for in this run"
    brake = Brake(spec.budget, lambda: 0.0, after, spec.metric, stopped=reason)
    running = _HalvingRun(configurations, sets, spec, store, Threads(1), brake)
    events = running.events(alone=False)
    return tuple(event for event in events if isinstance(event, Conclusion))


@dataclass(frozen=True, eq=False)
class _RungFit:
    rung: Rung
    result: ModelResult
    reused: bool

    @property
    def step(self) -> Step:
        return Step.of(self.result, self.rung.fraction)


class _HalvingRun:
    def __init__(
        self,
        configurations: Sequence[Configuration],
        sets: TrainingSets,
        spec: ExperimentSpec,
        store: ModelStore,
        engine: FitEngine,
        brake: Brake,
    ) -> None:
        self.configurations = {
            configuration.key: configuration for configuration in configurations
        }
        self.sets = sets
        self.spec = spec
        self.store = store
        self.engine = engine
        self.brake = brake
        self.fits = dict[str, list[_RungFit]]()  # by key
        self.stored_in_full = self._stored(sets, configurations)  # by earlier runs
        self.concluded = set[str]()  # keys

    def events(self, *, alone: bool) -> Generator[Event, None, None]:
        """Conclude all: those beyond the budget at once, the others rung by rung."""
        tried = rungs.within_budget([*self.configurations.values()], self.spec)
        yield from self._beyond_budget(tried)
        # The baseline and named configurations are only trained on all rows.
        only_in_full = [entrant for entrant in tried if not rungs.competes(entrant)]
        survivors = [entrant for entrant in tried if rungs.competes(entrant)]
        ladder = self._ladder(survivors, alone=alone)
        yield from map(SearchNote, ladder.notes)
        *small_rungs, full = ladder.rungs
        for rung in small_rungs:
            if self._stops_none(survivors):
                yield SearchNote(f"{rung} is skipped: it would stop no configuration")
            else:
                survivors = yield from self._small_rung(rung, survivors)
        entrants = [*only_in_full, *survivors]
        yield from self._fit(full, entrants)
        for configuration in entrants:
            if configuration.key not in self.concluded:
                yield self._out_of_time(configuration, full)

    def _beyond_budget(
        self, tried: Sequence[Configuration]
    ) -> Generator[Conclusion, None, None]:
        """Conclude what a budget of configurations leaves out."""
        reason = f"the budget is {self.spec.budget.configurations} configurations"
        beyond = dict(self.configurations)
        for configuration in tried:
            del beyond[configuration.key]
        for configuration in beyond.values():
            yield self._not_fitted(configuration, reason)

    def _ladder(
        self, competing: Sequence[Configuration], *, alone: bool
    ) -> rungs.Ladder:
        if alone and self.spec.halving:
            why = "one configuration was asked for: it is trained on all rows"
            return rungs.full_only(self.sets, f"{why}, no halving")
        if all(entrant.key in self.stored_in_full for entrant in competing):
            return rungs.full_only(self.sets)
        room = room_of(self.spec.budget.seconds, competing, self.engine.workers)
        return rungs.ladder(len(competing), self.sets, self.spec, room)

    def _stops_none(self, survivors: Sequence[Configuration]) -> bool:
        """Whether a small rung would stop none of those that time has left."""
        if not (self.brake.is_timed and self.spec.halving):
            return False
        kept = rungs.promotes(len(survivors), self.spec.halving.keep)
        return kept >= len(survivors)

    def _small_rung(
        self, rung: Rung, entrants: Sequence[Configuration]
    ) -> Generator[Event, None, list[Configuration]]:
        """Fit the entrants on a part of the rows; return those that go on, best first.

        Under a budget of seconds, the best of each kind come before all others.
        """
        results = yield from self._fit(rung, entrants)
        affordable = self.brake.affordable(results)
        promotes = rung.promotes
        # When time ran out before all were scored, only that share of the scored ones
        # goes on. To the last rung as many as usual go on: there the best start first,
        # until time runs out.
        if self.brake.is_out_of_time and rung.number + 1 < rung.last:
            assert self.spec.halving
            share = rungs.promotes(len(results), self.spec.halving.keep)
            promotes = min(promotes, share)
        best = rungs.best_first(affordable, self.spec.metric)[:promotes]
        of_each_kind = self.brake.best_of_each_kind(affordable, results)
        promoted = dict.fromkeys([*of_each_kind, *best])
        if rung.number > 1:
            # Those that an earlier rung promoted and time ran out for go on behind.
            promoted |= dict.fromkeys(self._unscored(entrants, results))
        compared = f"{len(affordable)}"
        if len(affordable) < len(results):
            compared += " that there was time to fit on all rows,"
        place = f"not among the best {promotes} of {compared} at {rung}"
        done = promoted.keys() | self.concluded
        for configuration in entrants:
            if configuration.key in done:
                continue
            if configuration.key in affordable:
                yield self._not_fitted(configuration, place)
            else:
                yield self._out_of_time(configuration, rung)
        return [self.configurations[key] for key in promoted]

    def _unscored(
        self, entrants: Sequence[Configuration], results: Results
    ) -> list[str]:
        """The keys of those that a rung has neither scored nor seen fail."""
        done = results.keys() | self.concluded
        return [entrant.key for entrant in entrants if entrant.key not in done]

    def _fit(
        self, rung: Rung, entrants: Sequence[Configuration]
    ) -> Generator[Event, None, Results]:
        """Fit what is not stored at this rung; return the results of all."""
        stored = self._stored(rung.sets, entrants)
        yield RungStarted(rung, len(entrants), stored)
        self.brake.rung_began(rung, entrants, stored)
        for result in stored.values():
            yield from self._fitted(_RungFit(rung, result, reused=True))
        untried = [entrant for entrant in entrants if entrant.key not in stored]
        if self.brake.is_timed:
            trained = yield from self._train_in_time(rung, untried)
        else:
            startable = self.brake.startable(untried)
            trained = yield from self._train(rung, startable, self.brake)
        results = {**stored, **trained}
        scored = [*results.values(), *self.stored_in_full.values()]
        if self.brake.is_out_of_time and not any(map(rungs.competes, scored)):
            # A search without a model is worthless: the baseline and the quickest other
            # exceed the time.
            untried = self._untried(untried, trained)
            results |= yield from self._train(rung, self.brake.beyond(untried), None)
        return results

    def _train_in_time(
        self, rung: Rung, untried: Sequence[Configuration]
    ) -> Generator[Event, None, Results]:
        """Train what there is time for, and ask again for what was refused: fits that
        have ended show how long the others take.
        """
        results = dict[str, ModelResult]()
        while startable := self.brake.startable(untried):
            trained = yield from self._train(rung, startable, self.brake)
            if not trained:
                break
            results |= trained
            untried = self._untried(untried, trained)
        return results

    def _untried(
        self, configurations: Sequence[Configuration], trained: Results
    ) -> list[Configuration]:
        """Those that were neither trained nor concluded."""
        tried = trained.keys() | self.concluded
        return [entrant for entrant in configurations if entrant.key not in tried]

    def _train(
        self,
        rung: Rung,
        configurations: Sequence[Configuration],
        brake: Brake | None,
    ) -> Generator[Event, None, Results]:
        """Train configurations at a rung, and return their results."""
        results = dict[str, ModelResult]()
        if not configurations:  # nothing that fits is imported
            return results
        spec = self._spec(rung.sets)
        running = self.engine.train(configurations, rung.sets, spec, brake)
        with closing(running) as outcomes:
            for outcome in outcomes:
                key = outcome.key
                if isinstance(outcome, TrainedModel):
                    results[key] = outcome.result
                    yield Fitted(rung, outcome)
                    yield from self._fitted(
                        _RungFit(rung, outcome.result, reused=False)
                    )
                    self.brake.fit_ended(outcome.result)
                # A stored model of all rows counts even if its fit at a small rung
                # fails.
                elif key not in self.stored_in_full:
                    self.concluded.add(key)
                    algorithm = self.configurations[key].algorithm
                    yield Conclusion.failed(algorithm, outcome, rung, self._path(key))
        return results

    def _fitted(self, fit: _RungFit) -> Generator[Conclusion, None, None]:
        """Add a fit; on all rows it concludes its configuration."""
        key = fit.result.key
        if fit.rung.is_full:
            self.concluded.add(key)
            yield Conclusion.trained(
                fit.result, reused=fit.reused, before=self._path(key)
            )
        self.fits.setdefault(key, []).append(fit)

    def _out_of_time(self, configuration: Configuration, rung: Rung) -> Conclusion:
        """Conclude a configuration whose next fit may not start."""
        reason, needed_seconds = self.brake.reason_of(configuration.key)
        fits = self.fits.get(configuration.key)
        if fits:
            where = "after" if fits[-1].rung is rung else "before"
            reason = f"{reason}, {where} {rung}"
        return self._not_fitted(configuration, reason, needed_seconds)

    def _not_fitted(
        self,
        configuration: Configuration,
        reason: str,
        needed_seconds: float | None = None,
    ) -> Conclusion:
        """Conclude a configuration that this run does not train on all rows."""
        key, algorithm = configuration.key, configuration.algorithm
        if key in self.stored_in_full:
            # It was trained on all rows before, in a smaller search or by itself.
            return Conclusion.trained(
                self.stored_in_full[key], reused=True, before=self._path(key)
            )
        if key not in self.fits:
            return Conclusion(
                key, algorithm, NOT_STARTED, reason, needed_seconds=needed_seconds
            )
        last = self.fits[key][-1]
        return Conclusion(
            key,
            algorithm,
            STOPPED_EARLY,
            reason,
            last.result,
            last.rung.fraction,
            last.reused,
            path=self._path(key),
            needed_seconds=needed_seconds,
        )

    def _path(self, key: str) -> tuple[Step, ...]:
        return tuple(fit.step for fit in self.fits.get(key, ()))

    def _stored(
        self, sets: TrainingSets, configurations: Sequence[Configuration]
    ) -> Results:
        """The stored results on these sets, under the configurations' present keys."""
        spec = self._spec(sets)
        prints = {
            configuration.key: fingerprint(configuration, sets, spec)
            for configuration in configurations
        }
        results = scored_as_asked(self.store, [*prints.values()], sets, spec)
        return {
            key: replace(results[print_], key=key)
            for key, print_ in prints.items()
            if print_ in results
        }

    def _spec(self, sets: TrainingSets) -> ExperimentSpec:
        """The experiment; at small rungs with one uncalibrated fit each."""
        return self.spec if sets is self.sets else self.spec.plain
