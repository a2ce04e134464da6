"""A limit on the memory of a command with all that it starts, and what the system counted of it.

A memory control group (versions 1 and 2, see cgroups(7)) counts the tree of processes together, file
pages included, which it gives back before it kills.
"""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_MOUNTED = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Group:
    """A memory control group, by the names of its files."""

    folder: Path
    kind: str  # its version
    limit: str  # bytes that it may hold
    swap: tuple[str, int | None]  # what it may swap; None: as `limit`
    most: str  # bytes that it has held
    events: str  # processes killed, after the word `oom_kill`

    def command(self, command: Sequence[str]) -> list[str]:
        """A shell that enters the group and becomes the command."""
        enter = f"echo $$ > {shlex.quote(str(self.folder / 'cgroup.procs'))}"
        return ["sh", "-c", f'{enter} && exec "$@"', "sh", *command]

    @property
    def most_bytes(self) -> int | None:
        """Held at once, file pages included; None where the system does not tell."""
        file = self.folder / self.most
        return int(file.read_text()) if file.exists() else None

    @property
    def killed(self) -> bool:
        """Whether the system killed a process for the limit."""
        events = (self.folder / self.events).read_text()
        return re.search(r"^oom_kill [1-9]", events, re.MULTILINE) is not None


@contextmanager
def limited_to(limit_bytes: int) -> Iterator[Group]:
    """Make a group, and remove it afterwards; OSError: this process may not."""
    group = _group()
    group.folder.mkdir()
    try:
        (group.folder / group.limit).write_text(str(limit_bytes))
        file, most = group.swap
        # Where the kernel does not count swap the file is not there.
        with suppress(OSError):
            (group.folder / file).write_text(str(limit_bytes if most is None else most))
        yield group
    finally:
        # What outlives its command keeps the group; that is no reason to lose what was measured.
        with suppress(OSError):
            group.folder.rmdir()


def _group() -> Group:
    """The group below that of this process; in a container its path may be that of the host."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    paths = {names: path.lstrip("/") for _, names, path in (one.split(":", 2) for one in lines)}
    name = f"bench-{os.getpid()}"
    if "memory" in paths:
        base = _MOUNTED / "memory"
        parent = base / paths["memory"]
        return Group(
            (parent if parent.is_dir() else base) / name,
            "memory cgroup",
            "memory.limit_in_bytes",
            ("memory.memsw.limit_in_bytes", None),
            "memory.max_usage_in_bytes",
            "memory.oom_control",
        )
    parent = _MOUNTED / paths[""]
    return Group(
        (parent if parent.is_dir() else _MOUNTED) / name,
        "memory cgroup (version 2)",
        "memory.max",
        ("memory.swap.max", 0),
        "memory.peak",
        "memory.events",
    )
