"""Why a row is predicted as it is: contributions of delivered columns add up, exactly
where they can.
"""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMRegressor
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from experiment_pipeline.errors import DataError, UnusableTable
from experiment_pipeline.prediction.explanation import Explanation
from experiment_pipeline.prediction.files import Model
from experiment_pipeline.stages.search.averaging import averaged, learn_calibration
from experiment_pipeline.stages.search.features import build_features
from experiment_pipeline.table.dictionary import dictionary_of
from experiment_pipeline_tests import exported
from experiment_pipeline_tests.prediction.models import loaded

# Algorithm, or algorithms of a mean → how many members have sums.
SUMS = dict.fromkeys(["lightgbm", "xgboost", "catboost", "random_forest", "linear"], 1)
SUMS |= {"linear+sklearn.tree.DecisionTree{}": 1, "lightgbm+linear": 2, "dummy": 0}
# The libraries lay out the outputs of several classes in different ways.
EXPLAINED = [
    *((algorithm, "multiclass") for algorithm in SUMS),
    *((algorithm, "binary") for algorithm in ("lightgbm", "catboost", "linear")),
    ("lightgbm+linear", "binary"),
    ("random_forest", "regression"),
    ("linear+sklearn.tree.DecisionTree{}", "regression"),
]


def rows(n: int) -> pd.DataFrame:
    """Rows as delivered; those without a carrier are left out, which is a
    target, too.
    """
    return exported.delivered(200, seed=3).query("carrier != '?'").head(n)


@cache
def model(algorithm: str, task: str) -> Model:
    """An exported model; of `a+b` a mean."""
    return loaded(exported.trained_package(algorithm, task))


