"""Rows as delivered: read as the training table was read, prepared, validated, predicted.

Types of a CSV file's columns come from the training table: inferred from a short file, a column of
codes would become numbers ("1.50" → 1.5). Rows are then processed in batches. In: files, or a raw
table; a fitted pipeline with its reading, schema and signature. Out: a raw table, or `Predicted`.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pandera.pandas import DataFrameSchema

from experiment_pipeline import errors
from experiment_pipeline.prediction.signature import Signature, example_rows
from experiment_pipeline.spec import Data, ExperimentSpec, Preparation, Validation
from experiment_pipeline.stages.raw_data import table as raw_data
from experiment_pipeline.stages.raw_data.contents import Content, open_contents
from experiment_pipeline.stages.validated_data.columns import Tolerated
from experiment_pipeline.stages.validated_data.rows import no_rows_left, validate
from experiment_pipeline.storage.mapped import spilled
from experiment_pipeline.storage.records import yaml_bytes
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.membership import fit
from experiment_pipeline.table.preparation import PreparedTable, prepare
from experiment_pipeline.table.schema import for_prediction
from experiment_pipeline.table.table import SLICE_ROWS, slices, with_columns

PREPARATION = "preparation.yaml"
TEXT = "str"
_UNSEEN = ("unseen_categories", "unseen_missing_values")
_CSV_SETTINGS = {"delimiter", "encoding", "missing_values"}
Parts = Sequence[tuple[str, Content]]
ROW_NUMBER = "row_number"
PREDICTION = "prediction"
# Rows encoded at a time: one-hot encoders make a column for each text.
PREDICTED_ROWS = 65_536
# Sums on another machine may differ by rounding.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Reading:
    """How a table as delivered becomes a prepared one.

    Attributes:
        csv: the settings of `spec.Data` for CSV files.
        raw_types: column → pandas dtype of the training table before its preparation.
        preparation: of each row.
        validation: of the experiment; only `unseen_categories` and `unseen_missing_values` are kept.
    """

    csv: Mapping[str, Any]
    raw_types: Mapping[str, str]
    preparation: Preparation
    validation: Validation

    @classmethod
    def of(cls, spec: ExperimentSpec, raw_types: Mapping[str, str]) -> "Reading":
        """Return the reading of an experiment."""
        # Without the format: the next table may be Parquet where this one was CSV.
        data = spec.data or Data(url="frame")
        csv = data.model_dump(mode="json", include=_CSV_SETTINGS, exclude_unset=True)
        return cls(csv, raw_types, spec.preparation, spec.validation)

    def to_bytes(self) -> bytes:
        """Return the reading as YAML."""
        declared = self.preparation.model_dump(mode="json", exclude_unset=True)
        return yaml_bytes(
            {
                "csv": dict(self.csv),
                "raw_types": dict(self.raw_types),
                "preparation": declared,
                **{name: getattr(self.validation, name) for name in _UNSEEN},
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> "Reading":
        """Read it back; InvalidModel for another content."""
        try:
            found = yaml.safe_load(data)
            preparation = Preparation.model_validate(found["preparation"])
            return cls(
                dict(found["csv"]), dict(found["raw_types"]), preparation, _validation(found)
            )
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            raise errors.InvalidModel(
                source,
                f"{PREPARATION} does not describe how a table is read",
                "Use it with the version of experiment-pipeline that exported it.",
            ) from None

    def rows(self, parts: Parts, url: str) -> pd.DataFrame:
        """Return the raw table of some files from `url`, with the types of the training table.

        The columns of a large table are kept on disk. Errors are those of `raw_data.read`.
        """
        is_csv = open_contents(*parts[0], declared=None).format == "csv"
        data = Data(url=url, **(self.csv if is_csv else {}))
        texts = [name for name, kind in self.raw_types.items() if kind == TEXT]
        frame = raw_data.read(parts, data, as_written=texts).frame
        other = [name for name in texts if name in frame and str(frame[name].dtype) != TEXT]
        return with_columns(frame, {name: spilled(as_text(frame[name])) for name in other})


def _validation(found: Mapping[str, Any]) -> Validation:
    """The rules for unseen values; an old model without one for missing values rejects them."""
    rules = {name: found.get(name) for name in _UNSEEN}
    if rules["unseen_missing_values"] is None:
        # In such a model, `reject` meant the list of each column in the schema.
        lists = None if rules["unseen_categories"] == "reject" else rules["unseen_categories"]
        rules = {"unseen_categories": lists, "unseen_missing_values": "reject"}
    return Validation.model_validate(rules)


@dataclass(frozen=True)
class Predicted:
    """Predictions and rejected rows.

    Attributes:
        predictions: a row per accepted row: `row_number`, the id columns, `prediction`, and for
            classes one `probability_<class>` each (binary: of the positive class alone).
        rejected: the other rows as delivered, with `rejection_reasons`.
        notes: counts, a sentence per column, of accepted categories or missing values that training
            did not see, and of defaults that were filled in.
    """

    predictions: pd.DataFrame
    rejected: pd.DataFrame
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """As `Predicted`, for one batch; `predictions` is None where no row satisfies the schema."""

    predictions: pd.DataFrame | None
    rejected: pd.DataFrame


class Predicting:
    """Predicts for delivered rows batch by batch, and adds up the notes.

    The result of a row does not depend on the other rows of its batch.

    Args:
        pipeline: the fitted pipeline, with `predict_proba` unless the task is regression.
        reading: how delivered rows become prepared ones.
        schema: rules for valid rows. Target, excluded and id columns may be absent.
        signature: the model's.
    """

    def __init__(
        self, pipeline: Any, reading: Reading, schema: DataFrameSchema, signature: Signature
    ) -> None:
        self._pipeline, self._reading, self._signature = pipeline, reading, signature
        self._rules = for_prediction(schema, list(signature.features))
        self._reasons = Counter[str]()
        self._tolerated: list[Tolerated] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes so far, as of `Predicted`."""
        return tuple(one.text for one in self._tolerated if one.cells)

    def batches(self, raw: pd.DataFrame) -> Iterator[Batch]:
        """Yield the results of a table, SLICE_ROWS rows at a time.

        Raises:
            UnusableTable: a required column is missing or cannot be used.
            DataError: no row satisfies the schema; raised after the last batch.
        """
        left = False
        for some in slices(len(raw), SLICE_ROWS):
            batch = self._batch(raw.iloc[some])
            left |= batch.predictions is not None
            yield batch
        if not left:
            raise no_rows_left(len(raw), (reason for reason, _ in self._reasons.most_common()))

    def _batch(self, raw: pd.DataFrame) -> Batch:
        signature = self._signature
        prepared = _prepared(raw, self._reading, signature)
        prepared = fit(prepared, raw.columns, self._rules)
        parted = validate(raw, prepared, self._rules, validation=self._reading.validation)
        kept = parted.validated
        self._reasons.update(dict(parted.reasons.itertuples(index=False, name=None)))
        later = [*parted.tolerated, *_unseen_categories(self._pipeline, kept, self._rules)]
        # The rules of one schema count the same things of any rows, in the same order.
        if self._tolerated:
            both = zip(self._tolerated, later, strict=True)
            later = [before.and_those_of(after) for before, after in both]
        self._tolerated = later
        if not len(kept):
            return Batch(None, parted.rejected)
        ids = [name for name in signature.id_columns if name in raw.columns]
        predictions = prediction_table(self._pipeline, kept, raw.loc[kept.index, ids], signature)
        return Batch(predictions, parted.rejected)


