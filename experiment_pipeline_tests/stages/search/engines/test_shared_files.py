"""Files that fits share: the same arrays, written once, never trusted unchecked."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.engines import task
from experiment_pipeline.stages.search.engines.shared_files import (
    Place,
    bare,
    read_shared,
    share_files,
)
from experiment_pipeline.stages.search.engines.task import Kept, TablesOfTask
from experiment_pipeline_tests.stages.search.engines.stand_in import files
from experiment_pipeline_tests.stages.search.scenario import experiment, one, training_sets

SPEC = experiment([one("lightgbm", max_bin=[15, 63], num_leaves=[4, 8]), one("linear")])


def test_what_has_the_same_digest_is_written_once(tmp_path: Path) -> None:
    """One entry per recipe, one per binning, one for the targets; another search finds them."""
    place, sets = Place(str(tmp_path), "e"), training_sets()
    shared = share_files(configurations(SPEC), sets, SPEC, place, print)
    written = files(tmp_path)
    assert len({digests.encoded for digests in shared.values()}) == 2
    assert len({digests.table for digests in shared.values()}) == 3
    assert len({Path(path).parent for path in written}) == 5
    assert share_files(configurations(SPEC), sets, SPEC, place, print) == shared
    assert files(tmp_path) == written


def test_a_damaged_file_is_refused_and_made_again(tmp_path: Path) -> None:
    """A worker never fits on what was not written; the next search puts it right."""
    place, sets, said = Place(str(tmp_path), "e"), training_sets(), list[str]()
    shared = share_files(configurations(SPEC), sets, SPEC, place, said.append)
    digests = shared[configurations(SPEC)[0].key]
    (train,) = (tmp_path / "e" / "shared" / digests.encoded).glob("train.*.npy")
    content = bytearray(train.read_bytes())
    content[-1] ^= 1
    train.write_bytes(content)
    with pytest.raises(EntryCorrupt, match="is not what was written"):
        read_shared(place, digests, "ordinal", bare(sets))
    share_files(configurations(SPEC), sets, SPEC, place, said.append)
    assert "is made again" in said[0]
    work, _ = read_shared(place, digests, "ordinal", bare(sets))
    assert work.encoded["ordinal"].train.shape == (600, 4)
    train.unlink()
    with pytest.raises(EntryCorrupt, match="is gone"):
        read_shared(place, digests, "ordinal", bare(sets))


def test_arrays_are_locked_and_have_no_rows_to_lose(tmp_path: Path) -> None:
    """An estimator that writes into its input fails alone, on a worker as in a thread."""
    place, sets = Place(str(tmp_path), "e"), training_sets()
    shared = share_files(configurations(SPEC), sets, SPEC, place, print)
    digests = shared[configurations(SPEC)[0].key]
    work, found = read_shared(place, digests, "ordinal", bare(sets))
    with pytest.raises(ValueError, match="read-only"):
        work.encoded["ordinal"].train[0, 0] = 1.0
    assert (found.inner == sets.inner).all()
    assert len(found.train) == 0


def test_what_a_process_keeps_is_read_once_and_the_last_few_stay() -> None:
    """Threads that need the same wait for one reader; what failed is tried again."""
    kept, reads = Kept(2), list[str]()

    def reading(name: str) -> Callable[[], str]:
        def read() -> str:
            reads.append(name)
            time.sleep(0.05)
            return name

        return read

    threads = [threading.Thread(target=kept.get, args=("a", reading("a"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reads == ["a"]
    with pytest.raises(ZeroDivisionError):
        kept.get("b", lambda: 1 / 0)
    assert [kept.get(name, reading(name)) for name in "bcab"] == ["b", "c", "a", "b"]
    assert reads == ["a", "b", "c", "a", "b"]


def test_a_fit_keeps_the_tables_that_it_has_borrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its second seed trains on the table that its first one had, whatever others need."""
    monkeypatch.setattr(task, "_TABLES", Kept(1))
    mine, other = TablesOfTask("rows"), TablesOfTask("rows")
    with mine.borrow("wide", object) as first, other.borrow("narrow", object):
        pass
    with mine.borrow("wide", object) as again:
        assert again is first
