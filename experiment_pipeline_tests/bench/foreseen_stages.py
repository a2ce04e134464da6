"""The memory that each stage was foreseen to take, against its peak: a whole experiment, watched.

The experiment of `past_memory.py` runs in a process of its own, which notes what it is told before
each stage; from outside, its anonymous memory is looked at. What a stage adds is the most until the
next one is foreseen, above what was held before.

    python -m experiment_pipeline_tests.bench.foreseen_stages FOLDER ROWS
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages import foreseen
from experiment_pipeline.storage.locations import STORAGE_VARIABLE
from experiment_pipeline.storage.memory_limits import MemoryLimit
from experiment_pipeline_tests import runs
from experiment_pipeline_tests.bench import data, past_memory, whole_job
from experiment_pipeline_tests.bench.watching import Watched, watch

GRANTED = foreseen.LIBRARIES / 1e6
# A line of the log, and not of Dagster's.
_NOTED = "FORESEEN "


@dataclass(frozen=True)
class Foretold:
    """What a stage has added, and was foreseen to add, in bytes."""

    stage: str
    rows: int
    added: float
    need: float

    def row(self) -> str:
        """A line of the Markdown table."""
        sizes = f"{self.added / 1e6:,.0f} | {self.need / 1e6:,.0f}"
        return f"| {self.stage} | {self.rows:,} | {sizes} | **{self.added / self.need:.2f}** |"


def measurements(folder: Path, sizes: Sequence[int]) -> list[Foretold]:
    """Measure every stage at every size."""
    return [found for rows in sizes for found in measured(folder, rows)]


def measured(folder: Path, rows: int) -> list[Foretold]:
    """Run the experiment on a table of so many rows, which lies in a folder or is made there."""
    table = data.wide_file(folder, rows, past_memory.COLUMNS)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        log, temporary = Path(place) / "log", Path(place) / "tmp"
        temporary.mkdir()
        own = {"TMPDIR": str(temporary), STORAGE_VARIABLE: str(Path(place) / "artifacts")}
        watched = watch(
            [sys.executable, "-m", __spec__.name, str(table.resolve()), str(rows)],
            cwd=whole_job.ROOT,
            environment={**os.environ, **own},
            log=log,
            temporary=temporary,
        )
        lines = log.read_text().splitlines()
    if watched.returncode:
        raise RuntimeError("\n".join(lines[-20:]))
    notes = [json.loads(line.removeprefix(_NOTED)) for line in lines if line.startswith(_NOTED)]
    return list(told(notes, watched, rows))


def told(notes: Sequence[Mapping[str, Any]], watched: Watched, rows: int) -> Iterator[Foretold]:
    """Of each stage the note with the largest need, which is the last of a search's rungs.

    Args:
        notes: what was foreseen, in order: `at`, in seconds since the epoch, `stage`, and in bytes
            its `need` and what was `held`.
        watched: the process that noted it.
        rows: of its table.
    """
    largest = dict[str, Foretold]()
    for number, note in enumerate(notes):
        stage, need = note["stage"], note["need"]
        others = (one["at"] for one in notes[number:] if one["stage"] != stage)
        spent = watched.spent(note["at"], next(others, watched.ended))
        if stage not in largest or need > largest[stage].need:
            largest[stage] = Foretold(stage, rows, spent.peak_bytes - note["held"], need)
    yield from largest.values()


def run(table: Path, rows: int) -> None:
    """Run the experiment in this process, and note what is foreseen."""
    from experiment_pipeline.stages.search.engines import engine

    ask = foreseen.foresee

    def noted(need: foreseen.MemoryNeed, limit: MemoryLimit, workers: int = 1) -> foreseen.Foreseen:
        found = ask(need, limit, workers)
        size = need.of(min(found.workers, max(len(need.fits), 1)))
        note = {"at": time.time(), "stage": need.stage, "need": size, "held": limit.held}
        print(f"\n{_NOTED}{json.dumps(note)}", flush=True)
        return found

    foreseen.foresee = noted
    engine.foresee = noted
    attributes, schema = past_memory.experiment(table, rows)
    spec = ExperimentSpec(name=past_memory.EXPERIMENT, **attributes)
    done = runs.run(spec, schema)
    if not done.success:
        sys.exit(done.failure)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
