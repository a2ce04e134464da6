"""Processes: which one executes a run and whether it is alive; peak and free memory of
this process.
"""

import ctypes
import getpass
import os
import re
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
import pyarrow as pa

_PROC = Path("/proc")
_INITIAL_SPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel


@dataclass(frozen=True)
class Process:
    """A process on a machine."""

    host: str  # the machine, and the container if there is one
    pid: int
    # boot id and clock tick of its start, which tell a reused pid apart; empty if
    # unknown
    started: str = ""

    @classmethod
    def here(cls, pid: int | None = None) -> Self:
        """A living process of this host; None: this process."""
        number = os.getpid() if pid is None else pid
        return cls(this_host(), number, _started(number) or "")

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this host."""
        return self.host == this_host()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended; only meaningful if it `is_here`."""
        started = _started(self.pid)
        if started is not None and self.started:
            return started != self.started
        return not psutil.pid_exists(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def user_name() -> str:
    """Return the name of this process's user, or else its number."""
    with suppress(KeyError, OSError):  # it has no name, as in many containers
        return getpass.getuser()
    return f"uid {os.getuid()}"


def this_host() -> str:
    """The name of the machine, and in a container its PID namespace."""
    try:
        space = str((_PROC / "self/ns/pid").readlink())
    except OSError:
        space = _INITIAL_SPACE
    return socket.gethostname() + ("" if space == _INITIAL_SPACE else f" {space}")


def _started(pid: int) -> str | None:
    """Boot id and clock tick of a process's start; "dead" for a zombie; None: not in
    /proc.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The program's name is in parentheses and may contain anything; see proc(5).
    fields = stat.rpartition(")")[2].split()
    state = fields[0]
    start_tick = fields[19]
    return "dead" if state in "ZX" else f"{boot} {start_tick}"


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process in bytes."""
    status = _PROC / "self/status"
    if status.exists():
        # Not ru_maxrss: after fork and exec it starts at the parent's peak.
        kibibytes = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        if kibibytes is not None:
            return 1024 * int(kibibytes[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


@dataclass(frozen=True)
class FreeMemory:
    """Bytes that this process can still allocate, and what limits them."""

    size: int
    limited_by: str


def free_memory(root: Path = Path("/")) -> FreeMemory:
    """Return the tightest limit: that of the machine, the control group or
    `ulimit -v`.
    """
    # Memory that allocators only hold in reserve is returned first.
    pa.default_memory_pool().release_unused()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # only in glibc
        trim(0)
    process = psutil.Process().memory_info()
    limits = [
        FreeMemory(psutil.virtual_memory().available, "the memory of the machine")
    ]
    for limit in _group_limits(root):
        name = "its control group (the limit of a container or job)"
        limits.append(FreeMemory(limit - process.rss, name))
    mapped, _ = resource.getrlimit(resource.RLIMIT_AS)
    if mapped != resource.RLIM_INFINITY:
        limits.append(FreeMemory(mapped - process.vms, "ulimit -v"))
    return min(limits, key=lambda limit: limit.size)


def _group_limits(root: Path) -> Iterator[int]:
    """Yield the memory limits of this process's control groups and their parents; see
    cgroups(7).
    """
    groups = root / "proc/self/cgroup"
    lines = groups.read_text().splitlines() if groups.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup"
        file = "memory.max"
        if "memory" in controllers.split(","):  # version 1
            base = base / "memory"
            file = "memory.limit_in_bytes"
        elif controllers:
            continue
        # In a container, the path may be that of the host: then only the base exists.
        group = base / path.lstrip("/")
        for folder in [group, *group.parents]:
            limit = folder / file
            # Without a limit the file contains "max"; in version 1, a number beyond any
            # machine.
            text = limit.read_text().strip() if limit.exists() else "max"
            if text.isdigit():
                yield int(text)
            if folder == base:
                break
