"""What a stage needs is told before it begins: nobody is killed, nobody is stopped who would fit."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from experiment_pipeline.errors import NotEnoughMemory, StorageUnreachable
from experiment_pipeline.spec import Data
from experiment_pipeline.stages import memory_estimate as foreseen
from experiment_pipeline.stages.memory_estimate import HOLDS, MemoryNeed, Size, foresee, stage_need
from experiment_pipeline.stages.raw_data import sources
from experiment_pipeline.stages.raw_data.size import size_of
from experiment_pipeline.stages.raw_data.sources import read_source
from experiment_pipeline.storage import tables
from experiment_pipeline.storage.memory_limits import MemoryLimit, memory_limit
from experiment_pipeline.storage.tables import StoredTable, write_table
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.fresh_process import printed_by
from experiment_pipeline_tests.storage.test_memory_limits import system

GIGABYTE = 10**9
BYTES = st.integers(0, 100 * GIGABYTE)
ROWS = 1_000
# Characters of a small terminal.
SCREEN = 80 * 10


def limit(left: int, held: int = 0) -> MemoryLimit:
    """A limit that leaves so much."""
    return MemoryLimit(held + left, held, "a test")


def need(shared: int, *fits: int) -> MemoryNeed:
    """What something needs."""
    return MemoryNeed("the stage of a test", "take a sample", shared, fits)


def frame() -> pd.DataFrame:
    """Three columns of numbers and one of texts."""
    numbers = {f"c{n}": np.arange(ROWS) / (n + 1) for n in range(3)}
    return pd.DataFrame({**numbers, "text": pd.array(["of some letters"] * ROWS, dtype="str")})


@given(
    shared=BYTES,
    fits=st.lists(BYTES, max_size=6),
    left=BYTES,
    workers=st.integers(1, 8),
    held=BYTES,
)
def test_nobody_is_stopped_who_may_fit(
    shared: int, fits: list[int], left: int, workers: int, held: int
) -> None:
    """One fit at a time is tried wherever a part of what is foreseen would do."""
    needed = need(shared, *sorted(fits, reverse=True))
    if needed.at_least > left:
        with pytest.raises(NotEnoughMemory, match="sample"):
            foresee(needed, limit(left, held), workers)
        return
    found = foresee(needed, limit(left, held), workers)
    assert 1 <= found.workers <= workers
    assert found.workers == 1 or needed.of(found.workers) <= left or not found.fewer
    assert found.fewer == (found.workers < min(workers, max(len(fits), 1)))


def test_fewer_fits_at_a_time_go_where_all_would_not() -> None:
    """As many as fit; the note says so, with both numbers."""
    four = need(*[GIGABYTE] * 5)
    assert foresee(four, limit(5 * GIGABYTE), 4).workers == 4
    found = foresee(four, limit(3 * GIGABYTE, held=GIGABYTE), 4)
    assert (found.workers, found.fewer, found.worth_saying) == (2, True, True)
    assert "4.0 GB of 4.0 GB (a test): 2 fits at a time instead of 4" in found.said


def test_an_error_names_stage_need_limit_who_sets_it_and_what_to_change() -> None:
    """All five in one message."""
    with pytest.raises(NotEnoughMemory) as caught:
        foresee(need(9 * GIGABYTE), limit(GIGABYTE, held=GIGABYTE))
    said = str(caught.value)
    parts = ("the stage of a test", "10.0 GB of 2.0 GB (a test)", "1.0 GB are taken", "raise")
    for part in (*parts, "take a sample"):
        assert part in said


MACHINE = {"proc/meminfo": "MemTotal:  16000000 kB\nSwapTotal:  0 kB\n"}
LIMITED = {
    "its control group": {
        **MACHINE,
        "proc/self/cgroup": "0::/jobs/one\n",
        "sys/fs/cgroup/jobs/one/memory.max": "2000000000\n",
    },
    "its control group (the limit": {
        **MACHINE,
        "proc/self/cgroup": "4:memory:/jobs/one\n",
        "sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes": "2000000000\n",
    },
    "the memory of the machine": {"proc/meminfo": "MemTotal:  1953125 kB\n"},
}


@pytest.mark.parametrize("set_by", LIMITED)
def test_the_message_is_a_screen_that_names_the_limit_and_a_way_out(
    set_by: str, tmp_path: Path
) -> None:
    """Of groups of version 1 and 2, and of the machine: how much, who, and how many rows would do."""
    found = memory_limit(system(tmp_path, LIMITED[set_by]))
    assert found is not None
    needed = stage_need("validated_data", Size(30_000_000, 160.0, 80.0))
    with pytest.raises(NotEnoughMemory) as caught:
        foresee(needed, found)
    said = caught.value.told
    assert f"of 2.0 GB ({set_by}" in said
    assert re.search(r"a sample of about \d+,000,000 of the 30,000,000 rows", said)
    assert "leave columns out" in said
    assert len(said) < SCREEN


@pytest.mark.parametrize("stage", HOLDS)
@pytest.mark.parametrize("left", [400_000_000, GIGABYTE])
def test_a_sample_of_the_advised_size_would_do(stage: str, left: int) -> None:
    """Of every stage: whoever takes the advice is not stopped again, nor told of too few rows."""
    size = Size(100_000_000, 160.0, 8.0)
    with pytest.raises(NotEnoughMemory) as caught:
        foresee(stage_need(stage, size), limit(left))
    advised = re.search(r"about ([\d,]+) of the", str(caught.value))
    assert advised is not None
    rows = int(advised[1].replace(",", ""))
    foresee(stage_need(stage, Size(rows, size.row, size.cell)), limit(left))
    with pytest.raises(NotEnoughMemory):
        foresee(stage_need(stage, Size(10 * rows, size.row, size.cell)), limit(left))


def test_a_table_that_is_read_whole_is_to_be_delivered_otherwise() -> None:
    """What has lists, or is packed in one piece, is no matter of its columns."""
    needed = stage_need("raw_data", Size(100_000_000, 160.0, 8.0), by_rows=True)
    with pytest.raises(NotEnoughMemory, match="Parquet without lists"):
        foresee(needed, limit(GIGABYTE))


def test_what_is_told_before_a_stage_is_told_where_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stages and prediction alike: a line for much, none for little; no limit, no line."""
    said = list[str]()
    for found in (limit(4 * GIGABYTE), limit(100 * GIGABYTE), None):
        monkeypatch.setattr(foreseen, "memory_limit", lambda found=found: found)
        assert foreseen.foretell(need(3 * GIGABYTE), said.append, 2) == 2
    assert said == ["the stage of a test needs about 3.0 GB of 4.0 GB (a test)"]


