"""Which process a run lives in, as a tag of the run, and whether it still lives.

Dagster asks nobody about a run that `dagster job execute` started: killed, it would stay
STARTED for ever and keep its place in the queue. In: a run's tags, and `/proc`. Out: an answer.
"""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

TAG = "experiment_pipeline/process"
_PROC = Path("/proc")


@dataclass(frozen=True)
class RunProcess:
    """The process that executes a run.

    Attributes:
        run_id: of the run: a re-executed one inherits the tags of its parent.
        host: the machine, and the container where there is one.
        pid: its number there.
        started: when it began, in words of the system; another process of the same number
            began at another time. Empty where the system does not tell.
    """

    run_id: str
    host: str
    pid: int
    started: str

    @classmethod
    def here(cls, run_id: str, pid: int) -> Self:
        """A process of this host, while it lives."""
        return cls(run_id, this_host(), pid, _started(pid) or "")

    @classmethod
    def of(cls, run_id: str, tags: Mapping[str, str]) -> Self | None:
        """What the run has noted about itself; None: nothing yet."""
        process = cls(**json.loads(tags[TAG])) if TAG in tags else None
        return process if process is not None and process.run_id == run_id else None

    @property
    def tags(self) -> dict[str, str]:
        """The note, as tags of the run."""
        return {TAG: json.dumps(asdict(self))}

    @property
    def is_here(self) -> bool:
        """Whether this process can see it at all."""
        return self.host == this_host()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended; only to be asked where it `is_here`."""
        started = _started(self.pid)
        if started is None or not self.started:
            return not _answers(self.pid)
        return started != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_host() -> str:
    """Name of the machine, with that of the container's processes where it has its own.

    A container on the host's network has the host's name and cannot see its processes.
    """
    initial = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel
    try:
        space = str((_PROC / "self/ns/pid").readlink())
    except OSError:
        space = initial
    return socket.gethostname() + ("" if space == initial else f" {space}")


def _started(pid: int) -> str | None:
    """Boot and clock tick at which a process began; "dead" for one that only waits to be reaped.

    None: there is no such process, or the system does not tell.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The name of the program stands in parentheses and may hold anything; see proc(5).
    state, *others = stat.rpartition(")")[2].split()
    return "dead" if state in "ZX" else f"{boot} {others[18]}"


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is someone else's, so it is there
        return True
    return True
