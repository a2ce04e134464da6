"""A command below a limit is told with the memory and the CPU seconds of all its
processes.
"""

import os
import sys

import pytest

from experiment_pipeline_tests.bench.watching import limited_to, watch

# A parent and a child that hold 60 MB each for a while; the child burns a second of
# CPU.
FAMILY = """\
import mmap, subprocess, sys, tempfile, time
held = bytearray(b"x") * 60_000_000
child = "import time\\nheld = bytearray(b'x') * 60_000_000\\nwhile time.process_time() < 1: pass"
open("left", "wb").write(bytes(5_000_000))
with tempfile.TemporaryFile(dir=".") as unnamed:
    unnamed.write(bytes(4_000_000))
    unnamed.flush()
    seen = mmap.mmap(unnamed.fileno(), 0, access=mmap.ACCESS_READ)
subprocess.run([sys.executable, "-c", child], check=True)
time.sleep(0.2)
"""


def _may_be_made() -> bool:
    try:
        with limited_to(1_000_000_000):
            return True
    except OSError:
        return False


needs_groups = pytest.mark.skipif(
    not _may_be_made(), reason="no control group may be made here"
)


@needs_groups
@pytest.mark.parametrize(
    ("limit", "killed"), [(50_000_000, True), (900_000_000, False)]
)
def test_a_tree_of_processes_is_counted_together(tmp_path, limit, killed):
    """Also those that have ended, and files without a name; it is killed for more than
    its limit.
    """
    with limited_to(limit) as group:
        watched = watch(
            group,
            [sys.executable, "-c", FAMILY],
            cwd=tmp_path,
            environment={**os.environ},
            log=tmp_path / "log",
            temporary=tmp_path,
        )
        assert group.killed is killed
        assert 40_000_000 < group.most_bytes <= limit
    assert not group.folder.exists()
    assert (watched.returncode != 0) is killed
    if not killed:
        spent = watched.spent(watched.started, watched.ended)
        assert 120e6 < spent.peak_bytes < 250e6
        assert 0.8 < spent.cpu_seconds <= spent.seconds * os.cpu_count()
        assert 9_000_000 <= watched.temporary_bytes < 10_000_000
