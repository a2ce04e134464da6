"""What the tests let workers do: functions that can be imported there, and that note each start."""

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from experiment_pipeline.storage.files import patiently, read_bytes
from experiment_pipeline.storage.locations import location


@dataclass(frozen=True)
class Work:
    """A task: where its starts are noted, how long it takes, whether it kills its worker.

    One that wants company also takes until another process has begun a task.
    """

    folder: Path
    name: str
    seconds: float = 0.3
    kills: bool = False
    wants_company: bool = False


def do(work: Work) -> tuple[str, int]:
    """Note the start and the process; sleep in short lines of Python; return name and process."""
    noted = work.folder / f"{work.name}.{os.getpid()}.{uuid4().hex[:6]}"
    noted.touch()
    end = time.monotonic() + work.seconds
    while time.monotonic() < end or (work.wants_company and len(processes(work.folder)) < 2):
        time.sleep(0.02)
    if work.kills:
        os._exit(1)
    noted.rename(noted.with_name(f"{noted.name}.ended"))
    return work.name, os.getpid()


def golden() -> str:
    """The same on every worker."""
    return "golden"


def read(url: str) -> bytes:
    """Read from the storage, as a fit does."""
    return patiently(lambda: read_bytes(location(url)))


def fail(work: Work) -> None:
    """Raise what looks like a broken connection, and is none."""
    raise ConnectionResetError(work.name)


def starts(folder: Path) -> Counter[str]:
    """How often each task was started."""
    return Counter(noted.name.split(".")[0] for noted in folder.iterdir())


def restart_seconds(folder: Path, name: str) -> float:
    """How long after its first start a task was started again."""
    first, second = sorted(path.stat().st_mtime for path in folder.glob(f"{name}.*"))
    return second - first


def processes(folder: Path, *, running: bool = False) -> set[int]:
    """Which processes have started tasks; only those that still run, or were killed in it."""
    noted = [path for path in folder.iterdir() if not (running and path.suffix == ".ended")]
    return {int(path.name.split(".")[1]) for path in noted}
