"""A row of the simulations: a figure, where it should lie, and how many made-up tables
it is from.

A job makes rows; it is called with the number of its `simulations`, and runs in a
process of its own, so it must pickle. What is simulated lives in the modules
`statistics_*`, with its jobs below it.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import numpy as np

SEED = 1
COLUMNS = ["simulated", "figure", "aim", "simulations", "holds"]


@dataclass(frozen=True)
class Aim:
    """Where a share of simulations should lie."""

    low: float = 0.0  # at least this
    high: float = 1.0  # at most this

    def __str__(self) -> str:
        """`93 to 97 %`, `≤ 2.5 %` or `≥ 90 %`."""
        if self.low == 0:
            return f"≤ {100 * self.high:g} %"
        if self.high == 1:
            return f"≥ {100 * self.low:g} %"
        return f"{100 * self.low:g} to {100 * self.high:g} %"


COVERED = Aim(0.93, 0.97)
BY_LUCK = Aim(high=0.025)
NEVER = Aim(high=0.0)
NEARLY_ALWAYS = Aim(low=0.95)


@dataclass(frozen=True)
class Row:
    """One figure of one simulation."""

    name: str  # what was simulated
    figure: float  # a share, 0 … 1
    aim: Aim | None  # where it should lie; None = only shown
    simulations: int  # how many it is a share of

    def cells(self) -> list[str]:
        """Of a line of the Markdown table."""
        aim, holds = "", ""
        if self.aim is not None:
            aim = str(self.aim)
            holds = "yes" if self.aim.low <= self.figure <= self.aim.high else "no"
        return [
            self.name,
            f"**{100 * self.figure:.1f} %**",
            aim,
            f"{self.simulations:,}",
            holds,
        ]


Job = partial[Sequence[Row]]


def share(
    name: str,
    aim: Aim | None,
    simulate: Callable[..., float],
    *,
    simulations: int,
    **given: Any,
) -> list[Row]:
    """Return the row of a simulation that gives one share; `simulate` takes their
    number and a seed.
    """
    return [Row(name, simulate(simulations, SEED, **given), aim, simulations)]


def rows_of(
    name: str, simulations: int, figures: Mapping[str, tuple[float, Aim | None]]
) -> list[Row]:
    """Return the rows of a simulation that gives several figures."""
    return [
        Row(name + what, one, aim, simulations) for what, (one, aim) in figures.items()
    ]


def each(
    aim: Aim | None,
    simulations: int,
    simulate: Callable[..., float],
    cases: Mapping[str, Mapping[str, Any]],
) -> Iterator[Job]:
    """A simulation for each case, by its name, and for each of listed arguments, which
    `{…}` of it tell.
    """
    for name, given in cases.items():
        lists = [
            value if isinstance(value, list) else [value] for value in given.values()
        ]
        for values in itertools.product(*lists):
            case = dict(zip(given, values, strict=True))
            shown = name.format_map(case)
            yield partial(share, shown, aim, simulate, simulations=simulations, **case)


def means(once: Callable[..., Any], tables: int, seed: int, **given: Any) -> np.ndarray:
    """The mean of what `once` finds in made-up tables, all drawn by one generator."""
    generator = np.random.default_rng(seed)
    return np.mean([once(generator, **given) for _ in range(tables)], axis=0)


def repeated(once: Callable[..., float]) -> Callable[..., float]:
    """Make of what one made-up table shows the mean over so many, by a seed."""

    @wraps(once)
    def simulate(tables: int, seed: int, **given: Any) -> float:
        return float(means(once, tables, seed, **given))

    return simulate
