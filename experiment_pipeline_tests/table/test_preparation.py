"""Preparation: row by row, nothing dropped, nothing hidden."""

import sys
import types

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.errors import InvalidExperiment, UnusableTable
from experiment_pipeline.spec import Preparation
from experiment_pipeline.table.preparation import PreparedTable, prepare
from experiment_pipeline_tests import scenario


def prepared(cells, **settings) -> PreparedTable:
    """Prepare a table of one column `x`."""
    raw = pd.DataFrame({"x": pd.Series(cells)}).rename_axis(index="row_number")
    return prepare(raw, Preparation.model_validate(settings))


def read(cells, **settings) -> list:
    """Return the prepared cells of `x`, None for missing."""
    column = prepared(cells, **settings).frame["x"]
    return [None if pd.isna(cell) else cell for cell in column.tolist()]


def test_rows_index_and_the_raw_table_stay_as_they_are():
    """No row is dropped, added or reordered, nothing is written into the raw table."""
    raw = scenario.table().iloc[::-1]
    pd.testing.assert_frame_equal(prepare(raw, Preparation()).frame, raw)
    assert prepare(raw, scenario.spec().preparation).frame.index.equals(raw.index)
    pd.testing.assert_frame_equal(raw, scenario.table().iloc[::-1])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234.5", 1234.5),
        ("-$7", -7),
        ("700 g", 0.7),
        ("\u2212 4", -4),
        ("\u00a07", 7),
        ("1,23", None),
        ("12,34,567", None),
        ("$7 kg", None),
        ("inf", None),
    ],
)
def test_numbers_with_separators_and_units(text, number):
    """A number is read only where its writing leaves no caveat."""
    written = {"x": {"thousands": ",", "units": {"$": 1, "kg": 1, "g": 0.001}}}
    assert read([text], types={"x": "number"}, numbers=written) == [
        None if number is None else pytest.approx(number)
    ]


def test_decimal_comma_and_spaces_between_thousands():
    """European writing, with no-break spaces, is declared and read."""
    written = {"x": {"decimal": ",", "thousands": " "}}
    cells = ["1 234,5", "1\u202f234,5", "1234,5", "1.5"]
    assert read(cells, types={"x": "number"}, numbers=written) == [
        1234.5,
        1234.5,
        1234.5,
        None,
    ]


def test_long_integers_keep_every_digit():
    """An id beyond 2**53 is not rounded to its neighbour, whatever stands beside it."""
    cells = ["9007199254740993", "2.0", "2.5", "x", None, "9" * 30]
    assert read(cells, types={"x": "integer"}) == [
        9007199254740993,
        2,
        None,
        None,
        None,
        None,
    ]


def test_booleans_in_usual_writing():
    """Usual words for true and false are read, others are not guessed."""
    cells = ["Yes", " no", "T", "0", "maybe", None]
    assert read(cells, types={"x": "boolean"}) == [True, False, True, False, None, None]
    assert read([1.0, 0.0, 2.0], types={"x": "boolean"}) == [True, False, None]


def test_the_first_fitting_date_format_decides():
    """Formats are tried in the declared order, cell by cell."""
    cells = ["2024-03-05", "05.03.2024", "03/05/2024"]
    days = read(
        cells, types={"x": "datetime"}, datetime_formats={"x": ["%Y-%m-%d", "%d.%m.%Y"]}
    )
    assert days == [pd.Timestamp("2024-03-05"), pd.Timestamp("2024-03-05"), None]


def test_dates_without_a_format_are_iso_only():
    """Day and month are never guessed; an offset becomes UTC."""
    cells = ["2024-03-05T06:07:00+02:00", "2024-03-05 06:07Z", "05/03/2024"]
    expected = [
        pd.Timestamp("2024-03-05 04:07"),
        pd.Timestamp("2024-03-05 06:07"),
        None,
    ]
    assert read(cells, types={"x": "datetime"}) == expected
    said = "x: times with an offset from UTC (+02:00, Z) are read as UTC"
    assert prepared(cells, types={"x": "datetime"}).notes == (said,)
    plain = prepared(
        ["2024-03-05", "2024-03-05 06:07", "20240305T060708"], types={"x": "datetime"}
    )
    assert (plain.notes, plain.offsets) == ((), {"x": {"": 3}})


