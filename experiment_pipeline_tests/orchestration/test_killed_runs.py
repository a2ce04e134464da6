"""A run whose process is gone: who notices, what the run is told, and whose run is left alone."""

import dataclasses
import os
import subprocess
import sys
import time

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus

from experiment_pipeline.orchestration.executor import in_process_executor
from experiment_pipeline.orchestration.instance import (
    TAG,
    ProcessAwareRunLauncher,
    fail_killed_runs,
    note_of,
)
from experiment_pipeline.orchestration.instance import noted as process_of
from experiment_pipeline.storage.processes import Process

RUN = "run-1"


@dg.op
def note(context: dg.OpExecutionContext) -> str:
    return context.run.tags.get(TAG, "")


@dg.job(executor_def=in_process_executor)
def noted():
    note()


@pytest.fixture(scope="module")
def instance():
    launcher = {"module": ProcessAwareRunLauncher.__module__, "class": "ProcessAwareRunLauncher"}
    with dg.instance_for_test(overrides={"run_launcher": launcher}) as instance:
        yield instance


def this_process() -> Process:
    return Process.here()


def killed_process() -> Process:
    """A process that was there a moment ago, noted as one of its runs would have done."""
    with waiting_process() as process:
        noted_process = Process.here(process.pid)
        assert not noted_process.is_gone
        process.kill()
    return noted_process


def waiting_process() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def started_run(instance: dg.DagsterInstance, process: Process | None) -> dg.DagsterRun:
    run = instance.create_run_for_job(noted, status=dg.DagsterRunStatus.STARTED)
    if process is not None:
        instance.add_run_tags(run.run_id, note_of(run.run_id, process))
    return instance.get_run_by_id(run.run_id)


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    return instance.get_run_by_id(run.run_id).status


def test_a_process_that_lives_is_not_gone() -> None:
    """The one that asks is there, and is the same when its note is read again."""
    process = this_process()
    assert process_of(RUN, note_of(RUN, process)) == process
    assert process.is_here
    assert not process.is_gone


def test_a_killed_process_is_gone_before_and_after_it_is_reaped() -> None:
    """Its number, if it comes again, belongs to somebody else."""
    process = waiting_process()
    noted_process = Process.here(process.pid)
    process.kill()
    deadline = time.monotonic() + 10
    while not noted_process.is_gone and time.monotonic() < deadline:
        time.sleep(0.01)
    assert noted_process.is_gone
    process.communicate()
    assert noted_process.is_gone
    assert dataclasses.replace(noted_process, pid=os.getpid()).is_gone


def test_a_run_that_was_executed_again_has_not_the_process_of_its_parent() -> None:
    """Dagster copies the tags of the first run: they tell nothing of the second."""
    assert process_of("run-2", note_of(RUN, this_process())) is None


def test_the_executor_notes_its_process_and_frees_what_was_killed(instance) -> None:
    """Whatever starts the run: the note is there before the first step, and the dead are told."""
    dead = started_run(instance, killed_process())
    with dg.execute_job(dg.reconstructable(noted), instance=instance) as result:
        assert result.success
        told = process_of(result.run_id, instance.get_run_by_id(result.run_id).tags)
        assert told == this_process()
        assert TAG in instance.get_run_by_id(result.run_id).tags
    assert status(instance, dead) is dg.DagsterRunStatus.FAILURE
    (event,) = instance.all_logs(dead.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert "process" in event.message
    assert "is gone" in event.message


@pytest.mark.parametrize("what", ["lives", "is on another host", "has noted nothing"])
def test_other_runs_are_left_alone(instance, what: str) -> None:
    """Only a process that is known to be gone makes a run fail."""
    process = {
        "lives": this_process(),
        "is on another host": dataclasses.replace(killed_process(), host="elsewhere"),
        "has noted nothing": None,
    }[what]
    run = started_run(instance, process)
    fail_killed_runs(instance)
    health = instance.run_launcher.check_run_worker_health(run)
    assert status(instance, run) is dg.DagsterRunStatus.STARTED
    assert health.status is WorkerStatus.RUNNING


def test_a_run_of_another_host_is_reported_once_as_not_checked(instance) -> None:
    """Monitoring asks every half minute; the run's log says it one time."""
    run = started_run(instance, dataclasses.replace(killed_process(), host="elsewhere"))
    for _ in range(3):
        instance.run_launcher.check_run_worker_health(run)
    logged = [e for e in instance.all_logs(run.run_id) if "cannot be checked" in e.message]
    assert len(logged) == 1
    assert "elsewhere" in logged[0].message


def test_monitoring_is_told_which_process_is_gone(instance) -> None:
    """It makes a failure of that, with the launcher's words."""
    run = started_run(instance, killed_process())
    health = instance.run_launcher.check_run_worker_health(run)
    assert health.status is WorkerStatus.NOT_FOUND
    assert "is gone; it was killed" in str(health)
