"""The stages before training on millions of rows: seconds, and the peak of memory of each.

Each runs in a process of its own, on the made-up table of `data.py`, so that its peak (with
libraries and table) is what a step of the job would need at least.

    python -m experiment_pipeline_tests.bench.large_stages 3000000 18
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from experiment_pipeline.spec import Data
from experiment_pipeline.stages.raw_data.sources import read_source
from experiment_pipeline.stages.raw_data.table import parse
from experiment_pipeline.storage.processes import peak_memory_bytes
from experiment_pipeline_tests.bench import data
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.large import GIGABYTE, MEMORY_OF_THE_MACHINE

CSV, PARQUET = "table.csv", "table.parquet"


def measurements(rows: int, columns: int) -> list[Measured]:
    """Measure every stage on a table of this shape; id, day and target are among the columns."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            found for part in PARTS for found in _in_own_process(part, rows, columns, Path(folder))
        ]


def write_table(rows: int, columns: int, folder: Path) -> list[Measured]:
    """Write the table as CSV and as Parquet; what the making itself needs is the first figure."""
    started = time.perf_counter()
    frame = data.wide_table(rows, columns)
    seconds = time.perf_counter() - started
    frame.to_csv(folder / CSV, index=False)
    frame.to_parquet(folder / PARQUET, index=False)
    typed = float(frame.memory_usage(deep=True).sum())
    return [
        Measured("making of the table", seconds, "s", None),
        Measured("the typed table", typed / GIGABYTE, "GB", None),
    ]


def reading(path: Path) -> list[Measured]:
    """Read and parse a file, as the first stage does."""
    declared, started = Data(url=str(path)), time.perf_counter()
    parse(read_source(declared), declared)
    return [Measured(f"reading {path.suffix}", time.perf_counter() - started, "s", None)]


PARTS: dict[str, Callable[[int, int, Path], list[Measured]]] = {
    "writing": write_table,
    "csv": lambda _rows, _columns, folder: reading(folder / CSV),
    "parquet": lambda _rows, _columns, folder: reading(folder / PARQUET),
    "analysis": lambda rows, columns, _: data.analysis(data.wide_table(rows, columns)),
    "validation": lambda rows, columns, _: data.validation(
        data.wide_table(rows, columns), data.resident_bytes()
    ),
}


def _in_own_process(part: str, rows: int, columns: int, folder: Path) -> list[Measured]:
    module = "experiment_pipeline_tests.bench.large_stages"
    command = [sys.executable, "-m", module, str(rows), str(columns), part, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = [Measured(**one) for one in json.loads(done.stdout.splitlines()[-1])]
    for one in found:
        print(f"  {one.name}: {one.value:.1f} {one.unit}", flush=True)
    return found


def main(rows: str, columns: str, part: str = "", folder: str = "") -> None:
    """Measure one part in this process, or all of them in their own."""
    if not part:
        for one in measurements(int(rows), int(columns)):
            print(one.row())
        return
    found = PARTS[part](int(rows), int(columns), Path(folder))
    held = peak_memory_bytes() / GIGABYTE
    peak = Measured(f"peak of memory, {part}", held, "GB", MEMORY_OF_THE_MACHINE)
    print(json.dumps([asdict(one) for one in [*found, peak]]))


if __name__ == "__main__":
    main(*sys.argv[1:])
