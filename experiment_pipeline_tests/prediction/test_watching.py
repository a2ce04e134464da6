"""The promise, watched: labels that come later are joined by id, count once, and are
compared.
"""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

import experiment_pipeline as ep
from experiment_pipeline.errors import (
    EntryCorrupt,
    InvalidModel,
    UnknownRun,
    UnusableTable,
)
from experiment_pipeline.prediction import watching
from experiment_pipeline.storage.files import list_names, storage_root, write_bytes
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.archive import reindex
from experiment_pipeline.tracking.history import experiment_page
from experiment_pipeline.tracking.record import last_decided_runs
from experiment_pipeline_tests import exported, runs, scenario
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.prediction import promised

Tables = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(autouse=True)
def published(storage: Path) -> Path:
    """A storage with a version that promises a ROC AUC of .8."""
    promised.publish()
    return storage


def watched(tables: Tables, of: str = "flights", **more: Any) -> ep.WatchRow:
    """The answer, by the ids and days of the tables."""
    return ep.watch(of, *tables, **{"ids": "flight", "time": "day"} | more)


def of_days(first: int, last: int, **more: Any) -> Tables:
    """The tables of some days, the same whenever they are asked for."""
    return promised.days(first, last, np.random.default_rng([2, first]), **more)


def rows_of_page(title: str) -> list[Any]:
    """The rows of a section's table on the page of the experiment."""
    page = experiment_page(last_decided_runs("")["flights"])
    sections = {section.title: section for section in page.sections}
    return sections[title].blocks[0].rows


def kept() -> list[dict[str, Any]]:
    """The rows of the database, the oldest first."""
    return plain_rows(
        questions.rows_of("watches", {"experiment": "flights"}).sort_values("at")
    )


def test_what_predict_says_stands_on_the_page_before_labels_come(tmp_path):
    """Of an experiment by its name; a version's folder, which may be from elsewhere, is
    noted nowhere.
    """
    table, output = tmp_path / "rows.csv", str(tmp_path / "p.csv")
    exported.delivered(40).assign(carrier="ZZ").to_csv(table, sep=";", index=False)
    for model in ("flights", str(storage_root() / "flights" / "registry" / "v0001")):
        told = command("predict", model, table, "--output", output)
        assert told.exit_code == 0, told.output
    ((_, *known, said),) = rows_of_page("Predicted, before labels")
    assert known == ["v0001", "40", "0"]
    assert "carrier: 40 rows with a category that training did not see" in said


def test_a_drop_is_said_with_the_day_on_which_it_began():
    """Before, the score stands beside the promise and the baseline. Two better days do
    not outweigh it; the page of the experiment shows every moment.
    """
    before = watched(of_days(0, 20))
    assert (before.version, before.rows, before.days) == ("v0001", 800, 20)
    assert before.low < 0.8 < before.high
    assert before.promise == pytest.approx(0.8, abs=0.03)
    assert (before.baseline, before.below, before.since) == (0.5, False, None)
    assert "no evidence that the promise is broken" in str(before)
    found = watched(of_days(20, 40, separation=0.2, rows=80))
    since = pd.Timestamp(found.since)
    assert abs(since - pd.Timestamp("2026-03-21")).days <= 2
    assert found.recent < 0.7
    assert "experiment-pipeline refit flights" in found.notes[-1]
    later = watched(of_days(40, 42))
    assert later.below
    assert abs(pd.Timestamp(later.since) - since).days <= 2
    assert [row["below"] for row in kept()] == [False, True, True]
    shown = rows_of_page("The promise, watched")
    assert [row[2] for row in shown] == ["2,480", "2,400", "800"]
    assert "below the promise since about" in shown[0][-1]


def test_rows_count_once_by_id_and_nothing_is_replaced():
    """The same call again changes nothing; other labels of known ids are said, and
    left.
    """
    first = watched(of_days(0, 10))
    again = watched(of_days(0, 10))
    known = (400, 0, first.evidence, first.at)
    assert (again.rows, again.new_rows, again.evidence, again.at) == known
    assert "400 rows were given before, 0 with other values" in again.notes[0]
    predictions, labels = of_days(0, 11)
    labels["late"] = labels["late"].replace({"yes": "no", "no": "yes"})
    more = watched((predictions, labels))
    assert (more.rows, more.new_rows) == (440, 40)
    assert "400 rows were given before, 400 with other values" in more.notes[0]
    assert [row["rows"] for row in kept()] == [400, 440]


def test_the_state_follows_from_the_evidence_of_all_days():
    """After a long time as promised, a drop is no evidence any more."""
    assert watched(of_days(0, 25, separation=0.2, rows=80)).below
    later = watched(of_days(25, 200, rows=200))
    assert later.evidence < 20
    assert (later.below, later.since, later.recent) == (False, None, None)


