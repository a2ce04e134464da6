"""What the fits of a rung share, as files: written once by the step, read by every worker.

    <root>/<experiment>/shared/<digest>/
        *.npy        targets, weights, early-stopping set and folds; or the tables of one encoder
        *.bin        a table that a library has made of them, in its own format

The tables of an encoder are named by what decides them, targets by their content: a rerun, or another
rung of the same rows, finds them. Threads share memory; of many rows they, too, keep the tables of
libraries here. `storage/entries.py` removes the files. In: configurations, sets. Out: digests; and from
them `SharedWork` and the sets as a fit needs them, the same ones bit by bit.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.spec import ExperimentSpec, Features
from experiment_pipeline.stages.search.composing import folds_to_calibrate
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.encoding import encode
from experiment_pipeline.stages.search.fingerprints import encoder_fingerprint, table_fingerprint
from experiment_pipeline.stages.search.fitting import share_work
from experiment_pipeline.stages.search.learners import learner_of, lightgbm_learner
from experiment_pipeline.stages.search.learners.learner import FitRequest
from experiment_pipeline.stages.search.shared_work import (
    HELD_ROWS,
    EncodedRows,
    SharedTables,
    SharedWork,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets, without_rows
from experiment_pipeline.storage.entries import SharedFiles, SharedFolder
from experiment_pipeline.storage.mapped import read_tables, write_tables
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.membership import FoldRows

_NOTHING = np.zeros(0, dtype=bool)
# Of sets and of each fold: attributes of `TrainingSets`; the latter are those of `SharedWork`, too.
_MASKS = ("early_stopping", "early_stopping_gap")
_TRUTH = ("y_train", "y_test", "w_train", "w_test")


@dataclass(frozen=True)
class Digests:
    """The shared files of one configuration: truth, tables of its encoder, the library's table."""

    truth: str
    encoded: str
    table: str | None = None


def share_files(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    files: SharedFiles,
) -> dict[str, Digests]:
    """Write what the fits of these configurations share, unless it is there; key → its files."""
    arrays = _arrays(sets, folds_to_calibrate(configurations, sets, spec))
    truth = fingerprint_of({name: _digest(array) for name, array in arrays.items()})
    if files.lacks(truth):
        files.put(truth, partial(write_tables, arrays))
    encoded = dict[Features, str]()
    for encoder in dict.fromkeys(one.features for one in configurations):
        digest = encoded[encoder] = fingerprint_of(
            {
                "encoder": encoder_fingerprint(encoder, sets),
                "test": sets.digests["test"],
                "directions": dict(sets.directions),
                "truth": truth,
            }
        )
        if files.lacks(digest):
            files.put(digest, partial(_write_encoded, encoder, sets))

    @cache
    def work_of(encoder: Features) -> SharedWork:
        return read_shared(files.folder, Digests(truth, encoded[encoder]), encoder, sets)[0]

    tables = _tables(configurations, sets, spec)
    refused = set[str]()
    for digest, one in {table.digest: table for table in tables.values()}.items():
        if files.lacks(digest):
            try:
                made = lightgbm_learner.make_table(
                    one.request, work_of(one.request.configuration.features)
                )
            except Exception:  # noqa: BLE001 - the fit raises the same, as a failure of its own
                refused.add(digest)
                continue
            files.put(digest, partial(lightgbm_learner.write_table, made))
        if len(sets.train) > HELD_ROWS:
            files.keep(digest)
    stored = {key: one.digest for key, one in tables.items() if one.digest not in refused}
    return {
        one.key: Digests(truth, encoded[one.features], stored.get(one.key))
        for one in configurations
    }


def share_kept(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    files: SharedFiles,
) -> SharedWork:
    """Do what `share_work` does; what LightGBM makes of many rows is kept in files.

    A rerun, another rung of the same rows and the next search find it: making it encodes all rows,
    reading it copies a byte per cell. What cannot be written is used all the same.
    """
    work = share_work(configurations, sets, spec)
    if len(sets.train) <= HELD_ROWS:
        return work

    def find_or_make(one: _LibraryTable, make: Callable[[], Any]) -> Any:
        table = files.find(one.digest, partial(lightgbm_learner.read_table, one.request, work))
        if table is None:
            table = make()
            try:
                files.put(one.digest, partial(lightgbm_learner.write_table, table))
            except StorageUnreachable as error:
                files.warn(f"the next run bins these rows again: {error}")
        files.keep(one.digest)
        return table

    for one in _tables(configurations, sets, spec).values():
        work.tables.found[one.borrowed_as] = partial(find_or_make, one)
    return work


def bare(sets: TrainingSets) -> TrainingSets:
    """Return what the sets mean, to be sent with each task: neither rows nor masks of them."""
    sets = without_rows(sets)
    folds = tuple(
        replace(fold, sets=bare(fold.sets), fitted=_NOTHING, places=_NOTHING) for fold in sets.folds
    )
    return replace(sets, early_stopping=_NOTHING, early_stopping_gap=None, folds=folds)


