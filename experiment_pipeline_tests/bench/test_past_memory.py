"""The benchmark of tables larger than memory tells how each run ended and what its stages took."""

import argparse
import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline_tests.bench import past_memory
from experiment_pipeline_tests.bench.past_memory import Job
from experiment_pipeline_tests.bench.test_watching import needs_groups
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
    most_bytes=1_400_000_000,
    temporary_bytes=200_000_000,
    stored_bytes=300_000_000,
)
# Twenty seconds, a sample each, with a core busy; memory grows.
FAILED = Watched(1, 0.0, 20.0, [Sample(float(at), 1_000 * at, float(at)) for at in range(21)], 0)


def event(at: float, kind: str, step: str):
    """What of an entry of the event log is looked at."""
    starts, ends = kind == "STEP_START", kind == "STEP_SUCCESS"
    found = SimpleNamespace(step_key=step, is_step_start=starts, is_step_success=ends)
    return SimpleNamespace(timestamp=at, dagster_event=found)


def test_the_stages_of_a_run_add_up():
    """Each has the seconds, CPU and peak of its own; one that was ended lasted to the end."""
    events = [
        event(2.0, "STEP_START", "past_memory__raw_data"),
        event(5.0, "STEP_SUCCESS", "past_memory__raw_data"),
        event(5.0, "STEP_START", "past_memory__training"),
        SimpleNamespace(timestamp=6.0, dagster_event=None),
    ]
    assert past_memory.stages_of(FAILED, events) == {
        "raw_data": Spent(3.0, 3.0, 5_000),
        "training": Spent(15.0, 15.0, 20_000),
    }


@pytest.mark.parametrize(
    ("killed", "said", "told"),
    [
        (True, "a child of it was", "killed at the limit in training"),
        (False, "x - ERROR - x: FAILED\n\nUnusable: a\n fix", "failed in training: Unusable: a"),
        (False, "Traceback\nno such column\n\n", "failed in training: no such column"),
    ],
)
def test_why_a_run_ended(killed, said, told):
    """Killed or failed, and in which stage."""
    assert past_memory.ending(FAILED, killed, said, [*STAGES]) == told
    assert past_memory.ending(replace(FAILED, returncode=0), False, said, [*STAGES]) == ""


def test_what_was_measured_is_remembered(tmp_path):
    """The smallest size comes first, and nothing is run for it."""
    folder = tmp_path / past_memory.EXPERIMENT
    folder.mkdir()
    killed = replace(DONE, rows=3_000_000, ending="killed at the limit in training")
    for job in (killed, DONE):
        (folder / f"{job.rows}.json").write_text(json.dumps(asdict(job)))
    asked = argparse.Namespace(folder=tmp_path, remembered=True, rows=[1], limit=None)
    told = past_memory.section(asked)
    assert told == past_memory.told([DONE, killed])
    assert "| stage | 1,000,000 rows | 3,000,000 rows |" in told
    assert "| training | 8, 16, **0.90** | 8, 16, **0.90** |" in told
    assert "killed at the limit in training" in told


def test_the_experiment_is_the_scaffolds_but_for_its_search(tmp_path):
    """Nine configurations, of which some are stopped at a small rung."""
    attributes, schema = past_memory.experiment(str(tmp_path / "huge.parquet"), 2_000)
    spec = spec_from("past_memory", attributes, str)
    assert len(configurations(spec)) == 9
    assert spec.halving.fractions == (0.05, 1.0)
    assert "c16: {dtype: float64}" in schema


@needs_groups
@pytest.mark.slow
def test_a_run_beyond_its_limit_is_told(tmp_path):
    """The README's command is ended before its first stage where it may hold next to nothing."""
    job = past_memory.measured(2_000, 100_000_000, tmp_path)
    assert job.ending == "killed at the limit"
    assert 0 < job.whole.peak_bytes <= job.limit_bytes
    assert job.stages == {}
