"""A run on a cluster that is cancelled as the button of Dagster's page does it, and its rerun."""

import re

import pytest
from distributed import Client

from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.end_to_end.browser import DagsterUi
from experiment_pipeline_tests.end_to_end.project import Project
from experiment_pipeline_tests.stages.search.dask.dask_processes import DaskProcesses

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # Dagster, a scheduler and workers

EXPERIMENT, FITS = "clinic", 5
LAUNCH = """mutation($job: String!){launchRun(executionParams: {selector: {
  repositoryLocationName: "experiment_pipeline", repositoryName: "__repository__",
  jobName: $job}, runConfigData: {}}){__typename}}"""
TERMINATE = """mutation($run: String!){terminateRun(runId: $run,
  terminatePolicy: SAFE_TERMINATE){__typename}}"""
RUNS = "{runsOrError{... on Runs{results{runId status}}}}"
LOGS = """query($run: ID!){logsForRun(runId: $run){... on EventConnection{events{
  __typename ... on MessageEvent{message} ... on ErrorEvent{error{message stack}}}}}}"""
SAID = (
    rf"the search was cancelled after (\d+) of {FITS + 1} configurations; "
    "the next run reuses what is stored"
)


@pytest.fixture
def dask(tmp_path):
    """A scheduler and two workers of one thread."""
    with DaskProcesses(tmp_path) as running:
        running.start_scheduler()
        running.workers = [running.start_worker() for _ in range(2)]
        yield running


@pytest.fixture
def project(tmp_path, dask):
    """A project whose search takes seconds for each of its larger configurations."""
    project = Project(tmp_path / "project", {"EXPERIMENT_PIPELINE_DASK": dask.address})
    scenario.write_csv(project.folder / "visits.csv")
    slow = {
        "num_leaves": list(range(8, 8 + FITS)),
        "n_estimators": 5_000,
        "early_stopping_round": 0,
        "learning_rate": 0.01,
    }
    search = [{"algorithm": "linear"}, {"algorithm": "lightgbm", "hyperparameters": slow}]
    project.add_experiment(EXPERIMENT, scenario.spec_mapping(search=search), scenario.SCHEMA)
    return project


@pytest.fixture
def client(dask):
    """Somebody who looks at the scheduler from outside."""
    with Client(dask.address, set_as_default=False) as client:
        yield client


def tasks_of(client: Client) -> int:
    """How many tasks the scheduler knows of, running or waiting."""
    return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))


def stored(project) -> dict[str, float]:
    """Every file of the configurations that are stored whole, and when it was written."""
    (root,) = project.folder.rglob(f"{EXPERIMENT}/trained_model")
    files = [path for result in root.rglob("result.json") for path in result.parent.iterdir()]
    return {str(path.relative_to(root)): path.stat().st_mtime for path in files}


def runs(ui) -> list[tuple[str, str]]:
    """Id and status of every run, newest first."""
    found = ui.ask(RUNS)["runsOrError"]["results"]
    return [(run["runId"], run["status"]) for run in found]


def log(ui, run) -> list[dict]:
    """What a run says, in order."""
    return ui.ask(LOGS, run=run)["logsForRun"]["events"]


def test_cancelling_takes_back_what_waits_and_loses_nothing(project, dask, client):
    """The scheduler has no task in seconds, the run is cancelled and says in a sentence, without a
    stack, how far it came; the next one trains what is missing.
    """
    with DagsterUi(project) as ui:
        assert ui.ask(LAUNCH, job=EXPERIMENT)["launchRun"]["__typename"] == "LaunchRunSuccess"

        def partitions() -> set[str | None]:
            return {event.partition for event in ui.materializations(EXPERIMENT, "trained_model")}

        def is_midway() -> bool:
            return len(partitions()) >= 3 and all(client.processing().values())

        ui.wait_until(is_midway, 240, "some configurations are stored, and both workers fit")
        ((run, _),) = runs(ui)
        answer = ui.ask(TERMINATE, run=run)["terminateRun"]["__typename"]
        assert answer == "TerminateRunSuccess"
        ui.wait_until(lambda: tasks_of(client) == 0, 30, "the scheduler knows no task any more")
        ui.wait_until(lambda: runs(ui) == [(run, "CANCELED")], 30, "the run has ended")
        done, kept = partitions(), stored(project)
        errors = [event["error"] for event in log(ui, run) if event.get("error")]
        assert [error["stack"] for error in errors] == [[], []]
        counted = {re.match(SAID, error["message"])[1] for error in errors}
        assert counted == {str(len(done))}
        # What fits share stays for the rerun, which removes it at its end.
        assert list(project.folder.rglob(f"{EXPERIMENT}/shared/*"))

        assert ui.ask(LAUNCH, job=EXPERIMENT)["launchRun"]["__typename"] == "LaunchRunSuccess"
        ui.wait_until(lambda: runs(ui)[0][1] == "SUCCESS", 240, "the rerun ends well")
        again = {event.get("message") for event in log(ui, runs(ui)[0][0])}
        assert f"reused {len(done)} of {FITS + 1} configurations" in again
        assert kept.items() <= stored(project).items()
        assert not list(project.folder.rglob(f"{EXPERIMENT}/shared/*"))
