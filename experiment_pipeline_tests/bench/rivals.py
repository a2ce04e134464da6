"""The same seconds for our search and for its rivals, on tables that packages ship.

What each tool does is in `rival_tools.py`, the tables are in `tables.py`. The judge: the
winner's predictions of the validation rows, on which nobody has chosen. In: seconds, seeds,
tables. Out: mean paired differences over the seeds, as rows of the results.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiment_pipeline.drafting.search import Shape, propose_search
from experiment_pipeline.stages.search.features import column_kinds
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.interval import LEVEL, quantile
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline_tests.bench import tables
from experiment_pipeline_tests.bench.rival_tools import TOOLS
from experiment_pipeline_tests.bench.rival_trials import Given, encode
from experiment_pipeline_tests.bench.tables import Table

OURS = "ours"
# More than any budget here can try.
DRAWS = 1_000


@dataclass(frozen=True)
class Mean:
    """A mean over the seeds.

    Attributes:
        value: greater than 0 = ours is better, in units of the metric.
        half: of its 95 % interval; infinite for one seed.
    """

    value: float
    half: float

    def __str__(self) -> str:
        low, high = self.value - self.half, self.value + self.half
        return f"**{self.value:+.3g}** ({low:+.3g} to {high:+.3g})"

    @property
    def verdict(self) -> str:
        """What the interval says of ours."""
        if abs(self.value) <= self.half:
            return "no difference shown"
        return "better" if self.value > 0 else "worse"


@dataclass(frozen=True)
class Duel:
    """Ours against one rival on one table.

    Attributes:
        table: its name.
        metric: that chose and judges.
        rival: its name.
        ours: mean score of our winners.
        theirs: mean score of the rival's.
        difference: between what both end with.
        refitted: between both winners fitted on train and test rows.
        our_seconds: mean time we took.
        their_seconds: mean time the rival took.
    """

    table: str
    metric: str
    rival: str
    ours: float
    theirs: float
    difference: Mean
    refitted: Mean
    our_seconds: float
    their_seconds: float

    def row(self) -> str:
        """A line of the Markdown table."""
        return (
            f"| {self.table} ({self.metric}) | {self.rival} | {self.ours:.5g} | {self.theirs:.5g} "
            f"| {self.difference} | {self.difference.verdict} "
            f"| {self.refitted} | {self.refitted.verdict} "
            f"| {self.our_seconds:.1f} against {self.their_seconds:.1f} |"
        )


@dataclass(frozen=True)
class Played:
    """One tool on one table by one seed.

    Attributes:
        score: on the validation rows, of the model that it ends with.
        refitted: of its winner fitted on train and test rows.
        seconds: that it took.
    """

    score: float
    refitted: float
    seconds: float


def duels(seconds: float, seeds: int, names: Sequence[str] = ()) -> list[Duel]:
    """Let every tool search every table by every seed.

    Args:
        seconds: that each tool has for one search.
        seeds: how many; each draws the rows, cuts them, and seeds the searches.
        names: of the tables; empty: all.
    """
    return [
        duel
        for table in tables.TABLES
        if not names or table.name in names
        for duel in _on_table(table, seconds, seeds)
    ]


def tally(found: Iterable[Duel]) -> str:
    """Count the verdicts per rival, in a sentence; in brackets those of refitted winners."""
    by_rival: dict[str, list[Duel]] = defaultdict(list)
    for duel in found:
        by_rival[duel.rival].append(duel)
    return "; ".join(
        f"against {rival} better on {_count(told, 'better')}, worse on {_count(told, 'worse')} of "
        f"{len(told)} tables"
        for rival, told in by_rival.items()
    )


def _count(told: Sequence[Duel], verdict: str) -> str:
    stored = sum(duel.difference.verdict == verdict for duel in told)
    refitted = sum(duel.refitted.verdict == verdict for duel in told)
    return f"{stored} ({refitted})"


def duel_of(table: Table, rival: str, played: Mapping[str, Sequence[Played]]) -> Duel:
    """Compare ours and a rival, seed by seed.

    Args:
        table: where they played.
        rival: a name of TOOLS.
        played: tool → what it did, in the order of the seeds.
    """
    sign = METRICS[table.metric].sign
    ours = np.array([one.score for one in played[OURS]])
    theirs = np.array([one.score for one in played[rival]])
    refitted = np.array(
        [our.refitted - one.refitted for our, one in zip(played[OURS], played[rival], strict=True)]
    )
    return Duel(
        table.name,
        table.metric,
        rival,
        ours=float(ours.mean()),
        theirs=float(theirs.mean()),
        difference=mean_of(sign * (ours - theirs)),
        refitted=mean_of(sign * refitted),
        our_seconds=float(np.mean([one.seconds for one in played[OURS]])),
        their_seconds=float(np.mean([one.seconds for one in played[rival]])),
    )


def mean_of(differences: np.ndarray) -> Mean:
    """Return a mean with its 95 % interval, by Student's t."""
    n = len(differences)
    if n < 2:
        return Mean(float(differences.mean()), math.inf)
    error = differences.std(ddof=1) / math.sqrt(n)
    return Mean(float(differences.mean()), quantile(n - 1, LEVEL) * float(error))


def given_to_all(table: Table, seed: int, seconds: float) -> Given:
    """Cut a table, and declare the search that our scaffold would write for it."""
    cut = tables.cut(table, seed)
    searched = scaffolded(cut.sets, table.metric, len(cut.validation), seed)
    spec = tables.experiment(table, seed, search=[searched])
    return encode(replace(cut, spec=spec), seconds)


def scaffolded(sets: TrainingSets, metric: str, others: int, seed: int) -> dict[str, object]:
    """Return the scaffold's entry for LightGBM, with more draws.

    Args:
        sets: train and test set.
        metric: that ranks.
        others: rows in neither.
        seed: of the draws.
    """
    rows = len(sets.train) + len(sets.test) + others
    texts = len(column_kinds(sets.train, sets.features)[1])
    shape = Shape(sets.task, metric, rows, len(sets.features), len(sets.classes or [1]), texts)
    entry = next(one.entry for one in propose_search(shape) if "draws" in one.entry)
    return {**entry, "draws": DRAWS, "seed": seed}


def _on_table(table: Table, seconds: float, seeds: int) -> list[Duel]:
    played: dict[str, list[Played]] = {name: [] for name in TOOLS}
    for seed in range(seeds):
        given = given_to_all(table, seed, seconds)
        # Each goes first in turn, so that a drift of the machine cancels.
        first = seed % len(TOOLS)
        for name in [*TOOLS, *TOOLS][first : first + len(TOOLS)]:
            played[name].append(_play(name, given))
        told = ", ".join(
            f"{name} {runs[-1].score:.5g} in {runs[-1].seconds:.1f} s"
            for name, runs in played.items()
        )
        print(f"  {table.name}, seed {seed}: {told}", flush=True)
    return [duel_of(table, rival, played) for rival in TOOLS if rival != OURS]


def _play(name: str, given: Given) -> Played:
    found = TOOLS[name](given)
    y, metric = given.cut.y_validation, given.cut.spec.metric
    return Played(
        scores.score(metric, y, found.predictions),
        scores.score(metric, y, found.refitted),
        found.seconds,
    )
