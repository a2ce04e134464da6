"""Recording a run as it goes: that it began, which stage it is in, how it ended, what it took.

Around each stage stands `recorded`; what a stage found out is remembered where it is told. A run
whose process is gone is marked by whoever looks next. In: a run, a stage's name. Out: its row.
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import sqlalchemy as sa

from experiment_pipeline.errors import DatabaseUnavailable, ExperimentPipelineError
from experiment_pipeline.reporting.run_record import FileRow, Remembered, RunFacts, Status
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ALGORITHMS
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.storage import batches
from experiment_pipeline.storage.processes import Process, peak_memory_bytes
from experiment_pipeline.storage.provenance import code_provenance
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.tracking.database.connection import database, told
from experiment_pipeline.tracking.database.tables import RUNS
from experiment_pipeline.tracking.database.writing import RunMemory

# What an hour of the machine costs, in any currency; takes precedence over the YAML.
PRICE_VARIABLE = "EXPERIMENT_PIPELINE_PRICE_PER_HOUR"
_LIBRARIES = (
    "dagster",
    "lightgbm",
    "numpy",
    "pandas",
    "pandera",
    "pyarrow",
    "scikit-learn",
    "skops",
)
CANCELLED = "the run was cancelled"
_LONGEST = 2_000  # characters of an error's text


@contextmanager
def recorded(
    run: RunMemory,
    stage: str,
    first: Callable[[], Sequence[Remembered]],
    ended: Callable[[RunMemory], object],
) -> Iterator[None]:
    """Record a stage: that it began, what it took, and the error that ended it.

    Args:
        run: of which it is a stage.
        stage: its name.
        first: what is declared for the whole run; asked for at the run's first stage.
        ended: hears when an error has ended the run.

    Raises:
        DatabaseUnavailable: before the stage begins.
    """
    begin(run, stage, first)
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    except ExperimentPipelineError as error:
        _ended_by(run, "failed", error, f"{error.culprit}: {error.rule}", error.fix)
        ended(run)
        raise
    except Exception as error:
        _ended_by(run, "failed", error, str(error), "This is a bug: report it with its stack.")
        ended(run)
        raise
    except BaseException as error:
        _ended_by(run, "killed", error, str(error) or CANCELLED, "Run it again: it goes on.")
        ended(run)
        raise
    finally:
        with suppress(DatabaseUnavailable):
            run.add_cost(time.perf_counter() - wall, time.process_time() - cpu, peak_memory_bytes())


def in_batches(run: RunMemory) -> AbstractContextManager[Callable[[Iterable[Remembered]], None]]:
    """Take rows that come many times a second, and write them once a second and at the end.

    A database that goes away meanwhile stops nothing: the rows wait.

    Raises:
        DatabaseUnavailable: it is away at the end.
    """

    def write(rows: Sequence[Remembered]) -> None:
        run.remember([*rows, RunFacts(seen_at=datetime.now(UTC))])

    return batches.in_batches(write, away=DatabaseUnavailable)


def begin(run: RunMemory, stage: str, first: Callable[[], Sequence[Remembered]]) -> None:
    """Note that a stage begins; a run that had ended, as one part of a whole, goes on."""
    now = datetime.now(UTC)
    begun = run.facts()
    facts = RunFacts(
        status="running",
        stage=stage,
        seen_at=now,
        process=Process.here().as_noted,
        started_at=now if begun is None or begun.started_at is None else None,
    )
    old = ("ended_at", "error_type", "error", "fix", "mlflow_run_id")
    run.remember([*(first() if begun is None else ()), facts], forget=old)


def end(run: RunMemory, status: Status, facts: RunFacts | None = None) -> None:
    """Note how a run ended."""
    now = datetime.now(UTC)
    run.remember([replace(facts or RunFacts(), status=status, ended_at=now, seen_at=now)])


def end_open(run_id: str, status: Status) -> list[RunMemory]:
    """End what a run has begun and not ended itself, for each of its experiments."""
    begun = of_run(run_id, status="running")
    for run in begun:
        end(run, status)
    return begun


def of_run(run_id: str, **where: str) -> list[RunMemory]:
    """What is remembered under a run's id: of each of its experiments."""
    return _found(sa.select(RUNS.c.experiment, RUNS.c.run_id).filter_by(run_id=run_id, **where))


def running() -> list[RunMemory]:
    """Every run that has not ended, as far as its row tells."""
    return _found(sa.select(RUNS.c.experiment, RUNS.c.run_id).filter_by(status="running"))


def _found(query: sa.Select[str, str]) -> list[RunMemory]:
    engine = database()
    with told(engine.url), engine.connect() as connection:
        return [RunMemory(name, run_id) for name, run_id in connection.execute(query)]


def declared(
    spec: ExperimentSpec, yaml_text: str, schema_text: str, trigger: RunFacts
) -> list[Remembered]:
    """What a run says first: what was asked for, by whom, with which code and software."""
    code = code_provenance(Path.cwd())
    # An experiment that was made in Python has no defs.yaml.
    given = {name: text for name, text in (("yaml", yaml_text), ("schema", schema_text)) if text}
    digests = {name: sha256(text.encode()) for name, text in given.items()}
    price = os.environ.get(PRICE_VARIABLE)
    facts = replace(
        trigger,
        task=spec.task,
        target=spec.target,
        metric=spec.metric,
        greater_is_better=METRICS[spec.metric].greater_is_better,
        yaml_digest=digests.get("yaml"),
        schema_digest=digests.get("schema"),
        code_commit=code.commit,
        code_dirty=code.dirty,
        package_version=metadata.version("experiment-pipeline"),
        python_version=platform.python_version(),
        libraries={name: metadata.version(name) for name in _libraries(spec)},
        price_per_hour=float(price) if price else spec.price_per_hour,
    )
    return [*(FileRow(digest=digests[name], content=text) for name, text in given.items()), facts]


def _libraries(spec: ExperimentSpec) -> list[str]:
    """Those that every run needs, and those of its algorithms."""
    declared = (ALGORITHMS.get(entry.algorithm) for entry in spec.search)
    return sorted({*_LIBRARIES, *(name for one in declared if one for name in one.libraries)})


def mark_killed() -> list[RunMemory]:
    """Mark every run of this host whose process is gone; who asks about runs calls it first."""
    gone = []
    for run in running():
        known = run.facts()
        process = None if known is None or known.process is None else Process.of(known.process)
        if known is None or process is None or not process.is_here or not process.is_gone:
            continue
        facts = RunFacts(
            status="killed",
            ended_at=known.seen_at,
            error_type="Killed",
            error=f"{process} is gone: it was killed, ran out of memory, or the machine restarted",
            fix="Run it again: what it had trained is reused.",
        )
        if run.remember_if_still_running(facts):
            gone.append(run)
    return gone


def _ended_by(run: RunMemory, status: Status, error: BaseException, said: str, fix: str) -> None:
    """Note the error that ended a run; that it cannot be noted must not hide it."""
    facts = RunFacts(error_type=type(error).__name__, error=said[:_LONGEST], fix=fix)
    with suppress(DatabaseUnavailable):
        end(run, status, facts)