@pytest.mark.parametrize(
    ("cells", "formats"),
    [
        (
            [
                "2024-03-05T06:07+02:00",
                "soon",
                "2024-03-05T06:07",
                "2024-03-05T06:07-05",
            ],
            (),
        ),
        (
            ["05.03.2024 06:07 +0200", None, "05.03.2024 06:07", "05.03.2024 06:07 Z"],
            ("%z", ""),
        ),
    ],
)
def test_times_with_and_without_an_offset_are_an_error(cells, formats):
    """Their hours would shift against each other; the rows are named."""
    declared = (
        {"x": [f"%d.%m.%Y %H:%M {end}".strip() for end in formats]} if formats else {}
    )
    with pytest.raises(
        UnusableTable, match=r"1 of 3 times have no offset.*05.*06:07', rows 2"
    ):
        prepared(cells, types={"x": "datetime"}, datetime_formats=declared)


def test_categories_get_one_spelling():
    """Trim, case and variants apply in this order, to the variants themselves too."""
    rule = {
        "trim": True,
        "case": "lower",
        "variants": {"airbus": ["AIRBUS  Industrie"]},
    }
    cells = [" Airbus ", "AIRBUS INDUSTRIE", "Boeing", None]
    assert read(cells, categories={"x": rule}) == ["airbus", "airbus", "boeing", None]
    assert read(pd.Categorical([7, None]), types={"x": "text"}) == ["7", None]
    rule |= {"variants": {"USA": ["us", "U.S."]}}
    kept = read(["USA", "usa ", "US", "u.s.", "Peru"], categories={"x": rule})
    assert kept == [*["USA"] * 4, "peru"], (
        "what a variant becomes, whatever `case` says"
    )


@pytest.mark.parametrize(
    ("cells", "missing"),
    [
        (["?", " ? ", "a"], ["?"]),
        ([-999, 5], [-999]),
        ([-999, 5], ["-999"]),
    ],
)
def test_declared_values_become_missing(cells, missing):
    """A placeholder is found as number or as text, per column or everywhere."""
    count = sum(str(cell).strip() in {"?", "-999"} for cell in cells)
    for settings_ in (
        {"missing_values": {"x": missing}},
        {"missing_values_everywhere": missing},
    ):
        result = prepared(cells, **settings_)
        assert result.frame["x"].isna().sum() == count
        assert result.changes["cells_changed"].tolist() == [count]


def test_a_placeholder_among_whole_numbers_keeps_them_whole():
    """The type after a declared placeholder does not depend on whether it occurs."""
    with_one = prepared([1, -999], missing_values={"x": [-999]}).frame["x"]
    without = prepared([1, 2], missing_values={"x": [-999]}).frame["x"]
    assert with_one.dtype == without.dtype == "Int64"


def test_unparsable_cells_are_named_with_their_original_value():
    """What cannot be read is missing in the table, and listed as delivered."""
    result = prepare(scenario.table(), scenario.spec().preparation)
    visited, weight = result.unparsable
    assert (weight.column, weight.rule, weight.cells[58]) == (
        "weight",
        "is not a number",
        "heavy",
    )
    assert (visited.column, visited.cells[83]) == ("visited", "yesterday")
    assert [*weight.positions, *visited.positions] == [58, 444, 83]
    for bad in result.unparsable:
        assert result.frame[bad.column].iloc[bad.positions].isna().all()


def test_changes_are_counted_per_column_and_step():
    """Each declared step reports its cells, also when it found none."""
    changes = prepare(scenario.table(), scenario.spec().preparation).changes
    counts = changes.set_index(["column", "step"])["cells_changed"]
    assert counts["ward", "missing_values"] == 0
    assert counts["ward", "categories"] > 100
    assert counts["age", "missing_values"] == (scenario.table()["age"] == -999).sum()
    assert counts["visited_hour", "calendar"] == scenario.ROWS - 1


def test_calendar_parts_depend_on_the_declaration_alone():
    """An hour that is always 0 stays a column; there is no year."""
    frame = prepared(pd.to_datetime(["2024-03-05", None]), calendar=["x"]).frame
    assert [*frame] == ["x", "x_month", "x_day_of_week", "x_hour", "x_minute"]
    assert frame["x_month"].tolist()[0] == 3
    assert frame["x_hour"].isna().tolist() == [False, True]


