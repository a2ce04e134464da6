"""Estimators that hold others, as texts of hyperparameters: described, built, stored."""

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from experiment_pipeline.errors import ExperimentPipelineError
from experiment_pipeline.experiment.declared import described
from experiment_pipeline.spec import notation
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.fingerprints import code_of
from experiment_pipeline.stages.search.learners.estimators import build_estimator
from experiment_pipeline.statistics.calibration import reweighting
from experiment_pipeline.storage import persistence
from experiment_pipeline_tests.stages.search.own_estimators import Plain
from experiment_pipeline_tests.stages.search.scenario import (
    OWN,
    experiment,
    train_one,
    training_sets,
)

TREE = DecisionTreeClassifier(max_depth=3, random_state=1)
SCALED = make_pipeline(MinMaxScaler((-1, 1)), LogisticRegression(C=np.float64(0.5)))
NESTED: dict[str, Any] = {
    "bagging": BaggingClassifier(TREE, n_estimators=5),
    "stacking": StackingClassifier([("a", SCALED), ("b", TREE)], GaussianNB(), cv=2),
    "function": make_pipeline(FunctionTransformer(np.tanh), GaussianNB()),
    "voting": VotingClassifier([("a", SCALED), ("b", Plain())], voting="soft"),
    "kernel": GaussianProcessClassifier(RBF(2.0)),
}


def configured(estimator: Any) -> Configuration:
    """Return the configuration that an estimator is described by."""
    [configuration] = configurations(experiment([described(estimator)]))
    return configuration


@pytest.mark.parametrize("kind", NESTED)
def test_a_nested_estimator_is_built_as_it_was_given(kind: str):
    """The text says all of it, except for seeds, which are the experiment's at any
    depth.
    """
    built = build_estimator(configured(NESTED[kind]), "binary", seed=7)
    assert described(built) == described(NESTED[kind])
    parameters = built.get_params(deep=True).items()
    assert {value for name, value in parameters if name.endswith("random_state")} <= {7}


@pytest.mark.parametrize("kind", ["bagging", "stacking"])
def test_a_nested_estimator_is_trained_and_stored(kind: str):
    """Loaded again, it predicts the same, which each fit checks."""
    trained = train_one(experiment([described(NESTED[kind])]), training_sets())
    stored = persistence.from_bytes(trained.model, trained.result.trusted_types)
    assert type(NESTED[kind]).__name__ in repr(stored)


def test_modules_are_left_out_where_people_read():
    """The leaderboard shows classes and what differs from their defaults."""
    assert configured(NESTED["bagging"]).in_words == (
        "BaggingClassifier (estimator DecisionTreeClassifier(max_depth=3), "
        "n_estimators 5)"
    )


def test_the_source_of_a_part_counts():
    """A change of a class of one's own within a pipeline is another model."""
    paths = configured(NESTED["voting"]).import_paths
    assert f"{OWN}.Plain" in paths
    assert f"source of {OWN}.Plain" in code_of(paths)


@pytest.mark.parametrize("weights", ["'balanced'", "{0: 1, 1: 5}"])
def test_a_part_that_reweights_classes_is_noticed(weights: str):
    """So that its probabilities are calibrated, as those of a flat estimator."""
    part = f"sklearn.svm.SVC(C=1, class_weight={weights}, probability=True)"
    assert reweighting({"estimator": part}) == f"estimator: class_weight={weights}"
    assert reweighting({"estimator": "sklearn.svm.SVC(class_weight=None)"}) is None


@pytest.mark.parametrize(
    "text", ["sqrt", "f(x=1)", "a.b(1)", "a.b(**c)", "[a-z]", "a.b"]
)
def test_another_text_stays_a_text(text: str):
    """Only import paths called with keywords, lists, tuples and mappings are read."""
    assert notation.value_of(text, pytest.fail) == text
    assert list(notation.paths_in({"a": [text]})) == []


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("os.system(command='true')", "os.system is not a class"),
        ("subprocess.Popen(args='true')", "neither a class with get_params nor"),
        ("sklearn.tree.DecisionTreeClasifier()", "did you mean 'DecisionTreeClass"),
        ("sklearn.tree.DecisionTreeClassifier(depth=3)", "unexpected keyword"),
    ],
)
def test_a_part_that_is_no_estimator_is_refused(part: str, says: str):
    """No function is called, and no class but an estimator's."""
    entry = {
        "algorithm": "sklearn.ensemble.BaggingClassifier",
        "hyperparameters": {"estimator": part},
    }
    [configuration] = configurations(experiment([entry]))
    with pytest.raises(ExperimentPipelineError, match=says):
        build_estimator(configuration, "binary", seed=0)


def test_a_column_transformer_is_refused_with_what_to_do():
    """Columns have no names any more when an estimator gets them."""
    by_column = make_column_transformer((StandardScaler(), ["age"]))
    given = make_pipeline(by_column, GaussianNB())
    with pytest.raises(ExperimentPipelineError, match=r"encoded.*\n.*`features`"):
        build_estimator(configured(given), "binary", seed=0)


@pytest.mark.parametrize(
    ("estimator", "says"),
    [
        (make_pipeline(FunctionTransformer(lambda x: x), GaussianNB()), "<lambda>"),
        (CalibratedClassifierCV(GaussianNB(), cv=KFold(3)), "KFold as a parameter"),
        (GaussianNB(priors=np.array([0.5, 0.5])), "ndarray as a parameter"),
    ],
)
def test_a_part_that_no_text_describes_is_named(estimator: Any, says: str):
    """A function of a module is the way out."""
    with pytest.raises(ExperimentPipelineError, match=f"{says}.*\n.*function"):
        described(estimator)


def test_a_fitted_estimator_is_taken_unfitted(caplog: pytest.LogCaptureFixture):
    """With a note: what it has learnt does not count."""
    fitted = GaussianNB().fit([[1], [2]], [0, 1])
    assert described(fitted)["hyperparameters"] == {}
    [note] = caplog.messages
    assert "GaussianNB is fitted: only its class and parameters are used" in note
