"""A command watched from outside: anonymous memory and CPU of all its processes, moment by moment.

Anonymous memory is what a limit cannot take back without killing: pages of mapped files do not
count. In: a command. Out: samples, and what of them falls into a stretch of time.
"""

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
SECONDS_BETWEEN = 0.05
# Temporary files are looked for in folders and maps, which costs more.
SAMPLES_BETWEEN_FILES = 20


@dataclass(frozen=True)
class Sample:
    """A moment of a tree of processes."""

    at: float  # seconds since the epoch
    anonymous_bytes: int  # that all processes hold together
    cpu_seconds: float  # that they have taken since they began, those that have ended included


@dataclass(frozen=True)
class Spent:
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
    samples: tuple[Sample, ...]  # in order of time
    temporary_bytes: int  # the most that lay in the folder of temporary files

    def spent(self, begun: float, ended: float) -> Spent:
        """What the stretch between two moments took, as far as samples tell."""
        within = [one for one in self.samples if begun <= one.at <= ended]
        cpu = within[-1].cpu_seconds - within[0].cpu_seconds if within else 0.0
        return Spent(ended - begun, cpu, max((one.anonymous_bytes for one in within), default=0))


def watch(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], log: Path, temporary: Path
) -> Watched:
    """Run a command to its end, its output in a log, its temporary files in a folder."""
    samples, file_bytes, ended = list[Sample](), 0, threading.Event()

    def look(pid: int) -> None:
        nonlocal file_bytes
        while not ended.wait(SECONDS_BETWEEN):
            tree = [*_tree(pid)]
            held, cpu = sum(map(anonymous_bytes, tree)), sum(map(_cpu_seconds, tree))
            samples.append(Sample(time.time(), held, cpu))
            if len(samples) % SAMPLES_BETWEEN_FILES == 1:
                file_bytes = max(file_bytes, _temporary_bytes(pid, temporary))

    started = time.time()
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        looks = threading.Thread(target=look, args=[process.pid], daemon=True)
        looks.start()
        try:
            process.wait()
        finally:
            process.kill()
            ended.set()
            looks.join()
    return Watched(process.returncode, started, time.time(), _growing(samples), file_bytes)


def stored_bytes(folder: Path) -> int:
    """Bytes of the disk that the files below a folder take; files come and go meanwhile."""
    return sum(_files(folder).values())


def anonymous_bytes(pid: int | None = None) -> int:
    """Memory of a process that is no file's; None: this one. 0: it has ended."""
    try:
        status = (_PROC / str(pid or os.getpid()) / "status").read_text()
    except OSError:
        return 0
    held = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(held[1]) if held else 0


def _cpu_seconds(pid: int) -> float:
    """Of a process and the children it has waited for; 0: it has ended."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return 0.0
    # The name of the program stands in parentheses and may hold anything; see proc(5).
    return sum(map(int, stat.rpartition(")")[2].split()[11:15])) / _TICKS_PER_SECOND


def _temporary_bytes(pid: int, folder: Path) -> int:
    """As `stored_bytes`, with the files that have no name: a process holds or maps them."""
    found = _files(folder)
    inside = re.compile(
        rf"^(\w+)-(\w+) \S+ (\w+) \S+ (\d+) +{re.escape(str(folder))}/", re.MULTILINE
    )
    for one in _tree(pid):
        with suppress(OSError):
            for since, until, offset, inode in inside.findall(
                (_PROC / str(one) / "maps").read_text()
            ):
                size = int(until, 16) - int(since, 16) + int(offset, 16)
                found[int(inode)] = max(size, found.get(int(inode), 0))
        for opened in (_PROC / str(one) / "fd").glob("*"):
            with suppress(OSError):
                if opened.readlink().is_relative_to(folder):
                    found.update([_size(opened.stat())])
    return sum(found.values())


def _files(folder: Path) -> dict[int, int]:
    """Number of a file → bytes of the disk that it takes."""
    found = dict[int, int]()
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                found.update([_size((Path(parent) / name).lstat())])
    return found


def _size(file: os.stat_result) -> tuple[int, int]:
    return file.st_ino, 512 * file.st_blocks


def _tree(pid: int) -> Iterator[int]:
    """A process and all that it or its threads have started."""
    yield pid
    for children in (_PROC / str(pid) / "task").glob("*/children"):
        try:
            found = children.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in found:
            yield from _tree(int(child))


def _growing(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """CPU seconds never fall: between a child's end and its parent's wait they are nobody's."""
    most, found = 0.0, []
    for one in samples:
        most = max(most, one.cpu_seconds)
        found.append(Sample(one.at, one.anonymous_bytes, most))
    return tuple(found)
