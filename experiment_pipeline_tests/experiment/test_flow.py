"""The whole experiment without Dagster: what `run_experiment` gives for a table."""

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline import run_experiment
from experiment_pipeline.errors import ExperimentPipelineError, NotAccepted
from experiment_pipeline.experiment.context import Run
from experiment_pipeline.experiment.flow import FUNCTIONS, search
from experiment_pipeline.experiment.in_memory import ExperimentRun, Silent
from experiment_pipeline.experiment.store import Store
from experiment_pipeline.reporting.run_record import RecordRow, RunFacts
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.results import ModelsInMemory
from experiment_pipeline.storage.persistence import to_bytes
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.table.made_rows import shuffled

pytestmark = pytest.mark.usefixtures("quick")
BOOSTED = {
    "algorithm": "lightgbm",
    "hyperparameters": {"num_leaves": 3, "n_estimators": 20, "min_child_samples": 10},
}
FOREST = {"algorithm": "random_forest", "hyperparameters": {"n_estimators": 5}}
MEASURED = ["fit_cpu_seconds", "predict_microseconds_per_row"]


def run_clinic(
    task: str = "binary", by: str = "random", **changes: Any
) -> ExperimentRun:
    """The experiment of the scenario on its table."""
    settings = scenario.spec_mapping(task, by) | {"schema": scenario.SCHEMA} | changes
    del settings["data"]
    target, table = settings.pop("target"), settings.pop("table", None)
    return run_experiment(
        scenario.table() if table is None else table, target, **settings
    )


@pytest.mark.parametrize(
    ("task", "by", "split"),
    [
        ("binary", "random", {"by": "random"}),  # rows are known by their content alone
        ("multiclass", "group", scenario.SPLITS["group"]),
        ("regression", "time", scenario.SPLITS["time"]),
    ],
)
def test_each_task_and_split_leads_to_a_decision_whatever_the_order(task, by, split):
    """Rows and columns in another order have the same fingerprints, bytes, scores,
    choice and intervals.
    """
    table = scenario.table()
    excluded = scenario.spec_mapping(task, by)["exclude"] | {"visit_id": "an id"}
    settings = {"exclude": excluded, "split": {**split, "id_columns": []}}
    settings["search"] = [{"algorithm": "linear"}, BOOSTED, FOREST]
    stores = ModelsInMemory(), ModelsInMemory()
    usual = run_clinic(task, by, table=table, models=stores[0], **settings)
    mixed = shuffled(table)[table.columns[::-1]]
    other = run_clinic(task, by, table=mixed, models=stores[1], **settings)
    assert set(usual.validated.rejected.index) == set(scenario.BROKEN_ROWS)
    assert usual.report.configuration == usual.leaderboard.chosen
    for name, rows_of_set in usual.sets.by_name().items():
        assert other.sets.by_name()[name].digest == rows_of_set.digest
    first, second = (store.models for store in stores)
    assert first.keys() == second.keys() != set()
    for fingerprint, model in first.items():
        assert second[fingerprint].model == model.model
    boards = [run.leaderboard.rows.drop(columns=MEASURED) for run in (usual, other)]
    pd.testing.assert_frame_equal(*boards)
    assert to_bytes(other.evaluation.pipeline) == to_bytes(usual.evaluation.pipeline)
    one, same = (
        [(score.metric, score.interval, score.baseline) for score in run.report.scores]
        for run in (usual, other)
    )
    assert one == same


def numbers() -> pd.DataFrame:
    """Columns x, y and z, of which x and z decide the target."""
    values = np.random.default_rng(0).normal(size=(400, 3))
    frame = pd.DataFrame(values, columns=list("xyz"))
    return frame.assign(target=frame["x"] + frame["z"] ** 2)


