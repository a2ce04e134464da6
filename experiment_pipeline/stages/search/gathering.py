"""Fitted features in fewer parts: as they are judged and exported.

A fit needs a part for each column of texts: it holds the texts of one column at a time, whatever the
number of rows. For a small table, or one row, the number of parts decides the time. Here
neighbouring columns of texts with an encoding of their own become one part, which reads all their
texts at once and encodes every row as before, to the bit.
"""

from itertools import groupby, islice
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from experiment_pipeline.stages.search.many_texts import function_step
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, kind_of_type

# So many columns are in memory as texts at once: 100 bytes a cell.
MOST_TOGETHER = 32

_Part = tuple[str, Any, Any]


def gathered(features: ColumnTransformer, rows: pd.DataFrame) -> ColumnTransformer:
    """Return fitted features with fewer parts.

    Args:
        features: fitted ones.
        rows: (n, columns) what they were fitted on, or as typed.
    """

    def kind(part: _Part) -> type | str:
        name, pipeline, column = part
        return type(pipeline[-1]) if _is_plain(pipeline, rows, column) else name

    parts = [one for one in features.transformers_ if one[0] != "remainder"]
    together = list[_Part]()
    for _, neighbours in groupby(parts, kind):
        while run := list(islice(neighbours, MOST_TOGETHER)):
            together.append(run[0] if len(run) == 1 else _one_of(run, rows))
    if len(together) == len(parts):
        return features
    frozen = [
        (name, part if isinstance(part, FrozenEstimator) else FrozenEstimator(part), of)
        for name, part, of in together
    ]
    columns = list(features.feature_names_in_)
    return ColumnTransformer(frozen, sparse_threshold=features.sparse_threshold).fit(
        rows[:1][columns]
    )


def _is_plain(pipeline: Any, rows: pd.DataFrame, column: str | list[str]) -> bool:
    """Whether it encodes the texts of one column, each by a code of its own.

    Each cell must be the same text alone as in its column: pandas shortens dates by the others.
    """
    if not isinstance(column, str):
        return False
    kind, allowed = kind_of(rows[column]), TEXTS
    if kind == "category":
        kind, allowed = kind_of_type(rows[column].cat.categories.dtype), TEXTS | NUMERIC
    encoder = pipeline[-1]
    is_plain = isinstance(encoder, OrdinalEncoder | OneHotEncoder)
    return kind in allowed and is_plain and encoder.infrequent_categories_[0] is None


def _one_of(parts: list[_Part], rows: pd.DataFrame) -> _Part:
    """One part of several, fitted by what they have learnt."""
    columns = [column for *_, column in parts]
    encoders = [pipeline[-1] for _, pipeline, _ in parts]
    settings = encoders[0].get_params() | {
        "categories": [one.categories_[0] for one in encoders],
        "max_categories": None,
    }
    together = make_pipeline(
        # All cells as one column of texts, missing as nan, and back: a table of objects.
        function_step(pd.DataFrame, dtype="object"),
        function_step(np.reshape, shape=-1),
        function_step(pd.Series, dtype="str"),
        function_step(np.reshape, shape=(-1, len(columns))),
        type(encoders[0])(**settings),
    )
    together.fit(rows[:1][columns])
    # What it has learnt is in its attributes: once is enough.
    together[-1].set_params(categories="auto")
    return parts[0][0], together, columns
