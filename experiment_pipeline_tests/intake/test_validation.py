"""Validation: every row kept or rejected, never lost, with every reason."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.errors import DataError, InvalidSchema, UnusableTable
from experiment_pipeline.intake.validation import (
    REASONS,
    ValidatedData,
    validate,
)
from experiment_pipeline.reporting.outcome import Check
from experiment_pipeline.spec import Preparation, Validation
from experiment_pipeline.stages.validated_data import page
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline.table.schema import for_prediction, load_schema
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.intake.validation import (
    checked,
    clinic,
    reasons,
)
from experiment_pipeline_tests.stages.data_analysis.tables import MULTICLASS, experiment


def test_the_broken_rows_and_no_others_are_rejected():
    """Each row that breaks the schema is kept as delivered with what is wrong; what
    passes has its types.
    """
    data = clinic()
    found, delivered = reasons(data), data.rejected.drop(columns=REASONS)
    pd.testing.assert_frame_equal(delivered, scenario.table().loc[delivered.index])
    assert set(found) == set(scenario.BROKEN_ROWS)
    for row, (_, _, reason) in scenario.BROKEN_ROWS.items():
        assert len(found[row]) == 1
        assert found[row][0].startswith(reason)
    assert data.validated["weight"].dtype == "float64"
    assert data.validated["visited"].dtype == "datetime64[us]"
    assert data.rejection_rate == pytest.approx(10 / 480)


def test_a_row_without_a_positive_weight_is_rejected():
    """Missing, zero, negative and infinite weights, each once, with its reason; no text
    is one.
    """
    spec = scenario.spec(
        sample_weight="weight", target="a", task="regression", metric="rmse"
    )
    schema = "columns: {a: {dtype: float64}, weight: {dtype: float64, nullable: true}}"
    cells = {"a": [1.0] * 6, "weight": [1.0, None, 0.0, -2.0, np.inf, 0.5]}
    said = "weight: {} is not a positive number, which sample_weight asks for".format
    expected = {
        row: [said(odd)] for row, odd in enumerate(("nan", 0.0, -2.0, "inf"), 1)
    }
    assert reasons(checked(cells, schema, spec)) == expected
    with pytest.raises(UnusableTable, match="weights are positive numbers"):
        checked(
            {"a": [1.0], "weight": ["1"]}, schema.replace("float64, n", "str, n"), spec
        )


def test_a_row_is_rejected_with_every_reason():
    """One broken cell does not hide another, in the same row or in the same column."""
    data = checked(
        {"a": ["1", "x", "99", None], "b": [5.0, -1.0, None, 7.0]},
        "columns: {a: {dtype: int64, less_than: 50}, b: {dtype: float64, greater_than: 0}}\n"
        "coerce: true",
    )
    assert reasons(data) == {
        1: ["a: 'x' is not of type int64", "b: -1.0 fails greater_than(0)"],
        2: ["a: 99 fails less_than(50)", "b: is missing"],
        3: ["a: is missing"],
    }
    assert data.validated["a"].dtype == "int64"
    assert sum(one.cells for one in data.reasons) == 5


def test_a_rejected_row_decides_no_type():
    """A row of totals lacks a whole number: what is left without it stays whole, else
    it is wider.
    """
    spec = scenario.spec(target="b", task="regression", metric="rmse")
    schema = "columns: {a: {dtype: int64}, b: {less_than: 50}}\ncoerce: true"
    data = checked({"a": [1, 2, None], "b": [5.0, 6.0, 99.0]}, schema, spec)
    assert (data.validated["a"].dtype, len(data.rejected)) == ("int64", 1)
    kept = checked({"a": [1, 2, None], "b": [5.0, 6.0, 11.0]}, schema, spec)
    assert (kept.validated["a"].dtype, len(kept.rejected)) == ("Int64", 0)


@pytest.mark.parametrize(
    ("dtype", "cells", "bad"),
    [
        ("int64", [1.0, 1.5], [1]),
        ("bool", ["no", "perhaps"], [1]),
        ("float64", ["1.5", "1,5"], [1]),
        ('"datetime64[us]"', [20240101, 20240102], [0, 1]),
        ("float32", [1e300, 1.0], [0]),
    ],
)
def test_coercion_never_changes_what_a_cell_says(dtype, cells, bad):
    """What astype would truncate, wrap or take for true is a reason of its row."""
    schema = f"columns: {{a: {{dtype: {dtype}}}, b: {{}}}}\ncoerce: true"
    columns = {"a": [*cells, None], "b": [1, 2, 3]}
    if len(bad) == len(cells):
        with pytest.raises(DataError):
            checked(columns, schema)
        return
    found = reasons(checked(columns, schema))
    assert set(found) == {*bad, 2}
    assert all(re.match("a: .* is not of type ", found[row][0]) for row in bad)


def test_what_no_row_is_to_blame_for_is_an_error():
    """Hours that would shift, a type without coerce, and no row that is left, with what
    rejected all.
    """
    schema = "columns: {a: {dtype: 'datetime64[us]', coerce: true}}"
    with pytest.raises(UnusableTable, match="1 of 2 times have no offset from UTC"):
        checked({"a": ["2024-03-05T06:07Z", "2024-03-05T06:07"]}, schema)
    with pytest.raises(InvalidSchema, match=r"(?s)columns\.a\.dtype.*coerce: true"):
        checked({"a": [1.5]}, "columns: {a: {dtype: int64}}")
    most_often = (
        r"all 4 rows.*a: fails less_than\(0\) \(4 rows, most often 2 \(3\), 1 \(1\)\)"
    )
    with pytest.raises(DataError, match=most_often):
        checked({"a": [1, 2, 2, 2]}, "columns: {a: {less_than: 0}}")


def test_rows_over_several_columns():
    """Cross-column checks name the row's values; a missing one passes."""
    data = checked(
        {
            "net": [1.0, 2, 3, np.nan],
            "tax": [1.0, 1, 1, 1],
            "gross": [2.0, 3.005, 5, 9],
        },
        "columns: {net: {nullable: true}, tax: {}, gross: {}}\n"
        "checks:\n"
        "  compare_columns: {left: net, operator: '<=', right: gross}\n"
        "  columns_add_up: {parts: [net, tax], total: gross, tolerance: 0.01}\n",
    )
    (reason,) = reasons(data)[2]
    assert reason.startswith(
        "{'net': 3.0, 'tax': 1.0, 'gross': 5.0} fails columns_add_up"
    )
    assert len(data.rejected) == 1


