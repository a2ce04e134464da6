"""What Dagster costs in training: the step of the job against the same search as a function.

The step runs in the experiment's job, in this process, with an instance, a SQLite event log and
a storage root of its own. Its seconds are those between the events of its start and its success.
"""

import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import dagster as dg

from experiment_pipeline.experiment import steps
from experiment_pipeline.orchestration.assets.shared import key_of
from experiment_pipeline.orchestration.job import range_tags
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.conclusions import SearchResults
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage.files import STORAGE_VARIABLE, location
from experiment_pipeline.storage.tables import write_table
from experiment_pipeline_tests import runs, scenario
from experiment_pipeline_tests.bench import flights
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.pairs import Ratio
from experiment_pipeline_tests.results import events_of
from experiment_pipeline_tests.runs import table_path

CONFIGURATIONS = 60
# What the step does besides the search, and where: the seconds are those of the thread that does it.
PARTS: Mapping[str, tuple[object, str]] = {
    "storing models": (TrainedModelStore, "put"),
    "materialization events": (dg.DagsterEvent, "asset_materialization"),
    "lines of the log": (dg.DagsterLogManager, "info"),
    "asking for known results": (TrainedModelStore, "results"),
    "digests and early-stopping set of the sets": (steps, "as_evaluated"),
    "the table of results": (SearchResults, "of"),
}


@dataclass
class Spent:
    """What calls of one function took of one thread."""

    calls: int = 0  # how many
    wall_seconds: float = 0.0  # by the clock on the wall, waiting included
    cpu_seconds: float = 0.0  # of the thread

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, counted from now on."""

        def counted(*given: Any, **named: Any) -> Any:
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*given, **named)
            finally:
                self.calls += 1
                self.wall_seconds += time.perf_counter() - wall
                self.cpu_seconds += time.thread_time() - cpu

        return counted


@dataclass
class StepTimes:
    """The training steps of several runs."""

    seconds: list[float] = field(default_factory=list)  # of each step, start to success
    # seconds from its start until its input tables were loaded
    loading: list[float] = field(default_factory=list)
    # seconds from the last configuration until its success
    ending: list[float] = field(default_factory=list)
    # name → what its calls took, over all steps
    parts: dict[str, Spent] = field(default_factory=lambda: {name: Spent() for name in PARTS})

    def see(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Take the events of one run into account, in their order."""
        told = [(one.timestamp, one.dagster_event) for one in events if one.dagster_event]
        at = {event.event_type_value: when for when, event in told}
        self.seconds.append(at["STEP_SUCCESS"] - at["STEP_START"])
        self.loading.append(at["LOADED_INPUT"] - at["STEP_START"])
        concluded = max(when for when, event in told if event.partition is not None)
        self.ending.append(at["STEP_SUCCESS"] - concluded)

    def figures(self, function_seconds: float, n_configurations: int) -> list[Measured]:
        """Return the bookkeeping per configuration in milliseconds, and where it goes.

        The parts need not add up: while the step's thread is busy or waits for the disk, the
        fits go on, on what it leaves of the cores.
        """
        each = 1_000 / n_configurations
        whole = statistics.median(self.seconds) - function_seconds
        found = {
            "the step without the search": whole,
            "of that: loading the input tables": statistics.median(self.loading),
            "of that: after the last configuration": statistics.median(self.ending),
        }
        for part, spent in self.parts.items():
            n_steps = len(self.seconds)
            found[f"CPU: {part}"] = spent.cpu_seconds / n_steps
            found[f"on the wall: {part}"] = spent.wall_seconds / n_steps
        return [
            Measured(f"per configuration, {name}", seconds * each, "ms", None)
            for name, seconds in found.items()
        ]


@dataclass(frozen=True)
class StepCost:
    """The ratio to quote, and what it is made of."""

    ratio: Ratio
    figures: list[Measured]


def step_cost(pairs: int) -> StepCost:
    """60 LightGBM configurations of the flights without halving, in pairs, each half first."""
    spec = flights.flights_spec(search=flights.SEARCH, halving=False)
    sets = flights.flights_sets(spec)
    times, functions = StepTimes(), []
    for number in range(pairs):
        if number % 2 == 0:
            training_step(spec, sets, times)
        functions.append(function_seconds(spec, sets))
        if number % 2 == 1:
            training_step(spec, sets, times)
        print(f"  step: {times.seconds[-1]:.1f} s, function: {functions[-1]:.1f} s", flush=True)
    ratio = Ratio(
        f"training step of the job, {CONFIGURATIONS} configurations: the same search as a function",
        statistics.median(times.seconds),
        statistics.median(functions),
        tuple(step / alone for step, alone in zip(times.seconds, functions, strict=True)),
        goal=1.10,
    )
    return StepCost(ratio, times.figures(ratio.other_seconds, CONFIGURATIONS))


def function_seconds(spec: ExperimentSpec, sets: TrainingSets) -> float:
    """Search without Dagster and without a store; the seconds it took."""
    started = time.perf_counter()
    deque(events_of(spec, sets), 0)
    return time.perf_counter() - started


def training_step(spec: ExperimentSpec, sets: TrainingSets, times: StepTimes) -> None:
    """Run the step on a fresh instance and a fresh storage root that holds the two sets."""
    declared = configurations(spec)
    stages = [key_of(spec, "trained_model"), key_of(spec, "search_results")]
    schema = (flights.FOLDER / "schema.yaml").read_text()
    job = runs.definitions(spec, schema).resolve_job_def(spec.name)
    with ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(patch.dict("os.environ", {STORAGE_VARIABLE: root}))
        for name, table in scenario.stored(sets.train, sets.test, spec).items():
            write_table(table_path(location(root), spec.name, f"{name}_set"), table)
        # As dagster.yaml has it; the debug lines of every event are no part of a user's run.
        asked: dict[str, Any] = {"storage": {"sqlite": {"base_dir": f"{root}/dagster"}}}
        asked |= {"python_logs": {"python_log_level": "INFO"}}
        instance = stack.enter_context(dg.instance_for_test(overrides=asked))
        for name, (owner, function) in PARTS.items():
            timed = times.parts[name].timed(getattr(owner, function))
            stack.enter_context(patch.object(owner, function, timed))
        run = job.execute_in_process(
            instance=instance, tags=range_tags(declared), asset_selection=stages
        )
        times.see(list(instance.all_logs(run.run_id)))
