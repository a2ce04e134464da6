"""A search that follows from the reasons, and can be run as it is."""

import pytest
import yaml

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.learners import check_hyperparameters, space
from experiment_pipeline.stages.validation_report.shortfall import (
    FAMILIES,
    Evidence,
    NextSearch,
    next_search,
)
from experiment_pipeline_tests.stages.leaderboard.board_examples import search_of, spec_of
from experiment_pipeline_tests.stages.validation_report.report_examples import TOO_HIGH, report_of


def _next(spec: ExperimentSpec, noises: list[float], train_score: float = 0.8) -> NextSearch:
    search = search_of(spec, noises, train_score=train_score)
    return next_search(spec, search.rank(), report_of(spec), Evidence())


def _runnable(found: NextSearch, spec: ExperimentSpec) -> ExperimentSpec:
    """Return the experiment with what is new in the search, every name in it checked."""
    # Pasted below `attributes:`, in the place of the old search, whose fits are reused.
    written = yaml.safe_load(f"attributes:\n  name: x\n{found.yaml}")["attributes"]["search"]
    again = ExperimentSpec.model_validate(spec.model_dump(exclude_unset=True) | {"search": written})
    keys = [one.key for one in configurations(again)]
    assert {one.key for one in configurations(spec)} <= set(keys)
    for one in configurations(again):
        check_hyperparameters(one, again.task)
    return again.model_copy(update={"search": again.search[len(spec.search) :]})


def test_the_next_search_goes_beyond_an_edge() -> None:
    """The chosen value at the high end becomes the low part of the new range."""
    spec = spec_of(3, acceptance=TOO_HIGH)
    again = _runnable(_next(spec, [5, 5, 0.1]), spec)
    leaves = again.search[0].hyperparameters["num_leaves"]
    assert (leaves.low, leaves.high) == (8, 32)


def test_an_overfit_is_answered_with_stiffer_models_and_an_underfit_with_flexible_ones() -> None:
    """The direction of the search follows the fit."""
    spec = spec_of(search=[{"algorithm": "lightgbm"}], acceptance=TOO_HIGH)
    stiff = _runnable(_next(spec, [1], train_score=1.0), spec).search[0].hyperparameters
    loose = _runnable(_next(spec, [1], train_score=0.7), spec).search[0].hyperparameters
    assert stiff["num_leaves"].high <= loose["num_leaves"].low
    assert "lambda_l2" in stiff


def test_what_was_fixed_stays_fixed_under_its_own_name() -> None:
    """Fixed values and aliases of the YAML are kept, and never doubled."""
    entry = {
        "algorithm": "lightgbm",
        "hyperparameters": {"n_estimators": 500, "eta": 0.05, "max_leaves": [8, 16, 32]},
    }
    neither_over_nor_underfit = [{"metric": "average_precision", "at_least": 0.99}]
    spec = spec_of(search=[entry], acceptance=neither_over_nor_underfit)
    new = _runnable(_next(spec, [1, 0.1, 1]), spec).search[0].hyperparameters
    assert (new["n_estimators"], new["eta"]) == (500, 0.05)
    assert "max_leaves" in new
    assert not {"num_iterations", "learning_rate", "num_leaves"} & new.keys()


def test_one_family_is_joined_by_the_others_and_seeds_are_new() -> None:
    """The untried families are added, and no draw repeats the old seed."""
    entry = {
        "algorithm": "lightgbm",
        "method": "random",
        "draws": 4,
        "seed": 7,
        "hyperparameters": {"num_leaves": {"low": 4, "high": 64, "scale": "log"}},
    }
    spec = spec_of(search=[entry], acceptance=TOO_HIGH)
    again = _runnable(_next(spec, [1] * 4), spec)
    assert [one.algorithm for one in again.search] == list(FAMILIES)
    assert {one.seed for one in again.search} == {8}
    assert "  # pip install 'experiment-pipeline[catboost,xgboost]'\n" in _next(spec, [1] * 4).yaml


@pytest.mark.parametrize("algorithm", FAMILIES)
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_space_names_hyperparameters_that_exist(algorithm: str, task: str) -> None:
    """The built-in spaces are accepted by the algorithms, for every task and direction."""
    metric = "rmse" if task == "regression" else "log_loss"
    for direction in ("stiffer", "as_is", "more_flexible"):
        values = space(algorithm, task, direction)
        entry = {"algorithm": algorithm, "method": "random", "draws": 3, "hyperparameters": values}
        for one in configurations(spec_of(search=[entry], task=task, metric=metric)):
            check_hyperparameters(one, task)