def test_uniqueness_in_one_column_and_over_several():
    """All copies are rejected, or all but the first, as report_duplicates says."""
    columns = {"a": [1, 1, 2, 3], "b": ["x", "y", "z", "z"]}
    alone = checked(columns, "columns: {a: {unique: true}, b: {}}")
    assert set(reasons(alone)) == {0, 1}
    first = "columns: {a: {}, b: {unique: true, report_duplicates: exclude_first}}"
    assert reasons(checked(columns, first)) == {3: ["b: 'z' is not unique"]}
    both = {"a": [1, 1, 2], "b": ["x", "x", "x"]}
    together = checked(both, "columns: {a: {}, b: {}}\nunique: [a, b]")
    assert set(reasons(together)) == {0, 1}
    # It is judged among rows that break no other rule; missing is no duplicate.
    some = {"id": [1, 1, None, None], "a": [-1, 1, 1, 1]}
    schema = "columns: {id: {unique: true, nullable: true}, a: {greater_than: 0}}"
    assert set(reasons(checked(some, schema))) == {0}


def test_exact_copies_are_rejected_where_the_yaml_says_so():
    """duplicate_rows: reject keeps the first of equal rows."""
    raw = pd.concat(
        [scenario.sound_table(), scenario.sound_table().head(3)], ignore_index=True
    )
    raw = raw.rename_axis(index="row_number")
    for policy, copies in (("keep", []), ("reject", [470, 471, 472])):
        spec = scenario.spec(validation={"duplicate_rows": policy})
        assert clinic(spec, raw).rejected.index.tolist() == copies


