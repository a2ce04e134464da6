"""Rows as delivered: read as the training table was, predicted, and what training never
saw is told.
"""

from datetime import date
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from experiment_pipeline.drafting.files import infer_schema
from experiment_pipeline.errors import DataError, UnusableTable
from experiment_pipeline.intake.frames import as_pandas
from experiment_pipeline.intake.validation import Origin
from experiment_pipeline.prediction.files import Model, Predicted
from experiment_pipeline.prediction.rows import (
    Reading,
    Signature,
    example_bytes,
    example_rows,
    golden_rows,
    prediction_table,
    prepared,
    unseen_offsets,
)
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.kinds import UNSEEN_CATEGORY
from experiment_pipeline.table.membership import prepare_and_assign
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests import exported

FEATURES = ("count", "flag", "size", "colour", "name")
ALGORITHMS = (
    ("lightgbm", "ordinal"),
    ("linear", "onehot"),
    ("random_forest", "ordinal"),
    ("dummy", "onehot"),
    ("sklearn.ensemble.HistGradientBoostingClassifier", "ordinal"),
    ("sklearn.neighbors.KNeighborsClassifier", "onehot"),
)


def seen(n: int = 200) -> pd.DataFrame:
    """A table without a gap: whole numbers, booleans, numbers, a category, and many
    names.
    """
    rng = np.random.default_rng(0)
    columns = {
        "count": rng.integers(0, 50, n),
        "flag": rng.random(n) < 0.5,
        "size": rng.normal(size=n),
        "colour": rng.choice(["red", "green", "blue"], n),
        "name": [f"n{number:02}" for number in rng.integers(0, 40, n)],
    }
    frame = pd.DataFrame(columns).rename_axis(index="row_number")
    risk = frame["size"] + (frame["colour"] == "red") + rng.normal(size=n)
    return frame.assign(late=np.where(risk > 0.5, "yes", "no"))


def never_seen() -> pd.DataFrame:
    """Rows each of which holds a new category, or lacks what was never missing."""
    rows = seen(6)[list(FEATURES)].astype({"count": "float64", "flag": "object"})
    rows.loc[0:2, "colour"] = ["pink", "pink", "grey"]
    rows.loc[3, "name"] = "nobody"
    rows.loc[4, ["count", "size"]] = np.nan
    rows.loc[5, ["flag", "colour"]] = None
    return rows


def model(
    search: dict[str, Any] | None = None,
    schema: str | None = None,
    **validation: Any,
) -> Model:
    """A model trained on `seen`, by default a linear one."""
    train = seen()
    spec = exported.make_spec(
        search=[search or {"algorithm": "linear"}],
        exclude={},
        preparation={},
        split={"by": "random"},
        validation=validation,
    )
    ((_, pipeline),) = exported.refitted(train, FEATURES, spec, ("no", "yes"))
    types = train.dtypes.astype("str").to_dict()
    package = exported.package(pipeline, spec=spec, rows=train, raw_types=types)
    return Model(
        "here",
        pipeline,
        Reading.from_bytes(
            Reading.of(spec, Origin("", types, "", ())).to_bytes(), "here"
        ),
        load_schema(schema or infer_schema(train, "late")),
        Signature.from_bytes(package.files["signature.json"], "here"),
        train,
    )


def predicted(
    rows: pd.DataFrame,
    search: dict[str, Any] | None = None,
    schema: str | None = None,
    **validation: Any,
) -> Predicted:
    """What such a model says about the rows."""
    return model(search, schema, **validation).predict(rows)


@pytest.mark.parametrize(("algorithm", "features"), ALGORITHMS)
def test_what_training_never_saw_is_predicted_by_every_algorithm(
    algorithm: str, features: str
):
    """New categories and new gaps in all rows: all are predicted, also where nan is
    forbidden.
    """
    found = predicted(never_seen(), {"algorithm": algorithm, "features": features})
    assert found.rejected.empty
    assert len(found.predictions) == 6
    assert found.predictions["probability_yes"].between(0, 1).all()


def test_a_gap_that_training_never_saw_is_an_ordinary_value():
    """LightGBM would read it as 0, which is the most extreme value of this column."""
    boosted = {"algorithm": "lightgbm", "hyperparameters": {"min_child_samples": 5}}
    rows = seen(3)[list(FEATURES)].assign(size=[np.nan, np.median(seen()["size"]), 0.0])
    same = {name: rows[name].iloc[0] for name in FEATURES if name != "size"}
    rows = rows.assign(**same)
    gap, middle, _ = predicted(rows, boosted).predictions["probability_yes"]
    assert gap == middle