def test_a_day_counts_when_its_labels_are_complete():
    """Once 95 % of its predictions have one; what comes later never counts."""
    predictions, labels = of_days(0, 10)
    first = watched((predictions, labels[5:-1]))
    assert (first.rows, first.days) == (394, 9)
    assert any("35 labels wait until 95% of the predictions" in n for n in first.notes)
    complete = watched((predictions, labels[:-1]))
    assert (complete.rows, complete.new_rows, complete.days) == (399, 5, 10)
    late = watched((predictions, labels))
    assert (late.rows, late.days, late.evidence) == (400, 10, complete.evidence)
    assert "1 labels came after their day was complete, and do not count" in late.notes


@pytest.mark.parametrize("label_after", [None, "30 days"])
def test_labels_that_arrive_by_class_raise_no_alarm(monkeypatch, label_after):
    """The positives of a day at once, the negatives 30 days later: inferred, and with
    the time that labels take.
    """
    predictions, labels = of_days(0, 70)
    day = pd.to_datetime(predictions["day"]).dt.normalize()
    known_on = day + pd.to_timedelta(np.where(labels["late"] == "yes", 0, 30), "D")
    for today in pd.to_datetime(["2026-03-24", "2026-04-16", "2026-05-09"]):
        at = f"{today:%Y-%m-%d}T07:00:00.000000+00:00"
        monkeypatch.setattr(watching, "now", lambda at=at: at)
        known = labels[(day < today) & (known_on <= today)]
        found = watched((predictions[day < today], known), label_after=label_after)
        assert not found.below
        assert found.days == max((today - day[0]).days - 29, 0)
    assert found.days == 40
    assert found.low < 0.8 < found.high


def test_labels_of_young_rows_wait_where_the_experiment_says_how_long(monkeypatch):
    """Each delivery has all rows, and a positive that has not happened yet as negative:
    the first value counts only once the label is in.
    """
    promised.publish("late_labels", within="30 days")
    predictions, labels = of_days(0, 70)
    day = pd.to_datetime(predictions["day"]).dt.normalize()
    happened_on = day + pd.to_timedelta(np.arange(len(day)) % 30, "D")
    for today in pd.to_datetime(["2026-03-24", "2026-04-16", "2026-05-09"]):
        at = f"{today:%Y-%m-%d}T07:00:00.000000+00:00"
        monkeypatch.setattr(watching, "now", lambda at=at: at)
        known = labels["late"].where(happened_on <= today, "no")
        told = (predictions[day < today], labels.assign(late=known)[day < today])
        found = watched(told, of="late_labels", time=None)
        assert not found.below
        young = int(((day < today) & (day > today - pd.Timedelta("30 days"))).sum())
        assert f"{young:,} labels are not in yet: they take 30 days" in found.notes
    assert found.rows == int((day <= today - pd.Timedelta("30 days")).sum())
    assert found.low < 0.8 < found.high


def test_a_changing_share_of_classes_is_named_as_the_cause():
    """The score falls although the model knows as much as before; where it knows less,
    that is no cause.
    """
    promised.publish("seasons", metric="average_precision")
    found = [
        watched(of_days(first, first + 20, rows=100, share=share), of="seasons")
        for first, share in ((0, 0.5), (20, 0.2))
    ]
    assert [row.below for row in found] == [False, True]
    (cause,) = (note for note in found[1].notes if "the cause is" in note)
    assert "yes is 20% of the rows since then, and was 5" in cause
    fallen = watched(of_days(0, 20, separation=0.2, rows=100))
    assert fallen.below
    assert not any("the cause is" in note for note in fallen.notes)


def test_what_cannot_be_joined_is_counted_and_said():
    """Labels to come, labels of nothing, ids that are missing or there twice, missing
    labels.
    """
    predictions, labels = of_days(0, 3)
    labels.loc[[0, 1], "late"] = None
    labels.loc[2, "flight"] = None
    labels = pd.concat(
        [labels[:100], labels[98:100], pd.DataFrame({"flight": ["x"], "late": ["no"]})]
    )
    found = watched((predictions, labels))
    assert (found.rows, found.notes) == (
        97,
        (
            "1 labels have no id, and are left out",
            "2 labels have the id of an earlier row, and are left out",
            "21 predictions have no label yet",
            "1 labels have no prediction",
            "2 labels are missing, or not of the target's type",
            (
                "57 labels wait until 95% of the predictions of their day have a "
                "label; if some never get one, give the time that labels take as "
                "label_after"
            ),
        ),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p, y: (p.rename(columns={"flight": "id"}), y),
            "column flight: the predictions have no",
        ),
        (
            lambda p, y: (p, y.assign(flight="F" + y["flight"])),
            "no label has the id of a prediction",
        ),
        (
            lambda p, y: (p, y.assign(late="maybe")),
            "values that are none of the classes 'no', 'yes'",
        ),
        (lambda p, y: (p, y.assign(late=None)), "is missing in all 40 rows"),
        (
            lambda p, y: (p.assign(day="soon"), y),
            "40 of 40 labelled rows have no readable date",
        ),
        (lambda p, y: (p.drop(columns="day"), y), "is in neither table"),
        (lambda p, y: (p.assign(probability_yes="high"), y), "are not finite numbers"),
    ],
)
def test_what_cannot_be_used_is_named(change: Any, message: str):
    """Culprit, rule and fix, and nothing is kept."""
    with pytest.raises(UnusableTable, match=message):
        watched(change(*of_days(0, 1)))
    assert kept() == []


