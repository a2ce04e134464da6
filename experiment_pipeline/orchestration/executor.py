"""The one-process executor of every run, the tags and run record it maintains, and the
console output.

However a run is started, this executor executes it. So it does what every run needs: it
tags the run with its process and code location, ends killed runs, closes the run
record, and shows experiment, decision and version as tags on Dagster's page. An error
that a user can act on is printed as its message only; its stack trace stays in
Dagster's event log. A bug is printed with its stack trace.
"""

import logging
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg

from experiment_pipeline.errors import StorageError
from experiment_pipeline.orchestration import reporter
from experiment_pipeline.orchestration.instance import fail_killed_runs, note_of
from experiment_pipeline.reporting.run_record import RunFacts, Status
from experiment_pipeline.storage.processes import Process
from experiment_pipeline.tracking.database import recording
from experiment_pipeline.tracking.outcomes import finish_run
from experiment_pipeline.tracking.summary import outcome_in_words

# The error by which Dagster ends a run at a blocking check.
CHECK_FAILED = "DagsterAssetCheckFailedError"
# Dagster's page finds the runs of a job by this tag: `repository@location`.
LABEL, REPOSITORY = ".dagster/repository", "__repository__"
EXPERIMENT, DECISION, VERSION = "experiment", "decision", "version"
NONE = "none"
# The start of the message that Dagster logs for each step after a failed one.
_NOT_REACHED = "Dependencies for step "
_INTERRUPTED = dg.DagsterExecutionInterruptedError.__name__
_ENDED_EARLY = f"""{reporter.FAILED}The run was interrupted.
  fix: Run it again: everything that it finished is reused.
"""