def test_unseen_categories_can_be_allowed():
    """Allowed for the experiment or for one column, they stay and are counted."""
    allowed = clinic(scenario.spec(validation={"unseen_categories": "allow"}))
    assert 129 not in allowed.rejected.index
    assert any(
        note.startswith("ward: 1 value kept against isin") for note in allowed.notes
    )
    assert any(note.endswith(": 'narnia' (1)") for note in allowed.notes)
    one = "columns: {a: {isin: {allowed_values: [x], raise_warning: true}}, b: {isin: [x]}}"
    data = checked({"a": ["x", "new", "x"], "b": ["x", "x", "new"]}, one)
    assert set(reasons(data)) == {2}


def test_new_columns_follow_strict_and_missing_ones_required():
    """They are filtered, refused or kept; an absent one is named, with the one that was
    meant.
    """
    columns = {"age": [1, 2], "agee": [3, 4]}
    base = "columns: {age: {}}\nstrict: "
    filtered = checked(columns, base + "filter")
    assert filtered.validated.columns.tolist() == ["age"]
    assert "agee" in filtered.notes[0]
    assert "agee" in checked(columns, base + "false").validated
    with pytest.raises(InvalidSchema, match=r"agee.*did you mean 'age'"):
        checked(columns, base + "true")
    schema = (
        "columns: {a: {}, weight: {dtype: float64, nullable: true}}\ncoerce: true\n"
    )
    columns = {"a": [1], "wieght": [2.0]}
    with pytest.raises(InvalidSchema, match=r"columns.weight.*did you mean 'wieght'"):
        checked(columns, schema)
    added = checked(columns, schema + "add_missing_columns: true")
    assert added.validated["weight"].isna().all()
    optional = schema.replace("nullable: true", "required: false")
    assert "weight" not in checked(columns, optional).validated


def test_only_values_that_are_there_are_named():
    """A note or a reason about a category does not name the categories that no such row
    holds.
    """
    schema = "columns: {a: {dtype: category, isin: {allowed_values: [x], raise_warning: true}}}"
    cells = pd.Categorical(["x", "z", "x"], categories=["w", "x", "z"])
    (note,) = checked({"a": cells}, schema).notes
    assert note == "a: 1 value kept against isin(['x']): 'z' (1)"


@pytest.mark.parametrize(
    "cells", [pd.Categorical(["a", None]), pd.array([True, None], "boolean")]
)
def test_defaults_fill_and_say_so(cells):
    """A default of the schema is not applied in silence; it need only be of the type of
    the schema.
    """
    schema = "columns: {a: {dtype: float64, default: 7}, b: {dtype: str, coerce: true, default: z}}"
    data = checked({"a": [1.0, None], "b": cells}, schema)
    assert data.validated.to_dict("list") == {"a": [1, 7], "b": [str(cells[0]), "z"]}
    assert "1 missing value became 7" in data.notes[0]


def test_rows_to_predict_on_need_only_the_features():
    """Target, weights and excluded columns may be absent; nothing need be unique."""
    spec = scenario.spec(sample_weight=scenario.MARKUP)
    assert scenario.MARKUP not in feature_columns(clinic().validated, spec)
    absent = ["readmitted", "cost", "triage", "visit_id", scenario.MARKUP]
    raw = scenario.table().drop(columns=absent).head(100)
    schema = load_schema(scenario.SCHEMA)
    schema.columns["age"].unique = True
    rules = for_prediction(schema, ["ward", "age", "weight", scenario.STRANGE])
    prepared = scenario.prepared_rows(
        raw, spec.preparation, rules, may_be_absent=spec.not_features
    )
    assert set(validate(raw, prepared, rules).rejected.index) == {11, 37, 58, 83}
    assert schema.columns["age"].unique
    more = load_schema(
        "columns: {age: {dtype: int64, default: 0}}\nadd_missing_columns: true\n"
    )
    added = scenario.prepared_rows(
        raw[[]], Preparation(), for_prediction(more, ["age"])
    )
    assert set(validate(raw[[]], added, more).validated["age"]) == {0}


def test_the_rejection_rate_has_two_limits():
    """The rate is held against its limit, and its rise against the run before."""
    data = clinic()
    assert page.check_rejection_rate(data, Validation(max_rejected_fraction=0.03)) == []
    (problem,) = page.check_rejection_rate(data, Validation(max_rejected_fraction=0.01))
    assert "2.08%" in problem
    assert (
        "age: fails in_range(0, 120) (2 rows, most often 430.0 (1), -3.0 (1))"
        in problem
    )
    assert "target is missing (1 row)" in problem
    rising = Validation(max_rejected_increase=0.01)
    assert page.check_rejection_rate(data, rising, previous_rate=0.0) != []
    assert page.check_rejection_rate(data, rising, previous_rate=0.02) == []
    assert page.check_rejection_rate(data, rising) == []


