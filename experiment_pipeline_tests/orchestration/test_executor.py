"""What the executor notes of every run: its process, its end, what the page and the
console show.
"""

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus

from experiment_pipeline.experiment.context import Run
from experiment_pipeline.experiment.file_store import FileStore
from experiment_pipeline.orchestration import executor
from experiment_pipeline.orchestration.instance import (
    ProcessAwareRunLauncher,
    fail_killed_runs,
    note_of,
)
from experiment_pipeline.orchestration.instance import noted as process_of
from experiment_pipeline.orchestration.reporter import DagsterReporter
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.storage.processes import Process
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking.database.recording import RunRecord, recorded_runs
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.ports import wait_until
from experiment_pipeline_tests.tracking.history import write_run

SHOWN = ("experiment", "decision", "version")
RUN = "run-1"
DG = '[tool.dg.project]\nroot_module = "clinic"\n'

pytestmark = pytest.mark.usefixtures("storage")


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    launcher = {
        "module": ProcessAwareRunLauncher.__module__,
        "class": "ProcessAwareRunLauncher",
    }
    with dg.instance_for_test(overrides={"run_launcher": launcher}) as instance:
        yield instance


@dg.op(config_schema={"told": dict})
def tell(context: dg.OpExecutionContext) -> None:
    for experiment, facts in context.op_config["told"].items():
        write_run(context.run_id, experiment=experiment, **facts)


@dg.job(executor_def=executor.in_process_executor)
def telling():
    tell()


def config(told: dict) -> dict:
    """What a run of `telling` is to record."""
    return {"ops": {"tell": {"config": {"told": told}}}}


def shown_after(
    instance: dg.DagsterInstance, told: dict, **tags: str
) -> list[str | None]:
    """The tags of a run whose stages have remembered so much."""
    job = dg.reconstructable(telling)
    with dg.execute_job(job, instance, run_config=config(told), tags=tags) as result:
        run = instance.get_run_by_id(result.run_id)
    return [run.tags.get(name) for name in SHOWN]


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (
            {"clinic": {"status": "accepted", "version": "v0007"}},
            ["clinic", "accepted", "v0007"],
        ),
        ({"clinic": {"status": "running"}}, ["clinic", "partial", "none"]),
        (
            {
                "a": {"status": "accepted", "decision": "condition: x: y"},
                "b": {"status": "failed"},
            },
            ["a, b", "accepted with conditions (x), failed", "none, none"],
        ),
        ({}, [None, None, None]),
    ],
)
def test_the_page_of_a_run_shows_its_decision(instance, told: dict, shown: list):
    """Experiment, decision and version are tags; a run of something else has none."""
    assert shown_after(instance, told) == shown


def test_the_decision_of_a_parent_is_not_shown(instance):
    """Dagster copies tags to a run that is executed again: what it inherits, it does
    not keep.
    """
    inherited = {"decision": "accepted", "version": "v0007"}
    assert shown_after(instance, {}, **inherited) == [None, "none", "none"]


@dg.asset(name="clinic__training")
def be_cancelled(context: dg.AssetExecutionContext) -> None:
    spec, record = scenario.spec(), RunRecord("clinic", context.run.run_id)
    store = FileStore(spec, run=record, started=RunFacts(), warn=context.log.warning)
    reporter = DagsterReporter(context, NamedColumns(scenario.spec(), ""), store.pages)
    with Run(NamedColumns(spec, ""), store, reporter).at_work("search"):
        context.instance.report_run_canceling(context.run)
        signal.raise_signal(signal.SIGINT)
        time.sleep(60)


def cancelled() -> dg.JobDefinition:
    job = dg.define_asset_job("cancelled", executor_def=executor.in_process_executor)
    return dg.Definitions(assets=[be_cancelled], jobs=[job]).resolve_job_def(
        "cancelled"
    )


INTERRUPTED = "dagster._core.errors.DagsterExecutionInterruptedError: "


