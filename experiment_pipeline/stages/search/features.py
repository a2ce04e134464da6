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

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from experiment_pipeline.spec import Features
from experiment_pipeline.stages.search import many_texts
from experiment_pipeline.stages.search.many_texts import function_step
from experiment_pipeline.table.kinds import NUMERIC, kind_of

# LightGBM's default number of bins: more codes would share bins anyway.
MAX_ORDINAL_CATEGORIES = 255
MAX_ONEHOT_CATEGORIES = 50
# Above this a one-hot matrix is sparse, which some estimators refuse; below, dense.
MAX_DENSE_BYTES = 2**30
_LARGEST = float(np.finfo(np.float32).max)

# Name, transformer, column or columns: as of a ColumnTransformer.
Part = tuple[str, Any, Any]


def column_kinds(table: pd.DataFrame, features: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the features that are numbers, among them booleans, and those that are texts.

    The encoded columns come in this order.
    """
    numbers = [name for name in features if kind_of(table[name]) in NUMERIC]
    return numbers, [name for name in features if name not in numbers]


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
    numbers, texts = column_kinds(table, features)
    sparse, further = False, tuple[Any, ...]()
    if encoder == "onehot":
        # Each number may get an indicator, each text a column for missing.
        categories = sum(min(table[name].nunique() + 1, MAX_ONEHOT_CATEGORIES) for name in texts)
        sparse = len(table) * (2 * len(numbers) + categories) * 8 > MAX_DENSE_BYTES
        # One infinite cell would flatten its whole column.
        stand_ins: dict[str, Any] = {"nan": np.nan, "posinf": np.nan, "neginf": np.nan}
        further = (
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            StandardScaler(),
        )
    else:
        # Per number its median; nan where some are missing, and stay so.
        medians = [
            np.nan if table[name].hasnans else float(table[name].median()) for name in numbers
        ]
        stand_ins = {"nan": np.array(medians), "posinf": np.inf, "neginf": -np.inf}
    of_numbers = make_pipeline(
        function_step(pd.DataFrame, dtype="float64"),
        function_step(np.nan_to_num, **stand_ins),
        function_step(np.clip, a_min=-_LARGEST, a_max=_LARGEST),
        *further,
    )
    parts: list[Part] = [("numbers", of_numbers, numbers)] if numbers else []
    for number, name in enumerate(texts):
        # A column that is named alone arrives as a Series, which pandas can read as text.
        part = many[name] if name in many else text_pipeline(encoder, sparse=sparse)
        parts.append((f"text_{number}", part, name))
    return ColumnTransformer(parts, sparse_threshold=1.0 if sparse else 0.0)


def text_pipeline(encoder: Features, *, sparse: bool = False) -> Any:
    """Return the unfitted encoder of one column of few texts."""
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


def parts_of(fitted: ColumnTransformer) -> list[Part]:
    """Return the parts of fitted features."""
    return [one for one in fitted.transformers_ if one[0] != "remainder"]


def seen_categories(fitted: ColumnTransformer) -> dict[str, np.ndarray]:
    """Return column → the texts that fitted features know, rare ones included; nan: a missing one.

    Of columns of which only the letters are read, there is none: every text is new.
    """
    return {
        name: encoder.categories_[0]
        for _, part, name in parts_of(fitted)
        for encoder in list(part.named_steps.values())
        if isinstance(encoder, OrdinalEncoder | OneHotEncoder)
    }


def categorical_positions(fitted: ColumnTransformer) -> list[int]:
    """Return which columns of the encoded table are codes of categories, of fitted features."""
    return [
        fitted.output_indices_[name].start
        for name, part, _ in parts_of(fitted)
        if isinstance(part[-1], OrdinalEncoder)
    ]


def encoded_columns(features: ColumnTransformer) -> dict[str, np.ndarray]:
    """Return feature → positions of the columns that encode it, of fitted features."""
    found = dict[str, np.ndarray]()
    for part_name, part, of in parts_of(features):
        place = features.output_indices_[part_name]
        positions = np.arange(place.start, place.stop)
        if isinstance(of, str):
            found[of] = positions
            continue
        imputer = part.named_steps.get("simpleimputer")
        # Indicators of what was missing follow the numbers.
        sources = [*range(len(of)), *(imputer.indicator_.features_ if imputer else ())]
        found |= {name: positions[np.equal(sources, k)] for k, name in enumerate(of)}
    return found


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