def test_little_goes_without_saying() -> None:
    """A line from a quarter of what there is on."""
    assert not foresee(need(GIGABYTE), limit(9 * GIGABYTE)).worth_saying
    assert foresee(need(3 * GIGABYTE), limit(9 * GIGABYTE)).worth_saying


def test_files_that_are_mapped_count_where_the_limit_counts_them() -> None:
    """For `ulimit -v` and Dask's nanny, and not for a control group, which takes them back."""
    mapping = MemoryNeed("a worker", "take a sample", 0, (), files=9 * GIGABYTE)
    assert foresee(mapping, limit(GIGABYTE)).share < 0.1
    with pytest.raises(NotEnoughMemory):
        foresee(mapping, MemoryLimit(GIGABYTE, 0, "a test", counts_files=True))


def test_a_table_that_finds_no_place_below_tmpdir_is_told_beforehand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With or without a limit on memory; a table that is held in memory needs no place."""
    held, large = (stage_need("split_sets", Size(rows, 160.0, 8.0)) for rows in (10**5, 10**12))
    for found in (limit(10**6 * GIGABYTE), None):
        monkeypatch.setattr(foreseen, "memory_limit", lambda found=found: found)
        assert foreseen.foretell(held, lambda _: None) == 1
        with pytest.raises(StorageUnreachable, match=r"takes about 159999\.9 GB"):
            foreseen.foretell(large, lambda _: None)


def test_who_may_be_killed_is_told_what_to_change() -> None:
    """Between what it takes at the least and what is foreseen nobody is stopped."""
    found = foresee(need(2 * GIGABYTE), limit(GIGABYTE + 500_000_000))
    assert "should it be killed, raise that limit, take a sample" in found.said
    assert "killed" not in foresee(need(GIGABYTE), limit(2 * GIGABYTE)).said


@pytest.mark.parametrize("stage", HOLDS)
@given(rows=st.integers(0, 10**9), more=st.integers(0, 10**9), cell=st.integers(1, 100))
def test_the_need_grows_with_rows_and_with_their_width(
    stage: str, rows: int, more: int, cell: int
) -> None:
    """Of every stage; a table that cannot be had by columns takes no less."""
    narrow, longer = Size(rows, 10.0 * cell, cell), Size(rows + more, 10.0 * cell, cell)
    wider, whole = Size(rows, 20.0 * cell, 2.0 * cell), Size(rows, 10.0 * cell, cell, by_rows=True)
    least = stage_need(stage, narrow).of(1)
    for other in (longer, wider, whole):
        assert stage_need(stage, other).of(1) >= least


def test_a_stored_table_is_as_large_as_in_memory(tmp_path: Path) -> None:
    """Its first batch tells; a cell that is an object is more than the place that points to it."""
    path = UPath(tmp_path / "table.parquet")
    write_table(path, frame())
    stored, held = Size.of(StoredTable.at(path)), Size.of(frame())
    assert (stored.rows, stored.by_rows) == (held.rows, held.by_rows) == (ROWS, False)
    assert stored.row == pytest.approx(held.row, rel=0.2)
    assert stored.cell == pytest.approx(held.cell, rel=0.2)
    lists = pd.Series([[1, 2, 3]] * ROWS, dtype=object)
    objects = Size.of(frame().assign(c0=lists))
    assert objects.by_rows
    assert objects.cell == 8 + sys.getsizeof([1, 2, 3])


@pytest.mark.parametrize(
    "name", ["table.parquet", "table.csv", "table.csv.gz", "table.csv.zip", "table.csv.bz2"]
)
@pytest.mark.parametrize("large", [True, False])
def test_a_source_tells_its_size_before_it_is_read(
    name: str, large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a factor of a few; what a packed file holds is guessed, and not above the truth by much."""
    monkeypatch.setattr(sources, "WHOLE_BYTES", 0 if large else tables.WHOLE_BYTES)
    path = tmp_path / name
    frame().to_parquet(path) if "parquet" in name else frame().to_csv(path, index=False)
    fetched = list[int]()
    data = Data(url=str(path))
    size = size_of(read_source(data, fetched.append), data)
    assert 0.02 * ROWS <= size.rows <= 2 * ROWS
    assert size.row >= size.cell > 0
    assert size.by_rows == name.endswith("zip")
    assert fetched == ([] if large else [path.stat().st_size])


STARVED = """
import resource, sys
import dagster as dg
from pathlib import Path
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
def test_a_stage_that_would_be_killed_says_so_and_ends(tmp_path: Path) -> None:
    """A real limit that is really too small: the run fails with the message, its process lives."""
    path = tmp_path / "table.parquet"
    names = pd.read_csv(scenario.write_csv(tmp_path / "visits.csv")).columns
    cells = np.random.default_rng(0).random(2_000_000)
    pd.DataFrame(dict.fromkeys(names, cells)).to_parquet(path)
    printed = printed_by(STARVED, str(path), "40000000")
    assert printed.startswith("False NotEnoughMemory: the stage raw_data: it needs about")
    assert "(ulimit -v)" in printed
