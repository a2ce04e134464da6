"""The executor of every run: Dagster's in-process one, with a note of which process it is.

Executors are what `dagster job execute`, `dg launch` and every launcher have in common.
"""

import os
from collections.abc import Iterator

import dagster as dg
from dagster._core.definitions.executor_definition import IN_PROC_CONFIG
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig

from experiment_pipeline.orchestration.killed_runs import fail_killed_runs
from experiment_pipeline.orchestration.run_process import RunProcess


class NotedExecutor(dg.Executor):
    """Executes as another executor does, and says first where."""

    def __init__(self, inner: dg.Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> RetryMode:
        """As the other has it."""
        return self._inner.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        """As the other has it."""
        return self._inner.step_dependency_config

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Note the process, free the places of killed runs, then do what the other does."""
        run_id = plan_context.run_id
        plan_context.instance.add_run_tags(run_id, RunProcess.here(run_id, os.getpid()).tags)
        fail_killed_runs(plan_context.instance)
        yield from self._inner.execute(plan_context, execution_plan)


@dg.executor(name="in_process", config_schema=IN_PROC_CONFIG)
def in_process_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """Every step of the run in one process, which is noted in a tag of the run."""
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None
    return NotedExecutor(create(context))
