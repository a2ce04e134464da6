"""What a whole job needs outside its training step, in seconds: the README's command, watched.

It runs in a process and a folder of its own, with the project's `dagster.yaml` and no storage
yet; the seconds of its steps are read from the events that it leaves behind. Beside it runs the job
of an empty asset, which is what Dagster takes for itself.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline_tests.bench.flights import ROOT
from experiment_pipeline_tests.bench.pairs import Ratio, seconds_of

EXPERIMENT = "flight_delay"
FLIGHTS = ("-m", "experiment_pipeline.definitions")
EMPTY = """\
import dagster as dg


@dg.asset
def nothing() -> None:
    pass


defs = dg.Definitions([nothing], jobs=[dg.define_asset_job("empty", [nothing])])
"""


def job_cost(pairs: int) -> list[Ratio]:
    """Run the bundled experiment twice and the empty job, in turn, in new folders each time."""
    first, rerun, empty = list[float](), list[float](), list[float]()
    for number in range(pairs):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            settle(place)
            (place / "data").symlink_to(ROOT / "data")
            (place / "empty.py").write_text(EMPTY)
            whole = _seconds(place, FLIGHTS, EXPERIMENT)
            since, until = stretches(events_of_last_run(place))[f"{EXPERIMENT}__training"]
            first.append(whole - ((until or since) - since))
            rerun.append(_seconds(place, FLIGHTS, EXPERIMENT))
            empty.append(_seconds(place, ("-f", str(place / "empty.py")), "empty"))
        print(f"  jobs, round {number + 1}: {rerun[-1]:.1f} s rerun", flush=True)
    return [
        Ratio.of("unchanged rerun: job of an empty asset", rerun, empty, 1.3),
        Ratio.of("first run without training: job of an empty asset", first, empty, 2.0),
    ]


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


def events_of_last_run(place: Path) -> list[dg.EventLogEntry]:
    """Return what the newest run of a Dagster home left behind; nothing where none was made."""
    with dg.DagsterInstance.from_config(str(place)) as instance:
        return [
            event for run in instance.get_runs(limit=1) for event in instance.all_logs(run.run_id)
        ]


def _seconds(place: Path, definitions: tuple[str, str], job: str) -> float:
    """Run a job in a process of its own."""
    command = [sys.executable, "-m", "dagster", "job", "execute", *definitions, "-j", job]
    home = {"DAGSTER_HOME": str(place), STORAGE_VARIABLE: str(place / "artifacts")}
    environment = {**os.environ, **home, "PYTHONPATH": str(ROOT)}
    return seconds_of(
        lambda: subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True)
    )
