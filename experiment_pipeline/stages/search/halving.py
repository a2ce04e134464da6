"""The search by successive halving: rung after rung, each decided when it is complete.

The outcome does not depend on the number of workers, on the order of the configurations
or on kills in between. Budgets of seconds and of failures are the exception, which a
note states.
"""

import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Protocol

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
from experiment_pipeline.stages.search.scoring import scored_as_asked
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage.processes import peak_memory_bytes

Listener = Callable[[SearchNote | Conclusion], object]


class FitEngine(Protocol):
    """Trains configurations somewhere: all engines give the same models, bit
    for bit.
    """

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
        # A rerun that finds everything known imports nothing that fits.
        from experiment_pipeline.stages.search.sweep import train_configurations

        yield from train_configurations(configurations, sets, spec, self.workers, brake)


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """What a search has found."""

    results: SearchResults  # a row for each declared configuration
    cost: SearchCost  # of the fits of this run
    not_asked_for: Sequence[Conclusion]  # declared configurations beside `asked_for`


def run_search(
    declared: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    store: ModelStore,
    engine: FitEngine,
    *,
    asked_for: Sequence[Configuration] | None = None,
    listen: Listener = lambda _: None,
) -> SearchOutcome:
    """Train what is not stored yet, store each model at once, and conclude every
    configuration.

    `asked_for`: what may be trained; None: all. `listen` is given each note and each
    conclusion.
    TrainingError: every configuration failed.
    """
    asked_for = declared if asked_for is None else asked_for
    progress, started = Progress(spec.metric), time.perf_counter()
    try:
        with closing(
            search(asked_for, sets, spec, store, engine, time.perf_counter)
        ) as events:
            for event in events:
                if isinstance(event, Fitted):
                    store.put(event.model)
                for note in progress.notes(event, time.perf_counter() - started):
                    listen(note)
                if isinstance(event, Conclusion):
                    listen(event)
    except BaseException as error:
        if not isinstance(error, Exception):  # an interruption
            error.args = (progress.cancelled,)
        raise
    for note in progress.end() if asked_for else ():
        listen(note)
    fits, seconds = progress.fitted, time.perf_counter() - started
    cost = SearchCost(
        fits=len(fits),
        fit_cpu_seconds=sum(one.fit_cpu_seconds for one in fits),
        wall_seconds=seconds,
        fitting_share=sum(one.fit_wall_seconds for one in fits)
        / (seconds * engine.workers),
        peak_memory_bytes=peak_memory_bytes(),
    )
    others = (
        () if len(asked_for) == len(declared) else settled(declared, sets, spec, store)
    )
    others = tuple(one for one in others if one.key not in progress.concluded)
    concluded = [*others, *progress.concluded.values()]
    results = SearchResults.of(declared, concluded, spec.metric, sets.digests)
    return SearchOutcome(results, cost, others)


def search(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    known: ModelStore,
    engine: FitEngine,
    now: Callable[[], float],
) -> Generator[Event, None, None]:
    """Search the best of the configurations; conclude each exactly once, after its
    model (`Fitted`).
    """
    if spec.budget.worth or (seconds := spec.budget.seconds) is not None:
        what = (
            "budget.worth" if spec.budget.worth else f"a budget of {seconds:g} seconds"
        )
        yield SearchNote(f"{what}: what is trained depends on the speed of the machine")
    if spec.budget.failures_in_a_row is not None and engine.workers > 1:
        yield SearchNote(
            "a budget of failures in a row: with several workers it depends on timing"
        )
    after = AfterSearch(sets, engine.workers, spec.export.fits)
    run = _HalvingRun(
        sets, spec, known, engine, Brake(spec.budget, now, after, spec.metric)
    )
    yield from run.events(configurations, alone=len(configurations) == 1)


def settled(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    known: ModelStore,
) -> tuple[Conclusion, ...]:
    """Conclude configurations that were not asked for: the search on stored results,
    without a fit.
    """
    brake = Brake(spec.budget, lambda: 0.0, reason="not asked for in this run")
    events = _HalvingRun(sets, spec, known, Threads(1), brake).events(
        configurations, alone=False
    )
    return tuple(event for event in events if isinstance(event, Conclusion))


