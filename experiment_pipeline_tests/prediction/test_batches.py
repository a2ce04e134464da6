"""Rows in batches of any size: one table in, the same predictions, rejected rows and
notes out.
"""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiment_pipeline.errors import DataError
from experiment_pipeline.intake import column_checks, sources
from experiment_pipeline.prediction import files, rows
from experiment_pipeline.prediction.files import Model
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.table import table as large
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests import exported
from experiment_pipeline_tests.prediction.models import loaded

FEATURES = ("code", "size", "count", "flag", "colour", "day_month", "twice")
# Every column has a rule that a cell may break, one that only counts, or a default.
SCHEMA = """
columns:
  code: {dtype: str, unique: true}
  size: {dtype: float64, coerce: true, less_than: 9}
  count: {dtype: int64, coerce: true, default: 3}
  flag: {dtype: bool, coerce: true}
  colour: {dtype: str, isin: {allowed_values: [red, green], raise_warning: true}}
  day_month: {dtype: float64, coerce: true}
  twice: {dtype: float64, coerce: true, in_range: {min_value: -99, max_value: 99, raise_warning: true}}
checks:
  compare_columns: {left: size, operator: "<=", right: twice}
unique: [code, size]
"""
FUNCTION = f"{__name__}:with_twice"
# What a CSV file may hold in each column; "" is a missing value.
CELLS = {
    "id": ("a", "1", "007", ""),
    "code": ("007", "1.50", "7", "+7", "x", ""),
    "size": ("1.5", "2", "8", "", "12", "1e3", "abc"),
    "count": ("1", "2", "", "1.5", "many"),
    "flag": ("true", "false", "", "perhaps"),
    "colour": ("red", "green", "pink", "grey", "12", ""),
    "day": ("2024-01-05", "2024-06-30", "", "soon"),
}


def with_twice(frame: pd.DataFrame) -> pd.DataFrame:
    """A user's function: row by row, from a column that may hold anything."""
    return frame.assign(twice=pd.to_numeric(frame["size"], errors="coerce") * 2)


