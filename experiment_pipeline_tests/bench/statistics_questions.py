"""Groups and time at once: scores of new customers in the future, and of known ones.

Customers come back in stays of some days, over three years; each has luck that features
do not show, and so has each day. A least-squares model knows the mean error of customers
that it was fitted on. The truth is the error of the same model for many later rows that
the question is about.
"""

import numpy as np
import pandas as pd

from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.clusters import resampling_clusters
from experiment_pipeline.table.membership import assign_sets
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.bench.simulations import Figure, of_each

_DAYS, _CUSTOMERS, _STAYS, _ROWS_OF_A_STAY = 1_000, 1_500, 2_400, 5
_FIRST = pd.Timestamp("2021-01-01")
_LUCK_OF_A_DAY = 0.3
# Rows of the future, for the truth.
_MANY = 100_000


def question(
    samples: int, seed: int, *, predicts: str, luck: float, days: int
) -> dict[str, Figure]:
    """Whether the interval of the mean absolute error holds the truth, and whether one
    that resamples days alone does.
    """
    split = {"by": "time", "column": "at", "group": "customer", "predicts": predicts}
    spec = scenario.spec("regression", split, target="y", exclude={}, preparation={})
    held, by_days = [], []
    for generator in of_each(samples, seed):
        own = luck * generator.normal(size=_CUSTOMERS)
        table = _table(generator, own, days)
        sets = assign_sets(table, spec, ["x"])
        fitted = table[sets.isin(["train", "test"])]
        judged = table[sets == "validation"]
        slope, means = _fit(fitted)
        later = _later(generator, own, luck, means, predicts)
        truth = float(np.abs(later["y"] - _values(later, slope, means)).mean())
        clusters = resampling_clusters(judged, spec, ["x"])
        predicted = _values(judged, slope, means)
        for outcomes, codes in ((held, clusters), (by_days, clusters[:, 0])):
            consecutive = codes.view(ConsecutiveClusters)
            rows = SetPrediction(judged["y"].to_numpy(), predicted, consecutive)
            interval = rows.interval("mae")
            outcomes.append(interval.low <= truth <= interval.high)
    return {"by days and customers": held, "by days alone": by_days}


def _table(generator: np.random.Generator, own: np.ndarray, days: int) -> pd.DataFrame:
    """Draw all stays, of so many days; `own` is the luck of each customer."""
    stay = np.repeat(np.arange(_STAYS), _ROWS_OF_A_STAY)
    customer = generator.integers(0, _CUSTOMERS, _STAYS)[stay]
    start = generator.integers(0, _DAYS - days, _STAYS)[stay]
    day = start + generator.integers(0, days, len(stay))
    luck_of_days = _LUCK_OF_A_DAY * generator.normal(size=_DAYS)
    return _rows(generator, customer, own[customer] + luck_of_days[day]).assign(
        at=_FIRST + pd.to_timedelta(day, unit="D")
    )


def _rows(
    generator: np.random.Generator, customer: np.ndarray, luck: np.ndarray
) -> pd.DataFrame:
    x, noise = generator.normal(size=(2, len(customer)))
    return pd.DataFrame({"customer": customer, "x": x, "y": x + luck + noise})


def _fit(fitted: pd.DataFrame) -> tuple[float, pd.Series]:
    """Return the slope, and the shrunk mean error of each customer."""
    x, y = fitted["x"].to_numpy(), fitted["y"].to_numpy()
    slope = float(x @ y / (x @ x))
    errors = (fitted["y"] - slope * fitted["x"]).groupby(fitted["customer"])
    return slope, errors.sum() / (errors.count() + 1)


def _values(rows: pd.DataFrame, slope: float, means: pd.Series) -> np.ndarray:
    known = rows["customer"].map(means).fillna(0.0)
    return (slope * rows["x"] + known).to_numpy()


def _later(
    generator: np.random.Generator,
    own: np.ndarray,
    luck: float,
    means: pd.Series,
    predicts: str,
) -> pd.DataFrame:
    """Draw later rows, each of a day of its own: of customers that the model knows, or
    of others.
    """
    by_day = _LUCK_OF_A_DAY * generator.normal(size=_MANY)
    if predicts == "new":
        customer = len(own) + np.arange(_MANY)
        return _rows(generator, customer, luck * generator.normal(size=_MANY) + by_day)
    customer = generator.choice(means.index.to_numpy(), _MANY)
    return _rows(generator, customer, own[customer] + by_day)
