"""The executor of every run: one process, noted in a tag of the run.

All ways to start a run share the executor, so what holds for every run is done here: its process
and code location are noted, killed runs are ended, and its run record is closed.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from experiment_pipeline.errors import StorageError
from experiment_pipeline.orchestration.assets.shared import REFUSED, record_id
from experiment_pipeline.orchestration.code_locations import missing_label
from experiment_pipeline.orchestration.instance import note_of
from experiment_pipeline.orchestration.run_ends import end_lost_runs, tag_run, undecided
from experiment_pipeline.reporting.run_record import Status
from experiment_pipeline.storage.processes import Process
from experiment_pipeline.tracking.database.recording import end_open
from experiment_pipeline.tracking.outcomes import finish_run

# The error by which Dagster ends a run at a blocking check.
CHECK_FAILED = "DagsterAssetCheckFailedError"


class NotedExecutor(dg.Executor):
    """Executes as another executor does; notes the process first and closes the run record last.

    Dagster exports no types for what an executor is given: a plan's context and the plan.
    """

    def __init__(self, inner: dg.Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> Any:
        """The retry mode of the inner executor."""
        return self._inner.retries

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """Note the process, end killed runs, then execute."""
        run, instance = plan_context.dagster_run, plan_context.instance
        first = note_of(run.run_id, Process.here()) | undecided(run) | missing_label(run)
        instance.add_run_tags(run.run_id, first)
        end_lost_runs(instance)
        recorded_as = record_id(run)
        status: Status = "killed"
        try:
            failed, refused = False, ""
            for event in self._inner.execute(plan_context, execution_plan):
                failed = failed or event.is_step_failure
                refused = _refused(event) or refused
                yield _plain(event, refused) if event.is_step_failure else event
            status = "failed" if failed else "partial"
        finally:
            # A run without the database has reported that in its first step.
            with suppress(StorageError):
                for ended in end_open(recorded_as, status):
                    finish_run(ended, dg.get_dagster_logger().warning)
                tag_run(instance, run.run_id, recorded_as)


def _refused(event: dg.DagsterEvent) -> str:
    """Why a check has stopped the run; empty for every other event."""
    if event.event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        return ""
    reason = event.asset_check_evaluation_data.metadata.get(REFUSED)
    return reason.text or "" if isinstance(reason, dg.TextMetadataValue) else ""


def _plain(event: dg.DagsterEvent, refused: str) -> dg.DagsterEvent:
    """A failure with what to do, without Dagster's stack: the end of the run repeats it."""
    failure = event.step_failure_data
    text = failure.user_failure_data.description if failure.user_failure_data else None
    if failure.error is not None and failure.error.cls_name == CHECK_FAILED:
        text = refused
    if not text:
        return event
    plain = SerializableErrorInfo(f"{text}\n", stack=[], cls_name=None)
    return event._replace(event_specific_data=failure._replace(error=plain))


@dg.executor(name="in_process", config_schema=dg.in_process_executor.config_schema.as_field())
def in_process_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """Every step of the run in one process, which is noted in a tag of the run."""
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None
    return NotedExecutor(create(context))
