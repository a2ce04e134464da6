"""Simulations with the truth known: figures, and where they should lie.

A simulation is a function of a number of made-up tables and a seed. It returns a share,
or shares by what they add to its name, each as a number or as the outcomes that it is
the mean of. What is simulated lives in the modules `statistics_*`, how often and what is
aimed at in simulations.yaml.
"""

import itertools
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import numpy as np
import pandas as pd

SEED = 1
COLUMNS = ["simulated", "figure", "aim", "simulations", "holds"]

Figure = float | Sequence[float]
Figures = Figure | Mapping[str, Figure]


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


@dataclass(frozen=True)
class Simulation:
    """A simulation with its arguments, and what is aimed at."""

    name: str
    simulate: Callable[..., Figures]  # (tables, seed, **arguments)
    tables: int
    # by what the names of figures contain, the first that fits
    aims: Mapping[str, Sequence[float] | None]
    arguments: Mapping[str, Any]

    def rows(self, tables: int) -> list[Row]:
        """Simulate so many tables, and return a row for each figure."""
        found = self.simulate(tables, SEED, **self.arguments)
        figures = found if isinstance(found, Mapping) else {"": found}
        rows = []
        for added, figure in figures.items():
            bounds = next(aim for part, aim in self.aims.items() if part in added)
            aim = None if bounds is None else Aim(*bounds)
            count = tables if np.isscalar(figure) else np.size(figure)
            rows.append(Row(self.name + added, float(np.mean(figure)), aim, count))
        return rows


def simulations_of(
    show: str,
    run: str,
    tables: int,
    aim: Sequence[float] | Mapping[str, Sequence[float] | None] | None = None,
    **arguments: Any,
) -> Iterator[Simulation]:
    """A simulation for each combination of the listed arguments, as an entry of
    simulations.yaml has them.
    """
    module, name = run.split(".")
    simulate = pkgutil.resolve_name(f"{__package__}.statistics_{module}:{name}")
    aims = aim if isinstance(aim, Mapping) else {"": aim}
    lists = [
        value if isinstance(value, list) else [value] for value in arguments.values()
    ]
    for values in itertools.product(*lists):
        given = dict(zip(arguments, values, strict=True))
        yield Simulation(show.format_map(given), simulate, tables, aims, given)


def _mean_of(
    once: Callable[..., Any],
    generators: Callable[[int, int], Iterable[np.random.Generator]],
) -> Callable[..., Any]:
    """Make of what one made-up table shows the mean over so many, by a seed."""

    @wraps(once)
    def simulate(tables: int, seed: int, **given: Any) -> Any:
        found = [once(generator, **given) for generator in generators(tables, seed)]
        if isinstance(found[0], Mapping):
            return pd.DataFrame(found).mean().to_dict()
        return float(np.mean(found))

    return simulate


def of_each(tables: int, seed: int) -> Iterator[np.random.Generator]:
    """A generator for each table, so that tables do not depend on those before."""
    return (np.random.default_rng([seed, number]) for number in range(tables))


# All tables are drawn by one generator, or each by one of its own.
repeated = partial(
    _mean_of, generators=lambda tables, seed: [np.random.default_rng(seed)] * tables
)
anew = partial(_mean_of, generators=of_each)
