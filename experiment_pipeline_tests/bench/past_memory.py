"""A whole experiment on tables larger than memory: seconds, CPU and memory of each
stage.

The command of the README runs it in a process of its own below a limit of memory, on a
Parquet of millions of rows, as the scaffold would declare it but for the search, which
is the same at every size; then the command that predicts for the same table. Figures
are remembered until measured again.

    python -m experiment_pipeline_tests.bench --part past_memory --rows 1000000 30000000
"""

import argparse
import datetime as dt
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.files import draft_experiment
from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline_tests.bench import data, orchestration
from experiment_pipeline_tests.bench.sections import markdown
from experiment_pipeline_tests.bench.watching import (
    SECONDS_BETWEEN,
    Spent,
    Watched,
    limited_to,
    stored_bytes,
    watch,
)
from experiment_pipeline_tests.end_to_end.project import Project

EXPERIMENT = "past_memory"
COLUMNS = 20
GIGABYTE = 1e9
# Rows up to which a limit is to be kept, in GB, where none is asked for.
LIMITS = {3_000_000: 1.5, 30_000_000: 4.0}
TREES, DRAWS, FIRST_SHARE = 10, 7, 0.05
PREDICTION = "prediction"


@dataclass(frozen=True)
class Job:
    """What became of one run."""

    rows: int  # of the table
    table_bytes: int  # of its files
    measured: str  # the day
    limit_bytes: int  # what all of its processes might hold together
    held_by: str  # what kept the limit
    ending: str  # why it did not finish; empty: it did
    stages: Mapping[str, Spent]  # stage → what it took, those that had begun
    whole: Spent  # what the run took, from the start of the process to its end
    most_bytes: int | None  # held at once, file pages included, where the system tells
    temporary_bytes: int  # the most that lay below TMPDIR
    stored_bytes: int  # of the storage at the end

    def __str__(self) -> str:
        """Its size."""
        return f"{self.rows:,} rows"


_NOTED = TypeAdapter(Job)


def section(asked: argparse.Namespace) -> str:
    """Run every size that is asked for, and tell all that is remembered."""
    folder = asked.folder / EXPERIMENT
    folder.mkdir(parents=True, exist_ok=True)
    for rows in [] if asked.remembered else asked.rows:
        allowed = asked.limit or next(
            (gb for most, gb in LIMITS.items() if rows <= most), 4.0
        )
        job = measured(rows, round(allowed * GIGABYTE), folder)
        (folder / f"{rows}.json").write_bytes(_NOTED.dump_json(job))
        print(f"  {_run(job)}", flush=True)
    jobs = [_NOTED.validate_json(path.read_bytes()) for path in folder.glob("*.json")]
    return told(sorted(jobs, key=lambda job: job.rows))


def measured(rows: int, limit_bytes: int, folder: Path) -> Job:
    """Run the experiment on a table of so many rows, and predict for it; the
    log stays.
    """
    table = data.wide_file(folder.resolve(), rows, COLUMNS)
    log = folder / f"{rows}.log"
    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        limited_to(limit_bytes) as limit,
    ):
        place = Path(name).resolve()
        storage, temporary = place / "artifacts", place / "tmp"
        temporary.mkdir()
        # A clone with this one experiment, and with its files in its own folder.
        project = Project(
            place, {"TMPDIR": str(temporary), STORAGE_VARIABLE: str(storage)}
        )
        orchestration.settle(place)
        project.add_experiment(EXPERIMENT, *experiment(str(table), rows))

        def ran(*command: str) -> Watched:
            return watch(
                limit,
                command,
                cwd=project.folder,
                environment=project.environment,
                log=log,
                temporary=temporary,
            )

        watched = ran(*project.execute_command(EXPERIMENT))
        steps = orchestration.stretches(
            orchestration.events_of_last_run(project.folder)
        )
        # A stage that was ended from outside lasted to the end.
        stages = {
            step.removeprefix(f"{EXPERIMENT}__"): watched.spent(
                since, until or watched.ended
            )
            for step, (since, until) in steps.items()
        }
        how = ending(watched, limit.killed, log.read_text(), [*stages])
        if not how:
            output = str(storage / "predicted.parquet")
            predicted = ran(
                "experiment-pipeline",
                "predict",
                EXPERIMENT,
                str(table),
                "--output",
                output,
            )
            stages[PREDICTION] = predicted.spent(predicted.started, predicted.ended)
            how = ending(predicted, limit.killed, log.read_text(), [*stages])
        return Job(
            rows,
            stored_bytes(table),
            dt.datetime.now(tz=dt.UTC).date().isoformat(),
            limit_bytes,
            limit.kind,
            how,
            stages,
            watched.spent(watched.started, watched.ended),
            limit.most_bytes,
            watched.temporary_bytes,
            stored_bytes(storage),
        )


