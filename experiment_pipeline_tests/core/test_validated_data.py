"""Validation: every row kept or rejected, never lost, with every reason."""

import inspect

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.core.errors import InvalidSchema, TooManyRejectedRows, UnusableTable
from experiment_pipeline.core.preparation import prepare
from experiment_pipeline.core.spec import Preparation, Validation
from experiment_pipeline.core.validated_data import (
    ValidatedData,
    check_conserved,
    check_rejection_rate,
    feature_columns,
    for_prediction,
    infer_schema,
    load_schema,
    rejection_bias,
    validate,
)
from experiment_pipeline.core.validated_data.schema_grammar import COLUMN_CHECKS
from experiment_pipeline_tests import scenario


def checked(columns: dict, schema: str, spec=None) -> ValidatedData:
    """Validate a small table that needs no preparation."""
    raw = pd.DataFrame(columns).rename_axis(index="row_number")
    return validate(raw, prepare(raw, Preparation()), load_schema(schema), spec)


def reasons(data: ValidatedData) -> dict[int, list[str]]:
    """Return row number → its reasons."""
    return {row: text.split("\n") for row, text in data.rejected["rejection_reasons"].items()}


def clinic(**changes) -> ValidatedData:
    """Validate the scenario's table."""
    raw, spec = scenario.table(), scenario.spec(**changes)
    return validate(raw, prepare(raw, spec.preparation), load_schema(scenario.SCHEMA), spec)


def test_the_broken_rows_and_no_others_are_rejected():
    """Each row that breaks the schema is rejected for what is wrong with it."""
    found = reasons(clinic())
    assert set(found) == set(scenario.BROKEN_ROWS)
    for row, (_, _, reason) in scenario.BROKEN_ROWS.items():
        assert len(found[row]) == 1
        assert found[row][0].startswith(reason)


def test_rejected_rows_are_kept_as_delivered():
    """A rejected row has its original values, and its number in the source as index."""
    rejected = clinic().rejected.drop(columns="rejection_reasons")
    pd.testing.assert_frame_equal(rejected, scenario.table().loc[rejected.index])


def test_validated_rows_have_the_types_of_the_schema():
    """What passes is the prepared row in the schema's type."""
    data = clinic()
    assert data.validated["weight"].dtype == "float64"
    assert data.validated["visited"].dtype == "datetime64[us]"
    assert data.validated["ward"].unique().tolist() == ["north", "east", "south", "day clinic"]
    assert data.rejection_rate == pytest.approx(10 / 480)


def test_a_row_is_rejected_with_every_reason():
    """One broken cell does not hide another, in the same row or in the same column."""
    data = checked(
        {"a": ["1", "x", "99", None], "b": [5.0, -1.0, None, 7.0]},
        "columns: {a: {dtype: int64, less_than: 50}, b: {dtype: float64, greater_than: 0}}\n"
        "coerce: true",
    )
    assert reasons(data) == {
        1: ["a: 'x' is no int64", "b: -1.0 fails greater_than(0)"],
        2: ["a: 99 fails less_than(50)", "b: is missing"],
        3: ["a: is missing"],
    }
    assert data.validated["a"].dtype == "int64"
    assert data.reasons.set_index("reason")["rows"].sum() == 5


@pytest.mark.parametrize(
    ("dtype", "cells", "bad"),
    [
        ("int64", [1.0, 1.5], [1]),
        ("int8", [1, 300], [1]),
        ("bool", ["no", "perhaps"], [1]),
        ("float64", ["1.5", "1,5"], [1]),
        ('"datetime64[us]"', ["2024-01-01", "soon"], [1]),
        ('"datetime64[us]"', [20240101, 20240102], [0, 1]),
        ("float32", [1e300, 1.0], [0]),
    ],
)
def test_coercion_never_changes_what_a_cell_says(dtype, cells, bad):
    """What astype would truncate, wrap or take for true is a reason of its row."""
    schema = f"columns: {{a: {{dtype: {dtype}}}, b: {{}}}}\ncoerce: true"
    columns = {"a": [*cells, None], "b": [1, 2, 3]}
    if len(bad) == len(cells):
        with pytest.raises(TooManyRejectedRows):
            checked(columns, schema)
        return
    found = reasons(checked(columns, schema))
    assert set(found) == {*bad, 2}
    assert all(found[row][0].startswith("a: ") and " is no " in found[row][0] for row in bad)


