"""A whole experiment that a user's own metric ranks and judges."""

import sys

import pytest

import experiment_pipeline as ep
from experiment_pipeline.storage import run_code
from experiment_pipeline.tracking import questions
from experiment_pipeline_tests import own_metrics, runs, scenario

PROFIT = own_metrics.profit.path


@pytest.mark.usefixtures("storage")
def test_an_own_metric_ranks_gates_and_is_not_needed_to_predict(tmp_path, monkeypatch) -> None:
    """Another source ranks and judges anew and trains nothing; card and database name the metric."""
    spec = scenario.spec(
        url=str(scenario.write_csv(tmp_path / "visits.csv")),
        metric=PROFIT,
        acceptance=[{"metric": PROFIT, "at_least": 1}, {"metric": "roc_auc", "at_least": 0.5}],
    )
    done = runs.run(spec, scenario.SCHEMA)
    assert done.success, done.failure
    assert f"lower bound of {PROFIT} at least 1" in str(done.metadata("validation_report"))
    assert PROFIT in done.metadata("exported_model")["card"]
    (known,) = questions.runs(spec.name, all_columns=True).to_dict("records")
    assert (known["metric"], known["greater_is_better"]) == (PROFIT, True)
    assert known["validation_low"] < known["validation_score"] < known["validation_high"]
    best = questions.leaderboard(spec.name)["test_score"].max()
    before = own_metrics.profit.function
    other = ep.metric(greater_is_better=True, takes="labels")(lambda *rows: before(*rows) + 1)
    monkeypatch.setattr(own_metrics, "profit", other)
    monkeypatch.setattr(run_code, "own_code", lambda _: {run_code.SOURCE: "changed"})
    again = runs.run(spec, scenario.SCHEMA)
    assert again.metadata("search_results")["reused"] == again.metadata("search_results")["trained"]
    assert questions.leaderboard(spec.name)["test_score"].max() == pytest.approx(best + 1)
    assert questions.runs(spec.name, all_columns=True)["validation_score"].nunique() == 2
    monkeypatch.setitem(sys.modules, own_metrics.__name__, None)
    files = (str(tmp_path / name) for name in ("predicted.csv", "rejected.csv"))
    assert ep.load_model(spec.name).predict_table(spec.source.url, *files).predicted > 400
