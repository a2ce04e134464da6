"""A whole experiment in this process, on the small awkward table."""

from dataclasses import dataclass

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.prediction.files import load_model
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.storage.files import STORAGE_VARIABLE, Location, storage_root
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.storage.tables import read_table
from experiment_pipeline_tests import runs, scenario
from experiment_pipeline_tests.stages.search.scenario import OWN

pytestmark = pytest.mark.usefixtures("storage")
KEYS = ["dummy", "linear", "lightgbm__num_leaves=3", "lightgbm__num_leaves=7"]


@pytest.fixture
def table(tmp_path):
    return scenario.write_csv(tmp_path / "visits.csv")


@dataclass(frozen=True)
class Life:
    """Three runs of an experiment, one after another, and the storage that they share."""

    alone: runs.Run
    whole: runs.Run
    changed: runs.Run
    root: Location


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """One configuration alone, the whole job, and the whole job on another table."""
    folder = tmp_path_factory.mktemp("life")
    table = scenario.write_csv(folder / "visits.csv")
    spec = scenario.spec(url=str(table))
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv(STORAGE_VARIABLE, str(folder / "artifacts"))
        alone = runs.run(spec, scenario.SCHEMA, instance, **{"dagster/partition": KEYS[-1]})
        whole = runs.run(spec, scenario.SCHEMA, instance)
        scenario.write_csv(table, scenario.table().iloc[:-20])
        changed = runs.run(spec, scenario.SCHEMA, instance)
        return Life(alone, whole, changed, storage_root())


def assert_whole(done):
    """Every configuration is materialized, every check passes or warns, a model has its version."""
    assert done.success, done.failure
    assert sorted(done.materialized("trained_model")) == sorted(KEYS)
    assert done.metadata("exported_model")["version"]
    failed = {name for name, passed in done.checks().items() if not passed}
    assert failed <= {"sets_look_alike"}


def test_one_configuration_alone_is_trained_beside_what_is_stored(life):
    """A single partition adds to the search results instead of replacing them."""
    assert life.alone.success, life.alone.failure
    assert life.alone.materialized("trained_model") == [KEYS[-1]]
    assert life.alone.metadata("search_results")["trained"] == 1
    assert_whole(life.whole)
    assert life.whole.metadata("search_results")["reused"] == 1
    assert life.whole.metadata("search_results")["trained"] == len(KEYS)


def test_a_changed_table_trains_anew_and_becomes_the_next_version(life):
    """Nothing of another version of the data is mixed in."""
    assert_whole(life.changed)
    assert life.changed.metadata("search_results")["reused"] == 0
    published = [done.metadata("exported_model") for done in (life.whole, life.changed)]
    assert Registry(life.root, "clinic").versions()[-2:] == [one["version"] for one in published]


def test_a_failing_estimator_leaves_its_traceback_where_people_look(table, capfd):
    """In the log of the run, and with the check; the others are ranked before it and exported."""
    raises = {"algorithm": f"{OWN}.Raises"}
    linear = {"algorithm": "linear", "hyperparameters": {"C": [0.1, 1.0]}}
    search = [raises, linear, {"algorithm": "dummy"}]
    spec = scenario.spec(url=str(table), search=search, ensemble="off")
    done = runs.run(spec, scenario.SCHEMA)
    assert done.success, done.failure
    board = read_table(runs.table_path(storage_root(), "clinic", "leaderboard"))
    assert board["status"].tolist() == ["trained"] * 3 + ["failed"]
    assert "this table has a bad smell" in board["reason"].iloc[-1]
    assert done.metadata("exported_model")["version"] == "v0001"
    assert "in fit\n    raise ZeroDivisionError" in capfd.readouterr().err
    (check,) = [
        one
        for one in done.result.get_asset_check_evaluations()
        if one.check_name == "no_configuration_failed"
    ]
    assert "raise ZeroDivisionError" in check.metadata["tracebacks"].value


