"""Run the comparisons, a part at a time or all, and write the page that the README
quotes.
"""

import argparse
import datetime as dt
import os
import platform
from pathlib import Path

from experiment_pipeline_tests.bench.parts import PARTS
from experiment_pipeline_tests.bench.sections import refreshed
from experiment_pipeline_tests.bench.tables import LISTS

RESULTS = Path(__file__).parent / "results.md"


def main() -> None:
    """`python -m experiment_pipeline_tests.bench [--part NAME] [--pairs N] …`."""
    asked = _asked()
    for name in PARTS if asked.part == "all" else [asked.part]:
        title = PARTS[name].title
        text = f"{_measured_at()}\n\n{PARTS[name].section(asked)}"
        print(f"\n## {title}\n\n{text}\n", flush=True)
        # At once: a long benchmark that is stopped keeps what it has.
        if not asked.print_only:
            page = RESULTS.read_text() if RESULTS.exists() else ""
            order = [part.title for part in PARTS.values()]
            RESULTS.write_text(refreshed(page, title, text, order))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--part", choices=[*PARTS, "all"], default="all")
    add("--print-only", action="store_true", help="leave results.md as it is")
    add("--pairs", type=int, default=3, help="of each ratio")
    add(
        "--rows",
        type=int,
        nargs="+",
        default=[1_000_000],
        help="past_memory: of its tables",
    )
    add("--limit", type=float, help="past_memory: GB of a run; by its rows without")
    add("--seeds", type=int, default=2, help="automl: cuts of each table")
    add(
        "--budget",
        type=float,
        nargs="+",
        default=[30.0],
        help="automl: seconds of each tool",
    )
    add("--tools", nargs="*", help="automl: by name; without, all")
    add(
        "--folder",
        type=Path,
        default=Path(".bench"),
        help="of what automl and past_memory ran",
    )
    add(
        "--remembered",
        action="store_true",
        help="automl, past_memory: tell what was run before",
    )
    add(
        "--tables",
        choices=LISTS,
        default="compared",
        help="automl: as tables.yaml lists them",
    )
    return parser.parse_args()


def _measured_at() -> str:
    date = dt.datetime.now(tz=dt.UTC).date()
    machine = f"{platform.system()} {platform.machine()}"
    return (
        f"{date}, {os.cpu_count()} cores, {machine}, Python "
        f"{platform.python_version()}."
    )


if __name__ == "__main__":
    main()
