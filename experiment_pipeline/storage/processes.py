"""Processes: which one executes a run, whether it still lives, and what it takes.

In: the operating system's word. Out: frozen facts, which a run notes about itself.
"""

import os
import re
import resource
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process of some machine.

    Attributes:
        host: the machine, and the container where there is one.
        pid: its number there.
        started: when it began, in words of the system; another process of the same number
            began at another time. Empty where the system does not tell.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def here(cls, pid: int | None = None) -> Self:
        """A process of this host, while it lives; None: this one."""
        number = os.getpid() if pid is None else pid
        return cls(this_host(), number, _started(number) or "")

    @classmethod
    def of(cls, noted: Mapping[str, Any]) -> Self:
        """What `as_noted` gave."""
        return cls(noted["host"], noted["pid"], noted["started"])

    @property
    def as_noted(self) -> dict[str, Any]:
        """Plain values, to be kept."""
        return asdict(self)

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


def peak_memory_bytes() -> int:
    """Return the most resident memory of this process since it began."""
    status = _PROC / "self/status"
    if status.exists():
        # Not ru_maxrss: through fork and exec that one starts from the parent's peak.
        kibibytes = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        if kibibytes is not None:
            return 1024 * int(kibibytes[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts in bytes, other systems in KiB.
    return peak if sys.platform == "darwin" else 1024 * peak


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
