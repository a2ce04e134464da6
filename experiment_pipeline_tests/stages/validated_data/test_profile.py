"""Profiles of the data: what they hold, how they are stored, and what changed since the
accepted one.
"""

import numpy as np
import pandas as pd
import pytest
from upath import UPath

from experiment_pipeline.intake.profile import DataProfile, profile
from experiment_pipeline.spec import Drift
from experiment_pipeline.stages.validated_data import changes as data_changes
from experiment_pipeline.storage.files import list_names, write_bytes
from experiment_pipeline.storage.records import soon
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.intake.validation import clinic, read_back


def changes(
    before: pd.DataFrame, now: pd.DataFrame, rates=(0.0, 0.0), **settings
) -> data_changes.DataChanges:
    """Compare two tables as two runs do, with the older one read back from storage."""
    accepted = read_back(profile(before, rates[0]).to_bytes())
    return data_changes.compare(
        accepted, profile(now, rates[1]), now, scenario.spec(**settings)
    )


def visits(rows: int, seed: int, **columns) -> pd.DataFrame:
    """Draw visits from one source, with some columns replaced."""
    drawn = clinic().validated.sample(rows, replace=True, random_state=seed)
    drawn = drawn.reset_index(drop=True).rename_axis(index="row_number")
    return drawn.assign(**columns)


@pytest.mark.parametrize("rows", [50, 5_000])
def test_samples_of_one_source_hardly_alarm(rows):
    """Two draws of the same visits differ by noise alone, at any size."""
    limits = Drift()
    alarms = [
        changes(visits(rows, n), visits(rows, 100 + n)).problems(limits)
        for n in range(5)
    ]
    assert sum(map(len, alarms)) <= 1


def test_the_column_that_drifted_is_named_and_blocks_only_past_the_limit_of_the_yaml():
    """A shift of one feature is told by name, effect and what it was before; a limit is
    on the effect size.
    """
    now = visits(2_000, 1)
    now["age"] += 15
    found = changes(visits(2_000, 0), now)
    assert [len(found.blocking(Drift(block=limit))) for limit in (None, 0.5, 50)] == [
        0,
        1,
        0,
    ]
    (problem,) = found.problems(Drift())
    assert problem.startswith("age (feature) drifted: population stability index ")
    assert "accepted: median 54" in problem
    assert "now: median 69" in problem


def test_more_missing_values_and_new_categories_are_drift():
    """Both are bins of their own."""
    now = visits(2_000, 1)
    now["weight"] = now["weight"].where(now.index % 2 == 0)
    now["ward"] = now["ward"].where(now.index % 3 != 0, "west wing")
    problems = changes(visits(2_000, 0), now).problems(Drift())
    assert {problem.split()[0] for problem in problems} == {"weight", "ward"}


def test_the_target_counts_and_what_no_model_sees_does_not():
    """Ids and times of newer rows always differ: they are shown, and alarm nobody."""
    before, now = visits(2_000, 0), visits(2_000, 1, readmitted="yes", cost=1e6)
    now["visited"] += pd.Timedelta("900 days")
    for one in (before, now):
        one["visited_days"] = one["visited"].astype("int64") / 86.4e9
    found = changes(before, now, preparation={"calendar": {"visited": ["days"]}})
    assert [problem.split()[0] for problem in found.problems(Drift())] == ["readmitted"]
    roles = found.drift.set_index("column")["role"]
    expected = {"readmitted": "target", "age": "feature"}
    expected |= dict.fromkeys(["visited", "visited_days", "cost"], "not used")
    assert roles[[*expected]].to_dict() == expected


def test_a_million_rows_do_not_make_a_tiny_shift_large():
    """The number of rows decides about noise, never about the effect."""
    rng = np.random.default_rng(0)
    before = pd.DataFrame({"age": rng.normal(50, 10, 500_000)})
    found = changes(before, pd.DataFrame({"age": rng.normal(50.3, 10, 500_000)}))
    assert found.drift["real"].all()
    assert found.drift["effect_size"].max() < 0.01
    assert found.problems(Drift()) == []


def test_changes_of_the_schema_are_told():
    """Columns that came, went or changed their type, each in words; no comparison
    crashes.
    """
    before = clinic().validated
    now = before.drop(columns="weight").assign(
        new=1, age=before["age"].astype("str"), triage=before["visited"], visited="text"
    )
    found = changes(before, now)
    assert found.schema == (
        "columns gone since the accepted version: 'weight'",
        "columns new since the accepted version: 'new'",
        "visited was datetime64[us], is str",
        "age was float64, is str",
        "triage was str, is datetime64[us]",
    )
    assert not {"weight", "new", "age"} & set(found.drift["column"])


