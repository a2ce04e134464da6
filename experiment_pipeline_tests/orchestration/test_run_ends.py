"""What a run's page shows of its end, and runs that ended without a word."""

import dataclasses
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from experiment_pipeline.orchestration.assets.shared import recorder
from experiment_pipeline.orchestration.executor import in_process_executor
from experiment_pipeline.orchestration.run_ends import end_lost_runs
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.storage.processes import Process
from experiment_pipeline.tracking.database.recording import RunRecord, of_run
from experiment_pipeline_tests import scenario

COUNTED = "the search was cancelled after 12 of 40 configurations"
SHOWN = ("experiment", "decision", "version")


@dg.op(config_schema={"told": dict})
def tell(context: dg.OpExecutionContext) -> None:
    for experiment, facts in context.op_config["told"].items():
        RunRecord(experiment, context.run_id).record(
            [RunFacts(started_at=datetime.now(UTC), **facts)]
        )


@dg.job(executor_def=in_process_executor)
def telling():
    tell()


pytestmark = pytest.mark.usefixtures("storage")


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def shown_after(instance: dg.DagsterInstance, told: dict, **tags: str) -> list[str | None]:
    """The tags of a run whose stages have remembered so much."""
    config = {"ops": {"tell": {"config": {"told": told}}}}
    job = dg.reconstructable(telling)
    with dg.execute_job(job, instance, run_config=config, tags=tags) as result:
        run = instance.get_run_by_id(result.run_id)
    return [run.tags.get(name) for name in SHOWN]


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (
            {"clinic": {"status": "accepted", "version": "v0007"}},
            ["clinic", "accepted", "v0007"],
        ),
        ({"clinic": {"status": "rejected"}}, ["clinic", "rejected", "none"]),
        ({"clinic": {"status": "running"}}, ["clinic", "partial", "none"]),
        (
            {"a": {"status": "accepted", "version": "v0001"}, "b": {"status": "failed"}},
            ["a, b", "a accepted, b failed", "a v0001"],
        ),
        ({}, [None, None, None]),
    ],
)
def test_the_page_of_a_run_shows_its_decision(instance, told: dict, shown: list) -> None:
    """Experiment, decision and version are tags; a run of something else has none."""
    assert shown_after(instance, told) == shown


def test_the_decision_of_a_parent_is_not_shown(instance) -> None:
    """Dagster copies tags to a run that is executed again: what it inherits, it does not keep."""
    inherited = {"decision": "accepted", "version": "v0007"}
    assert shown_after(instance, {}, **inherited) == [None, "none", "none"]


@dg.asset(name="clinic__training", config_schema={"said": str})
def be_cancelled(context: dg.AssetExecutionContext) -> None:
    with recorder(scenario.spec(), "", "")(context):
        context.instance.report_run_canceling(context.run)
        if said := context.op_execution_context.op_config["said"]:
            raise KeyboardInterrupt(said)
        signal.raise_signal(signal.SIGINT)
        time.sleep(60)


def cancelled() -> dg.JobDefinition:
    job = dg.define_asset_job("cancelled", executor_def=in_process_executor)
    return dg.Definitions(assets=[be_cancelled], jobs=[job]).resolve_job_def("cancelled")


@pytest.mark.parametrize(("counted", "said"), [("", "the run was cancelled"), (COUNTED, COUNTED)])
def test_a_cancelled_run_is_killed(instance, counted: str, said: str) -> None:
    """What the page's "Terminate" sends ends the stage at work, and the run says so itself: in a
    sentence, without a stack, how far it has come and that the next run goes on.
    """
    config = {"ops": {"clinic__training": {"config": {"said": counted}}}}
    with dg.execute_job(dg.reconstructable(cancelled), instance, run_config=config) as result:
        assert not result.success
    run = instance.get_run_by_id(result.run_id)
    assert run.status is dg.DagsterRunStatus.CANCELED
    (facts,) = (memory.facts() for memory in of_run(run.run_id))
    assert (facts.status, facts.stage) == ("killed", "training")
    assert (facts.error, facts.fix) == (said, "Run it again: it goes on.")
    assert run.tags["decision"] == "killed"
    (step,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    (end,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_CANCELED)
    for told in (step.dagster_event.step_failure_data, end.dagster_event.job_canceled_data):
        first, *pages = told.error.message.splitlines()
        assert first == f"{said}; the next run reuses what is stored"
        assert all(line.startswith(("  page: ", " " * 8)) for line in pages)
        assert not told.error.stack
        assert told.error.cause is told.error.context is None


def begun_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> RunRecord:
    """A run of another host that its own row still calls running."""
    run = instance.create_run_for_job(telling, status=dg.DagsterRunStatus.STARTED)
    process = dataclasses.replace(Process.here(), host="elsewhere").as_noted
    memory = RunRecord("clinic", run.run_id)
    memory.record(
        [
            RunFacts(
                status="running", stage="training", process=process, started_at=datetime.now(UTC)
            )
        ]
    )
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
def test_what_dagster_knows_of_the_end_ends_the_row(
    instance, status: dg.DagsterRunStatus, ends_as: str, error: str | None
) -> None:
    """A run that could not tell its own end is over where Dagster says so, with the reason."""
    run = begun_run(instance, status)
    end_lost_runs(instance)
    facts = run.facts()
    assert (facts.status, facts.stage, facts.error) == (ends_as, "training", error)
    shown = instance.get_run_by_id(run.run_id).tags.get("decision")
    assert shown == (None if ends_as == "running" else ends_as)


def test_a_run_is_ended_once(instance) -> None:
    """What a run says of its own end is not overwritten by who looks later."""
    run = begun_run(instance, dg.DagsterRunStatus.FAILURE)
    run.record([RunFacts(status="rejected")])
    end_lost_runs(instance)
    assert run.facts().status == "rejected"
