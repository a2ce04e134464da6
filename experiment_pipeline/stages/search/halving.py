"""The search by halving: rung after rung, each decided when it is complete.

Rungs and survivors are in `rungs.py`, fitting is in `fitting.py`, the other way to search in
`rounds.py`. In: configurations, sets, the experiment. Out: events; the same conclusions whatever
the number of workers, the order of the configurations and the kills in between (budgets of
seconds and of failures aside, which say so).
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from experiment_pipeline.stages.search.conclusions import (
    NOT_STARTED,
    STOPPED_EARLY,
    Conclusion,
    Event,
    Note,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.fitting import Fitting, trained
from experiment_pipeline.stages.search.order import competes, within_budget
from experiment_pipeline.stages.search.rungs import Ladder, Rung, full_only, ladder, survivors


@dataclass
class HalvingSearch(Fitting):
    """One search by halving."""

    def events(
        self, configurations: Sequence[Configuration], *, alone: bool
    ) -> Generator[Event, None, None]:
        """Conclude every configuration: those beyond the budget at once, the others rung by rung."""
        tried = within_budget(configurations, self.spec)
        keys = {one.key for one in tried}
        reason = f"the budget is {self.spec.budget.configurations} configurations"
        yield from self.left_out([one for one in configurations if one.key not in keys], reason)
        yield from self.climb(tried, alone=alone)

    def climb(self, tried: Sequence[Configuration], *, alone: bool) -> Generator[Event, None, None]:
        """Take configurations up the rungs, and conclude each of them once."""
        self.in_full = self.known_in(self.sets, tried)
        steps = self._ladder([one for one in tried if competes(one)], alone=alone)
        yield from map(Note, steps.notes)
        still_in = {one.key for one in tried if competes(one)}
        for rung in steps.rungs:
            # Each rung has an equal share of the seconds, and what those before it left.
            self.brake.open(rung.number / rung.of)
            # What does not compete has nothing to do at small rungs.
            entered = [
                one for one in tried if one.key in still_in or (rung.is_full and not competes(one))
            ]
            done = yield from self.fits(rung, entered, steps.work_after(rung))
            still_in = set(self._survivors(rung, entered))
            for one in entered:
                if one.key not in done | still_in:
                    yield self._stopped(one, rung, len(entered))

    def _ladder(self, competing: Sequence[Configuration], *, alone: bool) -> Ladder:
        if alone and self.spec.halving:
            return full_only(
                self.sets, "one configuration was asked for: it is trained on all rows, no halving"
            )
        if all(one.key in self.in_full for one in competing):
            return full_only(self.sets)
        return ladder(len(competing), self.sets, self.spec)

    def _survivors(self, rung: Rung, entered: Sequence[Configuration]) -> tuple[str, ...]:
        """The keys that go on to the next rung: none from the last."""
        here = {one.key: self.last[one.key] for one in entered if one.key in self.last}
        scored = {key: last.result for key, last in here.items() if last.rung is rung}
        return survivors(rung, scored, self.spec.metric)

    def _stopped(self, one: Configuration, rung: Rung, entered: int) -> Conclusion:
        """Conclude what does not go on, because others were better or nothing more may start."""
        if one.key in self.in_full:
            # It was trained on all rows before, in a smaller search or by itself.
            return trained(one, self.in_full[one.key], reused=True)
        if (last := self.last.get(one.key)) is None:
            return Conclusion(one, NOT_STARTED, self.brake.reason)
        reason = f"not among the best {rung.kept} of {entered} at {rung}"
        if last.rung is not rung:
            reason = f"{self.brake.reason}, before {rung}"
        return Conclusion(
            one, STOPPED_EARLY, reason, last.result, last.rung.fraction, reused=last.reused
        )