def test_what_training_never_saw_is_counted_and_told():
    """A sentence per column: how many, and which; also for texts too many to
    be listed.
    """
    assert sorted(predicted(never_seen()).notes) == [
        "colour: 1 missing value kept: the schema does not mention missing values",
        (
            "colour: 3 values kept against isin(['blue', 'green', 'red']): 'pink' (2), "
            "'grey' (1)"
        ),
        "count: 1 missing value kept: the schema does not mention missing values",
        "flag: 1 missing value kept: the schema does not mention missing values",
        "name: 1 row with a category that training did not see: 'nobody' (1)",
        "size: 1 missing value kept: the schema does not mention missing values",
    ]
    assert predicted(seen(50).drop(columns="late")).notes == ()


@pytest.mark.parametrize(
    ("validation", "rejected"),
    [
        ({"unseen_categories": "reject"}, [0, 1, 2]),
        ({"unseen_missing_values": "reject"}, [4, 5]),
        (
            {"unseen_categories": "reject", "unseen_missing_values": "reject"},
            [0, 1, 2, 4, 5],
        ),
    ],
)
def test_the_yaml_may_reject_what_was_never_seen(
    validation: dict[str, str], rejected: list[int]
):
    """`reject` under `validation` goes with the model and keeps such rows from a
    prediction.
    """
    assert predicted(never_seen(), **validation).rejected.index.tolist() == rejected


def test_what_a_schema_says_is_a_rule():
    """A list without raise_warning and `nullable: false` reject, unless the YAML allows
    it.
    """
    rules = "columns: {colour: {isin: [red, green, blue]}, size: {nullable: false}}"
    assert predicted(never_seen(), schema=rules).rejected.index.tolist() == [0, 1, 2, 4]
    allowed = predicted(never_seen(), schema=rules, unseen_categories="allow")
    assert allowed.rejected.index.tolist() == [4]
    with pytest.raises(DataError):
        predicted(never_seen().head(3), schema=rules)


def test_predictions_name_classes_by_the_models_own_order():
    """Multiclass: a column per class, and the prediction is the most probable one."""
    raw = exported.delivered()
    pipeline = exported.fitted(target=raw["carrier"].replace({"?": "0"}))
    classes = tuple(pipeline.classes_.tolist())
    types = exported.prepared(raw)[exported.FEATURES].dtypes
    features = {name: str(dtype) for name, dtype in types.items()}
    signature = Signature("multiclass", "carrier", features, classes=classes)
    table = prediction_table(pipeline, exported.prepared(raw), raw[[]], signature)
    assert list(table.columns[2:]) == [f"probability_{name}" for name in classes]
    assert (table["prediction"] == pipeline.predict(exported.prepared(raw))).all()


def test_rows_are_read_as_the_training_table_was():
    """Codes that look like numbers in a short file stay the texts they were."""
    types = {"carrier": "str", "distance": "float64"}
    reading = Reading.of(exported.make_spec(), Origin("", types, "", ()))
    again = Reading.from_bytes(reading.to_bytes(), "here")
    rows = again.rows([("few.csv", b"carrier;distance\n1.50;3\n;4\n+7;5\n")], "few.csv")
    assert rows["carrier"].tolist()[::2] == ["1.50", "+7"]
    assert rows["carrier"].isna().tolist() == [False, True, False]
    assert rows["distance"].tolist() == [3, 4, 5]
    # A Parquet file needs no delimiter.
    file = pd.DataFrame({"carrier": [7, 8], "distance": [1.0, 2.0]}).to_parquet()
    assert again.rows([("few.parquet", file)], "few.parquet")["carrier"].tolist() == [
        "7",
        "8",
    ]


@pytest.mark.parametrize("excluded", ["day", "day_hour"])
def test_an_excluded_date_is_needed_nowhere(excluded: str):
    """No feature, and asked for neither by the schema, nor in training, nor for
    predictions.
    """
    exclude = {excluded: "of the export", "delay": "known later"}
    spec = exported.make_spec(exclude=exclude, split={"by": "random"})
    raw, schema = exported.delivered(), load_schema(exported.SCHEMA)
    without = raw.drop(columns="day")
    for table in (raw, without)[: 1 + (excluded == "day")]:
        made = prepare_and_assign(table, schema, spec).frame
        assert sorted(feature_columns(made, spec)) == ["carrier", "distance", "flight"]
    reading = Reading.of(spec, Origin("", raw.dtypes.astype("str").to_dict(), "", ()))
    features = {"distance": "float64", "carrier": "str"}
    assert (
        "day"
        not in prepared(without, reading, Signature("binary", "late", features)).frame
    )
    with pytest.raises(UnusableTable, match="did you mean 'day'"):
        prepare_and_assign(raw, schema, exported.make_spec(exclude={"dya": "a slip"}))


