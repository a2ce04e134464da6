"""How much memory training takes, from sizes alone, of what it adds to what a process holds already.

In: configurations, sets. Out: a `MemoryNeed`; what becomes of it: `stages/foreseen.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from experiment_pipeline.spec import Features
from experiment_pipeline.spec.algorithms import FEW_TEXTS, competes
from experiment_pipeline.stages.memory_estimate import LIBRARIES, MemoryNeed, cell_bytes
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.features import (
    MAX_DENSE_BYTES,
    MAX_ONEHOT_CATEGORIES,
    column_kinds,
)
from experiment_pipeline.stages.search.fitting import held_encoders
from experiment_pipeline.stages.search.learners.boosters import BOOSTERS
from experiment_pipeline.stages.search.many_texts import NUMBERS
from experiment_pipeline.stages.search.slices import HELD_ROWS
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage.mapped import HELD_BYTES

_FLOAT = 8
# Rows whose texts tell how many there are, roughly.
_LOOKED_AT = 20_000
# Bytes per cell of a library's own table of the train rows, and of what a fit copies of the encoded
# ones; an imported estimator may copy all of them.
_OWN_TABLE = {"lightgbm": 1, "xgboost": 6, "catboost": 20}
_COPIED = {"linear": 0, "random_forest": 4}
# As measured of texts of 30 to 500 letters; and of each different one that a stored encoder knows, what
# skops says of it, and so often its letters.
_AS_OBJECTS, _STORED_TEXT, _STORED_LETTERS = 4, 1_300, 2
_LIGHTER = "take algorithms that need most out of `search`"


def training_need(configurations: Sequence[Configuration], sets: TrainingSets) -> MemoryNeed:
    """Estimate what training these configurations adds.

    With n train and m test rows, d encoded columns of a encoder and k trees of a boosting round:

    * encoded rows, per encoder: 8·m·d and, where they are encoded at once or somebody reads them
      whole, 8·n·d; what is encoded in slices up to HELD_BYTES each: more lies on maps;
    * encoding the widest: 8·n·d more where it is at once (a copy of scikit-learn's), else
      24·HELD_ROWS·d, for the rows that bins are made of;
    * the table that a library makes of a encoder's rows, train and test: (n + m)·(c·d + 12), with
      c = 1 for LightGBM, 6 for XGBoost, 20 for CatBoost;
    * a fit of a booster: n·(d + 56·k), which is its bins by rows, and of each row scores, gradients,
      its place in the tree (44 bytes, as measured with LightGBM 4.7) and a prediction; then 16·m·k;
    * a fit of anything else that competes: c·n·d, with c = 0 for linear models, 4 for forests, which
      take floats of half the size, 8 for imported estimators; and 16·n.

    * of the widest column of texts, _AS_OBJECTS times what it takes: their encoder reads objects.

    Each fold of a cross-validation is encoded, and made tables of, beside the whole.

    Args:
        configurations: those to be fitted.
        sets: their train and test rows.
    """
    work = _Work.of(configurations, sets)
    return work.need("the training step", f"{_LIGHTER}, or train on other machines (`engine`)")


def sharing_need(configurations: Sequence[Configuration], sets: TrainingSets) -> MemoryNeed:
    """Estimate what the step adds that writes the files for other machines, and fits nothing."""
    work = _Work.of(configurations, sets)
    shared = LIBRARIES + work.encoding() + max(map(work.table, configurations), default=0)
    need = work.need("the training step", _LIGHTER)
    return replace(need, shared=shared, fits=(), parts={})


def task_need(configurations: Sequence[Configuration], sets: TrainingSets) -> MemoryNeed:
    """Estimate what fits add on a worker, which reads what is encoded: files, mapped on a disk."""
    work = _Work.of(configurations, sets)
    change = f"start it with more memory (dask worker --memory-limit), {_LIGHTER}"
    shared = LIBRARIES + work.tables()
    files = sum(size for _, _, size in work.encoded())
    return replace(work.need("a worker", change), shared=shared, files=files)


def refit_need(configurations: Sequence[Configuration], sets: TrainingSets) -> MemoryNeed:
    """Estimate what fitting the choice again adds, on train and test rows together.

    Args:
        configurations: that one, or of an ensemble its members.
        sets: those of the search.
    """
    rows = len(sets.train) + (0 if sets.folds else len(sets.test))
    work = replace(_Work.of(configurations, sets), parts=((rows, 0),))
    need = work.need("the stage validation_report", f"{_LIGHTER}: they are not chosen then")
    return replace(need, shared=need.shared + _stored_texts(sets))


@dataclass(frozen=True)
class _Work:
    """What is fitted on how much.

    Attributes:
        configurations: what is fitted.
        parts: train and test rows, of the sets and then of each fold.
        trees: of a round of boosting.
        columns: of each encoder, encoded.
        text: bytes of a cell of the widest column of texts.
    """

    configurations: Sequence[Configuration]
    parts: Sequence[tuple[int, int]]
    trees: int
    columns: Mapping[Features, int]
    text: float

    @classmethod
    def of(cls, configurations: Sequence[Configuration], sets: TrainingSets) -> Self:
        trees = len(sets.classes or ()) if sets.task == "multiclass" else 1
        columns = {one.features: _columns(one.features, sets) for one in configurations}
        every = [sets, *(fold.sets for fold in sets.folds)]
        parts = tuple((len(one.train), len(one.test)) for one in every)
        text = max(map(cell_bytes, _first_texts(sets)), default=0.0)
        return cls(configurations, parts, trees, columns, text)

    def need(self, stage: str, change: str) -> MemoryNeed:
        """What encoding, tables and fits add, and which algorithms take most of it."""
        # Those that fit, and those that score.
        shared = 2 * LIBRARIES + self.encoding() + self.tables()
        by_algorithm = dict[str, int]()
        for one in self.configurations:
            size = self.table(one) + self.fit(one)
            by_algorithm[one.algorithm] = max(size, by_algorithm.get(one.algorithm, 0))
        files = sum(max(0, size - HELD_BYTES) for _, whole, size in self.encoded() if not whole)
        found = MemoryNeed(stage, change, shared, self.fits(), files)
        return replace(found, rows=self.parts[0][0], parts=by_algorithm)

    def encoded(self) -> Iterator[tuple[Features, bool, int]]:
        """The encoded tables: encoder, whether it is encoded at once, bytes."""
        held = held_encoders(self.configurations)
        for encoder, d in self.columns.items():
            for train, test in self.parts:
                at_once = _at_once(encoder, train)
                if at_once or encoder in held:
                    yield encoder, at_once, _FLOAT * d * train
                yield encoder, _at_once(encoder, test), _FLOAT * d * test

    def encoding(self) -> int:
        """Bytes of what is encoded here, and of encoding it."""
        held = sum(size if whole else min(size, HELD_BYTES) for _, whole, size in self.encoded())
        rows = self.parts[0][0]
        copied = {one: rows if _at_once(one, rows) else 3 * HELD_ROWS for one in self.columns}
        copy = max((_FLOAT * d * copied[one] for one, d in self.columns.items()), default=0)
        return held + copy + self.objects()

    def objects(self) -> int:
        """Bytes of a column of texts that is read as objects."""
        return round(_AS_OBJECTS * self.text * self.parts[0][0])

    def table(self, one: Configuration) -> int:
        """Bytes of the tables that a library makes for a configuration."""
        if one.algorithm not in _OWN_TABLE:
            return 0
        row = _OWN_TABLE[one.algorithm] * self.columns[one.features] + 12
        return sum(map(sum, self.parts)) * row

    def tables(self) -> int:
        """Bytes of all of them, each made once."""
        once = {(one.algorithm, one.features): one for one in self.configurations}
        return sum(map(self.table, once.values()))

    def fit(self, one: Configuration) -> int:
        """Bytes that a fit of a configuration adds; 0: of what competes with nobody."""
        d, (train, test) = self.columns[one.features], self.parts[0]
        if one.algorithm in BOOSTERS:
            return train * (d + 56 * self.trees) + 16 * test * self.trees
        if competes(one.algorithm):
            return train * (_COPIED.get(one.algorithm, _FLOAT) * d + 16)
        return 0

    def fits(self) -> tuple[int, ...]:
        """Bytes that each fit adds, the largest first."""
        return tuple(sorted(filter(None, map(self.fit, self.configurations)), reverse=True))


def _first_texts(sets: TrainingSets) -> list[pd.Series]:
    """The first cells of each column of texts."""
    read = sets.train.iloc[:_LOOKED_AT]
    return [read[name] for name in column_kinds(read, sets.features).texts]


def _stored_texts(sets: TrainingSets) -> int:
    """Bytes of storing all different texts, which encoders know."""
    rows = len(sets.train) + len(sets.test)
    return round(
        sum(
            different(text, rows) * (_STORED_TEXT + _STORED_LETTERS * cell_bytes(text))
            for text in _first_texts(sets)
        )
    )


def different(first: pd.Series, rows: int) -> int:
    """Return about how many different values a column of so many rows has, by its first rows.

    As if each of k values were as frequent as any: m rows then show k·(1 - exp(-m / k)) of them.
    """
    found = first.nunique()
    counts = np.geomspace(max(found, 1), max(rows, found, 1), 100)
    shown = -counts * np.expm1(-len(first) / counts)
    return round(float(np.interp(found, shown, counts)))


def _at_once(encoder: Features, rows: int) -> bool:
    """Whether rows are encoded all at once, as of `encoding.py`."""
    return encoder == "onehot" or rows <= HELD_ROWS


def _columns(encoder: Features, sets: TrainingSets) -> int:
    """Roughly how many columns a encoder makes, sparse ones by what they hold."""
    kinds = column_kinds(sets.train, sets.features)
    n_numbers, n_texts = len(kinds.numbers), len(kinds.texts)
    if encoder == "ordinal":
        return n_numbers + n_texts
    distinct = [sets.train[name].iloc[:_LOOKED_AT].nunique() for name in kinds.texts]
    if encoder == "onehot":
        of_texts = sum(min(count, MAX_ONEHOT_CATEGORIES) for count in distinct)
        dense = n_numbers + of_texts
        if _FLOAT * len(sets.train) * dense <= MAX_DENSE_BYTES:
            return dense
        return round(1.5 * (n_numbers + n_texts))
    of_one = NUMBERS if encoder == "text" else max(len(sets.classes or ()) - 1, 1)
    return n_numbers + sum(of_one if count > FEW_TEXTS else 1 for count in distinct)
