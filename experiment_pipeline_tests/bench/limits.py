"""A limit on the memory of a command with all that it starts, and what the system counted of it.

A memory control group where one may be made (versions 1 and 2, see cgroups(7)): it counts the tree
of processes together, file pages included, which it gives back before it kills. Else RLIMIT_DATA,
which refuses each process by itself what it asks for beyond the limit.
"""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_ROOT = Path("/")


@dataclass(frozen=True)
class Counted:
    """What the system tells of a limit."""

    most_bytes: int | None = None  # held at once, file pages included; None where it does not tell
    # how often pages had to be given back before more was given; None as above
    times_full: int | None = None
    killed: int = 0  # processes that the system killed for it


class Limit(Protocol):
    """What holds the memory of a command."""

    @property
    def kind(self) -> str:
        """What it is, in words."""

    def command(self, command: Sequence[str]) -> list[str]:
        """The command that runs the given one below this limit."""

    def counted(self) -> Counted:
        """What came of it so far."""


@dataclass(frozen=True)
class Group:
    """A memory control group, by the names of its files."""

    folder: Path
    kind: str  # its version
    limit: str  # bytes that it may hold
    most: str  # bytes that it has held
    full: str  # how often it was full, by itself or after the word `max`
    killed: str  # processes killed, after the word `oom_kill`

    def command(self, command: Sequence[str]) -> list[str]:
        """A shell that enters the group and becomes the command."""
        enter = f"echo $$ > {shlex.quote(str(self.folder / 'cgroup.procs'))}"
        return ["sh", "-c", f'{enter} && exec "$@"', "sh", *command]

    def counted(self) -> Counted:
        """What its files say."""
        return Counted(
            self._number(self.most, r"\A(\d+)$"),
            self._number(self.full, r"(?:\A|^max )(\d+)$"),
            self._number(self.killed, r"^oom_kill (\d+)$") or 0,
        )

    def _number(self, file: str, pattern: str) -> int | None:
        try:
            found = re.search(pattern, (self.folder / file).read_text(), re.MULTILINE)
        except OSError:
            return None
        return int(found[1]) if found else None


@dataclass(frozen=True)
class DataLimit:
    """RLIMIT_DATA of every process: what it holds that is no file's; see getrlimit(2)."""

    limit_bytes: int
    kind: str = "RLIMIT_DATA"

    def command(self, command: Sequence[str]) -> list[str]:
        """A shell that limits itself and becomes the command."""
        return ["sh", "-c", f'ulimit -d {self.limit_bytes // 1024} && exec "$@"', "sh", *command]

    def counted(self) -> Counted:
        """Nothing: the system only refuses."""
        return Counted()


@contextmanager
def limited_to(limit_bytes: int, root: Path = _ROOT) -> Iterator[Limit]:
    """Make the best limit that this process may make, and remove it afterwards."""
    group = next((made for made in _groups(root) if _is_set(made, limit_bytes)), None)
    try:
        yield group or DataLimit(limit_bytes)
    finally:
        if group is not None:
            _remove(group)


def _groups(root: Path) -> Iterator[Group]:
    """The groups that could be, below that of this process."""
    mounted, name = root / "sys/fs/cgroup", f"bench-{os.getpid()}"
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            files = ("memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.failcnt")
            folder = _seen(mounted / "memory", path) / name
            yield Group(folder, "memory cgroup", *files, "memory.oom_control")
        elif not controllers:
            parent = _seen(mounted, path)
            with suppress(OSError):
                (parent / "cgroup.subtree_control").write_text("+memory")
            files = ("memory.max", "memory.peak", "memory.events", "memory.events")
            yield Group(parent / name, "memory cgroup (version 2)", *files)


def _seen(base: Path, path: str) -> Path:
    """The group's folder; in a container the path may be that of the host, which is not there."""
    folder = base / path.lstrip("/")
    return folder if folder.is_dir() else base


def _is_set(group: Group, limit_bytes: int) -> bool:
    """Make the group and set its limit; False, and nothing left, where that is not allowed."""
    try:
        group.folder.mkdir()
        # Opened without making it: without the controller the file is not there.
        with (group.folder / group.limit).open("r+") as file:
            file.write(str(limit_bytes))
    except OSError:
        _remove(group)
        return False
    for swap, value in (("memory.memsw.limit_in_bytes", limit_bytes), ("memory.swap.max", 0)):
        with suppress(OSError), (group.folder / swap).open("r+") as file:
            file.write(str(value))
    return True


def _remove(group: Group) -> None:
    # What outlives its command keeps the group; that is no reason to lose what was measured.
    with suppress(OSError):
        group.folder.rmdir()
