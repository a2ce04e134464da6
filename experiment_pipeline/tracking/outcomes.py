"""Record the outcome of a stage, end a run, approve a version; write the pages of runs.

    <root>/overview.html                 all experiments
    <root>/<experiment>/runs.html        the runs of one experiment
                        runs/<run_id>/       the pages of one run, see `run_pages`

Dagster's assets and notebooks wrap the plain functions of a run in this module and
`recording.recorded`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import PurePosixPath

from experiment_pipeline.errors import (
    ExperimentPipelineError,
    StorageError,
    UnknownRun,
    memory_errors_named,
)
from experiment_pipeline.reporting.document import render_html
from experiment_pipeline.reporting.header import HISTORY, TABS, with_header
from experiment_pipeline.reporting.outcome import Fact, Markdown, Outcome, PagePath
from experiment_pipeline.reporting.run_record import (
    Row,
    RunFacts,
    Status,
    VersionRow,
)
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.storage.entries import linked_page, self_contained_page
from experiment_pipeline.storage.files import (
    Location,
    location,
    remove,
    storage_root,
    write_bytes,
)
from experiment_pipeline.storage.registry import Approval, Decisions, Registry
from experiment_pipeline.tracking import mlflow, questions, run_pages
from experiment_pipeline.tracking.database import recording
from experiment_pipeline.tracking.database.archive import archive, version_row
from experiment_pipeline.tracking.database.connection import database
from experiment_pipeline.tracking.database.recording import RunRecord, record_rows
from experiment_pipeline.tracking.history import experiment_page
from experiment_pipeline.tracking.overview import overview
from experiment_pipeline.tracking.record import last_decided_runs
from experiment_pipeline.tracking.server import EXPERIMENT_PAGE, OVERVIEW, is_page

LOG = logging.getLogger("experiment_pipeline")


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
    yaml_text, schema_text = texts
    first = partial(recording.declared, spec, yaml_text, schema_text, trigger)
    with (
        recording.recorded(run, stage, first, finish),
        memory_errors_named(f"the stage {stage}"),
        _templates_in_errors(spec),
    ):
        yield


@contextmanager
def _templates_in_errors(spec: ExperimentSpec) -> Iterator[None]:
    """Show templates in place of the environment's values: errors are recorded."""
    try:
        yield
    except ExperimentPipelineError as error:
        texts = (error.culprit, error.rule, error.fix)
        culprit, rule, fix = map(spec.without_values, texts)
        if (culprit, rule, fix) == texts:
            raise
        raise type(error)(culprit, rule, fix) from None


def record_outcome(
    run: RunRecord, outcome: Outcome, warn: Callable[[str], object]
) -> Mapping[str, Fact]:
    """Write an outcome's rows and pages; return name → page of those that replace a
    stage's, and if it ends the run, of `finish_run`.
    """
    root = storage_root()
    copies = run_pages.own_copies(run, outcome.record, root)
    run.record([*outcome.record, *(copy for copy, _ in copies)])
    pages: dict[str, Fact] = {}
    for copy, source in copies:
        run_pages.copy(source, location(copy.place))
        pages["report"] = PagePath(copy.place)
    if end := _end_by(outcome):
        status, facts = end
        recording.end(run, status, facts)
        return {**finish_run(run, warn), **pages}
    if not copies:
        return pages
    written = run_pages.write(run, root)
    run.record(written.rows)
    return {"summary": Markdown(written.first_screen), **pages}


def _end_by(outcome: Outcome) -> tuple[Status, RunFacts] | None:
    """The status with which an outcome ends the run; None: the run goes on."""
    for check in outcome.checks:
        if check.ends_run:
            return "rejected", RunFacts(decision=check.means)
    for row in outcome.record:
        if isinstance(row, RunFacts) and row.status == "accepted":
            return "accepted", RunFacts()
    return None


