"""The whole experiment without Dagster: what `run_experiment` gives for a table."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline import run_experiment
from experiment_pipeline.errors import ExperimentPipelineError, NotAccepted
from experiment_pipeline.experiment.flow import FUNCTIONS
from experiment_pipeline.experiment.in_memory import ExperimentRun
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.results import ModelsInMemory
from experiment_pipeline.storage.persistence import to_bytes
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.table.made_rows import shuffled

pytestmark = pytest.mark.usefixtures("quick")
FOREST = {"algorithm": "random_forest", "hyperparameters": {"n_estimators": 5}}
WITHOUT_IDS = {"split": {"by": "random"}}
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
    ("task", "by", "changes"),
    [
        ("binary", "random", WITHOUT_IDS),
        ("multiclass", "group", {}),
        ("regression", "time", {}),
    ],
)
def test_each_task_and_split_leads_to_a_decision_whatever_the_order(task, by, changes):
    """Rows and columns in another order have the same fingerprints, bytes, scores,
    choice and intervals.
    """
    table, kept = scenario.table(), [ModelsInMemory(), ModelsInMemory()]
    excluded = scenario.spec_mapping(task, by)["exclude"] | {
        "visit_id": "names a visit"
    }
    changes = {**changes, "search": [*scenario.SEARCH, FOREST]}
    changes |= {"exclude": excluded} if "split" in changes else {}
    usual, other = (
        run_clinic(task, by, table=rows, models=models, **changes)
        for rows, models in zip(
            (table, shuffled(table)[table.columns[::-1]]), kept, strict=True
        )
    )
    found = {finding.code for finding in usual.analysis.found}
    assert not found & {"numbers_as_text", "dates_as_text", "category_variants"}
    assert set(usual.validated.rejected.index) == set(scenario.BROKEN_ROWS)
    rows = len(usual.validated.validated)
    assert rows == sum(map(len, usual.sets.rows().values())) + usual.sets.left_out
    assert set(usual.leaderboard.rows["status"]) == {"trained"}
    assert (
        usual.report.configuration
        == usual.leaderboard.chosen
        == other.leaderboard.chosen
    )
    assert usual.report.scores[0].metric == scenario.METRICS[task]
    for name, one in usual.sets.by_name().items():
        assert other.sets.by_name()[name].digest == one.digest
    first, second = (one.models for one in kept)
    assert first.keys() == second.keys() != set()
    for fingerprint, model in first.items():
        assert second[fingerprint].model == model.model
        assert second[fingerprint].result.test_scores == model.result.test_scores
        assert np.array_equal(
            second[fingerprint].predictions.test, model.predictions.test
        )
    boards = [one.leaderboard.rows.drop(columns=MEASURED) for one in (usual, other)]
    pd.testing.assert_frame_equal(*boards)
    assert to_bytes(other.evaluation.pipeline) == to_bytes(usual.evaluation.pipeline)
    scores = (run.report.scores for run in (usual, other))
    one, same = (
        [(s.metric, s.interval, s.baseline) for s in score] for score in scores
    )
    assert one == same


def test_a_target_is_enough():
    """Task, split, metric, search and schema are inferred; an infinite value is told
    and ends no run.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    frame = pd.DataFrame(
        {"x": x, "z": rng.normal(size=400), "y": 2 * x + rng.normal(size=400)}
    )
    frame.loc[3, "z"] = np.inf
    run = run_experiment(frame, "y", search=[{"algorithm": "linear"}])
    assert run.spec.task == "regression"
    assert "infinite_values" in [finding.code for finding in run.analysis.found]
    assert run.report.accepted
    assert np.corrcoef(run.model.predict(frame[["x", "z"]]), frame["x"])[0, 1] > 0.99


def test_the_mean_of_several_fits_is_judged_and_exported():
    """The search and its choice stay as they are; score, model and card are of the
    mean.
    """
    frame = pd.DataFrame(
        np.random.default_rng(0).normal(size=(400, 3)), columns=list("xyz")
    )
    frame["y"], leaves = frame["x"] + frame["z"] ** 2, {"min_samples_leaf": 2}
    search = [
        {"algorithm": "sklearn.tree.ExtraTreeRegressor", "hyperparameters": leaves}
    ]
    asked = ({}, {"export": {"fits": 3}})
    single, mean = (run_experiment(frame, "y", search=search, **one) for one in asked)
    pd.testing.assert_series_equal(
        *(run.leaderboard.rows["test_score"] for run in (single, mean))
    )
    assert (
        mean.report.scores[0].interval.estimate
        < single.report.scores[0].interval.estimate
    )
    assert len(mean.model[-1].estimators_) == 3
    assert (
        "the mean of 3 fits with different seeds"
        in mean.package.files["README.md"].decode()
    )


def test_noise_is_not_accepted_and_gives_no_model():
    """Wider than long, with nothing to learn: the run keeps its report and says why
    there is no model.
    """
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 45))).rename(
        columns=str
    )
    frame["late"] = np.random.default_rng(1).integers(0, 2, 40)
    run = run_experiment(
        frame, "late", search=[{"algorithm": "linear"}], split={"by": "random"}
    )
    assert not run.report.accepted
    assert run.package is None
    with pytest.raises(NotAccepted):
        _ = run.model


NAMED = np.repeat(["train", "test"], [300, 180])
BY_PART = {"schema": None, "split": {"by": "column", "column": "part"}}


@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        (lambda t: t.assign(copy=t["readmitted"]), {"schema": None}, "copy"),
        (lambda t: t.drop(columns="readmitted"), {}, "readmitted"),
        (lambda t: t.assign(readmitted="yes"), {}, "readmitted"),
        (lambda t: t.assign(readmitted=None), {}, "readmitted"),
        (lambda t: t.assign(readmitted=["yes"] + ["no"] * 479), {}, "readmitted"),
        (lambda t: t.assign(part=NAMED), BY_PART, "validation"),
        (
            lambda t: t,
            {"validation": {"max_rejected_fraction": 0.001}},
            "max_rejected_fraction",
        ),
        (lambda t: t, {"metric": "roc_auk"}, "metric"),
        (
            lambda t: t,
            {"exclude": {"war": "a slip"}},
            "exclude.war: .* did you mean 'ward'",
        ),
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


def test_a_stage_takes_what_its_function_names():
    """Dagster loads definitions without the flow: the registry says what each stage
    takes.
    """
    for name, stage in STAGES.items():
        _, *parameters = inspect.signature(FUNCTIONS[name]).parameters
        assert stage.takes == tuple(parameters)