def test_times_are_written_as_in_training():
    """Without the offset that training had, hours would shift; another offset is
    counted.
    """
    spec = exported.make_spec(split={"by": "random"})
    raw = exported.delivered().assign(day=lambda frame: frame["day"] + "+02:00")
    offsets = prepare(raw, spec.preparation).offsets
    origin = Origin("", raw.dtypes.astype("str").to_dict(), "", (), offsets)
    reading = Reading.from_bytes(Reading.of(spec, origin).to_bytes(), "here")

    def unseen(end: str) -> str:
        rows = raw.assign(day=raw["day"].str.removesuffix("+02:00") + end)
        made = prepared(
            rows, reading, Signature("binary", "late", {"day_hour": "float64"})
        )
        return " ".join(
            offset.text for offset in unseen_offsets(made, reading) if offset.cells
        )

    assert unseen("+02:00") == ""
    assert unseen("Z").startswith(
        "day: 60 values with an offset from UTC that training did not"
    )
    with pytest.raises(
        UnusableTable, match="no offset from UTC, those of training have one"
    ):
        unseen("")


def test_an_instant_has_the_hour_of_training_in_every_zone():
    """A calendar of a typed column reads hours in the zone of training; without a zone
    there are none.
    """
    spec = exported.make_spec(
        split={"by": "random"}, preparation={"calendar": {"day": ["hour"]}}
    )
    days = pd.date_range("2024-01-01", periods=3, freq="5h", tz="Europe/Berlin")
    origin = Origin("", {"day": str(days.dtype)}, "", ())

    def hours(times: pd.DatetimeIndex) -> list[float]:
        rows, wanted = (
            pd.DataFrame({"day": times}),
            Signature("binary", "late", {"day_hour": "float64"}),
        )
        return (
            prepared(rows, Reading.of(spec, origin), wanted).frame["day_hour"].tolist()
        )

    assert hours(days) == hours(days.tz_convert("Asia/Tokyo")) == [0, 5, 10]
    with pytest.raises(
        UnusableTable, match="no offset from UTC, those of training have one"
    ):
        hours(days.tz_localize(None))


def test_a_dataframe_is_read_as_a_parquet_file_of_it():
    """Python's dates, as pandas reads them, are midnights, and durations are seconds,
    as in training.
    """
    calendar = {"calendar": {"day": ["month"]}}
    spec = exported.make_spec(split={"by": "random"}, preparation=calendar)
    reading = Reading.of(
        spec, Origin("", {"day": "datetime64[us]", "took": "float64"}, "", ())
    )
    rows = pd.DataFrame(
        {"day": [date(2024, 5, 1), None], "took": pd.to_timedelta([90, 1], "s")}
    )
    wanted = Signature("binary", "late", {"day_month": "float64", "took": "float64"})
    made = prepared(rows, reading, wanted).frame[[*wanted.features]]
    assert made.fillna(0).to_numpy().tolist() == [[5, 90], [0, 1]]


