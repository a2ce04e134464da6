"""A watched command is told with the memory and the CPU seconds of all its processes."""

import os
import sys

import pytest

from experiment_pipeline_tests.bench.watching import Sample, Spent, Watched, watch

# A parent and a child that hold 60 MB each for a while; the child burns a second of CPU.
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


def test_a_tree_of_processes_is_counted_together(tmp_path):
    """Memory while they live, CPU seconds also of those that have ended, files with and without a name."""
    watched = watch(
        [sys.executable, "-c", FAMILY],
        cwd=tmp_path,
        environment={**os.environ},
        log=tmp_path / "log",
        temporary=tmp_path,
    )
    spent = watched.spent(watched.started, watched.ended)
    assert watched.returncode == 0
    assert 120e6 < spent.peak_bytes < 250e6
    assert spent.cpu_seconds > 0.8
    assert spent.cpu_seconds <= spent.seconds * os.cpu_count()
    assert 9_000_000 <= watched.temporary_bytes < 10_000_000


def test_stretches_that_follow_each_other_add_up():
    """Their seconds are those of the whole, and its peak is the highest of theirs."""
    samples = tuple(Sample(float(at), 100 - at, 0.5 * at) for at in range(11))
    watched = Watched(0, 0.0, 10.0, samples, 0)
    parts = [watched.spent(0.0, 4.0), watched.spent(4.0, 10.0)]
    whole = watched.spent(0.0, 10.0)
    assert whole == Spent(10.0, 5.0, 100)
    assert sum(one.seconds for one in parts) == pytest.approx(whole.seconds)
    assert sum(one.cpu_seconds for one in parts) == pytest.approx(whole.cpu_seconds)
    assert [one.peak_bytes for one in parts] == [100, 96]
    assert watched.spent(20.0, 21.0) == Spent(1.0, 0.0, 0)
