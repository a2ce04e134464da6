"""How runs end, in the words of Dagster's page and in the memory, also where nobody was left to say.

The page shows experiment, decision and version of a run as tags. A process that was killed tells
nobody: whoever looks next does, which is the next run, and the sensor. In: an instance, the
metadata database. Out: runs that are over in both, with the reason and the last sign of life.
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


def tell_page(instance: DagsterInstance, run_id: str, recorded_as: str) -> None:
    """Show on the page of a run what is remembered of it: experiment, decision, version.

    Args:
        instance: that holds the run.
        run_id: Dagster's id of it.
        recorded_as: the id of its rows; of a backfill, the backfill's.
    """
    known = {run.experiment: facts for run in of_run(recorded_as) if (facts := run.facts())}
    if not known or not instance.has_run(run_id):
        return
    alone = len(known) == 1

    def of_each(values: dict[str, str | None]) -> str:
        said = [value if alone else f"{name} {value}" for name, value in values.items() if value]
        return ", ".join(filter(None, said)) or NONE

    tags = {
        EXPERIMENT: ", ".join(known),
        DECISION: of_each({name: facts.status for name, facts in known.items()}),
        VERSION: of_each({name: facts.version for name, facts in known.items()}),
    }
    instance.add_run_tags(run_id, tags)


def end_lost_runs(instance: DagsterInstance) -> None:
    """End every run that is over and does not say so: for Dagster, and in the memory."""
    fail_killed_runs(instance)
    with suppress(StorageError):
        ended = mark_killed()
        for run in running():
            facts = _end_of(instance, run)
            if facts is not None and run.record_if_running(facts):
                ended.append(run)
        for run in ended:
            finish_run(run, get_dagster_logger().warning)
            tell_page(instance, run.run_id, run.run_id)


def _end_of(instance: DagsterInstance, run: RunRecord) -> RunFacts | None:
    """What Dagster knows of the end of a run that has not told its own."""
    last = _last_run(instance, run.run_id)
    if last is None or not last.is_finished:
        return None
    status, said = _outcome(instance, last)
    known = run.facts()
    return RunFacts(
        status=status,
        ended_at=None if known is None else known.seen_at,
        error_type=None if said is None else last.status.value.capitalize(),
        error=said,
        fix=None if said is None else "Run it again: what it had trained is reused.",
    )


def _last_run(instance: DagsterInstance, recorded_as: str) -> DagsterRun | None:
    """A run, or of a backfill the last one that was begun."""
    run = instance.get_run_by_id(recorded_as)
    if run is not None:
        return run
    return next(iter(instance.get_runs(RunsFilter(tags={BACKFILL: recorded_as}), limit=1)), None)


def _outcome(instance: DagsterInstance, run: DagsterRun) -> tuple[Status, str | None]:
    """Its status in the memory, and why it ended."""
    if run.status is DagsterRunStatus.CANCELED:
        return "killed", CANCELLED
    if run.status is DagsterRunStatus.SUCCESS:
        return "partial", None
    failures = instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_FAILURE)
    ends = instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_FAILURE)
    said = ends[-1].message if ends else "Dagster says that it failed"
    return ("failed" if failures else "killed"), said
