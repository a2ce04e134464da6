"""Predicting with an exported model, from its folder and a table's URL to two files.

The shell around `prediction/rows.py`: finds and verifies the model, reads, writes. In: names.
Out: files, and an `Outcome` to report. The command line is `cli.py`.
"""

import io
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandera.pandas import DataFrameSchema

from experiment_pipeline.columns.schema import load_schema
from experiment_pipeline.errors import InvalidModel, UnusableTable
from experiment_pipeline.prediction import rows as delivered
from experiment_pipeline.prediction.rows import Predicted, Reading
from experiment_pipeline.prediction.signature import SIGNATURE, Signature
from experiment_pipeline.spec import Data
from experiment_pipeline.stages.raw_data.sources import read_source
from experiment_pipeline.storage import persistence, versions
from experiment_pipeline.storage.files import write_bytes
from experiment_pipeline.storage.locations import location
from experiment_pipeline.storage.registry import find_model


@dataclass(frozen=True)
class Model:
    """An exported model, with what it takes to use it on rows as delivered.

    Attributes:
        name: experiment and version.
        pipeline: the fitted scikit-learn pipeline, which takes prepared rows.
        reading: how delivered rows become prepared ones.
        schema: what a valid row is.
        signature: the features, and what comes out.
    """

    name: str
    pipeline: Any
    reading: Reading
    schema: DataFrameSchema
    signature: Signature

    def read(self, table: str) -> pd.DataFrame:
        """Return the rows of a table, with the types that the training table had.

        Args:
            table: any URL that `data.url` of an experiment may be.

        Raises:
            UnreadableTable, UnusableTable, StorageUnreachable.
        """
        return self.reading.rows(read_source(Data.model_validate({"url": table})), table)

    def predict(self, rows: pd.DataFrame) -> Predicted:
        """Prepare and check rows as delivered as in training, and predict for the valid ones.

        Raises:
            UnusableTable: a column is missing that a feature is made of, or cannot be used.
            TooManyRejectedRows: not one row satisfies the schema.
        """
        return delivered.predict_rows(
            self.pipeline, rows, self.reading, self.schema, self.signature
        )


def load_model(model: str, trusted: Collection[str] = ()) -> Model:
    """Return an exported model that predicts here what it predicted at its export.

    >>> model = load_model("artifacts/flight_delay/registry/v0001")
    >>> model.predict(model.read("new_flights.csv")).rejected.empty
    True

    Args:
        model: a version's folder or URL; `<root>/<experiment>`, or an experiment's name under the
            storage root, for the champion.
        trusted: code of the user's own that the model may run: types of an estimator, and
            `module:function` of a preparation.

    Raises:
        InvalidModel: no model, a changed one, or one that needs code that is not trusted.
        PredictionsChanged: it predicts something else here than at its export.
    """
    exported = find_model(model)
    source = f"{exported.manifest.experiment} {exported.manifest.version}"
    signature = Signature.from_bytes(exported.read(SIGNATURE), source)
    reading = Reading.from_bytes(exported.read(delivered.PREPARATION), source)
    schema = load_schema(exported.read(versions.SCHEMA).decode())
    pipeline = _load(exported, reading, trusted, source)
    example, expected = (exported.read(name) for name in (versions.EXAMPLE, versions.EXPECTED))
    delivered.check_predictions(pipeline, example, expected, signature)
    return Model(source, pipeline, reading, schema, signature)


@dataclass(frozen=True)
class Outcome:
    """What a prediction came to: which version predicted, for how many rows and for how many not.

    `notes` are as of `Predicted`.
    """

    model: str
    predicted: int
    rejected: int
    notes: tuple[str, ...] = ()


def predict(
    model: str, table: str, output: str, rejected: str, trusted: Collection[str] = ()
) -> Outcome:
    """Predict for the rows of a table, as delivered.

    Args:
        model: as `load_model` takes it.
        table: any URL that `data.url` of an experiment may be.
        output: where the predictions go; a .csv or .parquet file.
        rejected: where the rows go that break the schema; the same.
        trusted: as `load_model` takes it.

    Raises:
        ExperimentPipelineError: as `load_model`, `Model.read` and `Model.predict`.
    """
    _check_outputs(table, output, rejected)
    loaded = load_model(model, trusted)
    found = loaded.predict(loaded.read(table))
    write_bytes(location(output), _table_bytes(found.predictions, output))
    write_bytes(location(rejected), _table_bytes(_numbered(found.rejected), rejected))
    return Outcome(loaded.name, len(found.predictions), len(found.rejected), found.notes)


def _load(
    exported: versions.ExportedModel, reading: Reading, trusted: Collection[str], source: str
) -> Any:
    """Return the pipeline, when it needs no code but this project's and what is trusted."""
    wanted = set(json.loads(exported.read(versions.TRUSTED))) - set(persistence.TRUSTED_TYPES)
    if reading.preparation.function is not None:
        wanted.add(reading.preparation.function)
    if unknown := sorted(wanted - set(trusted)):
        options = " ".join(f"--trust {name}" for name in unknown)
        raise InvalidModel(
            source,
            f"it runs code that is not part of this project: {', '.join(unknown)}",
            f"If you know where it comes from, add {options}",
        )
    types = [name for name in trusted if ":" not in name]
    # The list above is only what the model says of itself; here skops looks into the bytes.
    return persistence.from_bytes(exported.read(versions.MODEL), types)


def _check_outputs(table: str, output: str, rejected: str) -> None:
    for url in (output, rejected):
        if not url.endswith((".csv", ".parquet")):
            raise UnusableTable(url, "is neither .csv nor .parquet", "Name a file of these.")
    paths = [str(location(url)) for url in (table, output, rejected)]
    if len(set(paths)) < len(paths):
        raise UnusableTable(
            output, "table, predictions and rejected rows would share a file", "Name three."
        )


def _numbered(rejected: pd.DataFrame) -> pd.DataFrame:
    name = delivered.ROW_NUMBER
    while name in rejected.columns:
        name = f"{name}_in_table"
    return rejected.reset_index(names=name)


def _table_bytes(table: pd.DataFrame, url: str) -> bytes:
    if url.endswith(".csv"):
        return table.to_csv(index=False).encode()
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()
