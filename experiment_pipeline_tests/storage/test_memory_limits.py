"""What the system lets a process take, read from made-up files of it."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from experiment_pipeline.storage.memory_limits import memory_limit, resident_bytes

MEGABYTE = 1_000_000
STATUS = "Name:\tpython\nVmSize:\t  500000 kB\nVmRSS:\t  100000 kB\n"
MACHINE = "MemTotal:       8000000 kB\nMemFree:        7000000 kB\nSwapTotal:      1000000 kB\n"


def system(root: Path, files: Mapping[str, str]) -> Path:
    """A root with these files beside those of a machine of 8 GB."""
    for name, text in {"proc/self/status": STATUS, "proc/meminfo": MACHINE, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_machine_is_the_limit_where_there_is_no_other(tmp_path: Path) -> None:
    """Its memory and its swap; what the process holds is taken off."""
    found = memory_limit(system(tmp_path, {"proc/self/cgroup": "0::/\n"}))
    assert found is not None
    assert found.limit == 9_000_000 * 1024
    assert found.left == 8_900_000 * 1024
    assert "machine" in found.set_by


@pytest.mark.parametrize(
    "files",
    [
        # Version 2: the tightest of the process's own group and of its parents.
        {
            "proc/self/cgroup": "0::/jobs/one\n",
            "sys/fs/cgroup/jobs/one/memory.max": "max\n",
            "sys/fs/cgroup/jobs/memory.max": "1000000000\n",
        },
        # In a container: the path is the host's, its own group is the root.
        {"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/memory.max": "1000000000\n"},
        # Version 1.
        {
            "proc/self/cgroup": "12:pids:/x\n4:memory:/jobs/one\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes": "1000000000\n",
        },
    ],
)
def test_a_control_group_is_the_limit_where_it_is_tighter(
    files: Mapping[str, str], tmp_path: Path
) -> None:
    """Of a container, a job of Slurm or systemd, with what may be swapped."""
    found = memory_limit(system(tmp_path, files))
    assert found is not None
    assert found.limit == 1_000 * MEGABYTE + 1_000_000 * 1024
    assert "control group" in found.set_by


def test_pages_that_the_system_can_read_again_are_not_held(tmp_path: Path) -> None:
    """Of what is resident, mapped files do not count; shared memory does."""
    parts = "RssAnon:\t   60000 kB\nRssFile:\t   30000 kB\nRssShmem:\t   10000 kB\n"
    root = system(tmp_path, {"proc/self/status": STATUS + parts})
    found = memory_limit(root)
    assert found is not None
    assert found.held == 70_000 * 1024
    assert resident_bytes(root) == 100_000 * 1024


def test_a_system_that_does_not_tell_limits_nothing(tmp_path: Path) -> None:
    """As on macOS."""
    assert memory_limit(tmp_path) is None


def test_ulimit_counts_what_is_mapped() -> None:
    """A real process under `ulimit -v`."""
    ask = (
        "from experiment_pipeline.storage.memory_limits import memory_limit as f; x = f(); "
        "print(x.limit, x.held > 0, x.set_by)"
    )
    command = f"ulimit -v 3000000; exec {sys.executable} -c '{ask}'"
    done = subprocess.run(["bash", "-c", command], check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.split(maxsplit=2) == ["3072000000", "True", "ulimit -v\n"]
