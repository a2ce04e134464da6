"""Predict with an exported model, from its folder and a table's URL to two files.

Finds and verifies the model, reads, predicts (`prediction/rows.py`), writes, and logs progress. In:
names of models and tables. Out: predictions, or files and a `PredictedFile`.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandera.pandas import DataFrameSchema

from experiment_pipeline.errors import InvalidModel, UnusableTable
from experiment_pipeline.prediction import rows as delivered
from experiment_pipeline.prediction.rows import Predicted, Predicting, Reading
from experiment_pipeline.prediction.signature import SIGNATURE, Signature
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Data
from experiment_pipeline.stages.memory_estimate import warn_of_memory
from experiment_pipeline.stages.raw_data.sources import delivered_bytes, read_source
from experiment_pipeline.storage import persistence, versions
from experiment_pipeline.storage.files import streamed
from experiment_pipeline.storage.locations import location
from experiment_pipeline.storage.registry import Registry, find_model
from experiment_pipeline.table.schema import load_schema

# Between two lines of progress.
SECONDS_BETWEEN_LINES = 10.0
Tell = Callable[[str], object]


@dataclass(frozen=True)
class PredictedFile:
    """The model's version, the numbers of predicted and rejected rows, `notes` as of `Predicted`."""

    model: str
    predicted: int
    rejected: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """An exported model that predicts for rows as delivered.

    Attributes:
        name: experiment and version.
        pipeline: the fitted scikit-learn pipeline, for prepared rows.
        reading: how delivered rows become prepared ones.
        schema: rules for valid rows.
        signature: features and outputs.
    """

    name: str
    pipeline: Any
    reading: Reading
    schema: DataFrameSchema
    signature: Signature

    def read(self, table: str, tell: Tell = lambda _: None) -> pd.DataFrame:
        """Return the rows of a table, with the types of the training table.

        The columns of a large table are memory-mapped files below TMPDIR.

        Args:
            table: any URL that `data.url` of an experiment may be.
            tell: called with a warning when the memory may not be enough.

        Raises:
            UnreadableTable, UnusableTable, StorageUnreachable.
        """
        source = read_source(Data.model_validate({"url": table}))
        warn_of_memory("prediction", delivered_bytes(source), tell)
        return self.reading.rows(source, table)

    def predict_table(
        self, table: str, output: str, rejected: str, tell: Tell = lambda _: None
    ) -> PredictedFile:
        """Predict in batches for a table that may be larger than memory, and write two files.

        A file appears when it is complete, the predictions last. After an error no new file exists
        and old ones are unchanged.

        Args:
            table: as `read` takes it.
            output: for the predictions; a .csv or .parquet file, or a URL of one.
            rejected: for the rows that break the schema; the same.
            tell: called with the progress every SECONDS_BETWEEN_LINES.

        Raises:
            ExperimentPipelineError: as `read` and `predict`.
        """
        _check_outputs(table, output, rejected)
        predicting, rows = self._predicting(), self.read(table, tell)
        tell = _now_and_then(tell)
        tell(f"{numbers.counted(len(rows), 'row')} read")
        started, predicted, refused = time.monotonic(), 0, 0
        with _written(output) as predictions, _written(rejected) as rejections:
            for batch in predicting.batches(rows):
                if batch.predictions is not None:
                    predictions(batch.predictions)
                    predicted += len(batch.predictions)
                rejections(_numbered(batch.rejected))
                refused += len(batch.rejected)
                tell(_progress(predicted + refused, len(rows), time.monotonic() - started))
        return PredictedFile(self.name, predicted, refused, predicting.notes)

    def predict(self, rows: pd.DataFrame) -> Predicted:
        """Prepare and check delivered rows as in training, and predict for the valid ones.

        Raises:
            UnusableTable: a required column is missing or cannot be used.
            DataError: no row satisfies the schema.
        """
        predicting = self._predicting()
        parts = list(predicting.batches(rows))
        predictions = [part.predictions for part in parts if part.predictions is not None]
        return Predicted(
            pd.concat(predictions, ignore_index=True) if len(predictions) > 1 else predictions[0],
            pd.concat([part.rejected for part in parts]) if len(parts) > 1 else parts[0].rejected,
            predicting.notes,
        )

    def _predicting(self) -> Predicting:
        return Predicting(self.pipeline, self.reading, self.schema, self.signature)


