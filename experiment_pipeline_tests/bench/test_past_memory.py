"""The benchmark of tables larger than memory tells how each run ended and what its stages took."""

import argparse
import json
from dataclasses import asdict, replace

import pytest

from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline_tests.bench import past_memory
from experiment_pipeline_tests.bench.limits import Counted
from experiment_pipeline_tests.bench.past_memory import Job
from experiment_pipeline_tests.bench.test_orchestration import event
from experiment_pipeline_tests.bench.watching import Sample, Spent, Watched

STAGES = {"raw_data": Spent(2.0, 1.0, 100_000_000), "training": Spent(8.0, 16.0, 900_000_000)}
DONE = Job(
    rows=1_000_000,
    table_bytes=90_000_000,
    measured="2026-11-26",
    limit_bytes=1_500_000_000,
    held_by="memory cgroup",
    ending="",
    stages=STAGES,
    whole=Spent(20.0, 18.0, 900_000_000),
    counted=Counted(1_400_000_000, 12, 0),
    temporary_bytes=200_000_000,
    stored_bytes=300_000_000,
)


def watched(returncode: int = 0) -> Watched:
    """Twenty seconds, a sample each, with a core busy; memory grows."""
    samples = tuple(Sample(float(at), 1_000 * at, float(at)) for at in range(21))
    return Watched(returncode, 0.0, 20.0, samples, 0)


def test_the_stages_of_a_run_add_up():
    """Each has the seconds, CPU and peak of its own; one that was ended lasted to the end."""
    events = [
        event(2.0, "STEP_START", "past_memory__raw_data"),
        event(5.0, "STEP_SUCCESS", "past_memory__raw_data"),
        event(5.0, "STEP_START", "past_memory__training"),
    ]
    assert past_memory.stages_of(watched(-9), events) == {
        "raw_data": Spent(3.0, 3.0, 5_000),
        "training": Spent(15.0, 15.0, 20_000),
    }


@pytest.mark.parametrize(
    ("returncode", "killed", "said", "told"),
    [
        (0, 0, "all is well", ""),
        (-9, 1, "", "killed at the limit in training"),
        (1, 1, "a child of it was", "killed at the limit in training"),
        (1, 0, "numpy: Unable to allocate 3 GiB\nRUN_FAILURE", "out of memory in training"),
        (1, 0, "x - ERROR - x: FAILED\n\nUnusable: a\n fix: b", "failed in training: Unusable: a"),
        (1, 0, "Traceback\nno such column\n\n", "failed in training: no such column"),
    ],
)
def test_why_a_run_ended(returncode, killed, said, told):
    """Killed, refused or failed, and in which stage."""
    found = past_memory.ending(watched(returncode), Counted(killed=killed), said, [*STAGES])
    assert found == told


def test_growth_is_of_what_was_finished():
    """Twice the time for three times the rows is 0.67; a stage that was killed says nothing."""
    larger = {name: Spent(2 * one.seconds, 3 * one.cpu_seconds, 7) for name, one in STAGES.items()}
    done = replace(DONE, rows=3_000_000, stages=larger)
    killed = replace(done, rows=10_000_000, ending="killed at the limit in training")
    lines = past_memory.told([DONE, done, killed]).splitlines()
    assert "| raw_data | 2.0, 1.0 | 0.67, 1.00 | 0.20, 0.30 |" in lines
    assert "| training | 8.0, 16.0 | 0.67, 1.00 |  |" in lines
    assert "| training | 8, 16, **0.90** | 16, 48, **0.00** | 16, 48, **0.00** |" in lines
    assert any("killed at the limit in training" in line for line in lines)


def test_what_was_measured_is_remembered(tmp_path):
    """Figures come back as they were, the smallest size first, and nothing is run for it."""
    folder = tmp_path / past_memory.EXPERIMENT
    folder.mkdir()
    for job in (replace(DONE, rows=20_000_000), DONE):
        (folder / f"{job.rows}.json").write_text(json.dumps(asdict(job)))
    asked = argparse.Namespace(folder=tmp_path, remembered=True, rows=[1], limit=None)
    told = past_memory.section(asked)
    assert told == past_memory.told([DONE, replace(DONE, rows=20_000_000)])


def test_the_experiment_is_the_scaffolds_but_for_its_search(tmp_path):
    """Nine configurations, of which some are stopped at a small rung."""
    attributes, schema = past_memory.experiment(str(tmp_path / "huge.parquet"), 2_000)
    spec = spec_from("past_memory", attributes, str)
    assert spec.data.url.endswith("huge.parquet")
    assert len(configurations(spec)) == 9
    assert spec.halving.fractions == (0.05, 1.0)
    assert "c16: {dtype: float64}" in schema


@pytest.mark.slow
def test_a_run_beyond_its_limit_is_told(tmp_path):
    """The README's command is ended before its first stage where it may hold next to nothing."""
    job = past_memory.measured(2_000, 100_000_000, tmp_path)
    assert job.ending.startswith(("killed at the limit", "out of memory"))
    assert 0 < job.whole.peak_bytes <= job.limit_bytes
    assert job.stages == {}
