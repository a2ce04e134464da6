"""Features: how the columns of a prepared table become the numbers a model reads.

scikit-learn transformers and functions of numpy and pandas only, because the features travel
in the exported pipeline, which loads without this package. In: a table and a recipe.
Out: an unfitted ColumnTransformer that finds its columns by name, in any order, and ignores
the others. What the configurations of a sweep share is done once: encoded tables, targets, bins,
arrays that any number of threads may read.

Numbers and booleans become float64, at most as large as a forest can hold: a missing value is
nan whatever the type said. Every other column is read as text, one value at
a time: categories, mixed objects and nullable strings alike, and None, nan and NA are missing.

ordinal: numbers keep nan, which LightGBM and forests split on, where the rows that the features
were made for lack some; where they lack none, the median stands in for a later one, which LightGBM
would read as 0 and other estimators refuse. A category is its code, a missing or unseen one is -1,
which LightGBM takes for missing.
onehot: an infinite number is a missing one; numbers get the median, an indicator of what was
missing, and unit variance; a category is a column, missing is one more, an unseen one counts as an
infrequent one.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from experiment_pipeline import errors
from experiment_pipeline.columns.kinds import NUMERIC, kind_of
from experiment_pipeline.spec import Features, Scoring
from experiment_pipeline.stages.search.boosting import (
    BinnedTable,
    BoostingPlan,
    bin_table,
    boosting_plan,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.weights import Weights

# LightGBM's default number of bins: more codes would share bins anyway.
MAX_ORDINAL_CATEGORIES = 255
MAX_ONEHOT_CATEGORIES = 50
# Above this a one-hot matrix is sparse, which some estimators refuse; below, dense.
MAX_DENSE_BYTES = 2**30
_FLOAT_BYTES = 8
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class ColumnKinds:
    """The features by how they are encoded; the encoded columns come in this order."""

    numbers: tuple[str, ...]
    texts: tuple[str, ...]


def column_kinds(table: pd.DataFrame, features: Sequence[str]) -> ColumnKinds:
    """Sort the features of a table by the type of their column; a boolean is a number."""
    numbers = [name for name in features if kind_of(table[name]) in NUMERIC]
    texts = [name for name in features if name not in numbers]
    return ColumnKinds(tuple(numbers), tuple(texts))


def build_features(
    recipe: Features, table: pd.DataFrame, features: Sequence[str]
) -> ColumnTransformer:
    """Return the unfitted features of a recipe for a table of such columns.

    Args:
        recipe: ordinal or onehot.
        table: (n, columns) the rows they will be fitted on; read for types, size and, where a
            number is never missing, its median.
        features: the columns to use.
    """
    kinds = column_kinds(table, features)
    sparse = recipe == "onehot" and _onehot_bytes(table, kinds) > MAX_DENSE_BYTES
    bounded = recipe == "ordinal"
    numbers = _bounded(_stand_ins(table, kinds.numbers)) if bounded else _standardised()
    encoder = _ordinal() if bounded else _onehot(sparse)
    parts: list[tuple[str, Any, Any]] = [
        # A column that is named alone arrives as a Series, which pandas can read as text.
        (f"text_{number}", _text(encoder), name)
        for number, name in enumerate(kinds.texts)
    ]
    if kinds.numbers:
        parts.insert(0, ("numbers", numbers, list(kinds.numbers)))
    return ColumnTransformer(parts, sparse_threshold=1.0 if sparse else 0.0)


def seen_categories(fitted: ColumnTransformer) -> dict[str, np.ndarray]:
    """Return column → the texts that fitted features know, rare ones included; nan: a missing one."""
    return {
        column: pipeline[-1].categories_[0]
        for _, pipeline, column in fitted.transformers_
        if isinstance(column, str)
    }


def categorical_positions(
    recipe: Features, table: pd.DataFrame, features: Sequence[str]
) -> list[int]:
    """Return which columns of the encoded table are codes of categories."""
    if recipe != "ordinal":
        return []
    return list(range(len(column_kinds(table, features).numbers), len(features)))


def encoded_columns(features: ColumnTransformer) -> dict[str, np.ndarray]:
    """Return feature → positions of the columns that encode it, of fitted features."""
    places = np.arange(max(part.stop for part in features.output_indices_.values()))
    found: dict[str, np.ndarray] = {}
    for part, transformer, names in features.transformers_:
        if part == "remainder":
            continue
        columns = places[features.output_indices_[part]]
        if isinstance(names, str):
            found[names] = columns
            continue
        # Indicators of what was missing follow the numbers.
        sources = [*range(len(names)), *_indicated(transformer)]
        for number, name in enumerate(names):
            found[name] = columns[np.equal(sources, number)]
    return found


def _indicated(numbers: Pipeline) -> Sequence[int]:
    imputer = numbers.named_steps.get("simpleimputer")
    return () if imputer is None else [int(number) for number in imputer.indicator_.features_]


def _function(function: Any, **arguments: Any) -> FunctionTransformer:
    return FunctionTransformer(function, kw_args=arguments, feature_names_out="one-to-one")


def _text(encoder: Any) -> Pipeline:
    return make_pipeline(
        _function(pd.Series, dtype="str"), _function(np.expand_dims, axis=1), encoder
    )


def _stand_ins(table: pd.DataFrame, numbers: Sequence[str]) -> np.ndarray:
    """Per number its median; nan where some are missing, and stay so."""
    return np.array(
        [np.nan if table[name].hasnans else float(table[name].median()) for name in numbers]
    )


def _bounded(stand_ins: np.ndarray) -> Pipeline:
    return make_pipeline(
        _float64(), _function(np.nan_to_num, nan=stand_ins, posinf=np.inf, neginf=-np.inf), _clip()
    )


def _standardised() -> Pipeline:
    return make_pipeline(
        _float64(),
        # One infinite cell would flatten its whole column.
        _function(np.nan_to_num, nan=np.nan, posinf=np.nan, neginf=np.nan),
        _clip(),
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )


def _float64() -> FunctionTransformer:
    return _function(pd.DataFrame, dtype="float64")


def _clip() -> FunctionTransformer:
    return _function(np.clip, a_min=-_LARGEST, a_max=_LARGEST)


def _ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=-1,
        encoded_missing_value=-1,
        max_categories=MAX_ORDINAL_CATEGORIES,
    )


def _onehot(sparse: bool) -> OneHotEncoder:
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=MAX_ONEHOT_CATEGORIES,
        sparse_output=sparse,
    )


def _onehot_bytes(table: pd.DataFrame, kinds: ColumnKinds) -> int:
    """Bound the size of the dense encoding of a table, in bytes."""
    # Each number may get an indicator, each text a column for missing.
    categories = (min(table[name].nunique() + 1, MAX_ONEHOT_CATEGORIES) for name in kinds.texts)
    return len(table) * (2 * len(kinds.numbers) + sum(categories)) * _FLOAT_BYTES


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
        w_train: (n_train,) how much each row counts; None = all alike.
        w_test: (n_test,).
        binned: the binned tables, made when first asked for.
    """

    encoded: Mapping[Features, EncodedSets]
    y_train: np.ndarray
    labels: np.ndarray
    y_test: np.ndarray
    w_train: Weights
    w_test: Weights
    binned: "BinnedTables"

    def __post_init__(self) -> None:
        """Lock all arrays.

        An estimator that writes into its input fails alone, instead of changing the table under
        every other fit.
        """
        tables = [table for one in self.encoded.values() for table in (one.train, one.test)]
        weights = [one for one in (self.w_train, self.w_test) if one is not None]
        for table in (*tables, self.y_train, self.labels, self.y_test, *weights):
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
        names = ("y_train", "labels", "y_test", "w_train", "w_test")
        arrays = {name: _plain(state[name]) for name in names}
        no_bins = BinnedTables({}, arrays["y_train"], np.zeros(0, dtype=bool), ())
        self.__dict__.update(state | arrays | {"encoded": encoded, "binned": no_bins})
        self.__post_init__()


