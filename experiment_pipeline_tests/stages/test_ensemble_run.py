"""A whole run whose choice is an ensemble: what it leaves for people, and that it is not made twice."""

import pandas as pd
import pytest

from experiment_pipeline.prediction.files import load_model
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.tracking import questions, terminal
from experiment_pipeline_tests import runs, scenario


@pytest.mark.usefixtures("storage")
def test_a_run_chooses_exports_remembers_and_reuses_an_ensemble(tmp_path):
    """Its members are told wherever the choice is; the same run again is no other look or version."""
    table = scenario.write_csv(tmp_path / "visits.csv")
    spec = scenario.spec("regression", "time", url=str(table))
    done = runs.run(spec, scenario.SCHEMA)
    assert done.success, done.failure
    board = done.metadata("leaderboard")
    assert board["partition"] == ENSEMBLE
    assert board["chosen"] == "ensemble"
    assert board["ensemble"].startswith("0.67 of linear, ")
    assert "times the prediction time" in board["reason"]
    exported = done.metadata("exported_model")
    assert exported["version"] == "v0001"
    assert "| 0.67" in exported["card"]

    run = questions.run_of(spec.name)
    assert run["chosen"] == ENSEMBLE
    assert run["declared"] == run["trained"]
    told = questions.results(spec.name)
    (members,) = told.loc[told["key"] == ENSEMBLE, "members"]
    assert members.startswith("0.67 of linear, ")
    assert any(ENSEMBLE in str(one) for one in terminal.run(run))
    version = Registry(storage_root(), spec.name).model("v0001")
    record = version.read("decision_record.md").decode()
    assert f"Chosen: {ENSEMBLE} (members" in record
    assert "weight: 0.6" in version.read("hyperparameters.yaml").decode()

    outcome = load_model(spec.name).predict_table(
        str(table), str(tmp_path / "p.csv"), str(tmp_path / "r.csv")
    )
    assert outcome.predicted == len(pd.read_csv(tmp_path / "p.csv"))

    # Another gate looks again at the same model: the champion is held to be it.
    gate = [{"metric": "mae", "at_most": 1e6, "judged_by": "estimate"}]
    again = runs.run(
        scenario.spec("regression", "time", url=str(table), acceptance=gate), scenario.SCHEMA
    )
    assert again.success, again.failure
    assert again.metadata("search_results")["trained"] == again.metadata("search_results")["reused"]
    assert again.metadata("validation_report")["looks"] == 1
    assert again.metadata("exported_model")["version"] == "v0001"