def test_a_cancelled_run_is_killed(instance):
    """The run says, in a sentence without a stack, that the next run goes on."""
    said = "the run was cancelled"
    with dg.execute_job(dg.reconstructable(cancelled), instance) as result:
        assert not result.success
    run = instance.get_run_by_id(result.run_id)
    assert run.status is dg.DagsterRunStatus.CANCELED
    (facts,) = (memory.facts() for memory in recorded_runs(run_id=run.run_id))
    assert (facts.status, facts.stage) == ("killed", "search")
    assert (facts.error, facts.fix) == (said, "Run it again: it continues.")
    assert run.tags["decision"] == "failed"
    (step,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    (end,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_CANCELED)
    for told in (
        step.dagster_event.step_failure_data,
        end.dagster_event.job_canceled_data,
    ):
        message = told.error.message.removeprefix(INTERRUPTED)
        first, *pages = message.splitlines()
        assert first == f"{said}; the next run reuses what is stored"
        assert all(line.startswith(("  page: ", " " * 8)) for line in pages)


def begun_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> RunRecord:
    """A run of another host that its own row still calls running."""
    run = instance.create_run_for_job(telling, status=dg.DagsterRunStatus.STARTED)
    process = vars(dataclasses.replace(Process.here(), host="elsewhere"))
    at_work = {"status": "running", "stage": "training", "process": process}
    memory = write_run(run.run_id, experiment="clinic", **at_work)
    if status is dg.DagsterRunStatus.FAILURE:
        instance.report_run_failed(run, "the machine is gone")
    elif status is dg.DagsterRunStatus.CANCELED:
        instance.report_run_canceled(run)
    return memory


@pytest.mark.parametrize(
    ("status", "ends_as", "error"),
    [
        (dg.DagsterRunStatus.FAILURE, "killed", "the machine is gone"),
        (dg.DagsterRunStatus.CANCELED, "killed", "the run was cancelled"),
        (dg.DagsterRunStatus.STARTED, "running", None),
    ],
)
def test_what_dagster_knows_of_the_end_ends_the_row(instance, status, ends_as, error):
    """A run that could not tell its own end is over where Dagster says so, with the
    reason.
    """
    run = begun_run(instance, status)
    executor.end_lost_runs(instance)
    facts = run.facts()
    assert (facts.status, facts.stage, facts.error) == (ends_as, "training", error)
    shown = instance.get_run_by_id(run.run_id).tags.get("decision")
    assert shown == (None if ends_as == "running" else "failed")


def test_a_run_is_ended_once(instance):
    """What a run says of its own end is not overwritten by who looks later."""
    run = begun_run(instance, dg.DagsterRunStatus.FAILURE)
    run.record([RunFacts(status="rejected")])
    executor.end_lost_runs(instance)
    assert run.facts().status == "rejected"


def killed_process() -> Process:
    """A process that was there a moment ago, noted as one of its runs would
    have done.
    """
    with waiting_process() as process:
        noted_process = Process.here(process.pid)
        assert not noted_process.is_gone
        process.kill()
    return noted_process


def waiting_process() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def started_run(instance: dg.DagsterInstance, process: Process | None) -> dg.DagsterRun:
    run = instance.create_run_for_job(telling, status=dg.DagsterRunStatus.STARTED)
    if process is not None:
        instance.add_run_tags(run.run_id, note_of(run.run_id, process))
    return instance.get_run_by_id(run.run_id)


def test_a_killed_process_is_gone_before_and_after_it_is_reaped():
    """Its number, if it comes again, belongs to somebody else."""
    process = waiting_process()
    noted_process = Process.here(process.pid)
    process.kill()
    wait_until(lambda: noted_process.is_gone, 60)
    process.communicate()
    assert noted_process.is_gone
    assert dataclasses.replace(noted_process, pid=os.getpid()).is_gone
    # Dagster copies the tags of the first run: they tell nothing of the second.
    note = note_of(RUN, Process.here())
    assert (process_of(RUN, note), process_of("run-2", note)) == (Process.here(), None)
    assert not Process.here().is_gone


def test_the_executor_notes_its_process_and_frees_what_was_killed(instance):
    """The note is there before the first step, and the dead are told in the launcher's
    words.
    """
    dead = started_run(instance, killed_process())
    health = instance.run_launcher.check_run_worker_health(dead)
    assert health.status is WorkerStatus.NOT_FOUND
    assert "is gone; it was killed" in str(health)
    with dg.execute_job(
        dg.reconstructable(telling), instance, run_config=config({})
    ) as result:
        assert result.success
        tags = instance.get_run_by_id(result.run_id).tags
        assert process_of(result.run_id, tags) == Process.here()
    assert instance.get_run_by_id(dead.run_id).status is dg.DagsterRunStatus.FAILURE
    (event,) = instance.all_logs(dead.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert "is gone" in event.message


@pytest.mark.parametrize("what", ["lives", "is on another host", "has noted nothing"])
def test_other_runs_are_left_alone(instance, what: str):
    """Only a process that is known to be gone makes a run fail."""
    process = {
        "lives": Process.here(),
        "is on another host": dataclasses.replace(killed_process(), host="elsewhere"),
        "has noted nothing": None,
    }[what]
    run = started_run(instance, process)
    fail_killed_runs(instance)
    health = instance.run_launcher.check_run_worker_health(run)
    assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.STARTED
    assert health.status is WorkerStatus.RUNNING


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"pyproject.toml": f'{DG}code_location_name = "ward"\n'},
            ("ward", "clinic.definitions"),
        ),
        (
            {"dg.toml": '[project]\nroot_module = "clinic"\n'},
            ("folder", "clinic.definitions"),
        ),
        ({"pyproject.toml": "[tool"}, None),
        ({}, None),
    ],
)
def test_the_project_declares_its_location(tmp_path, files, expected):
    """Name and module stand in pyproject.toml or dg.toml; a broken file
    declares none.
    """
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    assert executor.code_location(folder) == expected