def share_work(
    configurations: Iterable[Configuration], sets: TrainingSets, spec: Scoring
) -> SharedWork:
    """Encode the sets once per recipe, and prepare what else the fits share."""
    configurations = list(configurations)
    recipes = dict.fromkeys(configuration.features for configuration in configurations)
    encoded = {recipe: _encode(recipe, sets) for recipe in recipes}
    y_train, w_train = sets.y_train, sets.w_train
    return SharedWork(
        encoded=encoded,
        y_train=y_train,
        labels=labels_of(y_train, sets.classes),
        y_test=sets.y_test,
        w_train=w_train,
        w_test=sets.w_test,
        binned=BinnedTables(
            encoded, y_train, sets.inner, _plans(configurations, sets, spec), sets.grown, w_train
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
        weights: Weights = None,
    ) -> None:
        self._encoded, self._y, self._inner, self._grown = encoded, y, inner, grown
        self._weights = weights
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
        rows = encoded.train, self._y, inner, encoded.categorical
        return bin_table(*rows, plan, self._grown, self._weights)


def _group(configuration: Configuration, plan: BoostingPlan) -> tuple:
    return configuration.features, bool(plan.patience), plan.binning


def _plans(
    configurations: Iterable[Configuration], sets: TrainingSets, spec: Scoring
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
