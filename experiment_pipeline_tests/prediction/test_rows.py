"""Rows as delivered: read as the training table was, predicted, and what training never
saw is told.
"""

from datetime import date
from typing import Any

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
    prepared,
    unseen_offsets,
)
from experiment_pipeline.table.kinds import UNSEEN_CATEGORY
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline_tests import exported
from experiment_pipeline_tests.prediction.models import loaded

FEATURES = ("count", "flag", "size", "colour", "name")
ALGORITHMS = (
    ("lightgbm", "ordinal"),
    ("linear", "onehot"),
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
    return loaded(package, schema or infer_schema(train, "late"))


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


def test_the_yaml_may_reject_what_was_never_seen():
    """`reject` under `validation` goes with the model and keeps such rows from a
    prediction.
    """
    policies = {"unseen_categories": "reject", "unseen_missing_values": "reject"}
    expected = {"unseen_categories": [0, 1, 2], "unseen_missing_values": [4, 5]}
    for key, rows in expected.items():
        found = predicted(never_seen(), **{key: policies[key]})
        assert found.rejected.index.tolist() == rows
    found = predicted(never_seen(), **policies)
    assert found.rejected.index.tolist() == [0, 1, 2, 4, 5]


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
    fitted = loaded(exported.trained_package("linear", "multiclass"))
    table = fitted.predict(exported.delivered().query("carrier != '?'")).predictions
    names = [f"probability_{name}" for name in fitted.signature.classes]
    assert [*table.columns[-3:]] == names
    likeliest = table[names].idxmax(axis=1).str.removeprefix("probability_")
    assert (table["prediction"] == likeliest).all()


def test_rows_are_read_as_the_training_table_was():
    """Codes that look like numbers in a short file stay the texts they were; the target
    need not be there.
    """
    types = {"carrier": "str", "distance": "float64", "late": "str"}
    reading = Reading.of(exported.make_spec(), Origin("", types, "", ()))
    again = Reading.from_bytes(reading.to_bytes(), "here")
    rows = again.rows([("few.csv", b"carrier;distance\n1.50;3\n;4\n+7;5\n")], "few.csv")
    assert rows["carrier"].fillna("?").tolist() == ["1.50", "?", "+7"]
    assert rows["distance"].tolist() == [3, 4, 5]
    # A Parquet file needs no delimiter.
    file = pd.DataFrame({"carrier": [7, 8], "distance": [1.0, 2.0]}).to_parquet()
    rows = again.rows([("few.parquet", file)], "few.parquet")
    assert rows["carrier"].tolist() == ["7", "8"]


def test_times_are_written_as_in_training():
    """Without the offset that training had, hours would shift; another offset is
    counted.
    """
    spec = exported.make_spec(split={"by": "random"})
    raw = exported.delivered().assign(day=lambda frame: frame["day"] + "+02:00")
    offsets = prepare(raw, spec.preparation).offsets
    origin = Origin("", raw.dtypes.astype("str").to_dict(), "", (), offsets)
    reading = Reading.from_bytes(Reading.of(spec, origin).to_bytes(), "here")
    hour = Signature("binary", "late", {"day_hour": "float64"})

    def unseen(end: str) -> list[str]:
        rows = raw.assign(day=raw["day"].str.replace("+02:00", end))
        counted = unseen_offsets(prepared(rows, reading, hour), reading)
        return [offset.text for offset in counted if offset.cells]

    assert unseen("+02:00") == []
    (other,) = unseen("Z")
    assert other.startswith("day: 60 values with an offset from UTC that training did")
    with pytest.raises(UnusableTable, match="no offset from UTC, those of training"):
        unseen("")


def delivered_times(dtype: str, part: str, times: Any, **more: Any) -> pd.DataFrame:
    """A part of times, prepared as of a training table with that type."""
    calendar = {"calendar": {"day": [part]}}
    spec = exported.make_spec(split={"by": "random"}, preparation=calendar)
    types = {"day": dtype, **dict.fromkeys(more, "float64")}
    reading = Reading.of(spec, Origin("", types, "", ()))
    features = dict.fromkeys([f"day_{part}", *more], "float64")
    rows = pd.DataFrame({"day": times, **more})
    made = prepared(rows, reading, Signature("binary", "late", features))
    return made.frame[[*features]]


def test_an_instant_has_the_hour_of_training_in_every_zone():
    """A calendar of a typed column reads hours in the zone of training; without a zone
    there are none.
    """
    days = pd.date_range("2024-01-01", periods=3, freq="5h", tz="Europe/Berlin")
    for times in (days, days.tz_convert("Asia/Tokyo")):
        hours = delivered_times(str(days.dtype), "hour", times)
        assert hours["day_hour"].tolist() == [0, 5, 10]
    with pytest.raises(UnusableTable, match="no offset from UTC, those of training"):
        delivered_times(str(days.dtype), "hour", days.tz_localize(None))


def test_a_dataframe_is_read_as_a_parquet_file_of_it():
    """Python's dates, as pandas reads them, are midnights, and durations are seconds,
    as in training.
    """
    took = pd.to_timedelta([90, 1], "s")
    dates = [date(2024, 5, 1), None]
    made = delivered_times("datetime64[us]", "month", dates, took=took)
    assert made.fillna(0).to_numpy().tolist() == [[5, 90], [0, 1]]


def test_a_prediction_is_of_the_kind_that_was_given():
    """The same values as from pandas, for predictions, probabilities, rejected rows."""
    rows = seen(6)
    rows.loc[3, "colour"] = "pink"
    fitted = model(unseen_categories="reject")
    from_pandas = fitted.predict(rows)
    for given in (pa.Table.from_pandas(rows), rows.to_dict("list")):
        predicted = fitted.predict(given)
        probabilities = fitted.predict_proba(given)
        for table in (predicted.predictions, predicted.rejected, probabilities):
            assert isinstance(table, type(given))
        found = as_pandas(predicted.predictions)
        expected = from_pandas.predictions
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)
        assert as_pandas(predicted.rejected)["row_number"].tolist() == [3]
        assert repr(predicted) == repr(from_pandas)


