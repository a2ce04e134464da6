"""Golden rows: the few on which a model must predict the same wherever it is loaded.

In: prepared rows. Out: awkward ones among them, what the model says about them, and both as
JSON that gives every bit back. Comparing belongs to `stages/exported_model/verify_script.py` and `rows.py`.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.prediction.signature import Signature
from experiment_pipeline.spec import Scalar
from experiment_pipeline.storage.records import json_bytes

UNSEEN_CATEGORY = "a category never seen"
# JSON has no infinity; pandas reads these texts as one.
INFINITE = {np.inf: "inf", -np.inf: "-inf"}


def choose(prepared: pd.DataFrame, features: Sequence[str], plain: int = 5) -> pd.DataFrame:
    """Choose the rows on which a reloaded model must predict the same, bit for bit.

    Args:
        prepared: rows with the features, best those of the validation set.
        features: the model's, in order.
        plain: how many of the first rows to take.

    Returns:
        The first rows; rows until every feature with missing values is missing once; and the
        first row again with every text replaced by an unseen category.
    """
    table = prepared[list(features)]
    chosen = list(range(min(plain, len(table))))
    for name in features:
        absent = table[name].isna().to_numpy()
        if absent.any() and not absent[chosen].any():
            chosen.append(int(absent.argmax()))
    rows = table.iloc[chosen]
    texts = [name for name in features if table[name].dtype.name in {"str", "string"}]
    if not texts or rows.empty:
        return rows.reset_index(drop=True)
    unseen = rows.iloc[:1].assign(**dict.fromkeys(texts, UNSEEN_CATEGORY))
    return pd.concat([rows, unseen.astype(rows.dtypes)], ignore_index=True)


def expected_predictions(pipeline: Any, rows: pd.DataFrame) -> dict[str, list]:
    """Return what the pipeline says about some rows: method → predictions."""
    methods = [name for name in ("predict", "predict_proba") if hasattr(pipeline, name)]
    return {name: getattr(pipeline, name)(rows).tolist() for name in methods}


def example_bytes(features: pd.DataFrame) -> bytes:
    """Return example rows as JSON, column by column; a missing value becomes null.

    `example_rows` restores them bit for bit.
    """
    return json_bytes({name: _json_values(features[name]) for name in features.columns})


def example_rows(data: bytes, signature: Signature) -> pd.DataFrame:
    """Return the rows that `example_bytes` wrote, with the signature's dtypes."""
    return pd.DataFrame(json.loads(data), dtype=object).astype(dict(signature.features))


def _json_values(column: pd.Series) -> Sequence[Scalar]:
    values = [None if pd.isna(value) else value for value in column.tolist()]
    if column.dtype.kind == "f":
        return [
            INFINITE.get(value, value) if isinstance(value, float) else value for value in values
        ]
    return values
