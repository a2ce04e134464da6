"""Whole experiments in this process, mostly on the small awkward table: what their runs
leave for people.
"""

import sys

import pandas as pd
import pytest

import experiment_pipeline as ep
from experiment_pipeline.prediction.files import load_model
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.storage import run_code
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.tracking import questions, terminal
from experiment_pipeline_tests import own_metrics, runs, scenario
from experiment_pipeline_tests.stages.data_analysis import tables
from experiment_pipeline_tests.stages.search.scenario import one

pytestmark = pytest.mark.usefixtures("storage")
PROFIT = own_metrics.profit.path
KEYS = ["dummy", "linear", "lightgbm__num_leaves=3", "lightgbm__num_leaves=7"]


@pytest.fixture
def table(tmp_path):
    return scenario.write_csv(tmp_path / "visits.csv")


def test_one_configuration_alone_is_trained_beside_what_is_stored(table):
    """A partition adds to the search results; the whole job materializes and checks
    everything.
    """
    spec = scenario.spec(url=str(table))
    alone = runs.succeeded(spec, scenario.SCHEMA, **{"dagster/partition": KEYS[-1]})
    assert alone.materialized("trained_model") == [KEYS[-1]]
    assert alone.metadata("search_results")["trained"] == 1
    whole = runs.succeeded(spec, scenario.SCHEMA)
    assert sorted(whole.materialized("trained_model")) == sorted(KEYS)
    found = whole.metadata("search_results")
    assert (found["reused"], found["trained"]) == (1, len(KEYS))
    assert whole.metadata("exported_model")["version"]
    failed = {name for name, passed in whole.checks().items() if not passed}
    assert failed <= {"sets_look_alike"}


def test_halving_stops_most_configurations_and_says_so(tmp_path):
    """Who is stopped is a partition as well, and is counted apart."""
    enough = pd.concat([scenario.sound_table()] * 6, ignore_index=True)
    table = scenario.write_csv(tmp_path / "visits.csv", enough)
    rates = [0.01, 0.02, 0.05, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3]
    lightgbm = one(
        "lightgbm", learning_rate=rates, n_estimators=10, early_stopping_round=0
    )
    spec = scenario.spec(
        url=str(table),
        search=[one("dummy"), lightgbm],
        halving={"fractions": [0.4, 1.0], "keep": 0.5, "fewest_rows": 500},
    )
    done = runs.succeeded(spec, scenario.SCHEMA)
    counts = done.metadata("search_results")
    assert (counts["declared"], counts["trained"], counts["stopped_early"]) == (
        10,
        6,
        4,
    )
    assert {*done.materialized("trained_model")} == {
        configuration.key for configuration in configurations(spec)
    }


def test_a_cross_validated_choice_without_a_positive_class_is_exported_and_predicts(
    tmp_path,
):
    """Chosen on train and test rows; the greater class is modelled, as card and
    predictions say.
    """
    frame = scenario.sound_table()
    frame["readmitted"] = frame["readmitted"] == "yes"
    table = scenario.write_csv(tmp_path / "visits.csv", frame)
    schema = scenario.SCHEMA.replace('str, isin: ["yes", "no"]', "bool")
    folds = {"cross_validation": {"folds": 3, "repeats": 2}}
    spec = scenario.spec(
        url=str(table),
        search=[{"algorithm": "linear"}],
        positive_class=None,
        evaluation=folds,
    )
    done = runs.succeeded(spec, schema)
    board = done.metadata("leaderboard")
    assert "in cross-validation of the train and test rows" in board["reason"]
    assert "score in cross-validation" in board
    assert (
        "predicts whether readmitted is True" in done.metadata("exported_model")["card"]
    )
    predictions = tmp_path / "predictions.csv"
    outcome = load_model(spec.name).predict_table(
        str(table), str(predictions), str(tmp_path / "rejected.csv")
    )
    assert (outcome.predicted, outcome.rejected) == (len(frame), 0)
    found = pd.read_csv(predictions)
    assert set(found["prediction"].unique()) == {True, False}
    said, truth = found["probability_True"], frame["readmitted"].to_numpy()
    assert said[truth].mean() > said[~truth].mean()