def test_only_a_run_without_a_label_gets_one(tmp_path, monkeypatch):
    """A run that the webserver or the daemon started has its label already."""
    (tmp_path / "pyproject.toml").write_text(f'{DG}code_location_name = "ward"\n')
    monkeypatch.chdir(tmp_path)
    for origin, tags, label in (
        (None, {}, {executor.LABEL: "__repository__@ward"}),
        (None, {executor.LABEL: "its own"}, {}),
        (object(), {}, {}),
    ):
        run = SimpleNamespace(remote_job_origin=origin, tags=tags)
        assert executor.missing_label(run) == label  # type: ignore[arg-type]


@pytest.fixture
def concise() -> Iterator[None]:
    """The consoles that Dagster makes are the project's."""
    usual = logging.getLoggerClass()
    logging.setLoggerClass(executor.ConciseConsole)
    yield
    logging.setLoggerClass(usual)


@pytest.mark.usefixtures("concise")
@pytest.mark.parametrize(
    "error",
    [
        dg.Failure("no column 'nme'"),
        dg.DagsterExecutionInterruptedError("no more of it"),
    ],
)
def test_the_end_of_a_run_is_a_sentence(error: BaseException, capsys):
    """A failure or an interruption is told once, without a stack and without what did
    not run.
    """

    @dg.op
    def first() -> int:
        raise error

    @dg.op
    def second(number: int) -> int:
        return number

    @dg.job
    def chain() -> None:
        second(first())

    assert not chain.execute_in_process(raise_on_error=False).success
    told, said = capsys.readouterr().err, str(error.args[0])
    assert f"FAILED\n\n{said}" in told
    assert told.count(said) == 1
    for noise in ("Steps failed", "Not executing", "Stack Trace"):
        assert noise not in told
