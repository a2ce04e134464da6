"""What a real run leaves in the memory: accepted, rejected, failed, again, by whom."""

from pathlib import Path

import dagster as dg
import pytest

from experiment_pipeline.memory import questions
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.runs import run

IMPOSSIBLE = [{"metric": "roc_auc", "at_least": 0.999}]


@pytest.fixture
def spec(tmp_path: Path, storage: Path) -> ExperimentSpec:
    """The awkward table as an experiment, with a storage of its own."""
    assert not storage.exists()
    return scenario.spec(url=str(scenario.write_csv(tmp_path / "visits.csv")))


def with_keys(spec: ExperimentSpec, **keys: object) -> ExperimentSpec:
    """The same experiment with other settings."""
    return ExperimentSpec.model_validate(spec.model_dump(exclude_unset=True) | keys)


def test_an_accepted_run_is_remembered_from_table_to_version(spec: ExperimentSpec) -> None:
    """Every stage's facts are there, and the pages that people open."""
    assert run(spec, scenario.SCHEMA).success
    row = questions.run_of(spec.name)
    assert row["status"] == "accepted"
    assert row["triggered_by"] == "command line"
    assert row["ended_at"] >= row["started_at"]
    assert row["data_rows"] == len(scenario.table())
    assert row["verdict"].startswith("go")
    assert row["declared"] == row["trained"] + row["stopped_early"] + row["failed"]
    assert row["validation_low"] <= row["validation_score"] <= row["validation_high"]
    assert row["version"] == "v0001"
    assert row["wall_seconds"] > 0
    sets = questions.rows_of("sets", spec.name).set_index("set_name")["rows"]
    assert sets.sum() == row["data_rows"] - row["rejected_rows"]
    assert set(questions.rows_of("reports", spec.name)["name"]) >= {
        "data_analysis",
        "leaderboard",
        "validation_report",
    }
    assert list(questions.versions(spec.name)["version"]) == ["v0001"]
    results = questions.results(spec.name)
    assert len(results) == row["declared"]
    assert results["is_chosen"].sum() == 1
    assert results.loc[results["is_chosen"], "key"].item() == row["chosen"]
    assert results["fit_wall_seconds"].notna().any()


def test_a_rejected_run_is_kept_with_its_gates_and_leaves_the_champion(
    spec: ExperimentSpec,
) -> None:
    """The leaderboard of the champion's run is still there after a run that was rejected."""
    assert run(spec, scenario.SCHEMA).success
    first = questions.run_of(spec.name)["run_id"]
    before = questions.leaderboard(spec.name, first)
    assert not run(with_keys(spec, acceptance=IMPOSSIBLE), scenario.SCHEMA).success
    row = questions.run_of(spec.name)
    assert row["status"] == "rejected"
    assert "0.999" in row["decision"]
    assert row["version"] is None
    gates = questions.rows_of("gates", spec.name)
    assert gates.loc[gates["limit_value"] == 0.999, "outcome"].item() == "FAIL"
    assert questions.leaderboard(spec.name, first).equals(before)
    assert questions.experiments()["champion"].item() == "v0001"


def test_a_failed_run_says_what_and_how_to_mend_it(spec: ExperimentSpec, tmp_path: Path) -> None:
    """A table that is gone: the run is there, with the error that the user saw."""
    (tmp_path / "visits.csv").unlink()
    assert not run(spec, scenario.SCHEMA).success
    row = questions.run_of(spec.name)
    assert (row["status"], row["stage"]) == ("failed", "raw_data")
    assert "visits.csv" in row["error"]
    assert row["fix"]


def test_an_unchanged_rerun_is_a_run_of_its_own_with_the_same_results(
    spec: ExperimentSpec,
) -> None:
    """What is reused is said to be, and nothing of it is missing."""
    assert run(spec, scenario.SCHEMA).success
    assert run(spec, scenario.SCHEMA).success
    found = questions.runs(spec.name)
    assert list(found["status"]) == ["accepted", "accepted"]
    assert list(found["version_is_new"]) == [False, True]
    assert found["reused"].tolist() == [
        found["trained"].iloc[0] + found["stopped_early"].iloc[0],
        0,
    ]
    new, old = (questions.results(spec.name, one) for one in found["run_id"])
    same = ["key", "rank", "test_score", "fit_cpu_seconds", "fingerprint", "is_chosen"]
    assert new[same].equals(old[same])


@pytest.mark.parametrize(
    ("tags", "by", "name"),
    [
        ({"dagster/schedule_name": "nightly"}, "schedule", "nightly"),
        ({"dagster/sensor_name": "new_data"}, "sensor", "new_data"),
        ({"user": "ada"}, "command line", "ada"),
    ],
)
def test_who_started_a_run_is_remembered(
    tags: dict[str, str], by: str, name: str, spec: ExperimentSpec, tmp_path: Path
) -> None:
    """Schedule, sensor or person: by name."""
    (tmp_path / "visits.csv").unlink()
    run(spec, scenario.SCHEMA, None, **tags)
    row = questions.run_of(spec.name)
    assert (row["triggered_by"], row["trigger_name"]) == (by, name)


def test_the_price_of_the_machine_makes_a_cost(spec: ExperimentSpec, tmp_path: Path) -> None:
    """price_per_hour times the hours that the stages took."""
    (tmp_path / "visits.csv").unlink()
    run(with_keys(spec, price_per_hour=3600.0), scenario.SCHEMA)
    row = questions.run_of(spec.name)
    assert row["cost"] == pytest.approx(row["wall_seconds"])


def test_every_run_makes_the_pages_anew(spec: ExperimentSpec, storage: Path) -> None:
    """Overview and the experiment's page are there after a run, also one that failed."""
    assert run(spec, scenario.SCHEMA).success
    assert spec.name in (storage / "overview.html").read_text()
    assert "accepted" in (storage / spec.name / "runs.html").read_text()


def test_a_run_of_two_experiments_is_remembered_for_each(
    spec: ExperimentSpec, tmp_path: Path
) -> None:
    """Assets of several experiments that are materialized together do not mix."""
    from experiment_pipeline_tests.runs import definitions

    (tmp_path / "visits.csv").unlink()
    other = with_keys(spec, name="other")
    both = dg.Definitions.merge(*(definitions(one, scenario.SCHEMA) for one in (spec, other)))
    graph = [one for one in both.assets or [] if isinstance(one, dg.AssetsDefinition)]
    wanted = [f"{one.name}/raw_data" for one in (spec, other)]
    with dg.instance_for_test() as instance:
        dg.materialize(
            graph,
            selection=wanted,
            instance=instance,
            resources=both.resources,
            raise_on_error=False,
        )
    found = questions.runs()
    assert set(found["experiment"]) <= {spec.name, "other"}
    assert found["run_id"].nunique() == 1
