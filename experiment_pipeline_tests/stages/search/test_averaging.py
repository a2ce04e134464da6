"""Calibrators: what they learn, of which rows, and what they predict."""

from typing import Any

import numpy as np
import pytest
from scipy.special import logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB

from experiment_pipeline.stages.search.averaging import (
    calibration_in,
    learn_calibration,
    uncalibrated,
)
from experiment_pipeline.storage import persistence

NO_YES, ABC = ("no", "yes"), ("a", "b", "c")
FOLDS = KFold(5)


class ByLogOdds(GaussianNB):
    """A model whose decision is its log odds, which a sigmoid is learnt of."""

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return logit(self.predict_proba(X)[:, 1])


def uneven(classes: tuple[str, ...], n: int = 1_500) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers, and a class of uneven shares that leans on both."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(n, 2))
    slopes = generator.normal(size=(len(classes), 2))
    scores = X @ slopes.T - np.arange(len(classes))
    noise = generator.gumbel(size=scores.shape)
    return X, np.asarray(classes)[np.argmax(scores + noise, axis=1)]


def calibrated_model(X: np.ndarray, y: np.ndarray) -> Any:
    """The full model, calibrated on predictions of the folds."""
    model = GaussianNB().fit(X, y)
    left_out = cross_val_predict(GaussianNB(), X, y, cv=FOLDS, method="predict_proba")
    order = range(len(model.classes_))
    prediction = left_out[:, 1] if len(order) == 2 else left_out
    codes = np.searchsorted(model.classes_, y)
    return learn_calibration(prediction, codes, order).around(model)


def test_it_is_what_scikit_learn_learns_of_the_same_folds():
    """Of log odds. It is stored to the bit."""
    X, y = uneven(NO_YES)
    theirs = CalibratedClassifierCV(ByLogOdds(), cv=FOLDS, ensemble=False)
    expected = theirs.fit(X, y).predict_proba(X)
    ours = calibrated_model(X, y)
    predicted = ours.predict_proba(X)
    assert list(ours.classes_) == list(theirs.classes_)
    assert (ours.predict(X) == theirs.predict(X)).mean() > 0.999
    assert predicted == pytest.approx(expected, abs=2e-4)
    stored = persistence.to_bytes(ours)
    loaded = persistence.from_bytes(stored)
    assert np.array_equal(loaded.predict_proba(X), predicted)
    assert persistence.to_bytes(loaded) == stored


def test_several_classes_are_calibrated_together():
    """All log probabilities by a softmax, as a logistic regression on them; a refit
    finds its calibrators in the stored model.
    """
    X, y = uneven(ABC, 6_000)
    plain = GaussianNB().fit(X, y).predict_proba(X)
    wrong = np.sqrt(plain) * [1.0, 0.4, 2.0]
    wrong = wrong / wrong.sum(axis=1, keepdims=True)
    calibrated = learn_calibration(wrong, np.searchsorted(ABC, y), range(3))
    regression = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1_000)
    expected = regression.fit(np.log(wrong), y).predict_proba(np.log(wrong))
    assert np.abs(calibrated.applied(wrong) - expected).mean() < 0.005
    model = calibrated_model(X, y)
    stored = persistence.to_bytes(model)
    calibrators = calibration_in(persistence.from_bytes(stored), ABC)
    assert np.array_equal(calibrators.applied(plain), model.predict_proba(X))


def test_what_it_predicts_does_not_depend_on_where_the_positive_class_sorts():
    """A model that keeps its classes unsorted is calibrated as the one that
    sorts them.
    """
    X, y = uneven(NO_YES)
    positive = GaussianNB().fit(X, y).predict_proba(X)[:, 1]
    codes = (y == "yes").astype(int)
    sorted_first = learn_calibration(positive, codes, [1, 0])
    sorted_last = learn_calibration(positive, codes, [0, 1])
    expected = pytest.approx(sorted_last.applied(positive), abs=1e-5)
    assert sorted_first.applied(positive) == expected
    turned = GaussianNB().fit(X, np.where(y == "yes", "a", "b"))
    whole = sorted_first.around(turned)
    assert list(whole.classes_) == ["a", "b"]
    assert whole.predict_proba(X)[:, 0] == expected
    again = calibration_in(whole, ("b", "a"))
    assert again.order == (1, 0)
    assert np.array_equal(again.applied(positive), sorted_first.applied(positive))
    assert uncalibrated(whole) is turned


def test_rows_that_a_forest_is_certain_of_do_not_decide_the_sigmoid():
    """Probabilities of 0 and 1 have no log odds: they lie half a vote out."""
    generator = np.random.default_rng(0)
    truth = generator.beta(0.4, 1.6, 5_000)
    y = (generator.random(5_000) < truth).astype(int)
    votes = generator.binomial(50, truth) / 50
    assert (votes == 0).mean() > 0.1
    calibrated = learn_calibration(votes, y, [0, 1]).applied(votes)
    assert np.isfinite(calibrated).all()
    assert np.abs(calibrated - truth).mean() < 0.05


def test_weights_of_rows_count():
    """A row of weight two is two rows; a sigmoid of all is another one than
    of a part.
    """
    X, y = uneven(NO_YES, n=400)
    probability = LogisticRegression().fit(X, y).predict_proba(X)[:, 1]
    weights = np.where(np.arange(400) < 200, 2.0, 1.0)

    def calibrated(rows: Any, weights: np.ndarray | None = None) -> np.ndarray:
        is_yes = (y[rows] == "yes").astype(int)
        learnt = learn_calibration(probability[rows], is_yes, [0, 1], weights)
        return learnt.applied(probability)

    weighted = calibrated(np.arange(400), weights)
    twice = np.repeat(np.arange(400), weights.astype(int))
    assert weighted == pytest.approx(calibrated(twice), abs=1e-4)
    assert weighted != pytest.approx(calibrated(np.arange(400)), abs=1e-4)
