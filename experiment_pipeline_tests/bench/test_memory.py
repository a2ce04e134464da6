"""The benchmark of the memory asks every question of a history, and leaves no database behind."""

import os

from experiment_pipeline.tracking.database.connection import VARIABLE
from experiment_pipeline_tests.bench.memory import EXPERIMENTS, MOST_SECONDS, measurements


def test_a_small_history_is_measured_in_all_its_questions() -> None:
    """Each question has the same limit; the size of the file is only told."""
    before = os.environ[VARIABLE]
    found = {one.name: one for one in measurements(runs=6 * EXPERIMENTS, configurations=3)}
    assert found["a leaderboard"].goal == MOST_SECONDS
    assert found["the file"].value > 0
    assert all(one.value > 0 for one in found.values())
    assert os.environ[VARIABLE] == before
