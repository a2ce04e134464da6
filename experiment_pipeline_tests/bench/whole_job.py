"""What a whole job needs outside its training step, in seconds: the README's command, watched.

It runs in a process and a folder of its own, with the project's `dagster.yaml` and no storage
yet; its seconds are read from the events that it leaves behind. Beside it runs the job of an
empty asset, which is what Dagster takes for itself.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.flights import ROOT
from experiment_pipeline_tests.bench.pairs import Ratio

EXPERIMENT = "flight_delay"
TRAINING = f"{EXPERIMENT}__training"
FLIGHTS = ("-m", "experiment_pipeline.definitions")
WITHOUT = "outside the training step"
EMPTY = """\
import dagster as dg


@dg.asset
def nothing() -> None:
    pass


defs = dg.Definitions([nothing], jobs=[dg.define_asset_job("empty", [nothing])])
"""


@dataclass(frozen=True)
class JobCost:
    """The ratios to quote, and what they are made of."""

    ratios: list[Ratio]
    figures: list[Measured]


def job_cost(pairs: int) -> JobCost:
    """Run the bundled experiment twice and the empty job, in turn, in new folders each time."""
    first, rerun, empty, figures = [], [], [], list[Measured]()
    for number in range(pairs):
        with tempfile.TemporaryDirectory() as folder:
            place = _prepared(Path(folder))
            first.append(_timed(place, FLIGHTS, EXPERIMENT))
            rerun.append(_timed(place, FLIGHTS, EXPERIMENT))
            empty.append(_timed(place, ("-f", str(place / "empty.py")), "empty"))
        print(f"  jobs, round {number + 1}: {rerun[-1]['whole']:.1f} s rerun", flush=True)
    for name, told in (("first run", first), ("rerun, everything reused", rerun)):
        figures += [_median(f"job, {name}: {part}", told, part) for part in told[0]]
    floor = [one["whole"] for one in empty]
    return JobCost(
        [
            _ratio("unchanged rerun", [one["whole"] for one in rerun], floor, 1.3),
            _ratio("first run without training", [one[WITHOUT] for one in first], floor, 2.0),
        ],
        figures,
    )


def _ratio(name: str, ours: list[float], empty: list[float], goal: float) -> Ratio:
    return Ratio(
        f"{name}: job of an empty asset",
        statistics.median(ours),
        statistics.median(empty),
        tuple(one / other for one, other in zip(ours, empty, strict=True)),
        goal,
    )


def _median(name: str, told: Sequence[Mapping[str, float]], part: str) -> Measured:
    return Measured(name, statistics.median(one.get(part, 0.0) for one in told), "s", None)


def _prepared(place: Path) -> Path:
    settle(place)
    (place / "data").symlink_to(ROOT / "data")
    (place / "empty.py").write_text(EMPTY)
    return place


def settle(place: Path) -> None:
    """Write the project's dagster.yaml for a home in a folder.

    Its own folders are relative to the place that the command runs in, and we look in later.
    """
    settings = (ROOT / "dagster.yaml").read_text()
    home = str(place / ".dagster_home")
    (place / "dagster.yaml").write_text(settings.replace(".dagster_home", home))


def stretches(events: Sequence[dg.EventLogEntry]) -> dict[str, tuple[float, float | None]]:
    """Return step → the seconds since the epoch when it began, and had succeeded; None: it has not."""
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


def spans(started: float, ended: float, events: Sequence[dg.EventLogEntry]) -> dict[str, float]:
    """Return what took the seconds of a process that lasted so long, in all and by part."""
    told = [(one.dagster_event, one.timestamp) for one in events if one.dagster_event]
    run = {event.event_type_value: at for event, at in told if event.step_key is None}
    steps = {name: until - since for name, (since, until) in stretches(events).items() if until}
    before = run["PIPELINE_START"] - started
    after = ended - run["PIPELINE_SUCCESS"]
    whole = ended - started
    return {
        "whole": whole,
        WITHOUT: whole - steps.get(TRAINING, 0.0),
        "process start, imports, making the run": before,
        **{f"step {name.removeprefix(f'{EXPERIMENT}__')}": took for name, took in steps.items()},
        "between the steps": whole - before - after - sum(steps.values()),
        "end of the process": after,
    }


def _timed(place: Path, definitions: tuple[str, str], job: str) -> dict[str, float]:
    """Run a job; name of what took its seconds → how many."""
    command = [sys.executable, "-m", "dagster", "job", "execute", *definitions, "-j", job]
    home = {"DAGSTER_HOME": str(place), STORAGE_VARIABLE: str(place / "artifacts")}
    environment = {**os.environ, **home, "PYTHONPATH": str(ROOT)}
    started = time.time()
    subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True)
    return spans(started, time.time(), events_of_last_run(place))


def events_of_last_run(place: Path) -> list[dg.EventLogEntry]:
    """Return what the newest run of a Dagster home left behind; nothing where none was made."""
    with dg.DagsterInstance.from_config(str(place)) as instance:
        return [
            event for run in instance.get_runs(limit=1) for event in instance.all_logs(run.run_id)
        ]
