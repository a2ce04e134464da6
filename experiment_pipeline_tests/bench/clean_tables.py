"""Tables without a leak: made-up ones with what looks like one, and real ones from packages.

Honest are a strong column, an id, a time that drifts, a text that says something, a mean of the
past.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from sklearn import datasets

from experiment_pipeline_tests.bench.leak_tables import (
    Base,
    Column,
    Problem,
    binary,
    by_group,
    by_time,
    multiclass,
    prices,
    with_column,
)
from experiment_pipeline_tests.bench.tables import LISTED, TABLES, raw

MOST_ROWS = 5_000


def _positive(table: pd.DataFrame) -> np.ndarray:
    rarest = table["y"].value_counts().index[-1]
    return (table["y"] == rarest).to_numpy()


def _strong(distance: float) -> Column:
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


def _drifting(seed: int) -> Problem:
    """Ids and a target that both follow the time."""
    problem, rng = binary(seed), np.random.default_rng([seed, 3])
    rows = len(problem.frame)
    y = rng.random(rows) < np.linspace(0.05, 0.7, rows)
    frame = problem.frame.assign(y=np.where(y, "churned", "stayed"), ticket=range(rows))
    frame["number"] = _running_id(frame, rng)
    return replace(problem, frame=frame)


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
    """2 % positive."""
    problem, rng = binary(seed), np.random.default_rng([seed, 4])
    odds = problem.frame["income"] / 15 + rng.logistic(size=len(problem.frame))
    y = odds > np.quantile(odds, 0.98)
    return replace(problem, frame=problem.frame.assign(y=y))


def real(
    package: str, item: str, target: str, task: str, declared: Mapping[str, object] | None = None
) -> Problem:
    """Read a table of scikit-learn or of R, at most MOST_ROWS rows of it."""
    if package == "sklearn":
        frame = getattr(datasets, f"load_{item}")(as_frame=True).frame
    else:
        frame = raw(package, item, target)
    if len(frame) > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, random_state=0).sort_index()
    return Problem(frame, task, declared or {}, target)


_HONEST: tuple[tuple[Base, Column], ...] = (
    *((binary, _strong(distance)) for distance in (1.5, 2.0, 2.5)),  # AUC .86, .92, .96
    (binary, _strong_flag),
    (binary, _review),
    (binary, _random_id),
    (binary, _running_id),
    (multiclass, _running_id),
    (by_time, _past_mean),
    (by_time, _yesterday),
    (binary, _out_of_fold_mean),
    (binary, _last_years_share),
    (binary, _calibrated_score),
    (prices, _estimate),
)
MADE: tuple[Base, ...] = (
    *(binary, multiclass, by_time, by_group, prices, _drifting, _few_positive),
    *(partial(with_column, "honest", 2, base, column) for base, column in _HONEST),
)
_USED = (
    *("houses", "computers", "churn", "votes", "deliveries", "checks"),
    *("stops", "crashes", "jobs", "loans", "diamonds", "wages"),
)
REAL = (
    *LISTED["clean"],
    *(
        (one.package, one.item, one.target, one.task, one.declared)
        for one in TABLES
        if one.name in _USED
    ),
)
