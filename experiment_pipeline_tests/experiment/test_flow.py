"""The whole experiment without Dagster: what `run_experiment` gives for a table."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from upath import UPath

from experiment_pipeline import run_experiment
from experiment_pipeline.errors import DataError, InvalidExperiment, NotAccepted
from experiment_pipeline.experiment.flow import ExperimentRun
from experiment_pipeline.prediction.files import load_model
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.search.results import ModelsInMemory
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.storage.tables import from_parquet
from experiment_pipeline_tests import runs, scenario


def run_clinic(task: str = "binary", split: str = "random", **changes: Any) -> ExperimentRun:
    """The experiment of the scenario on its table."""
    settings = scenario.spec_mapping(task, split) | changes
    del settings["data"]
    target, table = settings.pop("target"), settings.pop("table", None)
    given = {key: settings.pop(key) for key in ("models", "registry") if key in settings}
    return run_experiment(
        scenario.table() if table is None else table,
        target,
        schema=scenario.SCHEMA,
        **given,
        **settings,
    )


@pytest.mark.parametrize(
    ("task", "split"),
    [("binary", "random"), ("multiclass", "group"), ("regression", "time"), ("binary", "time")],
)
def test_each_task_and_split_leads_to_a_decision(task: str, split: str) -> None:
    """A run on the awkward table goes from raw rows to a judged choice."""
    run = run_clinic(task, split)
    assert run.validated is not None
    assert run.sets is not None
    assert run.leaderboard is not None
    assert set(run.validated.rejected.index) == set(scenario.BROKEN_ROWS)
    rows = len(run.validated.validated)
    assert rows == sum(map(len, run.sets.rows().values())) + run.sets.left_out
    assert set(run.leaderboard.rows["status"]) == {"trained"}
    assert run.report.configuration == run.leaderboard.chosen
    assert run.report.scores[0].metric == scenario.METRICS[task]


@pytest.mark.slow
def test_the_choice_and_its_scores_are_those_of_dagster(storage: Path) -> None:
    """The assets call the same functions: same ranking, same model."""
    url = str(scenario.write_csv(storage.parent / "visits.csv"))
    spec = scenario.spec("binary", url=url)
    assert runs.run(spec, scenario.SCHEMA).success
    stored = runs.table_path(storage_root(), spec.name, "leaderboard").read_bytes()
    by_dagster = from_parquet(stored, Leaderboard)
    by_function = run_clinic(table=url).leaderboard
    assert by_function is not None
    assert by_function.chosen == by_dagster.chosen
    compared = ["key", "rank", "fingerprint", "test_score", "low", "high"]
    pd.testing.assert_frame_equal(by_function.rows[compared], by_dagster.rows[compared])


def test_a_second_run_reuses_what_was_trained() -> None:
    """Models that are handed in are found again by their fingerprints."""
    models = ModelsInMemory()
    first = run_clinic(models=models)
    trained = len(models.models)
    second = run_clinic(models=models)
    assert first.results is not None
    assert second.results is not None
    assert trained == len(models.models) == len(first.results.rows)
    assert second.results.rows["reused"].all()


def test_a_target_is_enough() -> None:
    """Task, split, metric, search and schema are inferred from the table."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    frame = pd.DataFrame({"x": x, "z": rng.normal(size=400), "y": 2 * x + rng.normal(size=400)})
    run = run_experiment(frame, "y", search=[{"algorithm": "linear"}])
    assert run.spec.task == "regression"
    assert run.report.accepted
    predicted = run.model.predict(frame[["x", "z"]])
    assert np.corrcoef(predicted, frame["x"])[0, 1] > 0.99


def test_an_accepted_model_becomes_a_version_that_predicts(tmp_path: Path) -> None:
    """With a registry the run publishes; the version predicts rows as delivered."""
    registry = Registry(UPath(tmp_path), "clinic")
    run = run_clinic(registry=registry)
    assert run.package is not None
    assert registry.versions() == ["v0001"]
    table = scenario.sound_table()
    predicted = load_model(str(registry.folder / "v0001")).predict(table)
    assert len(predicted.predictions) == len(table)


def test_noise_is_not_accepted_and_gives_no_model() -> None:
    """A run that is not accepted keeps its report and says why there is no model."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=300), "y": rng.normal(size=300)})
    run = run_experiment(frame, "y", search=[{"algorithm": "linear"}])
    assert not run.report.accepted
    assert run.package is None
    with pytest.raises(NotAccepted):
        _ = run.model


def test_a_leak_ends_the_run_before_it_trains() -> None:
    """A verdict of `no go` is an error that names the finding."""
    leaking = scenario.table().assign(copy=lambda t: t["readmitted"])
    settings = scenario.spec_mapping()
    del settings["data"]
    target = settings.pop("target")
    with pytest.raises(DataError, match="copy"):
        run_experiment(leaking, target, **settings)


def test_too_many_rejected_rows_end_the_run() -> None:
    """The limit on rejected rows holds, and its error names it."""
    with pytest.raises(DataError, match="max_rejected_fraction"):
        run_clinic(validation={"max_rejected_fraction": 0.001})


def test_a_wrong_setting_is_named_by_its_key() -> None:
    """Errors of settings name the key and the nearest allowed value."""
    with pytest.raises(InvalidExperiment, match="metric"):
        run_clinic(metric="roc_auk")
