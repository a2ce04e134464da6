"""No row is lost or invented: any table, any schema."""

import pandas as pd
import pandera.pandas as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.errors import DataError
from experiment_pipeline.spec import Preparation
from experiment_pipeline.stages.validated_data.page import check_conserved
from experiment_pipeline.stages.validated_data.rows import validate
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline.table.schema import load_schema

NUMBERS = st.one_of(st.none(), st.integers(-5, 5), st.floats(-5, 5).map(lambda x: round(x, 1)))


TEXTS = st.one_of(st.none(), st.sampled_from(["a", "b", "C", "1", "2.5", "true", "2024-01-01", ""]))


COLUMN_RULES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["float64", "str", "int64", "bool", "datetime64[us]", "Int64"]),
        "coerce": st.just(True),
        "nullable": st.booleans(),
        "unique": st.booleans(),
        "isin": st.just(["a", "b", "1"]),
        "notin": st.just(["C"]),
    },
)


def tables(columns=("x", "y", "z")):
    """Any small table of numbers and texts, with any index."""

    def table(size):
        column = st.one_of(
            st.lists(NUMBERS, min_size=size, max_size=size).map(
                lambda cells: pd.Series(cells, dtype="float64")
            ),
            st.lists(TEXTS, min_size=size, max_size=size).map(
                lambda cells: pd.Series(cells, dtype="str")
            ),
        )
        return st.tuples(*[column for _ in columns]).map(
            lambda cells: pd.DataFrame(dict(zip(columns, cells, strict=True))).rename_axis(
                "row_number"
            )
        )

    return st.integers(1, 12).flatmap(table)


def _yaml(rules: dict) -> str:
    for rule in rules.values():
        rule["coerce"] = True
        if rule.get("dtype") in ("int64", "bool"):
            rule.pop("nullable", None)
    return f"columns: {rules!r}".replace("True", "true").replace("False", "false")


@settings(max_examples=30, deadline=None)
@given(raw=tables(), rules=st.fixed_dictionaries(dict.fromkeys("xyz", COLUMN_RULES)))
def test_no_row_is_lost_or_invented(raw, rules):
    """Any table, any schema: raw == validated + rejected, and validated satisfies pandera."""
    schema = load_schema(_yaml(rules))
    try:
        data = validate(raw, prepare(raw, Preparation()), schema)
    except DataError:
        return
    assert check_conserved(raw, data) == []
    assert (data.rejected["rejection_reasons"] != "").all()
    assert all(one.cells > 0 for one in data.reasons)
    for column in schema.columns.values():
        # Two missing values are a duplicate to pandera, and none here.
        column.unique = bool(column.unique and not column.nullable)
    # pandera turns microseconds into nanoseconds.
    again = schema.validate(data.validated, lazy=True).astype(data.validated.dtypes.to_dict())
    pd.testing.assert_frame_equal(again, data.validated)


@settings(max_examples=12, deadline=None)
@given(raw=tables(), low=st.integers(-5, 5), nullable=st.booleans())
def test_the_rejected_rows_are_those_that_pandera_fails(raw, low, nullable):
    """Where pandera can name every failing row, they are the same rows."""
    raw = raw.assign(
        x=pd.to_numeric(raw["x"], errors="coerce").astype("float64"), y=raw["y"].astype("str")
    )
    flag = str(nullable).lower()
    schema = load_schema(
        f"columns:\n  x: {{dtype: float64, nullable: {flag}, greater_than: {low}}}\n"
        f"  y: {{dtype: str, nullable: {flag}, isin: [a, b]}}\n"
    )
    try:
        schema.validate(raw, lazy=True)
        expected = set()
    except pa.errors.SchemaErrors as error:
        expected = set(error.failure_cases["index"])
    try:
        found = set(validate(raw, prepare(raw, Preparation()), schema).rejected.index)
    except DataError:
        found = set(raw.index)
    assert found == expected
