"""Files that fits share: the same arrays, written once, never trusted unchecked."""

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.stages.search import encoding, shared_work
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.dask_engine import bare, read_shared, share_files
from experiment_pipeline.storage.entries import SharedFolder
from experiment_pipeline_tests.stages.search import scenario
from experiment_pipeline_tests.stages.search.dask.stand_in import files, shared_in

SPEC = scenario.experiment(
    [
        scenario.one("lightgbm", max_bin=[15, 63], num_leaves=[4, 8]),
        scenario.one("linear"),
    ]
)


def test_what_has_the_same_digest_is_written_once(tmp_path: Path) -> None:
    """One entry per encoder, one for the targets; another search finds them."""
    sets = scenario.training_sets()

    def share() -> dict[str, tuple[str, ...]]:
        return share_files(configurations(SPEC), sets, SPEC, shared_in(tmp_path))

    shared = share()
    written = files(tmp_path)
    assert len({digests[1] for digests in shared.values()}) == 2
    assert len({Path(path).parent for path in written}) == 3
    assert share() == shared
    assert files(tmp_path) == written


def test_large_tables_are_written_slice_by_slice(tmp_path, monkeypatch) -> None:
    """The numbers that are encoded at once; memory holds neither the table nor its
    file.
    """
    few = scenario.table(scenario.CLASSES["binary"])
    frame = few.iloc[np.arange(40_000) % scenario.TRAIN_ROWS].reset_index(drop=True)
    frame = frame.assign(**{f"number {n}": frame["distance"] + n for n in range(20)})
    features = tuple(name for name in frame if name != "late")
    none = np.zeros(len(frame), dtype=bool)
    given = {
        "train": frame,
        "test": frame[:500],
        "early_stopping": none,
        "features": features,
    }
    sets = replace(scenario.training_sets(), **given)
    spec = scenario.experiment([scenario.one("linear") | {"features": "target"}])

    def written(folder: Path) -> np.ndarray:
        (each,) = configurations(spec)
        shared = share_files([each], sets, spec, shared_in(folder))["target"]
        work, _ = read_shared(
            SharedFolder(str(folder), "e"), shared, "target", bare(sets)
        )
        return work.train["target"].table

    at_once = written(tmp_path / "at once")
    monkeypatch.setattr(encoding, "HELD_ROWS", 1_000)
    monkeypatch.setattr(shared_work, "ROWS_OF_A_SLICE", 1_000)
    rarely = gc.get_threshold()
    gc.set_threshold(700)  # Python's own: how much garbage waits is part of the peak
    tracemalloc.start()
    by_slices = written(tmp_path / "slices")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.set_threshold(*rarely)
    assert np.array_equal(by_slices, at_once, equal_nan=True)
    assert peak < at_once.nbytes / 3


def test_a_damaged_file_is_refused_and_made_again(tmp_path: Path) -> None:
    """A worker never fits on what was not written; the next search puts it right."""
    place, sets, said = (
        SharedFolder(str(tmp_path), "e"),
        scenario.training_sets(),
        list[str](),
    )
    shared = share_files(configurations(SPEC), sets, SPEC, shared_in(tmp_path))
    digests = shared["ordinal"]
    (train,) = (tmp_path / "e" / "shared" / digests[1]).glob("train.*.npy")
    content = bytearray(train.read_bytes())
    content[-1] ^= 1
    train.write_bytes(content)
    with pytest.raises(EntryCorrupt, match="is not what was written"):
        read_shared(place, digests, "ordinal", bare(sets))
    share_files(configurations(SPEC), sets, SPEC, shared_in(tmp_path, said.append))
    assert "is made again" in said[0]
    work, _ = read_shared(place, digests, "ordinal", bare(sets))
    assert work.train["ordinal"].table.shape == (600, 4)
    train.unlink()
    with pytest.raises(EntryCorrupt, match="is gone"):
        read_shared(place, digests, "ordinal", bare(sets))
