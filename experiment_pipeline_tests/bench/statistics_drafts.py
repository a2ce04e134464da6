"""Does the draft take the honest split? Made-up tables whose rows have dates or ids.

In: a kind of table and a seed. Out: how often the draft splits by time, by groups, or
at random.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.random import Generator

from experiment_pipeline.experiment.in_memory import declare
from experiment_pipeline_tests.bench.simulations import anew
from experiment_pipeline_tests.bench.statistics_coverage import luck_of

ROWS = 4_000
SETTINGS = {"search": [{"algorithm": "linear"}]}
Target = Callable[[np.ndarray, Generator], np.ndarray]


def _number(signal: np.ndarray, generator: Generator) -> np.ndarray:
    return signal + generator.normal(size=len(signal))


def _class(signal: np.ndarray, generator: Generator) -> np.ndarray:
    noise = generator.logistic(size=len(signal))
    return np.where(signal + noise > 0, "yes", "no")


TARGETS: dict[str, Target] = {"number": _number, "class": _class}
Rows = tuple[pd.DataFrame, np.ndarray]  # features and the signal of the target
World = Callable[[Generator], Rows]


def _features(generator: Generator, rows: int = ROWS) -> pd.DataFrame:
    x = generator.normal(size=(rows, 5))
    return pd.DataFrame(x).add_prefix("x")


def _days(generator: Generator, days: int = 365) -> np.ndarray:
    """The day (n,) of each row, in order."""
    return np.sort(generator.integers(0, days, ROWS))


def _dated(frame: pd.DataFrame, day: np.ndarray) -> pd.DataFrame:
    return frame.assign(at=pd.Timestamp("2023-01-01") + pd.to_timedelta(day, "D"))


def _signal(frame: pd.DataFrame) -> np.ndarray:
    return (frame["x0"] + 0.5 * frame["x1"]).to_numpy()


def same_at_any_time(generator: Generator) -> Rows:
    """A date on which nothing depends."""
    frame = _features(generator)
    return _dated(frame, _days(generator)), _signal(frame)


def waves(generator: Generator, memory: float = 0.98) -> Rows:
    """A level that wanders from day to day: known at any time, not ahead."""
    frame, day = _features(generator), _days(generator)
    level = np.zeros(365)
    for number in range(1, 365):
        shock = generator.normal(scale=np.sqrt(1 - memory**2))
        level[number] = memory * level[number - 1] + shock
    return _dated(frame, day), _signal(frame) + 1.5 * level[day]


def changing_effects(generator: Generator) -> Rows:
    """What a feature means turns into its opposite in the course of the year."""
    frame, day = _features(generator), _days(generator)
    return _dated(frame, day), frame["x0"].to_numpy() * (1 - 2 * day / 365) * 1.5


def ids_of_unrelated_rows(generator: Generator) -> Rows:
    """An id that repeats, drawn at random."""
    frame = _features(generator)
    person = generator.integers(0, ROWS // 4, ROWS)
    return frame.assign(person_id=person + 1_000), _signal(frame)


def features_of_persons(generator: Generator) -> Rows:
    """Persons whose features differ, in the rows of one hardly at all."""
    person = generator.integers(0, ROWS // 8, ROWS)
    frame = _features(generator, ROWS // 8).iloc[person].reset_index(drop=True)
    frame += generator.normal(scale=0.02, size=frame.shape)
    return frame.assign(person_id=person + 1_000), _signal(frame)


def recognised_persons(generator: Generator) -> Rows:
    """Persons with a level of their own, whom features identify."""
    return _with_levels(features_of_persons(generator)[0], ROWS // 8, generator)


def unrecognised_persons(generator: Generator) -> Rows:
    """Persons with a level of their own, which no feature shows."""
    return _with_levels(ids_of_unrelated_rows(generator)[0], ROWS // 4, generator)


def _with_levels(frame: pd.DataFrame, persons: int, generator: Generator) -> Rows:
    """Each person's target is its signal beside a level of its own."""
    level = generator.normal(size=persons)[frame["person_id"] - 1_000]
    return frame, _signal(frame) + 1.5 * level


WORLDS: dict[str, World] = {
    world.__name__: world
    for world in (
        same_at_any_time,
        waves,
        changing_effects,
        ids_of_unrelated_rows,
        recognised_persons,
        unrecognised_persons,
    )
}


@anew
def drafted(generator: Generator, *, world: str, target: str, by: str) -> bool:
    """Whether the draft of a table has this split."""
    frame, signal = WORLDS[world](generator)
    frame["y"] = TARGETS[target](signal, generator)
    frame = frame.sample(frac=1, random_state=0).reset_index(drop=True)
    return declare("drafted", frame, "y", SETTINGS)[1].split.by == by


@anew
def chosen(
    generator: Generator, *, target: str, customers: float, days: float
) -> dict[str, bool]:
    """Which split the draft of customers with dates takes.

    They stay for 60 days; their levels and the wandering one of the days are so many
    times as large as the noise.
    """
    number = ROWS // 8
    customer = generator.integers(0, number, ROWS)
    day = generator.integers(0, 365 - 60, number)[customer] + generator.integers(
        0, 60, ROWS
    )
    frame = _dated(_features(generator), day).assign(customer_id=customer + 1_000)
    levels = customers * generator.normal(size=number)[customer]
    levels = levels + days * luck_of(generator, 365, 0.98)[day]
    frame["y"] = TARGETS[target](_signal(frame) + levels, generator)
    split = declare("drafted", frame, "y", SETTINGS)[1].split
    return {
        "random": split.by == "random",
        "by time": split.by == "time" and split.group is None,
        "by customer": split.by == "group",
        "new customers in the future": split.by == "time" and split.group is not None,
    }
