"""Predict with an exported model: for rows in memory, or from a table's URL to two
files.

Finds and verifies the model, reads, validates, predicts in batches
(`prediction/rows.py`), writes, and reports progress. In: names of models and tables.
Out: predictions, or files and a `PredictedFile`.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pandera.pandas import DataFrameSchema

from experiment_pipeline import errors
from experiment_pipeline.errors import (
    ExperimentPipelineError,
    InvalidModel,
    UnusableTable,
)
from experiment_pipeline.intake import validation
from experiment_pipeline.intake.column_checks import (
    Counts,
    most_frequent_first,
)
from experiment_pipeline.intake.frames import as_given, as_pandas
from experiment_pipeline.intake.profile import DataProfile, profile_from
from experiment_pipeline.intake.sources import (
    delivered_bytes,
    read_again,
    read_source,
)
from experiment_pipeline.prediction import rows as delivered
from experiment_pipeline.prediction.drift import DriftCounts
from experiment_pipeline.prediction.explanation import Explainer, Explanation
from experiment_pipeline.prediction.rows import (
    ROW_NUMBER,
    SIGNATURE,
    Predicted,
    Reading,
    Signature,
)
from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.run_record import PredictionRow
from experiment_pipeline.spec import Data
from experiment_pipeline.stages.registry import warn_of_memory
from experiment_pipeline.statistics.threads import one_thread
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage import registry as versions
from experiment_pipeline.storage.files import location, resolved, storage_root, streamed
from experiment_pipeline.storage.records import from_json, now
from experiment_pipeline.storage.registry import Registry, find_model
from experiment_pipeline.table.dictionary import (
    NO_DICTIONARY,
    Dictionary,
    dictionary_of,
)
from experiment_pipeline.table.intervals import INTERVALS, Calibrated
from experiment_pipeline.table.membership import fit
from experiment_pipeline.table.schema import column_schemas, for_prediction, load_schema
from experiment_pipeline.table.table import SLICE_ROWS, slices

# Rows per batch with contributions: sampling them takes long, and progress is reported
# per batch.
EXPLAINED_ROWS = 4_096
# Seconds between two progress messages.
SECONDS_BETWEEN_LINES = 10.0
_LONGEST = 300  # characters of a library's error
Tell = Callable[[str], object]


@dataclass(frozen=True)
class PredictedFile:
    """What was written; notes, reasons and drift are those of `Predicted`."""

    model: str  # experiment and version
    predicted: int  # rows
    rejected: int
    notes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """An exported model that predicts for rows as delivered."""

    name: str  # experiment and version
    pipeline: Any  # the fitted scikit-learn pipeline, for prepared rows
    reading: Reading  # how delivered rows become prepared ones
    # rules for valid rows; target, excluded and id columns may be absent
    schema: DataFrameSchema
    signature: Signature  # features and outputs
    examples: pd.DataFrame  # the version's example rows, from `golden_rows`
    scored: str = ""  # the configuration and its score on the validation set, in words
    # the calibration of intervals
    calibrated: Calibrated = field(default_factory=Calibrated)
    # of the intervals beside predictions; None: no intervals
    coverage: float | None = None
    # of features and predictions; None in older versions
    profile: DataProfile | None = None
    dictionary: Dictionary = NO_DICTIONARY

    @property
    def _title(self) -> str:
        count = numbers.counted(len(self.signature.features), "feature")
        return (
            f"{self.name}: {self.signature.task}, {self.signature.target} from {count}"
        )

    def __repr__(self) -> str:
        return f"{self._title}\n{self.scored}"

    def _repr_html_(self) -> str:
        features = document.TableBlock(
            ("feature", "type"), [*self.signature.features.items()]
        )
        return document.fragment(
            document.Section(self._title, (document.Paragraph(self.scored),)),
            document.Section("Features", (features,), folded=True),
        )

    def read(
        self, table: str, tell: Tell = lambda _: None, keep: Collection[str] = ()
    ) -> pd.DataFrame:
        """Return the rows of a table, with the types of the training table.

        `table`: any URL that `data.url` of an experiment accepts; a large table is
        mapped from files in TMPDIR. `tell` is called with a warning if memory may not
        suffice. Columns to `keep` are read as texts from CSV, unless training had them.
        Raises UnreadableTable, UnusableTable, StorageUnreachable.
        """
        source = read_source(Data.model_validate({"url": table}))
        warn_of_memory("prediction", delivered_bytes(source), tell)
        rows = self.reading.rows(source, table, keep)
        if missing := [name for name in keep if name not in rows]:
            raise UnusableTable(
                f"column {missing[0]}",
                rule="is in `keep`, but not in the table",
                fix=errors.did_you_mean(missing[0], rows.columns),
            )
        return rows

    def predict(self, rows: Any) -> Predicted:
        """Prepare and check delivered rows as in training, and predict for the valid
        ones.

        The tables are of the library of `rows`; where it has no index, `row_number`
        counts from 0, also of the rejected rows. Raises UnusableTable: a required
        column is missing or unusable; DataError: no row is valid.
        """
        table = _as_table(rows)
        predicted = self._predicted(table, lambda _: None)
        if isinstance(rows, pd.DataFrame):
            return predicted
        rejected = predicted.rejected.reset_index(names=_number_column(table))
        return replace(
            predicted,
            predictions=as_given(predicted.predictions, rows),
            rejected=as_given(rejected, rows),
        )

    def predict_proba(self, rows: Any) -> Any:
        """Return the probability of each class, a column each, in a row per given row.

        The table is of the library of `rows`; the probabilities of a rejected row are
        missing. Raises as `predict`, and InvalidModel: the model predicts a number.
        """
        signature = self.signature
        if signature.classes is None:
            raise InvalidModel(
                self.name,
                rule=f"predicts the number {signature.target}, without probabilities",
                fix="Ask predict, or predict_interval for bounds.",
            )
        table = _as_table(rows)
        predicted = self._predicted(table, lambda _: None).predictions
        predicted = predicted.set_index(ROW_NUMBER).reindex(table.index)
        if signature.task == "binary":
            positive = predicted[f"probability_{signature.positive_class}"]
            columns = dict.fromkeys(signature.classes, 1 - positive)
            columns[signature.positive_class] = positive
        else:
            columns = {
                label: predicted[f"probability_{label}"] for label in signature.classes
            }
        probabilities = pd.DataFrame(columns).rename_axis(table.index.names)
        if isinstance(rows, pd.DataFrame):
            return probabilities
        return as_given(probabilities.rename(columns=str), rows)

    @cached_property
    def sklearn(self) -> Any:
        """The fitted scikit-learn pipeline for rows as delivered, which decides at the
        exported threshold.

        It rejects no row: a cell of the wrong type is missing. `pipeline` is the one
        for prepared rows.
        """
        # They are slow to load, and prediction does not need them.
        from sklearn.frozen import FrozenEstimator
        from sklearn.model_selection import FixedThresholdClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer

        model = FrozenEstimator(self.pipeline)
        signature = self.signature
        if signature.threshold is not None:
            model = FixedThresholdClassifier(
                model,
                threshold=signature.threshold,
                pos_label=signature.positive_class,
                response_method="predict_proba",
            )
            # It learns the names of the classes: what is frozen is not fitted again.
            model.fit(self.examples.iloc[[0, 0]], signature.classes)
        return make_pipeline(FunctionTransformer(self.features_of), model)

    def features_of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the features of all delivered rows, also of those it would reject.

        The schema's defaults are filled in, and a cell of the wrong type is missing.
        Raises InvalidSchema or UnusableTable: a required column is missing or unusable.
        """
        rules = for_prediction(self.schema, list(self.signature.features))
        prepared = delivered.prepared(rows, self.reading, self.signature)
        fitted = fit(prepared, rows.columns, rules)
        checked, _ = validation.check_columns(
            fitted,
            column_schemas(fitted.frame.columns, rules),
            None,
            self.reading.validation,
        )
        columns = {
            name: column.fitting.reindex(rows.index) for name, column in checked.items()
        }
        return self.signature.select(pd.DataFrame(columns, index=rows.index))

    def predict_interval(self, rows: pd.DataFrame, coverage: float = 0.9) -> Predicted:
        """Predict with `lower` and `upper`, or with `prediction_set`, a JSON list.

        They cover a share of new rows. Misses are as often below as above; the share
        holds for each class. Raises as `predict`, and InvalidModel: too few rows
        calibrated the version for it, or none.
        """
        return replace(self, coverage=coverage).predict(rows)

    def _predicted(
        self, rows: pd.DataFrame, prepared: Callable[[pd.DataFrame], object]
    ) -> Predicted:
        """Predict; `prepared` is called with the prepared valid rows of each batch."""
        counts = _BatchCounts(self.profile)
        predictions = list[pd.DataFrame]()
        rejected = list[pd.DataFrame]()
        for batch in self._batches(rows, counts, SLICE_ROWS):
            rejected.append(batch.rejected)
            if batch.predictions is not None:
                predictions.append(batch.predictions)
                prepared(batch.valid)
        notes, reasons, drift = counts.in_words()
        return Predicted(
            pd.concat(predictions, ignore_index=True),
            pd.concat(rejected) if len(rejected) > 1 else rejected[0],
            notes=notes,
            reasons=reasons,
            drift=drift,
            decision=self.signature.decision,
        )

    def explain(self, rows: pd.DataFrame) -> Explanation:
        """Predict, and return each delivered column's contribution to each prediction.

        Explained is the positive one of two classes, the predicted one of several.
        Raises as `predict`.
        """
        prepared = list[pd.DataFrame]()
        predicted = self._predicted(rows, prepared.append)
        explained = self._explainer.explanation(rows, pd.concat(prepared), predicted)
        return replace(explained, dictionary=self.dictionary)

    def what_if(self, row: pd.DataFrame, /, **changed: Any) -> Explanation:
        """Explain a delivered row as it is and with other values.

        The rows are `before` and `after`. Raises UnusableTable: not one row, or no such
        column; DataError: the schema rejects the row.
        """
        row = _as_table(row)
        if len(row) != 1 or not {*changed} <= {*row.columns}:
            raise UnusableTable(
                "what_if",
                rule=f"takes one row and its columns, not {len(row)} and "
                f"{errors.listed(changed)}",
                fix=f"Its columns are {errors.listed(row.columns)}.",
            )
        before_and_after = pd.concat([row, row.assign(**changed)]).set_axis(
            ["before", "after"]
        )
        explanation = self.explain(before_and_after)
        if reasons := explanation.predicted.reasons:
            raise errors.DataError(
                "what_if",
                rule=f"the schema rejects the row: {'; '.join(reasons)}",
                fix="Give values that schema.yaml allows.",
            )
        return explanation

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(
            self.pipeline, self.signature, self.reading.preparation, self.examples
        )

    def predict_table(
        self,
        table: str,
        output: str,
        rejected: str,
        tell: Tell = lambda _: None,
        *,
        keep: Collection[str] = (),
        explain: int = 0,
        interval: float | None = None,
    ) -> PredictedFile:
        """Predict in batches for a table that may be larger than memory, and write two
        files.

        Predictions go to `output`, rows that break the schema to `rejected`: each a
        .csv or .parquet file, or a URL of one. A file appears when it is complete, the
        predictions last; after an error no file is new or changed. `tell` is called
        with the progress every SECONDS_BETWEEN_LINES. The output also has the columns
        to `keep`, the `explain` strongest contributions, and the columns of
        `predict_interval` for the coverage `interval`. Raises as `read` and
        `predict_interval`.
        """
        self._check_outputs(table, output, rejected)
        rows = self.read(table, tell, keep)
        ids = tuple(dict.fromkeys((*self.signature.id_columns, *keep)))
        signature = replace(self.signature, id_columns=ids)
        model = replace(self, signature=signature, coverage=interval)
        number = _number_column(rows)
        counts = _BatchCounts(self.profile)
        size = EXPLAINED_ROWS if explain else SLICE_ROWS
        reported = time.monotonic()
        with _written(output) as predictions, _written(rejected) as rejections:
            for batch in model._batches(rows, counts, size):  # noqa: SLF001
                if batch.predictions is not None:
                    predictions(self._with_reasons(rows, batch, explain))
                rejections(batch.rejected.reset_index(names=number))
                if time.monotonic() - reported >= SECONDS_BETWEEN_LINES:
                    tell(f"{counts.rows:,} of {len(rows):,} rows")
                    reported = time.monotonic()
        notes, reasons, drift = counts.in_words()
        return PredictedFile(
            self.name,
            predicted=counts.predicted,
            rejected=counts.rejected,
            notes=notes,
            reasons=reasons,
            drift=drift,
        )

    def _check_outputs(self, table: str, output: str, rejected: str) -> None:
        """Refuse files of another kind, and files that are the table or one another."""
        for url in (output, rejected):
            if not url.endswith((".csv", ".parquet")):
                raise UnusableTable(
                    url,
                    rule="is neither .csv nor .parquet",
                    fix="Name such a file.",
                )
        if resolved(location(output)) == resolved(location(rejected)):
            raise UnusableTable(
                output,
                rule="predictions and rejected rows would share a file",
                fix="Name two files.",
            )
        for url in read_again(Data.model_validate({"url": table}), (output, rejected)):
            raise UnusableTable(
                url,
                rule=f"the table is read from there ({table}) and would be overwritten "
                "or extended",
                fix="Name a file outside of the table.",
            )

    def _with_reasons(
        self, rows: pd.DataFrame, batch: "_Batch", explain: int
    ) -> pd.DataFrame:
        """Return a batch's predictions with their strongest contributions."""
        assert batch.predictions is not None
        if not explain:
            return batch.predictions
        predicted = Predicted(batch.predictions, batch.rejected)
        explanation = self._explainer.explanation(rows, batch.valid, predicted)
        return explanation.strongest(explain)

    def note(self, experiment: str, done: PredictedFile) -> None:
        """Record notes and drift for the experiment's page, if it has the version."""
        # SQLAlchemy is slow to load, and `load_model` does not need it.
        from experiment_pipeline.tracking import questions
        from experiment_pipeline.tracking.database.recording import record_rows
        from experiment_pipeline.tracking.outcomes import write_pages

        version = self.name.rpartition(" ")[2]
        notes = (*done.notes, *done.drift)
        # Without a database the predictions are still valid.
        with suppress(errors.StorageError, errors.UnknownRun):
            if version in set(questions.versions(experiment)["version"]):
                row = PredictionRow(
                    version, now(), done.predicted, done.rejected, notes
                )
                record_rows([row], experiment)
                write_pages(storage_root(), experiment)

    def _batches(
        self, raw: pd.DataFrame, counts: "_BatchCounts", size: int
    ) -> Iterator["_Batch"]:
        """Predict for `size` rows at a time, and add to the counts."""
        signature = self.signature
        raw = _as_table(raw)
        further_columns = partial(
            self.calibrated.columns, self.coverage, signature.classes
        )
        rules = for_prediction(self.schema, list(signature.features))
        ids = [name for name in signature.id_columns if name in raw.columns]
        for part in slices(len(raw), size):
            rows = raw.iloc[part]
            prepared = delivered.prepared(rows, self.reading, signature)
            counts.tolerated.add(delivered.unseen_offsets(prepared, self.reading))
            fitted = fit(prepared, rows.columns, rules)
            checked = validation.validate(
                rows, fitted, rules, validation=self.reading.validation
            )
            valid = checked.validated
            counts.reasons.add(checked.reasons)
            counts.tolerated.add(checked.tolerated)
            counts.tolerated.add(
                delivered.unseen_categories(self.pipeline, valid, rules)
            )
            counts.tolerated.add(delivered.infinite_values(valid, signature))
            predictions = None
            if len(valid):
                predictions = delivered.prediction_table(
                    self.pipeline,
                    valid,
                    rows.loc[valid.index, ids],
                    signature,
                    further_columns,
                )
            batch = _Batch(predictions, checked.rejected, valid)
            counts.add(batch)
            yield batch
        if not counts.predicted:
            reasons = most_frequent_first(counts.reasons.values())
            raise validation.no_rows_left(len(raw), reasons)


