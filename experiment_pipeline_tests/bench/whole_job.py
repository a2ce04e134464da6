"""What a whole job needs outside its training step, in seconds: the README's command, watched.

It runs in a process and a folder of its own, with the project's `dagster.yaml` and no storage
yet; its seconds are read from the events that it leaves behind.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg

from experiment_pipeline.storage.locations import STORAGE_VARIABLE
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.flights import ROOT

EXPERIMENT = "flight_delay"
TRAINING = f"{EXPERIMENT}__training"


def measurements() -> list[Measured]:
    """Run the bundled experiment twice in one folder: on nothing, then reusing everything."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        # Its folders are relative to the place that the command runs in, and we look in later.
        settings = (ROOT / "dagster.yaml").read_text()
        home = str(place / ".dagster_home")
        (place / "dagster.yaml").write_text(settings.replace(".dagster_home", home))
        (place / "data").symlink_to(ROOT / "data")
        return [*_job(place, "first run"), *_job(place, "rerun, everything reused")]


def spans(started: float, ended: float, events: Sequence[dg.EventLogEntry]) -> dict[str, float]:
    """Return the seconds of a job: name of what took them → how many.

    Args:
        started: the moment the process was started, in seconds since the epoch.
        ended: the moment it had ended.
        events: of its run.
    """
    told = [(one.dagster_event, one.timestamp) for one in events if one.dagster_event]
    run = {event.event_type_value: at for event, at in told if event.step_key is None}
    begun = {event.step_key: at for event, at in told if event.is_step_start}
    steps = {
        event.step_key: at - begun[event.step_key]
        for event, at in told
        if event.is_step_success and event.step_key in begun
    }
    before = run["PIPELINE_START"] - started
    after = ended - run["PIPELINE_SUCCESS"]
    whole = ended - started
    return {
        "whole": whole,
        "outside the training step": whole - steps.get(TRAINING, 0.0),
        "process start, imports, making the run": before,
        **{f"step {name.removeprefix(f'{EXPERIMENT}__')}": took for name, took in steps.items()},
        "between the steps": whole - before - after - sum(steps.values()),
        "end of the process": after,
    }


def _job(place: Path, name: str) -> list[Measured]:
    command = ["-m", "dagster", "job", "execute", "-m", "experiment_pipeline.definitions"]
    home = {"DAGSTER_HOME": str(place), STORAGE_VARIABLE: str(place / "artifacts")}
    environment = {**os.environ, **home, "PYTHONPATH": str(ROOT)}
    started = time.time()
    subprocess.run(
        [sys.executable, *command, "-j", EXPERIMENT],
        cwd=place,
        env=environment,
        check=True,
        capture_output=True,
    )
    took = spans(started, time.time(), _events_of_last_run(place))
    return _rows(took, name)


def _rows(took: Mapping[str, float], name: str) -> list[Measured]:
    found = [Measured(f"job, {name}: {part}", seconds, "s", None) for part, seconds in took.items()]
    for one in found:
        print(f"  {one.name}: {one.value:.1f} s", flush=True)
    return found


def _events_of_last_run(place: Path) -> list[dg.EventLogEntry]:
    with dg.DagsterInstance.from_config(str(place)) as instance:
        run = instance.get_runs(limit=1)[0]
        return list(instance.all_logs(run.run_id))
