"""What the fits of a rung share, as files: written once by the step, read by every worker.

    <root>/<experiment>/shared/<digest>/
        *.npy        targets, weights, rows held out and folds; or the tables of one encoder
        *.bin        a table that a library has made of them, in its own format

The tables of a encoder are named by what decides them, targets by what they are: a rerun, or another
rung of the same rows, finds them. Threads of the step share memory; of many rows they, too, keep the
tables of libraries here. When files go: `storage/shared.py`. In: configurations, sets. Out: where the
files are; and from there `SharedWork` and the sets as a fit needs them, the same ones bit by bit.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
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
from experiment_pipeline.stages.search.learners import learner_of
from experiment_pipeline.stages.search.learners.learner import StoresTables
from experiment_pipeline.stages.search.shared_work import EncodedSets, SharedTables, SharedWork
from experiment_pipeline.stages.search.slices import HELD_ROWS
from experiment_pipeline.stages.search.training_sets import TrainingSets, without_rows
from experiment_pipeline.storage.arrays import mapped, write_tables
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.shared import Place, SharedFiles
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.folds import FoldRows

_NOTHING = np.zeros(0, dtype=bool)


@dataclass(frozen=True)
class Digests:
    """The shared files of one configuration.

    Attributes:
        truth: of targets, weights and parts of the rows.
        encoded: of its encoder's tables.
        table: of the library's table; None: there is none in the storage.
    """

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
    truth_of = _truth(sets, folds_to_calibrate(configurations, sets, spec))
    truth = fingerprint_of({name: _digest(array) for name, array in truth_of.items()})
    if files.lacks(truth):
        files.put(truth, partial(write_tables, truth_of))
    encoders = dict.fromkeys(one.features for one in configurations)
    encoded = {encoder: _encoded_digest(encoder, sets, truth) for encoder in encoders}
    for encoder, digest in encoded.items():
        if files.lacks(digest):
            files.put(digest, partial(_write_encoded, encoder, sets))

    @cache
    def work_of(encoder: Features) -> SharedWork:
        return read_shared(files.place, Digests(truth, encoded[encoder]), encoder, sets)[0]

    tables = _tables(configurations, sets, spec)
    refused = set[str]()
    for digest, one in {table.digest: table for table in tables.values()}.items():
        if files.lacks(digest) and not _put_table(one, work_of(one.of.features), sets, spec, files):
            refused.add(digest)
        elif _is_large(sets):
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

    Made once, it is found by a rerun, by another rung of the same rows, by the next search: making
    encodes all rows, reading is a copy of a byte per cell into memory (LightGBM maps no file). What
    cannot be written is used all the same.
    """
    work = share_work(configurations, sets, spec)
    if _is_large(sets):
        for one in _tables(configurations, sets, spec).values():
            read = partial(one.learner.read_table, one.of, work, sets, spec)
            found = partial(_found_or_made, files, one.digest, read, one.learner.write_table)
            work.tables.found[one.borrowed_as] = found
    return work


def _found_or_made(
    files: SharedFiles,
    digest: str,
    read: Callable[[Mapping[str, Path]], Any],
    write: Callable[[Any, Path], None],
    make: Callable[[], Any],
) -> Any:
    table = files.find(digest, read)
    if table is None:
        table = make()
        try:
            files.put(digest, partial(write, table))
        except StorageUnreachable as error:
            files.warn(f"the next run bins these rows again: {error}")
    files.keep(digest)
    return table


def bare(sets: TrainingSets) -> TrainingSets:
    """Return what the sets mean, to be sent along with each task: neither rows nor parts of them."""
    sets = without_rows(sets)
    folds = tuple(
        replace(fold, sets=bare(fold.sets), fitted=_NOTHING, places=_NOTHING) for fold in sets.folds
    )
    return replace(sets, early_stopping=_NOTHING, early_stopping_gap=None, groups=None, folds=folds)


def read_shared(
    place: Place, digests: Digests, encoder: Features, sets: TrainingSets
) -> tuple[SharedWork, TrainingSets]:
    """Return what fits of a encoder share, and the sets as these need them; both without rows.

    Args:
        place: where the files are.
        digests: which ones.
        encoder: of the configuration.
        sets: as `bare` returns them, or with their rows.

    Raises:
        EntryCorrupt: a file is gone, or not what was written.
        StorageUnreachable: the storage does not answer.
    """
    entries = place.entries
    with entries.as_files(digests.truth) as (_, files):
        truth = mapped(files)
    with entries.as_files(digests.encoded) as (_, files):
        tables = mapped(files)
    found = _with_parts(sets, truth, "")
    each = {prefix: _work(encoder, truth, tables, prefix) for prefix, _ in _parts(found)}
    whole = each.pop("")
    work = replace(
        whole, folds=tuple(each.values()), folds_to_calibrate=tuple(_to_calibrate(truth))
    )
    return work, found


def read_table(
    place: Place,
    digest: str,
    configuration: Configuration,
    work: SharedWork,
    sets: TrainingSets,
    spec: ExperimentSpec,
) -> Any:
    """Return the table of a library; arguments and errors as of `read_shared`."""
    learner = learner_of(configuration.algorithm)
    if not isinstance(learner, StoresTables):
        raise TypeError(configuration.algorithm)
    with place.entries.as_files(digest) as (_, files):
        return learner.read_table(configuration, work, sets, spec, files)


