"""How much memory this process may take, before the system kills it or refuses.

Read from the operating system, and generous: memory on disk (swap) counts as memory, and what other
processes hold is theirs to give back, so that nobody is stopped who would have fitted. What a stage
needs is estimated beside it. In: the operating system's word. Out: bytes.
"""

import ctypes
import re
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

_ROOT = Path("/")
_KIBIBYTE = 1024


@dataclass(frozen=True)
class MemoryLimit:
    """The tightest limit on the memory of this process.

    Attributes:
        limit: bytes that it may hold.
        held: bytes that it holds, counted as the limit counts.
        set_by: what sets it, in words.
        counts_files: whether files that are mapped count, as for `ulimit -v`; else their pages are
            given back where memory is short.
    """

    limit: int
    held: int
    set_by: str
    counts_files: bool = False

    @property
    def left(self) -> int:
        """Bytes that it may take beyond what it holds."""
        return self.limit - self.held


def memory_limit(root: Path = _ROOT) -> MemoryLimit | None:
    """Return what limits the memory of this process; None where the system does not tell.

    Args:
        root: of the file systems `proc` and `sys`.
    """
    _give_back()
    status = _numbers(root / "proc/self/status")
    machine = _numbers(root / "proc/meminfo")
    if "VmRSS" not in status or "MemTotal" not in machine:
        return None
    held, swap = _not_given_back(status), machine.get("SwapTotal", 0)
    limits = [MemoryLimit(machine["MemTotal"] + swap, held, "the memory of the machine")]
    limits += [
        MemoryLimit(limit + swap, held, "its control group (the limit of a container or job)")
        for limit in _of_groups(root)
    ]
    mapped, _ = resource.getrlimit(resource.RLIMIT_AS)
    if mapped != resource.RLIM_INFINITY:
        size = status.get("VmSize", held)
        limits.append(MemoryLimit(mapped, size, "ulimit -v", counts_files=True))
    return min(limits, key=lambda one: one.left)


def resident_bytes(root: Path = _ROOT) -> int:
    """Return what of this process is in memory, pages of files included; 0: it is not told."""
    return _numbers(root / "proc/self/status").get("VmRSS", 0)


def _give_back() -> None:
    """Return to the system what allocators keep of things that are gone; see malloc_trim(3)."""
    pa.default_memory_pool().release_unused()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # of glibc alone
        trim(0)


def _not_given_back(status: Mapping[str, int]) -> int:
    """What is resident, without pages of mapped files, which the system reads again; see proc(5)."""
    if "RssAnon" not in status:
        return status["VmRSS"]
    return status["RssAnon"] + status.get("RssShmem", 0)


def _numbers(path: Path) -> dict[str, int]:
    """Name → bytes, of a file of lines such as `VmRSS:   1024 kB`."""
    try:
        text = path.read_text()
    except OSError:
        return {}
    found = re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    return {name: int(number) * _KIBIBYTE for name, number in found}


def _of_groups(root: Path) -> Iterator[int]:
    """The limits of the process's control groups, those of their parents included; see cgroups(7)."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            base, name = mounted, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = mounted / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = base / path.lstrip("/")
        # In a container the path may be that of the host, of which nothing can be seen but the base.
        for folder in [group, *group.parents]:
            if folder == base.parent:
                break
            yield from _limit(folder / name)


def _limit(path: Path) -> Iterator[int]:
    try:
        written = path.read_text().strip()
    except OSError:
        return
    # "max" is none; version 1 writes none as the largest number of pages, beyond any machine.
    if written.isdigit():
        yield int(written)
