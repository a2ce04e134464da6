"""Features: how the columns of a prepared table become the numbers a model reads.

scikit-learn transformers and functions of numpy and pandas only, because the features travel in the
exported pipeline, which loads without this package. They find their columns by name, in any order,
and ignore the others. `encoding.py` fits them and encodes rows.

Numbers and booleans become float64, at most as large as a forest can hold: a missing value is nan.
Every other column is read as text, one value at a time: categories, mixed objects and nullable
strings alike, and None, nan and NA are missing.

ordinal: numbers keep nan, which LightGBM and forests split on. Where the rows that the features are
fitted on lack none, the median replaces a later one, which LightGBM would read as 0 and other
estimators refuse. A category is its code, a missing or unseen one is -1, which LightGBM takes for
missing.
target, text: as ordinal, but a text column with more than FEW_TEXTS values becomes the numbers of
`many_texts.py`: the mean target of each text, or what its letters say.
onehot: an infinite number is a missing one; numbers get the median, an indicator of what was
missing, and unit variance; a category is a column, missing is one more, an unseen one counts as an
infrequent one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from experiment_pipeline.spec import Features
from experiment_pipeline.stages.search import many_texts
from experiment_pipeline.stages.search.many_texts import function_step
from experiment_pipeline.table.kinds import NUMERIC, kind_of

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
    encoder: Features,
    table: pd.DataFrame,
    features: Sequence[str],
    many: Mapping[str, FrozenEstimator] = MappingProxyType({}),
) -> ColumnTransformer:
    """Return the unfitted features of an encoder for a table of such columns.

    Args:
        encoder: how columns are encoded.
        table: (n, columns) the rows they will be fitted on; read for types, size and, where a
            number is never missing, its median.
        features: the columns to use.
        many: column of many texts → what encodes it, fitted already.
    """
    kinds = column_kinds(table, features)
    onehot = encoder == "onehot"
    sparse = onehot and _onehot_bytes(table, kinds) > MAX_DENSE_BYTES
    if onehot:
        # One infinite cell would flatten its whole column.
        numbers = make_pipeline(
            *_float64_and_clipped(nan=np.nan, posinf=np.nan, neginf=np.nan),
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            StandardScaler(),
        )
    else:
        # Per number its median; nan where some are missing, and stay so.
        stand_ins = [
            np.nan if table[name].hasnans else float(table[name].median()) for name in kinds.numbers
        ]
        numbers = make_pipeline(
            *_float64_and_clipped(nan=np.array(stand_ins), posinf=np.inf, neginf=-np.inf)
        )
    parts: list[tuple[str, Any, Any]] = [
        # A column that is named alone arrives as a Series, which pandas can read as text.
        (f"text_{number}", many[name] if name in many else _texts(encoder, sparse=sparse), name)
        for number, name in enumerate(kinds.texts)
    ]
    if kinds.numbers:
        parts.insert(0, ("numbers", numbers, list(kinds.numbers)))
    return ColumnTransformer(parts, sparse_threshold=1.0 if sparse else 0.0)


def seen_categories(fitted: ColumnTransformer) -> dict[str, np.ndarray]:
    """Return column → the texts that fitted features know, rare ones included; nan: a missing one.

    Of columns of which only the letters are read, there is none: every text is new.
    """
    return {
        name: categories
        for part, names, _ in _parts(fitted)
        for encoder in list(part.named_steps.values())
        if isinstance(encoder, OrdinalEncoder | OneHotEncoder)
        for name, categories in zip(names, encoder.categories_, strict=True)
    }


def categorical_positions(fitted: ColumnTransformer) -> list[int]:
    """Return which columns of the encoded table are codes of categories, of fitted features."""
    return [
        position
        for part, _, positions in _parts(fitted)
        if isinstance(part[-1], OrdinalEncoder)
        for position in positions.tolist()
    ]


def encoded_columns(features: ColumnTransformer) -> dict[str, np.ndarray]:
    """Return feature → positions of the columns that encode it, of fitted features."""
    return {
        name: positions[_sources(part, len(names), len(positions)) == number]
        for part, names, positions in _parts(features)
        for number, name in enumerate(names)
    }


def _parts(fitted: ColumnTransformer) -> Iterator[tuple[Any, list[str], np.ndarray]]:
    """Each part: its transformer, the features it encodes, the positions of its columns."""
    for name, part, names in fitted.transformers_:
        if name != "remainder":
            place = fitted.output_indices_[name]
            several = [names] if isinstance(names, str) else list(names)
            yield part, several, np.arange(place.start, place.stop)


def _sources(part: Any, names: int, width: int) -> np.ndarray:
    """Of each encoded column of a part, which of its names it encodes."""
    if names == 1:
        return np.zeros(width, dtype=np.int64)
    if isinstance(part[-1], OneHotEncoder):
        # A column of its own for each category: rare ones would share one only in a part alone.
        return np.repeat(np.arange(names), [len(one) for one in part[-1].categories_])
    imputer = part.named_steps.get("simpleimputer")
    # Indicators of what was missing follow the numbers.
    indicated = () if imputer is None else imputer.indicator_.features_
    return np.asarray([*range(names), *indicated], dtype=np.int64)


def directions(features: ColumnTransformer, wanted: Mapping[str, int]) -> list[int] | None:
    """Return for each encoded column whether predictions may only rise (1) or fall (-1) with it.

    Numbers are only moved and stretched by an encoding, so that directions stay; a feature's
    first column is its number, and those after it, which say that it was missing, have none.

    Args:
        features: fitted ones.
        wanted: feature → 1 or -1.

    Returns:
        (d,) with 0 for a column without a direction; None where no feature has one.
    """
    if not wanted:
        return None
    columns = encoded_columns(features)
    found = [0] * sum(map(len, columns.values()))
    for name, direction in wanted.items():
        found[columns[name][0]] = direction
    return found


def _float64_and_clipped(**replaced: Any) -> list[FunctionTransformer]:
    """The first steps for numbers; `replaced`: what stands for nan and infinite ones."""
    return [
        function_step(pd.DataFrame, dtype="float64"),
        function_step(np.nan_to_num, **replaced),
        function_step(np.clip, a_min=-_LARGEST, a_max=_LARGEST),
    ]


def _texts(encoder: Features, *, sparse: bool) -> Pipeline:
    if encoder == "onehot":
        step = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=MAX_ONEHOT_CATEGORIES,
            sparse_output=sparse,
        )
    else:
        step = OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=-1,
            encoded_missing_value=-1,
            max_categories=MAX_ORDINAL_CATEGORIES,
        )
    return make_pipeline(*many_texts.as_texts(), step)


def _onehot_bytes(table: pd.DataFrame, kinds: ColumnKinds) -> int:
    """Bound the size of the dense encoding of a table, in bytes."""
    # Each number may get an indicator, each text a column for missing.
    categories = (min(table[name].nunique() + 1, MAX_ONEHOT_CATEGORIES) for name in kinds.texts)
    return len(table) * (2 * len(kinds.numbers) + sum(categories)) * _FLOAT_BYTES
