"""A limit holds the memory of a command, and what is counted of it is read as it is."""

import os
import sys
from pathlib import Path

import pytest

from experiment_pipeline_tests.bench.limits import Counted, DataLimit, Group, limited_to
from experiment_pipeline_tests.bench.watching import Watched, watch

MEGABYTE = 1_000_000
GREEDY = "held = b'x' * 300_000_000; print('had it')"


def run(command: list[str], folder: Path) -> Watched:
    """Run a command, its output in `log` of a folder."""
    return watch(
        command, cwd=folder, environment={**os.environ}, log=folder / "log", temporary=folder
    )


@pytest.mark.parametrize(("limit", "had"), [(200 * MEGABYTE, False), (900 * MEGABYTE, True)])
def test_a_command_has_what_its_limit_allows(tmp_path, limit, had):
    """Where groups may be made it is killed, else refused; either way it ends."""
    with limited_to(limit) as held:
        watched = run(held.command([sys.executable, "-c", GREEDY]), tmp_path)
        counted = held.counted()
    assert (watched.returncode == 0) is had
    assert ("had it" in (tmp_path / "log").read_text()) is had
    if isinstance(held, Group):
        assert bool(counted.killed) is not had
        assert counted.most_bytes <= limit
        assert not held.folder.exists()


def test_without_groups_the_system_refuses(tmp_path):
    """RLIMIT_DATA makes the same command run out of memory."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("3:memory:/jobs\n0::/jobs\n")
    with limited_to(200 * MEGABYTE, tmp_path) as held:
        watched = run(held.command([sys.executable, "-c", GREEDY]), tmp_path)
    assert isinstance(held, DataLimit)
    assert watched.returncode == 1
    assert "MemoryError" in (tmp_path / "log").read_text()
    assert held.counted() == Counted()


def group(folder: Path, *files: str) -> Group:
    """A group of that folder: its limit, most, full and killed files."""
    return Group(folder, "made up", *files)


def test_both_versions_of_groups_are_read(tmp_path):
    """Numbers by themselves, and after their words."""
    for name, text in {
        "memory.max_usage_in_bytes": "1000\n",
        "memory.failcnt": "7\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        "memory.peak": "2000\n",
        "memory.events": "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n",
    }.items():
        (tmp_path / name).write_text(text)
    first = group(tmp_path, "", "memory.max_usage_in_bytes", "memory.failcnt", "memory.oom_control")
    second = group(tmp_path, "", "memory.peak", "memory.events", "memory.events")
    assert first.counted() == Counted(1000, 7, 2)
    assert second.counted() == Counted(2000, 9, 1)
    assert group(tmp_path, "", "absent", "absent", "absent").counted() == Counted()
