"""A whole experiment on tables larger than memory: seconds, CPU and memory of each stage.

The command of the README runs it in a process of its own below a limit of memory, on a Parquet of
millions of rows, as the scaffold would declare it but for the search, which is the same at every
size. Figures of a size are remembered until it is measured again.

    python -m experiment_pipeline_tests.bench --part past_memory --rows 1000000 30000000
"""

import argparse
import datetime as dt
import json
import re
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import dagster as dg
import yaml

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.files import draft_experiment
from experiment_pipeline.storage.locations import STORAGE_VARIABLE
from experiment_pipeline_tests.bench import data, whole_job
from experiment_pipeline_tests.bench.limits import Counted, limited_to
from experiment_pipeline_tests.bench.watching import (
    SECONDS_BETWEEN,
    Spent,
    Watched,
    stored_bytes,
    watch,
)
from experiment_pipeline_tests.end_to_end.project import Project

EXPERIMENT = "past_memory"
COLUMNS = 20
GIGABYTE, MILLION = 1e9, 1e6
# Rows up to which a limit is to be kept, in GB, where none is asked for.
LIMITS = {3_000_000: 1.5, 30_000_000: 4.0}
TREES, DRAWS, FIRST_SHARE = 10, 7, 0.05
ALGORITHM = "lightgbm"
# What the messages of an exhausted process have in common; NumPy, Arrow and C++ in turn.
EXHAUSTED = ("MemoryError", "Unable to allocate", "malloc of size", "bad_alloc")


@dataclass(frozen=True)
class Job:
    """What became of one run.

    Attributes:
        rows: of the table.
        table_bytes: of its file.
        measured: the day.
        limit_bytes: what all of its processes might hold together.
        held_by: what kept the limit.
        ending: why it did not finish; empty: it did.
        stages: stage → what it took, those that had begun.
        whole: what the run took, from the start of the process to its end.
        counted: what the system tells of the limit.
        temporary_bytes: the most that lay below TMPDIR.
        stored_bytes: of the storage at the end.
    """

    rows: int
    table_bytes: int
    measured: str
    limit_bytes: int
    held_by: str
    ending: str
    stages: Mapping[str, Spent]
    whole: Spent
    counted: Counted
    temporary_bytes: int
    stored_bytes: int

    @classmethod
    def of(cls, noted: Mapping[str, Any]) -> Self:
        """What `asdict` gave."""
        stages = {name: Spent(**spent) for name, spent in noted["stages"].items()}
        whole, counted = Spent(**noted["whole"]), Counted(**noted["counted"])
        return cls(**{**noted, "stages": stages, "whole": whole, "counted": counted})

    @property
    def million_rows(self) -> float:
        """Rows in millions."""
        return self.rows / MILLION


def section(asked: argparse.Namespace) -> str:
    """Run every size that is asked for, and tell all that is remembered."""
    folder = asked.folder / EXPERIMENT
    folder.mkdir(parents=True, exist_ok=True)
    for rows in [] if asked.remembered else asked.rows:
        allowed = asked.limit or next((gb for most, gb in LIMITS.items() if rows <= most), 4.0)
        job = measured(rows, round(allowed * GIGABYTE), folder)
        (folder / f"{rows}.json").write_text(json.dumps(asdict(job)))
        print(f"  {_run_row(job)}", flush=True)
    jobs = [Job.of(json.loads(path.read_text())) for path in folder.glob("*.json")]
    return told(sorted(jobs, key=lambda job: job.rows))


def measured(rows: int, limit_bytes: int, folder: Path) -> Job:
    """Run the experiment on a table of so many rows.

    Args:
        rows: of the table.
        limit_bytes: what the run may hold.
        folder: where the table is or is made, and the run's log stays.
    """
    table = data.wide_file(folder, rows, COLUMNS)
    log = folder / f"{rows}.log"
    with tempfile.TemporaryDirectory(dir=folder) as place, limited_to(limit_bytes) as limit:
        project = _project(Path(place).resolve(), table.resolve(), rows)
        environment = project.environment
        watched = watch(
            limit.command(project.execute_command(EXPERIMENT)),
            cwd=project.folder,
            environment=environment,
            log=log,
            temporary=Path(environment["TMPDIR"]),
        )
        stages = stages_of(watched, whole_job.events_of_last_run(project.folder))
        counted = limit.counted()
        return Job(
            rows,
            table.stat().st_size,
            dt.datetime.now(tz=dt.UTC).date().isoformat(),
            limit_bytes,
            limit.kind,
            ending(watched, counted, log.read_text(), [*stages]),
            stages,
            watched.spent(watched.started, watched.ended),
            counted,
            watched.temporary_bytes,
            stored_bytes(Path(environment[STORAGE_VARIABLE])),
        )


def _project(place: Path, table: Path, rows: int) -> Project:
    """A clone with this one experiment, and with its files in its own folder."""
    temporary = place / "tmp"
    temporary.mkdir()
    own = {"TMPDIR": str(temporary), STORAGE_VARIABLE: str(place / "artifacts")}
    project = Project(place, own)
    whole_job.settle(place)
    attributes, schema = experiment(table, rows)
    project.add_experiment(EXPERIMENT, attributes, schema)
    return project