def test_a_column_of_another_type_without_coerce_is_an_error():
    """Without coerce a wrong type is the schema's fault, not every row's."""
    with pytest.raises(InvalidSchema, match=r"(?s)columns\.a\.dtype.*coerce: true"):
        checked({"a": [1.5]}, "columns: {a: {dtype: int64}}")


def test_rows_over_several_columns():
    """Cross-column checks name the row's values; a missing one passes."""
    data = checked(
        {"net": [1.0, 2, 3, np.nan], "tax": [1.0, 1, 1, 1], "gross": [2.0, 3.005, 5, 9]},
        "columns: {net: {nullable: true}, tax: {}, gross: {}}\n"
        "checks:\n"
        "  compare_columns: {left: net, operator: '<=', right: gross}\n"
        "  columns_add_up: {parts: [net, tax], total: gross, tolerance: 0.01}\n",
    )
    (reason,) = reasons(data)[2]
    assert reason.startswith("{'net': 3.0, 'tax': 1.0, 'gross': 5.0} fails columns_add_up")
    assert len(data.rejected) == 1


def test_uniqueness_in_one_column_and_over_several():
    """All copies are rejected, or all but the first, as report_duplicates says."""
    columns = {"a": [1, 1, 2, 3], "b": ["x", "y", "z", "z"]}
    assert set(reasons(checked(columns, "columns: {a: {unique: true}, b: {}}"))) == {0, 1}
    first = "columns: {a: {}, b: {unique: true, report_duplicates: exclude_first}}"
    assert reasons(checked(columns, first)) == {3: ["b: 'z' is not unique"]}
    both = {"a": [1, 1, 2], "b": ["x", "x", "x"]}
    assert set(reasons(checked(both, "columns: {a: {}, b: {}}\nunique: [a, b]"))) == {0, 1}


def test_a_row_is_not_rejected_for_repeating_a_rejected_one():
    """Uniqueness is judged among rows that break no other rule; missing is no duplicate."""
    data = checked(
        {"id": [1, 1, None, None], "a": [-1, 1, 1, 1]},
        "columns: {id: {unique: true, nullable: true}, a: {greater_than: 0}}",
    )
    assert set(reasons(data)) == {0}


def test_exact_copies_are_rejected_where_the_yaml_says_so():
    """duplicate_rows: reject keeps the first of equal rows."""
    raw = pd.concat([scenario.sound_table(), scenario.sound_table().head(3)], ignore_index=True)
    raw = raw.rename_axis(index="row_number")
    for policy, rejected in (("keep", []), ("reject", [470, 471, 472])):
        spec = scenario.spec(validation={"duplicate_rows": policy})
        prepared = prepare(raw, spec.preparation)
        data = validate(raw, prepared, load_schema(scenario.SCHEMA), spec)
        assert data.rejected.index.tolist() == rejected


def test_unseen_categories_can_be_allowed():
    """Allowed for the experiment or for one column, they stay and are counted."""
    allowed = clinic(validation={"unseen_categories": "allow"})
    assert 129 not in allowed.rejected.index
    assert any("ward" in note and "1 values" in note for note in allowed.notes)
    one = "columns: {a: {isin: {allowed_values: [x], raise_warning: true}}, b: {isin: [x]}}"
    data = checked({"a": ["x", "new", "x"], "b": ["x", "x", "new"]}, one)
    assert set(reasons(data)) == {2}


def test_new_columns_follow_strict():
    """strict: filter leaves them out and says so, true stops, false keeps."""
    columns = {"age": [1, 2], "agee": [3, 4]}
    base = "columns: {age: {}}\nstrict: "
    filtered = checked(columns, base + "filter")
    assert filtered.validated.columns.tolist() == ["age"]
    assert "agee" in filtered.notes[0]
    assert "agee" in checked(columns, base + "false").validated
    with pytest.raises(InvalidSchema, match=r"agee.*did you mean 'age'"):
        checked(columns, base + "true")


def test_columns_that_the_preparation_adds_are_not_new():
    """Calendar columns pass strict: true without standing in the schema."""
    raw = scenario.table()
    prepared = prepare(raw, scenario.spec().preparation)
    schema = load_schema(scenario.SCHEMA.replace("strict: filter", "strict: true"))
    assert "visited_hour" in validate(raw, prepared, schema).validated


