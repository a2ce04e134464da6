"""Runs whose process is gone: killed with -9, out of memory, or lost with a restart.

Run monitoring asks the launcher that `dagster.yaml` names; where no daemon is at work, each run
that starts looks for itself. In: an instance. Out: such runs are FAILURE and say why.
"""

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultRunLauncher,
    RunsFilter,
)
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus

from experiment_pipeline.orchestration.run_process import RunProcess


class ProcessAwareRunLauncher(DefaultRunLauncher):
    """Dagster's own launcher, which also tells run monitoring whether a run's process lives.

    A run that has noted no process, or one of another host, counts as running: it cannot be
    told from here.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes: without it, monitoring looks at a run and does nothing."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """NOT_FOUND, which makes monitoring report a failure, or RUNNING."""
        process = RunProcess.of(run.run_id, run.tags)
        if process is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "has noted no process yet")
        if not process.is_here:
            _say_once(self._instance, run, process)
            return CheckRunHealthResult(WorkerStatus.RUNNING, _elsewhere(process))
        if process.is_gone:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, _gone(process))
        return CheckRunHealthResult(WorkerStatus.RUNNING, str(process))


def fail_killed_runs(instance: DagsterInstance) -> None:
    """Report a failure for every started run of this host whose process is gone."""
    for run in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
        process = RunProcess.of(run.run_id, run.tags)
        if process is None or not process.is_here or not process.is_gone:
            continue
        # It may have ended well since it was listed: what it wrote last, it wrote before it went.
        again = instance.get_run_by_id(run.run_id)
        if again is not None and again.status is DagsterRunStatus.STARTED:
            instance.report_run_failed(run, f"The run has ended without a word: {_gone(process)}.")


def _gone(process: RunProcess) -> str:
    return f"{process} is gone; it was killed, ran out of memory, or the machine restarted"


def _elsewhere(process: RunProcess) -> str:
    return f"{process} cannot be looked at from another host; terminate the run if it is gone"


def _say_once(instance: DagsterInstance, run: DagsterRun, process: RunProcess) -> None:
    message = _elsewhere(process)
    said = instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
    if not any(event.message == message for event in said):
        instance.report_engine_event(message, run)
