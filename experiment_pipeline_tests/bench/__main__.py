"""Run every comparison and write the table that the README quotes."""

import argparse
import datetime
import os
import platform
import tempfile
from pathlib import Path

from experiment_pipeline_tests.bench import halving, training
from experiment_pipeline_tests.bench.pairs import Ratio

RESULTS = Path(__file__).parent / "results.md"
HEAD = """# Benchmark

{date}, {cores} cores, {machine}, Python {python}. Seconds are medians; a ratio is ours / the
alternative, the median of pairs run side by side, with their range.

| ours against | ours, s | other, s | ratio | to reach |
|---|---|---|---|---|
"""


def main() -> None:
    """`python -m experiment_pipeline_tests.bench [--pairs N]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as folder:
        ratios = [*training.ratios(pairs, Path(folder)), *halving.ratios(pairs)]
    text = _table(ratios)
    RESULTS.write_text(text)
    print(text)


def _table(ratios: list[Ratio]) -> str:
    head = HEAD.format(
        date=datetime.datetime.now(tz=datetime.UTC).date(),
        cores=os.cpu_count(),
        machine=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
    )
    return head + "\n".join(ratio.row() for ratio in ratios) + "\n"


if __name__ == "__main__":
    main()