def test_halving_stops_most_configurations_and_says_so(tmp_path):
    """Who is stopped is a partition with rung, score and reason, and has no rank."""
    enough = pd.concat([scenario.sound_table()] * 6, ignore_index=True)
    table = scenario.write_csv(tmp_path / "visits.csv", enough)
    lightgbm = {
        "learning_rate": [0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3],
        "n_estimators": 10,
        "early_stopping_round": 0,
    }
    spec = scenario.spec(
        url=str(table),
        search=[{"algorithm": "dummy"}, {"algorithm": "lightgbm", "hyperparameters": lightgbm}],
        halving={"fractions": [0.4, 1.0], "keep": 0.5, "fewest_rows": 500},
    )
    first = runs.run(spec, scenario.SCHEMA)
    counts = first.metadata("search_results")
    assert (counts["declared"], counts["trained"], counts["stopped_early"]) == (10, 6, 4)
    assert sorted(first.materialized("trained_model")) == sorted(
        one.key for one in configurations(spec)
    )
    stopped = [
        event.materialization
        for event in first.result.all_events
        if event.is_step_materialization
        and event.asset_key.path[-1] == "trained_model"
        and event.materialization.tags["status"] == "stopped_early"
    ]
    for one in stopped:
        metadata = one.metadata
        assert one.description.startswith("stopped early at 40 % of the train rows: lightgbm (")
        assert metadata["status"].value == "stopped early at 40 % of the train rows"
        assert metadata["share of the train rows"].value == 0.4
        assert metadata["reason"].value.startswith("not among the best 5 of 9 at rung 1 of 2")
        assert 0 < metadata["test roc_auc at 40 % of the train rows"].value < 1
    assert len(stopped) == 4


def test_weights_and_directions_go_with_an_experiment_to_its_end(table, tmp_path):
    """Rows of weight zero are rejected, pages say what counts, predicting needs no weight."""
    spec = scenario.spec(
        url=str(table),
        sample_weight=scenario.MARKUP,
        monotone={scenario.STRANGE: "increasing"},
        search=[scenario.SEARCH[-1]],
        ensemble="off",
        validation={"max_rejected_fraction": 0.1},
        costs={"false_positive": 1, "false_negative": 2},
    )
    done = runs.run(spec, scenario.SCHEMA)
    assert done.success, done.failure
    rejected = read_table(runs.table_path(storage_root(), spec.name, "rejected_rows"), pd.DataFrame)
    zero = scenario.table()[scenario.MARKUP].eq(0)
    assert zero.sum() > 0
    assert set(zero.index[zero]) <= set(rejected.index)
    assert "weight each row by" in str(done.metadata("leaderboard"))
    assert "weight each row by" in str(done.metadata("validation_report"))
    found = []
    for columns in ([], [scenario.MARKUP]):
        rows = scenario.write_csv(tmp_path / "rows.csv", scenario.table().drop(columns=columns))
        out = tmp_path / "predictions.csv"
        load_model(spec.name).predict_table(str(rows), str(out), str(tmp_path / "rejected.csv"))
        found.append(pd.read_csv(out))
    assert found[0].equals(found[1])


def test_without_a_positive_class_the_modelled_one_is_exported_and_predicts(tmp_path):
    """The greater class is modelled; card, signature and predictions say which one it is."""
    frame = scenario.sound_table()
    frame["readmitted"] = frame["readmitted"] == "yes"
    table = scenario.write_csv(tmp_path / "visits.csv", frame)
    schema = scenario.SCHEMA.replace('str, isin: ["yes", "no"]', "bool")
    spec = scenario.spec(url=str(table), search=[{"algorithm": "linear"}], positive_class=None)
    done = runs.run(spec, schema)
    assert done.success, done.failure
    assert "predicts whether readmitted is True" in done.metadata("exported_model")["card"]
    predictions = tmp_path / "predictions.csv"
    outcome = load_model(spec.name).predict_table(
        str(table), str(predictions), str(tmp_path / "rejected.csv")
    )
    assert (outcome.predicted, outcome.rejected) == (len(frame), 0)
    found = pd.read_csv(predictions)
    assert set(found["prediction"].unique()) == {True, False}
    said, truth = found["probability_True"], frame["readmitted"].to_numpy()
    assert said[truth].mean() > said[~truth].mean()


def test_an_experiment_that_says_only_what_it_must_ends_with_a_model_that_predicts(tmp_path):
    """Every optional key left out, the positive class of texts among them: defaults suffice; the
    only configuration is a range of partitions, too.
    """
    generator = np.random.default_rng(0)
    size = generator.normal(size=400)
    late = np.where(size + generator.normal(size=400) > 0, "late", "in time")
    frame = pd.DataFrame({"size": size, "colour": generator.choice(["red", "blue"], 400)})
    table = scenario.write_csv(tmp_path / "parcels.csv", frame.assign(delivered=late))
    must = {"name": "parcels", "data": str(table), "target": "delivered", "task": "binary"}
    must |= {"search": [{"algorithm": "linear"}], "metric": "log_loss"}
    schema = "columns: {size: {dtype: float64}, colour: {dtype: str}, delivered: {dtype: str}}"
    done = runs.run(ExperimentSpec.model_validate(must), schema)
    assert done.success, done.failure
    assert done.materialized("trained_model") == ["linear"]
    outcome = load_model("parcels").predict_table(
        str(table), str(tmp_path / "p.csv"), str(tmp_path / "r.csv")
    )
    assert outcome.predicted == len(frame)
    assert "probability_late" in pd.read_csv(tmp_path / "p.csv").columns