def test_lost_and_invented_rows_are_found():
    """The check on conservation is not only ever passed."""
    raw, data = scenario.table(), clinic()
    assert page.check_conserved(raw, data) == []
    lost = ValidatedData(data.validated.iloc[1:], data.rejected, 0.0, data.reasons)
    assert page.check_conserved(raw, lost) == ["1 row in neither part"]
    twice = ValidatedData(
        pd.concat([data.validated] * 2), data.rejected, 0.0, data.reasons
    )
    assert "twice" in page.check_conserved(raw, twice)[0]
    changed = ValidatedData(
        data.validated, data.rejected.assign(cost=0.0), 0.0, data.reasons
    )
    assert "differ" in page.check_conserved(raw, changed)[0]


def _bias(columns: dict, target: str, by: str | None = None) -> tuple[Check, dict]:
    """The check of whom rejecting hits, and its first row; rows with a negative `a` are
    rejected.
    """
    raw = pd.DataFrame({"a": 1, **columns}).rename_axis("row_number")
    prepared = prepare(raw, Preparation())
    names = ", ".join(f"{name}: {{nullable: false}}" for name in columns if name != "a")
    data = validate(
        raw, prepared, load_schema(f"columns: {{{names}, a: {{greater_than: 0}}}}")
    )
    split = scenario.spec(split="time" if by else "random").split
    update = {
        "target": target,
        "split": split.model_copy(update={"column": by} if by else {}),
    }
    spec = scenario.spec().model_copy(update=update)
    found = page.rejected(prepared.frame, data, spec)
    first, *_ = found.facts["whom_rejecting_hits"].frame.to_dict("records")
    return found.checks[0], first


def test_whom_rejecting_hits_is_named_with_value_share_and_rows():
    """Rejected rows that are nearly all of one class raise an alarm for that column."""
    a = np.where(np.arange(1_000) < 400, 1, [-1, 1] * 500)
    check, row = _bias({"late": ["yes", "no"] * 500, "a": a}, "late")
    assert (row["value"], row["rows"], row["rejected"], row["alarming"]) == (
        "yes",
        500,
        300,
        True,
    )
    said = "rejecting removes 60% of the rows with late = yes (300 of 500), and 30.0% of all rows"
    assert check.problems[0].startswith(said)
    assert page.rejected(scenario.table(), clinic(), scenario.spec()).checks[0].passed


def test_rows_rejected_for_lacking_a_target_are_no_bias():
    """A missing value is the reason of its rejection, not whom it hits."""
    check, _ = _bias({"late": [*(["yes", "no"] * 100), *[None] * 100]}, "late")
    assert check.passed


def test_rejecting_in_one_stretch_of_time_is_reported():
    """Instants are cut into quarters, so that a bad month shows."""
    days = pd.date_range("2024-01-01", periods=400)
    check, row = _bias({"day": days, "a": [-1] * 60 + [1] * 340}, "day", by="day")
    assert not check.passed
    assert (row["rows"], row["rejected"]) == (100, 60)
    assert "2024-04-09" in row["value"]


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


def _three_classes(rare: int) -> tuple[pd.DataFrame, pd.Series]:
    """A hundred rows, the last few of a third class, and the set of each."""
    y = [*["a", "b"] * 50][: 100 - rare] + ["c"] * rare
    raw = pd.DataFrame({"x": np.arange(100.0), "y": y}).rename_axis("row_number")
    sets = pd.Series(
        ["train", "train", "train", "test", "validation"] * 20, index=raw.index
    )
    return raw, sets


def _validated(
    raw: pd.DataFrame, sets: pd.Series, **validation: object
) -> ValidatedData:
    spec = experiment(**MULTICLASS, validation=validation)
    schema = load_schema(
        "columns:\n  x: {dtype: float64, nullable: false}\n  y: {dtype: str}\n"
    )
    return validate(raw, replace(prepare(raw, Preparation()), sets=sets), schema, spec)


