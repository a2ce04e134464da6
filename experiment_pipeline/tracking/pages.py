"""Write the pages of the run record into the storage, after every run.

    <root>/overview.html                 all experiments
    <root>/<experiment>/runs.html        the runs of one
                        runs/<run_id>.record.html, .md      the decision record of a run

In: the metadata database. Out: files and their places.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from experiment_pipeline.reporting.document import render, render_html
from experiment_pipeline.reporting.run_record import ReportRow
from experiment_pipeline.storage.files import read_bytes, write_bytes
from experiment_pipeline.storage.locations import Location, location
from experiment_pipeline.storage.versions import RECORD
from experiment_pipeline.tracking.database.archive import RUNS_FOLDER
from experiment_pipeline.tracking.overview import experiment_page, overview, tone_of
from experiment_pipeline.tracking.questions import rows_of_run, run_of
from experiment_pipeline.tracking.record import decided, is_decided
from experiment_pipeline.tracking.record_page import decision_record
from experiment_pipeline.tracking.server import EXPERIMENT_PAGE, OVERVIEW, is_page

_WIDTH = 90  # rem: their tables have more columns than a report's


def write_pages(experiment: str, root: Location) -> dict[str, Location]:
    """Write the overview and the page of an experiment; return name → place."""
    places = {"overview": root / OVERVIEW, "runs": root / experiment / EXPERIMENT_PAGE}
    runs = experiment_page(experiment, str(root))
    pages = {
        "overview": render_html(overview(datetime.now(UTC)), width=_WIDTH),
        "runs": render_html(runs, tone=tone_of(experiment), width=_WIDTH),
    }
    for name, place in places.items():
        write_bytes(place, pages[name].encode())
    return places


def write_record(experiment: str, run_id: str, root: Location) -> tuple[ReportRow, ...]:
    """Write the decision record of a decided run, as page and Markdown."""
    if not is_decided(run_of(experiment, run_id)):
        return ()
    found = decided(experiment, run_id)
    page, folder = decision_record(found, str(root)), root / experiment / RUNS_FOLDER
    accepted = found.run["status"] == "accepted"
    made = {
        RECORD.removesuffix(".md"): (".html", render_html(page, passed=accepted)),
        RECORD: (".md", render(page)),
    }
    for suffix, text in made.values():
        write_bytes(folder / f"{run_id}.record{suffix}", text.encode())
    return tuple(
        ReportRow(name=name, place=str(folder / f"{run_id}.record{suffix}"))
        for name, (suffix, _) in made.items()
    )


def copy_reports(run: Mapping[str, Any], folder: str) -> None:
    """Copy the pages of a run, and its record as Markdown, into a folder: `<report>.html`.

    Args:
        run: its row of the table `runs`.
        folder: path or URL.

    Raises:
        StorageUnreachable: a page is gone, or the folder cannot be written.
    """
    reports = rows_of_run("reports", run)
    for name, place in zip(reports["name"], reports["place"], strict=True):
        if is_page(place):
            suffix = PurePosixPath(place).suffix
            copy = location(folder) / f"{name.removesuffix(suffix)}{suffix}"
            write_bytes(copy, read_bytes(location(place)))