def test_missing_columns_follow_required():
    """A required column that is absent is named, with the column that was meant."""
    schema = "columns: {a: {}, weight: {dtype: float64, nullable: true}}\ncoerce: true\n"
    columns = {"a": [1], "wieght": [2.0]}
    with pytest.raises(InvalidSchema, match=r"columns.weight.*did you mean 'wieght'"):
        checked(columns, schema)
    added = checked(columns, schema + "add_missing_columns: true")
    assert added.validated["weight"].isna().all()
    optional = schema.replace("nullable: true", "required: false")
    assert "weight" not in checked(columns, optional).validated


def test_defaults_fill_and_say_so():
    """A default of the schema is not applied in silence."""
    data = checked({"a": [1.0, None]}, "columns: {a: {dtype: float64, default: 7}}")
    assert data.validated["a"].tolist() == [1, 7]
    assert "1 missing values became 7" in data.notes[0]


def test_regular_expressions_name_columns():
    """A regex column stands for every column it matches."""
    data = checked(
        {"x1": [1, 2], "x2": [1, -2]},
        "columns: {'x\\d': {regex: true, gt: 0}}".replace("gt", "greater_than"),
    )
    assert reasons(data) == {1: ["x2: -2 fails greater_than(0)"]}


def test_no_row_left_is_an_error_with_the_reasons():
    """An empty result says what rejected the rows."""
    with pytest.raises(TooManyRejectedRows, match=r"all 2 rows.*a: fails less_than\(0\)"):
        checked({"a": [1, 2]}, "columns: {a: {less_than: 0}}")


def test_a_table_with_the_column_of_reasons_is_refused():
    """The column that reasons are written to is never overwritten."""
    with pytest.raises(UnusableTable, match="rejection_reasons"):
        checked({"rejection_reasons": [1]}, "columns: {rejection_reasons: {}}")


def test_rows_to_predict_on_need_only_the_features():
    """Target and excluded columns may be absent; nothing need be unique."""
    spec = scenario.spec()
    raw = scenario.table().drop(columns=["readmitted", "cost", "triage", "visit_id"]).head(100)
    schema = load_schema(scenario.SCHEMA)
    schema.columns["age"].unique = True
    prepared = prepare(raw, spec.preparation, may_be_absent=spec.not_features)
    features = ["ward", "age", "weight", scenario.STRANGE, scenario.MARKUP]
    data = validate(raw, prepared, for_prediction(schema, features))
    assert set(data.rejected.index) == {11, 37, 58, 83}
    assert schema.columns["age"].unique


BAD_SCHEMAS = {
    "a: [": "line 2",
    "1": "no mapping",
    "columns: {}": "names no columns",
    "columns: {a: {dtpe: int64}}": r"columns\.a\.dtpe.*'dtype'",
    "columns: {a: {dtype: int46}}": r"columns\.a\.dtype.*'int64'",
    "columns: {a: {}, a: {}}": "twice",
    "columns: {yes: {}}": "quotes",
    "columns: {a: {isin: abc}}": r"columns\.a\.isin.*a list",
    "columns: {a: {isinn: [1]}}": "'isin'",
    "columns: {a: {in_range: {min_value: 3, max_value: 1}}}": r"columns\.a\.in_range",
    "columns: {a: {in_range: {min: 3}}}": r"in_range\.min",
    "columns: {a: {str_matches: '('}}": "no regular expression",
    "columns: {a: {greater_than: null}}": "lacks its value",
    "columns: {a: {nullable: 1}}": r"columns\.a\.nullable",
    "columns: {a: {dtype: int64, nullable: true}}": "Write Int64",
    "columns: {a: {dtype: int64, default: x}}": r"columns\.a\.default",
    "columns: {a: {}}\nunique: [b]": "unique.*'b'",
    "columns: {a: {}}\nstrict: filtr": "strict",
    "columns: {a: {}}\ndrop_invalid_rows: true": "kept among the rejected",
    "columns: {a: {drop_invalid_rows: true}}": "kept among the rejected",
    "columns: {a: {}}\nindex: [{dtype: int64}]": "row number",
    "columns: {a: {checks: [{value: 1, options: {check_name: __init__}}]}}": "unknown check",
    "columns: {a: !!python/object/apply:os.system ['true']}": "no YAML",
    "columns: {a: {}}\nchecks: {compare_columns: {left: a, operator: '<', right: b}}": "'b'",
    "columns: {a: {}}\nchecks: {compare_columns: {left: a, operator: '=<', right: a}}": "<=",
}


