"""Rows as delivered: read like the training table, prepared, predicted; and golden
rows.

Column types of a CSV file come from the training table: inferred from a short file, a
column of codes would become numbers ("1.50" → 1.5). On the golden rows, a model must
predict the same wherever it is loaded. In: files, or a raw table; a fitted pipeline.
Out: prepared rows, predictions.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pandera.pandas import DataFrameSchema

from experiment_pipeline import errors
from experiment_pipeline.errors import InvalidModel, UnusableTable
from experiment_pipeline.intake import raw_table
from experiment_pipeline.intake.column_checks import Counted
from experiment_pipeline.intake.contents import Content, open_contents
from experiment_pipeline.intake.frames import as_pandas
from experiment_pipeline.intake.validation import Origin
from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.spec import (
    Data,
    ExperimentSpec,
    Preparation,
    Scalar,
    Validation,
)
from experiment_pipeline.spec.reading import to_yaml
from experiment_pipeline.statistics.importance import spread_evenly
from experiment_pipeline.storage.records import from_json, to_json
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import (
    UNSEEN_CATEGORY,
    holds_missing,
    holds_objects,
    kind_of,
    numbers_of,
)
from experiment_pipeline.table.preparation import (
    Offsets,
    PreparedTable,
    declared_columns,
    prepare,
    source_columns,
)
from experiment_pipeline.table.table import slices, spilled, with_columns, with_only

PREPARATION, SIGNATURE = "preparation.yaml", "signature.json"
TEXT = "str"
_UNSEEN = ("unseen_categories", "unseen_missing_values")
_CSV_SETTINGS = {"delimiter", "encoding", "missing_values"}
ROW_NUMBER, PREDICTION = "row_number", "prediction"
# Rows encoded at a time: a one-hot encoder makes a column per distinct text.
PREDICTED_ROWS = 65_536
# Rounding of sums differs between machines.
TOLERANCE = 1e-6
# JSON has no infinity; pandas parses these texts as such.
INFINITE = {np.inf: "inf", -np.inf: "-inf"}


@dataclass(frozen=True)
class Reading:
    """How a table as delivered becomes a prepared one."""

    csv: Mapping[str, Any]  # the settings of `spec.Data` for CSV files
    # column → pandas dtype of the training table as delivered
    raw_types: Mapping[str, str]
    preparation: Preparation  # of each row
    validation: Validation  # only its policies for values unseen in training are kept
    # UTC offsets of times in training
    offsets: Mapping[str, Offsets] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: ExperimentSpec, origin: Origin) -> "Reading":
        """Return the reading of an experiment."""
        # Without `format`: the next table may be Parquet although this one was CSV.
        data = spec.data or Data(url="frame")
        csv = data.model_dump(mode="json", include=_CSV_SETTINGS, exclude_unset=True)
        return cls(
            csv, origin.raw_types, spec.preparation, spec.validation, origin.offsets
        )

    def to_bytes(self) -> bytes:
        """Return the reading as YAML."""
        content = {
            "csv": dict(self.csv),
            "raw_types": dict(self.raw_types),
            "preparation": self.preparation.model_dump(mode="json", exclude_unset=True),
            **{name: getattr(self.validation, name) for name in _UNSEEN},
            "offsets": {name: dict(rows) for name, rows in self.offsets.items()},
        }
        return to_yaml(content).encode()

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> "Reading":
        """Read it back; InvalidModel for other content."""
        try:
            content = yaml.safe_load(data)
            policies = {name: content[name] for name in _UNSEEN}
            return cls(
                csv=dict(content["csv"]),
                raw_types=dict(content["raw_types"]),
                preparation=Preparation.model_validate(content["preparation"]),
                validation=Validation.model_validate(policies),
                offsets=dict(content.get("offsets", {})),
            )
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            raise InvalidModel(
                source,
                rule=f"{PREPARATION} does not describe how a table is read",
                fix="Use it with the version of experiment-pipeline that exported it.",
            ) from None

    def rows(
        self, parts: Sequence[tuple[str, Content]], url: str, keep: Collection[str] = ()
    ) -> pd.DataFrame:
        """Return the raw table of some files from `url`, typed as in training.

        A large table's columns are spilled to disk. Columns to `keep` that training
        lacks are read as texts. Raises as `raw_table.read`.
        """
        path, content = parts[0]
        is_csv = open_contents(path, content, declared=None).format == "csv"
        data = Data(url=url, **(self.csv if is_csv else {}))
        texts = [name for name, kind in self.raw_types.items() if kind == TEXT]
        as_written = [*texts, *(name for name in keep if name not in self.raw_types)]
        frame = raw_table.read(parts, data, as_written=as_written).frame
        changed = {
            name: spilled(as_text(frame[name]))
            for name in texts
            if name in frame and str(frame[name].dtype) != TEXT
        }
        return with_columns(frame, changed)


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model."""

    task: str  # binary, multiclass or regression
    target: str  # the column that is predicted
    # feature → pandas dtype, in the order the model was fitted on
    features: Mapping[str, str]
    # columns that identify a row, copied beside its prediction
    id_columns: tuple[str, ...] = ()
    # the class of each column of `predict_proba`; None for regression
    classes: tuple[Scalar, ...] | None = None
    # binary: the class whose probability the threshold applies to
    positive_class: Scalar = None
    threshold: float | None = None  # binary: positive from this probability on
    # what the threshold was chosen for, in words; empty in older versions
    threshold_aim: str = ""

    @property
    def decision(self) -> str:
        """From which probability on a row is positive, and what that is best for;
        empty: not binary.
        """
        if self.threshold is None:
            return ""
        cut = numbers.probability(self.threshold) if self.threshold <= 1 else "above 1"
        aim = f", which {self.threshold_aim}" if self.threshold_aim else ""
        return f"{self.positive_class} from a probability of {cut} on{aim}"

    def to_bytes(self) -> bytes:
        """Return the signature as JSON, with the features in order."""
        return to_json(self)

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> "Signature":
        """Read a signature back; InvalidModel for other content."""
        rule = f"{SIGNATURE} is not a signature"
        return from_json(
            cls, data, InvalidModel(source, rule, "Name a complete version folder.")
        )

    def select(self, prepared: pd.DataFrame) -> pd.DataFrame:
        """Return the features of a prepared table, in order and with the model's
        dtypes.

        Integers or booleans with missing values become float64; UnusableTable: wrong
        type or absent feature.
        """
        missing = [name for name in self.features if name not in prepared.columns]
        if missing:
            raise UnusableTable(
                f"columns {errors.listed(missing)}",
                rule=f"{len(missing)} of the model's {len(self.features)} features are "
                "missing",
                fix="Deliver the columns the model was trained on, or those they are "
                "made from.",
            )
        columns = {
            name: _cast(prepared[name], dtype) for name, dtype in self.features.items()
        }
        return pd.DataFrame(columns, index=prepared.index)