KINDS = {
    "Arrow table": pa.Table.from_pandas,
    "DuckDB": lambda rows: duckdb.from_arrow(pa.Table.from_pandas(rows)),
    "dict of columns": lambda rows: rows.to_dict("list"),
    "structured array": lambda rows: rows.astype(
        {"name": object, "colour": object}
    ).to_records(index=False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_is_of_the_kind_that_was_given(kind: str):
    """The same values as from pandas, for predictions, probabilities, rejected rows."""
    rows = seen(6)
    rows.loc[3, "colour"] = "pink"
    given = KINDS[kind](rows)
    loaded = model(unseen_categories="reject")
    from_pandas = loaded.predict(rows)
    predicted = loaded.predict(given)
    for table in (
        predicted.predictions,
        predicted.rejected,
        loaded.predict_proba(given),
    ):
        assert isinstance(table, dict if kind == "dict of columns" else type(given))
    pd.testing.assert_frame_equal(
        as_pandas(predicted.predictions), from_pandas.predictions, check_dtype=False
    )
    assert as_pandas(predicted.rejected)["row_number"].tolist() == [3]
    assert repr(predicted) == repr(from_pandas)


def test_probabilities_have_a_row_per_given_row_and_a_column_per_class():
    """As scikit-learn's, under the index of the rows; a rejected row has none."""
    rows = seen(6).set_axis(list("fedcba"))
    rows.loc["d", "colour"] = "pink"
    loaded = model(unseen_categories="reject")
    probabilities = loaded.predict_proba(rows)
    assert [*probabilities.columns] == ["no", "yes"]
    assert [*probabilities.index] == [*rows.index]
    assert probabilities["yes"].isna().tolist() == [label == "d" for label in "fedcba"]
    valid = rows.drop("d")
    expected = loaded.pipeline.predict_proba(valid[[*loaded.signature.features]])
    np.testing.assert_allclose(probabilities.drop("d"), expected)


def test_a_prediction_says_when_it_is_yes_and_what_that_is_best_for():
    """The threshold, and the metric that it was chosen by."""
    text = "yes from a probability of 0.4 on, which maximises f1 on the test set"
    predicted = model().predict(seen(6))
    assert predicted.decision == text
    assert text in repr(predicted)


def test_the_pipeline_for_scikit_learn_takes_delivered_rows_and_decides_as_the_model():
    """`predict` uses the exported threshold, `predict_proba` is that of the model."""
    loaded = model()
    rows = seen(60)
    assert loaded.sklearn.classes_.tolist() == ["no", "yes"]
    decided = loaded.predict(rows).predictions["prediction"]
    assert loaded.sklearn.predict(rows).tolist() == decided.tolist()
    np.testing.assert_allclose(
        loaded.sklearn.predict_proba(rows), loaded.predict_proba(rows)
    )


def test_golden_rows_hold_what_is_awkward():
    """Missing values of every feature that has them, and an unseen category, types
    kept.
    """
    rows = exported.prepared(exported.delivered())
    golden = golden_rows(rows, exported.FEATURES, plain=5)
    assert list(golden.columns) == exported.FEATURES
    assert (golden.dtypes == rows[exported.FEATURES].dtypes).all()
    assert golden.isna().any()[rows[exported.FEATURES].isna().any()].all()
    assert golden["carrier"].iloc[-1] == UNSEEN_CATEGORY
    assert len(golden) < 5 + len(exported.FEATURES) + 1


def test_golden_rows_are_no_rows_of_the_table():
    """Columns are drawn by themselves: values of one row do not stay together, in no
    order of rows.
    """
    n = np.arange(50)
    rows = pd.DataFrame({"a": n, "b": 100 - n, "c": n.astype("str")})
    golden = golden_rows(rows, list("abc"))[:50]
    assert sorted(golden["a"]) == n.tolist()
    assert (golden["a"] + golden["b"] == 100).sum() < 5
    other = golden_rows(rows.assign(a=n[::-1]), list("abc"))
    pd.testing.assert_frame_equal(other[:50], golden)


def test_example_rows_come_back_bit_for_bit():
    """JSON keeps every value and dtype, missing and infinite ones included."""
    rows = pd.DataFrame(
        {
            "float": [0.1 + 0.2, np.nan, -np.inf],
            "integer": [2**53 + 1, -1, 0],
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "flag": [True, False, True],
            "maybe": pd.array([True, None, False], dtype="boolean"),
            "text": pd.Series(["ü", None, "null"], dtype="str"),
        }
    )
    types = {name: str(dtype) for name, dtype in rows.dtypes.items()}
    back = example_rows(example_bytes(rows), Signature("regression", "y", types))
    pd.testing.assert_frame_equal(back, rows, check_exact=True)


def test_a_missing_feature_is_named():
    """A table without a feature, or with another type in it, is refused."""
    signature = Signature("regression", "y", {"a": "float64", "b": "int64"})
    with pytest.raises(UnusableTable, match="columns 'b': 1 of the model's 2 features"):
        signature.select(pd.DataFrame({"a": [1.0]}))
    with pytest.raises(UnusableTable, match="column b: holds float64"):
        signature.select(pd.DataFrame({"a": [1], "b": [1.5]}))
    with pytest.raises(UnusableTable, match="column a: holds str"):
        signature.select(pd.DataFrame({"a": ["x"], "b": [1]}))
    same, none = never_seen().set_axis([0] * len(never_seen())), never_seen().iloc[:0]
    # It is called DataFrame, but offers no table.
    of_another_library = type("DataFrame", (), {"__module__": "other.dataframe"})
    for rows, said in (
        (same, "a label of"),
        (none, "there are none"),
        ("new.csv", r"of type str, without columns.*model\.read\(url\)"),
        (of_another_library(), r"other\.DataFrame, without columns"),
    ):
        with pytest.raises(UnusableTable, match=f"(?s){said}"):
            predicted(rows)
