"""Record the outcome of a stage, end a run, approve a version; and write the pages that
show these.

    <root>/overview.html                 all experiments
    <root>/<experiment>/runs.html        the runs of one experiment
                        runs/<run_id>.record.html, .md      the decision record of a run

Dagster's assets and notebooks wrap the plain functions of a run in this module and
`recording.recorded`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from experiment_pipeline.errors import StorageError, UnknownRun, memory_errors_named
from experiment_pipeline.reporting.document import render, render_html
from experiment_pipeline.reporting.outcome import Fact, Outcome, PagePath
from experiment_pipeline.reporting.run_record import ReportRow, RunFacts
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.storage.entries import self_contained_page
from experiment_pipeline.storage.files import (
    Location,
    location,
    remove,
    storage_root,
    write_bytes,
)
from experiment_pipeline.storage.registry import RECORD, Approval, Decisions, Registry
from experiment_pipeline.tracking import mlflow
from experiment_pipeline.tracking.database import recording
from experiment_pipeline.tracking.database.archive import (
    RUNS_FOLDER,
    archive,
    version_row,
)
from experiment_pipeline.tracking.database.connection import database
from experiment_pipeline.tracking.database.recording import RunRecord, record_rows
from experiment_pipeline.tracking.overview import experiment_page, overview, tone_of
from experiment_pipeline.tracking.questions import rows_of, run_of, versions
from experiment_pipeline.tracking.record import decided, decision_record
from experiment_pipeline.tracking.server import EXPERIMENT_PAGE, OVERVIEW, is_page

_WIDTH = 90  # rem: the tables of overviews have more columns than a report's


@contextmanager
def recorded_stage(
    run: RunRecord,
    stage: str,
    spec: ExperimentSpec,
    texts: tuple[str, str],
    trigger: RunFacts,
    finish: Callable[[RunRecord], object],
) -> Iterator[None]:
    """Record a stage; `texts`: of defs.yaml and schema.yaml; `finish` is called if an
    error ends the run.
    """
    mlflow.expect(run, spec.mlflow)
    first = partial(recording.declared, spec, *texts, trigger)
    with (
        recording.recorded(run, stage, first, finish),
        memory_errors_named(f"the stage {stage}"),
    ):
        yield


def record_outcome(
    run: RunRecord, outcome: Outcome, warn: Callable[[str], object]
) -> Mapping[str, Fact]:
    """Write an outcome's rows; if it ends the run, finish it and return the pages of
    `finish_run`.
    """
    run.record(outcome.record)
    blocked = [
        one for one in outcome.checks if not one.passed and one.severity == "error"
    ]
    statuses = [one.status for one in outcome.record if isinstance(one, RunFacts)]
    if blocked:
        recording.end(run, "rejected", RunFacts(decision=blocked[0].means))
    elif "accepted" in statuses:
        recording.end(run, "accepted")
    else:
        return {}
    return finish_run(run, warn)


def finish_run(run: RunRecord, warn: Callable[[str], object]) -> dict[str, Fact]:
    """Archive a run that has ended, rewrite its pages, and export it to MLflow; return
    name → page.
    """
    root = storage_root()
    places: dict[str, Fact] = {}
    with suppress(StorageError):
        killed = (
            recording.mark_killed()
        )  # first, because a query about runs would mark them
        records = write_record(run.experiment, run.run_id, root)
        run.record(records)
        places |= {one.name: PagePath(one.place) for one in records}
        for one in (*killed, run):
            archive(one, root)
            write_pages(one.experiment, root)
        places |= _pages(run.experiment)
        if problem := mlflow.export(run):
            warn(problem)
    return places


def _pages(experiment: str) -> dict[str, Fact]:
    pages = {"overview": OVERVIEW, "runs": f"{experiment}/{EXPERIMENT_PAGE}"}
    return {name: PagePath(str(storage_root() / page)) for name, page in pages.items()}


def approve(
    registry: Registry,
    version: str,
    by: str,
    comment: str = "",
    kind: Decisions = "approvals",
) -> Approval:
    """Approve or retire a version in registry, database and pages, or in none; see
    `Registry.approve`.
    """
    database()
    given = Approval(
        version, by, datetime.now(UTC).isoformat(timespec="seconds"), comment
    )
    approval, experiment = registry.approve(given, kind), registry.experiment
    try:
        known = versions(experiment)
        run_id = next(
            iter(known.loc[known["version"] == version, "run_id"].dropna()), None
        )
        decided = (
            registry.approvals().get(version),
            registry.approvals("retired").get(version),
        )
        row = version_row(registry, registry.entry(version), *decided)
        record_rows([replace(row, run_id=run_id)], experiment)
    except BaseException:
        if approval is given:
            remove(registry.decision(version, kind))
        raise
    with suppress(StorageError, UnknownRun):
        if run_id is not None:
            write_record(experiment, run_id, storage_root())
        write_pages(experiment, storage_root())
    return approval


def write_pages(experiment: str, root: Location) -> None:
    """Write the overview and the page of an experiment."""
    runs, everything = (
        experiment_page(experiment, str(root)),
        overview(datetime.now(UTC)),
    )
    page = render_html(runs, tone=tone_of(experiment), width=_WIDTH)
    write_bytes(root / experiment / EXPERIMENT_PAGE, page.encode())
    write_bytes(root / OVERVIEW, render_html(everything, width=_WIDTH).encode())


def write_record(experiment: str, run_id: str, root: Location) -> tuple[ReportRow, ...]:
    """Write the decision record of a decided run, as page and Markdown."""
    run = run_of(experiment, run_id)
    if run["status"] not in {"accepted", "rejected"}:
        return ()
    page = decision_record(decided(experiment, run_id), str(root))
    html = render_html(page, passed=run["status"] == "accepted")
    rows = []
    pages = {RECORD.removesuffix(".md"): (".html", html), RECORD: (".md", render(page))}
    for name, (suffix, text) in pages.items():
        place = root / experiment / RUNS_FOLDER / f"{run_id}.record{suffix}"
        write_bytes(place, text.encode())
        rows.append(ReportRow(name=name, place=str(place)))
    return tuple(rows)


def copy_reports(run: Mapping[str, Any], folder: str) -> None:
    """Copy the pages of a run (given its row), each as a self-contained file, and its
    Markdown record.
    """
    reports = rows_of("reports", run)
    for name, place in zip(reports["name"], reports["place"], strict=True):
        if is_page(place):
            suffix = PurePosixPath(place).suffix
            copy = location(folder) / f"{name.removesuffix(suffix)}{suffix}"
            write_bytes(copy, self_contained_page(location(place)))
