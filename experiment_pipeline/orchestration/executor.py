"""The executor of every run: one process, which the run notes; its end is told where people look.

All ways to start a run have the executor in common, so what holds for every run is done here. In:
a plan. Out: its events; tags of the run; its rows of the memory, ended.
"""

from collections.abc import Iterator
from contextlib import suppress

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode

from experiment_pipeline.errors import StorageError
from experiment_pipeline.orchestration.code_locations import missing_label
from experiment_pipeline.orchestration.instance import note_of
from experiment_pipeline.orchestration.run_ends import end_lost_runs, tell_page, undecided
from experiment_pipeline.reporting.remembered import Status
from experiment_pipeline.stages.asset import keep, remembered_id
from experiment_pipeline.storage.database.recording import end_open
from experiment_pipeline.storage.processes import Process


class NotedExecutor(dg.Executor):
    """Executes as another executor does, says first where, and last that it is over."""

    def __init__(self, inner: dg.Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> RetryMode:
        """As the other has it."""
        return self._inner.retries

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Note the process, free the places of killed runs, then do what the other does."""
        run, instance = plan_context.dagster_run, plan_context.instance
        first = note_of(run.run_id, Process.here()) | undecided(run) | missing_label(plan_context)
        instance.add_run_tags(run.run_id, first)
        end_lost_runs(instance)
        remembered_as = remembered_id(run)
        status: Status = "killed"
        try:
            failed = False
            for event in self._inner.execute(plan_context, execution_plan):
                failed = failed or event.is_step_failure
                yield event
            status = "failed" if failed else "partial"
        finally:
            # Without the database, the run has told so in its first step.
            with suppress(StorageError):
                for ended in end_open(remembered_as, status):
                    keep(ended)
                tell_page(instance, run.run_id, remembered_as)


@dg.executor(name="in_process", config_schema=dg.in_process_executor.config_schema.as_field())
def in_process_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """Every step of the run in one process, which is noted in a tag of the run."""
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None
    return NotedExecutor(create(context))
