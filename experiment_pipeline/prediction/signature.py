"""What an exported model takes and gives: its signature.

Whoever calls the model needs no experiment for it: the features with their dtypes, the
classes in the order of the probability columns, the threshold. In: a prepared table. Out:
the columns that the pipeline reads. Predicting belongs to `rows.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import InvalidModel, UnusableTable
from experiment_pipeline.spec import Scalar
from experiment_pipeline.storage.records import json_bytes

SIGNATURE = "signature.json"


@dataclass(frozen=True)
class Signature:
    """What goes into a model and what comes out.

    Attributes:
        task: binary, multiclass or regression.
        target: the column that is predicted; no input.
        features: feature → pandas dtype, in the order of the table the model was fitted on.
        id_columns: columns that name a row; they are copied beside its prediction.
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
        """Return the signature as JSON; the order of the features is kept."""
        return json_bytes(vars(self))

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> "Signature":
        """Read a signature back.

        Raises:
            InvalidModel: it is no signature.
        """
        try:
            fields: dict[str, Any] = json.loads(data)
            fields["id_columns"] = tuple(fields["id_columns"])
            fields["classes"] = None if fields["classes"] is None else tuple(fields["classes"])
            if fields["task"] == "binary" and fields["positive_class"] is None:
                # Versions exported while the YAML named none model the greater class.
                fields["positive_class"] = fields["classes"][-1]
            return cls(**fields)
        except (ValueError, KeyError, TypeError):
            raise InvalidModel(
                source, f"{SIGNATURE} is no signature", "Name a complete version folder."
            ) from None

    def select(self, prepared: pd.DataFrame) -> pd.DataFrame:
        """Return the features of a prepared table, in order and with the model's dtypes.

        A column of whole numbers or booleans that lacks some becomes float64: numbers to a model.

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
    if isinstance(wanted, np.dtype) and wanted.kind in "iub" and column.hasnans:
        present = _cast(column.dropna(), dtype)
        return present.astype("float64").reindex(column.index)
    try:
        cast = column.astype(wanted)
    except (ValueError, TypeError) as error:
        raise _wrong_type(column, dtype, str(error)[:120]) from None
    if cast.dtype.kind in "iub" and not (cast == column).all():
        raise _wrong_type(column, dtype, "values would change")
    return cast


def _wrong_type(column: pd.Series, dtype: str, why: str) -> UnusableTable:
    return UnusableTable(
        f"column {column.name}",
        f"holds {column.dtype}, the model wants {dtype}: {why}",
        "Deliver the column as the model was trained on it.",
    )
