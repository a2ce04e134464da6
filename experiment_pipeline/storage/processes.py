"""Processes: which one executes a run and whether it lives; the memory that this one took and can take."""

import ctypes
import os
import re
import resource
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
import pyarrow as pa

_PROC = Path("/proc")
_INITIAL_SPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel


@dataclass(frozen=True)
class Process:
    """A process of some machine."""

    host: str  # the machine, and the container where there is one
    pid: int
    # boot and clock tick, which no later process of that number has; empty where it is not known
    started: str = ""

    @classmethod
    def here(cls, pid: int | None = None) -> Self:
        """A process of this host, while it lives; None: this one."""
        number = os.getpid() if pid is None else pid
        return cls(this_host(), number, _started(number) or "")

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
        return not psutil.pid_exists(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_host() -> str:
    """Name of the machine, and of a container's namespace of process numbers."""
    try:
        space = str((_PROC / "self/ns/pid").readlink())
    except OSError:
        space = _INITIAL_SPACE
    return socket.gethostname() + ("" if space == _INITIAL_SPACE else f" {space}")


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


@dataclass(frozen=True)
class FreeMemory:
    """Bytes that this process can still take, and what sets that limit."""

    size: int
    limited_by: str


def free_memory(root: Path = Path("/")) -> FreeMemory:
    """Return the tightest limit: of the machine, the control group or `ulimit -v`."""
    # What allocators only keep in reserve is given back first.
    pa.default_memory_pool().release_unused()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # of glibc only
        trim(0)
    own = psutil.Process().memory_info()
    found = [FreeMemory(psutil.virtual_memory().available, "the memory of the machine")]
    found += [
        FreeMemory(limit - own.rss, "its control group (the limit of a container or job)")
        for limit in _group_limits(root)
    ]
    mapped, _ = resource.getrlimit(resource.RLIMIT_AS)
    if mapped != resource.RLIM_INFINITY:
        found.append(FreeMemory(mapped - own.vms, "ulimit -v"))
    return min(found, key=lambda one: one.size)


def _group_limits(root: Path) -> Iterator[int]:
    """The limits of this process's control groups and their parents; see cgroups(7)."""
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        base, file = root / "sys/fs/cgroup", "memory.max"
        if "memory" in controllers.split(","):  # version 1
            base, file = base / "memory", "memory.limit_in_bytes"
        elif controllers:
            continue
        # In a container the path may be the host's: then only the base exists.
        group = base / path.lstrip("/")
        for folder in [group, *group.parents]:
            limit = folder / file
            # No limit is written as "max", in version 1 as a number beyond any machine.
            if limit.exists() and (written := limit.read_text().strip()).isdigit():
                yield int(written)
            if folder == base:
                break