def experiment(url: str, rows: int) -> tuple[dict[str, Any], str]:
    """The scaffold's draft with the search of this benchmark: attributes, and schema.

    The first batch is drafted from, so that all sizes are declared alike.
    """
    with tempfile.TemporaryDirectory() as folder:
        first = data.wide_file(Path(folder), min(rows, data.BATCH), COLUMNS)
        wishes = Wishes(data=str(first), target="target")
        drafted = draft_experiment(EXPERIMENT, wishes, url, "").files
    attributes = yaml.safe_load(drafted["defs.yaml"])["attributes"]
    drawn = next(one for one in attributes["search"] if one.get("method") == "random")
    few = {"n_estimators": TREES}
    attributes["search"] = [
        {"algorithm": "lightgbm", "configurations": [few]},
        {
            **drawn,
            "draws": DRAWS,
            "hyperparameters": {**drawn["hyperparameters"], **few},
        },
        {"algorithm": "dummy"},
    ]
    attributes["halving"]["fractions"] = [FIRST_SHARE, 1.0]
    return attributes, drafted["schema.yaml"]


def ending(watched: Watched, killed: bool, said: str, stages: Sequence[str]) -> str:
    """Why a run that printed this, and began these stages, did not finish; empty: it
    did.
    """
    if watched.returncode == 0:
        return ""
    during = f" in {stages[-1]}" if stages else ""
    if killed:
        return f"killed at the limit{during}"
    told = re.search(r"FAILED\s+(\S.*)", said)
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
    return f"failed{during}: {(told[1] if told else last).strip()}"


def told(jobs: Sequence[Job]) -> str:
    """The section: runs and stages; the smallest job comes first."""
    stages = list(dict.fromkeys(stage for job in jobs for stage in job.stages))
    runs = markdown([*_run(jobs[0])], [[*_run(job).values()] for job in jobs])
    spent = markdown(
        ["stage", *map(str, jobs)],
        [[stage, *(_spent(job.stages.get(stage)) for job in jobs)] for stage in stages],
    )
    return f"""A made-up Parquet of {COLUMNS} columns (numbers, texts, an id, a day), the experiment as the scaffold drafts
it, run by `dagster job execute` in one process below a limit of memory, then `predict` on the same table; what
went beyond the limit would have been ended. Memory is anonymous memory of all processes, looked at every
{1000 * SECONDS_BETWEEN:.0f} ms; the limit counts pages of files, too, but they are given back.

The search is smaller than a real one, and the same at every size: {DRAWS + 1} LightGBM configurations of {TREES} trees, on
{100 * FIRST_SHARE:.0f} % of the train rows, the better 5 on all, their ensemble, and a dummy. The scaffold's own has 22 with up
to hundreds of trees, which takes as much longer and no more memory, and linear models and forests: they read
the whole table of floats (eight bytes per cell), for which a run says beforehand what it lacks.

{runs}

Seconds, CPU seconds, and GB at most, of each stage:

{spent}"""


def _run(job: Job) -> dict[str, str]:
    """Column → cell."""
    return {
        "table": str(job),
        "file, GB": _gb(job.table_bytes),
        "limit, GB": f"{job.limit_bytes / GIGABYTE:g} ({job.held_by})",
        "ended": job.ending or "finished",
        "s": f"{job.whole.seconds:,.0f}",
        "CPU s": f"{job.whole.cpu_seconds:,.0f}",
        "most memory, GB": f"**{_gb(job.whole.peak_bytes)}**",
        "most with files, GB": "" if job.most_bytes is None else _gb(job.most_bytes),
        "below TMPDIR, GB": _gb(job.temporary_bytes),
        "stored, GB": _gb(job.stored_bytes),
        "measured": job.measured,
    }


def _spent(spent: Spent | None) -> str:
    if spent is None:
        return ""
    return (
        f"{spent.seconds:,.0f}, {spent.cpu_seconds:,.0f}, **{_gb(spent.peak_bytes)}**"
    )


def _gb(size: float) -> str:
    return f"{size / GIGABYTE:.2f}"
