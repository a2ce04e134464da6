"""A stage that may need more memory than is free says so; running out of memory is a
clear error.
"""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiment_pipeline.intake.sources import delivered_bytes, read_source
from experiment_pipeline.spec import Data
from experiment_pipeline.stages import registry
from experiment_pipeline.stages.registry import STAGES, table_bytes, warn_of_memory
from experiment_pipeline.storage.processes import FreeMemory
from experiment_pipeline.table.table import on_map
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.fresh_process import printed_by

ROWS = 20_000


def frame() -> pd.DataFrame:
    """Four columns of numbers and one of texts."""
    numbers = np.random.default_rng(0).random((ROWS, 4))
    table = pd.DataFrame(numbers, columns=list("abcd"))
    return table.assign(text=[f"text number {row % 50:05}" for row in range(ROWS)])


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_warns_only_where_it_may_need_more_than_is_free(
    stage: str, monkeypatch
):
    """The warning has the stage, both numbers, what sets the limit and what
    to change.
    """
    free = FreeMemory(1_000_000_000, "its control group")
    monkeypatch.setattr(registry, "free_memory", lambda: free)
    logged = list[str]()
    warn_of_memory(stage, 1_000_000, logged.append)
    assert logged == []
    warn_of_memory(stage, 20_000_000_000, logged.append)
    needed = (STAGES[stage].peak_per_byte * 20_000_000_000 + 100_000_000) / 1e9
    numbers = (
        f"{stage} may need about {needed:.1f} GB of memory, 1.0 GB are free (its "
        "control group)"
    )
    assert logged[0].startswith(numbers)
    assert "sample" in logged[0]


def test_the_size_of_a_table_does_not_depend_on_where_it_is():
    """A table on maps has the estimate of the same one in memory; Python objects count
    in full.
    """
    held = table_bytes(frame())
    assert table_bytes(on_map(frame())) == held
    assert table_bytes(frame(), frame()) == 2 * held
    lists = pd.Series([[1, 2, 3]] * ROWS, dtype=object)
    assert table_bytes(pd.DataFrame({"lists": lists})) > 80 * ROWS


@pytest.mark.parametrize(
    "name", ["table.parquet", "table.csv", "table.csv.gz", "table.csv.zip"]
)
def test_the_size_of_a_source_is_estimated_from_its_files(name: str, tmp_path):
    """Within a factor of five, before anything is parsed."""
    path = tmp_path / name
    frame().to_parquet(path) if "parquet" in name else frame().to_csv(path, index=False)
    found = delivered_bytes(read_source(Data(url=str(path))))
    assert 0.2 < found / table_bytes(frame()) < 5


STARVED = """
import resource, sys
import dagster as dg
from pathlib import Path
from experiment_pipeline.experiment import flow  # before there is no room for it
from experiment_pipeline_tests import runs, scenario

url, left = sys.argv[1], int(sys.argv[2])
job = runs.definitions(scenario.spec(url=url), scenario.SCHEMA).resolve_job_def(scenario.spec().name)
size = 1024 * int(Path("/proc/self/status").read_text().split("VmSize:")[1].split()[0])
resource.setrlimit(resource.RLIMIT_AS, (size + left, size + left))
keys = [dg.AssetKey([scenario.spec().name, "raw_data"])]
done = runs.Run(job.execute_in_process(asset_selection=keys, raise_on_error=False))
print(done.success, done.failure)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("storage")
def test_a_stage_that_runs_out_of_memory_ends_with_a_clear_error(tmp_path):
    """Under a real limit that is too small, the run fails with the stage's name and a
    fix.
    """
    path = tmp_path / "table.parquet"
    names = pd.read_csv(scenario.write_csv(tmp_path / "visits.csv")).columns
    cells = np.zeros(4_000_000)
    pq.write_table(pa.table(dict.fromkeys(names, cells)), path)
    # Threads take room for their own memory, also while nothing is read.
    done = printed_by(STARVED, str(path), "250000000")
    assert done.startswith("False NotEnoughMemory: the stage raw_data: memory ran out")
