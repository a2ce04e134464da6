"""A command watched from outside: anonymous memory and CPU of all its processes, moment by moment.

Anonymous memory is what a limit cannot take back without killing: pages of mapped files do not
count. In: a command. Out: samples, and what of them falls into a stretch of time.
"""

import os
import stat
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

SECONDS_BETWEEN = 0.05
# Temporary files are looked for in folders, which costs more.
SAMPLES_BETWEEN_FILES = 20


class Sample(NamedTuple):
    """A moment of a tree of processes."""

    at: float  # seconds since the epoch
    anonymous_bytes: int  # that all processes hold together
    cpu_seconds: float  # that they have taken since they began, those that have ended included


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
        return Spent(ended - begun, cpu, max((one.anonymous_bytes for one in within), default=0))


def watch(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], log: Path, temporary: Path
) -> Watched:
    """Run a command to its end, its output in a log, its temporary files in a folder."""
    samples, file_bytes, ended = list[Sample](), 0, threading.Event()

    def look(pid: int) -> None:
        nonlocal file_bytes
        cpu = 0.0
        while not ended.wait(SECONDS_BETWEEN):
            held, used = 0, 0.0
            for one in _tree(pid):
                with suppress(psutil.NoSuchProcess):
                    held += anonymous_bytes(one.pid)
                    used += sum(one.cpu_times()[:4])
            # It never falls: between a child's end and its parent's wait its seconds are nobody's.
            samples.append(Sample(time.time(), held, cpu := max(cpu, used)))
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
    return Watched(process.returncode, started, time.time(), samples, file_bytes)


def stored_bytes(folder: Path) -> int:
    """Bytes of the disk that a file, or the files below a folder, take."""
    return sum(_sizes([folder, *folder.rglob("*")]).values())


def anonymous_bytes(pid: int | None = None) -> int:
    """Memory of a process that is no file's; None: this one."""
    held = psutil.Process(pid).memory_info()
    return held.rss - held.shared


def _temporary_bytes(pid: int, folder: Path) -> int:
    """As `stored_bytes`, with the files that have no name: a process holds them open."""
    opened = (file for one in _tree(pid) for file in Path(f"/proc/{one.pid}/fd").glob("*"))
    inside = (file for file in opened if os.path.realpath(file).startswith(f"{folder}/"))
    return sum(_sizes([*folder.rglob("*"), *inside]).values())


def _sizes(paths: Iterable[Path]) -> dict[int, int]:
    """Number of a file → bytes of the disk that it takes; files come and go meanwhile."""
    found = dict[int, int]()
    for path in paths:
        with suppress(OSError):
            size = path.stat()
            if stat.S_ISREG(size.st_mode):
                found[size.st_ino] = 512 * size.st_blocks
    return found


def _tree(pid: int) -> list[psutil.Process]:
    """A process and all that it has started."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
