"""Estimators that hold others, as texts of hyperparameters: described, built, stored."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
)
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
    train,
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
ENCODED = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["carrier"]))


def by_column(*parts: Any) -> Any:
    """Return a pipeline that prepares columns by their names."""
    return make_pipeline(make_column_transformer(*parts), LogisticRegression())


def text_columns() -> Any:
    """Return an estimator that selects columns by their type, which is no text."""
    of_texts = make_column_selector(dtype_include=object)
    return by_column((OneHotEncoder(handle_unknown="ignore"), of_texts))


def configured_by(entry: dict[str, Any]) -> Configuration:
    """Return the configuration of an entry of `search`."""
    [configuration] = configurations(experiment([entry]))
    return configuration


def configured(estimator: Any) -> Configuration:
    """Return the configuration that an estimator is described by."""
    return configured_by(described(estimator))


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


@pytest.mark.parametrize(
    "estimator",
    [
        StackingClassifier([("a", make_pipeline(ENCODED, TREE))], GaussianNB(), cv=2),
        by_column(("passthrough", pd.Index(["distance", "night"]))),
        text_columns,
    ],
)
def test_a_column_transformer_reads_columns_by_name(estimator: Any):
    """At any depth, named by a list or an index of pandas, or by a selector in a
    function.
    """
    spec = experiment([described(estimator)])
    assert train_one(spec, training_sets()).result.test_score > 0.5


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ((StandardScaler(), ["dstance"]), "'dstance'.* did you mean 'distance'"),
        ((StandardScaler(), ["late"]), "'late', which is not the name of a feature"),
        ((StandardScaler(), [0]), "selects 0, which is not the name of a feature"),
        ((OneHotEncoder(), ["carrier"]), "new texts: .*\n.*handle_unknown='ignore'"),
    ],
)
def test_a_column_transformer_that_cannot_work_fails_with_what_to_do(
    part: Any, says: str
):
    """A selection of what is not a feature, and an encoder that stops at new texts."""
    spec = experiment([described(by_column(part))])
    (failed,) = train(spec, training_sets(), workers=1).values()
    assert re.search(says, failed.reason), failed.reason


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (
            {**described(text_columns), "features": "onehot"},
            "write `features: columns`",
        ),
        ({"algorithm": "linear", "features": "columns"}, "linear reads numbers"),
    ],
)
def test_the_encoder_of_columns_is_for_estimators_that_name_them(
    entry: dict[str, Any], says: str
):
    """The YAML says neither the one nor the other without the right one."""
    with pytest.raises((ExperimentPipelineError, ValidationError), match=says):
        build_estimator(configured_by(entry), "binary", seed=0)


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