def test_days_go_on_and_cycles_come_back():
    """Days count from 1970 with the time of day; the end of a cycle is near its
    beginning.
    """
    times = ["1970-01-03T12:00", "2024-12-31T23:59", "2025-01-01T00:00", None]
    parts = ["days", "cycle_of_year", "cycle_of_week", "cycle_of_day"]
    frame = prepared(pd.to_datetime(times), calendar={"x": parts}).frame
    assert frame["x_days"].tolist()[0] == 2.5
    cycles = frame.filter(like="cycle")
    assert cycles.shape[1] == 6
    of_year = cycles.filter(like="year")
    assert np.allclose(of_year.loc[1], of_year.loc[2], atol=1e-4)
    assert np.allclose(
        cycles.loc[2, ["x_cycle_of_day_sin", "x_cycle_of_day_cos"]], [0, 1]
    )
    assert frame.loc[3].isna().all()


@pytest.mark.parametrize(
    ("settings_", "names"),
    [
        ({"types": {"ag": "number"}}, ["preparation.types.ag", "'age'"]),
        ({"calendar": ["visited"]}, ["calendar.visited", "types: {visited: datetime}"]),
        ({"missing_values": {"wards": ["?"]}}, ["missing_values.wards", "'ward'"]),
    ],
)
def test_a_column_that_is_absent_or_of_the_wrong_type_is_named(settings_, names):
    """The error names the setting, the column and what fits."""
    with pytest.raises(UnusableTable) as error:
        prepare(scenario.table(), Preparation.model_validate(settings_))
    assert all(name in str(error.value) for name in names)


@pytest.fixture
def user_module(monkeypatch):
    """An importable module of the user's, for functions to be put into."""
    module = types.ModuleType("clinic_preparation")
    monkeypatch.setitem(sys.modules, "clinic_preparation", module)
    return module


def applied(module, function) -> PreparedTable:
    """Prepare 200 rows by the declared parts and then the function."""
    module.change = function
    raw = pd.DataFrame({"x": np.arange(200.0)}).rename_axis("row_number")
    return prepare(raw, Preparation(function="clinic_preparation:change"))


def test_a_users_function_is_applied_last_and_counted(user_module):
    """What the function changed and added is counted like any other step."""
    result = applied(
        user_module, lambda t: t.assign(x=t["x"].clip(upper=100), twice=t["x"] * 2)
    )
    assert result.frame["x"].max() == 100
    assert result.changes["cells_changed"].tolist() == [99, 200]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda t: t.head(10), "returned 10 rows, other or reordered"),
        (lambda t: t.set_axis(t.index + 1), "other or reordered"),
        (lambda t: t["x"], "returned Series"),
        (lambda t: t.assign(x=t["x"] - t["x"].mean()), "alone get other values"),
    ],
)
def test_a_users_function_keeps_rows_and_looks_at_no_other(
    user_module, function, message
):
    """Dropped rows, and values learnt from other rows, are errors."""
    with pytest.raises(UnusableTable, match=message):
        applied(user_module, function)


@pytest.mark.parametrize("path", ["no_such_module_x:f", "math:no_such_function"])
def test_a_path_that_leads_nowhere(path):
    """The error names the module or the function that is not there."""
    with pytest.raises(InvalidExperiment, match="no_such"):
        prepare(scenario.table(), Preparation(function=path))


CELLS = st.one_of(
    st.none(),
    st.sampled_from(
        ["1,5", "-999", "2024-01-01", "yes", " A ", "a", "?", "7 kg", "", "1e5"]
    ),
    st.text(max_size=5),
)


@settings(max_examples=20)
@given(
    cells=st.lists(CELLS, min_size=1, max_size=12),
    type_=st.sampled_from(["number", "integer", "text", "boolean", "datetime", None]),
    data=st.data(),
)
def test_a_row_alone_gets_what_it_gets_in_the_table(cells, type_, data):
    """Preparation is row by row: any selection of rows is prepared to the
    same values.
    """
    declared = {"missing_values_everywhere": ["?", -999]}
    if type_ in (None, "text", "boolean"):
        declared["categories"] = {
            "x": {"trim": True, "case": "lower", "variants": {"b": ["a"]}}
        }
    if type_ is not None:
        declared["types"] = {"x": type_}
    preparation = Preparation.model_validate(declared)
    raw = pd.DataFrame({"x": pd.Series(cells, dtype="str")}).rename_axis("row_number")
    chosen = data.draw(st.permutations(range(len(cells))))[: max(1, len(cells) // 2)]
    whole, part = prepare(raw, preparation), prepare(raw.iloc[chosen], preparation)
    pd.testing.assert_frame_equal(part.frame, whole.frame.iloc[chosen])
    unread, found = (
        {row for one in prepared.unparsable for row in one.cells.index}
        for prepared in (whole, part)
    )
    assert found == unread & set(chosen)
