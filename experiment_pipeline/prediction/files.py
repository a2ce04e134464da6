"""Predicting with an exported model, from its folder and a table's URL to two files.

The shell around `prediction/rows.py`: finds and verifies the model, reads, writes as it predicts,
tells how far it is. In: names. Out: files, and an `PredictedFile` to report. The command line is `cli.py`.
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
from experiment_pipeline.storage.registry import find_model
from experiment_pipeline.table.schema import load_schema

# A line says something new after so long, and what takes less needs none.
SECONDS_BETWEEN_LINES = 10.0
Tell = Callable[[str], object]


@dataclass(frozen=True)
class PredictedFile:
    """What a prediction came to: which version predicted, for how many rows and for how many not.

    `notes` are as of `Predicted`.
    """

    model: str
    predicted: int
    rejected: int
    notes: tuple[str, ...] = ()


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

    def read(self, table: str, tell: Tell = lambda _: None) -> pd.DataFrame:
        """Return the rows of a table, with the types that the training table had.

        The columns of a large one lie in files below TMPDIR, mapped, while it is held.

        Args:
            table: any URL that `data.url` of an experiment may be.
            tell: is given a warning where the memory may not be enough.

        Raises:
            UnreadableTable, UnusableTable, StorageUnreachable.
        """
        data = Data.model_validate({"url": table})
        source = read_source(data)
        warn_of_memory("prediction", delivered_bytes(source), tell)
        return self.reading.rows(source, table)

    def predict_table(
        self, table: str, output: str, rejected: str, tell: Tell = lambda _: None
    ) -> PredictedFile:
        """Predict for the rows of a table that may be larger than memory, from file to files.

        Rows go through in batches. The files show when they are complete, that of the predictions
        last; whatever ends this before leaves none, and those that were there as they were.

        Args:
            table: as `read` takes it.
            output: where the predictions go; a .csv or .parquet file, or a URL of one.
            rejected: where the rows go that break the schema; the same.
            tell: is told now and then how far it is, where it takes long.

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
                tell(_how_far(predicted + refused, len(rows), time.monotonic() - started))
        return PredictedFile(self.name, predicted, refused, predicting.notes)

    def predict(self, rows: pd.DataFrame) -> Predicted:
        """Prepare and check rows as delivered as in training, and predict for the valid ones.

        Raises:
            UnusableTable: a column is missing that a feature is made of, or cannot be used.
            TooManyRejectedRows: not one row satisfies the schema.
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


@contextmanager
def _written(url: str) -> Iterator[Callable[[pd.DataFrame], None]]:
    """A file to be made of parts with the same columns and types; it shows when it is complete."""
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
    said = time.monotonic()

    def told(text: str) -> None:
        nonlocal said
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            tell(text)
            said = time.monotonic()

    return told


def _how_far(done: int, rows: int, seconds: float) -> str:
    """`1,310,720 of 3,000,000 rows, 52,000 a second, about 35 s left`."""
    pace = done / max(seconds, 1e-9)
    left = f", about {numbers.duration((rows - done) / pace)} left" if done < rows else ""
    return f"{done:,} of {rows:,} rows, {float(f'{pace:.2g}'):,.0f} a second{left}"