def prediction_table(
    pipeline: Any, prepared: pd.DataFrame, ids: pd.DataFrame, signature: Signature
) -> pd.DataFrame:
    """Predict, and return a table as of `Predicted.predictions`.

    Args:
        pipeline: the fitted pipeline, with `predict_proba` unless the task is regression.
        prepared: rows with the model's features, index `row_number`.
        ids: the same rows' id columns, as delivered.
        signature: the model's; errors as of its `select`.
    """
    features = signature.select(prepared)
    outputs = _outputs(pipeline, features, signature)
    identifiers = {_free_name(name, outputs): ids[name] for name in ids.columns}
    table = pd.DataFrame({**identifiers, **outputs}, index=features.index)
    return table.reset_index(names=ROW_NUMBER)


def check_predictions(pipeline: Any, example: bytes, expected: bytes, signature: Signature) -> None:
    """Predict on the example rows and compare with the predictions at the export.

    Raises:
        PredictionsChanged: a number differs by more than TOLERANCE, relatively.
    """
    rows = example_rows(example, signature)
    method = "predict" if signature.classes is None else "predict_proba"
    before = np.asarray(json.loads(expected)[method], dtype="float64")
    now = np.asarray(getattr(pipeline, method)(rows), dtype="float64")
    if before.shape != now.shape or not np.allclose(before, now, rtol=TOLERANCE, atol=TOLERANCE):
        raise errors.PredictionsChanged(
            "the model",
            "it predicts something else here than when it was exported",
            "Install the versions of its environment.txt.",
        )


