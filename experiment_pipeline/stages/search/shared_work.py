"""What the configurations of a sweep share, done once: encoded tables, targets, bins.

No fitting of models lives here. In: the configurations and the sets. Out: arrays that any
number of threads may read.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from experiment_pipeline import errors
from experiment_pipeline.spec import ExperimentSpec, Features
from experiment_pipeline.stages.search.boosting import (
    BinnedTable,
    BoostingPlan,
    bin_table,
    boosting_plan,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.features import build_features, categorical_positions
from experiment_pipeline.stages.search.training_sets import TrainingSets


@dataclass(frozen=True, eq=False)
class EncodedSets:
    """The sets as one recipe encodes them, its features fitted on train alone.

    Attributes:
        train: (n_train, d) float64, dense or sparse.
        test: (n_test, d).
        categorical: columns that are codes of categories.
    """

    train: Any
    test: Any
    categorical: list[int]


@dataclass(frozen=True, eq=False)
class SharedWork:
    """What every fit of a sweep reads.

    Attributes:
        encoded: recipe → the sets in that encoding.
        y_train: (n_train,) class codes or floats.
        labels: (n_train,) the target as an estimator is to see it: classes themselves.
        y_test: (n_test,) encoded.
        binned: the binned tables, made when first asked for.
    """

    encoded: Mapping[Features, EncodedSets]
    y_train: np.ndarray
    labels: np.ndarray
    y_test: np.ndarray
    binned: "BinnedTables"

    def __post_init__(self) -> None:
        """Lock all arrays.

        An estimator that writes into its input fails alone, instead of changing the table under
        every other fit.
        """
        tables = [table for one in self.encoded.values() for table in (one.train, one.test)]
        for table in (*tables, self.y_train, self.labels, self.y_test):
            _lock(table)

    def __getstate__(self) -> dict[str, Any]:
        """Pack it for another process, without the bins: locks and tables stay in this one."""
        return {name: value for name, value in self.__dict__.items() if name != "binned"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpack it in another process, where large arrays arrive as maps of a file.

        They are shown as plain arrays on the same memory, which an estimator may keep and store
        like those of a thread, and locked again: pickle forgets that they were.
        """
        encoded = {
            recipe: EncodedSets(_plain(one.train), _plain(one.test), one.categorical)
            for recipe, one in state["encoded"].items()
        }
        arrays = {name: _plain(state[name]) for name in ("y_train", "labels", "y_test")}
        no_bins = BinnedTables({}, arrays["y_train"], np.zeros(0, dtype=bool), ())
        self.__dict__.update(state | arrays | {"encoded": encoded, "binned": no_bins})
        self.__post_init__()


def share_work(
    configurations: Iterable[Configuration], sets: TrainingSets, spec: ExperimentSpec
) -> SharedWork:
    """Encode the sets once per recipe, and prepare what else the fits share."""
    configurations = list(configurations)
    recipes = dict.fromkeys(configuration.features for configuration in configurations)
    encoded = {recipe: _encode(recipe, sets) for recipe in recipes}
    y_train = sets.y_train
    return SharedWork(
        encoded=encoded,
        y_train=y_train,
        labels=labels_of(y_train, sets.classes),
        y_test=sets.y_test,
        binned=BinnedTables(
            encoded, y_train, sets.inner, _plans(configurations, sets, spec), sets.grown
        ),
    )


def labels_of(y: np.ndarray, classes: tuple | None) -> np.ndarray:
    """Return an encoded target as an estimator is to see it, so that it predicts classes."""
    return y if classes is None else np.asarray(classes)[y]


class BinnedTables:
    """Binned tables by what decides their bins.

    Each is made by the first fit that needs it, while others that need it wait, and dropped
    after the last: a search over `max_bin` must not keep a table for every value.
    """

    def __init__(
        self,
        encoded: Mapping[Features, EncodedSets],
        y: np.ndarray,
        inner: np.ndarray,
        planned: Iterable[tuple[Configuration, BoostingPlan]],
        grown: np.ndarray | None = None,
    ) -> None:
        self._encoded, self._y, self._inner, self._grown = encoded, y, inner, grown
        self._left = Counter(_group(configuration, plan) for configuration, plan in planned)
        self._locks = {group: threading.Lock() for group in self._left}
        # Binning copies the rows it reads: one table is made at a time.
        self._making = threading.Lock()
        self._tables: dict[tuple, BinnedTable] = {}

    @contextmanager
    def borrow(self, configuration: Configuration, plan: BoostingPlan) -> Iterator[BinnedTable]:
        """Give the binned table of a configuration to one fit; another attempt may borrow again."""
        group = _group(configuration, plan)
        with self._locks[group]:
            if group not in self._tables:
                with self._making:
                    self._tables[group] = self._made(configuration, plan)
        try:
            yield self._tables[group]
        finally:
            with self._locks[group]:
                self._left[group] -= 1
                if self._left[group] <= 0:
                    del self._tables[group]

    def _made(self, configuration: Configuration, plan: BoostingPlan) -> BinnedTable:
        encoded = self._encoded[configuration.features]
        inner = self._inner if plan.patience else None
        return bin_table(encoded.train, self._y, inner, encoded.categorical, plan, self._grown)


def _group(configuration: Configuration, plan: BoostingPlan) -> tuple:
    return configuration.features, bool(plan.patience), plan.binning


def _plans(
    configurations: Iterable[Configuration], sets: TrainingSets, spec: ExperimentSpec
) -> Iterator[tuple[Configuration, BoostingPlan]]:
    for configuration in configurations:
        if configuration.algorithm == "lightgbm":
            # An impossible configuration fails when its turn comes, and borrows nothing.
            with suppress(errors.InvalidExperiment):
                yield configuration, boosting_plan(configuration, sets, spec)


def _encode(recipe: Features, sets: TrainingSets) -> EncodedSets:
    columns = list(sets.features)
    features = build_features(recipe, sets.train, columns)
    train = features.fit_transform(sets.train[columns])
    test = features.transform(sets.test[columns])
    categorical = categorical_positions(recipe, sets.train, columns)
    return EncodedSets(train, test, categorical)


def _plain(table: Any) -> Any:
    """Show mapped memory as a plain array, dense or sparse; nothing is copied."""
    if issparse(table):
        parts = (_plain(table.data), _plain(table.indices), _plain(table.indptr))
        return type(table)(parts, shape=table.shape, copy=False)
    return np.asarray(table.data) if isinstance(table, np.memmap) else table


def _lock(table: Any) -> None:
    """Make an array read-only, dense or sparse."""
    parts = [table.data, table.indices, table.indptr] if issparse(table) else [table]
    for part in parts:
        part.flags.writeable = False
