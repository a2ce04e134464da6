"""What every search does: fit what is not known yet on some rows, and conclude from it.

Asks for known results, trains the others in the pool (`sweep.py`) as long as the budget lets it,
and says so in events. Who is fitted when is decided in `halving.py` and `rounds.py`. In:
configurations and a rung. Out: events, and the last result of each configuration.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.brake import Brake
from experiment_pipeline.stages.search.conclusions import (
    NOT_STARTED,
    TRAINED,
    Conclusion,
    Event,
    Fitted,
    Note,
    RungStarted,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.order import competes, promising_first
from experiment_pipeline.stages.search.results import FailedConfiguration, ModelResult, TrainedModel
from experiment_pipeline.stages.search.rungs import Rung
from experiment_pipeline.stages.search.scoring import Known, scored_as_asked
from experiment_pipeline.stages.search.sets import TrainingSets


@dataclass(frozen=True, eq=False)
class Last:
    """The last result of a configuration, and where it got it."""

    rung: Rung
    result: ModelResult
    reused: bool


@dataclass
class Fitting:
    """One search: who was fitted in it, with the last result of each."""

    sets: TrainingSets
    spec: ExperimentSpec
    known: Known
    workers: int
    brake: Brake
    last: dict[str, Last] = field(default_factory=dict)
    in_full: dict[str, ModelResult] = field(default_factory=dict)

    def notes(self) -> Iterable[Note]:
        """What of the budget makes two runs differ."""
        if self.spec.budget.seconds is not None:
            yield Note(
                f"a budget of {self.spec.budget.seconds:g} seconds: what is trained depends on "
                "the speed of the machine"
            )
        if self.spec.budget.failures_in_a_row is not None and self.workers > 1:
            yield Note("a budget of failures in a row: with several workers it depends on timing")

    def left_out(
        self, configurations: Sequence[Configuration], reason: str
    ) -> Iterable[Conclusion]:
        """Conclude what was not tried, and say why; what is stored is not forgotten."""
        in_full = self.known_in(self.sets, configurations)
        for one in configurations:
            if one.key in in_full:
                yield trained(one, in_full[one.key], reused=True)
            else:
                yield Conclusion(one, NOT_STARTED, reason)

    def known_in(
        self, sets: TrainingSets, configurations: Sequence[Configuration]
    ) -> dict[str, ModelResult]:
        """Key → known result on these sets, under the configuration's present key."""
        prints = {one.key: fingerprint(one, sets, self.spec) for one in configurations}
        found = scored_as_asked(self.known, list(prints.values()), sets, self.spec)
        return {k: replace(found[p], key=k) for k, p in prints.items() if p in found}

    def fits(
        self,
        rung: Rung,
        entered: Sequence[Configuration],
        work_after: float,
    ) -> Generator[Event, None, set[str]]:
        """Fit what is not known at this rung; return the keys that are concluded by it."""
        by_key = {one.key: one for one in entered}
        found = self.known_in(rung.sets, entered)
        yield RungStarted(rung, len(entered), len(found), work_after)
        done = set()
        for key, result in found.items():
            self.last[key] = Last(rung, result, reused=True)
            if rung.is_full:
                done.add(key)
                yield trained(by_key[key], result, reused=True)
        missing = [one for one in entered if one.key not in found]
        with closing(self._outcomes(missing, found, rung)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, FailedConfiguration):
                    # Who was trained in full before is, whatever happened at a small rung.
                    if outcome.key not in self.in_full:
                        done.add(outcome.key)
                        yield Conclusion.of_failure(by_key[outcome.key], outcome, rung)
                    continue
                yield Fitted(rung, outcome)
                key = outcome.result.key
                self.last[key] = Last(rung, outcome.result, reused=False)
                if rung.is_full:
                    done.add(key)
                    yield trained(by_key[key], outcome.result, reused=False)
        return done

    def _outcomes(
        self, missing: Sequence[Configuration], found: Mapping[str, ModelResult], rung: Rung
    ) -> Generator[TrainedModel | FailedConfiguration, None, None]:
        """Train in the pool; where nothing may start, nothing is even encoded."""
        timed = self.spec.budget.seconds is not None
        if timed:
            last = {one.key: self.last[one.key].result for one in missing if one.key in self.last}
            missing = promising_first(missing, last, self.spec.metric)
        tried = set[str]()
        somebody = any(competes(one) for one in (*found.values(), *self.in_full.values()))
        if missing and self.brake.may_start():
            outcomes = self._trained(missing, rung, self.brake, longest_first=not timed)
            with closing(outcomes):
                for outcome in outcomes:
                    tried.add(outcome.key)
                    somebody |= isinstance(outcome, TrainedModel) and competes(outcome.result)
                    yield outcome
        if self.brake.is_out_of_time and not somebody:
            # One fit beyond the time: a search that has trained nobody is worth nothing.
            left = [one for one in missing if one.key not in tried]
            at_least = left[: 1 + sum(not competes(one) for one in left)]
            yield from self._trained(at_least, rung, None, longest_first=False)

    def _trained(
        self,
        missing: Sequence[Configuration],
        rung: Rung,
        brake: Brake | None,
        *,
        longest_first: bool,
    ) -> Generator[TrainedModel | FailedConfiguration, None, None]:
        # A rerun that finds everything known imports nothing that fits.
        from experiment_pipeline.stages.search.sweep import train_configurations

        yield from train_configurations(
            missing, rung.sets, self.spec, self.workers, brake, longest_first=longest_first
        )


def trained(one: Configuration, result: ModelResult, *, reused: bool) -> Conclusion:
    """Conclude that a configuration has a model of all train rows."""
    return Conclusion(one, TRAINED, result=result, fraction=1.0, reused=reused)
