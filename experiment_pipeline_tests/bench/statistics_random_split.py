"""What a random split would have promised: customers and days on which nothing depends,
customers whom a model recognises, and days that differ.

In: a world, a learner, seeds. Out: how often the report says that a random split would
have promised too much, and how often its interval excludes 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from experiment_pipeline.stages.validation_report.final_evaluation import (
    by_random_split,
)
from experiment_pipeline_tests.bench.statistics_rows import SEED, Aim, Job, Row, rows_of
from experiment_pipeline_tests.stages.validation_report.checked import searched

CUSTOMERS, ROWS_EACH, DAYS = 250, 8, 60
MEMORY = 0.95  # of the level of a day
BY_CUSTOMER = {"by": "group", "column": "customer"}
BY_DAY = {"by": "time", "column": "day"}
LEARNERS: Mapping[str, Mapping[str, object]] = {
    "boosting": {
        "algorithm": "lightgbm",
        "hyperparameters": {
            "num_leaves": [15],
            "n_estimators": [100],
            "learning_rate": [0.1],
        },
    },
    "forest": {"algorithm": "random_forest", "hyperparameters": {"n_estimators": [30]}},
}


@dataclass(frozen=True)
class World:
    """What the target depends on beside one feature and noise of variance 1."""

    customers: float = 0.0  # standard deviation of what a customer adds
    days: float = 0.0  # the same of a day, whose level wanders
    drift: float = 0.0  # 1: the effect of the feature turns into its opposite

    def rows(self, seed: int) -> pd.DataFrame:
        """Rows of customers, known by their age, on days, known by their number."""
        generator = np.random.default_rng([SEED, seed])
        n = CUSTOMERS * ROWS_EACH
        customer = np.repeat(np.arange(CUSTOMERS), ROWS_EACH)
        age = generator.normal(size=CUSTOMERS)
        of_customer = generator.normal(scale=self.customers, size=CUSTOMERS)
        x = generator.normal(size=n)
        day = generator.integers(0, DAYS, n)
        level = np.zeros(DAYS)
        for number in range(1, DAYS):
            shock = generator.normal(scale=math.sqrt(1 - MEMORY**2))
            level[number] = MEMORY * level[number - 1] + shock
        signal = x * (1 - 2 * self.drift * day / DAYS) + self.days * level[day]
        frame = pd.DataFrame(
            {
                "customer": customer,
                "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(day, "D"),
                "number_of_day": day * 1.0,
                "age": age[customer],
                "x": x,
                "y": signal + of_customer[customer] + generator.normal(size=n),
            }
        )
        return frame.rename_axis(index="row_number")


def promised(
    name: str,
    *,
    simulations: int,
    world: World,
    split: Mapping[str, str],
    learner: str,
    aim: Aim | None,
) -> Sequence[Row]:
    """Search made-up tables under a declared split, and ask what a random one says."""
    other = {"customer", "day"} - {split["column"]}
    settings = {
        "search": [LEARNERS[learner]],
        "ensemble": "off",
        "split": split,
        "exclude": dict.fromkeys(other, "of the other split"),
    }
    too_much = []
    excludes_zero = []
    for seed in range(simulations):
        declared = {**settings, "seed": seed}
        choice = searched(world.rows(seed), "regression", declared)
        (row,) = by_random_split(choice, choice.judged(), math.inf)
        too_much.append(row.high < 0)  # of an error: less is better
        excludes_zero.append(not row.low <= 0 <= row.high)
    figures: dict[str, tuple[float, Aim | None]] = {
        ": promises too much": (float(np.mean(too_much)), aim)
    }
    if world == World():
        figures[": excludes 0"] = float(np.mean(excludes_zero)), aim
    return rows_of(f"{name}, {learner}", simulations, figures)


_FALSE_ALARMS = Aim(high=0.05)
_WORLDS = {
    "customers add nothing": (World(), BY_CUSTOMER),
    "days add nothing": (World(), BY_DAY),
    "a customer adds half the noise": (World(customers=0.5), BY_CUSTOMER),
    "a customer adds as much as the noise": (World(customers=1.0), BY_CUSTOMER),
    "a customer adds twice the noise": (World(customers=2.0), BY_CUSTOMER),
    "the level of days wanders": (World(days=1.0), BY_DAY),
    "an effect turns round": (World(drift=1.0), BY_DAY),
}
RANDOM_SPLIT: list[Job] = [
    partial(
        promised,
        name,
        simulations=100 if world == World() else 40,
        world=world,
        split=split,
        learner=learner,
        aim=_FALSE_ALARMS if world == World() else None,
    )
    for name, (world, split) in _WORLDS.items()
    for learner in LEARNERS
]
