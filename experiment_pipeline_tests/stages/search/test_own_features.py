"""A user's own transformer: on which rows it is fitted, where it stands, and how it
fails.
"""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from upath import UPath

from experiment_pipeline.errors import TrainingError
from experiment_pipeline.prediction.files import load_model
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.exported_model.export import publish
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.dask_engine import shared_by
from experiment_pipeline.stages.search.encoding import as_read, through_own
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.fitting import share_work
from experiment_pipeline.stages.search.training_sets import as_evaluated
from experiment_pipeline.stages.validation_report.effects import usage
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline_tests import scenario as clinic
from experiment_pipeline_tests.experiment.test_flow import run_clinic
from experiment_pipeline_tests.stages.search.scenario import (
    experiment,
    one,
    sets_of,
    table,
    train,
)

FOLDS = {"cross_validation": {"folds": 3, "repeats": 1}}
SEEN: list[pd.Index] = []
# Of rows, and of the mean target of each carrier among those of the fit; or what is
# wrong with it.
MAKES = {
    "a column": lambda X, _: X,
    "means": lambda X, means: X[[]].assign(
        mean=X["carrier"].map(means).astype("float64")
    ),
    "510 rows became a DataFrame of (509, 5)": lambda X, _: X.iloc[1:],
    "its column names are not distinct texts": lambda X, _: X.rename(
        columns={"spread": 1}
    ),
    "every value is missing in 'spread'": lambda X, _: X.assign(spread=np.nan),
    "it returns 'late', a column that is": lambda X, _: X.rename(
        columns={"spread": "late"}
    ),
    "ZeroDivisionError on 510 rows: division by zero": lambda X, _: X.assign(
        spread=1 / 0
    ),
    "50 rows by themselves get other values": lambda X, _: X.assign(
        spread=X["distance"].rank()
    ),
    "ValueError on 1 rows: substring not found": lambda X, _: X.assign(
        n=[" ABC".index(carrier[:1]) for carrier in X["carrier"].fillna("")]
    ),
}
RATIOS = """
from sklearn.base import BaseEstimator, TransformerMixin
class Ratios(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.mean_ = float(X["weight"].mean())
        return self
    def transform(self, X):
        return X.assign(ratio=X["weight"] / self.mean_).drop(columns="weight")
"""


class Spread(TransformerMixin, BaseEstimator):
    """Notes the rows that it is fitted on, and adds their distance from the mean, times
    a draw.
    """

    def __init__(self, makes, random_state=None):
        self.makes, self.random_state = makes, random_state

    def fit(self, X, y):
        SEEN.append(X.index)
        self.mean_ = X["distance"].mean()
        self.draw_ = np.random.default_rng(self.random_state).normal()
        self.means_ = (y == "yes").groupby(X["carrier"]).mean().to_dict()
        return self

    def transform(self, X):
        X["spread"] = (X["distance"] - self.mean_) * self.draw_
        return MAKES[self.makes](X, self.means_)


def own(makes: str = "a column", **keys: Any) -> ExperimentSpec:
    """An experiment with the transformer of this module."""
    features = {"transformer": f"{__name__}:Spread", "arguments": {"makes": makes}}
    return experiment(
        [one("linear"), one("lightgbm", n_estimators=20)], features=features, **keys
    )


def test_it_is_fitted_on_the_rows_of_the_fit_mask_once_for_all():
    """Of all rows, a rung or a fold it sees no early-stopping row and no test row; at a
    refit all.
    """
    spec, folded = own(), sets_of(own(evaluation=FOLDS))
    whole = sets_of(spec)
    rung = whole.part(
        np.arange(len(whole.train)) < 200, np.ones(len(whole.test), dtype=bool), {}
    )
    SEEN.clear()
    for sets in (whole, rung, folded):
        assert sets.early_stopping.any() != bool(sets.folds)
        share_work(configurations(spec), sets, spec)
    parts = [whole, rung, folded, *(fold.sets for fold in folded.folds)]
    assert [list(part) for part in SEEN] == [
        list(part.train.index[part.fit_mask]) for part in parts
    ]
    through_own(whole.every_row, np.ones(len(whole.every_row), dtype=bool), whole)
    assert SEEN[-1].equals(whole.every_row.index)


