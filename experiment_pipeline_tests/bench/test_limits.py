"""A limit holds the memory of a command."""

import os
import sys

import pytest

from experiment_pipeline_tests.bench.limits import limited_to
from experiment_pipeline_tests.bench.watching import watch

GREEDY = "held = b'x' * 300_000_000; print('had it')"


@pytest.mark.parametrize(("limit", "had"), [(200_000_000, False), (900_000_000, True)])
def test_a_command_has_what_its_limit_allows(tmp_path, limit, had):
    """It is killed for more; what was counted is read, and the group is gone."""
    try:
        with limited_to(limit) as held:
            command, log = held.command([sys.executable, "-c", GREEDY]), tmp_path / "log"
            watched = watch(
                command, cwd=tmp_path, environment={**os.environ}, log=log, temporary=tmp_path
            )
            assert held.killed is not had
            assert 100_000_000 < held.most_bytes <= limit
    except PermissionError:
        pytest.skip("no control group may be made here")
    assert (watched.returncode == 0) is had is ("had it" in log.read_text())
    assert not held.folder.exists()
