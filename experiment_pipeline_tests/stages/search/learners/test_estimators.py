"""Estimators: names and paths that work, the errors of others, and no early stopping on
random rows.
"""

import pytest
from threadpoolctl import threadpool_info

from experiment_pipeline import errors
from experiment_pipeline.drafting.search import Shape, propose_search
from experiment_pipeline.spec.algorithms import ALGORITHMS
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.learners import (
    check_hyperparameters,
    estimators,
)
from experiment_pipeline.stages.search.learners.hyperparameters import (
    NAMES,
    ParameterNames,
)
from experiment_pipeline_tests.stages.search import own_estimators
from experiment_pipeline_tests.stages.search.scenario import (
    METRIC,
    OWN,
    by_hand,
    experiment,
    one,
    train_one,
    training_sets,
)

HIST = "sklearn.ensemble.HistGradientBoosting"


def test_the_sweep_decides_seed_and_threads():
    """An estimator is seeded by the experiment and has one thread."""
    forest = estimators.build_estimator(
        by_hand("random_forest", max_depth=3), "binary", seed=7
    )
    assert (forest.random_state, forest.n_jobs, forest.max_depth) == (7, None, 3)
    voters = estimators.build_estimator(
        by_hand(f"{OWN}.two_together"), "binary", seed=7
    )
    parts = [voters, *dict(voters.estimators).values()]
    assert [part.n_jobs for part in parts] == [None, None, 1]
    assert [part.random_state for part in parts[1:]] == [7, 7]


def test_a_fit_has_one_openmp_thread(monkeypatch):
    """Of every OpenMP that is loaded, also by the import of a user's own estimator."""
    threads, fit = list[int](), own_estimators.Plain.fit

    def noted(self, X, y):
        pools = threadpool_info()
        threads.extend(
            pool["num_threads"] for pool in pools if pool["user_api"] == "openmp"
        )
        return fit(self, X, y)

    monkeypatch.setattr(own_estimators.Plain, "fit", noted)
    train_one(experiment([one(f"{OWN}.Plain")]), training_sets())
    assert {*threads} == {1}


SGD = "sklearn.linear_model.SGDClassifier"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "sklearn.ensemble.RandomForestClasifier",
            "did you mean 'RandomForestClassifier'",
        ),
        (
            "sklearn.ensembel.RandomForestClassifier",
            "there is no module sklearn.ensembel",
        ),
        ("sklearn.metrics.roc_auc_score", "not a class with fit and predict"),
        ("sklearn.linear_model.Ridge", "it is a regressor, the task is binary"),
        ("sklearn.svm.LinearSVC", "no predict_proba"),
        (f"{OWN}.Plane", "did you mean 'Plain'"),
    ],
)
def test_a_path_that_is_no_estimator_of_the_task_is_refused(path: str, message: str):
    """The error names what is there instead."""
    with pytest.raises(errors.UnknownAlgorithm, match=message):
        check_hyperparameters(by_hand(path), "binary")


@pytest.mark.parametrize(
    ("algorithm", "hyperparameters", "message"),
    [
        ("lightgbm", {"num_leafs": 1}, "did you mean 'num_leaf"),
        ("lightgbm", {"deterministic": 1}, "drop it"),
        ("lightgbm", {"min_child_samples": 5, "min_data_in_leaf": 7}, "set already"),
        ("lightgbm", {"objective": "quantile"}, "not an objective of task binary"),
        ("lightgbm", {"eta": "0.1"}, "'eta'"),
        ("lightgbm", {"lambda_l2": -1}, "write a number from 0 to inf"),
        ("xgboost", {"max_dept": 3}, "'max_depth'"),
        ("catboost", {"random_state": 2}, "the same for every configuration"),
        ("random_forest", {"max_dept": 1}, "did you mean 'max_depth'"),
        ("random_forest", {"n_jobs": 1}, "drop it"),
        ("random_forest", {"max_features": "sqr"}, "'max_features'"),
        ("linear", {"wholly_unknown": 1}, "which has 'penalty', 'C'"),
    ],
)
def test_a_hyperparameter_that_cannot_be_set_is_refused(
    algorithm: str, hyperparameters: dict, message: str
):
    """Misspelt, reserved and doubled names, losses of another task and texts that are
    no value, unfitted.
    """
    with pytest.raises(errors.InvalidExperiment) as caught:
        check_hyperparameters(by_hand(algorithm, **hyperparameters), "binary")
    assert message in str(caught.value)
    (*_, value) = hyperparameters.values()
    assert not isinstance(value, str) or repr(value) in str(caught.value)


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize(
    "algorithm", [name for name in ALGORITHMS if name not in NAMES]
)
def test_well_known_names_are_names(algorithm: str, task: str):
    """Names that are accepted without an import are parameters of the class."""
    estimator = estimators.build_estimator(by_hand(algorithm), task, seed=0)
    assert (
        ALGORITHMS[algorithm].estimator(task).well_known
        <= estimator.get_params().keys()
    )


@pytest.mark.parametrize("task", METRIC)
def test_a_drafted_search_is_checked_without_an_import(task: str, monkeypatch):
    """To load definitions takes no estimator, and no look at what one takes."""

    def imported(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(estimators, "build_estimator", imported)
    monkeypatch.setattr(ParameterNames, "of_constructor", property(imported))
    extras = frozenset({"xgboost", "catboost"})
    shape = Shape(task, METRIC[task], 5_000, 20, 3, seconds=600, installed=extras)
    spec = experiment([dict(entry.entry) for entry in propose_search(shape)], task)
    checked = configurations(spec)
    for configuration in checked:
        check_hyperparameters(configuration, task)
    drafted = {"lightgbm", "linear", "random_forest", "extra_trees", "dummy", *extras}
    assert {configuration.algorithm for configuration in checked} == drafted


@pytest.mark.parametrize(
    ("path", "hyperparameters", "setting"),
    [
        ("sklearn.neural_network.MLPClassifier", {"early_stopping": True}, None),
        (f"{HIST}Classifier", {"early_stopping": True}, None),
        (f"{OWN}.stops_within", {}, "estimator__early_stopping"),
        ("sklearn.ensemble.GradientBoostingClassifier", {"n_iter_no_change": 5}, None),
    ],
)
def test_early_stopping_on_random_rows_is_refused(
    path: str, hyperparameters: dict, setting: str | None
):
    """These would hold out random rows of what they are fitted on."""
    with pytest.raises(errors.InvalidExperiment, match="random train rows") as caught:
        check_hyperparameters(by_hand(path, **hyperparameters), "binary")
    assert caught.value.rule.startswith(setting or next(iter(hyperparameters)))


@pytest.mark.parametrize(
    ("path", "hyperparameters"),
    [
        (f"{HIST}Classifier", {"early_stopping": "auto"}),
        ("sklearn.neural_network.MLPClassifier", {"n_iter_no_change": 5}),
        (SGD, {"loss": "log_loss", "n_iter_no_change": 3}),
    ],
)
def test_what_holds_out_no_rows_is_allowed(path: str, hyperparameters: dict):
    """Auto becomes False; a patience may be one on train rows."""
    estimator = estimators.build_estimator(
        by_hand(path, **hyperparameters), "binary", seed=0
    )
    ((name, value),) = [*hyperparameters.items()][-1:]
    assert getattr(estimator, name) == (False if value == "auto" else value)
    assert not estimator.early_stopping
