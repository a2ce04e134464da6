"""How much memory a process can still take, read from the system and from made-up
control groups.
"""

import subprocess
import sys
from collections.abc import Mapping

import psutil
import pytest

from experiment_pipeline.storage.processes import free_memory

LIMIT = 400_000_000


def test_without_other_limits_the_machine_decides(tmp_path):
    """No control group, no `ulimit -v`: what the machine has available."""
    memory = free_memory(tmp_path)
    assert memory.limited_by == "the memory of the machine"
    assert 0 < memory.size <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    "files",
    [
        # Version 2: the tightest of the process's own group and of its parents.
        {
            "proc/self/cgroup": "0::/jobs/one\n",
            "sys/fs/cgroup/jobs/one/memory.max": "max\n",
            "sys/fs/cgroup/jobs/memory.max": "400000000\n",
        },
        # In a container: the path is the host's, its own group is the root.
        {
            "proc/self/cgroup": "0::/docker/abc\n",
            "sys/fs/cgroup/memory.max": "400000000\n",
        },
        # Version 1.
        {
            "proc/self/cgroup": "12:pids:/x\n4:memory:/jobs/one\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes": "400000000\n",
        },
    ],
)
def test_a_control_group_is_the_limit_where_it_is_tighter(
    files: Mapping[str, str], tmp_path
):
    """Of a container, a job of Slurm or systemd; what this process holds is
    taken off.
    """
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    memory = free_memory(tmp_path)
    assert memory.size < LIMIT - 10_000_000
    assert "control group" in memory.limited_by


def test_ulimit_counts_what_is_mapped():
    """A real process under `ulimit -v` has less than the limit left."""
    ask = (
        "from experiment_pipeline.storage.processes import free_memory as f; x = f(); "
        "print(0 < x.size < 1024000000, x.limited_by)"
    )
    command = f"ulimit -v 1000000; exec {sys.executable} -c '{ask}'"
    done = subprocess.run(
        ["bash", "-c", command], check=True, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout == "True ulimit -v\n"