def test_the_time_that_labels_take_needs_days():
    """Else no day would ever be complete."""
    predictions, labels = of_days(0, 1)
    tables = (predictions.drop(columns="day"), labels)
    with pytest.raises(UnusableTable, match="no column with the day of a row"):
        watched(tables, time=None, label_after="2 days")


def test_a_version_that_is_not_known_is_named():
    """With the versions that there are."""
    with pytest.raises(UnknownRun, match="no version of this experiment is recorded"):
        ep.watch("trains", *of_days(0, 1))
    with pytest.raises(
        InvalidModel, match="v0009: is no recorded version; did you mean 'v0001'"
    ):
        watched(of_days(0, 1), version="v0009")


def test_what_was_watched_survives_a_lost_database(monkeypatch, tmp_path):
    """The notes in the storage are the record."""
    watched(of_days(0, 10))
    before = kept()
    monkeypatch.setenv(
        "EXPERIMENT_PIPELINE_DATABASE", f"sqlite:///{tmp_path / 'new.sqlite'}"
    )
    reindex(storage_root(), pytest.fail)
    assert kept() == before


def test_a_note_that_was_changed_is_an_error():
    """Without it, its rows would count again."""
    watched(of_days(0, 1))
    folder = storage_root() / "flights" / "watches" / "v0001"
    write_bytes(folder / list_names(folder)[0], b"{}")
    with pytest.raises(EntryCorrupt, match="is not what was written"):
        watched(of_days(0, 1))


def test_the_command_reads_files_and_prints_words_or_json(tmp_path):
    """CSV as `predict --keep` writes it, ids with their zeros; Parquet as well."""
    predictions, labels = of_days(0, 5)
    predictions.to_csv(tmp_path / "p.csv", index=False)
    labels.to_parquet(tmp_path / "l.parquet")
    given = ("watch", "flights", tmp_path / "p.csv", tmp_path / "l.parquet", "--id")
    facts = json.loads(command(*given, "flight", "--json").output)
    assert (facts["experiment"], facts["rows"], facts["days"]) == ("flights", 200, 1)
    told = command(*given, "flight").output
    assert told.startswith("version   v0001: 200 labelled rows in 1 part of a day")
    assert f"promise   {facts['promise']:.4f} (" in told
    wrong = command(*given, "flihgt")
    assert wrong.exit_code == 1
    assert "did you mean 'flight'" in wrong.output


def test_dagster_watches_warns_and_asks_for_one_run(tmp_path):
    """An asset with a check, a job with a schedule, and a sensor that requests a run
    once per version.
    """
    places = {name: f"{tmp_path}/{name}.parquet" for name in ("predictions", "labels")}
    given = {**places, "id": "flight", "time": "day", "rerun": True}
    given["schedule"] = "0 7 * * *"
    spec = scenario.spec(name="flights", watch=given)
    definitions = runs.definitions(spec, scenario.SCHEMA)
    dg.Definitions.validate_loadable(definitions)
    schedule = definitions.resolve_schedule_def("flights_watch_schedule")
    job = definitions.resolve_job_def("flights_watch")
    sensor = definitions.resolve_sensor_def("flights_promise_broken")
    # As all other automations: somebody has to start them.
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    answers = []
    with dg.DagsterInstance.ephemeral() as instance:
        for tables in (of_days(0, 20), of_days(20, 40, separation=0.2, rows=80)):
            for table, place in zip(tables, places.values(), strict=True):
                table.to_parquet(place)
            done = job.execute_in_process(instance=instance)
            (check,) = done.get_asset_check_evaluations()
            asked = sensor.evaluate_tick(dg.build_sensor_context(instance))
            keys = [request.run_key for request in asked.run_requests or ()]
            answers.append((check.passed, check.severity.name, keys))
    below = ["v0001 is below its promise"]
    assert answers == [(True, "WARN", []), (False, "WARN", below)]