@dataclass(frozen=True)
class _Batch:
    """Some rows, predicted or rejected."""

    predictions: pd.DataFrame | None  # None: no row is valid
    rejected: pd.DataFrame
    valid: pd.DataFrame  # prepared


class _BatchCounts:
    """Counts over all batches of a table."""

    def __init__(self, profile: DataProfile | None) -> None:
        self.tolerated = Counts()
        self.reasons = Counts()
        self.drift = DriftCounts(profile)
        self.predicted = self.rejected = 0

    @property
    def rows(self) -> int:
        """All rows so far."""
        return self.predicted + self.rejected

    def add(self, batch: _Batch) -> None:
        """Add a batch to the counts of rows and of drift."""
        self.rejected += len(batch.rejected)
        if batch.predictions is not None:
            self.predicted += len(batch.predictions)
            self.drift.add(batch.valid, batch.predictions)

    def in_words(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Return notes, reasons and drift, as of `Predicted`."""
        notes = tuple(count.text for count in self.tolerated.values() if count.cells)
        reasons = most_frequent_first(self.reasons.values())
        return notes, tuple(r.reason for r in reasons), self.drift.in_words()


def _number_column(rows: pd.DataFrame) -> str:
    """Return a column name for row numbers that the table does not have."""
    number = ROW_NUMBER
    while number in rows.columns:
        number = f"{number}_in_table"
    return number


def _as_table(rows: Any) -> pd.DataFrame:
    """Return the rows with column names as texts.

    Raises UnusableTable: no table, no rows, or duplicate labels.
    """
    rows = as_pandas(rows)
    if not len(rows):
        raise UnusableTable("rows", "there are none", "Give one or more.")
    rows = rows.rename(columns=str)
    if not all(axis.is_unique and axis.nlevels == 1 for axis in rows.axes):
        raise UnusableTable(
            "rows",
            rule="a label of their index or columns is duplicate, or has several "
            "levels",
            fix="Rename it, or give rows.reset_index(drop=True).",
        )
    return rows


def load_model(model: str, trusted: Collection[str] = ()) -> Model:
    """Load an exported model, and check that its predictions here are those at its
    export.

    >>> model = load_model("artifacts/flight_delay/registry/v0001")
    >>> model.predict(model.read("new_flights.csv")).rejected.empty
    True

    `model`: a version's folder or URL; for the champion `<root>/<experiment>`, or an
    experiment's name under the storage root. `trusted`: your own code that it may run:
    types of estimators, and `module:function` of a preparation. Raises InvalidModel:
    there is no model, it was changed, or it needs code that is not trusted;
    PredictionsChanged: its predictions here differ.
    """
    exported = find_model(model)
    source = f"{exported.manifest.experiment} {exported.manifest.version}"
    try:
        _import_libraries(exported)
        # If OpenMP has started threads, the children of a process wait for them for
        # ever after a fork.
        with one_thread():
            return _verified(exported, trusted, source)
    except (ExperimentPipelineError, MemoryError):
        raise
    # Libraries may raise anything on files that somebody changed.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:_LONGEST]
        raise InvalidModel(
            source,
            rule=f"its files are damaged, or not those of one model ({reason})",
            fix="Use a complete copy, or run the experiment again: it publishes a new "
            "version.",
        ) from error


def _load_pyfunc(folder: str, config: Mapping[str, Collection[str]]) -> SimpleNamespace:
    """Load a version for MLflow, which gets one row per delivered row.

    Rejected rows have no prediction.
    """
    model = load_model(folder, config["trust"])

    def predict(rows: pd.DataFrame) -> pd.DataFrame:
        predicted = model.predict(rows.reset_index(drop=True))
        if predicted.rejected.empty:
            return predicted.predictions
        reasons = predicted.rejected[[validation.REASONS]]
        table = pd.concat(
            [predicted.predictions, reasons.reset_index(names=ROW_NUMBER)]
        )
        table = table.sort_values(ROW_NUMBER, ignore_index=True)
        return table.astype(object).where(table.notna(), None)  # JSON has no NaN

    return SimpleNamespace(predict=predict)


def _import_libraries(exported: versions.ExportedModel) -> None:
    """Import the known libraries of a model, so that their threads can be limited."""
    declared = set(json.loads(exported.read(versions.TRUSTED)))
    for name in sorted(declared & set(persistence.TRUSTED_TYPES)):
        import_module(name.rpartition(".")[0])


def _verified(
    exported: versions.ExportedModel, trusted: Collection[str], source: str
) -> Model:
    signature = Signature.from_bytes(exported.read(SIGNATURE), source)
    reading = Reading.from_bytes(exported.read(delivered.PREPARATION), source)
    needed = set(json.loads(exported.read(versions.TRUSTED)))
    needed -= set(persistence.TRUSTED_TYPES)
    if reading.preparation.function is not None:
        needed.add(reading.preparation.function)
    exported.check_trusted(needed, trusted)
    types = [name for name in trusted if ":" not in name]
    # The list above is only what the model declares; skops checks the file itself.
    stored = exported.read(versions.MODEL)
    persistence.check_foreign(stored)
    pipeline = persistence.from_bytes(stored, types)
    example = exported.read(versions.EXAMPLE)
    delivered.check_predictions(
        pipeline, example, exported.read(versions.EXPECTED), signature
    )
    files = exported.manifest.files
    bounds = exported.read(INTERVALS) if INTERVALS in files else b"{}"
    damage = InvalidModel(
        source, f"{INTERVALS} holds no bounds", "Name a complete version folder."
    )
    calibrated = from_json(Calibrated, bounds, damage)
    profile = None
    if versions.PROFILE in files:
        profile = profile_from(exported.read(versions.PROFILE), source)
    schema_text = exported.read(versions.SCHEMA).decode()
    model = Model(
        name=source,
        pipeline=pipeline,
        reading=reading,
        schema=load_schema(schema_text),
        dictionary=dictionary_of(schema_text),
        signature=signature,
        examples=delivered.example_rows(example, signature),
        scored=_scored(exported),
        calibrated=calibrated,
        profile=profile,
    )
    # Classes and bounds that are not those of the pipeline would only fail later.
    coverage = max(calibrated.bounds, default=0) / 100 or None
    delivered.prediction_table(
        pipeline,
        model.examples,
        model.examples[[]],
        signature,
        partial(calibrated.columns, coverage, signature.classes),
    )
    return model


def _scored(exported: versions.ExportedModel) -> str:
    """The chosen configuration and its score, from the files of the version."""
    key = yaml.safe_load(exported.read("hyperparameters.yaml"))["key"]
    score, *_ = json.loads(exported.read(versions.METRICS))["scores"]
    words = numbers.as_known(score["estimate"], score["low"], score["high"])
    return f"{key}: {score['metric']} {words} on the {score['set']} set"


def champion(experiment: str, trusted: Collection[str] = ()) -> Model:
    """Return the current model of an experiment, wherever its versions are exported to.

    >>> model = champion("flight_delay")
    >>> model.name
    'flight_delay v0001'

    `trusted` and errors are those of `load_model`.
    """
    # SQLAlchemy is slow to load, and `load_model` does not need it.
    from experiment_pipeline.tracking import questions

    for place in questions.versions(experiment)["place"].tail(1):
        home = location(place).parent.parent
        if Registry(home.parent, home.name).champion() is not None:
            return load_model(str(home), trusted)
    return load_model(experiment, trusted)


def predict(
    experiment: str,
    rows: pd.DataFrame | str,
    trusted: Collection[str] = (),
    coverage: float = 0,
) -> Predicted:
    """Predict with the champion of an experiment, for rows as delivered.

    >>> found = predict("flight_delay", "new_flights.csv")
    >>> found.predictions[["flight", "prediction"]].head(2)
      flight prediction
    0   F000        yes
    1   F001         no

    `rows`: a table with the columns of the training table, with or without the target;
    or any URL that `data.url` of an experiment accepts. `trusted` as in `load_model`.
    Raises as `load_model`, `Model.read` and `Model.predict`, or, with a coverage,
    `Model.predict_interval`.
    """
    model = champion(experiment, trusted)
    rows = model.read(rows) if isinstance(rows, str) else rows
    return model.predict_interval(rows, coverage) if coverage else model.predict(rows)


@contextmanager
def _written(url: str) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Write a file in parts of the same columns; it is visible when it is complete."""
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