def read_shared(
    folder: SharedFolder, digests: Digests, encoder: Features, sets: TrainingSets
) -> tuple[SharedWork, TrainingSets]:
    """Return what fits of an encoder share, and the sets as these need them; both without rows.

    Args:
        folder: where the files are.
        digests: which ones.
        encoder: of the configuration.
        sets: as `bare` returns them, or with their rows.

    Raises:
        EntryCorrupt: a file is gone, or not what was written.
        StorageUnreachable: the storage does not answer.
    """
    with folder.entries.as_files(digests.truth) as files:
        arrays = read_tables(files)
    with folder.entries.as_files(digests.encoded) as files:
        arrays |= read_tables(files)
    found = _with_masks(sets, arrays, "")
    whole, *folds = (_work(encoder, arrays, prefix) for prefix, _ in _parts(found))
    to_calibrate = tuple(
        FoldRows(0, fitted, arrays[f"calibrate{number}-predicted"])
        for number in range(len(arrays))
        if (fitted := arrays.get(f"calibrate{number}-fitted")) is not None
    )
    return replace(whole, folds=tuple(folds), folds_to_calibrate=to_calibrate), found


def _parts(sets: TrainingSets) -> Iterator[tuple[str, TrainingSets]]:
    """The sets, and those of their folds, each with the prefix of its files."""
    yield "", sets
    for number, fold in enumerate(sets.folds):
        yield f"fold{number}-", fold.sets


def _arrays(sets: TrainingSets, to_calibrate: Sequence[FoldRows]) -> dict[str, np.ndarray]:
    """All that fits read beside encoded tables: name → array."""
    found = dict[str, np.ndarray | None]()
    for prefix, part in _parts(sets):
        found |= {f"{prefix}{name}": getattr(part, name) for name in (*_MASKS, *_TRUTH)}
    for number, fold in enumerate(sets.folds):
        found |= {f"fold{number}-fitted": fold.fitted, f"fold{number}-places": fold.places}
    for number, rows in enumerate(to_calibrate):
        found |= {f"calibrate{number}-fitted": rows.fitted}
        found |= {f"calibrate{number}-predicted": rows.predicted}
    return {name: array for name, array in found.items() if array is not None}


def _with_masks(sets: TrainingSets, arrays: Mapping[str, Any], prefix: str) -> TrainingSets:
    """The sets with what `bare` has removed, but for rows, which no fit reads."""
    folds = tuple(
        replace(
            fold,
            sets=_with_masks(fold.sets, arrays, f"fold{number}-"),
            fitted=arrays[f"fold{number}-fitted"],
            places=arrays[f"fold{number}-places"],
        )
        for number, fold in enumerate(sets.folds)
    )
    masks: dict[str, Any] = {name: arrays.get(f"{prefix}{name}") for name in _MASKS}
    return replace(sets, **masks, folds=folds)


def _write_encoded(encoder: Features, sets: TrainingSets, folder: Path) -> None:
    """Write what fits read of encoded rows; a large table slice by slice, as it is encoded."""
    for prefix, part in _parts(sets):
        # Targets are in a file of their own.
        made, test = encode(encoder, part, _NOTHING, held=False)
        facts = {"categorical": made.categorical, "directions": made.directions}
        tables = {"train": made.table, "test": test} | {
            name: np.array(fact, dtype=np.int64) for name, fact in facts.items() if fact is not None
        }
        write_tables({f"{prefix}{name}": table for name, table in tables.items()}, folder)


def _work(encoder: Features, arrays: Mapping[str, Any], prefix: str) -> SharedWork:
    directions = arrays.get(f"{prefix}directions")
    truth: dict[str, Any] = {name: arrays.get(f"{prefix}{name}") for name in _TRUTH}
    rows = EncodedRows(
        arrays[f"{prefix}train"],
        truth["y_train"],
        arrays[f"{prefix}categorical"].tolist(),
        truth["w_train"],
        None if directions is None else directions.tolist(),
    )
    test = {encoder: arrays[f"{prefix}test"]}
    return SharedWork(train={encoder: rows}, test=test, **truth, tables=SharedTables())


def _digest(array: np.ndarray) -> str:
    facts = {"type": str(array.dtype), "shape": list(array.shape)}
    return fingerprint_of({**facts, "cells": sha256(np.ascontiguousarray(array).data)})


@dataclass(frozen=True, eq=False)
class _LibraryTable:
    """A table of LightGBM, and a fit that borrows it."""

    digest: str
    borrowed_as: Hashable
    request: FitRequest


def _tables(
    configurations: Sequence[Configuration], sets: TrainingSets, spec: ExperimentSpec
) -> dict[str, _LibraryTable]:
    """Key → the table that its fit borrows, where there is one to be written down.

    A digest reads a fact of every row: one for each table, however many configurations share it.
    Tables of folds are small, and made where they are needed.
    """
    found, by_key = dict[Hashable, _LibraryTable](), dict[str, _LibraryTable]()
    for one in () if sets.folds else configurations:
        request = FitRequest(one, sets, spec)
        if (table := learner_of(one.algorithm).shared_table(request)) is None:
            continue
        if table not in found:
            digest = table_fingerprint(table, one, sets, spec)
            found[table] = _LibraryTable(digest, table, request)
        by_key[one.key] = found[table]
    return by_key
