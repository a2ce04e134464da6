"""Rows enough for rungs, an experiment that searches them, and a store in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.conclusions import (
    Conclusion,
    Event,
    Fitted,
    SearchNote,
)
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.halving import FitEngine, Threads, search
from experiment_pipeline.stages.search.results import ModelsInMemory
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.stages.search import scenario as small
from experiment_pipeline_tests.stages.search.scenario import one

TRAIN, TEST = 3_000, 600
SEARCH = [
    one("dummy"),
    one("linear", C=[0.00001, 0.0001, 0.001, 0.1, 10.0]),
    one(
        "lightgbm", n_estimators=5, num_leaves=[2, 4, 8], learning_rate=[0.01, 0.1, 0.3]
    ),
]
HALVING = {"fractions": [0.2, 0.5, 1.0], "keep": 0.4, "fewest_rows": 500}


def rows(
    count: int = TRAIN + TEST, classes: Sequence[Any] = ("no", "yes")
) -> pd.DataFrame:
    """Return rows whose target leans on two columns, with an owner of ten rows and an
    hour.
    """
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "age": random.normal(size=count),
            "size": random.normal(size=count),
            "colour": random.choice(["red", "blue"], count),
            "owner": [f"O{number // 10}" for number in range(count)],
            "hour": pd.Timestamp("2024-01-01")
            + pd.to_timedelta(np.arange(count), unit="h"),
        },
        index=pd.RangeIndex(count, name="row_number"),
    )
    signal = frame["age"] + frame["size"] ** 2 + random.normal(size=count)
    parts = np.quantile(signal, np.linspace(0, 1, len(classes) + 1)[1:-1])
    return frame.assign(late=[classes[code] for code in np.digitize(signal, parts)])


def experiment(
    by: str = "random", searched: Any = None, **changes: Any
) -> ExperimentSpec:
    """Return an experiment on such rows; by random, group or time."""
    columns = {"group": "owner", "time": "hour"}
    split = {"by": by} | ({"column": columns[by]} if by in columns else {})
    unused = {"owner", "hour"} - {columns.get(by)}
    apart = dict.fromkeys(sorted(unused), "is no property of the row")
    settings = {"split": split, "exclude": apart, "halving": HALVING} | changes
    return small.experiment(searched or SEARCH, **settings)


def sets_of(spec: ExperimentSpec, frame: pd.DataFrame | None = None) -> TrainingSets:
    """Return the first rows to train on and the last to choose on."""
    frame = rows() if frame is None else frame
    return scenario.to_train_on(frame.iloc[:-TEST], frame.iloc[-TEST:], spec)


class Memory(ModelsInMemory):
    """A store in memory whose content can be compared."""

    @property
    def contents(self) -> dict[str, bytes]:
        """What must not depend on how the search was run: fingerprint → bytes of the
        model.
        """
        return {name: model.model for name, model in self.models.items()}


@dataclass
class Ran:
    """A search that was run, or killed after some fits."""

    events: list[Event]

    @property
    def fits(self) -> int:
        return sum(isinstance(event, Fitted) for event in self.events)

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, SearchNote)]

    @property
    def conclusions(self) -> dict[str, Conclusion]:
        conclusions = [event for event in self.events if isinstance(event, Conclusion)]
        by_key = {event.key: event for event in conclusions}
        assert len(by_key) == len(conclusions)
        return by_key

    @property
    def answer(self) -> dict[str, tuple]:
        """What must not depend on how the search was run."""
        return {
            key: (
                conclusion.status,
                conclusion.reason,
                *((step.fraction, step.test_score) for step in conclusion.path),
            )
            for key, conclusion in self.conclusions.items()
        }

    @property
    def counts(self) -> dict[str, int]:
        """Status → how many."""
        statuses = [conclusion.status for conclusion in self.conclusions.values()]
        return {status: statuses.count(status) for status in sorted(set(statuses))}

    def ended(self, status: str) -> dict[str, Conclusion]:
        """Key → conclusion of those that ended so."""
        return {
            key: conclusion
            for key, conclusion in self.conclusions.items()
            if conclusion.status == status
        }


def run(
    spec: ExperimentSpec,
    sets: TrainingSets,
    memory: Memory | None = None,
    *,
    workers: int = 2,
    asked_for: Sequence[Configuration] | None = None,
    kill_after: int | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    engine: FitEngine | None = None,
) -> Ran:
    """Run a search, in threads or by another engine, and store what it fits."""
    memory = memory or Memory()
    events = []
    asked_for = configurations(spec) if asked_for is None else asked_for
    running = search(asked_for, sets, spec, memory, engine or Threads(workers), clock)
    for event in running:
        events.append(event)
        if isinstance(event, Fitted):
            memory.put(event.model)
            if kill_after == sum(isinstance(earlier, Fitted) for earlier in events):
                running.close()
    return Ran(events)
