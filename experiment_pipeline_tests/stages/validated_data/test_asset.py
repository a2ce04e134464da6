"""The graph up to the exported model, in process: what runs leave behind for the next one."""

from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from experiment_pipeline.orchestration.job import build_experiment, range_tags
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.validated_data.profile import ACCEPTED, DataProfiles
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline_tests import scenario

pytestmark = pytest.mark.usefixtures("storage")

CHANGED = "data_resembles_the_accepted"
BIAS = "rejected_rows_resemble_the_others"
RATE = "rejection_rate_within_limit"
# One stage after the validation, to see whether it is blocked.
STAGES = ("raw_data", "data_analysis", "validated_data", "rejected_rows")
SETS = ("train_set", "test_set", "validation_set")


def visits(folder: Path, frame: pd.DataFrame | None = None, **validation: object) -> ExperimentSpec:
    """An experiment on a table that is written now."""
    url = str(scenario.write_csv(folder / "visits.csv", frame))
    limits = {"max_rejected_fraction": 0.5, **validation}
    return scenario.spec(url=url, validation=limits, search=[{"algorithm": "linear"}])


def run(spec: ExperimentSpec, *stages: str) -> dg.ExecuteInProcessResult:
    """Materialize some stages, or all of them."""
    definitions = build_experiment(NamedColumns(spec, scenario.SCHEMA))
    keys = [dg.AssetKey([spec.name, stage]) for stage in stages]
    selection = dg.AssetSelection.assets(*keys) if stages else dg.AssetSelection.all()
    job = dg.define_asset_job("some", selection, tags=range_tags(configurations(spec)))
    merged = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
    with dg.DagsterInstance.ephemeral() as instance:
        return merged.resolve_job_def("some").execute_in_process(
            instance=instance, raise_on_error=False
        )


def check(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    """The evaluation of one asset check."""
    (found,) = [one for one in result.get_asset_check_evaluations() if one.check_name == name]
    return found


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    """Stages that were materialized."""
    events = result.get_asset_materialization_events()
    return {event.asset_key.path[-1] for event in events if event.asset_key is not None}


def older(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with patients that are 20 years older."""
    return frame.assign(age=(frame["age"] + 20).where(frame["age"].between(0, 99), frame["age"]))


@pytest.mark.slow
def test_the_export_makes_the_version_that_later_data_is_compared_with(tmp_path):
    """First run: no accepted version, and no bias in its few rejected rows; after an export drift is
    told, and blocks where said.
    """
    first = run(visits(tmp_path))
    assert first.success
    assert "exported_model" in materialized(first)
    assert check(first, BIAS).passed
    assert check(first, CHANGED).passed
    assert "no accepted version yet" in check(first, CHANGED).description
    accepted = DataProfiles(storage_root(), "clinic").latest(ACCEPTED, print)
    assert accepted is not None
    assert accepted.rows == 470

    same = run(visits(tmp_path), *STAGES, *SETS)
    assert check(same, CHANGED).passed
    assert check(same, CHANGED).description.startswith("nothing has changed since the accepted")

    drifted = older(scenario.table())
    warned = run(visits(tmp_path, drifted), *STAGES, *SETS)
    found = check(warned, CHANGED)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "age (feature) drifted" in found.description
    assert {"train_set", *STAGES} <= materialized(warned)

    blocked = run(visits(tmp_path, drifted, drift={"block": 0.5}), *STAGES, *SETS)
    found = check(blocked, CHANGED)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "raise validation.drift.block" in found.description
    assert "train_set" not in materialized(blocked)
    assert DataProfiles(storage_root(), "clinic").latest(ACCEPTED, print) == accepted


def test_a_rise_of_the_rejection_rate_stays_a_rise_on_the_second_try(tmp_path):
    """The rate is compared with the last run that kept the limits."""
    limit = {"max_rejected_increase": 0.05}
    assert check(run(visits(tmp_path, **limit), *STAGES), RATE).passed
    broken = scenario.table()
    broken.loc[broken.index[:100], "ward"] = "Narnia"
    for _ in range(2):
        found = check(run(visits(tmp_path, broken, **limit), *STAGES), RATE)
        assert not found.passed
        assert "2.08% before" in found.description
