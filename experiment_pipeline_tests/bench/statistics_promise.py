"""How the promise of a model is watched, by simulation with the truth known: false
alarms, drops seen.

A year is a validation set and 365 days of labels. Every day the question is asked.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, ndtri

from experiment_pipeline.prediction.watching import OF_DAY, of_complete_days
from experiment_pipeline.statistics.promise import ENOUGH, Days, evidence
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.bench.statistics_rows import Aim, each

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
    uneven: bool = False  # 30 to 3,000 of them
    validation: int = 1_000  # rows that the promise is from

    def __str__(self) -> str:
        """What differs from the plainest source."""
        plain = type(self)(self.metric)
        own = {
            name: value
            for name, value in vars(self).items()
            if value != vars(plain)[name]
        }
        return ", ".join(
            [self.metric, *(f"{name} {value}" for name, value in own.items())]
        )

    def effects(self, units: int, rng: np.random.Generator) -> np.ndarray:
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
        self, sizes: np.ndarray, rng: np.random.Generator, auc: np.ndarray | float = AUC
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


QUIET = [
    *(Source("roc_auc"), Source("roc_auc", 0.1), Source("roc_auc", day=0.1)),
    *(
        Source("roc_auc", day=0.1, uneven=True),
        Source("log_loss"),
        Source("log_loss", day=0.1),
    ),
    *(Source("log_loss", 0.1), Source("rmse"), Source("rmse", validation=3_000)),
    Source("rmse", tail=True),
]
_FEW = Source("roc_auc", labels=100, day=0.1)
ALIKE = [
    *(replace(_FEW, memory=memory) for memory in (0.5, 0.8)),
    *(replace(_FEW, memory=0.8, day=0.2), replace(_FEW, long=0.35)),
    *(replace(_FEW, weekdays=True), replace(_FEW, memory=0.8, labels=300)),
    replace(_FEW, metric="log_loss", memory=0.8),
]
_OTHERS: list[dict[str, Any]] = [
    {"validation": 3_000},
    {"positives": 0.3},
    {"positives": 0.1},
]
RARE = [replace(QUIET[0], **one) for one in (*_OTHERS, {"labels": 75})]


def found(
    years: int,
    seed: int,
    *,
    source: Source,
    drop: int = DAYS,
    within: int = 0,
    less: float = 0.03,
) -> float:
    """Return the share of years in which the score was called fallen: on no reason, or
    `within` so many days after a `drop` to so much `less`, and not before.
    """
    rng, days = np.random.default_rng(seed), []
    last = drop + within if within else DAYS
    auc = np.where(np.arange(last) < drop, AUC, AUC - less)
    for _ in range(years):
        sizes = np.full(last, source.labels)
        if source.uneven:
            sizes = (
                (source.labels * np.exp(rng.normal(size=last)))
                .clip(30, 3_000)
                .astype(np.int64)
            )
        judged = _judged(source, rng)
        promised = judged.interval(source.metric)
        days.append(
            Days.of(source.metric, promised, judged, source.rows(sizes, rng, auc))
        )
    levels, sizes = (
        np.array([getattr(one, name) for one in days]) for name in ("levels", "sizes")
    )
    reference = np.array([[one.reference] for one in days])
    first = np.full(years, np.inf)
    for day in range(1, last + 1):
        total = evidence(Days(levels[:, :day], sizes[:, :day], reference)).total
        first[np.isinf(first) & (total >= ENOUGH)] = day
    return float(np.mean((first <= last) & (first > (drop if within else 0))))


def _judged(source: Source, rng: np.random.Generator) -> SetPrediction:
    """Validation rows: they come from other days; a random split does not know of
    which.
    """
    elsewhere = replace(source, memory=0.0, long=0.0, weekdays=False)
    judged = elsewhere.rows(np.full(source.validation // 25, 25), rng)
    return replace(judged, clusters=np.arange(len(judged.y)))


def late(years: int, seed: int, *, source: Source, wait: int | str | None) -> float:
    """Return the share of years with a false alarm if the labels of positives are known
    at once and those of negatives 30 days later, and the question is asked every week.

    `wait` as of `of_complete_days`; a text: labels count as they arrive.
    """
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


_YEARS, _seen = 200, {"drop": DROP_ON, "within": 30}
LATE = [Source("log_loss", 0.3, labels=100), Source("roc_auc", labels=100)]
_LATE = "{source}: a false alarm, negatives come after 30 days"
_ALARM, _LESS = "{source}: a false alarm", "{source}: {less:g} less is seen"
PROMISE = (
    *each(Aim(high=0.05), _YEARS, found, {_ALARM: {"source": QUIET}}),
    *each(Aim(high=0.05), _YEARS, found, {_ALARM: {"source": ALIKE}}),
    *each(
        None,
        50,
        late,
        {f"{_LATE}, as {{wait}}": {"source": LATE, "wait": "they arrive"}},
    ),
    *each(
        Aim(high=0.05),
        50,
        late,
        {
            f"{_LATE}, inferred": {"source": LATE, "wait": None},
            f"{_LATE}, label_after {{wait}} days": {"source": LATE, "wait": 30},
        },
    ),
    *each(
        Aim(low=0.9),
        _YEARS,
        found,
        {_LESS: {"source": QUIET[0], **_seen, "less": 0.03}},
    ),
    *each(None, _YEARS, found, {_LESS: {"source": RARE, **_seen, "less": 0.03}}),
    *each(
        Aim(low=0.9), _YEARS, found, {_LESS: {"source": RARE[2], **_seen, "less": 0.05}}
    ),
    *each(
        Aim(low=0.9), _YEARS, found, {_LESS: {"source": RARE[3], **_seen, "less": 0.06}}
    ),
)
