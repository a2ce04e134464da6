"""Estimators: names and paths that work, the errors of others, and no early stopping on random rows."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import Perceptron, SGDClassifier, SGDRegressor
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier

from experiment_pipeline import errors
from experiment_pipeline.spec.algorithms import ALGORITHMS
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.learners import check_hyperparameters, learner_of
from experiment_pipeline.stages.search.learners.estimators import (
    AUTO_ROWS,
    build_estimator,
    set_early_stopping,
)
from experiment_pipeline.stages.search.learners.hyperparameters import NAMES
from experiment_pipeline.stages.search.learners.learner import FitRequest
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.stages.search.shared_work import EncodedRows
from experiment_pipeline.statistics.scores import best_constant
from experiment_pipeline_tests.stages.search.scenario import (
    OWN,
    experiment,
    one,
    refit,
    table,
    train_one,
    training_sets,
)

HIST = "sklearn.ensemble.HistGradientBoostingClassifier"


def configuration(algorithm: str, **hyperparameters: object) -> Configuration:
    """A configuration by hand."""
    return Configuration("key", algorithm, "onehot", hyperparameters)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_built_in_algorithm_suits_every_task(algorithm: str, task: str) -> None:
    """The built-in names need no hyperparameters."""
    check_hyperparameters(configuration(algorithm), task)


def test_the_sweep_decides_seed_and_threads() -> None:
    """An estimator is seeded by the experiment and has one thread."""
    forest = build_estimator(configuration("random_forest", max_depth=3), "binary", seed=7)
    assert (forest.random_state, forest.n_jobs, forest.max_depth) == (7, None, 3)
    foreign = build_estimator(configuration("lightgbm.LGBMClassifier"), "binary", seed=7)
    assert (foreign.random_state, foreign.n_jobs) == (7, 1)


def test_a_nested_hyperparameter_reaches_its_estimator() -> None:
    """Two underscores lead into a part, as in scikit-learn."""
    ridge = configuration("sklearn.linear_model.RidgeCV", alphas=1.0)
    assert build_estimator(ridge, "regression", seed=0).alphas == 1.0
    calibrated = configuration("sklearn.calibration.CalibratedClassifierCV", estimator__C=2.0)
    with pytest.raises(errors.InvalidExperiment, match="cannot be made"):
        build_estimator(calibrated, "binary", seed=0)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sklearn.ensemble.RandomForestClasifier", "did you mean 'RandomForestClassifier'"),
        ("sklearn.ensembel.RandomForestClassifier", "there is no module sklearn.ensembel"),
        ("no_such_package.models.Model", "there is no module no_such_package"),
        ("sklearn.metrics.roc_auc_score", "not a class with fit and predict"),
        ("sklearn.preprocessing.StandardScaler", "not a class with fit and predict"),
        ("sklearn.linear_model.Ridge", "it is a regressor, the task is binary"),
        ("sklearn.svm.LinearSVC", "no predict_proba"),
        (f"{OWN}.Regressor", "it is a regressor"),
        (f"{OWN}.not_a_class", "not a class"),
        (f"{OWN}.Plane", "did you mean 'Plain'"),
    ],
)
def test_a_path_that_is_no_estimator_of_the_task_is_refused(path: str, message: str) -> None:
    """The error names what is there instead."""
    with pytest.raises(errors.UnknownAlgorithm, match=message):
        check_hyperparameters(configuration(path), "binary")


def test_probabilities_may_depend_on_a_hyperparameter() -> None:
    """What counts is the estimator as it is configured."""
    path = "sklearn.linear_model.SGDClassifier"
    check_hyperparameters(configuration(path, loss="log_loss"), "binary")
    with pytest.raises(errors.UnknownAlgorithm, match="no predict_proba"):
        check_hyperparameters(configuration(path, loss="hinge"), "binary")


@pytest.mark.parametrize(
    ("algorithm", "name", "message"),
    [
        ("lightgbm", "num_leafs", "did you mean 'num_leaf"),
        ("lightgbm", "max_dept", "did you mean 'max_depth'"),
        ("lightgbm", "random_state", "drop it"),
        ("lightgbm", "n_jobs", "drop it"),
        ("lightgbm", "deterministic", "drop it"),
        ("lightgbm", "metric", "drop it"),
        ("random_forest", "max_dept", "did you mean 'max_depth'"),
        ("random_forest", "n_jobs", "drop it"),
        ("linear", "random_state", "drop it"),
        ("linear", "wholly_unknown", "which has 'penalty', 'C'"),
        (HIST, "learning_rat", "did you mean 'learning_rate'"),
    ],
)
def test_a_hyperparameter_that_cannot_be_set_is_refused(
    algorithm: str, name: str, message: str
) -> None:
    """Misspelt and reserved names are errors, with the right name where one comes close."""
    with pytest.raises(errors.InvalidExperiment, match=message):
        check_hyperparameters(configuration(algorithm, **{name: 1}), "binary")


@pytest.mark.parametrize(
    ("algorithm", "name", "value"),
    [
        ("lightgbm", "eta", "10%"),
        ("random_forest", "max_features", "sqr"),
        ("linear", "C", "low"),
        ("sklearn.neighbors.KNeighborsClassifier", "n_neighbors", "five"),
    ],
)
def test_a_text_that_is_no_value_is_refused(algorithm: str, name: str, value: str) -> None:
    """The error names hyperparameter and value, before anything is fitted."""
    with pytest.raises(errors.InvalidExperiment, match=f"'{value}'") as caught:
        check_hyperparameters(configuration(algorithm, **{name: value}), "binary")
    assert f"'{name}'" in caught.value.rule


@pytest.mark.parametrize(
    ("algorithm", "name", "value"),
    [
        ("lightgbm", "boosting_type", "dart"),
        ("lightgbm", "num_leaves", "7"),
        ("lightgbm", "extra_trees", "true"),
        ("xgboost", "grow_policy", "lossguide"),
        ("catboost", "bootstrap_type", "MVS"),
        ("random_forest", "max_features", "sqrt"),
        ("dummy", "strategy", "stratified"),
        ("lightgbm.LGBMClassifier", "boosting_type", "gbdt"),
    ],
)
def test_a_text_that_is_a_value_is_taken(algorithm: str, name: str, value: str) -> None:
    """A number or a switch in quotes is one, and some hyperparameters are words."""
    check_hyperparameters(configuration(algorithm, **{name: value}), "binary")


def test_one_parameter_under_two_names_is_refused() -> None:
    """LightGBM would take one of them without a word."""
    both = configuration("lightgbm", min_child_samples=5, min_data_in_leaf=7)
    with pytest.raises(errors.InvalidExperiment, match="set already"):
        check_hyperparameters(both, "binary")


def test_an_objective_belongs_to_its_task() -> None:
    """A regression may choose its loss; a binary task may not become one."""
    quantile = configuration("lightgbm", objective="quantile", alpha=0.9)
    check_hyperparameters(quantile, "regression")
    with pytest.raises(errors.InvalidExperiment, match="not an objective of task binary"):
        check_hyperparameters(quantile, "binary")


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2", "mape"])
def test_a_dummy_is_the_baseline_of_the_metric(metric: str) -> None:
    """It predicts mean, median or weighted median, unless a strategy is given."""
    y = np.random.default_rng(0).lognormal(size=50)
    spec = experiment([{"algorithm": "dummy"}], "regression", metric=metric)
    rows = EncodedRows(np.zeros((50, 1)), y, [])
    dummy, median = (
        learner_of("dummy").refit(FitRequest(one, training_sets("regression"), spec), None, rows)
        for one in (configuration("dummy"), configuration("dummy", strategy="median"))
    )
    predicted = dummy.predict(np.zeros((3, 1))).tolist()
    assert predicted == [float(best_constant(metric, y, "regression"))] * 3
    assert median.strategy == "median"


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name not in NAMES])
def test_well_known_names_are_names(algorithm: str, task: str) -> None:
    """Names that are accepted without an import are parameters of the class."""
    estimator = build_estimator(configuration(algorithm), task, seed=0)
    assert ALGORITHMS[algorithm].estimator(task).well_known <= estimator.get_params().keys()


def test_an_experiment_is_judged_without_scikit_learn() -> None:
    """Well known hyperparameters import nothing: a YAML is read by every process."""
    code = (
        "import sys\n"
        "from experiment_pipeline.stages.search.configurations import Configuration\n"
        "from experiment_pipeline.stages.search.learners import check_hyperparameters\n"
        "for name, given in {'linear': {'C': 1}, 'random_forest': {'max_depth': 3}}.items():\n"
        "    check_hyperparameters(Configuration('k', name, 'onehot', given), 'binary')\n"
        "sys.exit('sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


HIST = "sklearn.ensemble.HistGradientBoosting"
FEW, MANY = (np.arange(rows) % 7 == 0 for rows in (700, AUTO_ROWS + 1))
NO_SET = np.zeros(AUTO_ROWS + 1, dtype=bool)


@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier(early_stopping=True),
        SGDClassifier(early_stopping=True),
        SGDRegressor(early_stopping=True),
        Perceptron(early_stopping=True),
        OneVsRestClassifier(SGDClassifier(early_stopping=True)),
    ],
)
def test_random_early_stopping_is_switched_off_with_a_note(estimator: Any) -> None:
    """These hold out random rows of what they are fitted on."""
    on_set, (note,) = set_early_stopping(estimator, FEW)
    values = [v for k, v in estimator.get_params().items() if k.endswith("early_stopping")]
    assert values == [False]
    assert not on_set
    assert "early_stopping: True has no effect" in note


def test_patience_is_a_switch_where_there_is_no_other() -> None:
    """GradientBoosting holds out rows as soon as it is patient; MLP's patience is for train rows."""
    boosting = GradientBoostingClassifier(n_iter_no_change=5)
    _, (note,) = set_early_stopping(boosting, FEW)
    assert boosting.n_iter_no_change is None
    assert "n_iter_no_change: 5 has no effect" in note
    for patient in (MLPClassifier(n_iter_no_change=5), SGDClassifier(n_iter_no_change=3)):
        patience = patient.n_iter_no_change
        assert set_early_stopping(patient, FEW) == (False, ())
        assert patient.n_iter_no_change == patience


