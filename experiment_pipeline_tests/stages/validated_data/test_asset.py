"""The graph up to the exported model, in process: what runs leave behind for the next
one.
"""

from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.validated_data.changes import ACCEPTED, DataProfiles
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.runs import Run, run

pytestmark = pytest.mark.usefixtures("storage")

CHANGED = "data_resembles_the_accepted"
BIAS = "rejected_rows_resemble_the_others"
RATE = "rejection_rate_within_limit"
# The sets come after the validation, to see whether they are blocked.
STAGES = (
    "raw_data",
    "validated_data",
    "rejected_rows",
    "train_set",
    "test_set",
    "validation_set",
)


def visits(
    folder: Path, frame: pd.DataFrame | None = None, **validation: object
) -> ExperimentSpec:
    """An experiment on a table that is written now."""
    url = str(scenario.write_csv(folder / "visits.csv", frame))
    limits = {"max_rejected_fraction": 0.5, **validation}
    return scenario.spec(url=url, validation=limits, search=[{"algorithm": "linear"}])


def until_the_sets(spec: ExperimentSpec) -> Run:
    """Materialize the first stages."""
    return run(spec, scenario.SCHEMA, stages=STAGES)


def check(done: Run, name: str) -> dg.AssetCheckEvaluation:
    """The evaluation of one asset check."""
    evaluations = done.result.get_asset_check_evaluations()
    [evaluation] = [check for check in evaluations if check.check_name == name]
    return evaluation


def older(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with patients that are 20 years older."""
    return frame.assign(
        age=(frame["age"] + 20).where(frame["age"].between(0, 99), frame["age"])
    )


@pytest.mark.slow
def test_the_export_makes_the_version_that_later_data_is_compared_with(tmp_path):
    """Without one there is no bias to tell; after an export drift is told, and blocks
    where said.
    """
    first = run(visits(tmp_path), scenario.SCHEMA)
    assert first.materialized("exported_model")
    assert check(first, BIAS).passed
    assert check(first, CHANGED).passed
    assert "no accepted version yet" in check(first, CHANGED).description
    accepted = DataProfiles(storage_root(), "clinic").latest(ACCEPTED, print)
    assert accepted is not None
    assert accepted.rows == 470

    same = until_the_sets(visits(tmp_path))
    assert check(same, CHANGED).passed
    assert check(same, CHANGED).description.startswith(
        "nothing has changed since the accepted"
    )

    drifted = older(scenario.table())
    warned = until_the_sets(visits(tmp_path, drifted))
    found = check(warned, CHANGED)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "age (feature) drifted" in found.description
    assert warned.materialized("train_set")

    blocked = until_the_sets(visits(tmp_path, drifted, drift={"block": 0.5}))
    found = check(blocked, CHANGED)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "raise validation.drift.block" in found.description
    assert not blocked.materialized("train_set")
    assert DataProfiles(storage_root(), "clinic").latest(ACCEPTED, print) == accepted


def test_a_rise_of_the_rejection_rate_stays_a_rise_on_the_second_try(tmp_path):
    """The rate is compared with the last run that kept the limits."""
    limit = {"max_rejected_increase": 0.05}
    assert check(until_the_sets(visits(tmp_path, **limit)), RATE).passed
    broken = scenario.table()
    broken.loc[broken.index[:100], "ward"] = "Narnia"
    for _ in range(2):
        found = check(until_the_sets(visits(tmp_path, broken, **limit)), RATE)
        assert not found.passed
        assert "2.08% before" in found.description
