"""Labels that are known some time after their row: who has none yet, and what a date as
target means.
"""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import InvalidExperiment, UnusableTable
from experiment_pipeline.experiment.in_memory import run_experiment
from experiment_pipeline.intake.validation import REASONS, validate
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.validated_data import page
from experiment_pipeline.table.label import prepare_labelled
from experiment_pipeline.table.membership import prepare_and_assign
from experiment_pipeline.table.schema import load_schema

DAYS = pd.date_range("2026-01-01", periods=200, name="signed_up")
WITHIN = {"since": "signed_up", "within": "30 days"}
BY_TIME = {"by": "time", "column": "signed_up"}


def experiment(**settings) -> ExperimentSpec:
    """Whether customers leave."""
    asked = {"target": "left", "task": "binary", "metric": "roc_auc", **settings}
    search = [{"algorithm": "linear"}]
    return ExperimentSpec.model_validate({"name": "churn", "search": search, **asked})


def customers(**columns) -> pd.DataFrame:
    """A customer a day; every third one leaves after 10 days."""
    number = np.arange(len(DAYS))
    table = pd.DataFrame({"signed_up": DAYS, "visits": number * 37 % 50})
    leaves = number % 3 == 0
    table["left_on"] = (DAYS + pd.Timedelta("10 days")).to_series().where(leaves).array
    table["left"] = leaves & (number < len(DAYS) - 10)
    return table.assign(**columns).rename_axis(index="row_number")


def unlabelled(table: pd.DataFrame, **label) -> int:
    """How many rows have no label yet, which are the last ones."""
    prepared = prepare_labelled(table, experiment(label=WITHIN | label))
    rows = np.flatnonzero(~prepared.labelled)
    np.testing.assert_array_equal(rows, np.arange(len(table) - len(rows), len(table)))
    return len(rows)


def test_rows_that_were_not_watched_for_so_long_have_no_label():
    """Until the last row, or the time that the YAML says; a row without a time has none
    either, as nobody knows.
    """
    assert unlabelled(customers()) == 30
    assert unlabelled(customers(), seen_until="2026-07-19") == 30
    assert unlabelled(customers(), seen_until="2026-08-18T00:00:00+00:00") == 0
    assert unlabelled(customers(), seen_until="2026-06-19") == 60
    times = DAYS.to_series().where(np.arange(200) < 170).array
    assert unlabelled(customers(signed_up=times), seen_until="2030-01-01") == 30
    assert unlabelled(customers(signed_up=DAYS.tz_localize("UTC"))) == 30


def test_a_date_as_target_says_whether_it_came_in_time():
    """On the last day, too; an event before its row contradicts it, and is missing."""
    days = pd.Series(DAYS[:5])
    after = pd.to_timedelta([30, 31, 0, -1, None], unit="D")
    table = pd.DataFrame({"signed_up": days, "visits": range(5), "left": days + after})
    prepared = prepare_labelled(table, experiment(label=WITHIN))
    expected = pd.Series([True, False, True, None, False], dtype="boolean", name="left")
    pd.testing.assert_series_equal(prepared.frame["left"], expected)


@pytest.mark.parametrize("split", [{"by": "random"}, BY_TIME])
def test_no_set_has_a_row_without_a_label(split):
    """They are rejected for that reason, and count neither as broken nor as a bias; the
    later sets are cut from the rows that have one.
    """
    spec = experiment(
        label={"within": "30 days", "since": "signed_up"},
        split=split,
        exclude={"left_on": "when it happened"},
        preparation={"types": {"signed_up": "datetime"}, "calendar": ["signed_up"]},
    )
    rules = "{dtype: 'datetime64[ns]', nullable: true}"
    schema = load_schema(
        f"columns: {{signed_up: {rules}, left_on: {rules}, visits: {{}}, left: {{}}}}"
    )
    table = customers(visits=np.where(np.arange(200) == 199, None, 1.0))
    prepared = prepare_and_assign(table, schema, spec)
    sizes = prepared.sets.value_counts()
    assert sizes["gap"] == 30 + (58 if split == BY_TIME else 0)
    assert (prepared.sets[170:] == "gap").all()
    rows = validate(table, prepared, schema, spec)
    assert len(rows.validated) == 170
    assert rows.rejection_rate == 0
    assert "30 rows have no label yet, and have been set aside" in rows.notes[-1]
    reasons = rows.rejected[REASONS].unique()
    assert all("has no label yet, which takes 30 days" in reason for reason in reasons)
    assert "signed_up: 2026-07-19 00:00:00 has no label yet" in reasons[-1]
    assert not page.rejection_bias(prepared.frame, rows, spec)["rejected"].any()


def test_train_rows_end_before_the_cut_by_as_much_as_labels_take():
    """Nobody knew the later ones at the cut; another gap is the user's choice."""
    label = {"within": "30 days"}
    assert experiment(label=label, split=BY_TIME).split.gap == "30 days"
    chosen = BY_TIME | {"gap": "1 day"}
    assert experiment(label=label, split=chosen).split.gap == "1 day"
    assert experiment(split=BY_TIME).split.gap == "0s"


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"within": "30 days"}, "the column of the time that a row is of"),
        ({"within": "0 days", "since": "signed_up"}, "no time; write one"),
        (WITHIN | {"seen_until": "soon"}, "'soon' is not a time; write one"),
        ({"since": "signed_up"}, "required"),
    ],
)
def test_a_label_that_cannot_be_is_named(label, said):
    """With what to write."""
    with pytest.raises((InvalidExperiment, ValueError), match=said):
        experiment(label=label)


def test_labels_count_from_a_column_of_dates():
    """One of other values, or none, is named with the line that makes it one."""
    with pytest.raises(UnusableTable, match="the column holds int64"):
        prepare_labelled(customers(signed_up=1), experiment(label=WITHIN))
    with pytest.raises(UnusableTable, match=r"types: \{signed_up: datetime\}"):
        prepare_labelled(
            customers().drop(columns="signed_up"), experiment(label=WITHIN)
        )


def test_a_run_finds_that_labels_are_late_and_promises_what_old_rows_say():
    """The draft sets young rows aside: else their wrong negatives would be learnt and
    judged. A date as target asks for the key, and gives the same labels.
    """
    rng = np.random.default_rng(1)
    rows = 2_000
    table = pd.DataFrame(
        {"signed_up": pd.Timestamp("2026-01-01"), "x": rng.normal(size=rows)}
    )
    day = np.sort(rng.uniform(0, 400, rows))
    table["signed_up"] += pd.to_timedelta(day.astype(int), unit="D")
    leaves = rng.random(rows) < 1 / (1 + np.exp(-table["x"]))
    after = rng.uniform(0, 60, rows)
    known = leaves & (day + after <= 400)
    run = run_experiment(
        table.assign(left=known.astype(int)), "left", search=[{"algorithm": "linear"}]
    )
    assert run.spec.label is not None
    assert run.spec.label.since == "signed_up"
    left_on = (table["signed_up"] + pd.to_timedelta(after, unit="D")).where(known)
    dated = table.assign(left=left_on)
    with pytest.raises(UnusableTable, match=r"label: \{since: signed_up"):
        run_experiment(dated, "left")
    told = {"since": "signed_up", "within": "60 days"}
    run = run_experiment(dated, "left", search=[{"algorithm": "linear"}], label=told)
    assert run.spec.task == "binary"
    last = table["signed_up"].max() - pd.Timedelta("60 days")
    for part in (run.sets.train.rows, run.sets.test.rows):
        assert (part["signed_up"] <= last).all()
        assert part["left"].mean() == pytest.approx(0.5, abs=0.08)