def test_a_run_chooses_exports_remembers_and_reuses_an_ensemble(table, tmp_path):
    """Its members are told wherever the choice is; the same run again is no other look
    or version.
    """
    spec = scenario.spec("regression", "time", url=str(table))
    done = runs.succeeded(spec, scenario.SCHEMA)
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
    assert any(ENSEMBLE in str(line) for line in terminal.run(run))
    version = Registry(storage_root(), spec.name).model("v0001")
    assert f"Chosen: {ENSEMBLE} (members" in version.read("decision_record.md").decode()
    assert "weight: 0.6" in version.read("hyperparameters.yaml").decode()

    outcome = load_model(spec.name).predict_table(
        str(table), str(tmp_path / "p.csv"), str(tmp_path / "r.csv")
    )
    assert outcome.predicted == len(pd.read_csv(tmp_path / "p.csv"))

    # Another gate looks again at the same model: the champion is held to be it.
    gate = [{"metric": "mae", "at_most": 1e6, "judged_by": "estimate"}]
    spec = scenario.spec("regression", "time", url=str(table), acceptance=gate)
    again = runs.succeeded(spec, scenario.SCHEMA)
    assert (
        again.metadata("search_results")["trained"]
        == again.metadata("search_results")["reused"]
    )
    assert again.metadata("validation_report")["looks"] == 1
    assert again.metadata("exported_model")["version"] == "v0001"


def test_an_own_metric_ranks_gates_and_is_not_needed_to_predict(
    table, tmp_path, monkeypatch
):
    """Another source ranks and judges anew and trains nothing; card and database name
    the metric.
    """
    spec = scenario.spec(
        url=str(table),
        search=scenario.SEARCH[:2],
        ensemble=False,
        metric=PROFIT,
        acceptance=[
            {"metric": PROFIT, "at_least": 1},
            {"metric": "roc_auc", "at_least": 0.5},
        ],
    )
    done = runs.succeeded(spec, scenario.SCHEMA)
    assert f"lower bound of {PROFIT} at least 1" in str(
        done.metadata("validation_report")
    )
    assert PROFIT in done.metadata("exported_model")["card"]
    (known,) = questions.runs(spec.name, all_columns=True).to_dict("records")
    assert (known["metric"], known["greater_is_better"]) == (PROFIT, True)
    assert (
        known["validation_low"] < known["validation_score"] < known["validation_high"]
    )
    best = questions.leaderboard(spec.name)["test_score"].max()
    before = own_metrics.profit.function
    other = ep.metric(greater_is_better=True, takes="labels")(
        lambda *rows: before(*rows) + 1
    )
    monkeypatch.setattr(own_metrics, "profit", other)
    monkeypatch.setattr(run_code, "own_code", lambda _: {run_code.SOURCE: "changed"})
    again = runs.run(spec, scenario.SCHEMA)
    assert (
        again.metadata("search_results")["reused"]
        == again.metadata("search_results")["trained"]
    )
    assert questions.leaderboard(spec.name)["test_score"].max() == pytest.approx(
        best + 1
    )
    assert (
        questions.runs(spec.name, all_columns=True)["validation_score"].nunique() == 2
    )
    monkeypatch.setitem(sys.modules, own_metrics.__name__, None)
    files = (str(tmp_path / name) for name in ("predicted.csv", "rejected.csv"))
    assert (
        ep.load_model(spec.name).predict_table(spec.source.url, *files).predicted > 400
    )


@pytest.mark.slow
def test_a_class_of_two_rows_is_set_aside_and_said_everywhere(tmp_path):
    """The run exports a model of the other classes, unless the YAML says that a no go
    stops it.
    """
    frame = tables.table()
    frame.loc[[3, 301], "y"] = "rare"
    url, search = (
        scenario.write_csv(tmp_path / "plain.csv", frame),
        [{"algorithm": "linear"}],
    )
    schema = (
        "columns: {x: {}, z: {}, colour: {}, y: {dtype: str, isin: ['yes', 'no', "
        "rare]}}"
    )
    asked = {**tables.MULTICLASS, "data": str(url), "search": search}
    first = runs.succeeded(tables.experiment(**asked), schema)
    assert first.metadata("data_analysis")["verdict"] == "go with conditions"
    assert first.metadata("rejected_rows")["dagster/row_count"] == 2
    assert first.metadata("validated_data")["rejection_rate"] == 0
    told = {
        "validated_data": "set_aside",
        "leaderboard": "notes",
        "validation_report": "judgement",
    }
    for stage, key in {**told, "exported_model": "card"}.items():
        found = str(first.metadata(stage)[key]).replace("\\", "")
        assert "class rare (2 rows) cannot be predicted" in found, stage
    assert found.count("rare (2 rows)") == 1
    assert all(
        first.checks()[check] for check in ("rows_conserved", "sets_are_disjoint")
    )
    stopped = runs.run(
        tables.experiment(**asked, validation={"rare_classes": "stop"}), schema
    )
    assert not stopped.success
    assert "'rare'" in stopped.failure
