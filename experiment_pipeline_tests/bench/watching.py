"""A command below a limit of memory, watched: anonymous memory and CPU of all that it
starts.

A memory control group (versions 1 and 2, see cgroups(7)) counts the tree of processes
together, file pages included, which it gives back before it kills. Anonymous memory is
what it cannot give back. In: a command. Out: samples, and what of them falls into a
stretch of time.
"""

import os
import re
import shlex
import stat
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

_MOUNTED = Path("/sys/fs/cgroup")
SECONDS_BETWEEN = 0.05
# Temporary files are looked for in folders, which costs more.
SAMPLES_BETWEEN_FILES = 20


@dataclass(frozen=True)
class Group:
    """A memory control group, by the names of its files."""

    folder: Path
    kind: str  # its version
    limit: str  # bytes that it may hold
    most: str  # bytes that it has held
    events: str  # processes killed, after the word `oom_kill`

    def command(self, command: Sequence[str]) -> list[str]:
        """A shell that enters the group and becomes the command."""
        enter = f"echo $$ > {shlex.quote(str(self.folder / 'cgroup.procs'))}"
        return ["sh", "-c", f'{enter} && exec "$@"', "sh", *command]

    @property
    def processes(self) -> Iterator[psutil.Process]:
        """Those that live."""
        for pid in (self.folder / "cgroup.procs").read_text().split():
            with suppress(psutil.NoSuchProcess):
                yield psutil.Process(int(pid))

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
        # By version; where the kernel does not count swap neither is there.
        for swap, most in (
            ("memory.memsw.limit_in_bytes", limit_bytes),
            ("memory.swap.max", 0),
        ):
            with suppress(OSError):
                (group.folder / swap).write_text(str(most))
        yield group
    finally:
        # What outlives its command keeps the group; that is no reason to lose what was
        # measured.
        with suppress(OSError):
            group.folder.rmdir()


def _group() -> Group:
    """The group below that of this process; in a container its path may be that of the
    host.
    """
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    paths = {
        names: path.lstrip("/")
        for _, names, path in (one.split(":", 2) for one in lines)
    }
    name = f"bench-{os.getpid()}"
    if "memory" in paths:
        base = _MOUNTED / "memory"
        parent = base / paths["memory"]
        return Group(
            (parent if parent.is_dir() else base) / name,
            "memory cgroup",
            "memory.limit_in_bytes",
            "memory.max_usage_in_bytes",
            "memory.oom_control",
        )
    parent = _MOUNTED / paths[""]
    parent = parent if parent.is_dir() else _MOUNTED
    with suppress(OSError):
        (parent / "cgroup.subtree_control").write_text("+memory")
    return Group(
        parent / name,
        "memory cgroup (version 2)",
        "memory.max",
        "memory.peak",
        "memory.events",
    )


class Sample(NamedTuple):
    """A moment of a tree of processes."""

    at: float  # seconds since the epoch
    anonymous_bytes: int  # that all processes hold together
    cpu_seconds: (
        float  # that they have taken since they began, those that have ended included
    )


class Spent(NamedTuple):
    """What a stretch of time took."""

    seconds: float  # of the clock
    cpu_seconds: float  # of all processes and threads
    peak_bytes: int  # the most anonymous memory of all processes together


@dataclass(frozen=True)
class Watched:
    """A command that has ended."""

    returncode: int  # as `subprocess` has it: below 0 the signal that ended it
    started: float  # seconds since the epoch
    ended: float
    samples: Sequence[Sample]  # in order of time
    temporary_bytes: int  # the most that lay in the folder of temporary files

    def spent(self, begun: float, ended: float) -> Spent:
        """What the stretch between two moments took, as far as samples tell."""
        within = [one for one in self.samples if begun <= one.at <= ended]
        cpu = within[-1].cpu_seconds - within[0].cpu_seconds if within else 0.0
        return Spent(
            ended - begun, cpu, max((one.anonymous_bytes for one in within), default=0)
        )


def watch(
    group: Group,
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    temporary: Path,
) -> Watched:
    """Run a command in a group to its end, its output in a log, its temporary files in
    a folder.
    """
    samples, file_bytes, ended = list[Sample](), 0, threading.Event()

    def look() -> None:
        nonlocal file_bytes
        cpu = 0.0
        while not ended.wait(SECONDS_BETWEEN):
            held, used = 0, 0.0
            for one in group.processes:
                with suppress(psutil.NoSuchProcess):
                    held += anonymous_bytes(one)
                    used += sum(one.cpu_times()[:4])
            # It never falls: between a child's end and its parent's wait its seconds
            # are nobody's.
            samples.append(Sample(time.time(), held, cpu := max(cpu, used)))
            if len(samples) % SAMPLES_BETWEEN_FILES == 1:
                file_bytes = max(file_bytes, _temporary_bytes(group, temporary))

    started = time.time()
    with log.open("w") as file:
        process = subprocess.Popen(
            group.command(command),
            cwd=cwd,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        looks = threading.Thread(target=look, daemon=True)
        looks.start()
        try:
            process.wait()
        finally:
            process.kill()
            ended.set()
            looks.join()
    return Watched(process.returncode, started, time.time(), samples, file_bytes)


def stored_bytes(folder: Path) -> int:
    """Bytes of the disk that a file, or the files below a folder, take."""
    return sum(_sizes([folder, *folder.rglob("*")]).values())


def anonymous_bytes(process: psutil.Process | None = None) -> int:
    """Memory of a process that is no file's; None: this one."""
    held = (process or psutil.Process()).memory_info()
    return held.rss - held.shared


def _temporary_bytes(group: Group, folder: Path) -> int:
    """As `stored_bytes`, with the files that have no name: a process holds
    them open.
    """
    opened = (
        file
        for one in group.processes
        for file in Path(f"/proc/{one.pid}/fd").glob("*")
    )
    inside = (file for file in opened if _target(file).startswith(f"{folder}/"))
    return sum(_sizes([*folder.rglob("*"), *inside]).values())


def _target(file: Path) -> str:
    """What a process has open as this file; empty: it has closed it meanwhile."""
    try:
        return os.path.realpath(file)
    except FileNotFoundError:
        return ""


def _sizes(paths: Iterable[Path]) -> dict[int, int]:
    """Number of a file → bytes of the disk that it takes; files come and go
    meanwhile.
    """
    found = dict[int, int]()
    for path in paths:
        with suppress(OSError):
            size = path.stat()
            if stat.S_ISREG(size.st_mode):
                found[size.st_ino] = 512 * size.st_blocks
    return found
