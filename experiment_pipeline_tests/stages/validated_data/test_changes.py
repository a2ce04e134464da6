"""What changed since the accepted version: drift as an effect size, and changes of the schema."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.spec import Drift
from experiment_pipeline.stages.validated_data.profile import (
    DataChanges,
    compare,
    profile,
)
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.stages.validated_data.validation import clinic, read_back


def changes(before: pd.DataFrame, now: pd.DataFrame, rates=(0.0, 0.0)) -> DataChanges:
    """Compare two tables as two runs do, with the older one read back from storage."""
    accepted = read_back(profile(before, rates[0]).to_bytes())
    return compare(accepted, profile(now, rates[1]), now, scenario.spec())


def visits(rows: int, seed: int, **columns) -> pd.DataFrame:
    """Draw visits from one source, with some columns replaced."""
    validated = clinic().validated
    drawn = validated.sample(rows, replace=True, random_state=seed)
    drawn = drawn.reset_index(drop=True).rename_axis(index="row_number")
    return drawn.assign(**columns)


def test_the_same_table_has_not_changed():
    """Against itself, no effect and no problem."""
    same = changes(clinic().validated, clinic().validated)
    assert same.problems(Drift(warn=0.001)) == []
    assert same.drift["effect_size"].max() == 0
    assert len(same.drift) == clinic().validated.shape[1]


@pytest.mark.parametrize("rows", [50, 400, 5_000])
def test_samples_of_one_source_hardly_alarm(rows):
    """Two draws of the same visits differ by noise alone, at any size."""
    limits = Drift()
    alarms = [changes(visits(rows, n), visits(rows, 100 + n)).problems(limits) for n in range(5)]
    assert sum(map(len, alarms)) <= 1


def test_the_column_that_drifted_is_named_with_both_versions():
    """A shift of one feature is told by name, effect and what it was before."""
    now = visits(2_000, 1)
    now["age"] += 15
    (problem,) = changes(visits(2_000, 0), now).problems(Drift())
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
    now = visits(2_000, 1, readmitted="yes", cost=1e6)
    now["visited"] += pd.Timedelta("900 days")
    found = changes(visits(2_000, 0), now)
    assert [problem.split()[0] for problem in found.problems(Drift())] == ["readmitted"]
    roles = found.drift.set_index("column")["role"]
    assert roles[["readmitted", "visited", "cost", "age"]].tolist() == [
        "target",
        "not used",
        "not used",
        "feature",
    ]


def test_it_blocks_only_past_the_limit_of_the_yaml():
    """No limit, no block, however large the drift; with one, by effect size."""
    now = visits(2_000, 1)
    now["age"] += 15
    found = changes(visits(2_000, 0), now)
    assert found.blocking(Drift()) == []
    assert len(found.blocking(Drift(block=0.5))) == 1
    assert found.blocking(Drift(block=50)) == []


def test_a_million_rows_do_not_make_a_tiny_shift_large():
    """The number of rows decides about noise, never about the effect."""
    rng = np.random.default_rng(0)
    before = pd.DataFrame({"age": rng.normal(50, 10, 500_000)})
    now = pd.DataFrame({"age": rng.normal(50.3, 10, 500_000)})
    found = changes(before, now)
    assert found.drift["real"].all()
    assert found.drift["effect_size"].max() < 0.01
    assert found.problems(Drift()) == []


def test_changes_of_the_schema_are_told():
    """Columns that came, went or changed their type, each in words; no comparison crashes."""
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


def test_nested_cells_are_not_compared():
    """Lists in an excluded column stand in nobody's way."""
    nested = pd.DataFrame({"nested": [[1]] * 30, "age": [1.0] * 30})
    assert changes(nested, nested).drift["column"].tolist() == ["age"]


def test_rows_and_rejection_rates_stand_side_by_side():
    """The totals of both versions are shown."""
    totals = changes(visits(100, 0), visits(50, 0), rates=(0.02, 0.5)).totals
    assert totals["accepted"].tolist() == ["100", "2.00%"]
    assert totals["current"].tolist() == ["50", "50.00%"]
