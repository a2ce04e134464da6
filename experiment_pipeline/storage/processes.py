"""Processes: which one executes a run, whether it still lives, and its peak memory."""

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
_INITIAL_SPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel


@dataclass(frozen=True)
class Process:
    """A process of some machine.

    Attributes:
        host: the machine, and the container where there is one.
        pid: its number there.
        started: boot and clock tick of its start, which tell it from a later process of the same
            number. Empty where the system has no /proc.
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
        """The process of which `as_noted` was stored."""
        return cls(noted["host"], noted["pid"], noted["started"])

    @property
    def as_noted(self) -> dict[str, Any]:
        """Plain values, to be stored."""
        return asdict(self)

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this host."""
        return self.host == this_host()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended; only meaningful where it `is_here`."""
        started = _started(self.pid)
        if started is not None and self.started:
            return started != self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's, so it lives
            return False
        return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_host() -> str:
    """Name of the machine, and of the namespace of process numbers where it is a container's.

    A container on the host's network has the host's name and cannot see its processes.
    """
    try:
        space = str((_PROC / "self/ns/pid").readlink())
    except OSError:
        space = _INITIAL_SPACE
    return socket.gethostname() + ("" if space == _INITIAL_SPACE else f" {space}")


def peak_memory_bytes() -> int:
    """Return the most resident memory of this process since it began."""
    status = _PROC / "self/status"
    if status.exists():
        # Not ru_maxrss: through fork and exec that one starts from the parent's peak.
        kibibytes = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        if kibibytes is not None:
            return 1024 * int(kibibytes[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _started(pid: int) -> str | None:
    """Boot and clock tick of a process's start; "dead" for a zombie; None: not found in /proc."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The program's name stands in parentheses and may hold anything; see proc(5).
    state, *others = stat.rpartition(")")[2].split()
    return "dead" if state in "ZX" else f"{boot} {others[18]}"
