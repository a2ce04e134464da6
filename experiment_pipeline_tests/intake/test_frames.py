"""Tables of any library at the door: what works, and what is refused with which words."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import experiment_pipeline as ep
from experiment_pipeline.errors import ExperimentPipelineError
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
    "shuffled": TABLE.sample(frac=1, random_state=0),
    "index of several levels": TABLE.set_index([WORDS, X], drop=False),
    "duplicate index": TABLE.set_axis([0] * ROWS),
    "dates as index": TABLE.set_axis(pd.date_range("2024", periods=ROWS)),
    "Arrow-backed": TABLE.convert_dtypes(dtype_backend="pyarrow"),
    "Arrow's decimals": with_x(
        pd.Series([Decimal("1.5")] * ROWS, dtype=pd.ArrowDtype(pa.decimal128(9, 2)))
    ),
    "Arrow's dates": with_x(
        pd.Series([dt.date(2024, 1, 1)] * ROWS, dtype=pd.ArrowDtype(pa.date32()))
    ),
    "nullable": TABLE.convert_dtypes(),
    "categories": TABLE.assign(word=pd.Categorical(WORDS)),
    "ordered categories": TABLE.assign(
        word=pd.Categorical(WORDS, ["low", "high"], ordered=True)
    ),
    "ranges as categories": with_x(RANGES),
    "ranges": with_x(pd.IntervalIndex(RANGES)),
    "periods": with_x(pd.period_range("2024", periods=ROWS, freq="M")),
    "sparse": with_x(pd.arrays.SparseArray(X)),
    "decimals": with_x([Decimal(str(x)) for x in X]),
    "dates": with_x([dt.date(2024, 1, 1)] * ROWS),
    "Arrow table": ARROW,
    "Arrow batch": ARROW.to_batches()[0],
    "Arrow dictionary": ARROW.set_column(1, "word", ARROW["word"].dictionary_encode()),
    "Arrow's interface": Capsule(),
    "Arrow's interface, lazy": LazyCapsule(),
    "structured array": TABLE.astype({"word": object}).to_records(index=False),
    "dict of columns": {"x": X, "word": list(WORDS)},
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
    assert len(frame) == ROWS
    stored = from_parquet(to_parquet(frame.reset_index(drop=True)))
    assert stored["word"].astype("str").tolist() == frame["word"].tolist()
    assert stored["x"].notna().all()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_named_columns_is_refused_by_its_type(kind: str):
    """The cells are not printed; the fix is Python."""
    with pytest.raises(ExperimentPipelineError) as refused:
        ep.run(REFUSED[kind], "x")
    assert "without columns that have names" in str(refused.value)
    assert "pd.DataFrame(rows" in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_place_stays_a_place():
    """A path, a URL, or the name of an experiment."""
    assert table_or_place("rows.csv") == "rows.csv"


def test_ranges_are_texts_and_missing_ones_stay_missing():
    """As a file would hold them."""
    frame = as_pandas(with_x(pd.cut([np.nan, *X[1:]], [0, 3, 8])))
    assert frame["x"].isna().tolist() == [True] + [False] * (ROWS - 1)
    assert set(frame["x"].dropna()) == {"(0.0, 3.0]", "(3.0, 8.0]"}


@pytest.mark.usefixtures("storage", "quick")
def test_an_arrow_table_is_explored():
    """From the call to the leaderboard."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=300)
    table = pa.table({"x": x, "y": x + generator.normal(size=300)})
    search = [{"algorithm": "linear"}]
    found = ep.explore(table, "y", name="arrow", search=search, progress=False)
    assert found.leaderboard["key"].tolist() == ["linear"]
