"""What the scaffolder infers from a table, and what it asks the user for."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.columns import (
    ColumnPlan,
    plan_column,
    plan_columns,
    read_completely,
)
from experiment_pipeline.drafting.files import try_out
from experiment_pipeline.drafting.inference import Draft, infer
from experiment_pipeline.drafting.search import Shape, propose_search
from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.statistics.metrics import names_of

ROWS = 120
GENERATOR = np.random.default_rng(7)
NUMBERS = GENERATOR.normal(size=ROWS)
DAYS = pd.date_range("2024-01-01", periods=ROWS, freq="D")


def table(**columns: Any) -> pd.DataFrame:
    """A table of one feature and the given columns, with the index of raw tables."""
    frame = pd.DataFrame({"feature": NUMBERS, **columns})
    frame.index = pd.RangeIndex(len(frame), name="row_number")
    return frame


def repeated(*values: Any) -> list[Any]:
    """The values over and over, to the length of the table."""
    return [values[row % len(values)] for row in range(ROWS)]


def draft(target: Any, wishes: dict[str, Any] | None = None, **columns: Any) -> Draft:
    """What is inferred for a target column."""
    return infer(table(**columns, y=target), Wishes(target="y", **(wishes or {})))


def plan(name: str, values: Any) -> ColumnPlan:
    """What is planned for one column."""
    return plan_column(pd.Series(values, name=name))


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (repeated("yes", "no"), "binary"),
        (repeated(0, 1), "binary"),
        (repeated(True, False), "binary"),
        (repeated(0.0, 1.0, np.nan), "binary"),
        (repeated(1.5, 2.5), "binary"),
        (repeated("a", "b", "c"), "multiclass"),
        (repeated(3, 4, 5, 6), "multiclass"),
        (repeated(3.0, 4.0, 5.0, np.nan), "multiclass"),
        (NUMBERS, "regression"),
        (list(range(ROWS)), "regression"),
        (repeated(*range(11)), "regression"),
        (
            repeated("1,000", "2,500", "3,250", *(f"4,{n}" for n in range(100, 120))),
            "regression",
        ),
    ],
)
def test_the_task_follows_from_the_targets_values(target: Any, task: str):
    """Two values are binary, few are classes, many or fractional numbers a
    regression.
    """
    inferred = draft(target).task
    assert inferred.value == task
    assert inferred.why


@pytest.mark.parametrize(
    ("target", "positive"),
    [
        (repeated("no", "yes"), "yes"),
        (repeated("N", "Y"), "Y"),
        (repeated("Ja", "Ja", "Nein"), "Ja"),
        (repeated(0, 1), 1),
        (repeated(0.0, 1.0, np.nan), 1),
        (repeated(True, False), True),
        (repeated("kept", "kept", "left"), "left"),
        (repeated(1, 2, 2), 1),
    ],
)
def test_the_positive_class_is_the_affirmative_or_the_rarer(target: Any, positive: Any):
    """`yes`, 1 and true are predicted, without such a word the rarer class; one may be
    asked for as it is.
    """
    inferred = draft(target).positive_class
    assert inferred.value == positive
    assert type(inferred.value) is type(positive)
    for given in (positive, str(positive)):
        assert draft(target, {"positive_class": given}).positive_class.value == positive


def test_the_metric_suits_the_task():
    """Each task has a default; where positives are rare, average_precision is pointed
    at.
    """
    assert draft(repeated("yes", "no")).metric.value == "roc_auc"
    assert draft(repeated("a", "b", "c")).metric.value == "log_loss"
    assert draft(NUMBERS).metric.value == "rmse"  # mape has no finite mean around zero
    rare = draft(repeated(*["no"] * 39, "yes")).metric
    assert "only 2.5% of the rows are positive: average_precision" in rare.why


CUSTOMERS = (
    "customer_id",
    "Kunden-ID",
    "Kundennummer",
    "Kunden-Nr.",
    "CUSTOMER_NR",
    "customerid",
    "childid",
    "SUBJID",
    "idcode",
    "Subject",
)


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("empty", [np.nan] * ROWS, "no value in any row"),
        ("blank", repeated("?", "n/a"), "only '?', 'n/a', which mean missing"),
        ("const", [5] * ROWS, "the same in every row: 5"),
        (
            "wait",
            pd.to_timedelta(range(ROWS)),
            "holds timedelta64[ns], which models cannot use",
        ),
        ("Unnamed: 0", list(range(ROWS)), "counts the rows"),
        (
            "Unnamed: 0",
            list(np.random.default_rng(2).permutation(ROWS)),
            "numbers the rows, in another order",
        ),
        ("index", [7 * row * 37 % 1201 for row in range(ROWS)], "numbers the rows"),
        (
            "PatientId",
            [93779.52, *(2.987e13 + row // 2 for row in range(1, ROWS))],
            "identifies 61 things, 1.97 rows each",
        ),
        ("counter", list(range(5, ROWS + 5)), "counts the rows"),
        ("PassengerId", list(range(1, ROWS + 1)), "identifies the row"),
        ("order_id", [f"A{row:04d}" for row in range(ROWS)], "identifies the row"),
        ("token", [f"{row:032x}" for row in range(ROWS)], "identifies the row"),
        *(
            (name, repeated(*range(100, 160)), "identifies 60 things, 2")
            for name in CUSTOMERS
        ),
        (
            "tailnum",
            repeated(*(f"N{n}" for n in range(60))),
            "identifies 60 things, 2 rows",
        ),
        (
            "code",
            [f"{row * 37 % 997}-x" for row in range(ROWS)],
            "codes: 120 distinct ones",
        ),
        (
            "day",
            repeated("01/02/2024", "02/03/2024"),
            "dates of %d/%m/%Y or %m/%d/%Y: decide",
        ),
        (
            "at",
            repeated("2024-12-30T01:00Z", "2024-12-31T01:00"),
            "60 of 120 times have no offset",
        ),
        ("mixed", repeated("31.12.2024", "2024-12-30"), "dates in several formats"),
        (
            "same",
            pd.to_datetime(["2024-05-06"] * (ROWS - 1) + [None]),
            "dates that share month",
        ),
    ],
)
def test_a_column_that_is_no_feature_is_excluded(name: str, values: Any, reason: str):
    """What no model can use is left out, and the reason is said."""
    planned = plan(name, values)
    assert planned.excluded
    assert planned.why.startswith(reason)


@pytest.mark.parametrize("name", ["amount_paid", "Citric Acid", "bid", "covid"])
def test_a_word_that_ends_like_an_id_names_none(name: str):
    """Its whole numbers stay a feature, in their order."""
    assert plan(name, repeated(*range(100, 160))) == ColumnPlan(name)


def test_a_part_of_a_date_may_be_excluded():
    """It is no column of the table, and findings advise it; the date and its other
    parts stay.
    """
    found = draft(
        NUMBERS, {"exclude": ("day_month", "day_cycle_of_week_sin")}, day=DAYS
    )
    assert found.excluded.keys() == {"day_month", "day_cycle_of_week_sin"}


def test_texts_of_words_stay_to_be_read_in_the_way_that_a_search_chooses():
    """Names and titles are features, however many, also without spaces; only there is a
    linear model on n-grams first, and do trees get other encoders than usual.
    """
    names, towns = [f"Mr {row} Smith" for row in range(ROWS)], repeated("Bath", "York")
    titles = [f"とても良い{row}本" for row in range(ROWS)]
    of_trees = ["ordinal", "target", "text"]
    encoders = ["ngrams", None, of_trees, of_trees, "target"]
    for values, many, offered in (
        (names, True, encoders),
        (titles, True, encoders),
        (towns, False, [None] * 5),
    ):
        assert (plan("x", values).many_texts, plan("x", values).excluded) == (
            many,
            False,
        )
        search = draft(NUMBERS, x=values).search
        assert [one.entry.get("features") for one in search[:5]] == offered


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("age", repeated(*range(60))),
        ("salary", [30_000 + 7 * (row * 37 % 1000) for row in range(ROWS)]),
        ("Reynolds number", [3000 + 7 * (row * 37 % 1000) for row in range(ROWS)]),
        ("number_of_orders", repeated(*range(60))),
        ("Engine", repeated(*range(900, 960))),
        ("NO", repeated(*range(60))),
        ("ratio", NUMBERS),
        ("flag", repeated(True, False)),
        ("sometimes", repeated("only", None)),
        ("ward", repeated("north", "south", "?")),
        ("code", repeated("007", "012", "500")),
    ],
)
def test_an_ordinary_column_is_left_alone(name: str, values: Any):
    """A column that models take as it is needs no word in the YAML."""
    assert plan(name, values) == ColumnPlan(name)


DAY_PARTS, EUROPEAN = ["month", "day_of_week"], {"decimal": ",", "thousands": "."}
YEAR_PARTS = ["days", "day_of_month", "day_of_year", *DAY_PARTS]
GERMAN_TIME = {"types": "datetime", "datetime_formats": ["%d.%m.%Y %H:%M"]}
GERMAN_TIME |= {"calendar": [*DAY_PARTS, "hour", "minute"]}


@pytest.mark.parametrize(
    ("values", "preparation"),
    [
        (
            repeated("1,234", "5,678.5"),
            {"types": "number", "numbers": {"thousands": ","}},
        ),
        (
            repeated("5 kg", "7 kg"),
            {"types": "number", "numbers": {"units": {"kg": 1}}},
        ),
        (
            repeated("1 day", "2 days", "3 days"),
            {"types": "number", "numbers": {"units": {"days": 1, "day": 1}}},
        ),
        (repeated("12", "?", "14"), {"types": "number", "missing_values": ["?"]}),
        (repeated("0,123", "1,456"), {"types": "number", "numbers": EUROPEAN}),
        (
            repeated("2024-01-31", "2024-02-29"),
            {"types": "datetime", "calendar": DAY_PARTS},
        ),
        (
            repeated("2020-01-31", "2022-02-28"),
            {"types": "datetime", "calendar": YEAR_PARTS},
        ),
        (repeated("31.12.2024 08:15", "01.06.2024 09:00"), GERMAN_TIME),
        (DAYS, {"calendar": DAY_PARTS}),
    ],
)
def test_a_type_inside_text_is_declared(values: Any, preparation: dict[str, Any]):
    """Numbers and dates written as text are read, with the format that reads every
    cell.
    """
    planned = plan("written", values)
    assert dict(planned.preparation) == preparation
    assert planned.why


DAY_MONTH = "%d-%m-%Y"


@pytest.mark.parametrize(
    ("values", "date_format"),
    [
        (repeated("24-02-2015 11.35", "01-03-2016 09.05"), "%d-%m-%Y %H.%M"),
        (repeated("January 7, 2018", "May 12, 2019"), "%B %d, %Y"),
        (repeated(" Sep 7, 2018", "May 12, 2019 "), "%b %d, %Y"),
        (repeated("12/31/2024 11:59 PM", "1/2/2024 1:05 AM"), "%m/%d/%Y %I:%M %p"),
        (repeated("2024-12-31 11:59 PM", "2024-01-02 01:05 AM"), "%Y-%m-%d %I:%M %p"),
    ],
)
def test_dates_are_read_however_they_are_written(values: Any, date_format: str):
    """Months as words, hours with a dot, twelve hours: each text is a date."""
    planned = plan("when", values)
    assert planned.preparation["datetime_formats"] == [date_format]
    assert (
        read_completely(pd.Series(values, name="when"), planned.preparation) is not None
    )


@pytest.mark.parametrize(
    ("odd", "missing", "rejected", "words"),
    [
        (["n/a", "soon"], ["n/a", "soon"], 0.0, "1 row without a date ('soon') read"),
        (["31-02-2024"] * 3, ["31-02-2024"], 0.0, "3 rows without a date"),
        ([f"late {n}" for n in range(9)], None, 9 / 220, "9 rows without a date"),
    ],
)
def test_a_column_of_dates_may_hold_a_few_other_texts(
    odd: list[str], missing: list[str] | None, rejected: float, words: str
):
    """Few different ones mean missing, the rows of more are rejected; both are said."""
    days = pd.date_range("2023-01-01", periods=220 - len(odd)).strftime(DAY_MONTH)
    planned = plan("when", [*days, *odd])
    assert planned.times is not None
    assert planned.preparation.get("missing_values") == missing
    assert planned.preparation["datetime_formats"] == [DAY_MONTH]
    assert planned.rejected == pytest.approx(rejected)
    assert words in planned.why


def test_a_column_in_which_more_than_a_twentieth_is_no_date_holds_texts():
    """Then nothing is declared, as for numbers."""
    days = pd.date_range("2023-01-01", periods=90).strftime(DAY_MONTH)
    assert plan("when", [*days, *[f"late {n}" for n in range(10)]]).times is None


def test_rows_that_a_date_column_rejects_raise_the_limit():
    """As rows without a target do; a run would stop otherwise."""
    odd = [f"late {n}" for n in range(9)]
    days = pd.date_range("2023-01-01", periods=191).strftime(DAY_MONTH)
    rows = pd.DataFrame({"when": [*days, *odd], "x": range(200), "y": [0.5, 1.5] * 100})
    limit = infer(rows, Wishes(target="y", task="regression")).max_rejected
    assert limit.value == pytest.approx(0.07)
    assert "4.5% of the rows have no when and are rejected" in limit.why


@pytest.mark.parametrize("odd", ["heavy", "9 lb"])
def test_a_type_is_not_declared_when_a_cell_cannot_be_read(odd: str):
    """A declaration that would reject rows is not made without a word of the user."""
    assert not plan("weight", ["5 kg"] * (ROWS - 1) + [odd]).preparation


@pytest.mark.parametrize(
    ("texts", "read"),
    [
        (("1.7M", "10584", "12.5k"), (1_700_000, 10_584, 12_500)),
        (("19M", "8.7M", "201k"), (19e6, 8.7e6, 201e3)),
        (("€110.5M", "€565K", "€0"), (110.5e6, 565e3, 0)),
        (("1,5 Mio", "2,25 Mrd", "17"), (1.5e6, 2.25e9, 17)),
        (("$1.2bn", "$300mn", "$40"), (1.2e9, 300e6, 40)),
        (("1.7m", "3k", "500"), (1.7e6, 3e3, 500)),
        (("300 K", "310 K", "320 K"), (300e3, 310e3, 320e3)),
        (("45%", "3%", "12.5 %"), (0.45, 0.03, 0.125)),
        (("45%", "0.3", "1"), (0.45, 0.3, 1)),
    ],
)
def test_a_magnitude_multiplies_and_is_never_a_unit_of_one(
    texts: tuple[str, ...], read: tuple[float, ...]
):
    """1.7M is 1,700,000 beside 10,584, and the reason says so."""
    planned = plan("written", repeated(*texts))
    column = pd.Series(repeated(*texts), name="written")
    settings = dict(planned.preparation)
    assert read_completely(column, settings).tolist() == pytest.approx(repeated(*read))
    assert " as " in planned.why
    assert not planned.question


@pytest.mark.parametrize(
    ("texts", "kinds", "factors"),
    [
        (
            ("19.67 kmpl", "26.6 km/kg", "18.2 kmpl"),
            "'19.67 kmpl', '26.6 km/kg'",
            "units: {kmpl: …, km/kg: …}",
        ),
        (("5 mm", "7 cm", "9 mm"), "'5 mm', '7 cm'", "units: {mm: …, cm: …}"),
        (("3Y", "12M"), "'3Y', '12M'", "units: {Y: …, M: 1000000}"),
        (("$5", "€7"), "'$5', '€7'", "units: {$: …, €: …}"),
        (("20.5C", "68F"), "'20.5C', '68F'", "units: {C: …, F: …}"),
        (("12", "12B"), "'12', '12B'", "units: {B: 1000000000}"),
        (("1.85m", "1.7"), "'1.85m', '1.7'", "units: {m: …}"),
        (("45%", "30"), "'45%', '30'", "units: {'%': 0.01}"),
    ],
)
def test_units_whose_factors_are_not_clear_are_a_question(
    texts: tuple[str, ...], kinds: str, factors: str
):
    """The column stays text, and the draft names it with examples and the YAML."""
    found = draft(NUMBERS, written=repeated(*texts))
    [question] = found.questions
    assert question.startswith(f"written holds numbers of several kinds: {kinds};")
    assert "types: {written: number}" in question
    assert factors in question
    assert "written" not in {plan.name for plan in found.prepared}


@pytest.mark.parametrize(
    "texts",
    [("12A", "12B", "13A"), ("12", "12A", "7B"), ("1st", "2nd", "3rd"), ("6am", "9pm")],
)
def test_letters_behind_whole_numbers_are_part_of_a_code(texts: tuple[str, ...]):
    """Flats, ranks and hours of the clock are categories, without a question."""
    assert plan("flat", repeated(*texts)) == ColumnPlan("flat")


SENSOR = np.round(np.abs(NUMBERS) * 3 + 0.5, 1)


def test_a_sentinel_of_features_is_named_with_its_columns():
    """One line for all columns that have it, with the YAML that makes it missing."""
    marked = [np.where(np.arange(ROWS) % step == 0, -200, SENSOR) for step in (5, 7, 9)]
    columns = {"co": marked[0], "nox": marked[1]}
    [alone] = draft(NUMBERS, co=marked[0], day=DAYS).questions
    assert "-200 repeats in co, far from all other values (co: -200 in 24 rows" in alone
    assert "preparation: {missing_values: {co: [-200]}}" in alone
    [both] = draft(NUMBERS, **columns).questions
    assert "-200 repeats in co, nox, " in both
    assert "preparation: {missing_values_everywhere: [-200]}" in both
    assert draft(NUMBERS, {"exclude": ("nox",)}, **columns).questions == (alone,)
    assert draft(NUMBERS, co=SENSOR).questions == ()


def test_a_sentinel_of_the_target_is_a_question_with_both_answers():
    """Missing raises the limit on rejected rows; a value accepts the finding."""
    drafted = draft(np.where(np.arange(ROWS) % 10 == 0, -200, SENSOR))
    question = drafted.target_question
    assert drafted.questions == (question,)
    assert "y is -200 in 12 rows, all others from 0.5 to " in question
    assert "{missing_values: {y: [-200]}}" in question
    assert "validation: {max_rejected_fraction: 0.12}" in question
    assert "analysis: {accept: {target_placeholder: <why>}}" in question


def test_a_row_id_decides_the_rows_set():
    """The first column that identifies a row is its id; the user may name another."""
    ids = {
        "visit_id": [f"V{row}" for row in range(ROWS)],
        "other_id": range(7, 7 + 3 * ROWS, 3),
    }
    assert draft(NUMBERS, **ids).id_columns == ("visit_id",)
    assert draft(NUMBERS, {"id_column": ("other_id",)}, **ids).id_columns == (
        "other_id",
    )


def test_a_draft_names_no_column_twice():
    """A date does not become what the table has already; a target called like an id
    stays a number.
    """
    found = infer(
        table(day=DAYS, day_month=DAYS.month, y_id=repeated(*range(9))),
        Wishes(target="y_id"),
    )
    [day] = found.prepared
    assert day.preparation["calendar"] == ["day_of_week"]
    assert day.why == "dates, read as day_of_week"


SHOPS, SALES = 60, 1_200
DAY = np.arange(SALES) // SHOPS
SALE = {
    "shop_id": np.arange(SALES) % SHOPS,
    "day": pd.Timestamp("2024-01-01") + DAY * pd.Timedelta("1D"),
}


@pytest.mark.parametrize(
    ("columns", "split", "features"),
    [
        (SALE, "time", {"shop_id"}),
        (SALE, "random", set()),
        # Each shop opens, sells for a fortnight and is never seen again.
        (SALE | {"shop_id": np.arange(SALES) // 20}, "time", set()),
        (
            SALE | {"item_id": np.arange(SALES) * 7 % 61},
            "random",
            {"shop_id", "item_id"},
        ),
        (SALE | {"owner_id": np.arange(SALES) % SHOPS + 100}, "random", set()),
    ],
    ids=["met_again", "nobody_knows", "new_ones", "pairs", "one_is_the_other"],
)
def test_an_entity_is_a_feature_where_new_rows_are_about_known_ones(
    columns: dict[str, Any], split: str, features: set[str]
):
    """Known by the latest rows under a split by time, or by rows that pair two kinds of
    entities.
    """
    rows = pd.DataFrame({**columns, "y": np.random.default_rng(0).normal(size=SALES)})
    found = infer(rows, Wishes(target="y", split=split))
    entities = {name for name in columns if name.endswith("_id")}
    assert entities - found.excluded.keys() == features
    assert {plan.name for plan in found.prepared if plan.names_entities} == features
    assert all(
        "memorize" in found.excluded[name] for name in entities & found.excluded.keys()
    )


def test_rows_without_a_target_raise_the_limit_on_rejections():
    """Rows without a target are rejected: the usual limit would stop the very first
    run.
    """
    assert draft(repeated(*NUMBERS[:9], np.nan)).max_rejected.value == pytest.approx(
        0.12
    )
    assert draft(NUMBERS).max_rejected is None


def test_the_split_is_random_and_the_others_are_hints():
    """What the model will meet only people know, so dates and customers are named,
    unless excluded.
    """
    columns = {"day": DAYS.repeat(2)[:ROWS], "customer_id": repeated(*range(60))}
    customers, days = draft(NUMBERS, **columns).hints
    assert draft(NUMBERS, {"exclude": ("day",)}, **columns).hints == (customers,)
    assert "(split: {by: group, column: customer_id})" in customers
    assert "day holds dates, and the rows are sorted by them" in days


def test_codes_of_few_values_are_no_groups_to_propose():
    """A model knows all lines of a factory, and meets new persons, however few."""
    columns = {"line_id": repeated(*range(100, 126)), "code_no": repeated(*range(8))}
    assert draft(NUMBERS, **columns).hints == ()
    assert draft(NUMBERS, **columns).entities == ()
    few = draft(NUMBERS, patient_id=repeated(*range(100, 126)))
    assert few.entities == ("patient_id",)
    assert few.hints[0].startswith("values of patient_id repeat")


def test_the_date_that_says_when_rows_came_to_be_is_tried_first():
    """Rows are sorted by it, or it spans few days; births say nothing of it."""
    shuffled = np.random.default_rng(1).permutation(ROWS)
    columns = {
        "born": DAYS[shuffled],
        "registered": (DAYS[0] + pd.to_timedelta(np.arange(ROWS) * 90, "D"))[shuffled],
        "ordered": DAYS[:30].repeat(4)[shuffled],
        "delivered": DAYS[2:32].repeat(4)[shuffled],
        "written": DAYS.repeat(2)[:ROWS],
    }
    assert draft(NUMBERS, **columns).times == (
        "written",
        "ordered",
        "delivered",
        "registered",
    )


@pytest.mark.parametrize(
    ("when", "apart"),
    [
        (DAYS, "1 day apart in when"),
        (DAYS[::-1], "1 day apart in when"),
        (DAYS.strftime("%d.%m.%Y"), "1 day apart in when"),
        (pd.bdate_range("2024-01-01", periods=ROWS), "1 day apart in when"),
        (pd.date_range("2014-01-01", periods=ROWS, freq="MS"), "31 days apart in when"),
        (pd.date_range("2024-01-01", periods=ROWS, freq="6h"), "6 hours apart in when"),
        (DAYS + pd.to_timedelta(np.arange(ROWS) // 40, "h"), "1 day apart in when"),
        ([*DAYS[:50], None, *DAYS[51:]], "1 day apart in when"),
        ([*DAYS[:50].astype("str"), "n/a", *DAYS[51:].astype("str")], "1 day apart"),
        ([*DAYS[:50].astype("str"), "soon", *DAYS[51:].astype("str")], "1 day apart"),
    ],
)
def test_a_series_is_split_by_time(when: Any, apart: str):
    """Days that follow one another resemble each other, however their dates are
    written.
    """
    split = draft(NUMBERS, when=list(when)).split
    assert split.value == {"by": "time", "column": "when"}
    assert apart in split.why


@pytest.mark.parametrize(
    "when",
    [
        DAYS.repeat(2)[:ROWS],
        DAYS[np.random.default_rng(1).permutation(ROWS)],
        DAYS[0] + pd.to_timedelta(np.cumsum(1 + np.arange(ROWS) * 37 % 101), "h"),
        [*DAYS[:-12], *[None] * 12],
        pd.date_range("2024-01-01", periods=ROWS, freq="min"),
    ],
    ids=[
        "two a day",
        "out of order",
        "whenever someone comes",
        "a tenth is missing",
        "one morning",
    ],
)
def test_what_is_no_series_is_split_at_random(when: Any):
    """Customers come when they like; dates alone make no series."""
    assert draft(NUMBERS, when=list(when)).split.value == {"by": "random"}


@pytest.mark.parametrize(
    ("wishes", "split"),
    [
        ({"split": "time"}, {"by": "time", "column": "day"}),
        ({"split_column": "day"}, {"by": "time", "column": "day"}),
        ({"split": "group"}, {"by": "group", "column": "customer_id"}),
        ({"split_column": "feature"}, {"by": "group", "column": "feature"}),
        (
            {"split": "time", "split_column": "feature"},
            {"by": "time", "column": "feature"},
        ),
        ({"split": "random"}, {"by": "random"}),
    ],
)
def test_a_split_that_is_asked_for_finds_its_column(
    wishes: dict[str, Any], split: dict[str, Any]
):
    """The one column that can be meant need not be named."""
    found = draft(NUMBERS, wishes, day=DAYS, customer_id=repeated(*range(60)))
    assert found.split.value == split
    assert any("(gap: 30 days)" in hint for hint in found.hints) is (
        split["by"] == "time"
    )


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (
            {"target": "featur"},
            "--target featur: no such column; did you mean 'feature'?",
        ),
        (
            {"exclude": ("featur",)},
            "--exclude featur: no such column; did you mean 'feature'?",
        ),
        ({"exclude": ("y",)}, "--exclude y: it is the target"),
        ({"task": "clasification"}, "--task clasification: no such task"),
        ({"task": "binary"}, "target y: it holds 120 different values, binary needs 2"),
        ({"metric": "auc"}, "--metric auc: not a metric of task regression"),
        (
            {"positive_class": "1"},
            "--positive-class 1: has no effect on task regression",
        ),
        ({"split": "tme"}, "--split tme: no such split; did you mean 'time'?"),
        (
            {"split": "time"},
            "--split time: its column is not given; columns: 'feature', 'shop'",
        ),
        (
            {"split": "time", "split_column": "shop"},
            "shop: its values do not hold dates or numbers",
        ),
        (
            {"split": "random", "split_column": "feature"},
            "has no effect on a random split",
        ),
        (
            {"split": "column", "split_column": "feature"},
            "its values do not name train, test and",
        ),
        ({"split_column": "day"}, "--split-column day: no such column"),
    ],
)
def test_what_cannot_be_inferred_is_asked_for_by_name(
    wishes: dict[str, Any], message: str
):
    """A wrong or missing decision names the option and lists what is possible."""
    rows = table(y=NUMBERS, shop=repeated("north", "south"))
    with pytest.raises(UnusableTable) as caught:
        infer(rows, Wishes(**{"target": "y", **wishes}))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([np.nan] * ROWS, "missing in every row"),
        (["a"] * ROWS, "'a' in every row"),
        (DAYS, "it holds dates, which no task can predict"),
        (DAYS[:2].repeat(ROWS // 2), "it holds dates, which no task can predict"),
        ([f"text {row}" for row in range(ROWS)], "120 different texts in 120 rows"),
    ],
)
def test_a_target_that_cannot_be_learnt_is_refused(target: Any, message: str):
    """There must be something to predict, and a task for it."""
    with pytest.raises(UnusableTable, match=message):
        draft(target)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("size", [(30, 3), (5_000, 20), (1_000_000, 50), (50, 5_000)])
def test_the_search_shrinks_as_the_table_grows(task: str, size: tuple[int, int]):
    """Five algorithms always; fewer draws and smaller samples on large tables."""
    rows, features = size
    shape = Shape(task, names_of(task)[0], rows, features, 3, texts=1)
    first, boosted, _, forest, extra, dummy = (p.entry for p in propose_search(shape))
    assert first["configurations"] == [{}, {"extra_trees": True}]
    assert boosted["draws"] == (10 if rows * features > 40_000_000 else 20)
    assert ("max_samples" in forest["hyperparameters"]) == (rows > 50_000)
    assert ("bootstrap" in extra["hyperparameters"]) == (rows > 50_000)
    assert dummy == {"algorithm": "dummy"}


def test_more_seconds_are_used():
    """More draws, and other boosters where they are installed and there is time for
    their fits.
    """

    def algorithms(seconds: float | None, *installed: str) -> list[str]:
        more = {"seconds": seconds, "installed": frozenset(installed)}
        found = propose_search(Shape("binary", "roc_auc", 5_000, 20, **more))
        return [one.entry["algorithm"] for one in found]

    usual = ["lightgbm", "lightgbm", "linear", "random_forest", "extra_trees", "dummy"]
    assert algorithms(None, "xgboost", "catboost") == algorithms(600) == usual
    assert algorithms(30, "xgboost", "catboost").count("xgboost") == 2
    assert "catboost" not in algorithms(30, "catboost")
    assert algorithms(60, "xgboost", "catboost").count("catboost") == 2
    both = frozenset({"xgboost", "catboost"})
    found = [
        propose_search(
            Shape("regression", "mae", 5_000, 20, seconds=seconds, installed=both)
        )
        for seconds in (10, 60, 120, 3_600)
    ]
    draws = [
        [one.entry["draws"] for one in each if "draws" in one.entry] for each in found
    ]
    assert draws == [[200], [600, 3, 3], [1_200, 6, 6], [2_000, 180, 180]]
    more = {"installed": both, "has_folds": True, "many_texts": 1, "seconds": 360}
    entries = [
        one.entry
        for one in propose_search(Shape("binary", "roc_auc", 5_000, 20, **more))
    ]
    assert [one["draws"] for one in entries if "draws" in one] == [1_800, 6, 6]
    assert [one.get("features") for one in entries[4:8]] == [["target", "text"]] * 2 + [
        None
    ] * 2
    encoders = [each[1].entry.get("features") for each in found]
    assert encoders == [None, None, ["ordinal", "stacked"], ["ordinal", "stacked"]]
    grown = propose_search(
        Shape("multiclass", "log_loss", 5_000, 20, 3, seconds=120, installed=both)
    )
    assert {one.entry["algorithm"] for one in grown} & both == {"xgboost"}, (
        "a tree for each class"
    )
    losses = [one.entry.get("configurations") for one in found[1][3:7:2]]
    assert losses == [
        [{}, {"objective": "reg:absoluteerror"}],
        [{}, {"loss_function": "MAE"}],
    ]
    space = found[1][1].entry["hyperparameters"]
    assert (space["objective"][0], space["reg_sqrt"]) == (
        "regression_l1",
        [False, True],
    )


def test_a_draft_with_directions_searches_what_keeps_them():
    """No linear model, and no trees towards a median."""
    shape = Shape(
        "regression", "mae", 5_000, 20, seconds=60, installed={"xgboost"}, monotone=True
    )
    found = {one.entry["algorithm"]: str(one.entry) for one in propose_search(shape)}
    assert found.keys() == {
        "lightgbm",
        "xgboost",
        "random_forest",
        "extra_trees",
        "dummy",
    }
    assert "objective" not in found["lightgbm"] + found["xgboost"]


@pytest.mark.parametrize(("least", "asks"), [(0.0, True), (-0.5, False)])
def test_a_target_that_is_never_negative_may_be_boosted_by_its_logarithm(
    least: float, asks: bool
):
    """LightGBM refuses a negative one; the usual loss is drawn as well."""
    target = [least, *abs(NUMBERS[1:])]
    drawn = draft(target, {"metric": "rmse"}).search[1].entry["hyperparameters"]
    assert drawn.get("objective") == (["regression", "tweedie"] if asks else None)


@pytest.mark.parametrize(
    ("target", "by"),
    [
        *((repeated("yes", "no"), "random"), (repeated("a", "b", "c"), "random")),
        *(
            (NUMBERS, "random"),
            (repeated("yes", "no"), "time"),
            (repeated("yes", "no"), "group"),
        ),
    ],
)
def test_a_draft_runs_as_far_as_the_split(target: Any, by: str):
    """Its spec is valid, the table validates and splits; rows without the split's date
    or group are rejected.
    """
    key = (
        DAYS.astype("str")
        if by == "time"
        else pd.Index([f"g{n % 30}" for n in range(ROWS)])
    )
    frame = table(key=key.where(key != key[0]), mass=repeated("5 kg", "6 kg"), y=target)
    named = {} if by == "random" else {"split": by, "split_column": "key"}
    draft = infer(frame, Wishes(target="y", **named))
    trial = try_out(
        frame, draft, spec_from("drafted", draft.attributes({"url": "t.csv"}))
    )
    assert trial.problem is None
    lost = frame["key"].isna().sum() * (by != "random")
    assert sum(map(len, trial.sets.rows().values())) == ROWS - lost


def test_a_small_table_is_cross_validated():
    """Of so few rows one test set would choose by luck; larger tables say nothing, but
    where time suffices.
    """
    small = draft(repeated("yes", "no")).evaluation
    assert "with 120 rows, the choice on a test set would be luck" in small.why
    once = {"cross_validation": {"folds": 5, "repeats": 1}}
    frame = pd.DataFrame({"feature": np.arange(120) % 7, "y": np.arange(120) % 2})
    for rows, seconds, evaluation in (
        *((1_999, None, "cross_validation"), (1_999, 120, "cross_validation")),
        *(
            (2_000, 119, None),
            (2_000, 120, once),
            (9_599, 120, once),
            (9_600, 120, None),
        ),
        *((47_999, 600, once), (48_000, 600, None), (50_000, 3_600, None)),
    ):
        said = infer(frame, Wishes(target="y", seconds=seconds), rows).attributes(
            {"url": "t.csv"}
        )
        assert said.get("evaluation") == evaluation
    named = frame.assign(
        name=[f"Mr {row} Smith" for row in range(120)]
    )  # becomes many columns
    asked = ((4_000, 400), (4_000, 401), (1_500, 120))
    found = [
        infer(named, Wishes(target="y", seconds=s), rows).evaluation
        for rows, s in asked
    ]
    assert [one and one.value for one in found] == [None, once, "cross_validation"]


@pytest.mark.parametrize(
    ("rows", "seconds", "fits"),
    [
        *(
            (30_000, 60, {"fits": 3}),
            (30_001, 60, None),
            (30_000, 59, None),
            (30_000, None, None),
        ),
        *(
            (10_000, 300, {"fits": 8}),
            (10_001, 300, {"fits": 3}),
            (10_000, 299, {"fits": 3}),
        ),
    ],
)
def test_a_table_with_time_exports_the_mean_of_several_fits(rows, seconds, fits):
    """On more rows the seed hardly matters, and who is in a hurry wants quick
    predictions.
    """
    frame = pd.DataFrame({"feature": np.arange(120) % 7, "y": np.arange(120) % 2})
    found = infer(frame, Wishes(target="y", seconds=seconds), rows)
    assert found.attributes({"url": "t.csv"}).get("export") == fits


@pytest.mark.parametrize(("groups", "folds"), [(199, True), (200, False)])
def test_few_groups_are_cross_validated(groups: int, folds: bool):
    """A fifth of them would choose by luck, however many rows they have."""
    frame = pd.DataFrame(
        {"shop_id": np.arange(4_000) % groups, "x": np.arange(4_000.0) % 13}
    )
    frame["y"] = frame["x"] + np.arange(4_000) % 3 / 2
    found = infer(
        frame, Wishes(target="y", split="group", split_column="shop_id")
    ).evaluation
    assert (found is not None and f"with {groups} groups" in found.why) == folds


def test_a_budget_is_written_with_more_draws_than_it_has_time_for():
    """The clock ends the search, not the number of draws."""
    said = draft(NUMBERS, {"seconds": 30}).attributes({"url": "t.csv"})
    usual = draft(NUMBERS).attributes({"url": "t.csv"})
    for found, seconds, draws in ((said, 30, 200), (usual, 80, 20)):
        assert found["budget"] == {"seconds": seconds}
        assert [one["draws"] for one in found["search"][:2] if "draws" in one] == [
            draws
        ]


def test_a_sample_tells_counted_rows_and_series_as_the_table_does():
    """The rows of a sample keep their numbers, so that gaps between them are no gaps of
    the table.
    """
    rows = pd.RangeIndex(300)
    days = pd.date_range("2020-01-01", periods=300, freq="D")
    frame = pd.DataFrame(
        {"index": rows, "day": days, "y": [0.5, 1.5, 2.25] * 100}, index=rows
    )
    sample = frame.iloc[[0, 3, 4, 9, *range(20, 300, 7)]]
    whole, some = (infer(part, Wishes(target="y"), 300) for part in (frame, sample))
    assert some.excluded["index"] == whole.excluded["index"] == "counts the rows"
    assert some.split.value == whole.split.value


@pytest.mark.parametrize(
    ("other", "numbers"),
    [("0,5", EUROPEAN), ("1.234,56", EUROPEAN), ("9,234", {"thousands": ","})],
)
def test_what_a_comma_means_another_column_tells(other: str, numbers: dict[str, str]):
    """1,234 is a thousand, but in a table that writes decimals with a comma."""
    frame = pd.DataFrame(
        {"a": repeated("1,234", "2,345"), "b": repeated(other, "7,125")}
    )
    plans = plan_columns(frame)
    assert plans["b"].preparation["numbers"] == numbers
    comma = numbers.get("decimal", ".")
    read = read_completely(frame["a"], plans["a"].preparation)
    assert read[0] == (1.234 if comma == "," else 1234)


def test_a_word_among_numbers_is_a_slip():
    """A few words do not turn measurements into codes; texts with digits, and many
    words, do.
    """
    numbers = [f"{row / 7:.3f}" for row in range(ROWS - 3)]
    slipped = plan("temperature", [*numbers, "inf", "closed", "?"])
    assert slipped.preparation == {
        "types": "number",
        "missing_values": ["?", "inf", "closed"],
    }
    assert "'closed' read as missing" in slipped.why
    assert plan("temperature", [*numbers, "1-2", "x", "?"]).excluded
    assert plan(
        "place", [*numbers[: ROWS // 2], *("abcdefghij" * ROWS)[: ROWS // 2]]
    ).excluded
    assert plan("grade", repeated("1", "2", "none")) == ColumnPlan("grade")
