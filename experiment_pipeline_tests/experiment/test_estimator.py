"""The search as a scikit-learn estimator."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from unittest import SkipTest

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

import experiment_pipeline as ep
from experiment_pipeline.stages.data_analysis import analysis
from experiment_pipeline.stages.data_analysis.findings.probe import NoProbe

pytestmark = pytest.mark.usefixtures("quick")

# For a quick search: no split is tried out.
SETTINGS = {"split": "random", "evaluation": "test_set", "workers": 1}
# The tables of scikit-learn's checks have 10 to 300 rows, some of them without a signal
# or with one that is perfect.
ACCEPTED = {
    "leak_suspect": "blobs far from each other",
    "target_looks_like_another_task": "integers as the target of a regression",
    "too_few_rows": "20 rows",
    "too_few_rows_per_class": "20 rows",
}


def classifier(search: str = "linear") -> ep.ExperimentClassifier:
    """Return a search of one model."""
    return ep.ExperimentClassifier(metric="roc_auc", search=search, settings=SETTINGS)


def customers() -> tuple[pd.DataFrame, np.ndarray]:
    """Return 400 rows of many kinds of columns, and their classes, as texts."""
    generator = np.random.default_rng(0)
    used = generator.normal(size=400)
    plan = generator.choice(["basic", "plus"], 400)
    since = pd.date_range("2026-01-01", periods=400)
    stays = used + (plan == "plus") + generator.normal(size=400) > 0.5
    used[::9] = np.nan
    rows = pd.DataFrame({"used": used, "plan": plan, "since": since})
    return rows.set_axis(generator.permutation(400)), np.where(stays, "stays", "left")


def test_a_search_is_judged_by_the_cross_validation_of_whoever_calls_it():
    """Columns of any kind go through a pipeline into it, with a score better than
    chance.
    """
    rows, y = customers()
    pipeline = make_pipeline("passthrough", classifier())
    assert cross_val_score(pipeline, rows, y, scoring="roc_auc", cv=2).min() > 0.7


def test_every_row_gets_a_prediction_also_what_training_did_not_see():
    """Columns of probabilities are in the order of the classes; an Arrow table is a
    table, too. One without a column of the fit is refused.
    """
    rows, y = customers()
    model = classifier().fit(rows, y)
    new = rows.head(4).assign(plan=["gold", None, "basic", "plus"])
    probabilities = model.predict_proba(new)
    assert np.isfinite(probabilities).all()
    assert model.classes_.tolist() == ["left", "stays"]
    assert model.leaderboard_["key"].tolist() == ["linear"]
    likeliest = model.classes_[model.predict_proba(rows).argmax(axis=1)]
    assert (model.predict(rows) == likeliest).all()
    arrow = pa.Table.from_pandas(new, preserve_index=False)
    assert (model.predict_proba(arrow) == probabilities).all()
    assert model.feature_names_in_.tolist() == [*rows]
    with pytest.raises(ValueError, match="seen at fit time, yet now missing:\n- plan"):
        model.predict(new.drop(columns="plan"))


def test_classes_keep_their_type():
    """Classes that are written as fractions are predicted as such."""
    rows, y = customers()
    model = classifier("dummy").fit(rows, (y == "stays") * 1.0)
    assert model.classes_.tolist() == [0.0, 1.0]
    assert model.predict(rows).dtype == np.float64


def test_the_best_is_fitted_on_all_rows():
    """A model that predicts the mean has that of every given row."""
    rows, _ = customers()
    y = np.random.default_rng(0).normal(size=400)
    search = ep.ExperimentRegressor(metric="rmse", search="dummy", settings=SETTINGS)
    assert search.fit(rows, y).predict(rows[:3]) == pytest.approx(np.mean(y))


def test_a_column_that_gives_the_answer_away_ends_the_fit():
    """The cross-validation of whoever calls it would not notice."""
    rows, y = customers()
    leaking = rows.assign(cancelled=(y == "left") * 1)
    with pytest.raises(ep.DataError, match="cancelled"):
        classifier().fit(leaking, y)


def test_one_class_is_no_classification():
    """The error says so before anything is searched."""
    rows, _ = customers()
    with pytest.raises(ValueError, match="one class"):
        classifier().fit(rows, np.ones(len(rows)))


def checks_of(estimator: type) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield name and call of scikit-learn's checks, each in its first variant."""
    settings = {**SETTINGS, "analysis": {"accept": ACCEPTED}, "calibrate": "off"}
    named = set[str]()
    search = estimator(search="linear", settings=settings)
    for own, check in estimator_checks_generator(search):
        name = getattr(check, "func", check).__name__
        if name not in named:
            named.add(name)
            yield name, partial(check, own)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_checks_of_scikit_learn_pass(monkeypatch):
    """Of the regressor all; of the classifier those that a regressor does not have: the
    rest is the same code.
    """
    monkeypatch.setattr(analysis, "run_probe", lambda *_: NoProbe(""))
    passed = set[str]()
    for estimator in (ep.ExperimentRegressor, ep.ExperimentClassifier):
        for name, check in checks_of(estimator):
            if name not in passed:
                with suppress(SkipTest):
                    check()
            passed.add(name)
    assert {"check_regressors_train", "check_classifiers_classes"} <= passed
