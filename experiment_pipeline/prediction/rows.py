"""Predicting with an exported model: rows as delivered → predictions, and rejected rows.

In: a fitted pipeline, a raw table, and what travels with the model (reading, schema,
signature). Out: `Predicted`. Loading the model and reading files belong to the shell's
`rows.py`.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from experiment_pipeline.columns.preparation import Prepared, prepare
from experiment_pipeline.columns.schema import for_prediction
from experiment_pipeline.errors import PredictionsChanged, UnusableTable, did_you_mean, listed
from experiment_pipeline.prediction.delivered_rows import Reading
from experiment_pipeline.prediction.golden_rows import example_rows
from experiment_pipeline.prediction.signature import Signature
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Preparation
from experiment_pipeline.stages.validated_data.columns import most_frequent
from experiment_pipeline.stages.validated_data.rows import validate

ROW_NUMBER = "row_number"
PREDICTION = "prediction"
# Another machine may sum in another order; a model that means something else differs by more.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Predicted:
    """What became of the rows.

    Attributes:
        predictions: a row per accepted row: `row_number`, the id columns, `prediction`, and for
            classes one `probability_<class>` each (binary: of the positive class alone).
        rejected: the other rows as delivered, with `rejection_reasons`.
        notes: what was let pass, counted, a column each: a category or a missing value that
            training did not see, a default that was filled in.
    """

    predictions: pd.DataFrame
    rejected: pd.DataFrame
    notes: tuple[str, ...] = ()


def predict_rows(
    pipeline: Any,
    raw: pd.DataFrame,
    reading: Reading,
    schema: pa.DataFrameSchema,
    signature: Signature,
) -> Predicted:
    """Prepare and validate rows as delivered, and predict for those that satisfy the schema.

    Target, excluded and id columns may be absent: only what the features are made of is
    prepared and judged.

    Raises:
        UnusableTable: a column is missing that a feature is made of, or cannot be used.
        TooManyRejectedRows: not one row satisfies the schema.
    """
    prepared = _prepared(raw, reading, signature)
    rules = for_prediction(schema, list(signature.features))
    parted = validate(raw, prepared, rules, validation=reading.validation)
    kept = parted.validated
    ids = [name for name in signature.id_columns if name in raw.columns]
    predictions = prediction_table(pipeline, kept, raw.loc[kept.index, ids], signature)
    notes = (*parted.notes, *_unseen_categories(pipeline, kept, rules))
    return Predicted(predictions, parted.rejected, notes)


def prediction_table(
    pipeline: Any, prepared: pd.DataFrame, ids: pd.DataFrame, signature: Signature
) -> pd.DataFrame:
    """Predict, and name what came out, as `Predicted.predictions` describes.

    Args:
        pipeline: the fitted pipeline, with `predict_proba` unless the task is regression.
        prepared: rows with the model's features, index `row_number`.
        ids: the same rows' id columns, as delivered.
        signature: the model's.

    Raises:
        UnusableTable: a feature is missing, or holds values of another type.
    """
    features = signature.select(prepared)
    outputs = _outputs(pipeline, features, signature)
    identifiers = {_free_name(name, outputs): ids[name] for name in ids.columns}
    table = pd.DataFrame({**identifiers, **outputs}, index=features.index)
    return table.reset_index(names=ROW_NUMBER)


def check_predictions(pipeline: Any, example: bytes, expected: bytes, signature: Signature) -> None:
    """Predict on the example rows and compare with what the model predicted at its export.

    Raises:
        PredictionsChanged: a number differs by more than TOLERANCE, relatively.
    """
    rows = example_rows(example, signature)
    method = "predict" if signature.classes is None else "predict_proba"
    before = np.asarray(json.loads(expected)[method], dtype="float64")
    now = np.asarray(getattr(pipeline, method)(rows), dtype="float64")
    if before.shape != now.shape or not np.allclose(before, now, rtol=TOLERANCE, atol=TOLERANCE):
        raise PredictionsChanged(
            "the model",
            "it predicts something else here than when it was exported",
            "Install the versions of its environment.txt.",
        )


def prepared_features(raw: pd.DataFrame, reading: Reading, signature: Signature) -> pd.DataFrame:
    """Return what a model takes, of all rows as delivered; no schema judges them.

    Raises:
        UnusableTable: a column is missing that a feature is made of, or cannot be used.
    """
    return signature.select(_prepared(raw, reading, signature).frame)


def source_columns(
    features: Iterable[str], delivered: Collection[str], preparation: Preparation
) -> list[str]:
    """Return the columns as delivered that features are made of, without a user's function.

    Args:
        features: the model's.
        delivered: columns of the table as delivered.
        preparation: what happens to each row.
    """
    taken = [name for name in features if name in delivered]
    return list(dict.fromkeys([*taken, *preparation.calendar]))


def _prepared(raw: pd.DataFrame, reading: Reading, signature: Signature) -> Prepared:
    needed = _needed_columns(raw, reading, signature)
    preparation = reading.preparation
    declared = {*preparation.missing_values, *preparation.categories, *preparation.types}
    # A user's own function is given everything: only it knows what it reads.
    rows = raw[needed] if preparation.function is None else raw
    return prepare(rows, preparation, may_be_absent=declared - set(needed))


def _needed_columns(raw: pd.DataFrame, reading: Reading, signature: Signature) -> list[str]:
    """Return the raw columns that features are made of; UnusableTable when one is absent."""
    wanted = source_columns(signature.features, reading.raw_types, reading.preparation)
    absent = [name for name in wanted if name not in raw.columns]
    if absent:
        raise UnusableTable(
            f"column {absent[0]}",
            f"the table lacks {len(absent)} of the {len(wanted)} columns that the model reads: "
            f"{listed(absent)}; {did_you_mean(absent[0], raw.columns)}",
            "Deliver the columns the model was trained on.",
        )
    return wanted


def _unseen_categories(
    pipeline: Any, rows: pd.DataFrame, rules: pa.DataFrameSchema
) -> Iterator[str]:
    """Say of each text without a list in the schema, which the validation counts, what is new."""
    from experiment_pipeline.stages.search.features import seen_categories

    for name, seen in seen_categories(pipeline[0]).items():
        column = rules.columns.get(name)
        if column is not None and any(check.name == "isin" for check in column.checks):
            continue
        texts = rows[name].dropna().astype("str")
        unseen = texts[~texts.isin(seen)]
        if len(unseen):
            what = (
                f"{numbers.counted(len(unseen), 'row')} with a category that training did not see"
            )
            yield f"{name}: {what}: {most_frequent(unseen)}"


def _outputs(
    pipeline: Any, features: pd.DataFrame, signature: Signature
) -> dict[str, np.ndarray | pd.Series]:
    if signature.classes is None:
        return {PREDICTION: np.asarray(pipeline.predict(features)).reshape(-1)}
    probabilities = pipeline.predict_proba(features)
    classes = signature.classes
    if signature.task == "binary":
        column = classes.index(signature.positive_class)
        positive = probabilities[:, column]
        chosen = positive >= (0.5 if signature.threshold is None else signature.threshold)
        labels = [classes[column if yes else 1 - column] for yes in chosen]
        shown = {f"probability_{signature.positive_class}": positive}
    else:
        labels = [classes[column] for column in probabilities.argmax(axis=1)]
        shown = {f"probability_{name}": probabilities[:, i] for i, name in enumerate(classes)}
    return {PREDICTION: pd.Series(labels, index=features.index), **shown}


def _free_name(name: str, taken: Mapping[str, object]) -> str:
    return f"original_{name}" if name in taken or name == ROW_NUMBER else name
