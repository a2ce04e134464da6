"""What Dagster costs in training: the step of the job against the same search as a
function.

The step runs in the experiment's job, in this process, with an instance, a SQLite event
log and a storage root of its own. Its seconds are those between the events of its start
and its success, which other parts read of whole jobs.
"""

import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg

from experiment_pipeline.orchestration.instance import SqliteStorage
from experiment_pipeline.orchestration.job import range_tags
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage.files import STORAGE_VARIABLE, location
from experiment_pipeline.storage.tables import write_table
from experiment_pipeline_tests import runs, scenario
from experiment_pipeline_tests.bench import flights
from experiment_pipeline_tests.bench.pairs import Ratio, compare, seconds_of
from experiment_pipeline_tests.results import events_of
from experiment_pipeline_tests.runs import table_path


def step_cost(pairs: int) -> Ratio:
    """60 LightGBM configurations of the flights without halving, in pairs."""
    spec = flights.flights_spec(search=flights.SEARCH, halving=False)
    sets = flights.flights_cut(spec).sets

    def step() -> float:
        return training_step(spec, sets)

    def function() -> float:
        return seconds_of(lambda: deque(events_of(spec, sets), 0))

    name = "training step of the job, 60 configurations: the same search as a function"
    return compare(
        name, step, function, pairs=pairs, goal=1.10, timed=lambda work: work()
    )


def training_step(spec: ExperimentSpec, sets: TrainingSets) -> float:
    """Run the step on a fresh instance and a fresh storage root that holds the two
    sets; its seconds.
    """
    schema = (flights.FOLDER / "schema.yaml").read_text()
    with ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(patch.dict("os.environ", {STORAGE_VARIABLE: root}))
        for name, table in scenario.stored(sets.train, sets.test, spec).items():
            write_table(table_path(location(root), spec.name, f"{name}_set"), table)
        # As dagster.yaml has it; the debug lines of every event are no part of a user's
        # run.
        storage = {"module": SqliteStorage.__module__, "class": SqliteStorage.__name__}
        storage |= {"config": {"base_dir": f"{root}/dagster"}}
        asked: dict[str, Any] = {"storage": {"custom": storage}}
        asked |= {"python_logs": {"python_log_level": "INFO"}}
        instance = stack.enter_context(dg.instance_for_test(overrides=asked))
        stages = ("trained_model", "search_results")
        tags = range_tags(configurations(spec))
        run = runs.run(spec, schema, instance, stages=stages, **tags)
        assert run.success, run.failure
        ((since, until),) = stretches([*instance.all_logs(run.result.run_id)]).values()
    return (until or since) - since


def settle(place: Path) -> None:
    """Write the project's dagster.yaml for a home in a folder.

    Its own folders are relative to the place that the command runs in, and we look in
    later.
    """
    settings = (flights.ROOT / "dagster.yaml").read_text()
    home = str(place / ".dagster_home")
    (place / "dagster.yaml").write_text(settings.replace(".dagster_home", home))


def stretches(
    events: Sequence[dg.EventLogEntry],
) -> dict[str, tuple[float, float | None]]:
    """Return step → the seconds since the epoch when it began, and had succeeded; None:
    it has not.
    """
    found = dict[str, tuple[float, float | None]]()
    for one in events:
        event = one.dagster_event
        if event is None or event.step_key is None:
            continue
        if event.is_step_start:
            found[event.step_key] = one.timestamp, None
        elif event.is_step_success and event.step_key in found:
            found[event.step_key] = found[event.step_key][0], one.timestamp
    return found


def events_of_last_run(place: Path) -> list[dg.EventLogEntry]:
    """Return what the newest run of a Dagster home left behind; nothing where none was
    made.
    """
    with dg.DagsterInstance.from_config(str(place)) as instance:
        return [
            log
            for run in instance.get_runs(limit=1)
            for log in instance.all_logs(run.run_id)
        ]