def test_rows_of_a_class_that_is_too_rare_are_set_aside():
    """They are rejected for that reason, conserved, said, and no part of the rejection
    rate.
    """
    raw, sets = _three_classes(2)
    outcome = _validated(raw, sets, max_rejected_fraction=0)
    assert (
        outcome.rejected[REASONS].tolist()
        == ["y: 'c' is a class with too few rows"] * 2
    )
    assert outcome.set_aside.to_dict() == {98: "c", 99: "c"}
    assert (outcome.rejection_rate, len(outcome.validated)) == (0, 98)
    assert page.check_conserved(raw, outcome) == []
    assert page.check_rejection_rate(outcome, Validation(max_rejected_fraction=0)) == []
    assert any("class c (2 rows) cannot be predicted" in note for note in outcome.notes)
    kept = _validated(raw, sets, rare_classes="stop")
    assert len(kept.rejected) == len(kept.set_aside) == 0


def test_rows_that_the_schema_rejects_make_a_class_rare():
    """A class is counted by the rows that are left to learn from."""
    raw, sets = _three_classes(6)
    raw.loc[96:, "x"] = np.nan
    outcome = _validated(raw, sets)
    assert (outcome.set_aside.index.tolist(), outcome.rejection_rate) == (
        [94, 95],
        0.04,
    )


NUMBERS = st.one_of(
    st.none(), st.integers(-5, 5), st.floats(-5, 5).map(lambda x: round(x, 1))
)
TEXTS = st.one_of(
    st.none(), st.sampled_from(["a", "b", "C", "1", "2.5", "true", "2024-01-01", ""])
)
COLUMN_RULES = st.fixed_dictionaries(
    {"coerce": st.just(True)},
    optional={
        "dtype": st.sampled_from(
            ["float64", "str", "int64", "bool", "datetime64[us]", "Int64"]
        ),
        "nullable": st.booleans(),
        "unique": st.booleans(),
        "isin": st.just(["a", "b", "1"]),
        "notin": st.just(["C"]),
    },
)


def tables(columns=("x", "y", "z")):
    """Any small table of numbers and texts, with any index."""

    def column(cells, dtype, size):
        lists = st.lists(cells, min_size=size, max_size=size)
        return lists.map(lambda found: pd.Series(found, dtype=dtype))

    def table(size):
        either = st.one_of(column(NUMBERS, "float64", size), column(TEXTS, "str", size))
        cells = st.fixed_dictionaries(dict.fromkeys(columns, either))
        return cells.map(lambda found: pd.DataFrame(found).rename_axis("row_number"))

    return st.integers(1, 12).flatmap(table)


@settings(max_examples=20)
@given(raw=tables(), rules=st.fixed_dictionaries(dict.fromkeys("xyz", COLUMN_RULES)))
def test_no_row_is_lost_or_invented(raw, rules):
    """Any table, any schema: raw == validated + rejected, and validated satisfies
    pandera.
    """
    for rule in rules.values():
        if rule.get("dtype") in ("int64", "bool"):
            rule.pop("nullable", None)
    schema = load_schema(f"columns: {json.dumps(rules)}")
    try:
        data = validate(raw, prepare(raw, Preparation()), schema)
    except DataError:
        return
    assert page.check_conserved(raw, data) == []
    assert (data.rejected["rejection_reasons"] != "").all()
    assert all(one.cells > 0 for one in data.reasons)
    for column in schema.columns.values():
        # Two missing values are a duplicate to pandera, and none here.
        column.unique = bool(column.unique and not column.nullable)
    # pandera turns microseconds into nanoseconds.
    again = schema.validate(data.validated, lazy=True).astype(
        data.validated.dtypes.to_dict()
    )
    pd.testing.assert_frame_equal(again, data.validated)


@settings(max_examples=12)
@given(raw=tables(), low=st.integers(-5, 5), nullable=st.booleans())
def test_the_rejected_rows_are_those_that_pandera_fails(raw, low, nullable):
    """Where pandera can name every failing row, they are the same rows."""
    numbers = pd.to_numeric(raw["x"], errors="coerce").astype("float64")
    raw = raw.assign(x=numbers, y=raw["y"].astype("str"))
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
