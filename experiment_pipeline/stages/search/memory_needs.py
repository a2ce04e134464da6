"""How much memory training takes, from sizes alone, of what it adds to what a process holds already.

In: configurations, sets. Out: a `MemoryNeed`; what becomes of it: `stages/foreseen.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from experiment_pipeline.spec import Features
from experiment_pipeline.spec.algorithms import FEW_TEXTS, competes
from experiment_pipeline.stages.foreseen import LIBRARIES, MemoryNeed
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.features import (
    MAX_DENSE_BYTES,
    MAX_ONEHOT_CATEGORIES,
    column_kinds,
)
from experiment_pipeline.stages.search.fitting import held_recipes
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


_LIGHTER = "take algorithms that need most out of `search`"


def training_need(configurations: Sequence[Configuration], sets: TrainingSets) -> MemoryNeed:
    """Estimate what training these configurations adds.

    With n train and m test rows, d encoded columns of a recipe and k trees of a boosting round:

    * encoded rows, per recipe: 16·n·d where they are encoded at once (with a copy of
      scikit-learn's), else 24·HELD_ROWS·d, for the rows that bins are made of; 8·m·d and, where
      somebody reads them whole, 8·n·d, up to HELD_BYTES each: more lies on maps;
    * the table that a library makes of a recipe's rows, train and test: (n + m)·(c·d + 12), with
      c = 1 for LightGBM, 6 for XGBoost, 20 for CatBoost;
    * a fit of a booster: n·(d + 56·k), which is its bins by rows, and of each row scores, gradients,
      its place in the tree (44 bytes, as measured with LightGBM 4.7) and a prediction; then 16·m·k;
    * a fit of anything else that competes: c·n·d, with c = 0 for linear models, 4 for forests, which
      take floats of half the size, 8 for imported estimators; and 16·n.

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
    return replace(work.need("a worker", change), shared=shared, files=work.encoded())


def refit_need(configurations: Sequence[Configuration], sets: TrainingSets) -> MemoryNeed:
    """Estimate what fitting the choice again adds, on train and test rows together.

    Args:
        configurations: that one, or of an ensemble its members.
        sets: those of the search.
    """
    rows = len(sets.train) + (0 if sets.folds else len(sets.test))
    work = replace(_Work.of(configurations, sets), train=rows, test=0)
    return work.need("the stage validation_report", f"{_LIGHTER}: they are not chosen then")


@dataclass(frozen=True)
class _Work:
    """What is fitted on how much: rows, trees of a round, encoded columns of each recipe."""

    configurations: Sequence[Configuration]
    train: int
    test: int
    trees: int
    columns: Mapping[Features, int]

    @classmethod
    def of(cls, configurations: Sequence[Configuration], sets: TrainingSets) -> Self:
        trees = len(sets.classes or ()) if sets.task == "multiclass" else 1
        columns = {one.features: _columns(one.features, sets) for one in configurations}
        return cls(configurations, len(sets.train), len(sets.test), trees, columns)

    def need(self, stage: str, change: str) -> MemoryNeed:
        """What encoding, tables and fits add, and which algorithms take most of it."""
        shared, by_algorithm = LIBRARIES + self.encoding() + self.tables(), dict[str, int]()
        for one in self.configurations:
            size = self.table(one) + self.fit(one)
            by_algorithm[one.algorithm] = max(size, by_algorithm.get(one.algorithm, 0))
        found = MemoryNeed(stage, change, shared, self.fits())
        return replace(found, rows=self.train, parts=by_algorithm)

    def encoding(self) -> int:
        """Bytes of what is encoded here, and of encoding it."""
        held, size = held_recipes(self.configurations), 0
        for recipe, d in self.columns.items():
            at_once = recipe == "onehot" or self.train <= HELD_ROWS
            size += _FLOAT * d * (2 * self.train if at_once else 3 * HELD_ROWS)
            size += min(_FLOAT * d * self.train, HELD_BYTES) if recipe in held else 0
            size += min(_FLOAT * d * self.test, HELD_BYTES)
        return size

    def encoded(self) -> int:
        """Bytes of encoded rows that are read."""
        held = held_recipes(self.configurations)
        return sum(
            _FLOAT * d * (self.test + (self.train if recipe in held else 0))
            for recipe, d in self.columns.items()
        )

    def table(self, one: Configuration) -> int:
        """Bytes of the table that a library makes for a configuration."""
        if one.algorithm not in _OWN_TABLE:
            return 0
        row = _OWN_TABLE[one.algorithm] * self.columns[one.features] + 12
        return (self.train + self.test) * row

    def tables(self) -> int:
        """Bytes of all of them, each made once."""
        once = {(one.algorithm, one.features): one for one in self.configurations}
        return sum(map(self.table, once.values()))

    def fit(self, one: Configuration) -> int:
        """Bytes that a fit of a configuration adds; 0: of what competes with nobody."""
        d = self.columns[one.features]
        if one.algorithm in BOOSTERS:
            return self.train * (d + 56 * self.trees) + 16 * self.test * self.trees
        if competes(one.algorithm):
            return self.train * (_COPIED.get(one.algorithm, _FLOAT) * d + 16)
        return 0

    def fits(self) -> tuple[int, ...]:
        """Bytes that each fit adds, the largest first."""
        return tuple(sorted(filter(None, map(self.fit, self.configurations)), reverse=True))


def _columns(recipe: Features, sets: TrainingSets) -> int:
    """Roughly how many columns a recipe makes, sparse ones by what they hold."""
    kinds = column_kinds(sets.train, sets.features)
    n_numbers, n_texts = len(kinds.numbers), len(kinds.texts)
    if recipe == "ordinal":
        return n_numbers + n_texts
    distinct = [sets.train[name].iloc[:_LOOKED_AT].nunique() for name in kinds.texts]
    if recipe == "onehot":
        of_texts = sum(min(count, MAX_ONEHOT_CATEGORIES) for count in distinct)
        dense = n_numbers + of_texts
        if _FLOAT * len(sets.train) * dense <= MAX_DENSE_BYTES:
            return dense
        return round(1.5 * (n_numbers + n_texts))
    of_one = NUMBERS if recipe == "text" else max(len(sets.classes or ()) - 1, 1)
    return n_numbers + sum(of_one if count > FEW_TEXTS else 1 for count in distinct)
