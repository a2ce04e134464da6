"""Does the draft take the honest split? Made-up tables whose rows have dates or ids.

In: a kind of table and a seed. Out: how often the draft splits by time, by groups, or
at random.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from experiment_pipeline.experiment.in_memory import declare
from experiment_pipeline_tests.bench.statistics_rows import Aim, Job, each

ROWS = 4_000
SETTINGS = {"search": [{"algorithm": "linear"}]}
Target = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _number(signal: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return signal + generator.normal(size=len(signal))


def _class(signal: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    noise = generator.logistic(size=len(signal))
    return np.where(signal + noise > 0, "yes", "no")


TARGETS: Mapping[str, Target] = {"number": _number, "class": _class}


def _features(generator: np.random.Generator, rows: int = ROWS) -> pd.DataFrame:
    x = generator.normal(size=(rows, 5))
    return pd.DataFrame(x).add_prefix("x")


def _days(generator: np.random.Generator, days: int = 365) -> np.ndarray:
    """The day (n,) of each row, in order."""
    return np.sort(generator.integers(0, days, ROWS))


def _dated(frame: pd.DataFrame, day: np.ndarray) -> pd.DataFrame:
    return frame.assign(at=pd.Timestamp("2023-01-01") + pd.to_timedelta(day, "D"))


def _signal(frame: pd.DataFrame) -> np.ndarray:
    return (frame["x0"] + 0.5 * frame["x1"]).to_numpy()


def same_at_any_time(
    generator: np.random.Generator,
) -> tuple[pd.DataFrame, np.ndarray]:
    """A date on which nothing depends."""
    frame = _features(generator)
    return _dated(frame, _days(generator)), _signal(frame)


def waves(
    generator: np.random.Generator, memory: float = 0.98
) -> tuple[pd.DataFrame, np.ndarray]:
    """A level that wanders from day to day: known at any time, not ahead."""
    frame, day = _features(generator), _days(generator)
    level = np.zeros(365)
    for number in range(1, 365):
        shock = generator.normal(scale=np.sqrt(1 - memory**2))
        level[number] = memory * level[number - 1] + shock
    return _dated(frame, day), _signal(frame) + 1.5 * level[day]


def changing_effects(
    generator: np.random.Generator,
) -> tuple[pd.DataFrame, np.ndarray]:
    """What a feature means turns into its opposite in the course of the year."""
    frame, day = _features(generator), _days(generator)
    return _dated(frame, day), frame["x0"].to_numpy() * (1 - 2 * day / 365) * 1.5


def ids_of_unrelated_rows(
    generator: np.random.Generator,
) -> tuple[pd.DataFrame, np.ndarray]:
    """An id that repeats, drawn at random."""
    frame = _features(generator)
    person = generator.integers(0, ROWS // 4, ROWS)
    return frame.assign(person_id=person + 1_000), _signal(frame)


def features_of_persons(
    generator: np.random.Generator,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Persons whose features differ, in the rows of one hardly at all."""
    person = generator.integers(0, ROWS // 8, ROWS)
    frame = _features(generator, ROWS // 8).iloc[person].reset_index(drop=True)
    frame += generator.normal(scale=0.02, size=frame.shape)
    return frame.assign(person_id=person + 1_000), _signal(frame)


def recognised_persons(
    generator: np.random.Generator,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Persons with a level of their own, whom features identify."""
    return _with_levels(features_of_persons(generator)[0], ROWS // 8, generator)


def unrecognised_persons(
    generator: np.random.Generator,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Persons with a level of their own, which no feature shows."""
    return _with_levels(ids_of_unrelated_rows(generator)[0], ROWS // 4, generator)


def _with_levels(
    frame: pd.DataFrame, persons: int, generator: np.random.Generator
) -> tuple[pd.DataFrame, np.ndarray]:
    """Each person's target is its signal beside a level of its own."""
    level = generator.normal(size=persons)[frame["person_id"] - 1_000]
    return frame, _signal(frame) + 1.5 * level


def drafted(
    tables: int,
    seed: int,
    *,
    world: Callable[[np.random.Generator], tuple[pd.DataFrame, np.ndarray]],
    target: str,
    by: str,
) -> float:
    """Return the share of tables whose draft has this split."""
    chosen = []
    for number in range(tables):
        generator = np.random.default_rng([seed, number])
        frame, signal = world(generator)
        frame["y"] = TARGETS[target](signal, generator)
        frame = frame.sample(frac=1, random_state=number).reset_index(drop=True)
        chosen.append(declare("drafted", frame, "y", SETTINGS)[1].split.by == by)
    return float(np.mean(chosen))


_KINDS = [*TARGETS]
_HONEST = {
    # Of classes it shows less; in some years the last third resembles the others.
    "{target}, a level that wanders: split by time": {"world": waves, "by": "time"},
    "{target}, effects that change: split by time": {
        "world": changing_effects,
        "by": "time",
    },
    "{target}, persons whom features identify: split by person": {
        "world": recognised_persons,
        "by": "group",
    },
    "{target}, persons whom no feature identifies: split by person": {
        "world": unrecognised_persons,
        "by": "group",
    },
}
_NEEDLESS = {
    "{target}, a date that tells nothing: split by time": {
        "world": same_at_any_time,
        "by": "time",
    },
    "{target}, an id of unrelated rows: split by person": {
        "world": ids_of_unrelated_rows,
        "by": "group",
    },
}


def _for_each_target(cases: Mapping[str, Mapping[str, object]]) -> dict[str, dict]:
    return {name: {**case, "target": _KINDS} for name, case in cases.items()}


DRAFTS: list[Job] = [
    *each(Aim(low=0.8), 20, drafted, _for_each_target(_HONEST)),
    *each(Aim(high=0.05), 40, drafted, _for_each_target(_NEEDLESS)),
]
