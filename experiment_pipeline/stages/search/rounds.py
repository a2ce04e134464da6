"""The search by rounds: on all train rows, a surrogate picks who is trained next.

Synchronous: a round is picked when the one before is complete, from the results of the rounds
alone. What a store has besides is reported, and changes no pick: a rerun walks the same rounds.
Who is promising is `surrogate.py`'s to say, fitting is shared with `halving.py`. In:
configurations, sets, the experiment. Out: events; the same conclusions whatever the number of
workers, the order of the configurations and the kills in between (budgets as in `halving.py`).
"""

import math
from collections.abc import Generator, Sequence

from experiment_pipeline.spec import Surrogate
from experiment_pipeline.stages.search.conclusions import Event, Note
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.fitting import Fitting
from experiment_pipeline.stages.search.order import competes
from experiment_pipeline.stages.search.rungs import full_only
from experiment_pipeline.stages.search.surrogate import pick


class RoundsSearch(Fitting):
    """One search by rounds."""

    def events(
        self, configurations: Sequence[Configuration], *, alone: bool
    ) -> Generator[Event, None, None]:
        """Train round after round, and conclude every configuration once.

        Args:
            configurations: the pool.
            alone: one was asked for; it is a first round by itself.
        """
        pool = [one for one in configurations if competes(one)]
        tried = self.spec.budget.configurations
        sizes = round_sizes(self.surrogate, len(pool), tried)
        if tried is not None and len(pool) <= tried and not alone:
            yield Note(
                f"the surrogate has nothing to leave out: {len(pool)} configurations compete"
            )
        self.in_full = self.known_in(self.sets, configurations)
        concluded = yield from self._rounds(configurations, pool, sizes)
        reason = (
            f"not picked by the surrogate in {len(sizes)} rounds: "
            f"{sum(sizes)} of {len(pool)} were tried"
        )
        if sum(one.key in concluded for one in pool) < sum(sizes):
            reason = self.brake.reason
        yield from self.left_out(
            [one for one in configurations if one.key not in concluded], reason
        )

    @property
    def surrogate(self) -> Surrogate:
        """The experiment's, which is why the search goes by rounds."""
        if self.spec.surrogate is None:
            raise ValueError("a search by rounds needs a surrogate")
        return self.spec.surrogate

    def _rounds(
        self,
        configurations: Sequence[Configuration],
        pool: Sequence[Configuration],
        sizes: list[int],
    ) -> Generator[Event, None, set[str]]:
        """Return the keys that are concluded: rounds end early where nothing more may start."""
        (rung,) = full_only(self.sets).rungs
        by_key = {one.key: one for one in pool}
        scored: dict[str, float] = {}
        concluded: set[str] = set()
        for number, size in enumerate(sizes, start=1):
            picked = pick(pool, scored, size, metric=self.spec.metric, seed=self.spec.seed)
            # What does not compete takes no place: it is beside the first round.
            beside = [one for one in configurations if number == 1 and not competes(one)]
            entered = beside + [by_key[key] for key in picked]
            later = float(sum(sizes[number:]))
            done = yield from self.fits(rung, entered, later, f"round {number} of {len(sizes)}")
            concluded |= done
            if len(done) < len(entered):
                break
            scored |= {key: self._score(key) for key in picked}
            self.in_full |= {key: self.last[key].result for key in done if key in self.last}
        return concluded

    def _score(self, key: str) -> float:
        """The test score; nan of what failed."""
        return self.last[key].result.test_score if key in self.last else math.nan


def round_sizes(surrogate: Surrogate, n_competing: int, tried: int | None) -> list[int]:
    """Return how many each round trains: the last one may be cut, so that more tried only adds.

    Args:
        surrogate: the full size of the first round and of the others.
        n_competing: the size of the pool.
        tried: how many may be tried; None = all.
    """
    left = n_competing if tried is None else min(n_competing, tried)
    sizes = [min(left, surrogate.first)]
    while (left := left - sizes[-1]) > 0:
        sizes.append(min(left, surrogate.per_round))
    return sizes
