"""The search by halving: rung after rung, each decided when it is complete.

What is known is asked for and not trained again; what is missing is trained by an engine
as long as the budget lets it; storing is the shell's. Rungs and survivors are in
`rungs.py`. In: configurations, sets, the experiment, a way to ask for known results, a clock. Out:
events, and exactly one conclusion per configuration: the same ones whatever the number of workers,
the order of the configurations and the kills in between (budgets of seconds and of failures aside,
which say so).
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search import rungs
from experiment_pipeline.stages.search.conclusions import (
    NOT_STARTED,
    STOPPED_EARLY,
    Conclusion,
    Event,
    Fitted,
    Note,
    RungStarted,
    Step,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import Brake
from experiment_pipeline.stages.search.engines.engine import FitEngine, Threads
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.foresight import Foresight
from experiment_pipeline.stages.search.results import (
    FailedConfiguration,
    ModelResult,
    Outcome,
    TrainedModel,
)
from experiment_pipeline.stages.search.scoring import Known, scored_as_asked
from experiment_pipeline.stages.search.training_sets import TrainingSets


def search(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    known: Known,
    engine: FitEngine,
    now: Callable[[], float],
) -> Generator[Event, None, None]:
    """Search the best of the configurations that are asked for.

    A model is yielded (`Fitted`) before the conclusion that rests on it. One configuration alone
    is trained on all rows: somebody wants just this one.

    Args:
        configurations: those asked for.
        sets: the full train and test set.
        spec: its halving, budget, metric and seed are used.
        known: what earlier fits have left.
        engine: trains what is missing.
        now: seconds of any clock that only goes forward.

    Closing the generator cancels the fits that wait.
    """
    run = _Search(sets, spec, known, engine, Brake(spec.budget, now))
    yield from _notes(spec, engine.workers)
    yield from run.events(configurations, alone=len(configurations) == 1)


def settled(
    configurations: Sequence[Configuration], sets: TrainingSets, spec: ExperimentSpec, known: Known
) -> tuple[Conclusion, ...]:
    """Return what is known of configurations that this run was not asked for; nothing is fitted.

    The search is played again on what exists: who was stopped early before, is so again.
    """
    brake = Brake(spec.budget, lambda: 0.0, reason="not asked for in this run")
    run = _Search(sets, spec, known, Threads(1), brake)
    events = run.events(configurations, alone=False)
    return tuple(event for event in events if isinstance(event, Conclusion))


def _notes(spec: ExperimentSpec, workers: int) -> Iterable[Note]:
    """What of the budget makes two runs differ."""
    if (seconds := spec.budget.seconds) is not None:
        yield Note(
            f"a budget of {seconds:g} seconds: what is trained depends on the speed of the machine"
        )
    if spec.budget.failures_in_a_row is not None and workers > 1:
        yield Note("a budget of failures in a row: with several workers it depends on timing")


@dataclass(frozen=True, eq=False)
class _Fit:
    """A result of a configuration, and where it got it."""

    rung: rungs.Rung
    result: ModelResult
    reused: bool


@dataclass
class _Search:
    """One search: who was fitted in it, with the results of each, the last one last."""

    sets: TrainingSets
    spec: ExperimentSpec
    known: Known
    engine: FitEngine
    brake: Brake
    fits: dict[str, list[_Fit]] = field(default_factory=dict)
    in_full: dict[str, ModelResult] = field(default_factory=dict)

    @cached_property
    def ahead(self) -> Foresight:
        """How long what is to come takes; the time it has is the brake's."""
        return Foresight(self.sets, self.spec, self.engine.workers, self.brake)

    def events(
        self, configurations: Sequence[Configuration], *, alone: bool
    ) -> Generator[Event, None, None]:
        """Conclude every configuration: those beyond the budget at once, the others rung by rung."""
        tried = rungs.within_budget(configurations, self.spec)
        keys = {one.key for one in tried}
        reason = f"the budget is {self.spec.budget.configurations} configurations"
        yield from self._left_out([one for one in configurations if one.key not in keys], reason)
        yield from self._climb(tried, alone=alone)

    def _climb(
        self, tried: Sequence[Configuration], *, alone: bool
    ) -> Generator[Event, None, None]:
        """Take configurations up the rungs, and conclude each of them once."""
        self.in_full = self._known_in(self.sets, tried)
        steps = self._ladder([one for one in tried if rungs.competes(one)], alone=alone)
        yield from map(Note, steps.notes)
        still_in = {one.key for one in tried if rungs.competes(one)}
        for rung in steps.rungs:
            if self.ahead.skips(rung, [one for one in tried if one.key in still_in]):
                yield Note(
                    f"{rung} is left out: the seconds that are left are worth more on all rows"
                )
                continue
            # Each rung has an equal share of the seconds, and what those before it left.
            self.brake.open(rung.number / rung.of)
            # What does not compete has nothing to do at small rungs.
            entered = [
                one
                for one in tried
                if one.key in still_in or (rung.is_full and not rungs.competes(one))
            ]
            done = yield from self._fits(rung, entered, steps.rungs[rung.number :])
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

    def _survivors(self, rung: rungs.Rung, entered: Sequence[Configuration]) -> tuple[str, ...]:
        """The keys that go on to the next rung: none from the last."""
        here = {one.key: self.fits[one.key][-1] for one in entered if one.key in self.fits}
        scored = {key: last.result for key, last in here.items() if last.rung is rung}
        return rungs.survivors(rung, self.ahead.may_go_on(scored), self.spec.metric)

    def _stopped(self, one: Configuration, rung: rungs.Rung, entered: int) -> Conclusion:
        """Conclude what does not go on, because others were better or nothing more may start."""
        if one.key in self.in_full:
            # It was trained on all rows before, in a smaller search or by itself.
            path = self._path(one.key)
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
        fraction, path = last.rung.fraction, self._path(one.key)
        return Conclusion(*what, last.result, fraction, reused=last.reused, path=path)

    def _path(self, key: str) -> tuple[Step, ...]:
        """What a configuration scored at each rung so far."""
        return tuple(Step.of(fit.result, fit.rung.fraction) for fit in self.fits.get(key, ()))

    def _fitted(self, key: str, fit: _Fit) -> Iterable[Conclusion]:
        """Keep a fit in mind; on all rows it concludes its configuration."""
        if fit.rung.is_full:
            yield Conclusion.trained(fit.result, reused=fit.reused, before=self._path(key))
        self.fits.setdefault(key, []).append(fit)

    def _left_out(
        self, configurations: Sequence[Configuration], reason: str
    ) -> Iterable[Conclusion]:
        """Conclude what was not tried, and say why; what is stored is not forgotten."""
        in_full = self._known_in(self.sets, configurations)
        for one in configurations:
            if one.key in in_full:
                yield Conclusion.trained(in_full[one.key], reused=True)
            else:
                yield Conclusion(one.key, one.algorithm, NOT_STARTED, reason)

    def _known_in(
        self, sets: TrainingSets, configurations: Sequence[Configuration]
    ) -> dict[str, ModelResult]:
        """Key → known result on these sets, under the configuration's present key."""
        spec = self._spec(sets)
        prints = {one.key: fingerprint(one, sets, spec) for one in configurations}
        found = scored_as_asked(self.known, list(prints.values()), sets, spec)
        return {k: replace(found[p], key=k) for k, p in prints.items() if p in found}

    def _fits(
        self, rung: rungs.Rung, entered: Sequence[Configuration], later: tuple[rungs.Rung, ...]
    ) -> Generator[Event, None, set[str]]:
        """Fit what is not known at this rung; return the keys that are concluded by it."""
        algorithms = {one.key: one.algorithm for one in entered}
        found = self._known_in(rung.sets, entered)
        yield RungStarted(rung, tuple(entered), found, later)
        self.ahead.rung_began(rung, later, entered, found)
        done = set()
        for key, result in found.items():
            yield from self._fitted(key, _Fit(rung, result, reused=True))
        missing = [one for one in entered if one.key not in found]
        with closing(self._outcomes(missing, found, rung)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, FailedConfiguration):
                    self.ahead.fit_ended(outcome.key, None)
                    # Who was trained in full before is, whatever happened at a small rung.
                    if outcome.key not in self.in_full:
                        done.add(outcome.key)
                        path = self._path(outcome.key)
                        yield Conclusion.failed(algorithms[outcome.key], outcome, rung, path)
                    continue
                yield Fitted(rung, outcome)
                yield from self._fitted(outcome.key, _Fit(rung, outcome.result, reused=False))
                self.ahead.fit_ended(outcome.key, outcome.result)
        return done | {key for key, fits in self.fits.items() if fits[-1].rung.is_full}

    def _outcomes(
        self, missing: Sequence[Configuration], found: Mapping[str, ModelResult], rung: rungs.Rung
    ) -> Generator[Outcome, None, None]:
        """Train; where nothing may start, nothing is even encoded."""
        timed = self.spec.budget.seconds is not None
        begun = self.ahead.with_time(missing)
        spec, tried = self._spec(rung.sets), set[str]()
        somebody = any(rungs.competes(one) for one in (*found.values(), *self.in_full.values()))
        if begun and self.brake.may_start():
            outcomes = self.engine.train(
                begun, rung.sets, spec, self.brake, longest_first=not timed
            )
            with closing(outcomes):
                for outcome in outcomes:
                    tried.add(outcome.key)
                    somebody |= isinstance(outcome, TrainedModel) and rungs.competes(outcome.result)
                    yield outcome
        if self.brake.is_out_of_time and not somebody:
            # One fit beyond the time: a search that has trained nobody is worth nothing.
            left = [one for one in missing if one.key not in tried]
            beyond = self.ahead.beyond(left)
            yield from self.engine.train(beyond, rung.sets, spec, longest_first=False)

    def _spec(self, sets: TrainingSets) -> ExperimentSpec:
        """The experiment, of one plain fit at small rungs: what goes on is fitted anew."""
        return self.spec if sets is self.sets else self.spec.plain
