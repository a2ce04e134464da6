"""What an exported model takes and gives: its signature, and predictions by it.

Whoever calls the model needs no experiment for it: the features with their dtypes, the
classes in the order of the probability columns, the threshold. In: a fitted pipeline and a
prepared table. Out: a table of predictions. Reading the rows belongs to `predict.py`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.core.documents import json_bytes
from experiment_pipeline.core.errors import InvalidModel, UnusableTable
from experiment_pipeline.core.spec import Scalar

SIGNATURE = "signature.json"
ROW_NUMBER = "row_number"
PREDICTION = "prediction"
INFINITE = {np.inf: "inf", -np.inf: "-inf"}


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
            return cls(**fields)
        except (ValueError, KeyError, TypeError):
            raise InvalidModel(
                source, f"{SIGNATURE} is no signature", "Name a complete version folder."
            ) from None

    def select(self, prepared: pd.DataFrame) -> pd.DataFrame:
        """Return the features of a prepared table, in order and with the model's dtypes.

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


def example_bytes(features: pd.DataFrame) -> bytes:
    """Return example rows as JSON, column by column; a missing value becomes null.

    `pandas.DataFrame(json.loads(…), dtype=object).astype(signature.features)` restores them
    bit for bit.
    """
    return json_bytes({name: _json_values(features[name]) for name in features.columns})


def prediction_table(
    pipeline: Any, prepared: pd.DataFrame, ids: pd.DataFrame, signature: Signature
) -> pd.DataFrame:
    """Predict, and name what came out.

    Args:
        pipeline: the fitted pipeline, with `predict_proba` unless the task is regression.
        prepared: rows with the model's features, index `row_number`.
        ids: the same rows' id columns, as delivered.
        signature: the model's.

    Returns:
        One row per row: `row_number`, the id columns, `prediction` (a class or a value), and
        for classes one `probability_<class>` each (binary: of the positive class alone).

    Raises:
        UnusableTable: a feature is missing, or holds values of another type.
    """
    features = signature.select(prepared)
    outputs = _outputs(pipeline, features, signature)
    identifiers = {_free_name(name, outputs): ids[name] for name in ids.columns}
    table = pd.DataFrame({**identifiers, **outputs}, index=features.index)
    return table.reset_index(names=ROW_NUMBER)


def _outputs(
    pipeline: Any, features: pd.DataFrame, signature: Signature
) -> dict[str, np.ndarray | pd.Series]:
    if signature.classes is None:
        return {PREDICTION: pipeline.predict(features)}
    probabilities = pipeline.predict_proba(features)
    classes = signature.classes
    if signature.task == "binary":
        positive = probabilities[:, classes.index(signature.positive_class)]
        negative = classes[1 - classes.index(signature.positive_class)]
        chosen = positive >= (0.5 if signature.threshold is None else signature.threshold)
        labels = [signature.positive_class if yes else negative for yes in chosen]
        shown = {f"probability_{signature.positive_class}": positive}
    else:
        labels = [classes[column] for column in probabilities.argmax(axis=1)]
        shown = {f"probability_{name}": probabilities[:, i] for i, name in enumerate(classes)}
    return {PREDICTION: pd.Series(labels, index=features.index), **shown}


def _free_name(name: str, taken: Mapping[str, object]) -> str:
    return f"original_{name}" if name in taken or name == ROW_NUMBER else name


def _cast(column: pd.Series, dtype: str) -> pd.Series:
    if str(column.dtype) == dtype:
        return column
    try:
        return column.astype(dtype)
    except (ValueError, TypeError) as error:
        raise UnusableTable(
            f"column {column.name}",
            f"holds {column.dtype}, the model wants {dtype} ({str(error)[:120]})",
            "Deliver the column as the model was trained on it.",
        ) from None


def _json_values(column: pd.Series) -> Sequence[Scalar]:
    values = [None if pd.isna(value) else value for value in column.tolist()]
    if column.dtype.kind == "f":
        return [INFINITE.get(value, value) for value in values]
    return values
