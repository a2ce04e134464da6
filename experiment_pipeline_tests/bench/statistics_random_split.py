"""What a random split would have promised: customers and days on which nothing depends,
customers whom a model recognises, and days that differ.

In: a world, a learner, seeds. Out: how often the report says that a random split would
have promised too much, and how often its interval excludes 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.stages.validation_report.final_evaluation import (
    by_random_split,
)
from experiment_pipeline_tests.bench.simulations import SEED
from experiment_pipeline_tests.stages.validation_report.checked import searched

CUSTOMERS, ROWS_EACH, DAYS = 250, 8, 60
MEMORY = 0.95  # of the level of a day
SPLITS = {"customer": "group", "day": "time"}
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
    tables: int, seed: int, *, by: str, learner: str, **of_world: float
) -> dict[str, float]:
    """Search made-up tables under a split by customer or day, and ask what a random one
    says.
    """
    world = World(**of_world)
    (other,) = SPLITS.keys() - {by}
    settings = {
        "search": [LEARNERS[learner]],
        "ensemble": "off",
        "split": {"by": SPLITS[by], "column": by},
        "exclude": {other: "of the other split"},
    }
    too_much = []
    excludes_zero = []
    for number in range(tables):
        declared = {**settings, "seed": number}
        choice = searched(world.rows(number), "regression", declared)
        (row,) = by_random_split(choice, choice.judged(), math.inf)
        too_much.append(row.high < 0)  # of an error: less is better
        excludes_zero.append(not row.low <= 0 <= row.high)
    figures = {"promises too much": float(np.mean(too_much))}
    if world == World():
        figures["excludes 0"] = float(np.mean(excludes_zero))
    return figures
