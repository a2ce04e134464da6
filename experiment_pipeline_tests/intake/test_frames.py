"""Tables of any library at the door: what works, and what is refused with which words."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import experiment_pipeline as ep
from experiment_pipeline.errors import ExperimentPipelineError, UnusableTable
from experiment_pipeline.intake.frames import as_pandas, table_or_place
from experiment_pipeline.storage.tables import from_parquet, to_parquet

ROWS = 60
X = np.arange(ROWS) % 7 + 0.5
WORDS = np.where(X > 3, "high", "low")
TABLE = pd.DataFrame({"x": X, "word": WORDS})
ARROW = pa.Table.from_pandas(TABLE)
RANGES = pd.cut(X, [0, 3, 8])


class Capsule:
    """A table of a library that offers Arrow's interface alone, as polars does."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return ARROW.__arrow_c_stream__(requested_schema)


class LazyCapsule:
    """One that is to be collected first, as polars' LazyFrame."""

    def collect(self) -> Capsule:
        return Capsule()


def with_x(cells: Any) -> pd.DataFrame:
    """Return the table with other cells in `x`."""
    return TABLE.assign(x=cells)


WORK: dict[str, Any] = {
    "pandas": TABLE,
    "index of several levels": TABLE.set_index([WORDS, X], drop=False),
    "duplicate index": TABLE.set_axis([0] * ROWS),
    "Arrow-backed": TABLE.convert_dtypes(dtype_backend="pyarrow"),
    "Arrow's decimals": with_x(
        pd.Series([Decimal("1.5")] * ROWS, dtype=pd.ArrowDtype(pa.decimal128(9, 2)))
    ),
    "categories": TABLE.assign(word=pd.Categorical(WORDS)),
    "ranges": with_x(pd.IntervalIndex(RANGES)),
    "periods": with_x(pd.period_range("2024", periods=ROWS, freq="M")),
    "sparse": with_x(pd.arrays.SparseArray(X)),
    "dates": with_x([dt.date(2024, 1, 1)] * ROWS),
    "Arrow table": ARROW,
    "Arrow dictionary": ARROW.set_column(1, "word", ARROW["word"].dictionary_encode()),
    "Arrow's interface": Capsule(),
    "Arrow's interface, lazy": LazyCapsule(),
    "instants with a zone": with_x(pd.date_range("2024", periods=ROWS, tz="CET")),
    "nullable integers": with_x(pd.array([None, *range(1, ROWS)], "Int64")),
    "decimals with a missing one": with_x([None, *(Decimal(str(x)) for x in X[1:])]),
    "all missing": with_x([None] * ROWS),
    "one row": TABLE.iloc[:1],
    "structured array": TABLE.astype({"word": object}).to_records(index=False),
}
# What is refused with the line of Python that makes it fit: the table, what is said.
UNFIT: dict[str, tuple[pd.DataFrame, str]] = {
    "lists": (with_x([[x, 1] for x in X]), r"list in row 0: \["),
    "dicts": (with_x([{"a": x} for x in X]), r"dict in row 0: {'a': "),
    "sets": (with_x([{x} for x in X]), "set in row 0"),
    "numbers and a text": (
        with_x(["n/a", *X[1:]]),
        "str in row 0: 'n/a', float in row 1: 1.5",
    ),
    "dates and a text": (
        with_x(["?", *pd.date_range("2024", periods=ROWS - 1)]),
        r"str in row 0: '\?', Timestamp in row 1",
    ),
    "objects": (with_x([object() for _ in X]), "object in row 0: <object"),
    "complex": (with_x(X + 1j), "its type complex128"),
    "names of several levels": (pd.concat({"a": TABLE}, axis=1), "not a text"),
}
REFUSED: dict[str, Any] = {
    "array": TABLE[["x"]].to_numpy(),
    "records": TABLE.to_dict("records"),
    "series": TABLE["x"],
}


@pytest.mark.parametrize("kind", WORK)
def test_a_table_of_any_library_is_read(kind: str):
    """All rows and names come in, and can be stored; words stay words."""
    frame = as_pandas(WORK[kind])
    assert [*frame] == ["x", "word"]
    assert len(frame) == (1 if kind == "one row" else ROWS)
    stored = from_parquet(to_parquet(frame.reset_index(drop=True)))
    assert stored["word"].astype("str").tolist() == frame["word"].tolist()
    assert stored["x"].isna().tolist() == frame["x"].isna().tolist()


@pytest.mark.parametrize("kind", UNFIT)
def test_cells_that_do_not_fit_are_shown_with_the_code_that_helps(kind: str):
    """The line of the message, run as it is, gives a table that comes in."""
    table, says = UNFIT[kind]
    with pytest.raises(UnusableTable, match=says) as refused:
        to_parquet(as_pandas(table))
    namespace = {"table": table.copy(), "pd": pd}
    exec(refused.value.fix.removeprefix("Run "), namespace)
    mended = as_pandas(namespace["table"])
    if kind == "dates and a text":
        assert str(mended["x"].dtype).startswith("datetime64")
    assert len(from_parquet(to_parquet(mended))) == ROWS


def test_ranges_are_named_once_when_they_come_in(caplog: pytest.LogCaptureFixture):
    """They are texts without an order from then on; the place of a table stays one."""
    table_or_place(WORK["ranges"])
    table_or_place(TABLE)
    assert table_or_place("rows.csv") == "rows.csv"
    [note] = caplog.messages
    assert note == "ranges and periods are read as texts, unordered: 'x'"


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_named_columns_is_refused_by_its_type(kind: str):
    """The cells are not printed; the fix is Python."""
    with pytest.raises(ExperimentPipelineError) as refused:
        ep.run(REFUSED[kind], "x")
    assert "without columns that have names" in str(refused.value)
    assert "pd.DataFrame(rows" in str(refused.value)
    assert len(str(refused.value)) < 400


def test_ranges_are_texts_and_missing_ones_stay_missing():
    """As a file would hold them."""
    frame = as_pandas(with_x(pd.cut([np.nan, *X[1:]], [0, 3, 8])))
    assert frame["x"].isna().tolist() == [True] + [False] * (ROWS - 1)
    assert set(frame["x"].dropna()) == {"(0.0, 3.0]", "(3.0, 8.0]"}


@pytest.mark.usefixtures("storage")
def test_a_table_without_rows_is_named_as_such():
    """Not by the file in which it would be stored."""
    with pytest.raises(UnusableTable, match="the table: it has no rows"):
        ep.run(TABLE.iloc[:0], "x")


@pytest.mark.usefixtures("storage", "quick")
def test_labels_that_repeat_are_those_of_the_rows():
    """Ranges in a column and two labels for all rows: each row has its own label."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=300)
    labels = np.where(x > 0, "above", "below")
    y = x + generator.normal(size=300)
    table = pd.DataFrame({"x": x, "part": pd.cut(x, 4), "y": y}).set_axis(labels)
    run = ep.run(
        table, "y", name="labels", search=[{"algorithm": "linear"}], progress=False
    )
    for rows in [run.errors(), *run.sets.values()]:
        assert (rows.index == np.where(rows["x"] > 0, "above", "below")).all()
    parts = {str(part) for part in table["part"]}
    assert set(run.sets["train"]["part"]) <= parts
