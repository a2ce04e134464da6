"""Calibrators are those of scikit-learn, learnt out of fold, whatever order classes have."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import pytest
import skops.io
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression

from experiment_pipeline.stages.search.averaging import (
    Calibrators,
    calibration_in,
    learn_calibration,
    uncalibrated,
)
from experiment_pipeline.storage import persistence

FOLDS = 5


class ByShares(ClassifierMixin, BaseEstimator):
    """A reweighted model that has probabilities alone."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        self.within_ = LogisticRegression(class_weight="balanced").fit(X, y)
        self.classes_ = self.within_.classes_
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.within_.predict(X)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return self.within_.predict_proba(X)


class ByLogOdds(ByShares):
    """The same, whose decision is each class's log odds, which a sigmoid is learnt of."""

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        odds = logit(self.predict_proba(X))
        return odds[:, 1] if len(self.classes_) == 2 else odds


def rows(classes: tuple[str, ...], n: int = 1_500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers, and a class of uneven shares that leans on both."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, 2))
    scores = np.column_stack([X @ generator.normal(size=2) - k for k in range(len(classes))])
    noise = generator.gumbel(size=scores.shape)
    return X, np.asarray(classes)[np.argmax(scores + noise, axis=1)]


def cut(n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Folds by number."""
    for fold in range(FOLDS):
        yield np.flatnonzero(np.arange(n) % FOLDS != fold), np.arange(fold, n, FOLDS)


def ours(method: Any, X: np.ndarray, y: np.ndarray) -> tuple[Any, Calibrators]:
    """The full model, calibrated on predictions of the same folds."""
    model = ByShares().fit(X, y)
    guessed = np.empty((len(y), len(model.classes_)))
    for fitted, held_out in cut(len(y)):
        guessed[held_out] = ByShares().fit(X[fitted], y[fitted]).predict_proba(X[held_out])
    codes = np.searchsorted(model.classes_, y)
    order = range(len(model.classes_))
    prediction = guessed[:, 1] if len(order) == 2 else guessed
    found = learn_calibration(method, prediction, codes, list(order))
    return found.around(model), found


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_it_is_what_scikit_learn_learns_of_the_same_folds(method: Any, classes: tuple) -> None:
    """Of log odds; steps are the same within the bounds that keep a row from certainty."""
    X, y = rows(classes)
    built, _ = ours(method, X, y)
    model = ByLogOdds() if method == "sigmoid" else ByShares()
    theirs = CalibratedClassifierCV(model, method=method, cv=list(cut(len(y))), ensemble=False)
    expected, found = theirs.fit(X, y).predict_proba(X), built.predict_proba(X)
    assert list(built.classes_) == list(theirs.classes_)
    assert (built.predict(X) == theirs.predict(X)).mean() > 0.999
    within = np.full(len(X), fill_value=True)
    if method == "isotonic":
        within = ((expected > 0.02) & (expected < 0.98)).all(axis=1)
        assert found.min() > 0
        assert found.max() < 1
    assert within.sum() > 300
    # Between the last step and the bound the line is another one.
    tolerance = 3e-3 if method == "isotonic" else 2e-4
    assert found[within] == pytest.approx(expected[within], abs=tolerance)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_what_it_predicts_does_not_depend_on_where_the_positive_class_sorts(method: Any) -> None:
    """A model that keeps its classes unsorted is calibrated as the one that sorts them."""
    X, y = rows(("no", "yes"))
    model = ByShares().fit(X, y)
    positive = model.predict_proba(X)[:, 1]
    turned = ByShares().fit(X, np.where(y == "yes", "a", "b"))
    codes = (y == "yes").astype(int)
    sorted_last = learn_calibration(method, positive, codes, [0, 1])
    sorted_first = learn_calibration(method, positive, codes, [1, 0])
    for found in (sorted_last, sorted_first):
        assert found.applied(positive) == pytest.approx(sorted_last.applied(positive), abs=1e-5)
    whole = sorted_first.around(turned)
    assert list(whole.classes_) == ["a", "b"]
    assert whole.predict_proba(X)[:, 0] == pytest.approx(sorted_last.applied(positive), abs=1e-5)
    again = calibration_in(whole, ("b", "a"))
    assert again.order == (1, 0)
    assert np.array_equal(again.applied(positive), sorted_first.applied(positive))
    assert uncalibrated(whole) is turned


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_it_is_stored_without_pickle(method: Any, classes: tuple) -> None:
    """Two private types of scikit-learn are trusted, and it predicts bit for bit the same."""
    X, y = rows(classes)
    model = LogisticRegression().fit(X, y)
    order = list(range(len(classes)))
    said = model.predict_proba(X)
    prediction = said[:, 1] if len(order) == 2 else said
    found = learn_calibration(method, prediction, np.searchsorted(model.classes_, y), order)
    whole = found.around(model)
    written = persistence.to_bytes(whole)
    assert {
        name for name in skops.io.get_untrusted_types(data=written) if "calibration" in name
    } <= {
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
    }
    read = persistence.from_bytes(written)
    assert np.array_equal(read.predict_proba(X), whole.predict_proba(X))
    assert persistence.to_bytes(read) == written
    applied = found.applied(prediction)
    last = whole.predict_proba(X)[:, 1] if len(order) == 2 else whole.predict_proba(X)
    assert applied == pytest.approx(last, abs=1e-12)


def test_a_sigmoid_changes_no_rank_and_takes_a_shift_of_log_odds_back() -> None:
    """What other class weights do: the true log odds are the given ones less a constant."""
    generator = np.random.default_rng(0)
    truth = expit(generator.normal(-2.5, 1.5, 20_000))
    y = (generator.random(20_000) < truth).astype(int)
    said = expit(logit(truth) + 2)
    found = learn_calibration("sigmoid", said, y, [0, 1]).applied(said)
    assert np.array_equal(np.argsort(found), np.argsort(said))
    assert np.abs(found - truth).mean() < 0.003
    assert np.abs(said - truth).mean() > 0.2


def test_rows_that_a_forest_is_certain_of_do_not_decide_the_sigmoid() -> None:
    """Probabilities of 0 and 1 have no log odds: they lie half a vote out."""
    generator = np.random.default_rng(0)
    truth = generator.beta(0.4, 1.6, 5_000)
    y = (generator.random(5_000) < truth).astype(int)
    votes = generator.binomial(50, truth) / 50
    assert (votes == 0).mean() > 0.1
    found = learn_calibration("sigmoid", votes, y, [0, 1]).applied(votes)
    assert np.isfinite(found).all()
    assert np.abs(found - truth).mean() < 0.05


def test_weights_of_rows_count() -> None:
    """A row of weight two is two rows; a sigmoid of all is another one than of a part."""
    X, y = rows(("no", "yes"), n=400)
    said, codes = LogisticRegression().fit(X, y).predict_proba(X)[:, 1], (y == "yes").astype(int)
    weights = np.where(np.arange(400) < 200, 2.0, 1.0)
    twice = np.concatenate([np.arange(400), np.arange(200)])
    for method in ("sigmoid", "isotonic"):
        weighted = learn_calibration(method, said, codes, [0, 1], weights).applied(said)
        repeated = learn_calibration(method, said[twice], codes[twice], [0, 1]).applied(said)
        plain = learn_calibration(method, said, codes, [0, 1]).applied(said)
        assert weighted == pytest.approx(repeated, abs=1e-4)
        assert weighted != pytest.approx(plain, abs=1e-4)
