"""kill -9 of runs, and the real daemon: the places they held are free again."""

import os
import signal
import sqlite3
import time
from contextlib import closing

import pytest

from experiment_pipeline.tracking.database.connection import FILE
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.end_to_end.browser import DagsterUi
from experiment_pipeline_tests.end_to_end.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # it starts Dagster twice

# The preparation of every run waits, so that a run can be killed while it is at work.
NEVER_DONE = """\
import os, pathlib, time

def wait(frame):
    pathlib.Path(f"{os.getpid()}.at_work").touch()
    time.sleep(600)
    return frame
"""
LAUNCH = """mutation($job: String!){launchRun(executionParams: {selector: {
  repositoryLocationName: "experiment_pipeline", repositoryName: "__repository__",
  jobName: $job}, runConfigData: {}}){__typename}}"""
RUNS = "{runsOrError{... on Runs{results{runId status jobName}}}}"
MESSAGES = """query($run: ID!){logsForRun(runId: $run){... on EventConnection{events{
  __typename ... on RunFailureEvent{message}}}}}"""


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path)
    (tmp_path / "waiting.py").write_text(NEVER_DONE)
    settings = (tmp_path / "dagster.yaml").read_text()
    quick = settings.replace("poll_interval_seconds: 30", "poll_interval_seconds: 1")
    assert quick != settings
    (tmp_path / "dagster.yaml").write_text(quick)
    scenario.write_csv(tmp_path / "visits.csv")
    preparation = {**scenario.PREPARATION, "function": "waiting:wait"}
    for name in ("first", "second", "third"):
        mapping = scenario.spec_mapping(preparation=preparation)
        project.add_experiment(name, mapping, scenario.SCHEMA)
    return project


def at_work(project) -> set[int]:
    """Processes whose run has come to the preparation of its table."""
    return {int(path.stem) for path in project.folder.glob("*.at_work")}


def remembered(project) -> dict[str, str]:
    """Experiment → what the memory says of its only run."""
    with closing(sqlite3.connect(project.folder / ".dagster_home" / FILE)) as memory:
        return dict(memory.execute("SELECT experiment, status FROM runs").fetchall())


def wait_for(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def why_failed(ui, experiment) -> str:
    """What the only run of an experiment says about its end, once it has failed."""

    def run() -> dict[str, str]:
        runs = ui.ask(RUNS)["runsOrError"]["results"]
        return next(one for one in runs if one["jobName"] == experiment)

    ui.wait_until(lambda: run()["status"] == "FAILURE", 120, f"the run of {experiment} fails")
    events = ui.ask(MESSAGES, run=run()["runId"])["logsForRun"]["events"]
    return next(e["message"] for e in events if e["__typename"] == "RunFailureEvent")


def test_killed_runs_free_their_places(project):
    """Two runs of the command line fill the queue and are killed; a third starts all the same."""
    processes = [project.start(*project.execute_command(name)) for name in ("first", "second")]
    try:
        wait_for(lambda: len(at_work(project)) == 2)
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    with DagsterUi(project) as ui:
        launched = ui.ask(LAUNCH, job="third")["launchRun"]["__typename"]
        assert launched == "LaunchRunSuccess"
        for name, process in zip(("first", "second"), processes, strict=True):
            assert f"process {process.pid}" in why_failed(ui, name)
        wait_for(lambda: len(at_work(project)) == 3)
        assert remembered(project) == {"first": "killed", "second": "killed", "third": "running"}
        ui.kill()