@pytest.mark.parametrize(
    ("asked", "early_stopping", "on_set", "notes"),
    [
        (True, FEW, True, 0),
        (True, MANY, True, 0),
        (True, NO_SET, False, 1),
        ("auto", FEW, False, 0),
        ("auto", MANY, True, 0),
        ("auto", NO_SET, False, 1),
        (False, MANY, False, 0),
    ],
)
@pytest.mark.parametrize("kind", [HistGradientBoostingClassifier, HistGradientBoostingRegressor])
def test_an_estimator_that_takes_a_set_gets_the_early_stopping_set(
    kind: Any, asked: Any, early_stopping: np.ndarray, on_set: bool, notes: int
) -> None:
    """True stops whatever the size, auto from 10,000 rows on, as scikit-learn has it."""
    estimator = kind(early_stopping=asked)
    found, noted = set_early_stopping(estimator, early_stopping)
    assert (found, len(noted)) == (on_set, notes)
    assert estimator.early_stopping is on_set


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_fit_stops_on_the_early_stopping_set_alone(task: str) -> None:
    """Another early-stopping set gives another model, and the refit makes as many rounds."""
    name = "Regressor" if task == "regression" else "Classifier"
    spec = experiment([one(f"{HIST}{name}", early_stopping=True, max_iter=500)], task)
    sets = training_sets(task)
    trained = train_one(spec, sets)
    assert 1 <= trained.result.rounds < 500
    moved = replace(sets, early_stopping=np.roll(sets.early_stopping, 1))
    assert train_one(spec, moved).model != trained.model
    pipeline = refit(configurations(spec)[0], trained.result.rounds, sets.train, sets, spec)
    assert pipeline[-1].n_iter_ == trained.result.rounds
    assert predict(pipeline, sets.test, sets.features, task, sets.classes).shape[0] == 200


def test_no_group_is_on_both_sides_of_the_stop() -> None:
    """Copies of rows with targets by chance: rows held out beside their copies would reward noise."""
    frame, copies = table(("no", "yes")), 4
    late = np.random.default_rng(0).permutation(frame["late"])
    train = pd.concat([frame.assign(late=late)] * copies, ignore_index=True)
    group = np.tile(np.arange(len(frame)), copies)
    sets = replace(training_sets(), train=train, early_stopping=group % 7 == 0)
    spec = experiment([one(f"{HIST}Classifier", early_stopping=True, max_iter=60)])
    by_chance = replace(sets, early_stopping=np.random.default_rng(1).random(len(train)) < 1 / 7)
    assert train_one(spec, sets).result.rounds < 30 < train_one(spec, by_chance).result.rounds


def test_a_note_reaches_the_result() -> None:
    """A setting without effect is reported beside the scores."""
    entry = one("sklearn.linear_model.SGDClassifier", loss="log_loss", early_stopping=True)
    assert "has no effect" in train_one(experiment([entry]), training_sets()).result.notes[0]
