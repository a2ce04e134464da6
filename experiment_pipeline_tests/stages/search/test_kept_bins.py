"""Bins of many rows are kept in files by threads, too: the same models, made once."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from upath import UPath

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.experiment import steps
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search import encoding, sweep
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.halving import Threads
from experiment_pipeline.stages.search.learners import lightgbm_learner
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage.entries import Entries, SharedFiles, SharedFolder
from experiment_pipeline_tests import scenario as clinic
from experiment_pipeline_tests.stages.search.dask.stand_in import files
from experiment_pipeline_tests.stages.search.scenario import (
    CLASSES,
    TRAIN_ROWS,
    experiment,
    one,
    table,
    train,
    training_sets,
)
from experiment_pipeline_tests.stages.search.test_sweep import essence

FEW = {"n_estimators": 5}
WAYS: dict[str, list[dict[str, Any]]] = {
    "stops early": [one("lightgbm", **FEW), one("lightgbm", **FEW, max_bin=15)],
    "all rounds": [one("lightgbm", **FEW, early_stopping_round=0) | {"features": "target"}],
    "linear trees": [one("lightgbm", **FEW, linear_tree=True)],
    "beside a forest": [one("lightgbm", **FEW), one("random_forest", **FEW)],
    "sparse": [one("lightgbm", **FEW) | {"features": "onehot"}],
}


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From 100 rows on tables are large; an item for each that was binned."""
    monkeypatch.setattr(encoding, "HELD_ROWS", 100)
    monkeypatch.setattr(sweep, "HELD_ROWS", 100)
    binned, bin_rows = list[int](), lightgbm_learner.bin_rows
    monkeypatch.setattr(
        lightgbm_learner, "bin_rows", lambda *g, **m: binned.append(1) or bin_rows(*g, **m)
    )
    return binned


def searched(
    spec: ExperimentSpec,
    sets: TrainingSets,
    folder: Path | UPath,
    said: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Train all of an experiment in threads; key → outcome."""
    with SharedFiles(SharedFolder(str(folder), "e"), said, said) as kept:
        outcomes = Threads(2, files=kept).train(configurations(spec), sets, spec)
        return {one.key: one for one in outcomes}


@pytest.mark.parametrize(
    ("way", "task"), [*((way, "binary") for way in WAYS), ("stops early", "multiclass")]
)
def test_a_rerun_finds_the_bins_and_gives_the_same_models(way, task, tmp_path, made, capfd) -> None:
    """Bytes, predictions and scores: never stored, made and stored, read; of which nothing is printed."""
    spec = experiment(WAYS[way], task, sample_weight="counts")
    frame = table(CLASSES[task])
    frame["counts"] = np.linspace(1.0, 2.0, len(frame))
    sets = clinic.to_train_on(frame.iloc[:TRAIN_ROWS], frame.iloc[TRAIN_ROWS:], spec)
    never = essence(train(spec, sets))
    made.clear()
    assert essence(searched(spec, sets, tmp_path)) == never
    boosted = sum(each["algorithm"] == "lightgbm" for each in WAYS[way])
    assert len(made) == boosted
    left = files(tmp_path)
    assert essence(searched(spec, sets, tmp_path)) == never
    assert len(made) == boosted
    assert files(tmp_path) == left
    assert "binary file" not in "".join(capfd.readouterr())


def test_small_tables_touch_no_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a file nor a folder."""
    monkeypatch.setattr(sweep, "HELD_ROWS", TRAIN_ROWS)
    spec, sets = experiment(WAYS["stops early"]), training_sets()
    assert essence(searched(spec, sets, tmp_path)) == essence(train(spec, sets))
    assert list(tmp_path.iterdir()) == []


def test_another_search_of_the_same_rows_bins_only_what_is_new(tmp_path, made: list[int]) -> None:
    """Bins that it has not used go when it ends well; it says how much stays."""
    sets, said = training_sets(), list[str]()
    searched(experiment(WAYS["stops early"]), sets, tmp_path)
    assert len(made) == 2
    refined = [one("lightgbm", **FEW, num_leaves=[4, 8]), one("lightgbm", **FEW, max_bin=7)]
    searched(experiment(refined), sets, tmp_path, said.append)
    assert len(made) == 3
    entries = {Path(path).parent for path in files(tmp_path)}
    assert len(entries) == 2
    (text,) = said
    assert "binned rows are kept for later searches" in text


def test_what_decides_the_bins_has_a_name_of_its_own(tmp_path: Path, made: list[int]) -> None:
    """Other rows, targets, rows held out or seeds are other bins; other leaves or directions are not."""
    spec, sets = experiment([one("lightgbm", **FEW)]), training_sets()
    searched(spec, sets, tmp_path)
    others = [
        (experiment([one("lightgbm", **FEW)], seed=2), sets),
        (spec, training_sets(classes=("yes", "no"))),
        (spec, TrainingSets(**vars(sets) | {"early_stopping": np.arange(TRAIN_ROWS) % 5 == 0})),
        (spec, TrainingSets(**vars(sets) | {"digests": {"train": "other", "test": "rows"}})),
    ]
    for number, (asked, given) in enumerate(others):
        assert len(made) == 1 + number
        searched(asked, given, tmp_path)
    made.clear()
    searched(spec, sets, tmp_path)
    searched(experiment([one("lightgbm", **FEW, num_leaves=4)]), sets, tmp_path)
    rising = TrainingSets(**vars(sets) | {"directions": {"distance": 1}})
    searched(spec, rising, tmp_path)
    assert len(made) == 1


def test_damaged_bins_are_made_again_and_said(tmp_path: Path, made: list[int]) -> None:
    """The same model; nothing of what was damaged stays."""
    spec, sets, said = experiment([one("lightgbm", **FEW)]), training_sets(), list[str]()
    first = essence(searched(spec, sets, tmp_path))
    (path,) = (Path(path) for path in files(tmp_path) if "fit" in path)
    path.write_bytes(path.read_bytes()[:-1])
    assert essence(searched(spec, sets, tmp_path, said.append)) == first
    assert len(made) == 2
    assert said[0] == f"{path} is not what was written: it is made again"
    assert not (tmp_path / "e" / "damaged").exists()
    searched(spec, sets, tmp_path)
    assert len(made) == 2


def test_bins_that_find_no_place_are_used_all_the_same(tmp_path, monkeypatch) -> None:
    """A full disk costs the next run some time, and no fit."""
    spec, sets, said = experiment([one("lightgbm", **FEW)]), training_sets(), list[str]()

    def full(*_: object) -> None:
        raise StorageUnreachable("here", "no space left on device", "free some")

    monkeypatch.setattr(Entries, "put_written", full)
    assert essence(searched(spec, sets, tmp_path, said.append)) == essence(train(spec, sets))
    assert said[0].startswith("the next run bins these rows again: here")


def test_the_training_step_keeps_bins_below_the_storage_root(place: UPath, made: list[int], caplog):
    """Its log says how much; the next run finds them."""
    spec, sets = experiment([one("lightgbm", **FEW)]), training_sets()
    log = logging.getLogger("step")
    caplog.set_level(logging.INFO, "step")
    for _ in range(2):
        with steps._engine(spec, log) as engine:
            (found,) = engine.train(configurations(spec), sets, spec)
        assert isinstance(found, TrainedModel), found
    assert len(made) == 1
    assert f"binned rows are kept for later searches: {place / 'e' / 'shared'}" in caplog.text
