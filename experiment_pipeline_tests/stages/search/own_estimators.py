"""Estimators as users may bring them: well behaved, slow, and bad in one way each."""

import builtins
import io
import threading
import time

import numpy as np
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier

STARTED: list[float] = []


class Plain(ClassifierMixin, BaseEstimator):
    """A logistic regression in a coat of Python."""

    def __init__(self, strength=1.0, pause=0.0, random_state=None):
        self.strength = strength
        self.pause = pause
        self.random_state = random_state

    def fit(self, X, y):
        STARTED.append(self.strength)
        time.sleep(self.pause)
        self.inner_ = LogisticRegression(C=self.strength).fit(X, y)
        self.classes_ = self.inner_.classes_
        return self

    def predict(self, X):
        return self.inner_.predict(X)

    def predict_proba(self, X):
        return self.inner_.predict_proba(X)


def two_together():
    """Estimators of two libraries in one, with threads as each of them likes."""
    two = [("linear", LogisticRegression()), ("boosted", LGBMClassifier(n_jobs=4))]
    return VotingClassifier(two, voting="soft", n_jobs=2)


def stops_within():
    """An estimator that holds out random rows, within another."""
    return OneVsRestClassifier(SGDClassifier(loss="log_loss", early_stopping=True))


class Helper:
    """What an estimator of one's own may keep: skops does not know it."""

    def __init__(self, factor):
        self.factor = factor


class WithHelper(Plain):
    """Holds an object of a class of its own."""

    def fit(self, X, y):
        self.helper_ = Helper(1.0)
        return super().fit(X, y)


class Raises(Plain):
    """Fails while it is fitted."""

    def fit(self, X, y):
        message = "this table has a bad smell"
        raise ZeroDivisionError(message)


class Disturbed(Plain):
    """Meets a fault of the machine: in a thread of a pool, or everywhere."""

    def __init__(self, strength=1.0, fault="MemoryError", everywhere=False):
        super().__init__(strength)
        self.fault = fault
        self.everywhere = everywhere

    def fit(self, X, y):
        STARTED.append(self.strength)
        if self.everywhere or threading.current_thread() is not threading.main_thread():
            raise getattr(builtins, self.fault)
        return super().fit(X, y)


class Loop:
    """Garbage that runs Python when it is collected, and lets other threads go on."""

    def __init__(self):
        self.me = self

    def __del__(self):
        time.sleep(0)


class Parses(Plain):
    """Reads arrays from bytes, as numpy, skops and others do: each has a header to
    parse.
    """

    def fit(self, X, y):
        written = io.BytesIO()
        np.save(written, np.zeros(3))
        for _ in range(500):
            Loop()
            np.load(io.BytesIO(written.getvalue()))
        return super().fit(X, y)


class Exits(Plain):
    """Wants to end the program."""

    def fit(self, X, y):
        raise SystemExit(3)


class Writes(Plain):
    """Scales its input in place."""

    def fit(self, X, y):
        X *= 2
        return super().fit(X, y)


class NotFinite(Plain):
    """Predicts nan."""

    def predict_proba(self, X):
        return super().predict_proba(X) * np.nan


class Forgets(Plain):
    """Predicts something else once it has been stored and loaded."""

    def fit(self, X, y):
        self._fresh = True
        return super().fit(X, y)

    def __getstate__(self):
        return {key: value for key, value in self.__dict__.items() if key != "_fresh"}

    def predict_proba(self, X):
        found = super().predict_proba(X)
        return found if hasattr(self, "_fresh") else found[:, ::-1]


class NotStorable(Plain):
    """Keeps a generator, which nothing can write down."""

    def fit(self, X, y):
        self.rows_ = (number for number in range(3))
        return super().fit(X, y)
