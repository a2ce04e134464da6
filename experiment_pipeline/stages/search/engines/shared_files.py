"""What the fits of a rung share, as files: written once by the step, mapped by every worker.

    <root>/<experiment>/shared/<digest>/
        *.npy        targets, weights, rows held out and folds; or the tables of one recipe
        *.bin        a table that a library has made of them, in its own format

The tables of a recipe are named by what decides them, targets by what they are: a rerun, or another
rung of the same rows, finds them. They live as long as a search: one that ends removes all of its
experiment, one that is killed or cancelled leaves them to the next. In: configurations, sets. Out: where the files
are; and from there `SharedWork` and the sets as a fit needs them, the same ones bit by bit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from experiment_pipeline.rows.digests import sha256
from experiment_pipeline.rows.folds import FoldRows
from experiment_pipeline.spec import Features, Fitting, SearchSpec
from experiment_pipeline.stages.search.composing import folds_to_calibrate
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.encoding import encode
from experiment_pipeline.stages.search.fingerprints import code_of, recipe_fingerprint
from experiment_pipeline.stages.search.learners import learner_of
from experiment_pipeline.stages.search.learners.learner import StoresTables
from experiment_pipeline.stages.search.shared_work import (
    EncodedSets,
    SharedTables,
    SharedWork,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets, without_rows
from experiment_pipeline.storage.arrays import files_of, mapped
from experiment_pipeline.storage.entries import Entries
from experiment_pipeline.storage.files import remove, written
from experiment_pipeline.storage.locations import Location, location
from experiment_pipeline.storage.records import fingerprint_of

STAGE = "shared"
_NOTHING = np.zeros(0, dtype=bool)


@dataclass(frozen=True)
class EncodedFacts:
    """What is to know of encoded tables: as of `EncodedSets`."""

    categorical: tuple[int, ...]
    directions: tuple[int, ...] | None


@dataclass(frozen=True)
class SharedRecord:
    """Part of the sets → what is to know of its encoded tables; none of other files."""

    facts: Mapping[str, EncodedFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where shared files are.

    Attributes:
        url: of the storage root.
        experiment: whose they are.
    """

    url: str
    experiment: str

    @property
    def folder(self) -> Location:
        """All of the experiment."""
        return location(self.url) / self.experiment

    @property
    def entries(self) -> Entries[SharedRecord]:
        """The entries there."""
        return Entries(location(self.url), self.experiment, STAGE, SharedRecord)

    def clear(self) -> None:
        """Remove all: a search has ended."""
        remove(self.folder / STAGE)


@dataclass(frozen=True)
class Digests:
    """The shared files of one configuration.

    Attributes:
        truth: of targets, weights and parts of the rows.
        encoded: of its recipe's tables.
        table: of the library's table; None: there is none in the storage.
    """

    truth: str
    encoded: str
    table: str | None = None


def share_files(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: SearchSpec,
    place: Place,
    tell: Callable[[str], object],
) -> dict[str, Digests]:
    """Write what the fits of these configurations share, unless it is there; key → its files.

    `tell` hears of damaged files, which are made again.
    """
    store = _Store(place.entries, tell)
    truth_files = files_of(_truth(sets, folds_to_calibrate(configurations, sets, spec)))
    truth = fingerprint_of({name: sha256(content) for name, content in truth_files.items()})
    if store.lacks(truth):
        store.entries.put(truth, truth_files, SharedRecord())
    shared, works = dict[str, Digests](), dict[str, SharedWork]()
    refused = set[str]()
    for one in configurations:
        digests = Digests(truth, _encoded_digest(one.features, sets, truth))
        if store.lacks(digests.encoded):
            store.entries.put(digests.encoded, *_encoded(one.features, sets))
        table = _table_digest(one, sets, spec, digests)
        if table is not None and store.lacks(table):
            if digests.encoded not in works:
                works[digests.encoded], _ = read_shared(place, digests, one.features, sets)
            if files := _table(one, works[digests.encoded], sets, spec):
                store.entries.put(table, files, SharedRecord())
            else:
                refused.add(table)
        shared[one.key] = replace(digests, table=None if table in refused else table)
    return shared


def bare(sets: TrainingSets) -> TrainingSets:
    """Return what the sets mean, to be sent along with each task: neither rows nor parts of them."""
    sets = without_rows(sets)
    folds = tuple(
        replace(fold, sets=bare(fold.sets), fitted=_NOTHING, places=_NOTHING) for fold in sets.folds
    )
    return replace(sets, inner=_NOTHING, inner_gap=None, groups=None, folds=folds)