@dataclass(frozen=True)
class Predicted:
    """Predictions and rejected rows, as tables of the library of the given rows."""

    # a row per accepted row: `row_number`, the id columns, `prediction`, and for
    # classes one `probability_<class>` each (binary: of the positive class alone);
    # `predict_interval` has more
    predictions: pd.DataFrame
    rejected: pd.DataFrame  # the other rows as delivered, with `rejection_reasons`
    # sentences per column that count accepted values which training did not see
    # (categories, missing values, UTC offsets), infinite values, and defaults that were
    # filled in
    notes: tuple[str, ...] = ()
    # why rows were rejected, with the most frequent values; the most frequent reason
    # first
    reasons: tuple[str, ...] = ()
    # how far rows and predictions drifted from those of training and validation
    drift: tuple[str, ...] = ()
    # binary: from which probability on a row is positive, and what that is best for
    decision: str = ""

    @property
    def _first_rows(self) -> pd.DataFrame:
        return as_pandas(self.predictions).head()

    @property
    def _lines(self) -> tuple[str, ...]:
        counts = f"{numbers.counted(len(as_pandas(self.predictions)), 'row')} predicted"
        return (
            f"{counts}, {len(as_pandas(self.rejected)):,} rejected",
            *filter(None, [self.decision]),
            *self.notes,
            *self.reasons,
            *self.drift,
        )

    def __repr__(self) -> str:
        return "\n".join([*self._lines, self._first_rows.to_string(index=False)])

    def _repr_html_(self) -> str:
        title, *lines = map(document.Paragraph, self._lines)
        rows = document.Markup(self._first_rows.to_html(index=False))
        return document.fragment(document.Section(title.text, (*lines, rows)))


def _cast(column: pd.Series, dtype: str) -> pd.Series:
    if str(column.dtype) == dtype:
        return column
    modelled = pd.api.types.pandas_dtype(dtype)
    if column.hasnans and not holds_missing(modelled):
        return _cast(column.dropna(), dtype).astype("float64").reindex(column.index)
    try:
        cast = column.astype(modelled)
        if kind_of(cast) in ("integer", "boolean") and not (cast == column).all():
            raise ValueError("values would change")  # noqa: TRY301 - one error for both
    except (ValueError, TypeError) as error:
        raise UnusableTable(
            f"column {column.name}",
            rule=f"holds {column.dtype}, the model wants {dtype}: {str(error)[:120]}",
            fix="Deliver the column as the model was trained on it.",
        ) from None
    return cast