def _parts(sets: TrainingSets) -> Iterator[tuple[str, TrainingSets]]:
    """The sets, and those of their folds, each with what the names of its files begin with."""
    yield "", sets
    for number, fold in enumerate(sets.folds):
        yield f"fold{number}-", fold.sets


def _truth(sets: TrainingSets, to_calibrate: Sequence[FoldRows]) -> dict[str, np.ndarray]:
    """All that fits read beside tables: name → array."""
    found = dict[str, np.ndarray | None]()
    for prefix, part in _parts(sets):
        found |= {
            f"{prefix}inner": part.early_stopping,
            f"{prefix}early_stopping_gap": part.early_stopping_gap,
            f"{prefix}y_train": part.y_train,
            f"{prefix}y_test": part.y_test,
            f"{prefix}w_train": part.w_train,
            f"{prefix}w_test": part.w_test,
        }
    for number, fold in enumerate(sets.folds):
        found |= {f"fold{number}-fitted": fold.fitted, f"fold{number}-places": fold.places}
    for number, rows in enumerate(to_calibrate):
        found |= {f"calibrate{number}-fitted": rows.fitted}
        found |= {f"calibrate{number}-predicted": rows.predicted}
    return {name: array for name, array in found.items() if array is not None}


def _with_parts(sets: TrainingSets, truth: Mapping[str, Any], prefix: str) -> TrainingSets:
    """The sets with what `bare` has taken away, but for rows and groups, which no fit reads."""
    folds = tuple(
        replace(
            fold,
            sets=_with_parts(fold.sets, truth, f"fold{number}-"),
            fitted=truth[f"fold{number}-fitted"],
            places=truth[f"fold{number}-places"],
        )
        for number, fold in enumerate(sets.folds)
    )
    gap = truth.get(f"{prefix}early_stopping_gap")
    return replace(
        sets, early_stopping=truth[f"{prefix}inner"], early_stopping_gap=gap, folds=folds
    )


def _to_calibrate(truth: Mapping[str, Any]) -> Iterator[FoldRows]:
    number = 0
    while (fitted := truth.get(f"calibrate{number}-fitted")) is not None:
        yield FoldRows(0, fitted, truth[f"calibrate{number}-predicted"])
        number += 1


def _encoded_digest(encoder: Features, sets: TrainingSets, truth: str) -> str:
    return fingerprint_of(
        {
            "encoder": encoder_fingerprint(encoder, sets),
            "test": sets.digests["test"],
            "directions": dict(sets.directions),
            "truth": truth,
        }
    )


def _write_encoded(encoder: Features, sets: TrainingSets, folder: Path) -> None:
    """Write what fits read of encoded rows; a large table slice by slice, as it is encoded."""
    for prefix, part in _parts(sets):
        made = encode(encoder, part, held=False)
        facts = {"categorical": made.categorical, "directions": made.directions}
        tables = {"train": made.train, "test": made.test} | {
            name: np.array(fact, dtype=np.int64) for name, fact in facts.items() if fact is not None
        }
        write_tables({f"{prefix}{name}": table for name, table in tables.items()}, folder)


def _work(
    encoder: Features, truth: Mapping[str, Any], tables: Mapping[str, Any], prefix: str
) -> SharedWork:
    directions = tables.get(f"{prefix}directions")
    encoded = EncodedSets(
        tables[f"{prefix}train"],
        tables[f"{prefix}test"],
        tables[f"{prefix}categorical"].tolist(),
        None if directions is None else directions.tolist(),
    )
    return SharedWork(
        encoded={encoder: encoded},
        y_train=truth[f"{prefix}y_train"],
        y_test=truth[f"{prefix}y_test"],
        w_train=truth.get(f"{prefix}w_train"),
        w_test=truth.get(f"{prefix}w_test"),
        tables=SharedTables(),
    )


def _is_large(sets: TrainingSets) -> bool:
    return len(sets.train) > HELD_ROWS


def _digest(array: np.ndarray) -> str:
    facts = {"type": str(array.dtype), "shape": list(array.shape)}
    return fingerprint_of({**facts, "cells": sha256(np.ascontiguousarray(array).data)})


@dataclass(frozen=True, eq=False)
class _Table:
    """A table of a library that can be written down, and a configuration that borrows it."""

    digest: str
    borrowed_as: Hashable
    of: Configuration
    learner: StoresTables


def _tables(
    configurations: Sequence[Configuration], sets: TrainingSets, spec: ExperimentSpec
) -> dict[str, _Table]:
    """Key → the table that its fit borrows, where there is one to be written down.

    A digest reads a fact of every row: one for each table, however many configurations share it.
    Tables of folds are small, and made where they are needed.
    """
    found, by_key = dict[Hashable, _Table](), dict[str, _Table]()
    for one in () if sets.folds else configurations:
        learner = learner_of(one.algorithm)
        table = learner.shared_table(one, sets, spec)
        if table is None or not isinstance(learner, StoresTables):
            continue
        if table not in found:
            digest = table_fingerprint(table, one, sets, spec)
            found[table] = _Table(digest, table, one, learner)
        by_key[one.key] = found[table]
    return by_key


def _put_table(
    one: _Table, work: SharedWork, sets: TrainingSets, spec: ExperimentSpec, files: SharedFiles
) -> bool:
    """Make a library's table; False where it refuses to, as the fit will say."""
    table = None
    with suppress(Exception):
        table = one.learner.make_table(one.of, work, sets, spec)
    if table is not None:
        files.put(one.digest, partial(one.learner.write_table, table))
    return table is not None
