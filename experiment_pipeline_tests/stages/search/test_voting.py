"""A weighted mean of fitted pipelines: as scikit-learn would fit it, in any order of
the classes.
"""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, VotingClassifier, VotingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeRegressor

from experiment_pipeline.stages.search import voting
from experiment_pipeline.stages.search.features import build_features
from experiment_pipeline.stages.search.scoring import predictions_of
from experiment_pipeline.stages.search.voting import TakenApart, weighted_mean
from experiment_pipeline.storage.persistence import from_bytes, to_bytes
from experiment_pipeline_tests.stages.search import scenario

FEATURES = ["distance", "delay", "carrier"]
LABELS = {"binary": ["bad", "good"], "multiclass": ["bad", "fair", "good"]}
WEIGHTS = [0.3, 0.7]


def rows_of(task: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Return features and a target."""
    table = scenario.table(classes_of(task))
    return table[FEATURES], table["late"].to_numpy()


def pipelines(task: str) -> list[Pipeline]:
    """Return two pipelines of different features, not fitted."""
    table, _ = rows_of(task)
    models: list[Any] = [Ridge(), DecisionTreeRegressor(max_depth=4, random_state=0)]
    if task != "regression":
        models = [
            LogisticRegression(),
            RandomForestClassifier(5, max_depth=4, random_state=0),
        ]
    return [
        Pipeline(
            [("features", build_features(encoder, table, FEATURES)), ("model", model)]
        )
        for encoder, model in zip(("onehot", "ordinal"), models, strict=True)
    ]


def classes_of(task: str) -> tuple[str, ...] | None:
    """Return the classes of a task."""
    return None if task == "regression" else tuple(LABELS[task])


def mean_of(task: str) -> Any:
    """Return the mean of both, each fitted alone."""
    table, y = rows_of(task)
    named = zip(("linear__C=1", "forest"), pipelines(task), WEIGHTS, strict=True)
    return weighted_mean(
        [(name, pipeline.fit(table, y), weight) for name, pipeline, weight in named],
        classes_of(task),
    )


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_it_is_what_an_ordinary_fit_makes(task: str):
    """The same attributes and predictions, but for a second and a third copy of each
    member.
    """
    table, y = rows_of(task)
    named = list(zip(("a", "b"), pipelines(task), strict=True))
    voting_of = (
        VotingRegressor
        if task == "regression"
        else partial(VotingClassifier, voting="soft")
    )
    ordinary = voting_of(named, weights=WEIGHTS).fit(table, y)
    ours = mean_of(task)
    assert vars(ours).keys() == vars(ordinary).keys() - {"named_estimators_"}
    assert all(estimator is None for _, estimator in ours.estimators)
    if task == "regression":
        # Two fits of a ridge differ by rounding.
        assert ours.predict(table) == pytest.approx(ordinary.predict(table), rel=1e-9)
    else:
        assert ours.predict(table).tolist() == ordinary.predict(table).tolist()
        assert np.array_equal(ours.predict_proba(table), ordinary.predict_proba(table))
    # Two underscores would address what is nested.
    assert not any("__" in name for name, _ in ours.estimators)


def _relabelled(pipeline: Pipeline, classes: list[str]) -> Pipeline:
    """A fitted pipeline whose model keeps its classes in another order, as
    boosters do.
    """
    model = pipeline[-1]
    order = [classes.index(label) for label in model.classes_]

    class Turned(type(model)):
        def predict_proba(self, X: Any) -> np.ndarray:
            return super().predict_proba(X)[:, np.argsort(order)]

    model.__class__ = Turned
    model.classes_ = np.array(classes)
    return pipeline


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_members_of_other_orders_are_put_into_that_of_the_target(task: str):
    """The positive class may sort first: its column is the second all the same."""
    table, y = rows_of(task)
    fitted = [pipeline.fit(table, y) for pipeline in pipelines(task)]
    probabilities = [pipeline.predict_proba(table)[:, ::-1] for pipeline in fitted]
    expected = np.average(probabilities, axis=0, weights=WEIGHTS)
    classes = tuple(reversed(LABELS[task]))
    _relabelled(fitted[0], list(classes))
    ours = weighted_mean(list(zip("ab", fitted, WEIGHTS, strict=True)), classes)
    assert ours.classes_.tolist() == list(classes)
    assert ours.predict_proba(table) == pytest.approx(expected, abs=1e-12)
    labels = np.array(classes)[expected.argmax(axis=1)]
    assert ours.predict(table).tolist() == labels.tolist()


def test_a_class_that_a_member_has_not_seen_has_probability_0_there():
    """The columns are those of the target, whatever a member has seen."""
    table, y = rows_of("multiclass")
    linear, forest = pipelines("multiclass")
    lacks_fair = y != "fair"
    fitted = [linear.fit(table, y), forest.fit(table[lacks_fair], y[lacks_fair])]
    ours = weighted_mean(
        list(zip("ab", fitted, [0.5, 0.5], strict=True)), ("bad", "fair", "good")
    )
    probabilities = ours.predict_proba(table)
    assert probabilities[:, 1] == pytest.approx(
        0.5 * fitted[0].predict_proba(table)[:, 1]
    )
    assert probabilities.sum(axis=1) == pytest.approx(1)


def test_it_is_stored_without_more_trust_and_the_bytes_are_the_same_again():
    """Before and after it has predicted, and once loaded; also with a member whose
    classes are put in order.
    """
    table, _ = rows_of("multiclass")
    lacking = mean_of("binary").estimators_[0]
    fitted = [*mean_of("multiclass").estimators_, lacking]
    named = list(zip("abc", fitted, [*WEIGHTS, 1.0], strict=True))
    ours = weighted_mean(named, classes_of("multiclass"))
    stored = to_bytes(ours)
    before = ours.predict(table).tolist()
    loaded = from_bytes(stored)
    assert loaded.predict(table).tolist() == before
    assert to_bytes(ours) == to_bytes(loaded) == stored


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_its_parts_predict_encoded_rows_as_the_whole_does(task: str, monkeypatch):
    """A feature has the columns of every member that reads it; the workers change no
    bit.
    """
    monkeypatch.setattr(voting, "_ENCODED_ROWS", 120)
    monkeypatch.setattr(voting, "_PREDICTED_ROWS", 50)
    table, _ = rows_of(task)
    classes, ours = classes_of(task), mean_of(task)
    parts = TakenApart.of(ours)
    encoded = np.asarray(parts.encode(table))
    whole = predictions_of(ours, table[FEATURES], task, classes)
    assert parts.predict(encoded, task, classes) == pytest.approx(whole, abs=1e-12)
    by_one, by_two = (
        parts.predict_rows(table, task, classes, workers) for workers in (1, 2)
    )
    assert np.array_equal(by_one, by_two)
    assert by_one == pytest.approx(whole, abs=1e-12)
    places = np.concatenate([parts.columns[name] for name in FEATURES])
    assert sorted(places.tolist()) == list(range(encoded.shape[1]))


def test_of_three_members_two_may_share():
    """Whoever shares features with another comes together with it, with both their
    weights.
    """
    table, y = rows_of("binary")
    onehot, ordinal = (pipeline.fit(table, y) for pipeline in pipelines("binary"))
    other = clone(ordinal[-1]).set_params(max_depth=2)
    beside = Pipeline(
        [ordinal.steps[0], ("model", other.fit(ordinal[0].transform(table), y))]
    )
    members, weights = [ordinal, onehot, beside], [0.5, 0.2, 0.3]
    named = list(zip("abc", members, weights, strict=True))
    ours = weighted_mean(named, tuple(LABELS["binary"]))
    assert ours.weights == [0.8, 0.2]
    assert len(TakenApart.of(ours).features) == 2  # rows are encoded once for each
    by_member = [member.predict_proba(table) for member in members]
    expected = np.average(by_member, axis=0, weights=weights)
    assert ours.predict_proba(table) == pytest.approx(expected)
