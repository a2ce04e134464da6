"""Run the comparisons, a part at a time or all, and write the page that the README quotes."""

import argparse
import datetime as dt
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from experiment_pipeline_tests.bench import data, halving, rivals, tables, training
from experiment_pipeline_tests.bench.sections import Section, refreshed, table

RESULTS = Path(__file__).parent / "results.md"


@dataclass(frozen=True)
class Part:
    """One part of the benchmark.

    Attributes:
        title: of its section.
        measure: what was asked → the section's Markdown.
    """

    title: str
    measure: Callable[[argparse.Namespace], str]


def searches(asked: argparse.Namespace) -> str:
    """Wall time of the search and of its training step, and what the searches find."""
    with tempfile.TemporaryDirectory() as folder:
        steps = training.ratios(asked.pairs, Path(folder))
        found = halving.figures(asked.pairs, Path(folder))
    ratios = table(
        ["ours against", "ours, s", "other, s", "ratio", "to reach"], [*steps, *found.ratios]
    )
    qualities = table(
        [
            "winner of",
            "ours",
            "other",
            "difference",
            "standard error",
            "to reach: not below -1 s.e.",
        ],
        found.qualities,
    )
    return f"""Seconds are medians; a ratio is ours / the alternative, the median of pairs run side by side, with
their range. HalvingRandomSearchCV: n_candidates=60, factor=3, min_resources="exhaust" (its default
would end with 108 of the rows).

{ratios}

What they find: the winners of the search with halving and of the others, fitted on the train rows
and compared on the validation rows, which nobody chose on. The standard error is that of the
paired difference, by days.

{qualities}"""


def stages(asked: argparse.Namespace) -> str:
    """The stages before training."""
    rows = table(["measured", "figure", "to reach"], data.measurements(asked.rows, asked.columns))
    return f"On a made-up table of numbers, texts and dates.\n\n{rows}"


def same_seconds(asked: argparse.Namespace) -> str:
    """Our search against Optuna, FLAML and random draws."""
    found = rivals.duels(asked.seconds, asked.seeds, asked.tables)
    columns = ["table", "rival", "ours", "theirs", "difference", "ours is"]
    columns += ["difference, ours refitted", "it is", "seconds"]
    return f"""{asked.seconds:g} seconds for each search, {asked.seeds} seeds; a seed draws and cuts the rows. All
choose on the test rows, with LightGBM on our encoded features; winners are judged on the
validation rows, fitted on the train rows. A difference is paired by seed, above 0 where ours is
better, with its 95 % interval. Optuna (TPE, its defaults, a trial per core) and the random draws
search the space that ours does and stop their trees on the test rows; FLAML searches its own, with
as many threads for a fit as there are cores, and with one.
Ours stops its trees on 15 % of the train rows, which its stored models are not fitted on; refitted:
the same winner on all train rows, as the export does it, one fit beyond the seconds.

{table(columns, found)}

In short, in brackets refitted: {rivals.tally(found)}."""


# A part more is a line more; the order is that of the page.
PARTS: Mapping[str, Part] = {
    "training": Part("The search", searches),
    "rivals": Part("The same seconds", same_seconds),
    "data": Part("The stages before training", stages),
}


def main() -> None:
    """`python -m experiment_pipeline_tests.bench [--part NAME] [--pairs N] …`."""
    asked = _asked()
    for name in PARTS if asked.part == "all" else [asked.part]:
        section = Section(PARTS[name].title, f"{_measured_at()}\n\n{PARTS[name].measure(asked)}")
        print(f"\n## {section.title}\n\n{section.body}\n", flush=True)
        # At once: a long benchmark that is stopped keeps what it has.
        if not asked.print_only:
            page = RESULTS.read_text() if RESULTS.exists() else ""
            order = [part.title for part in PARTS.values()]
            RESULTS.write_text(refreshed(page, section, order))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--print-only", action="store_true", help="leave results.md as it is")
    parser.add_argument("--pairs", type=int, default=3, help="of each ratio")
    parser.add_argument("--rows", type=int, default=1_000_000, help="data: of the made-up table")
    parser.add_argument("--columns", type=int, default=50, help="data: of the made-up table")
    parser.add_argument("--seconds", type=float, default=10.0, help="rivals: of each search")
    parser.add_argument("--seeds", type=int, default=5, help="rivals: of each table")
    names = [one.name for one in tables.TABLES]
    parser.add_argument("--tables", nargs="*", choices=names, default=names, help="rivals: which")
    return parser.parse_args()


def _measured_at() -> str:
    date = dt.datetime.now(tz=dt.UTC).date()
    machine = f"{platform.system()} {platform.machine()}"
    return f"{date}, {os.cpu_count()} cores, {machine}, Python {platform.python_version()}."


if __name__ == "__main__":
    main()
