"""The memory of experiments after years: how long the usual questions take, on SQLite.

The rows are made up and written in bulk; a run's own writing is measured apart, beside them. In:
how many runs and configurations. Out: seconds, each the median of five, and the file's size.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import sqlalchemy as sa

from experiment_pipeline.reporting.document import render_html
from experiment_pipeline.reporting.run_record import (
    ConfigurationRow,
    FileRow,
    RecordRow,
    RunFacts,
    VersionRow,
)
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import compare
from experiment_pipeline.tracking.database import recording
from experiment_pipeline.tracking.database.connection import VARIABLE, database, opened
from experiment_pipeline.tracking.database.recording import RunRecord, mark_killed
from experiment_pipeline.tracking.database.tables import TABLES, VIEWS
from experiment_pipeline.tracking.overview import experiment_page, overview
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.tracking.history import run_rows

MOST_SECONDS = 1.0
# What a stage may wait for the database, all its rows together.
MOST_SECONDS_OF_WRITING = 0.2
EXPERIMENTS = 20
_TIMES = 5
_AT_ONCE = 200
_NOW = datetime(2026, 6, 1, tzinfo=UTC)


def measurements(runs: int = 10_000, configurations: int = 50) -> list[Measured]:
    """Fill a database and ask it; see the module."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.sqlite"
        with patch.dict("os.environ", {VARIABLE: f"sqlite:///{path}"}):
            try:
                _fill(runs, configurations)
                found = list(_measured(runs, configurations))
            finally:
                database().dispose()
                opened.cache_clear()
        megabytes = path.stat().st_size / 1e6
    found.append(Measured("the file", megabytes, "MB", None))
    for one in found:
        print(f"  {one.name}: {one.value:.3f} {one.unit}", flush=True)
    return found


def _measured(runs: int, configurations: int) -> Iterator[Measured]:
    name, last = _experiment(0), _id(runs - EXPERIMENTS)
    before = _id(runs - 2 * EXPERIMENTS)
    ask: dict[str, Callable[[], object]] = {
        "the last 20 runs of all": lambda: questions.runs(limit=20),
        "the last 20 rejected runs of one experiment": lambda: questions.runs(
            name, status="rejected", limit=20
        ),
        f"all {runs // EXPERIMENTS:,} runs of one experiment": lambda: questions.runs(name),
        "the experiments": questions.experiments,
        "a leaderboard": lambda: questions.leaderboard(name),
        "the results of a run, by the beginning of its id": lambda: questions.results(
            name, last[:8]
        ),
        "a comparison": lambda: compare(before, last),
        "the versions of one experiment": lambda: questions.versions(name),
        "the overview page": lambda: render_html(overview(_NOW)),
        "the page of one experiment": lambda: render_html(experiment_page(name, "artifacts")),
        "killed runs, looked for": mark_killed,
        "SQL: the ten best configurations of an experiment": lambda: _best(name),
    }
    for what, asked in ask.items():
        yield Measured(what, _median(lambda _, asked=asked: asked()), "s", MOST_SECONDS)
    yield Measured(f"all {runs:,} runs as a table", _median(lambda _: questions.runs()), "s", None)
    new = [
        (RunRecord(name, f"new{number}"), [*_rows(runs + number), *_configurations(configurations)])
        for number in range(_TIMES)
    ]
    yield Measured(
        f"writing all rows of a run, {configurations} configurations",
        _median(lambda number: new[number][0].record(new[number][1])),
        "s",
        MOST_SECONDS_OF_WRITING,
    )
    yield Measured(
        "adding what a stage took",
        _median(lambda number: new[number][0].add_cost(1.0, 1.0, 1)),
        "s",
        MOST_SECONDS_OF_WRITING,
    )


def _median(do: Callable[[int], object]) -> float:
    taken = []
    for number in range(_TIMES):
        started = time.perf_counter()
        do(number)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _best(experiment: str) -> object:
    board = VIEWS["leaderboards"].table
    query = sa.select(board.c.run_id, board.c.key, board.c.test_score)
    query = query.where(board.c.experiment == experiment, board.c.rank.is_not(None))
    with database().connect() as connected:
        return connected.execute(query.order_by(board.c.test_score.desc()).limit(10)).all()


def _fill(runs: int, configurations: int) -> None:
    searched = [recording._values(row) for row in _configurations(configurations)]
    with database().begin() as connected:
        files = [recording._values(row) for row in run_rows(0) if isinstance(row, FileRow)]
        connected.execute(sa.insert(TABLES["files"]), files)
        for first in range(0, runs, _AT_ONCE):
            of_all: dict[str, list[dict[str, object]]] = {name: [] for name in TABLES}
            for number in range(first, min(first + _AT_ONCE, runs)):
                scope = {"experiment": _experiment(number), "run_id": _id(number)}
                of_all["configurations"] += [scope | values for values in searched]
                for row in _rows(number):
                    own = {name: scope[name] for name in row.SCOPE}
                    of_all[row.TABLE].append(own | recording._values(row))
            for name in ("runs", *TABLES):
                rows = of_all.pop(name, ())
                if rows:
                    connected.execute(sa.insert(TABLES[name]), rows)


def _experiment(number: int) -> str:
    return f"experiment_{number % EXPERIMENTS:02d}"


def _id(number: int) -> str:
    """As long as Dagster's, and as unlike each other."""
    return f"{(number * 2_654_435_761) % 2**32:08x}-0000-4000-8000-{number:012x}"


def _configurations(count: int) -> list[RecordRow]:
    (first, *_) = [row for row in run_rows(0) if isinstance(row, ConfigurationRow)]
    return [
        replace(
            first,
            key=f"lightgbm__{place:08x}",
            hyperparameters=dict(first.hyperparameters) | {"num_leaves": place, "max_bin": 255},
            rank=place + 1,
            is_chosen=place == 0,
            test_score=0.8 - place / 1_000,
            reason=None,
        )
        for place in range(count)
    ]


def _rows(number: int) -> Iterator[RecordRow]:
    """What there is of a run beside its configurations."""
    accepted = number % 3 > 0
    best = 0.7 + (number % 97) / 1_000
    for row in run_rows(number, status="accepted" if accepted else "rejected", best=best):
        if isinstance(row, RunFacts):
            started = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(hours=3 * number)
            yield replace(row, started_at=started, wall_seconds=36.0, cpu_seconds=50.0, cost=0.1)
        elif not isinstance(row, FileRow | ConfigurationRow):
            yield row
    if accepted:
        yield VersionRow(
            version=f"v{number // EXPERIMENTS:04d}",
            run_id=_id(number),
            created_at=_NOW,
            place=f"artifacts/{_experiment(number)}/registry/v{number // EXPERIMENTS:04d}",
            configuration="lightgbm__00000000",
            headline=f"roc_auc {best:.3f} on validation",
            fingerprint="f" * 64,
        )
