"""Tasks of the tests, importable on a worker, which note each start as a file."""

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4


@dataclass(frozen=True)
class Work:
    """A task: where its starts are noted, how long it takes (until it is released, at
    the longest), whether it kills its worker.
    """

    folder: Path
    name: str
    seconds: float = 0.3
    kills: bool = False

    @property
    def release(self) -> Path:
        """Once it is there, no task takes longer."""
        return self.folder.with_name(f"{self.folder.name}.released")


def do(work: Work) -> tuple[str, int]:
    """Note the start and the process, and sleep; return name and process."""
    noted = work.folder / f"{work.name}.{os.getpid()}.{uuid4().hex[:6]}"
    noted.touch()
    end = time.monotonic() + work.seconds
    while time.monotonic() < end and not work.release.exists():
        time.sleep(0.05)
    if work.kills:
        os._exit(1)
    noted.rename(noted.with_name(f"{noted.name}.ended"))
    return work.name, os.getpid()


def starts(folder: Path) -> Counter[str]:
    """How often each task was started."""
    return Counter(noted.name.split(".")[0] for noted in folder.iterdir())


def processes(folder: Path, *, running: bool = False) -> set[int]:
    """Which processes have started tasks; `running`: only those in the midst of one."""
    noted = [
        path for path in folder.iterdir() if not (running and path.suffix == ".ended")
    ]
    return {int(path.name.split(".")[1]) for path in noted}
