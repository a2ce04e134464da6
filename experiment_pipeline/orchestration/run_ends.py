"""The end of runs, as tags on Dagster's page and in the run record.

The page shows experiment, decision and version of a run as tags. A killed process cannot report its
end; the next run or the sensor does it, with the reason and the time of the last sign of life.
"""

from contextlib import suppress

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunsFilter,
    get_dagster_logger,
)

from experiment_pipeline.errors import StorageError
from experiment_pipeline.orchestration.assets.shared import BACKFILL
from experiment_pipeline.orchestration.instance import fail_killed_runs
from experiment_pipeline.reporting.run_record import RunFacts, Status
from experiment_pipeline.tracking.database.recording import (
    CANCELLED,
    RunRecord,
    mark_killed,
    of_run,
    running,
)
from experiment_pipeline.tracking.outcomes import finish_run

EXPERIMENT, DECISION, VERSION = "experiment", "decision", "version"
NONE = "none"


def undecided(run: DagsterRun) -> dict[str, str]:
    """Return tags over those that a re-executed run inherits: its parent's decision is not its own."""
    inherited = {DECISION, VERSION} & run.tags.keys()
    return dict.fromkeys(inherited, NONE)


def tag_run(instance: DagsterInstance, run_id: str, recorded_as: str) -> None:
    """Tag a run with what its record holds: experiment, decision, version.

    Args:
        instance: the one that holds the run.
        run_id: Dagster's id of it.
        recorded_as: the id of its rows; of a backfill, the backfill's.
    """
    known = {run.experiment: facts for run in of_run(recorded_as) if (facts := run.facts())}
    if not known or not instance.has_run(run_id):
        return
    alone = len(known) == 1

    def of_each(values: dict[str, str | None]) -> str:
        return ", ".join(v if alone else f"{name} {v}" for name, v in values.items() if v) or NONE

    tags = {
        EXPERIMENT: ", ".join(known),
        DECISION: of_each({name: facts.status for name, facts in known.items()}),
        VERSION: of_each({name: facts.version for name, facts in known.items()}),
    }
    instance.add_run_tags(run_id, tags)


def end_lost_runs(instance: DagsterInstance) -> None:
    """End every run whose process is gone: for Dagster, and in its run record."""
    fail_killed_runs(instance)
    with suppress(StorageError):
        ended = mark_killed()
        for run in running():
            facts = _end_of(instance, run)
            if facts is not None and run.record_if_running(facts):
                ended.append(run)
        for run in ended:
            finish_run(run, get_dagster_logger().warning)
            tag_run(instance, run.run_id, run.run_id)


def _end_of(instance: DagsterInstance, run: RunRecord) -> RunFacts | None:
    """What Dagster knows of the end of a run that did not record its own; None: it is not over."""
    last = _last_run(instance, run.run_id)
    if last is None or not last.is_finished:
        return None
    status, reason = _outcome(instance, last)
    known = run.facts()
    return RunFacts(
        status=status,
        ended_at=None if known is None else known.seen_at,
        error_type=None if reason is None else last.status.value.capitalize(),
        error=reason,
        fix=None if reason is None else "Run it again: what it had trained is reused.",
    )


def _last_run(instance: DagsterInstance, recorded_as: str) -> DagsterRun | None:
    """A run; of a backfill its last run."""
    run = instance.get_run_by_id(recorded_as)
    if run is not None:
        return run
    return next(iter(instance.get_runs(RunsFilter(tags={BACKFILL: recorded_as}), limit=1)), None)


def _outcome(instance: DagsterInstance, run: DagsterRun) -> tuple[Status, str | None]:
    """Its status in the run record, and why it ended."""
    if run.status is DagsterRunStatus.CANCELED:
        return "killed", CANCELLED
    if run.status is DagsterRunStatus.SUCCESS:
        return "partial", None
    failures = instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_FAILURE)
    ends = instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_FAILURE)
    reason = ends[-1].message if ends else "Dagster reports that it failed"
    return ("failed" if failures else "killed"), reason
