"""Why a row is predicted as it is: contributions of delivered columns add up, exactly
where they can.
"""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from math import comb
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
from experiment_pipeline.prediction.rows import Reading, Signature, example_rows
from experiment_pipeline.stages.search.averaging import averaged, learn_calibration
from experiment_pipeline.stages.search.features import build_features
from experiment_pipeline.stages.search.voting import TakenApart
from experiment_pipeline.statistics.importance import sampled_shapley
from experiment_pipeline.storage import persistence
from experiment_pipeline.table.dictionary import dictionary_of
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests import exported

TASKS = ("binary", "multiclass", "regression")
# Algorithms of a mean; how many members have sums.
SUMS = dict.fromkeys(
    ["lightgbm", "xgboost", "catboost", "random_forest", "extra_trees"], 1
)
SUMS |= {"linear": 1, "linear+sklearn.tree.DecisionTree{}": 1}
SUMS |= {"lightgbm+linear": 2, "linear+random_forest": 2, "dummy": 0}


def rows(n: int) -> pd.DataFrame:
    """Rows as delivered; those without a carrier are left out, which is a
    target, too.
    """
    return exported.delivered(200, seed=3).query("carrier != '?'").head(n)


@cache
def model(algorithm: str, task: str) -> Model:
    """An exported model; of `a+b` a mean."""
    files = exported.trained_package(algorithm, task).files
    signature = Signature.from_bytes(files["signature.json"], "here")
    return Model(
        "here",
        persistence.from_bytes(files["model.skops"]),
        Reading.from_bytes(files["preparation.yaml"], "here"),
        load_schema(files["schema.yaml"].decode()),
        signature,
        example_rows(files["input_example.json"], signature),
    )


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


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("algorithm", SUMS)
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


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("wrapped", ["seeds", "sigmoid", "sigmoid seeds"])
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
    ("asked", "scale", "method"),
    [
        ({"objective": "poisson"}, "logarithm of delay", "TreeSHAP"),
        (
            {"objective": "regression_l1", "reg_sqrt": True},
            "delay",
            "TreeSHAP, rescaled",
        ),
    ],
)
def test_the_logarithm_is_explained_where_a_model_adds_it_up(
    asked: dict[str, Any], scale: str, method: str
):
    """A booster of counts; one that adds up roots is explained by the value, of either
    sign.
    """
    of = model("lightgbm", "regression")
    cells = of.pipeline[0].transform(of.examples)
    delays = np.arange(len(cells)) - (len(cells) // 2) * ("reg_sqrt" in asked)
    within = LGBMRegressor(**asked, min_child_samples=2, verbosity=-1).fit(
        cells, delays
    )
    assert (within.predict(cells) < 0).any() == ("reg_sqrt" in asked)
    found = replace(of, pipeline=make_pipeline(of.pipeline[0], within)).explain(
        rows(12)
    )
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


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_rescaled_contributions_are_close_to_sampled_ones(task: str):
    """Of an ensemble, the two ways agree on which columns move which rows,
    and how far.
    """
    of = model("lightgbm+linear", task)
    sampled = deepcopy(of.pipeline)
    for one in sampled.estimators_:
        one.steps[-1] = ("model", Opaque(one[-1]))
    found, drawn = (
        replace(of, pipeline=one).explain(rows(60)) for one in (of.pipeline, sampled)
    )
    assert drawn.method == "Shapley values, sampled with 50 rows"
    values, others = (
        one.contributions.drop(columns="base").melt()["value"] for one in (found, drawn)
    )
    assert values.corr(others) > 0.9
    assert values.corr(others, method="spearman") > 0.85
    assert_adds_up(task, drawn)


def test_what_own_features_make_is_a_column():
    """A user's transformer before the encoder: contributions are those of its
    columns.
    """
    of = model("lightgbm", "regression")
    seen = list[int]()

    def renamed(frame: pd.DataFrame) -> pd.DataFrame:
        seen.append(len(frame))
        return frame.rename(columns={"distance": "miles"})

    own = FunctionTransformer(renamed)
    table = own.transform(of.examples)
    features = build_features("onehot", table, ["miles", "carrier"]).fit(table)
    ridge = Ridge().fit(features.transform(table), np.arange(len(table)))
    pipeline = Pipeline(
        [("own_features", own), ("features", features), ("model", ridge)]
    )
    seen.clear()
    found = replace(of, pipeline=pipeline).explain(rows(5))
    assert seen == [5, len(of.examples) - 1, 5]  # predicted, background, explained
    assert_adds_up("regression", found)
    assert list(found.contributions.columns) == ["carrier", "miles", "base"]
    assert found.delivered["miles"].tolist() == rows(5)["distance"].tolist()


def test_a_row_is_explained_alike_alone():
    """The other rows do not change what is said of a row."""
    of, some = model("lightgbm+linear", "binary"), rows(6)
    whole, alone = of.explain(some), of.explain(some.iloc[[4]])
    pd.testing.assert_frame_equal(alone.contributions, whole.contributions.iloc[[4]])


def test_sampled_values_are_close_to_those_of_all_subsets():
    """Of four groups of columns; what has no part in an interaction is met exactly."""
    rng = np.random.default_rng(1)
    some, background = rng.normal(size=(3, 5)), rng.normal(size=(40, 5))
    groups = [[0], [1, 4], [2], [3]]

    def predict(x: np.ndarray) -> np.ndarray:
        return (x[:, 0] * x[:, 1] + np.maximum(x[:, 2], x[:, 4]) + x[:, 3])[:, None]

    def value(row: np.ndarray, chosen: tuple[int, ...]) -> float:
        mixed, taken = (
            background.copy(),
            [c for number in chosen for c in groups[number]],
        )
        mixed[:, taken] = row[taken]
        return float(predict(mixed).mean())

    exact = np.zeros((3, 4))
    for i, g, k in product(range(3), range(4), range(4)):
        for others in combinations({0, 1, 2, 3} - {g}, k):
            gain = value(some[i], (*others, g)) - value(some[i], others)
            exact[i, g] += gain / (4 * comb(3, k))
    found = sampled_shapley(predict, some, background, groups, np.zeros(3, int))
    np.testing.assert_allclose(found, exact, atol=0.12)
    np.testing.assert_allclose(found[:, 3], exact[:, 3])
    np.testing.assert_allclose(found.sum(axis=1), exact.sum(axis=1))


@pytest.mark.parametrize("algorithm", ["lightgbm", "xgboost"])
def test_boosters_agree_with_shap(algorithm: str):
    """The package shap, path dependent, has the same values of what encodes a
    column.
    """
    shap = pytest.importorskip("shap")
    of, raw = model(algorithm, "regression"), rows(20)
    parts = TakenApart.of(of.pipeline)
    booster = parts.models[0][0]
    cells = parts.encode(of.signature.select(exported.prepared(raw)))
    order = np.arange(cells.shape[1])
    if algorithm == "xgboost":  # numbers first, then codes
        order = np.argsort(
            np.concatenate([at for _, _, at in booster[0].transformers_])
        )
        cells, booster = booster[0].transform(cells), booster[-1]
    each, found = (
        shap.TreeExplainer(booster).shap_values(cells)[:, order],
        of.explain(raw),
    )
    for name, made in {
        "distance": "distance",
        "carrier": "carrier",
        "day": "day_hour",
    }.items():
        expected = each[:, parts.columns[made]].sum(axis=1)
        np.testing.assert_allclose(
            found.contributions[name], expected, rtol=1e-4, atol=1e-4
        )


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
    """A table of the first rows, and a chart in a frame of its own; names are
    escaped.
    """
    found = model("lightgbm", "binary").explain(rows(30).assign(carrier="<i>"))
    table, chart, text = found._repr_html_(), found.plot(2), repr(found)
    assert table.count("<tr") == len(text.splitlines()) - 1 == 11
    assert text.startswith(
        "30 rows; contributions (TreeSHAP) to the log odds of late = no\n"
    )
    assert "(TreeSHAP) to the log odds of late = no" in table
    bars = [bar["x"] for bar in chart.option["series"][0]["marks"]]
    assert sum(bars) == pytest.approx(found.contributions.iloc[2, :-1].sum(), abs=1e-4)
    assert repr(chart) == f"{chart.title}: {chart.alt}"
    assert chart._repr_html_().startswith('<iframe sandbox="allow-scripts"')
    assert "<i>" not in table + chart._repr_html_()


def test_a_chart_of_contributions_says_units_and_meanings():
    """Beside the value and beside the bar, where the dictionary knows them."""
    words = "columns: {distance: {description: Way, unit: miles}}"
    explained = model("linear", "binary").explain(rows(1))
    told = replace(explained, dictionary=dictionary_of(words))
    marks = [chart.plot().option["series"][0]["marks"] for chart in (explained, told)]
    texts = [" ".join(str(mark) for mark in bars) for bars in marks]
    assert [text.count(" miles: ") for text in texts] == [0, 1]
    assert "(Way, in miles)" in texts[1]