def read_shared(
    place: Place, digests: Digests, recipe: Features, sets: TrainingSets
) -> tuple[SharedWork, TrainingSets]:
    """Return what fits of a recipe share, and the sets as these need them; both without rows.

    Args:
        place: where the files are.
        digests: which ones.
        recipe: of the configuration.
        sets: as `bare` returns them, or with their rows.

    Raises:
        EntryCorrupt: a file is gone, or not what was written.
        StorageUnreachable: the storage does not answer.
    """
    entries = place.entries
    with entries.as_files(digests.truth) as (_, files):
        truth = mapped(files)
    with entries.as_files(digests.encoded) as (record, files):
        tables = mapped(files)
    found = _with_parts(sets, truth, "")
    each = {
        prefix: _work(recipe, truth, tables, record.facts[prefix], prefix)
        for prefix, _ in _parts(found)
    }
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
    spec: Fitting,
) -> Any:
    """Return the table of a library; arguments and errors as of `read_shared`."""
    learner = learner_of(configuration.algorithm)
    if not isinstance(learner, StoresTables):
        raise TypeError(configuration.algorithm)
    with place.entries.as_files(digest) as (_, files):
        return learner.read_table(configuration, work, sets, spec, files)


@dataclass(frozen=True)
class _Store:
    entries: Entries[SharedRecord]
    tell: Callable[[str], object]
    _looked_for: set[str] = field(default_factory=set)

    def lacks(self, digest: str) -> bool:
        """Whether an entry is to be made; what an interrupted search has left is looked into."""
        if digest in self._looked_for:
            return False
        self._looked_for.add(digest)
        return self.entries.intact(digest, self.tell) is None


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
            f"{prefix}inner": part.inner,
            f"{prefix}inner_gap": part.inner_gap,
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
    gap = truth.get(f"{prefix}inner_gap")
    return replace(sets, inner=truth[f"{prefix}inner"], inner_gap=gap, folds=folds)


def _to_calibrate(truth: Mapping[str, Any]) -> Iterator[FoldRows]:
    number = 0
    while (fitted := truth.get(f"calibrate{number}-fitted")) is not None:
        yield FoldRows(0, fitted, truth[f"calibrate{number}-predicted"])
        number += 1


def _encoded_digest(recipe: Features, sets: TrainingSets, truth: str) -> str:
    return fingerprint_of(
        {
            "recipe": recipe_fingerprint(recipe, sets),
            "test": sets.digests["test"],
            "directions": dict(sets.directions),
            "truth": truth,
        }
    )


def _encoded(recipe: Features, sets: TrainingSets) -> tuple[dict[str, bytes], SharedRecord]:
    files, facts = dict[str, bytes](), dict[str, EncodedFacts]()
    for prefix, part in _parts(sets):
        made = encode(recipe, part)
        wanted = None if made.directions is None else tuple(made.directions)
        facts[prefix] = EncodedFacts(tuple(made.categorical), wanted)
        files |= files_of({f"{prefix}train": made.train, f"{prefix}test": made.test})
    return files, SharedRecord(facts)


def _work(
    recipe: Features,
    truth: Mapping[str, Any],
    tables: Mapping[str, Any],
    facts: EncodedFacts,
    prefix: str,
) -> SharedWork:
    wanted = None if facts.directions is None else list(facts.directions)
    train, test = tables[f"{prefix}train"], tables[f"{prefix}test"]
    return SharedWork(
        encoded={recipe: EncodedSets(train, test, list(facts.categorical), wanted)},
        y_train=truth[f"{prefix}y_train"],
        y_test=truth[f"{prefix}y_test"],
        w_train=truth.get(f"{prefix}w_train"),
        w_test=truth.get(f"{prefix}w_test"),
        tables=SharedTables(),
    )


def _table_digest(
    one: Configuration, sets: TrainingSets, spec: SearchSpec, digests: Digests
) -> str | None:
    """What decides the library's table; None: there is none to be written down.

    Those of folds are small, and made where they are needed.
    """
    learner = learner_of(one.algorithm)
    table = learner.shared_table(one, sets, spec)
    if table is None or sets.folds or not isinstance(learner, StoresTables):
        return None
    made_by = {"table": table, "seed": spec.seed, "code": code_of(one.algorithm)}
    return fingerprint_of({**made_by, "encoded": digests.encoded})


def _table(
    one: Configuration, work: SharedWork, sets: TrainingSets, spec: SearchSpec
) -> dict[str, bytes]:
    """The files of a library's table; none where it refuses to make one, as the fit will say."""
    learner = learner_of(one.algorithm)
    if isinstance(learner, StoresTables):
        with suppress(Exception):
            table = learner.make_table(one, work, sets, spec)
            return written(partial(learner.write_table, table))
    return {}