def test_encoders_read_its_columns_in_the_order_of_the_rows():
    """Beside target and delivered columns; the seed of the experiment decides what it
    draws.
    """
    sets = sets_of(own())
    read, _ = as_read(sets)
    assert read.features == (*sets.features, "spread")
    mean, draw = (
        sets.train[sets.fit_mask]["distance"].mean(),
        np.random.default_rng(0).normal(),
    )
    for before, after in ((sets.train, read.train), (sets.test, read.test)):
        pd.testing.assert_frame_equal(after[before.columns], before)
        np.testing.assert_allclose(
            after["spread"], (before["distance"] - mean) * draw, rtol=1e-12
        )


def test_a_leaking_transformer_gets_an_honest_score():
    """Mean targets of codes that mean nothing: far too good on rows of the fit, chance
    on the folds'.
    """
    codes = np.random.default_rng(1).integers(0, 400, 800).astype(str)
    frame = table(("no", "yes")).assign(carrier=pd.Series(codes, dtype="str"))
    spec = own("means", evaluation=FOLDS)
    for trained in train(spec, sets_of(spec, frame)).values():
        assert trained.result.train_score > 0.8
        assert abs(trained.result.test_score - 0.5) < 0.08


@pytest.mark.parametrize("problem", [*MAKES][2:])
def test_what_it_does_wrong_is_named(problem: str):
    """The error names the import path, and what was wrong."""
    with pytest.raises(TrainingError) as caught:
        as_read(sets_of(own(problem)))
    assert caught.value.culprit == f"features {__name__}:Spread"
    assert problem in caught.value.rule


def test_a_cluster_fits_on_the_same_columns():
    """Its workers read them, and the types to trust, and need no module of the user."""
    spec = own()
    sets, (_, configuration) = sets_of(spec), configurations(spec)
    work, _ = pickle.loads(shared_by([configuration], sets, spec))
    local = share_work([configuration], sets, spec)
    np.testing.assert_array_equal(
        work.train["ordinal"].table, local.train["ordinal"].table
    )
    assert work.trusted_types == local.trusted_types == (f"{__name__}.Spread",)


@pytest.mark.slow
def test_the_exported_model_reads_rows_as_delivered(tmp_path, monkeypatch):
    """Importance is by delivered column; an edited module is another model."""
    module = tmp_path / "shop_of_a_user.py"
    module.write_text(RATIOS)
    monkeypatch.syspath_prepend(tmp_path)
    search = [one("linear"), one("dummy")]
    run = run_clinic("regression", search=search, features="shop_of_a_user:Ratios")
    assert run.package is not None
    assert run.sets is not None
    publish(Registry(UPath(tmp_path / "own"), "clinic"), run.package)
    (folder,) = (tmp_path / "own").glob("**/v0001")
    model = load_model(str(folder), ["shop_of_a_user.Ratios"])
    rows = clinic.sound_table()
    predictions = model.predict(rows).predictions["prediction"]
    assert np.corrcoef(predictions, rows["cost"])[0, 1] > 0.5
    sets = as_evaluated(run.sets.train, run.sets.test, run.spec)
    used = usage(
        run.spec, run.model, sets, 0.5, seconds=60, seconds_per_row=1e-6, workers=2
    )
    assert used is not None
    columns = {feature.feature for feature in used.importance}
    assert columns == {*sets.features, "weight"}
    module.write_text(f"{RATIOS}# edited\n")
    edited = as_evaluated(run.sets.train, run.sets.test, run.spec)
    config = configurations(run.spec)[-1]
    before = fingerprint(config, sets, run.spec)
    assert fingerprint(config, edited, run.spec) != before
