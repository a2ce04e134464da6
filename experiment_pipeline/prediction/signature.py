"""The signature of an exported model, and the golden rows that test it.

The signature lists the features with their dtypes, the classes in the order of the probability
columns, and the threshold. Golden rows are a few rows on which the model must predict the same
wherever it is loaded; `rows.py` and the verify.py of `exported_model` compare.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import InvalidModel, UnusableTable
from experiment_pipeline.spec import Scalar
from experiment_pipeline.storage.records import from_json, to_json
from experiment_pipeline.table.kinds import holds_missing, kind_of
from experiment_pipeline.table.table import with_only

SIGNATURE = "signature.json"
UNSEEN_CATEGORY = "a category never seen"
# JSON has no infinity; pandas parses these texts as such.
INFINITE = {np.inf: "inf", -np.inf: "-inf"}


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model.

    Attributes:
        task: binary, multiclass or regression.
        target: the column that is predicted.
        features: feature → pandas dtype, in the order of the table the model was fitted on.
        id_columns: columns that identify a row; copied beside its prediction.
        classes: the class of each column of `predict_proba`; None for regression.
        positive_class: binary: the class whose probability the threshold cuts.
        threshold: binary: the positive class is predicted from this probability on.
    """

    task: str
    target: str
    features: Mapping[str, str]
    id_columns: tuple[str, ...] = ()
    classes: tuple[Scalar, ...] | None = None
    positive_class: Scalar = None
    threshold: float | None = None

    def to_bytes(self) -> bytes:
        """Return the signature as JSON, with the features in order."""
        return to_json(self)

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> "Signature":
        """Read a signature back; InvalidModel for another content."""
        damage = InvalidModel(
            source, f"{SIGNATURE} is not a signature", "Name a complete version folder."
        )
        signature = from_json(cls, data, damage)
        if signature.task == "binary" and signature.positive_class is None:
            if not signature.classes:
                raise damage
            # Old versions without a positive class model the greater one.
            return replace(signature, positive_class=signature.classes[-1])
        return signature

    def select(self, prepared: pd.DataFrame) -> pd.DataFrame:
        """Return the features of a prepared table, in order and with the model's dtypes.

        Integers or booleans with missing values become float64.

        Raises:
            UnusableTable: a feature is missing, or holds values of another type.
        """
        missing = [name for name in self.features if name not in prepared.columns]
        if missing:
            raise UnusableTable(
                f"columns {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}",
                f"{len(missing)} of the model's {len(self.features)} features are missing",
                "Deliver the columns the model was trained on, or those they are made from.",
            )
        columns = {name: _cast(prepared[name], dtype) for name, dtype in self.features.items()}
        return pd.DataFrame(columns, index=prepared.index)


def _cast(column: pd.Series, dtype: str) -> pd.Series:
    if str(column.dtype) == dtype:
        return column
    wanted = pd.api.types.pandas_dtype(dtype)
    if column.hasnans and not holds_missing(wanted):
        present = _cast(column.dropna(), dtype)
        return present.astype("float64").reindex(column.index)
    try:
        cast = column.astype(wanted)
    except (ValueError, TypeError) as error:
        raise _wrong_type(column, dtype, str(error)[:120]) from None
    if kind_of(cast) in ("integer", "boolean") and not (cast == column).all():
        raise _wrong_type(column, dtype, "values would change")
    return cast


def _wrong_type(column: pd.Series, dtype: str, why: str) -> UnusableTable:
    return UnusableTable(
        f"column {column.name}",
        f"holds {column.dtype}, the model wants {dtype}: {why}",
        "Deliver the column as the model was trained on it.",
    )


def golden_rows(prepared: pd.DataFrame, features: Sequence[str], plain: int = 5) -> pd.DataFrame:
    """Choose the rows on which a reloaded model must predict the same, bit for bit.

    Args:
        prepared: rows with the features, best those of the validation set.
        features: the model's, in order.
        plain: how many of the first rows to take.

    Returns:
        The first rows; rows until every feature with missing values is missing once; and the
        first row again with every text replaced by an unseen category.
    """
    table = with_only(prepared, features)
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
    """Return the predictions of some rows by method."""
    methods = [name for name in ("predict", "predict_proba") if hasattr(pipeline, name)]
    return {name: getattr(pipeline, name)(rows).tolist() for name in methods}


def example_bytes(features: pd.DataFrame) -> bytes:
    """Return example rows as JSON by column, for `example_rows`; a missing value becomes null."""
    return to_json({name: _json_values(features[name]) for name in features.columns})


def example_rows(data: bytes, signature: Signature) -> pd.DataFrame:
    """Return the rows that `example_bytes` wrote, with the signature's dtypes."""
    return pd.DataFrame(json.loads(data), dtype=object).astype(dict(signature.features))


def _json_values(column: pd.Series) -> Sequence[Scalar]:
    values: list[Any] = [None if pd.isna(value) else value for value in column.tolist()]
    return [INFINITE.get(v, v) for v in values] if kind_of(column) == "float" else values
