"""The benchmark of foreseen memory measures what it says."""

import pytest

from experiment_pipeline_tests.bench import foreseen, foreseen_stages
from experiment_pipeline_tests.bench.watching import Sample, Watched


@pytest.mark.parametrize("name", ["lightgbm", "linear"])
def test_a_peak_is_held_against_what_was_foreseen(name: str) -> None:
    """Both numbers are told, in MB; every configuration was trained."""
    found = foreseen.one_search(name, 2_000, 4)
    assert found.value > 0
    assert "2,000 x 4" in found.name
    assert "MB foreseen, 2 configurations" in found.name


def test_a_stage_lasts_until_the_next_is_foreseen() -> None:
    """Its peak counts above what was held before; of a search's rungs the largest is told."""
    held = [100, 250, 100, 500, 300, 100]
    samples = tuple(Sample(0.5 + at, 1_000_000 * size, 0.0) for at, size in enumerate(held))
    watched = Watched(0, 0.0, 6.0, samples, 0)
    notes = [
        {"at": 0.0, "stage": "raw_data", "need": 300_000_000, "held": 50_000_000},
        {"at": 2.0, "stage": "training", "need": 1_000_000, "held": 0},
        {"at": 3.0, "stage": "training", "need": 800_000_000, "held": 100_000_000},
    ]
    assert [one.row() for one in foreseen_stages.told(notes, watched, 7)] == [
        "| raw_data | 7 | 200 | 300 | **0.67** |",
        "| training | 7 | 400 | 800 | **0.50** |",
    ]