def finish_run(run: RunRecord, warn: Callable[[str], object]) -> dict[str, Fact]:
    """Archive a run that has ended, rewrite its pages, and export it to MLflow; return
    its first screen, and name → page.
    """
    root = storage_root()
    pages: dict[str, Fact] = {}
    with suppress(StorageError):
        # First, because a query about runs would mark them.
        killed = recording.mark_killed()
        for ended_run in (*killed, run):
            written = run_pages.write(ended_run, root)
            ended_run.record(written.rows)
            if ended_run == run:
                pages["summary"] = Markdown(written.first_screen)
                pages |= {row.name: PagePath(row.place) for row in written.rows}
            archive(ended_run, root)
        write_pages(root, *{ended_run.experiment for ended_run in (*killed, run)})
        pages["overview"] = PagePath(str(root / OVERVIEW))
        pages["runs"] = PagePath(str(root / run.experiment / EXPERIMENT_PAGE))
        if problem := mlflow.export(run):
            warn(problem)
    return pages


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
    now = datetime.now(UTC).isoformat(timespec="seconds")
    new_approval = Approval(version, by, now, comment)
    approval = registry.approve(new_approval, kind)
    experiment = registry.experiment
    try:
        run_id = _publisher(experiment, version)
        recorded = None
        # Again if somebody else has decided meanwhile: the last row has both decisions.
        while recorded != (row := _decided_row(registry, version, run_id)):
            record_rows([row], experiment)
            recorded = row
    except BaseException:
        if approval is new_approval:
            remove(registry.decision(version, kind))
        raise
    write_again(experiment, run_id)
    return approval


def write_again(experiment: str, run_id: str | None = None) -> None:
    """Write the pages of a run, by default of the last one, of its experiment, and the
    overview; a storage that fails is told in the log, and nothing is written without
    a run.
    """
    root = storage_root()
    try:
        run_id = run_id or questions.run_of(experiment)["run_id"]
        run_pages.write(RunRecord(experiment, run_id), root)
        write_pages(root, experiment)
    except UnknownRun:
        return
    except StorageError as error:
        LOG.warning(f"the pages of {experiment} are not up to date: {error}")


def _decided_row(registry: Registry, version: str, run_id: str | None) -> VersionRow:
    """The row of a version with the decisions that the registry holds now."""
    row = version_row(
        registry,
        registry.entry(version),
        approval=registry.approvals().get(version),
        retired=registry.approvals("retired").get(version),
    )
    return replace(row, run_id=run_id)


def _publisher(experiment: str, version: str) -> str | None:
    """The id of the run that published a version, if it is recorded."""
    for row in questions.version_rows(experiment):
        if row["version"] == version:
            return row["run_id"]
    return None


def write_pages(root: Location, *experiments: str) -> None:
    """Write the overview and the pages of experiments; UnknownRun: one has no run."""
    last_runs = last_decided_runs(str(root))
    for experiment in experiments:
        last = last_runs[experiment]
        folder = root / experiment
        page = render_html(experiment_page(last), tone=last.summary.tone).encode()
        page = linked_page(page, folder, levels=1)
        if last.folder:
            below = last.folder.removeprefix(f"{experiment}/")
            page = with_header(page, run_pages.header_of(last, HISTORY, below))
        write_bytes(folder / EXPERIMENT_PAGE, page)
    page = render_html(overview(last_runs, datetime.now(UTC)))
    write_bytes(root / OVERVIEW, page.encode())


def copy_reports(run: Row, folder: str) -> None:
    """Copy the pages of a run (given its row), each as a self-contained file, and its
    Markdown record.
    """
    for report in questions.plain_rows_of("reports", run):
        if is_page(report["place"]):
            place = PurePosixPath(report["place"])
            name = f"{report['name'].removesuffix(place.suffix)}{place.suffix}"
            if place.name in TABS.values():
                name = place.name  # the other pages of the run link it
            copy = location(folder) / name
            write_bytes(copy, self_contained_page(location(report["place"])))