@pytest.mark.parametrize("text", BAD_SCHEMAS)
def test_a_wrong_schema_names_column_and_key(text):
    """Typos, unsafe YAML and contradictions are errors with the place and what is allowed."""
    with pytest.raises(InvalidSchema) as error:
        load_schema(text)
    assert pd.Series([str(error.value).replace("\n", " ")]).str.contains(BAD_SCHEMAS[text])[0]


def test_a_check_that_does_not_fit_the_type_is_an_error():
    """Comparing text with a number is the schema's mistake, told with the column."""
    with pytest.raises(InvalidSchema, match=r"columns\.a\.greater_than"):
        checked({"a": ["x"]}, "columns: {a: {dtype: str, greater_than: 0}}")


def test_the_grammar_knows_pandera_s_arguments():
    """The arguments that the grammar allows are those of pandera's own checks."""
    for name, arguments in COLUMN_CHECKS.items():
        parameters = inspect.signature(getattr(pa.Check, name)).parameters
        assert [key for key in parameters if key not in ("args", "kwargs")] == list(arguments)


def test_a_schema_that_pandera_wrote_can_be_read():
    """YAML of pandera's own, in its list notation too, means the same here."""
    schema = pa.DataFrameSchema(
        {"a": pa.Column(int, [pa.Check.in_range(0, 5), pa.Check.isin([1, 9])], coerce=True)}
    )
    for minimal in (True, False):
        ours = load_schema(schema.to_yaml(minimal=minimal))
        assert [check.error for check in ours.columns["a"].checks] == [
            check.error for check in schema.columns["a"].checks
        ]


def test_dates_in_checks_may_be_unquoted():
    """YAML's own dates compare with a datetime column."""
    schema = 'columns: {d: {dtype: "datetime64[us]", greater_than: 2024-01-01}}'
    data = checked({"d": pd.to_datetime(["2023-06-01", "2024-06-01"])}, schema)
    assert set(reasons(data)) == {0}


def test_an_inferred_schema_accepts_the_table_it_came_from():
    """Strange names, listed categories and gaps survive the way through YAML."""
    raw = scenario.sound_table()
    prepared = prepare(raw, scenario.spec().preparation)
    text = infer_schema(prepared.frame, "readmitted")
    data = validate(raw, prepared, load_schema(text))
    assert data.rejected.empty
    assert "isin: [day clinic, east, north, south]" in text
    assert text.startswith("#")


def test_an_inferred_schema_sets_no_limits_of_the_sample():
    """A value beyond those seen is not rejected, a category that was not seen is."""
    seen = pd.DataFrame({"a": [1.0, 2.0] * 5, "b": ["x", "y"] * 5}).rename_axis("row_number")
    schema = load_schema(infer_schema(seen, "b"))
    raw = pd.DataFrame({"a": [-1e9, 5.0], "b": ["x", "z"]}).rename_axis("row_number")
    assert set(reasons(validate(raw, prepare(raw, Preparation()), schema))) == {1}


def test_free_text_gets_no_list():
    """Texts that hardly repeat are no categories."""
    text = infer_schema(pd.DataFrame({"id": ["a", "b", "c"], "y": [1, 2, 1]}), "y")
    assert "isin: " not in text.split("columns:\n")[-1]


def test_five_thousand_columns():
    """A wide table is inferred, loaded and validated within seconds."""
    rng = np.random.default_rng(0)
    names = [f"col: {i} 'x' # {{é}}" for i in range(5000)]
    raw = pd.DataFrame(rng.normal(size=(50, 5000)), columns=names).rename_axis("row_number")
    schema = load_schema(infer_schema(raw, names[0]))
    assert validate(raw, prepare(raw, Preparation()), schema).validated.shape == (50, 5000)


