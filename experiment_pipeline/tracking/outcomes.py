"""Record the outcome of a stage, and finish a run that has ended: archive, pages, MLflow.

Together with `recording.recorded` this is the whole layer around the plain functions of a run,
for Dagster's assets and for notebooks.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from experiment_pipeline.errors import StorageError
from experiment_pipeline.reporting.outcome import Fact, Outcome, PagePath
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.storage.locations import storage_root
from experiment_pipeline.tracking import mlflow
from experiment_pipeline.tracking.database import recording
from experiment_pipeline.tracking.database.archive import archive
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.pages import write_pages, write_record
from experiment_pipeline.tracking.server import EXPERIMENT_PAGE, OVERVIEW


def record_outcome(
    run: RunRecord, outcome: Outcome, warn: Callable[[str], object]
) -> Mapping[str, Fact]:
    """Write the rows of an outcome; a decision, or a failed check that blocks, ends the run.

    Returns:
        What the end of the run adds to the outcome's facts.
    """
    run.record(outcome.record)
    blocked = [one for one in outcome.checks if not one.passed and one.severity == "error"]
    decided = [one.status for one in outcome.record if isinstance(one, RunFacts)]
    if blocked:
        recording.end(run, "rejected", RunFacts(decision=blocked[0].means))
    elif "accepted" in decided:
        recording.end(run, "accepted")
    else:
        return {}
    return finish_run(run, warn)


def finish_run(run: RunRecord, warn: Callable[[str], object]) -> dict[str, Fact]:
    """Archive a run that has ended, write its pages anew, and export it to MLflow.

    Args:
        run: it has ended.
        warn: called with a sentence when MLflow did not get the run.

    Returns:
        Name → place of its decision record, where it was decided, and of the pages.
    """
    root = storage_root()
    places: dict[str, Fact] = {}
    with suppress(StorageError):
        killed = recording.mark_killed()  # before a question about runs would mark them
        records = write_record(run.experiment, run.run_id, root)
        run.record(records)
        places |= {one.name: PagePath(one.place) for one in records}
        for one in (*killed, run):
            archive(one, root)
            pages = write_pages(one.experiment, root).items()
            places |= {name: PagePath(str(page)) for name, page in pages}
        if problem := mlflow.export(run):
            warn(problem)
    return places


def with_pages(outcome: Outcome, experiment: str) -> Outcome:
    """The outcome, which also says where the pages of all runs are."""
    pages = {"overview": OVERVIEW, "runs": f"{experiment}/{EXPERIMENT_PAGE}"}
    places = {name: PagePath(str(storage_root() / page)) for name, page in pages.items()}
    return replace(outcome, facts={**outcome.facts, **places})
