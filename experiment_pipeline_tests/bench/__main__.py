"""Run every comparison and write the table that the README quotes."""

import argparse
import datetime as dt
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experiment_pipeline_tests.bench import data, halving, training
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.pairs import Ratio

RESULTS = Path(__file__).parent / "results.md"
HEAD = """# Benchmark

{date}, {cores} cores, {machine}, Python {python}.
"""
RATIOS = """
Seconds are medians; a ratio is ours / the alternative, the median of pairs run side by side, with
their range.

| ours against | ours, s | other, s | ratio | to reach |
|---|---|---|---|---|
"""
FIGURES = """
The stages before training, on a made-up table of numbers, texts and dates.

| measured | figure | to reach |
|---|---|---|
"""


def main() -> None:
    """`python -m experiment_pipeline_tests.bench [--part training|data|all] [--pairs N] …`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["training", "data", "all"], default="all")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the made-up table")
    parser.add_argument("--columns", type=int, default=50, help="of the made-up table")
    asked = parser.parse_args()
    text = _head()
    if asked.part in ("training", "all"):
        with tempfile.TemporaryDirectory() as folder:
            text += RATIOS + _rows(
                [*training.ratios(asked.pairs, Path(folder)), *halving.ratios(asked.pairs)]
            )
    if asked.part in ("data", "all"):
        text += FIGURES + _rows(data.measurements(asked.rows, asked.columns))
    # Only the whole benchmark is what the README quotes.
    if asked.part == "all":
        RESULTS.write_text(text)
    print(text)


def _head() -> str:
    return HEAD.format(
        date=dt.datetime.now(tz=dt.UTC).date(),
        cores=os.cpu_count(),
        machine=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
    )


def _rows(measured: Sequence[Ratio | Measured]) -> str:
    return "\n".join(one.row() for one in measured) + "\n"


if __name__ == "__main__":
    main()