def prepared(
    raw: pd.DataFrame, reading: Reading, signature: Signature
) -> PreparedTable:
    """Prepare delivered rows as in training; UnusableTable: a required column is
    missing or unusable.
    """
    preparation = reading.preparation
    needed = source_columns(signature.features, reading.raw_types, preparation)
    absent = [name for name in needed if name not in raw.columns]
    if absent:
        raise UnusableTable(
            f"column {absent[0]}",
            f"the table lacks {len(absent)} of the {len(needed)} columns that the "
            "model reads: "
            f"{errors.listed(absent)}; {errors.did_you_mean(absent[0], raw.columns)}",
            "Deliver the columns the model was trained on.",
        )
    declared = {name for _, name in declared_columns(preparation)}
    # A user's own function gets every column: it does not declare what it reads.
    rows = raw[needed] if preparation.function is None else raw
    read = {
        name: _as_in_a_file(rows[name], trained)
        for name, trained in reading.raw_types.items()
        if name in rows
    }
    return prepare(
        with_columns(rows, read), preparation, may_be_absent=declared - set(needed)
    )


def _as_in_a_file(column: pd.Series, trained: str) -> pd.Series:
    """As it is read from Parquet (durations as seconds, dates as midnights), times in
    the zone of training.
    """
    if kind_of(column) == "duration":
        return column.dt.total_seconds()
    timed = trained.startswith("datetime64")
    if timed and pd.api.types.infer_dtype(column) == "date":
        column = pd.to_datetime(column.astype(object))
    if not timed or kind_of(column) != "datetime":
        return column
    # Hours and days depend on the zone.
    zone = getattr(pd.api.types.pandas_dtype(trained), "tz", None)
    if (column.dt.tz is None) != (zone is None):
        raise _other_offsets(column.name, has_one=zone is None)
    return column if zone is None else column.dt.tz_convert(zone)


def _other_offsets(name: object, *, has_one: bool) -> UnusableTable:
    delivered, trained = ("an", "none") if has_one else ("no", "one")
    return UnusableTable(
        f"column {name}",
        rule=f"its times have {delivered} offset from UTC, those of training have "
        f"{trained}",
        fix="Write them as in training: hours would shift.",
    )


def unseen_categories(
    pipeline: Any, rows: pd.DataFrame, rules: DataFrameSchema
) -> Iterator[Counted]:
    """Count unseen texts of columns without a list in the schema; the validation counts
    the others.
    """
    from experiment_pipeline.stages.search.features import seen_categories
    from experiment_pipeline.stages.search.voting import TakenApart

    parts = TakenApart.of(pipeline)
    # Unknown for a user's transformer, which may use texts in any way.
    seen_of_parts = [
        seen_categories(step) for step in parts.features if parts.transformer is None
    ]
    for name, categories in {
        name: categories for part in seen_of_parts for name, categories in part.items()
    }.items():
        column = rules.columns.get(name)
        if column is None or not any(check.name == "isin" for check in column.checks):
            texts = rows[name].dropna().astype("str")
            unseen = texts[~texts.isin(categories)]
            yield Counted.of("row", "with a category that training did not see", unseen)


def unseen_offsets(table: PreparedTable, reading: Reading) -> Iterator[Counted]:
    """Count times with an offset that training did not see; UnusableTable: only one
    side has offsets.
    """
    for name, offsets in table.offsets.items():
        trained_offsets = reading.offsets.get(name) or offsets
        if any(offsets) != any(trained_offsets):
            raise _other_offsets(name, has_one=any(offsets))
        unseen: dict[object, int] = {
            key: rows for key, rows in offsets.items() if key not in trained_offsets
        }
        what = "with an offset from UTC that training did not see"
        yield Counted(name, "value", what, sum(unseen.values()), unseen)


def infinite_values(rows: pd.DataFrame, signature: Signature) -> Iterator[Counted]:
    """Count the infinite values of each number among a model's features."""
    for name in signature.features:
        if name in rows and kind_of(rows[name]) == "float":
            infinite = rows[name][np.isinf(numbers_of(rows[name]))]
            yield Counted.of(
                "value", "infinite, and used for prediction as they are", infinite
            )


def prediction_table(
    pipeline: Any,
    rows: pd.DataFrame,
    ids: pd.DataFrame,
    signature: Signature,
    further_columns: Callable[
        [pd.DataFrame, np.ndarray], Mapping[str, Any]
    ] = lambda *_: {},
) -> pd.DataFrame:
    """Predict for prepared rows, and return a table like `Predicted.predictions`;
    raises as `select`.

    `ids`: the id columns of these rows, as delivered. `further_columns` is asked with
    features and predictions.
    """
    features = signature.select(rows)
    classes = signature.classes
    ask = pipeline.predict if classes is None else pipeline.predict_proba
    parts = slices(len(features), PREDICTED_ROWS)
    predicted = np.concatenate([np.asarray(ask(features.iloc[part])) for part in parts])
    outputs: dict[str, Any] = {PREDICTION: predicted.reshape(-1)}
    if classes is not None:
        outputs = _class_outputs(predicted, signature, features.index)
    outputs |= further_columns(features, predicted)
    taken = {*outputs, ROW_NUMBER}
    columns = {
        f"original_{name}" if name in taken else name: ids[name] for name in ids.columns
    }
    table = pd.DataFrame({**columns, **outputs}, index=features.index)
    return table.reset_index(names=ROW_NUMBER)