@pytest.fixture(scope="module")
def model() -> Model:
    """A linear model on every sort of column, of a table that was read and prepared."""
    rng = np.random.default_rng(0)
    train = pd.DataFrame(
        {
            "id": [f"i{number}" for number in range(200)],
            "code": rng.choice(["007", "1.50", "7"], 200),
            "size": rng.normal(4, 2, 200),
            "count": rng.integers(0, 9, 200),
            "flag": rng.random(200) < 0.5,
            "colour": rng.choice(["red", "green"], 200),
            "day_month": rng.integers(1, 12, 200).astype("float64"),
        }
    ).assign(twice=lambda frame: frame["size"] * 2)
    train = train.rename_axis(index="row_number").assign(
        late=np.where(train["size"] > 4, "y", "n")
    )
    spec: ExperimentSpec = exported.make_spec(
        search=[{"algorithm": "linear"}],
        exclude={},
        preparation={
            "types": {"day": "datetime"},
            "calendar": {"day": ["month"]},
            "function": FUNCTION,
        },
        split={"by": "random", "id_columns": ["id"]},
    )
    ((_, pipeline),) = exported.refitted(train, FEATURES, spec, ("n", "y"))
    delivered = train.drop(columns=["day_month", "twice", "late"])
    raw = {"day": "str", **delivered.dtypes.astype("str").to_dict()}
    package = exported.package(
        pipeline, spec=spec, rows=train, raw_types=raw, positive_class="y"
    )
    return loaded(package, SCHEMA)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(model: Model, batch_rows: int, table: str, suffix: str) -> tuple[object, ...]:
    """Outcome or error, predictions and rejected rows of a table, in batches of this
    size.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "SLICE_ROWS", batch_rows)
        try:
            outcome = model.predict_table(table, f"p{suffix}", f"r{suffix}")
        except DataError as error:
            return (type(error), str(error).partition(";")[0])
    read: Callable[[str], pd.DataFrame] = (
        pd.read_csv if suffix == ".csv" else pd.read_parquet
    )
    return (outcome, read(f"p{suffix}"), read(f"r{suffix}"))


def assert_same(one: tuple[object, ...], other: tuple[object, ...]) -> None:
    """The sums of a linear model may differ in the last digit between sizes of a
    matrix.
    """
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        if isinstance(a, pd.DataFrame):
            pd.testing.assert_frame_equal(a, b, rtol=1e-12)
        else:
            assert a == b


def write(rows: list[tuple[str, ...]]) -> None:
    """Write the table that is predicted."""
    pd.DataFrame(rows, columns=list(CELLS)).to_csv("t.csv", index=False, sep=";")


TABLES = st.lists(
    st.tuples(*(st.sampled_from(values) for values in CELLS.values())),
    min_size=1,
    max_size=12,
)


@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@given(TABLES, st.integers(1, 5), st.sampled_from([".csv", ".parquet"]))
def test_batches_of_any_size_are_one_batch(model, table, batch_rows, suffix):
    """Codes, dates, gaps, copies, new categories, cells that break each rule: all
    alike.
    """
    write(table)
    whole = told(model, 1_000, "t.csv", suffix)
    assert_same(told(model, batch_rows, "t.csv", suffix), whole)


GOOD = ("a", "007", "1.5", "1", "true", "red", "2024-01-05")


def test_a_column_has_the_type_of_the_table_not_of_a_batch(model):
    """A text among numbers, in the last row: the first batch's rejected row stays as
    delivered.
    """
    write([("b", "007", "12.50", *GOOD[3:]), GOOD, ("c", "007", "abc", *GOOD[3:])])
    _, predicted, rejected = told(model, 1, "t.csv", ".parquet")
    assert predicted["row_number"].tolist() == [1]
    assert rejected["size"].tolist() == ["12.50", "abc"]
    assert rejected["row_number"].tolist() == [0, 2]


def test_what_was_tolerated_or_rejected_is_added_up(model, monkeypatch):
    """Values of all batches together, the most frequent first, so many of them; of a
    default and of gaps, too.
    """
    new = [
        (*GOOD[:3], "", "true", colour, GOOD[6])
        for colour in ("pink", "grey", "pink", "blue")
    ]
    sizes = ["12,5", "n/a?", "12,5"]
    write([GOOD, *new, *(("a", "007", size, *GOOD[3:]) for size in sizes)])
    outcome, *_ = told(model, 2, "t.csv", ".csv")
    kept = "colour: 4 values kept against isin(['red', 'green']): 'pink' (2)"
    assert outcome.notes[:2] == (
        "count: 4 missing values became 3",
        f"{kept}, 'grey' (1), 'blue' (1)",
    )
    values = "3 rows, most often '12,5' (2), 'n/a?' (1)"
    assert outcome.reasons[0] == f"size: is not of type float64 ({values})"
    monkeypatch.setattr(column_checks, "MOST_NAMED", 2)
    monkeypatch.setattr(column_checks, "SHOWN_VALUES", 1)
    outcome, *_ = told(model, 1, "t.csv", ".csv")
    assert outcome.notes[1] == f"{kept} and 1 other"


def test_infinite_values_are_counted(model):
    """1e400 is infinite; a model predicts on it, and the user is told."""
    schema = load_schema(SCHEMA.replace("coerce: true, less_than: 9", "coerce: true"))
    rows = pd.DataFrame([GOOD, GOOD, GOOD], columns=list(CELLS)).assign(
        size=[1.5, np.inf, -np.inf]
    )
    found = replace(model, schema=schema).predict(rows.assign(count=1, flag=True))
    told = (
        "size: 2 values infinite, and used for prediction as they are: inf (1), -inf "
        "(1)"
    )
    assert told in found.notes


def test_a_large_table_is_read_through_the_disk(model, monkeypatch):
    """Packed CSV, and Parquet as a folder: the same files as of a small one."""
    write([GOOD, ("b", "1.50", "8", "2", "false", "pink", "2024-06-30")] * 20)
    small = told(model, 1_000, "t.csv", ".csv")
    Path("t.csv.gz").write_bytes(gzip.compress(Path("t.csv").read_bytes()))
    Path("folder").mkdir()
    table = model.read("t.csv")
    for part in (0, 1):
        table[20 * part :][:20].to_parquet(f"folder/{part}.parquet")
    monkeypatch.setattr(sources, "WHOLE_BYTES", 10)
    monkeypatch.setattr(large, "COLUMN_BYTES", 0)
    for name in ("t.csv.gz", "folder"):
        assert_same(told(model, 7, name, ".csv"), small)


def test_files_are_what_pandas_writes(model):
    """Byte for byte, also of no rejected rows; in batches Parquet has a row group for
    each.
    """
    write([GOOD] * 3)
    found = model.predict(model.read("t.csv"))
    rejected = found.rejected.reset_index(names="row_number")
    told(model, 2, "t.csv", ".csv")
    assert Path("p.csv").read_text() == found.predictions.to_csv(index=False)
    assert Path("r.csv").read_text() == rejected.to_csv(index=False)
    told(model, 2, "t.csv", ".parquet")
    assert pq.ParquetFile("p.parquet").num_row_groups == 2


@pytest.mark.parametrize("cut", [SystemExit, OSError])
def test_what_is_cut_short_leaves_nothing(model, monkeypatch, cut):
    """In the second batch: no predictions, no part of them, and the files of before
    stay.
    """
    write([GOOD] * 4)
    Path("r.csv").write_text("of before")
    one, given = rows.prediction_table, []

    def stops(*arguments):
        given.append(arguments)
        if len(given) == 2:
            assert {path.name for path in Path().glob("[!.]*")} == {"r.csv", "t.csv"}
            raise cut
        return one(*arguments)

    monkeypatch.setattr(rows, "prediction_table", stops)
    monkeypatch.setattr(files, "SLICE_ROWS", 2)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - a SystemExit is no Exception
        model.predict_table("t.csv", "p.csv", "r.csv")
    assert {path.name for path in Path().iterdir()} == {"r.csv", "t.csv"}
    assert Path("r.csv").read_text() == "of before"