def experiment(table: Path, rows: int) -> tuple[dict[str, Any], str]:
    """The scaffold's draft with the search of this benchmark: attributes, and schema.

    The first batch is drafted from, so that all sizes are declared alike.
    """
    with tempfile.TemporaryDirectory() as folder:
        first = data.wide_file(Path(folder), min(rows, data.BATCH), COLUMNS)
        wishes = Wishes(data=str(first), target="target")
        drafted = draft_experiment(EXPERIMENT, wishes, str(table), "").files
    attributes = yaml.safe_load(drafted["defs.yaml"])["attributes"]
    drawn = next(one for one in attributes["search"] if one.get("method") == "random")
    few = {"n_estimators": TREES}
    attributes["search"] = [
        {"algorithm": ALGORITHM, "configurations": [few]},
        {**drawn, "draws": DRAWS, "hyperparameters": {**drawn["hyperparameters"], **few}},
        {"algorithm": "dummy"},
    ]
    attributes["halving"]["fractions"] = [FIRST_SHARE, 1.0]
    return attributes, drafted["schema.yaml"]


def stages_of(watched: Watched, events: Sequence[dg.EventLogEntry]) -> dict[str, Spent]:
    """Stage → what it took; one that was ended from outside lasted to the end."""
    return {
        step.removeprefix(f"{EXPERIMENT}__"): watched.spent(since, until or watched.ended)
        for step, (since, until) in whole_job.stretches(events).items()
    }


def ending(watched: Watched, counted: Counted, said: str, stages: Sequence[str]) -> str:
    """Why a run did not finish; empty: it did.

    Args:
        watched: its command.
        counted: of its limit.
        said: all that it printed.
        stages: that had begun.
    """
    if watched.returncode == 0:
        return ""
    during = f" in {stages[-1]}" if stages else ""
    if counted.killed or watched.returncode == -signal.SIGKILL:
        return f"killed at the limit{during}"
    if any(sign in said for sign in EXHAUSTED):
        return f"out of memory{during}"
    told = re.search(r"FAILED\s+(\S.*)", said)
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
    return f"failed{during}: {(told[1] if told else last).strip()}"


def told(jobs: Sequence[Job]) -> str:
    """The section: runs, stages, growth.

    Args:
        jobs: of different sizes, the smallest first.
    """
    stages = list(dict.fromkeys(stage for job in jobs for stage in job.stages))
    sizes = [f"{job.rows:,} rows" for job in jobs]
    base, larger = jobs[0], jobs[1:]
    runs = _table(RUN, [_run_row(job) for job in jobs])
    spent = _table(["stage", *sizes], [_stage_row(stage, jobs) for stage in stages])
    grown = [_growth_row(stage, base, larger) for stage in [*stages, WHOLE]]
    growth = _table(["stage", f"{sizes[0]}: s, CPU s", *sizes[1:]], grown)
    return f"""A made-up Parquet of {COLUMNS} columns (numbers, texts, an id, a day), the experiment as the scaffold drafts
it, run by `dagster job execute` in one process below a limit of memory; a run that went beyond it
would have been ended. Memory is anonymous memory of all processes, looked at every
{1000 * SECONDS_BETWEEN:.0f} ms; the limit counts pages of files, too, but they are given back.

The search is smaller than a real one, and the same at every size: {DRAWS + 1} LightGBM configurations of {TREES} trees, on
{100 * FIRST_SHARE:.0f} % of the train rows, the better 5 on all, their ensemble, and a dummy. The scaffold's own has 22 with up
to hundreds of trees, which takes as much longer and no more memory, and linear models and forests: they read
the whole table of floats (eight bytes per cell), for which a run says beforehand what it lacks.

{runs}

Seconds, CPU seconds, and GB at most, of each stage:

{spent}

Growth: seconds and CPU seconds for a million rows, then as multiples of that; 1 is linear.

{growth}"""


WHOLE = "**all**"
RUN = [
    *("rows", "file, GB", "limit, GB", "ended", "s", "CPU s", "most memory, GB"),
    *("most with files, GB", "below TMPDIR, GB", "stored, GB", "measured"),
]


def _run_row(job: Job) -> list[str]:
    counted = job.counted
    most = "" if counted.most_bytes is None else _gb(counted.most_bytes)
    full = f" (full {counted.times_full:,} times)" if counted.times_full else ""
    return [
        f"{job.rows:,}",
        _gb(job.table_bytes),
        f"{job.limit_bytes / GIGABYTE:g} ({job.held_by})",
        job.ending or "finished",
        f"{job.whole.seconds:,.0f}",
        f"{job.whole.cpu_seconds:,.0f}",
        f"**{_gb(job.whole.peak_bytes)}**",
        most + full,
        _gb(job.temporary_bytes),
        _gb(job.stored_bytes),
        job.measured,
    ]


def _stage_row(stage: str, jobs: Sequence[Job]) -> list[str]:
    return [stage, *(_spent(job.stages.get(stage)) for job in jobs)]


def _spent(spent: Spent | None) -> str:
    if spent is None:
        return ""
    return f"{spent.seconds:,.0f}, {spent.cpu_seconds:,.0f}, **{_gb(spent.peak_bytes)}**"


def _growth_row(stage: str, base: Job, larger: Sequence[Job]) -> list[str]:
    """Of stages that were not ended: those say nothing of growth."""
    first = _per_million(stage, base)
    if first is None:
        return [stage, *[""] * (1 + len(larger))]
    cells = [f"{first[0]:,.1f}, {first[1]:,.1f}"]
    for job in larger:
        found = _per_million(stage, job)
        ratios = [] if found is None else zip(found, first, strict=True)
        cells.append(", ".join(f"{now / before:.2f}" for now, before in ratios if before))
    return [stage, *cells]


def _per_million(stage: str, job: Job) -> tuple[float, float] | None:
    spent = job.whole if stage == WHOLE else job.stages.get(stage)
    unfinished = bool(job.ending) and (stage == WHOLE or stage == [*job.stages][-1])
    if spent is None or unfinished:
        return None
    return spent.seconds / job.million_rows, spent.cpu_seconds / job.million_rows


def _gb(size: float) -> str:
    return f"{size / GIGABYTE:.2f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