def test_probabilities_have_a_row_per_given_row_and_a_column_per_class():
    """As scikit-learn's, under the index of the rows; a rejected row has none."""
    rows = seen(6).set_axis(list("fedcba"))
    rows.loc["d", "colour"] = "pink"
    fitted = model(unseen_categories="reject")
    probabilities = fitted.predict_proba(rows)
    assert [*probabilities.columns] == ["no", "yes"]
    assert [*probabilities.index] == [*rows.index]
    assert probabilities["yes"].isna().tolist() == [label == "d" for label in "fedcba"]
    valid = rows.drop("d")
    expected = fitted.pipeline.predict_proba(valid[[*fitted.signature.features]])
    np.testing.assert_allclose(probabilities.drop("d"), expected)


def test_the_pipeline_for_scikit_learn_takes_delivered_rows_and_decides_as_the_model():
    """`predict` uses the exported threshold, which a prediction shows with what it is
    best for; `predict_proba` is that of the model.
    """
    fitted = model()
    rows = seen(60)
    found = fitted.predict(rows)
    text = "yes from a probability of 0.4 on, which maximises f1 on the test set"
    assert found.decision == text
    assert text in repr(found)
    assert fitted.sklearn.classes_.tolist() == ["no", "yes"]
    decided = found.predictions["prediction"]
    assert fitted.sklearn.predict(rows).tolist() == decided.tolist()
    probabilities = fitted.sklearn.predict_proba(rows)
    np.testing.assert_allclose(probabilities, fitted.predict_proba(rows))


def test_golden_rows_hold_what_is_awkward():
    """Missing values of every feature that has them, and an unseen category, types
    kept.
    """
    rows = exported.prepared(exported.delivered())[exported.FEATURES]
    golden = golden_rows(rows, exported.FEATURES, plain=5)
    pd.testing.assert_series_equal(golden.dtypes, rows.dtypes)
    assert golden.isna().any()[rows.isna().any()].all()
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
    columns = {
        "float": [0.1 + 0.2, np.nan, -np.inf],
        "integer": [2**53 + 1, -1, 0],
        "nullable": pd.array([1, None, 3], dtype="Int64"),
        "maybe": pd.array([True, None, False], dtype="boolean"),
        "text": pd.Series(["ü", None, "null"], dtype="str"),
    }
    rows = pd.DataFrame(columns)
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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (never_seen().set_axis([0] * 6), "a label of"),
        (never_seen().iloc[:0], "there are none"),
        ("new.csv", r"of type str, without columns.*model\.read\(url\)"),
    ],
)
def test_what_is_no_table_of_rows_is_refused(given: Any, said: str):
    """With what to give instead."""
    with pytest.raises(UnusableTable, match=f"(?s){said}"):
        predicted(given)