COLUMNS = {
    "number": [0.5 * n for n in range(60)],
    "few": [1, 2, 3] * 20,
    "text": ["a", "b", None] * 20,
    "flag": [True, False] * 30,
    "maybe": pd.array([True, None] * 30, dtype="boolean"),
    "whole": pd.array([*range(59), None], dtype="Int64"),
    "category": pd.Categorical(["x", "y"] * 30),
    "instant": pd.date_range("2024-01-01", periods=60, unit="us"),
    "zoned": pd.date_range("2024-01-01", periods=60, unit="us", tz="Europe/Berlin"),
    "nothing": [np.nan] * 60,
    "never": pd.Series([pd.NaT] * 60, dtype="datetime64[us]"),
    "nested": [[1, 2]] * 60,
    "infinite": [np.inf, -np.inf, *map(float, range(58))],
}
FRAME = pd.DataFrame(COLUMNS).rename_axis(index="row_number")


@pytest.mark.parametrize("name", FRAME.columns)
def test_every_row_is_counted_once(name):
    """The counts of a column add up to the rows; the last one is the missing ones."""
    found = profile(FRAME, 0.0).columns[name]
    assert sum(found.counts) == len(FRAME)
    assert found.counts[-1] == FRAME[name].isna().sum()
    assert found.text


def test_a_profile_survives_storing():
    """As JSON and back it is the same profile, with the same digest."""
    for before in (
        profile(FRAME, 0.25),
        profile(clinic().validated, 10 / 480),
    ):
        again = read_back(before.to_bytes())
        assert again == before
        assert again.digest == before.digest


def test_rare_values_are_not_named():
    """Ids and names of few rows do not leave the table; frequent values do."""
    found = profile(clinic().validated, 0.0)
    assert found.columns["visit_id"].categories == ()
    assert b"V0001" not in found.to_bytes()
    assert found.columns["ward"].categories == ("north", "south", "east", "day clinic")
    assert found.columns["ward"].text.startswith("north 4")


def made(value: int) -> DataProfile:
    """A profile that differs by its value."""
    return profile(pd.DataFrame({"a": [value] * 5}), value / 10)


def test_the_latest_note_counts(place: UPath):
    """Runs and exports are noted apart, and one that comes back counts again."""
    store = data_changes.DataProfiles(place, "clinic")
    for value in (1, 2):
        store.put(made(value))
    for value in (1, 2, 2, 1):
        store.note(data_changes.RUNS, made(value).digest)
    store.note(data_changes.ACCEPTED, made(2).digest)
    store.put(made(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_changes.records, "now", lambda: "2099-01-01T00:00:00+00:00")
        store.note(data_changes.RUNS, made(2).digest)  # by a clock that is wrong
    assert store.latest(data_changes.RUNS, pytest.fail) == made(1)
    assert store.latest(data_changes.ACCEPTED, pytest.fail) == made(2)
    assert len(list_names(store.folder / "runs")) == 4


@pytest.mark.parametrize("note", [b"", b'{"profile": "0"}'])
def test_the_version_before_a_damaged_one_counts(place: UPath, note: bytes):
    """A damaged note, or one about a damaged profile, is told by its file and passed
    over.
    """
    store = data_changes.DataProfiles(place, "clinic")
    for value in (1, 2):
        store.put(made(value))
        store.note(data_changes.ACCEPTED, made(value).digest)
    damaged = store.folder / f"{made(2).digest}.json"
    write_bytes(damaged, made(1).to_bytes())
    write_bytes(store.folder / "accepted" / f"{soon():%Y%m%dT%H%M}.json", note)
    told = []
    assert store.latest(data_changes.ACCEPTED, told.append) == made(1)
    assert len(told) == 2
    assert told[1].startswith(f"{damaged} is not what was written")


def test_the_same_profile_again_mends_a_damaged_one(place: UPath):
    """An unchanged table finds its accepted version again."""
    store = data_changes.DataProfiles(place, "clinic")
    store.put(made(1))
    store.note(data_changes.ACCEPTED, made(1).digest)
    write_bytes(store.folder / f"{made(1).digest}.json", b"{")
    store.put(made(1))
    assert store.latest(data_changes.ACCEPTED, pytest.fail) == made(1)
