"""The search by successive halving: rung after rung, each decided when it is complete.

Known results are reused, missing ones are trained by an engine as long as the budget allows. The outcome
does not depend on the number of workers, on the order of the configurations or on kills in between
(budgets of seconds and of failures aside, which say so).
"""

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search import rungs
from experiment_pipeline.stages.search.budget import Brake, TimePlan
from experiment_pipeline.stages.search.conclusions import (
    NOT_STARTED,
    STOPPED_EARLY,
    Conclusion,
    Event,
    Fitted,
    RungStarted,
    SearchNote,
    SearchResults,
    Step,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import SearchCost, search_cost
from experiment_pipeline.stages.search.engines.engine import FitEngine, Threads
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.progress import Progress
from experiment_pipeline.stages.search.results import ModelResult, ModelStore, Outcome, TrainedModel
from experiment_pipeline.stages.search.scoring import interval_on_test, scored_as_asked
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.storage.processes import peak_memory_bytes

Listener = Callable[[SearchNote | Conclusion], object]


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """What a search has found.

    Attributes:
        results: a row for each declared configuration.
        cost: of the fits of this run.
        others: conclusions of the declared configurations that were not asked for.
    """

    results: SearchResults
    cost: SearchCost
    others: Sequence[Conclusion]


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
    """Train what is not stored yet, store each model at once, and conclude every configuration.

    Args:
        declared: all configurations of the experiment.
        sets: the full train and test set.
        spec: of the search.
        store: what it holds is reused.
        engine: trains what is missing.
        asked_for: configurations to train; None: all. Of the others the stored results are reported.
        listen: is given each note, a line for a log, and each conclusion, once its model is stored.

    Raises:
        TrainingError: there is no model at all.
        KeyboardInterrupt: or whatever else ended the search; its text says how far it was.
    """
    asked_for = declared if asked_for is None else asked_for

    def interval(result: ModelResult, scored_on: TrainingSets) -> Interval:
        return interval_on_test(store.predictions(result.fingerprint).test, scored_on, spec)

    progress, started = Progress(spec.metric, interval), time.perf_counter()
    try:
        with closing(search(asked_for, sets, spec, store, engine, time.perf_counter)) as events:
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
    for note in progress.end():
        listen(note)
    seconds = time.perf_counter() - started
    others = () if len(asked_for) == len(declared) else settled(declared, sets, spec, store)
    others = tuple(one for one in others if one.key not in progress.concluded)
    cost = search_cost(progress.fitted, seconds, engine.workers, peak_memory_bytes())
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
    """Search the best of the configurations, and conclude each of them exactly once.

    A model is yielded (`Fitted`) before the conclusion that rests on it. One configuration alone
    is trained on all rows. Closing the generator cancels the fits that wait.

    Args:
        configurations: those asked for.
        sets: the full train and test set.
        spec: its halving, budget, metric and seed are used.
        known: what earlier fits have left.
        engine: trains what is missing.
        now: seconds of any clock that only goes forward.
    """
    if (seconds := spec.budget.seconds) is not None:
        yield SearchNote(
            f"a budget of {seconds:g} seconds: what is trained depends on the speed of the machine"
        )
    if spec.budget.failures_in_a_row is not None and engine.workers > 1:
        yield SearchNote("a budget of failures in a row: with several workers it depends on timing")
    run = _HalvingRun(sets, spec, known, engine, Brake(spec.budget, now))
    yield from run.events(configurations, alone=len(configurations) == 1)


def settled(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    known: ModelStore,
) -> tuple[Conclusion, ...]:
    """Return what is known of configurations that this run was not asked for; nothing is fitted.

    The search is repeated on the stored results, so a configuration that was stopped early is again.
    """
    brake = Brake(spec.budget, lambda: 0.0, reason="not asked for in this run")
    run = _HalvingRun(sets, spec, known, Threads(1), brake)
    events = run.events(configurations, alone=False)
    return tuple(event for event in events if isinstance(event, Conclusion))


@dataclass(frozen=True, eq=False)
class _RungFit:
    """A result of a configuration, and the rung that it comes from."""

    rung: rungs.Rung
    result: ModelResult
    reused: bool


@dataclass
class _HalvingRun:
    """One search, with the fits of each configuration from the smallest rung on."""

    sets: TrainingSets
    spec: ExperimentSpec
    known: ModelStore
    engine: FitEngine
    brake: Brake
    fits: dict[str, list[_RungFit]] = field(default_factory=dict)
    in_full: dict[str, ModelResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plan = TimePlan(self.sets, self.spec, self.engine.workers, self.brake)

    def events(
        self, configurations: Sequence[Configuration], *, alone: bool
    ) -> Generator[Event, None, None]:
        """Conclude every configuration: those beyond the budget at once, the others rung by rung."""
        tried = rungs.within_budget(configurations, self.spec)
        keys = {one.key for one in tried}
        left_out = [one for one in configurations if one.key not in keys]
        stored = self._known_in(self.sets, left_out)
        for one in left_out:
            if one.key in stored:
                yield Conclusion.trained(stored[one.key], reused=True)
            else:
                reason = f"the budget is {self.spec.budget.configurations} configurations"
                yield Conclusion(one.key, one.algorithm, NOT_STARTED, reason)

        self.in_full = self._known_in(self.sets, tried)
        steps = self._ladder([one for one in tried if rungs.competes(one)], alone=alone)
        yield from map(SearchNote, steps.notes)
        still_in = {one.key for one in tried if rungs.competes(one)}
        for rung in steps.rungs:
            if self.plan.skips(rung, [one for one in tried if one.key in still_in]):
                yield SearchNote(f"{rung} is skipped: the time left is better spent on all rows")
                continue
            # Each rung has an equal share of the seconds, and what those before it left.
            self.brake.open(rung.number / rung.of)
            # The baseline is trained on all rows alone.
            entered = [
                one
                for one in tried
                if one.key in still_in or (rung.is_full and not rungs.competes(one))
            ]
            done = yield from self._climb(rung, entered)
            still_in = set(self._survivors(rung, entered))
            for one in entered:
                if one.key not in done | still_in:
                    yield self._stopped(one, rung, len(entered))

    def _ladder(self, competing: Sequence[Configuration], *, alone: bool) -> rungs.Ladder:
        if alone and self.spec.halving:
            return rungs.full_only(
                self.sets, "one configuration was asked for: it is trained on all rows, no halving"
            )
        if all(one.key in self.in_full for one in competing):
            return rungs.full_only(self.sets)
        return rungs.ladder(len(competing), self.sets, self.spec)

    def _climb(
        self, rung: rungs.Rung, entered: Sequence[Configuration]
    ) -> Generator[Event, None, set[str]]:
        """Fit what is not known at this rung; return the keys that are concluded by it."""
        algorithms = {one.key: one.algorithm for one in entered}
        found = self._known_in(rung.sets, entered)
        yield RungStarted(rung, tuple(entered), found)
        self.plan.rung_began(rung, entered, found)
        done = set()
        for result in found.values():
            yield from self._keep(_RungFit(rung, result, reused=True))
        missing = [one for one in entered if one.key not in found]
        with closing(self._outcomes(missing, found, rung)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, TrainedModel):
                    yield Fitted(rung, outcome)
                    yield from self._keep(_RungFit(rung, outcome.result, reused=False))
                    self.plan.fit_ended(rung, outcome.result)
                # A model of all rows outlives a failure at a small rung.
                elif outcome.key not in self.in_full:
                    done.add(outcome.key)
                    path = self._path(outcome.key)
                    yield Conclusion.failed(algorithms[outcome.key], outcome, rung, path)
        return done | {key for key, fits in self.fits.items() if fits[-1].rung.is_full}

    def _keep(self, fit: _RungFit) -> Iterable[Conclusion]:
        """Remember a fit; on all rows it concludes its configuration."""
        key = fit.result.key
        if fit.rung.is_full:
            yield Conclusion.trained(fit.result, reused=fit.reused, before=self._path(key))
        self.fits.setdefault(key, []).append(fit)

    def _outcomes(
        self, missing: Sequence[Configuration], found: Mapping[str, ModelResult], rung: rungs.Rung
    ) -> Generator[Outcome, None, None]:
        """Train; where nothing may start, nothing is even encoded."""
        spec, tried = self._spec(rung.sets), set[str]()
        begun = self.plan.with_time(rung, missing)
        any_rival = any(rungs.competes(one) for one in (*found.values(), *self.in_full.values()))
        if begun and self.brake.may_start():
            timed = self.spec.budget.seconds is not None
            outcomes = self.engine.train(
                begun, rung.sets, spec, self.brake, longest_first=not timed
            )
            with closing(outcomes):
                for outcome in outcomes:
                    tried.add(outcome.key)
                    any_rival |= isinstance(outcome, TrainedModel) and rungs.competes(
                        outcome.result
                    )
                    yield outcome
        if self.brake.is_out_of_time and not any_rival:
            # A search without a single model is worth nothing: one fit beyond the time.
            left = [one for one in missing if one.key not in tried]
            beyond = self.plan.beyond(rung, left)
            yield from self.engine.train(beyond, rung.sets, spec, longest_first=False)

    def _survivors(self, rung: rungs.Rung, entered: Sequence[Configuration]) -> tuple[str, ...]:
        """The keys that go on to the next rung: none from the last."""
        here = {one.key: self.fits[one.key][-1] for one in entered if one.key in self.fits}
        scored = {key: last.result for key, last in here.items() if last.rung is rung}
        return rungs.survivors(rung, self.plan.may_go_on(rung, scored), self.spec.metric)

    def _stopped(self, one: Configuration, rung: rungs.Rung, entered: int) -> Conclusion:
        """Conclude what does not go on, because others were better or nothing more may start."""
        path = self._path(one.key)
        if one.key in self.in_full:
            # It was trained on all rows before, in a smaller search or by itself.
            return Conclusion.trained(self.in_full[one.key], reused=True, before=path)
        held = self.brake.reason_of(one.key)
        if one.key not in self.fits:
            what = one.key, one.algorithm, NOT_STARTED, held.why
            return Conclusion(*what, needed_seconds=held.needed)
        last = self.fits[one.key][-1]
        reason = f"not among the best {rung.kept} of {entered} at {rung}"
        if last.rung is not rung:
            reason = f"{held.why}, before {rung}"
        what = one.key, one.algorithm, STOPPED_EARLY, reason
        return Conclusion(*what, last.result, last.rung.fraction, reused=last.reused, path=path)

    def _path(self, key: str) -> tuple[Step, ...]:
        """What a configuration scored at each rung so far."""
        return tuple(Step.of(fit.result, fit.rung.fraction) for fit in self.fits.get(key, ()))

    def _known_in(
        self, sets: TrainingSets, configurations: Sequence[Configuration]
    ) -> dict[str, ModelResult]:
        """Key → known result on these sets, under the configuration's present key."""
        spec = self._spec(sets)
        prints = {one.key: fingerprint(one, sets, spec) for one in configurations}
        found = scored_as_asked(self.known, list(prints.values()), sets, spec)
        return {k: replace(found[p], key=k) for k, p in prints.items() if p in found}

    def _spec(self, sets: TrainingSets) -> ExperimentSpec:
        """The experiment; at small rungs of one plain fit, as what goes on is fitted anew."""
        return self.spec if sets is self.sets else self.spec.plain
