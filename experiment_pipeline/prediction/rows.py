"""Rows as delivered: read the way the training table was read, prepared, judged, predicted.

Types in a CSV file are found from the whole column, so a short file may look otherwise: a
column of codes that happens to hold numbers only would lose "1.50" to 1.5. What the training
table held decides instead. What has its type is then taken in batches of rows, however many there
are: preparation, rules and model see one row at a time, and what is told is added up. In: files, or
a raw table; a fitted pipeline and what travels with it (reading, schema, signature). Out: a raw
table, or `Predicted`. Finding the model and its files: `files.py`.
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
from experiment_pipeline.stages.validated_data.columns import LetPass
from experiment_pipeline.stages.validated_data.rows import no_rows_left, validate
from experiment_pipeline.storage.mapped import spilled
from experiment_pipeline.storage.records import yaml_bytes
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.preparation import PreparedTable, prepare
from experiment_pipeline.table.prepared import fit
from experiment_pipeline.table.schema import for_prediction
from experiment_pipeline.table.table import SLICE_ROWS, slices, with_columns

PREPARATION = "preparation.yaml"
TEXT = "str"
_UNSEEN = ("unseen_categories", "unseen_missing_values")
_CSV_SETTINGS = {"delimiter", "encoding", "missing_values"}
Parts = Sequence[tuple[str, Content]]
ROW_NUMBER = "row_number"
PREDICTION = "prediction"
# So many rows are encoded at a time: some models read a column for each text there is.
PREDICTED_ROWS = 65_536
# Another machine may sum in another order; a model that means something else differs by more.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Reading:
    """How a table as delivered becomes a prepared one.

    Attributes:
        csv: the settings of `spec.Data` that the experiment gave for its CSV files.
        raw_types: column → pandas dtype that the training table had before its preparation.
        preparation: what happens to each row.
        validation: of the experiment; only `unseen_categories` and `unseen_missing_values` are
            kept, and mean the same for rows to predict on.
    """

    csv: Mapping[str, Any]
    raw_types: Mapping[str, str]
    preparation: Preparation
    validation: Validation

    @classmethod
    def of(cls, spec: ExperimentSpec, raw_types: Mapping[str, str]) -> "Reading":
        """Return how the experiment read its table."""
        # Not the format: the next table may be Parquet where this one was CSV.
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
        """Read it back; InvalidModel when it is none."""
        try:
            found = yaml.safe_load(data)
            preparation = Preparation.model_validate(found["preparation"])
            return cls(
                dict(found["csv"]), dict(found["raw_types"]), preparation, _validation(found)
            )
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            raise errors.InvalidModel(
                source,
                f"{PREPARATION} does not say how a table is read",
                "Use it with the version of experiment-pipeline that exported it.",
            ) from None

    def rows(self, parts: Parts, url: str) -> pd.DataFrame:
        """Return the raw table of some files, with the types of the training table.

        `url` is where they are from, for messages. The columns of a large table lie on a disk.
        Errors are those of `raw_data.read`.
        """
        is_csv = open_contents(*parts[0], declared=None).format == "csv"
        data = Data(url=url, **(self.csv if is_csv else {}))
        texts = [name for name, kind in self.raw_types.items() if kind == TEXT]
        frame = raw_data.read(parts, data, as_written=texts).frame
        other = [name for name in texts if name in frame and str(frame[name].dtype) != TEXT]
        return with_columns(frame, {name: spilled(as_text(frame[name])) for name in other})


def _validation(found: Mapping[str, Any]) -> Validation:
    """What becomes of values never seen; a model without a word on missing ones rejects them."""
    told = {name: found.get(name) for name in _UNSEEN}
    if told["unseen_missing_values"] is None:
        # Of such a model, `reject` left the word to each list of the schema.
        lists = None if told["unseen_categories"] == "reject" else told["unseen_categories"]
        told = {"unseen_categories": lists, "unseen_missing_values": "reject"}
    return Validation.model_validate(told)


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


@dataclass(frozen=True)
class Batch:
    """What became of the rows of one batch, as `Predicted` has them of all.

    Attributes:
        predictions: None where no row satisfies the schema.
        rejected: the other rows; none, or all.
    """

    predictions: pd.DataFrame | None
    rejected: pd.DataFrame


class Predicting:
    """Rows as delivered on their way through a model, batch by batch; what is told is added up.

    Each row becomes what it would become alone. No rule of `for_prediction` needs a second row,
    nor does the preparation: a user's function is held to it, and is given the rows of a batch.

    Args:
        pipeline: the fitted pipeline, with `predict_proba` unless the task is regression.
        reading: how delivered rows become prepared ones.
        schema: what a valid row is. Target, excluded and id columns may be absent: only what the
            features are made of is prepared and judged.
        signature: the model's.
    """

    def __init__(
        self, pipeline: Any, reading: Reading, schema: DataFrameSchema, signature: Signature
    ) -> None:
        self._pipeline, self._reading, self._signature = pipeline, reading, signature
        self._rules = for_prediction(schema, list(signature.features))
        self._reasons = Counter[str]()
        self._let_pass: list[LetPass] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What was let pass so far, as of `Predicted`."""
        return tuple(one.text for one in self._let_pass if one.cells)

    def batches(self, raw: pd.DataFrame) -> Iterator[Batch]:
        """Give what becomes of the rows of a table, SLICE_ROWS at a time.

        Raises:
            UnusableTable: a column is missing that a feature is made of, or cannot be used.
            TooManyRejectedRows: not one row satisfies the schema; all batches were given.
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
        self._count([*parted.let_pass, *_unseen_categories(self._pipeline, kept, self._rules)])
        if not len(kept):
            return Batch(None, parted.rejected)
        ids = [name for name in signature.id_columns if name in raw.columns]
        predictions = prediction_table(self._pipeline, kept, raw.loc[kept.index, ids], signature)
        return Batch(predictions, parted.rejected)

    def _count(self, later: Sequence[LetPass]) -> None:
        # The rules of one schema count the same things of any rows, in the same order.
        if self._let_pass:
            both = zip(self._let_pass, later, strict=True)
            later = [before.and_those_of(after) for before, after in both]
        self._let_pass = [*later]


def prediction_table(
    pipeline: Any, prepared: pd.DataFrame, ids: pd.DataFrame, signature: Signature
) -> pd.DataFrame:
    """Predict, and name what came out, as `Predicted.predictions` describes.

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
    """Predict on the example rows and compare with what the model predicted at its export.

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
    """Return what a model takes, of all rows as delivered; no schema judges them.

    Raises:
        UnusableTable: a column is missing that a feature is made of, or cannot be used.
    """
    return signature.select(_prepared(raw, reading, signature).frame)


def source_columns(
    features: Iterable[str], delivered: Collection[str], preparation: Preparation
) -> list[str]:
    """Return the columns as delivered that features are made of, without a user's function."""
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
    # A user's own function is given everything: only it knows what it reads.
    rows = raw[needed] if preparation.function is None else raw
    return prepare(rows, preparation, may_be_absent=declared - set(needed))


def _unseen_categories(
    pipeline: Any, rows: pd.DataFrame, rules: DataFrameSchema
) -> Iterator[LetPass]:
    """Count of each text without a list in the schema, which the validation counts, what is new."""
    from experiment_pipeline.stages.search.features import seen_categories
    from experiment_pipeline.stages.search.voting import TakenApart

    every = [seen_categories(one) for one in TakenApart.of(pipeline).features]
    for name, seen in {name: seen for one in every for name, seen in one.items()}.items():
        column = rules.columns.get(name)
        if column is not None and any(check.name == "isin" for check in column.checks):
            continue
        texts = rows[name].dropna().astype("str")
        yield LetPass.of("unseen", texts[~texts.isin(seen)])


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
