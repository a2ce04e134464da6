"""Does the answer hold? Simulations with the truth known, as tables with what is aimed at.

What is simulated lives in the modules `statistics_*`; here it is put together, run side by side
in processes, and shown. In: nothing, seeds and numbers of simulations are constants. Out: the
section's Markdown.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from experiment_pipeline_tests.bench.sections import table
from experiment_pipeline_tests.bench.statistics_coverage import SCENARIOS, cover

SEED = 1
COLUMNS = ["simulated", "figure", "aim", "simulations", "holds"]


@dataclass(frozen=True)
class Aim:
    """Where a share of simulations should lie.

    Attributes:
        low: at least this.
        high: at most this.
    """

    low: float = 0.0
    high: float = 1.0

    def in_words(self) -> str:
        """`93 to 97 %`, `≤ 2.5 %` or `≥ 90 %`."""
        if self.low == 0:
            return f"≤ {100 * self.high:g} %"
        if self.high == 1:
            return f"≥ {100 * self.low:g} %"
        return f"{100 * self.low:g} to {100 * self.high:g} %"


@dataclass(frozen=True)
class Row:
    """One figure of one simulation.

    Attributes:
        name: what was simulated.
        figure: a share, 0 … 1.
        target: where it should lie; None = only shown.
        simulations: how many it is a share of.
    """

    name: str
    figure: float
    target: Aim | None
    simulations: int

    @property
    def holds(self) -> str:
        """`yes`, `no`, or nothing where nothing is aimed at."""
        if self.target is None:
            return ""
        return "yes" if self.target.low <= self.figure <= self.target.high else "no"

    def row(self) -> str:
        """A line of the Markdown table."""
        aim = "" if self.target is None else self.target.in_words()
        return (
            f"| {self.name} | **{100 * self.figure:.1f} %** | {aim} | {self.simulations:,} "
            f"| {self.holds} |"
        )


# One simulation and the figures it gives; in a process of its own, so it must pickle.
Job = Callable[[], Sequence[Row]]


@dataclass(frozen=True)
class Block:
    """One table of the section.

    Attributes:
        text: what it shows, in front of it.
        jobs: that make its rows, in this order.
    """

    text: str
    jobs: tuple[Job, ...]


def share(
    name: str,
    simulate: Callable[..., float],
    target: Aim | None,
    simulations: int,
    **arguments: object,
) -> list[Row]:
    """Return the row of a simulation that gives one share.

    Args:
        name: of the row.
        simulate: number of simulations, `seed=` → a share.
        target: what is aimed at.
        simulations: how many.
        arguments: of `simulate`.
    """
    figure = simulate(simulations, seed=SEED, **arguments)
    return [Row(name, figure, target, simulations)]


def coverage(place: int, simulations: int) -> list[Row]:
    """Return a row per metric of one of SCENARIOS, and one for the note of too narrow ones."""
    scenario = SCENARIOS[place]
    outcome = cover(scenario, simulations, SEED)
    held = [
        Row(f"{scenario.name}: {one.metric}", one.held, COVERAGE, simulations)
        for one in outcome.coverages
    ]
    noted = Row(f"{scenario.name}: a note", outcome.noted, NOTED[scenario.note], simulations)
    return [*held, noted]


COVERAGE = Aim(0.93, 0.97)
NOTED: Mapping[str, Aim | None] = {"false": Aim(high=0.05), "open": None, "owed": Aim(low=0.6)}
SAMPLES = 1_500

# A simulation more is a line more.
BLOCKS = (
    Block(
        "How often an interval of 95 % holds the truth, and for how many samples a note says that\n"
        "one is too narrow: at most 5 % are false alarms on tables where intervals hold, and where\n"
        "they cannot, most samples are told so.",
        tuple(partial(coverage, place, SAMPLES) for place in range(len(SCENARIOS))),
    ),
)


def section(blocks: Sequence[Block] = BLOCKS) -> str:
    """Run every simulation, as many at a time as there are cores; return the tables."""
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        started = [[processes.submit(job) for job in block.jobs] for block in blocks]
        rows = [[row for job in jobs for row in job.result()] for jobs in started]
    tables = [table(COLUMNS, found) for found in rows]
    return "\n\n".join(
        f"{block.text}\n\n{shown}" for block, shown in zip(blocks, tables, strict=True)
    )
