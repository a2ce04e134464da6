"""Fitted features in fewer parts: as they are judged and exported.

A part for each column of texts is what fits need: it holds the texts of one column at a time, whatever
the number of rows. Of a small table, or of one row, the parts themselves take the time. Here
neighbouring columns whose texts have codes, or columns, of their own become one part, which reads
all their texts at once. In: fitted features. Out: others that encode every row as they do, to the bit.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, kind_of_type

# So many columns are in memory as texts at once: 100 bytes a cell.
MOST_TOGETHER = 32

_Part = tuple[str, Any, Any]
_Encoder = OrdinalEncoder | OneHotEncoder


def gathered(features: ColumnTransformer, rows: pd.DataFrame) -> ColumnTransformer:
    """Return fitted features with fewer parts.

    Args:
        features: fitted ones.
        rows: (n, columns) what they were fitted on, or as typed.
    """
    parts = [one for one in features.transformers_ if one[0] != "remainder"]
    together = list(_together(parts, rows))
    if len(together) == len(parts):
        return features
    frozen = [(name, _frozen(part), of) for name, part, of in together]
    columns = list(features.feature_names_in_)
    return ColumnTransformer(frozen, sparse_threshold=features.sparse_threshold).fit(
        rows[:1][columns]
    )


def _frozen(part: Any) -> FrozenEstimator:
    return part if isinstance(part, FrozenEstimator) else FrozenEstimator(part)


def _together(parts: Sequence[_Part], rows: pd.DataFrame) -> Iterator[_Part]:
    """The parts, neighbours that can be read at once as one."""

    def kind(part: _Part) -> type | str:
        name, pipeline, column = part
        return type(pipeline[-1]) if _is_plain(pipeline, rows, column) else name

    for _, group in groupby(parts, kind):
        while run := list(islice(group, MOST_TOGETHER)):
            yield run[0] if len(run) == 1 else _one_of(run, rows)


def _is_plain(pipeline: Any, rows: pd.DataFrame, column: str | list[str]) -> bool:
    """Whether it encodes the texts of one column, each by a code of its own."""
    if not isinstance(column, str) or not _reads_alike(rows[column]):
        return False
    encoder = pipeline[-1]
    return isinstance(encoder, _Encoder) and encoder.infrequent_categories_[0] is None


def _reads_alike(column: pd.Series) -> bool:
    """Whether each cell is the same text alone as in its column; pandas cuts dates by the others."""
    kind = kind_of(column)
    if kind == "category":
        return kind_of_type(column.cat.categories.dtype) in TEXTS | NUMERIC
    return kind in TEXTS


def _one_of(parts: Sequence[_Part], rows: pd.DataFrame) -> _Part:
    """One part of several, fitted by what they have learnt."""
    columns = [column for *_, column in parts]
    encoders = [pipeline[-1] for _, pipeline, _ in parts]
    settings = encoders[0].get_params() | {
        "categories": [one.categories_[0] for one in encoders],
        "max_categories": None,
    }
    together = make_pipeline(*_as_texts(len(columns)), type(encoders[0])(**settings))
    together.fit(rows[:1][columns])
    # What it has learnt is in its attributes: once is enough.
    together[-1].set_params(categories="auto")
    return parts[0][0], together, columns


def _as_texts(columns: int) -> list[FunctionTransformer]:
    """All cells as one column of texts, missing as nan, and back: a table of objects."""
    return [
        _function(pd.DataFrame, dtype="object"),
        _function(np.reshape, shape=-1),
        _function(pd.Series, dtype="str"),
        _function(np.reshape, shape=(-1, columns)),
    ]


def _function(function: Any, **arguments: Any) -> FunctionTransformer:
    return FunctionTransformer(function, kw_args=arguments, feature_names_out="one-to-one")