@dataclass(frozen=True, eq=False)
class _RungFit:
    rung: rungs.Rung
    result: ModelResult
    reused: bool


@dataclass
class _HalvingRun:
    sets: TrainingSets
    spec: ExperimentSpec
    known: ModelStore
    engine: FitEngine
    brake: Brake
    fits: dict[str, list[_RungFit]] = field(default_factory=dict)
    in_full: dict[str, ModelResult] = field(default_factory=dict)

    def events(
        self, configurations: Sequence[Configuration], *, alone: bool
    ) -> Generator[Event, None, None]:
        """Conclude every configuration: those beyond the budget at once, the others
        rung by rung.
        """
        tried = rungs.within_budget(configurations, self.spec)
        keys = {one.key for one in tried}
        left_out = [one for one in configurations if one.key not in keys]
        stored = self._known_in(self.sets, left_out)
        for one in left_out:
            if one.key in stored:
                yield Conclusion.trained(stored[one.key], reused=True)
            else:
                reason = (
                    f"the budget is {self.spec.budget.configurations} configurations"
                )
                yield Conclusion(one.key, one.algorithm, NOT_STARTED, reason)
        self.in_full = self._known_in(self.sets, tried)
        still_in = {one.key for one in tried if rungs.competes(one)}
        if alone and self.spec.halving:
            why = (
                "one configuration was asked for: it is trained on all rows, no halving"
            )
            steps = rungs.full_only(self.sets, why)
        elif still_in <= self.in_full.keys():
            steps = rungs.full_only(self.sets)
        else:
            competing = [one for one in tried if rungs.competes(one)]
            room = room_of(self.spec.budget.seconds, competing, self.engine.workers)
            steps = rungs.ladder(len(still_in), self.sets, self.spec, room)
        yield from map(SearchNote, steps.notes)
        for rung in steps.rungs:
            if self.brake.is_timed and not rung.is_full and len(still_in) <= rung.kept:
                yield SearchNote(f"{rung} is skipped: it would stop no configuration")
                continue
            # The baseline and named configurations are only trained on all rows.
            entered = [
                one
                for one in tried
                if one.key in still_in or (rung.is_full and not rungs.competes(one))
            ]
            done = yield from self._climb(rung, entered)
            here = {
                one.key: self.fits[one.key][-1]
                for one in entered
                if one.key in self.fits
            }
            scored = {
                key: last.result for key, last in here.items() if last.rung is rung
            }
            may_go_on = scored if rung.is_full else self.brake.may_go_on(scored)
            kept = rung.kept
            # When time ran out before all were scored, only that share of the scored
            # ones goes on. To the last rung as many as usual go on: there the best
            # start first, until time runs out.
            if (
                self.spec.halving
                and self.brake.is_out_of_time
                and rung.number + 1 < rung.of
            ):
                part = math.ceil(len(scored) * self.spec.halving.keep)
                kept = min(kept, max(part, rungs.FEWEST_KEPT))
            best = rungs.best_first(may_go_on, self.spec.metric)[:kept]
            still_in = {*best, *self.brake.of_each_kind(may_go_on)}
            place = f"not among the best {kept} of {len(entered)} at {rung}"
            stopped = [one for one in entered if one.key not in done | still_in]
            began = self.brake.now()
            for one in stopped:
                yield self._stopped(one, rung, place)
            self.brake.were_concluded(
                began, sum(one.key in self.fits for one in stopped)
            )

    def _climb(
        self, rung: rungs.Rung, entered: Sequence[Configuration]
    ) -> Generator[Event, None, set[str]]:
        """Fit what is not known at this rung; return the keys that are
        concluded by it.
        """
        algorithms = {one.key: one.algorithm for one in entered}
        found = self._known_in(rung.sets, entered)
        yield RungStarted(rung, len(entered), found)
        self.brake.rung_began(rung, entered, found)
        done = set()
        for result in found.values():
            yield from self._keep(_RungFit(rung, result, reused=True))
        missing = [one for one in entered if one.key not in found]
        with closing(self._outcomes(missing, found, rung)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, TrainedModel):
                    yield Fitted(rung, outcome)
                    yield from self._keep(_RungFit(rung, outcome.result, reused=False))
                    self.brake.fit_ended(outcome.result)
                # A stored model of all rows counts even if its fit at a small rung
                # fails.
                elif outcome.key not in self.in_full:
                    done.add(outcome.key)
                    path = self._path(outcome.key)
                    yield Conclusion.failed(
                        algorithms[outcome.key], outcome, rung, path
                    )
        return done | {key for key, fits in self.fits.items() if fits[-1].rung.is_full}

    def _keep(self, fit: _RungFit) -> Iterable[Conclusion]:
        """Remember a fit; on all rows it concludes its configuration."""
        key = fit.result.key
        if fit.rung.is_full:
            yield Conclusion.trained(
                fit.result, reused=fit.reused, before=self._path(key)
            )
        self.fits.setdefault(key, []).append(fit)

    def _outcomes(
        self,
        missing: Sequence[Configuration],
        found: Mapping[str, ModelResult],
        rung: rungs.Rung,
    ) -> Generator[Outcome, None, None]:
        """Train what is missing; when no fit may start, nothing is encoded."""
        spec, tried = self._spec(rung.sets), set[str]()
        begun = self.brake.with_time(missing)
        any_rival = any(
            rungs.competes(one) for one in (*found.values(), *self.in_full.values())
        )
        if begun and self.brake.may_start():
            with closing(
                self.engine.train(begun, rung.sets, spec, self.brake)
            ) as outcomes:
                for outcome in outcomes:
                    tried.add(outcome.key)
                    if isinstance(outcome, TrainedModel):
                        any_rival |= rungs.competes(outcome.result)
                    yield outcome
        if self.brake.is_out_of_time and not any_rival:
            # A search without a model is worthless: the baseline and the quickest other
            # exceed the time.
            left = [one for one in missing if one.key not in tried]
            yield from self.engine.train(self.brake.beyond(left), rung.sets, spec)

    def _stopped(self, one: Configuration, rung: rungs.Rung, reason: str) -> Conclusion:
        """Conclude a configuration that does not go on: others were better, or no more
        fit may start.
        """
        path = self._path(one.key)
        if one.key in self.in_full:
            # It was trained on all rows before, in a smaller search or by itself.
            return Conclusion.trained(self.in_full[one.key], reused=True, before=path)
        held, needed = self.brake.reason_of(one.key)
        if one.key not in self.fits:
            return Conclusion(
                one.key, one.algorithm, NOT_STARTED, held, needed_seconds=needed
            )
        last = self.fits[one.key][-1]
        if last.rung is not rung:
            reason = f"{held}, before {rung}"
        what = one.key, one.algorithm, STOPPED_EARLY, reason
        return Conclusion(
            *what, last.result, last.rung.fraction, reused=last.reused, path=path
        )

    def _path(self, key: str) -> tuple[Step, ...]:
        return tuple(
            Step.of(fit.result, fit.rung.fraction) for fit in self.fits.get(key, ())
        )

    def _known_in(
        self, sets: TrainingSets, configurations: Sequence[Configuration]
    ) -> dict[str, ModelResult]:
        """Key → known result on these sets, under the configuration's present key."""
        spec = self._spec(sets)
        prints = {one.key: fingerprint(one, sets, spec) for one in configurations}
        found = scored_as_asked(self.known, list(prints.values()), sets, spec)
        return {k: replace(found[p], key=k) for k, p in prints.items() if p in found}

    def _spec(self, sets: TrainingSets) -> ExperimentSpec:
        """The experiment; at small rungs with one uncalibrated fit each, as what goes
        on is fitted again.
        """
        return self.spec if sets is self.sets else self.spec.plain