def assert_adds_up(task: str, found: Explanation) -> None:
    """Compare the sums of rows, on their scale, with what is predicted."""
    sums, predictions = (
        found.contributions.sum(axis=1).to_numpy(),
        found.predicted.predictions,
    )
    shown = predictions.filter(like="probability_").to_numpy()
    if task == "regression":
        shown = predictions[["prediction"]].to_numpy()
        shown = np.log(shown) if found.scale.startswith("logarithm") else shown
    elif task == "binary" and found.scale.startswith("log odds"):
        sums = expit(sums)
    elif found.scale.startswith("log odds"):  # against the mean of the other two
        logs = np.log(shown)
        shown = 1.5 * logs - logs.sum(axis=1, keepdims=True) / 2
    np.testing.assert_allclose(sums, shown.max(axis=1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("algorithm", "task"), EXPLAINED)
def test_contributions_add_up_to_the_prediction(algorithm: str, task: str):
    """For every built-in algorithm, another one and means: a column for each delivered
    one.
    """
    named = algorithm.format("Regressor" if task == "regression" else "Classifier")
    found = model(named, task).explain(rows(24))
    read = (
        ["distance", "day"] if task == "multiclass" else ["distance", "carrier", "day"]
    )
    assert list(found.contributions.columns) == [*read, "base"]
    assert_adds_up(task, found)
    methods = found.method.split("; ")
    assert sum(not one.startswith("Shapley") for one in methods) == SUMS[algorithm]
    rescaled = "+" in algorithm and task != "regression"
    assert any("rescaled" in one for one in methods) == rescaled


@pytest.mark.parametrize(
    ("wrapped", "task"),
    [("seeds", "binary"), ("sigmoid", "multiclass"), ("sigmoid seeds", "binary")],
)
def test_what_is_made_of_sums_is_explained_on_the_scale_of_the_prediction(
    wrapped: str, task: str
):
    """A mean of seeds, a calibrated booster, and a calibrated mean of seeds are not
    sampled.
    """
    of, rng = model("lightgbm", task), np.random.default_rng(1)
    features, within = of.pipeline[0], of.pipeline[-1]
    if "seeds" in wrapped:
        within = averaged([within, within], within.classes_)
    if "sigmoid" in wrapped:
        labels = np.arange(200) % (k := len(within.classes_))
        p = rng.dirichlet(np.ones(k), 200) * 0.6 + 0.4 * np.eye(k)[labels]
        found = learn_calibration(p[:, 1] if k == 2 else p, labels, range(k))
        within = found.around(within)
    explained = replace(of, pipeline=make_pipeline(features, within)).explain(rows(12))
    assert_adds_up(task, explained)
    assert explained.scale.startswith("probability of ")
    assert explained.method == "TreeSHAP, rescaled"


@pytest.mark.parametrize(
    ("asked", "first", "scale", "method"),
    [
        ({"objective": "poisson"}, 0, "logarithm of delay", "TreeSHAP"),
        ({"reg_sqrt": True}, -9, "delay", "TreeSHAP, rescaled"),
    ],
)
def test_the_logarithm_is_explained_where_a_model_adds_it_up(
    asked: dict[str, Any], first: int, scale: str, method: str
):
    """A booster of counts; one that adds up roots, of either sign, is explained by the
    value.
    """
    of = model("lightgbm", "regression")
    cells = of.pipeline[0].transform(of.examples)
    booster = LGBMRegressor(**asked, min_child_samples=2, verbosity=-1)
    booster.fit(cells, np.arange(len(cells)) + first)
    pipeline = make_pipeline(of.pipeline[0], booster)
    found = replace(of, pipeline=pipeline).explain(rows(12))
    assert_adds_up("regression", found)
    assert (found.scale, found.method) == (scale, method)


class Opaque(ClassifierMixin, BaseEstimator):
    """A fitted classifier of which only predictions are known."""

    def __init__(self, model: Any) -> None:
        self.model, self.classes_, self.predict_proba = (
            model,
            model.classes_,
            model.predict_proba,
        )

    def fit(self, X: Any, y: Any) -> Self:
        """Stay as it is."""
        return self


@pytest.mark.parametrize("algorithm", ["lightgbm+linear", "xgboost+catboost"])
def test_contributions_are_close_to_sampled_ones(algorithm: str):
    """The two ways agree on which columns move which rows, and how far."""
    of = model(algorithm, "binary")
    sampled = deepcopy(of.pipeline)
    for member in sampled.estimators_:
        member.steps[-1] = ("model", Opaque(member[-1]))
    found, drawn = (
        replace(of, pipeline=pipeline).explain(rows(60))
        for pipeline in (of.pipeline, sampled)
    )
    assert drawn.method == "Shapley values, sampled with 50 rows"
    values, others = (
        explained.contributions.drop(columns="base").melt()["value"]
        for explained in (found, drawn)
    )
    assert values.corr(others) > 0.9
    assert values.corr(others, method="spearman") > 0.85
    assert_adds_up("binary", drawn)


def test_what_own_features_make_is_a_column():
    """A user's transformer before the encoder: contributions are those of its
    columns.
    """
    of = model("lightgbm", "regression")
    own = FunctionTransformer(lambda frame: frame.rename(columns={"distance": "miles"}))
    table = own.transform(of.examples)
    features = build_features("onehot", table, ["miles", "carrier"]).fit(table)
    ridge = Ridge().fit(features.transform(table), np.arange(len(table)))
    steps = [("own_features", own), ("features", features), ("model", ridge)]
    found = replace(of, pipeline=Pipeline(steps)).explain(rows(5))
    assert_adds_up("regression", found)
    assert list(found.contributions.columns) == ["carrier", "miles", "base"]
    assert found.delivered["miles"].tolist() == rows(5)["distance"].tolist()


def test_a_row_is_explained_alike_alone():
    """The other rows do not change what is said of a row."""
    of, some = model("lightgbm+linear", "binary"), rows(6)
    whole, alone = of.explain(some), of.explain(some.iloc[[4]])
    pd.testing.assert_frame_equal(alone.contributions, whole.contributions.iloc[[4]])


def test_one_value_is_changed():
    """Predictions before and after; only the contributions of changed columns
    change.
    """
    of, row = model("linear", "regression"), rows(1)
    found = of.what_if(row, distance=9.0, day="2013-05-02 11:00")
    assert found.predicted.predictions["row_number"].tolist() == ["before", "after"]
    change = found.contributions.diff().loc["after"]
    assert change[change.abs() > 1e-9].index.tolist() == ["distance", "day"]
    assert change.sum() == pytest.approx(
        found.predicted.predictions["prediction"].diff()[1]
    )
    with pytest.raises(UnusableTable, match="not 1 and 'distence'"):
        of.what_if(row, distence=1)
    with pytest.raises(DataError, match="the schema rejects the row: distance"):
        of.what_if(row, distance=-1.0)


def test_an_explanation_is_shown_in_a_notebook():
    """A table of the first rows, and a chart in a frame of its own, with units and
    meanings; names are escaped.
    """
    found = model("lightgbm", "binary").explain(rows(30).assign(carrier="<i>"))
    words = "columns: {distance: {description: Way, unit: miles}}"
    found = replace(found, dictionary=dictionary_of(words))
    table, chart, text = found._repr_html_(), found.plot(2), repr(found)
    assert table.count("<tr") == len(text.splitlines()) - 1 == 11
    title = "contributions (TreeSHAP) to the log odds of late = no"
    assert text.startswith(f"30 rows; {title}\n")
    assert title in table
    bars = chart.option["series"][0]["marks"]
    total = found.contributions.iloc[2, :-1].sum()
    assert sum(bar["x"] for bar in bars) == pytest.approx(total, abs=1e-4)
    shown = " ".join(map(str, bars))
    assert shown.count(" miles: ") == 1
    assert "(Way, in miles)" in shown
    assert chart._repr_html_().startswith('<iframe sandbox="allow-scripts"')
    assert "<i>" not in table + chart._repr_html_()