def test_the_rejection_rate_has_two_limits():
    """The rate is held against its limit, and its rise against the run before."""
    data = clinic()
    assert check_rejection_rate(data, Validation(max_rejected_fraction=0.03)) == []
    (problem,) = check_rejection_rate(data, Validation(max_rejected_fraction=0.01))
    assert "2.08%" in problem
    assert "age: fails in_range" in problem
    rising = Validation(max_rejected_increase=0.01)
    assert check_rejection_rate(data, rising, previous_rate=0.0) != []
    assert check_rejection_rate(data, rising, previous_rate=0.02) == []
    assert check_rejection_rate(data, rising) == []


def test_lost_and_invented_rows_are_found():
    """The check on conservation is not only ever passed."""
    raw, data = scenario.table(), clinic()
    assert check_conserved(raw, data) == []
    lost = ValidatedData(data.validated.iloc[1:], data.rejected, 0.0, data.reasons)
    assert "1 of 480" in check_conserved(raw, lost)[0]
    twice = ValidatedData(pd.concat([data.validated] * 2), data.rejected, 0.0, data.reasons)
    assert "twice" in check_conserved(raw, twice)[0]
    changed = ValidatedData(data.validated, data.rejected.assign(cost=0.0), 0.0, data.reasons)
    assert "differ" in check_conserved(raw, changed)[0]


def test_whom_rejecting_hits():
    """Rejected rows that are all of one class raise an alarm for that column."""
    raw = pd.DataFrame({"late": ["yes", "no"] * 500, "a": [-1, 1] * 500}).rename_axis("row_number")
    raw.loc[raw.index[:400], "a"] = 1
    prepared = prepare(raw, Preparation())
    data = validate(raw, prepared, load_schema("columns: {late: {}, a: {greater_than: 0}}"))
    (row,) = rejection_bias(prepared.frame, data, ["late"]).itertuples()
    assert (row.value, row.rows, row.rejected, row.alarming) == ("yes", 500, 300, True)
    assert row.rejected_fraction == pytest.approx(0.6)


def test_features_are_what_is_left():
    """Target, excluded, id and split columns and calendar sources are no features."""
    validated = clinic().validated
    assert feature_columns(validated, scenario.spec()) == [
        "ward",
        "age",
        "weight",
        scenario.STRANGE,
        scenario.MARKUP,
        "visited_day_of_week",
        "visited_hour",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"when": pd.Timestamp("2024-01-01")}, "preparation.calendar"),
        ({"took": pd.Timedelta("1h")}, "timedelta"),
        ({"nested": [[1, 2]] * 470}, "lists or mappings"),
    ],
)
def test_a_column_no_model_takes_is_named(changes, message):
    """Datetimes, durations and nested cells end in an error that says what to do."""
    with pytest.raises(UnusableTable, match=message):
        feature_columns(clinic().validated.assign(**changes), scenario.spec())


def test_a_misspelt_excluded_column_is_an_error():
    """Excluding what is not there has no effect, and is told."""
    spec = scenario.spec(exclude={"cots": "a typo", "triage": "later"})
    with pytest.raises(UnusableTable, match=r"exclude\.cots.*did you mean 'cost'"):
        feature_columns(clinic().validated, spec)


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


@settings(max_examples=150, deadline=None)
@given(raw=tables(), rules=st.fixed_dictionaries(dict.fromkeys("xyz", COLUMN_RULES)))
def test_no_row_is_lost_or_invented(raw, rules):
    """Any table, any schema: raw == validated + rejected, and validated satisfies pandera."""
    schema = load_schema(_yaml(rules))
    try:
        data = validate(raw, prepare(raw, Preparation()), schema)
    except TooManyRejectedRows:
        return
    assert check_conserved(raw, data) == []
    assert (data.rejected["rejection_reasons"] != "").all()
    assert data.reasons["rows"].gt(0).all()
    for column in schema.columns.values():
        # Two missing values are a duplicate to pandera, and none here.
        column.unique = bool(column.unique and not column.nullable)
    pd.testing.assert_frame_equal(
        schema.validate(data.validated, lazy=True), data.validated, check_dtype=False
    )


@settings(max_examples=100, deadline=None)
@given(raw=tables(), low=st.integers(-5, 5), nullable=st.booleans())
def test_the_rejected_rows_are_those_that_pandera_fails(raw, low, nullable):
    """Where pandera can name every failing row, they are the same rows."""
    raw = raw.assign(x=pd.to_numeric(raw["x"], errors="coerce"), y=raw["y"].astype("str"))
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
    except TooManyRejectedRows:
        found = set(raw.index)
    assert found == expected
