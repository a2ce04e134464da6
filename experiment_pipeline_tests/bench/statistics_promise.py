"""How the promise of a model is watched, by simulation with the truth known: false
alarms, drops seen.

A year is a validation set and 365 days of labels. Every day the question is asked.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy.special import expit, ndtri

from experiment_pipeline.prediction.watching import OF_DAY, of_complete_days
from experiment_pipeline.statistics.promise import ENOUGH, Days, evidence
from experiment_pipeline.statistics.scores import SetPrediction

DAYS, DROP_ON = 365, 200
_BEFORE = 1_000  # days that long memory remembers
AUC = 0.8


@dataclass(frozen=True)
class Source:
    """Where rows come from; `day`: how much days differ, in standard deviations of a
    row's score.
    """

    metric: str
    positives: float = 0.5
    day: float = 0.0
    memory: float = 0.0  # correlation of the effects of neighbouring days
    long: float = 0.0  # order of differencing of effects with long memory
    weekdays: bool = False  # a day's effect is that of its day of the week
    tail: bool = False  # errors with a skewed, heavy tail
    labels: int = 300  # a day

    def effects(self, units: int, rng: Generator) -> np.ndarray:
        """The effects of consecutive days, of variance 1."""
        effect = rng.normal(size=units + _BEFORE * bool(self.long))
        if self.weekdays:
            return np.resize(effect[:7], units)
        if self.long:
            lag = np.arange(1, len(effect))
            weights = np.cumprod(np.r_[1, (lag - 1 + self.long) / lag])
            effect = np.convolve(effect, weights)[_BEFORE : _BEFORE + units]
            return effect / np.sqrt((weights**2).sum())
        for at in range(1, units):
            effect[at] = (
                self.memory * effect[at - 1] + np.sqrt(1 - self.memory**2) * effect[at]
            )
        return effect

    def rows(
        self, sizes: np.ndarray, rng: Generator, auc: np.ndarray | float = AUC
    ) -> SetPrediction:
        """Rows of units of these sizes; each row's cluster is its unit."""
        n, units = int(sizes.sum()), len(sizes)
        unit = np.repeat(np.arange(units), sizes)
        effect = self.effects(units, rng)
        apart = (np.sqrt(2) * ndtri(auc) + self.day * effect)[unit]
        if self.metric == "rmse":
            errors = rng.lognormal(0, 0.6, n) if self.tail else rng.normal(size=n)
            return SetPrediction(
                errors * np.exp(-self.day * effect[unit]), np.zeros(n), unit
            )
        y = rng.random(n) < self.positives
        scores = rng.normal(size=n) + apart * y
        fixed = np.sqrt(2) * ndtri(
            AUC
        )  # the model does not know that anything has changed
        odds = np.log(self.positives / (1 - self.positives))
        return SetPrediction(
            y.astype(np.int64), expit(odds + fixed * (scores - fixed / 2)), unit
        )


def found(years: int, seed: int, *, less: float = 0.0, **of_source: Any) -> float:
    """Return the share of years in which the score was called fallen: on no reason, or
    within 30 days after a drop to so much `less`, and not before.
    """
    source = Source(**of_source)
    rng, days = np.random.default_rng(seed), []
    last = DROP_ON + 30 if less else DAYS
    auc = np.where(np.arange(last) < DROP_ON, AUC, AUC - less)
    for _ in range(years):
        judged = _judged(source, rng)
        promised = judged.interval(source.metric)
        rows = source.rows(np.full(last, source.labels), rng, auc)
        days.append(Days.of(source.metric, promised, judged, rows))
    levels = np.array([year.levels for year in days])
    sizes = np.array([year.sizes for year in days])
    reference = np.array([[year.reference] for year in days])
    first = np.full(years, np.inf)
    for day in range(1, last + 1):
        total = evidence(Days(levels[:, :day], sizes[:, :day], reference)).total
        first[np.isinf(first) & (total >= ENOUGH)] = day
    return float(np.mean((first <= last) & (first > (DROP_ON if less else 0))))


def _judged(source: Source, rng: Generator) -> SetPrediction:
    """1,000 validation rows: they come from other days; a random split does not know of
    which.
    """
    elsewhere = replace(source, memory=0.0, long=0.0, weekdays=False)
    judged = elsewhere.rows(np.full(40, 25), rng)
    return replace(judged, clusters=np.arange(len(judged.y)))


def late(years: int, seed: int, *, wait: int | str | None, **of_source: Any) -> float:
    """Return the share of years with a false alarm if the labels of positives are known
    at once and those of negatives 30 days later, and the question is asked every week.

    `wait` as of `of_complete_days`; a text: labels count as they arrive.
    """
    source = Source(**of_source)
    rng, alarms = np.random.default_rng(seed), 0
    calls = np.arange(7, DAYS + 1, 7)
    dates = [f"{day}T07" for day in calls.astype("datetime64[D]")]
    for _ in range(years):
        judged = _judged(source, rng)
        predicted = source.rows(np.full(DAYS, source.labels), rng)
        day, is_positive = predicted.clusters, predicted.y == 1
        rows = pd.DataFrame({"id": np.arange(len(day)), "day": day})
        rows[OF_DAY] = source.labels
        rows["call"] = np.searchsorted(calls, day + np.where(is_positive, 1, 30))
        rows = rows[rows["call"] < len(calls)]
        if not isinstance(wait, str):
            rows = of_complete_days(rows, dates, wait, [])
        rows = rows.sort_values(["call", "day"], kind="stable")
        number = rows.groupby(["call", "day"]).ngroup().to_numpy()
        scored = replace(predicted.rows(rows["id"].to_numpy()), clusters=number)
        promised = judged.interval(source.metric)
        days = Days.of(source.metric, promised, judged, scored)
        for last in 1 + rows.assign(number=number).groupby("call")["number"].max():
            until = Days(days.levels[:last], days.sizes[:last], days.reference)
            if evidence(until).total >= ENOUGH:
                alarms += 1
                break
    return alarms / years
