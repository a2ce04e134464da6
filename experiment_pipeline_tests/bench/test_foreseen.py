"""The benchmark of foreseen memory measures what it says."""

from pathlib import Path

import pandas as pd
import pytest

from experiment_pipeline_tests.bench import foreseen
from experiment_pipeline_tests.bench.foreseen import SHAPES, Foretold, told
from experiment_pipeline_tests.bench.watching import Sample, Watched

MEGABYTE = 1_000_000


def test_a_stage_lasts_until_the_next_is_foreseen() -> None:
    """A peak of two looks counts above what was held; of a search's rungs the largest is told."""
    held = [100, 900, 250, 250, 100, 100, 500, 500, 300, 300, 100, 100]
    samples = tuple(Sample(0.25 + at / 2, MEGABYTE * size, 0.0) for at, size in enumerate(held))
    watched = Watched(0, 0.0, 6.0, samples, 0)
    notes = [
        {"at": 0.0, "stage": "raw_data", "need": 300, "stopped": 90, "held": 50},
        {"at": 2.0, "stage": "training", "need": 1, "stopped": 0, "held": 0},
        {"at": 3.0, "stage": "training", "need": 800, "stopped": 340, "held": 100},
    ]
    for note in notes:
        note |= {name: MEGABYTE * note[name] for name in ("need", "stopped", "held")}
    assert [one.row() for one in told(notes, watched, "few", 7)] == [
        "| few | 7 | raw_data | 200 | 300 | 90 | **0.67** |  |",
        "| few | 7 | training | 400 | 800 | 340 | **0.50** |  |",
    ]


@pytest.mark.parametrize(
    ("stopped_below", "said"), [(30, "missed"), (110, ""), (210, "false alarm")]
)
def test_hits_and_false_alarms_are_told_apart(stopped_below: float, said: str) -> None:
    """Stopped with half of what it takes is right, but for 60 MB; with as much as it takes it is not."""
    one = Foretold("few", "a stage", 7, 200 * MEGABYTE, 300 * MEGABYTE, stopped_below * MEGABYTE)
    assert one.row().endswith(f"| {said} |")


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_makes_its_table(name: str) -> None:
    """So many rows with a target, as declared; two batches differ."""
    first, second = (SHAPES[name].table(50, seed) for seed in (0, 1))
    assert len(first) == len(second) == 50
    assert len(set(first["target"])) > 1
    assert not first.equals(second)


def test_a_function_that_prepares_gives_rows_back() -> None:
    """The benchmark's own changes nothing."""
    frame = pd.DataFrame({"a": [1]})
    assert foreseen.as_they_are(frame).equals(frame)


def test_what_is_remembered_is_told_again(tmp_path: Path) -> None:
    """Nothing is run for it; shapes that were never run are left out."""
    assert foreseen.measurements(tmp_path, remembered=True) == []