def prepared_features(raw: pd.DataFrame, reading: Reading, signature: Signature) -> pd.DataFrame:
    """Return the features (n, f) of all delivered rows, without a check by a schema.

    Raises:
        UnusableTable: a required column is missing or cannot be used.
    """
    return signature.select(_prepared(raw, reading, signature).frame)


def source_columns(
    features: Iterable[str], delivered: Collection[str], preparation: Preparation
) -> list[str]:
    """Return the delivered columns that features are made of, without a user's function."""
    taken = [name for name in features if name in delivered]
    return list(dict.fromkeys([*taken, *preparation.calendar]))


def _prepared(raw: pd.DataFrame, reading: Reading, signature: Signature) -> PreparedTable:
    preparation = reading.preparation
    needed = source_columns(signature.features, reading.raw_types, preparation)
    absent = [name for name in needed if name not in raw.columns]
    if absent:
        raise errors.UnusableTable(
            f"column {absent[0]}",
            f"the table lacks {len(absent)} of the {len(needed)} columns that the model reads: "
            f"{errors.listed(absent)}; {errors.did_you_mean(absent[0], raw.columns)}",
            "Deliver the columns the model was trained on.",
        )
    declared = {*preparation.missing_values, *preparation.categories, *preparation.types}
    # A user's own function gets every column: it does not declare what it reads.
    rows = raw[needed] if preparation.function is None else raw
    return prepare(rows, preparation, may_be_absent=declared - set(needed))


def _unseen_categories(
    pipeline: Any, rows: pd.DataFrame, rules: DataFrameSchema
) -> Iterator[Tolerated]:
    """Count unseen texts of columns without a list in the schema; the validation counts the others."""
    from experiment_pipeline.stages.search.features import seen_categories
    from experiment_pipeline.stages.search.voting import TakenApart

    every = [seen_categories(one) for one in TakenApart.of(pipeline).features]
    for name, seen in {name: seen for one in every for name, seen in one.items()}.items():
        column = rules.columns.get(name)
        if column is not None and any(check.name == "isin" for check in column.checks):
            continue
        texts = rows[name].dropna().astype("str")
        yield Tolerated.of(
            "row", "with a category that training did not see", texts[~texts.isin(seen)]
        )


def _outputs(
    pipeline: Any, features: pd.DataFrame, signature: Signature
) -> dict[str, np.ndarray | pd.Series]:
    ask = pipeline.predict if signature.classes is None else pipeline.predict_proba
    some = slices(len(features), PREDICTED_ROWS)
    predicted = np.concatenate([np.asarray(ask(features.iloc[rows])) for rows in some])
    if signature.classes is None:
        return {PREDICTION: predicted.reshape(-1)}
    classes = signature.classes
    if signature.task == "binary":
        column = classes.index(signature.positive_class)
        positive = predicted[:, column]
        chosen = positive >= (0.5 if signature.threshold is None else signature.threshold)
        labels = [classes[column if yes else 1 - column] for yes in chosen]
        shown = {f"probability_{signature.positive_class}": positive}
    else:
        labels = [classes[column] for column in predicted.argmax(axis=1)]
        shown = {f"probability_{name}": predicted[:, i] for i, name in enumerate(classes)}
    return {PREDICTION: pd.Series(labels, index=features.index), **shown}


def _free_name(name: str, taken: Mapping[str, object]) -> str:
    return f"original_{name}" if name in taken or name == ROW_NUMBER else name
