"""How much memory this process can still take: of the machine, its control group and `ulimit -v`."""

import ctypes
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa


@dataclass(frozen=True)
class FreeMemory:
    """Bytes that this process can still take, and what sets that limit."""

    size: int
    limited_by: str


def free_memory(root: Path = Path("/")) -> FreeMemory:
    """Return the tightest limit; memory that allocators only keep in reserve is given back first.

    Args:
        root: of the file systems `proc` and `sys`.
    """
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