class NotedExecutor(dg.Executor):
    """Wraps another executor: tags the run with its process first and closes the run
    record last.
    """

    def __init__(self, inner: dg.Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> Any:
        """The retry mode of the inner executor."""
        return self._inner.retries

    def execute(
        self, plan_context: Any, execution_plan: Any
    ) -> Iterator[dg.DagsterEvent]:
        """Tag the run with its process, end killed runs, then execute."""
        run = plan_context.dagster_run
        instance = plan_context.instance
        # A re-executed run inherits the tags of its parent, whose decision is not its
        # own.
        undecided = dict.fromkeys({DECISION, VERSION} & run.tags.keys(), NONE)
        noted = note_of(run.run_id, Process.here())
        instance.add_run_tags(run.run_id, noted | undecided | missing_label(run))
        end_lost_runs(instance)
        recorded_as = reporter.record_id(run)
        status: Status = "killed"
        try:
            failed = False
            refused = ""
            for event in self._inner.execute(plan_context, execution_plan):
                if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                    reason = event.asset_check_evaluation_data.metadata.get(
                        reporter.REFUSED
                    )
                    refused = getattr(reason, "text", None) or refused
                failed = failed or event.is_step_failure
                yield _plain(event, refused) if event.is_step_failure else event
            status = "failed" if failed else "partial"
        finally:
            # If the database is unavailable, the run's first step has already reported
            # it.
            with suppress(StorageError):
                for ended in recording.end_open(recorded_as, status):
                    finish_run(ended, dg.get_dagster_logger().warning)
                tag_run(instance, run.run_id, recorded_as)


def _plain(event: dg.DagsterEvent, refused: str) -> dg.DagsterEvent:
    """The failure with the user's message instead of a stack trace; Dagster repeats it
    at the run's end.
    """
    failure = event.step_failure_data
    error = failure.error
    text = failure.user_failure_data.description if failure.user_failure_data else None
    if error is None:
        return event
    if error.cls_name == CHECK_FAILED:
        text = refused
    if not text:
        return event
    plain = type(error)(f"{text}\n", stack=[], cls_name=None)
    return event._replace(event_specific_data=failure._replace(error=plain))


@dg.executor(
    name="in_process", config_schema=dg.in_process_executor.config_schema.as_field()
)
def in_process_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """Execute every step in one process, which is recorded in a tag of the run."""
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None
    return NotedExecutor(create(context))


def code_location(folder: Path) -> tuple[str, str] | None:
    """Return (name, module) of the code location that a folder's pyproject.toml or
    dg.toml declares.
    """
    for file, above in (("pyproject.toml", ("tool", "dg")), ("dg.toml", ())):
        try:
            settings: Any = tomllib.loads((folder / file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for key in (*above, "project"):
            settings = settings.get(key, {}) if isinstance(settings, Mapping) else {}
        if "root_module" in settings:
            default = f"{settings['root_module']}.definitions"
            module = settings.get("code_location_target_module", default)
            return settings.get("code_location_name", folder.resolve().name), module
    return None


def missing_label(run: dg.DagsterRun) -> dict[str, str]:
    """Return the tag that lists a run with its job: a run of `dagster job execute`
    lacks it.
    """
    if run.remote_job_origin is not None or LABEL in run.tags:
        return {}
    location = code_location(Path.cwd())
    return {} if location is None else {LABEL: f"{REPOSITORY}@{location[0]}"}


def tag_run(instance: dg.DagsterInstance, run_id: str, recorded_as: str) -> None:
    """Tag a run with experiments, decisions and versions of its record, whose run id is
    `recorded_as`.
    """
    by_experiment = {
        run.experiment: facts
        for run in recording.recorded_runs(run_id=recorded_as)
        if (facts := run.facts())
    }
    if by_experiment and instance.has_run(run_id):
        tags = {
            EXPERIMENT: [*by_experiment],
            DECISION: [
                outcome_in_words(vars(facts)) or NONE
                for facts in by_experiment.values()
            ],
            VERSION: [facts.version or NONE for facts in by_experiment.values()],
        }
        instance.add_run_tags(
            run_id, {name: ", ".join(values) for name, values in tags.items()}
        )


def end_lost_runs(instance: dg.DagsterInstance) -> None:
    """End every run whose process is gone, both in Dagster and in its run record."""
    fail_killed_runs(instance)
    with suppress(StorageError):
        ended = recording.mark_killed()
        for run in recording.recorded_runs(status="running"):
            facts = _end_of(instance, run)
            if facts is not None and run.record_if_running(facts):
                ended.append(run)
        for run in ended:
            finish_run(run, dg.get_dagster_logger().warning)
            tag_run(instance, run.run_id, run.run_id)


def _end_of(instance: dg.DagsterInstance, run: recording.RunRecord) -> RunFacts | None:
    """How a run ended, by Dagster, if it did not record its own end; None: unknown or
    not over.
    """
    of_backfill = dg.RunsFilter(tags={reporter.BACKFILL: run.run_id})
    last = instance.get_run_by_id(run.run_id)
    last = last or next(iter(instance.get_runs(of_backfill, limit=1)), None)
    if last is None or not last.is_finished:
        return None
    facts = run.facts()
    ended_at = None if facts is None else facts.seen_at
    if last.status is dg.DagsterRunStatus.SUCCESS:
        return RunFacts(status="partial", ended_at=ended_at)
    status: Status = "killed"
    reason = recording.CANCELLED
    if last.status is not dg.DagsterRunStatus.CANCELED:
        ends = instance.all_logs(last.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        reason = ends[-1].message if ends else "Dagster reports that it failed"
        if instance.all_logs(last.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            status = "failed"
    return RunFacts(
        status=status,
        ended_at=ended_at,
        error_type=last.status.value.capitalize(),
        error=reason,
        fix="Run it again: the models that it trained are reused.",
    )


class ConciseConsole(logging.Logger):
    """Logs step and message on one line, and failures without the framework's stack
    trace.
    """

    def handle(self, record: logging.LogRecord) -> None:
        """Shorten the records of Dagster's log manager; leave all others as
        they are.
        """
        meta = getattr(record, "dagster_meta", None)
        if meta is not None:
            event = meta["dagster_event"]
            text = meta["orig_message"]
            short = text if event is None else _text_of(event, record.getMessage())
            if short is None or text.startswith(_NOT_REACHED):
                return
            step = f"{meta['step_key']}: " if meta["step_key"] else ""
            record.msg = f"{step}{short}"
            record.args = ()
        super().handle(record)


def _text_of(event: dg.DagsterEvent, whole: str) -> str | None:
    """The text to print for an event; None: a blocking check or the failed step already
    logged it.
    """
    if event.is_step_failure:
        return _text_of_step(event, whole)
    if event.is_run_failure:
        return _text_of_run(event, whole)
    return whole


def _text_of_step(event: dg.DagsterEvent, whole: str) -> str | None:
    failure = event.step_failure_data
    silent = (CHECK_FAILED, _INTERRUPTED)
    if failure.error is not None and failure.error.cls_name in silent:
        return None
    described = failure.user_failure_data and failure.user_failure_data.description
    return f"{reporter.FAILED}{described}\n" if described else whole


def _text_of_run(event: dg.DagsterEvent, whole: str) -> str | None:
    reason = event.job_failure_data.failure_reason
    error = event.job_failure_data.error
    if reason is not None and reason.name == "STEP_FAILURE":
        return None
    if error is not None and error.cls_name == _INTERRUPTED:
        # What the reporter says of it, after the error's class.
        told = error.message.partition(": ")[2]
        return f"{reporter.FAILED}{told}" if told else _ENDED_EARLY
    return whole