def test_a_target_is_enough():
    """Task, split, metric, search and schema are inferred; an infinite value is told
    and ends no run.
    """
    frame = numbers()
    frame.loc[3, "y"] = np.inf
    run = run_experiment(frame, "target", search=[{"algorithm": "linear"}])
    assert run.spec.task == "regression"
    assert "infinite_values" in [finding.code for finding in run.analysis.found]
    assert run.report.accepted
    predicted = run.model.predict(frame[list("xyz")])
    assert np.corrcoef(predicted, frame["x"])[0, 1] > 0.9


def test_the_mean_of_several_fits_is_judged_and_exported():
    """The search and its choice stay as they are; score, model and card are of the
    mean.
    """
    tree = {"min_samples_leaf": 2}
    search = [{"algorithm": "sklearn.tree.ExtraTreeRegressor", "hyperparameters": tree}]
    single, mean = (
        run_experiment(
            numbers(), "target", search=search, split={"by": "random"}, **one
        )
        for one in ({}, {"export": {"fits": 3}})
    )
    before, after = (run.leaderboard.rows["test_score"] for run in (single, mean))
    pd.testing.assert_series_equal(before, after)
    before, after = (run.report.scores[0].interval.estimate for run in (single, mean))
    assert after < before
    assert len(mean.model[-1].estimators_) == 3
    card = mean.package.files["README.md"].decode()
    assert "the mean of 3 fits with different seeds" in card


def test_noise_is_not_accepted_and_gives_no_model():
    """The run keeps its report and says why there is no model."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 5))).rename(columns=str)
    frame["late"] = rng.integers(0, 2, 60)
    settings = {"search": [{"algorithm": "linear"}], "split": {"by": "random"}}
    run = run_experiment(frame, "late", **settings)
    assert not run.report.accepted
    assert run.package is None
    with pytest.raises(NotAccepted):
        _ = run.model


@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        (lambda t: t.assign(copy=t["readmitted"]), {"schema": None}, "copy"),
        (lambda t: t.drop(columns="readmitted"), {}, "readmitted"),
        (lambda t: t.assign(readmitted="yes"), {}, "readmitted"),
        (
            lambda t: t.assign(part=np.repeat(["train", "test"], [300, 180])),
            {"schema": None, "split": {"by": "column", "column": "part"}},
            "validation",
        ),
        (
            lambda t: t,
            {"validation": {"max_rejected_fraction": 0.001}},
            "max_rejected_fraction",
        ),
        (lambda t: t, {"exclude": {"war": "a slip"}}, "did you mean 'ward'"),
    ],
)
def test_what_cannot_be_learnt_from_ends_the_run_before_it_trains(
    change: Callable[..., pd.DataFrame], settings: dict[str, Any], said: str
):
    """A leak, a target that tells nothing, an empty set, rejected rows, a wrong name:
    each is named.
    """
    models, table = ModelsInMemory(), scenario.table()
    with pytest.raises(ExperimentPipelineError, match=said):
        run_clinic(table=change(table), models=models, **settings)
    assert not models.models


class NotedStore(Store):
    """A store in this process that notes what would be recorded."""

    def record(self, rows: Iterable[RecordRow]) -> None:
        self.noted = [*getattr(self, "noted", []), *rows]


def test_a_search_that_begins_a_run_says_how_many_are_declared():
    """In Dagster it may be the first stage of a run, whose page counts to that number."""
    clinic = run_clinic(search=[{"algorithm": "linear"}])
    store = NotedStore(clinic.spec)
    named = NamedColumns(clinic.spec, clinic.schema_text)
    run = Run(named, store, Silent(logging.getLogger("test")))
    search(run, clinic.sets.train, clinic.sets.test)
    facts = [row for row in store.noted if isinstance(row, RunFacts)]
    assert facts[0].declared == 1


def test_a_stage_takes_what_its_function_names():
    """Dagster loads definitions without the flow: the registry says what each stage
    takes.
    """
    for name, stage in STAGES.items():
        _, *parameters = inspect.signature(FUNCTIONS[name]).parameters
        assert stage.takes == tuple(parameters), f"takes of {name} in registry.py"
