"""The benchmark of tables larger than memory runs the scaffold's experiment below a
limit.
"""

import pytest

from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline_tests.bench import past_memory
from experiment_pipeline_tests.bench.test_watching import needs_groups


def test_the_experiment_is_the_scaffolds_but_for_its_search(tmp_path):
    """Nine configurations, of which some are stopped at a small rung."""
    attributes, schema = past_memory.experiment(str(tmp_path / "huge.parquet"), 2_000)
    spec = spec_from("past_memory", attributes, str)
    assert (len(configurations(spec)), spec.halving.fractions) == (9, (0.05, 1.0))
    assert "c16: {dtype: float64}" in schema


@needs_groups
@pytest.mark.slow
def test_a_run_beyond_its_limit_is_told(tmp_path):
    """The README's command is ended before its first stage where it may hold next to
    nothing.
    """
    job = past_memory.measured(2_000, 100_000_000, tmp_path)
    assert job.ending == "killed at the limit"
    assert 0 < job.whole.peak_bytes <= job.limit_bytes
    assert job.stages == {}
    assert "| killed at the limit |" in past_memory.told([job])
