"""Writing the memory's pages into the storage: made anew by every run.

    <root>/overview.html                 all experiments
    <root>/<experiment>/runs.html        the runs of one

In: the metadata database. Out: files, whose places are told.
"""

from datetime import UTC, datetime

from experiment_pipeline.memory.overview import experiment_page, overview
from experiment_pipeline.memory.server import EXPERIMENT_PAGE, OVERVIEW
from experiment_pipeline.reporting.document import render_html
from experiment_pipeline.storage.files import write_bytes
from experiment_pipeline.storage.locations import Location


def write_pages(experiment: str, root: Location) -> dict[str, Location]:
    """Write the overview and the page of an experiment; return name → place."""
    made = {
        "overview": (root / OVERVIEW, overview(datetime.now(UTC))),
        "runs": (root / experiment / EXPERIMENT_PAGE, experiment_page(experiment, str(root))),
    }
    for place, document in made.values():
        write_bytes(place, render_html(document).encode())
    return {name: place for name, (place, _) in made.items()}