def load_model(model: str, trusted: Collection[str] = ()) -> Model:
    """Return an exported model, after a check that it predicts here what it did at its export.

    >>> model = load_model("artifacts/flight_delay/registry/v0001")
    >>> model.predict(model.read("new_flights.csv")).rejected.empty
    True

    Args:
        model: a version's folder or URL; `<root>/<experiment>`, or an experiment's name under the
            storage root, for the champion.
        trusted: the user's own code that the model may run: types of an estimator, and
            `module:function` of a preparation.

    Raises:
        InvalidModel: there is no model, it was changed, or it needs code that is not trusted.
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


def champion(experiment: str, trusted: Collection[str] = ()) -> Model:
    """Return the current model of an experiment, wherever its versions are exported to.

    >>> model = champion("flight_delay")
    >>> model.name
    'flight_delay v0001'

    Args:
        experiment: its name.
        trusted: as `load_model` takes it.

    Raises:
        ExperimentPipelineError: as of `load_model`.
    """
    # SQLAlchemy is slow to load, and `load_model` does not need it.
    from experiment_pipeline.tracking import questions

    for place in questions.versions(experiment)["place"].tail(1):
        home = location(place).parent.parent
        if Registry(home.parent, home.name).champion() is not None:
            return load_model(str(home), trusted)
    return load_model(experiment, trusted)


def predict(experiment: str, rows: pd.DataFrame | str, trusted: Collection[str] = ()) -> Predicted:
    """Predict with the champion of an experiment, for rows as delivered.

    >>> found = predict("flight_delay", "new_flights.csv")
    >>> found.predictions[["flight", "prediction"]].head(2)
      flight prediction
    0   F000        yes
    1   F001         no

    Args:
        experiment: its name.
        rows: a table with the columns of the training table, with or without the target; or any
            URL that `data.url` of an experiment may be.
        trusted: as `load_model` takes it.

    Raises:
        ExperimentPipelineError: as of `load_model`, `Model.read` and `Model.predict`.
    """
    model = champion(experiment, trusted)
    return model.predict(model.read(rows) if isinstance(rows, str) else rows)


def _load(
    exported: versions.ExportedModel, reading: Reading, trusted: Collection[str], source: str
) -> Any:
    """Return the pipeline; InvalidModel when it needs code that is not trusted."""
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
    # The list above is declared by the model; skops checks the bytes themselves.
    return persistence.from_bytes(exported.read(versions.MODEL), types)


def _check_outputs(table: str, output: str, rejected: str) -> None:
    for url in (output, rejected):
        if not url.endswith((".csv", ".parquet")):
            raise UnusableTable(url, "is neither .csv nor .parquet", "Name a file of these.")
    paths = [str(location(url)) for url in (table, output, rejected)]
    if len(set(paths)) < len(paths):
        raise UnusableTable(
            output, "table, predictions and rejected rows would share a file", "Name three files."
        )


def _numbered(rejected: pd.DataFrame) -> pd.DataFrame:
    name = delivered.ROW_NUMBER
    while name in rejected.columns:
        name = f"{name}_in_table"
    return rejected.reset_index(names=name)


@contextmanager
def _written(url: str) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Write a file in parts with the same columns and types; it appears when it is complete."""
    with streamed(location(url)) as place, ExitStack() as opened:
        if url.endswith(".csv"):
            text = opened.enter_context(place.open("wb"))

            def add_lines(part: pd.DataFrame) -> None:
                text.write(part.to_csv(index=False, header=not text.tell()).encode())

            yield add_lines
            return
        parquet: pq.ParquetWriter | None = None

        def add_rows(part: pd.DataFrame) -> None:
            nonlocal parquet
            schema = None if parquet is None else parquet.schema
            table = pa.Table.from_pandas(part, schema=schema, preserve_index=False)
            if parquet is None:
                parquet = opened.enter_context(pq.ParquetWriter(place, table.schema))
            elif not table.num_rows:
                return
            parquet.write_table(table)

        yield add_rows


def _now_and_then(tell: Tell) -> Tell:
    last = time.monotonic()

    def log(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            tell(text)
            last = time.monotonic()

    return log


def _progress(done: int, rows: int, seconds: float) -> str:
    """`1,310,720 of 3,000,000 rows, 52,000 a second, about 35 s left`."""
    pace = done / max(seconds, 1e-9)
    left = f", about {numbers.duration((rows - done) / pace)} left" if done < rows else ""
    return f"{done:,} of {rows:,} rows, {float(f'{pace:.2g}'):,.0f} a second{left}"
