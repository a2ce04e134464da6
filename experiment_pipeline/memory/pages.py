"""Writing the memory's pages into the storage: made anew by every run.

    <root>/overview.html                 all experiments
    <root>/<experiment>/runs.html        the runs of one

In: the metadata database. Out: files, whose places are told.
"""

from datetime import UTC, datetime

from experiment_pipeline.memory.overview import experiment_page, overview, tone_of
from experiment_pipeline.memory.server import EXPERIMENT_PAGE, OVERVIEW
from experiment_pipeline.reporting.document import render_html
from experiment_pipeline.storage.files import write_bytes
from experiment_pipeline.storage.locations import Location

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