def _class_outputs(
    probabilities: np.ndarray, signature: Signature, index: pd.Index
) -> dict[str, Any]:
    """Return the predicted class and the shown probabilities (n, classes)."""
    classes = signature.classes
    assert classes is not None
    chosen = probabilities.argmax(axis=1)
    shown = dict(enumerate(classes))
    if signature.task == "binary":
        column = classes.index(signature.positive_class)
        cut = 0.5 if signature.threshold is None else signature.threshold
        is_positive = probabilities[:, column] >= cut
        chosen = np.where(is_positive, column, 1 - column)
        shown = {column: signature.positive_class}
    outputs: dict[str, Any] = {
        PREDICTION: pd.Series([classes[k] for k in chosen], index=index)
    }
    for column, label in shown.items():
        outputs[f"probability_{label}"] = probabilities[:, column]
    return outputs


def golden_rows(
    rows: pd.DataFrame, features: Sequence[str], plain: int = 50
) -> pd.DataFrame:
    """Make the golden rows: prepared rows on which a reloaded model must predict the
    same.

    Their values come from `plain` evenly spaced rows, and from further rows until every
    feature with missing values has one; the last row has an unseen category for every
    text. Each column is permuted on its own, so that a version, which may be shared,
    contains no row of the table.
    """
    table = with_only(rows, features)
    chosen = spread_evenly(len(table), min(plain, len(table))).tolist()
    for name in features:
        absent = table[name].isna().to_numpy()
        if absent.any() and not absent[chosen].any():
            chosen.append(int(absent.argmax()))
    draw = np.random.default_rng(0).permutation
    sample = table.iloc[chosen].reset_index(drop=True)
    golden = sample.apply(
        lambda c: (
            c.sort_values(key=as_text if holds_objects(c) else None)
            .iloc[draw(len(c))]
            .array
        )
    ).astype(sample.dtypes)
    texts = [name for name in features if table[name].dtype.name in {"str", "string"}]
    if not texts or golden.empty:
        return golden.reset_index(drop=True)
    unseen = golden.iloc[:1].assign(**dict.fromkeys(texts, UNSEEN_CATEGORY))
    return pd.concat([golden, unseen.astype(golden.dtypes)], ignore_index=True)


def expected_predictions(pipeline: Any, rows: pd.DataFrame) -> dict[str, list]:
    """Return method (`predict`, `predict_proba`) → predictions of these rows."""
    methods = [name for name in ("predict", "predict_proba") if hasattr(pipeline, name)]
    return {name: getattr(pipeline, name)(rows).tolist() for name in methods}


def example_bytes(features: pd.DataFrame) -> bytes:
    """Return example rows as JSON by column, for `example_rows`; a missing value
    becomes null.
    """

    def values(column: pd.Series) -> Sequence[Scalar]:
        cells: list[Any] = [
            None if pd.isna(value) else value for value in column.tolist()
        ]
        return (
            [INFINITE.get(v, v) for v in cells] if kind_of(column) == "float" else cells
        )

    return to_json({name: values(features[name]) for name in features.columns})


def example_rows(data: bytes, signature: Signature) -> pd.DataFrame:
    """Return the rows that `example_bytes` wrote, with the signature's dtypes."""
    return pd.DataFrame(json.loads(data), dtype=object).astype(dict(signature.features))


def check_predictions(
    pipeline: Any, example: bytes, expected: bytes, signature: Signature
) -> None:
    """Predict the example rows; PredictionsChanged: one differs by more than TOLERANCE
    (relative, absolute).
    """
    rows = example_rows(example, signature)
    method = "predict" if signature.classes is None else "predict_proba"
    before = np.asarray(json.loads(expected)[method], dtype="float64")
    now = np.asarray(getattr(pipeline, method)(rows), dtype="float64")
    classes = signature.classes or ()
    if classes and now.shape[1:] != (len(classes),):
        raise InvalidModel(
            SIGNATURE,
            rule=f"names {len(classes)} classes, but the model has another number",
            fix="Use a complete copy, or run the experiment again.",
        )
    if before.shape != now.shape or not np.allclose(
        before, now, rtol=TOLERANCE, atol=TOLERANCE
    ):
        raise errors.PredictionsChanged(
            "the model",
            "its predictions here differ from those at its export",
            "Install the versions of its environment.txt. On another CPU kernel than "
            "that of its manifest, "
            "rounding differs.",
        )
