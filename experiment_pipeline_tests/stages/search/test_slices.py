"""Rows that are encoded slice by slice, or lie on maps: the same features, bins, models
and search.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from experiment_pipeline.spec import ExperimentSpec, Features
from experiment_pipeline.stages.search import encoding, fitting, shared_work
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.encoding import fit_features, fit_rows
from experiment_pipeline.stages.search.features import text_pipeline
from experiment_pipeline.stages.search.fitting import share_work
from experiment_pipeline.stages.search.learners import learner_of, lightgbm_learner
from experiment_pipeline.stages.search.learners.learner import FitRequest
from experiment_pipeline.stages.search.learners.lightgbm_learner import (
    Bins,
    InTurn,
    bin_rows,
    boost,
    boosting_plan,
)
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.shared_work import EncodedRows, SlicedTable
from experiment_pipeline.stages.search.training_sets import as_evaluated
from experiment_pipeline.storage.persistence import to_bytes
from experiment_pipeline.table import table as large
from experiment_pipeline_tests import scenario as clinic
from experiment_pipeline_tests.stages.search import halving_scenario
from experiment_pipeline_tests.stages.search.halving_scenario import TEST, Memory
from experiment_pipeline_tests.stages.search.scenario import (
    assembled,
    experiment,
    lightgbm,
    one,
    refit,
    train,
    training_sets,
)
from experiment_pipeline_tests.stages.search.test_many_texts import with_texts

SIZE = 90


@pytest.mark.parametrize(
    ("encoder", "task"),
    [("ordinal", "binary"), ("target", "multiclass"), ("text", "regression")],
)
def test_slices_hold_the_same_numbers(encoder: Features, task: str, monkeypatch):
    """Features that are fitted column by column are the same bytes, and encode the same
    rows.
    """
    sets = with_texts(task)
    features, table = fit_rows(encoder, sets.train, sets.fit_mask, sets)
    test = encoding.transformed(features, sets.test)
    monkeypatch.setattr(encoding, "HELD_ROWS", 100)
    monkeypatch.setattr(shared_work, "ROWS_OF_A_SLICE", SIZE)
    again, sliced = fit_rows(encoder, sets.train, sets.fit_mask, sets, in_memory=False)
    assert isinstance(sliced, SlicedTable)
    assert to_bytes(again) == to_bytes(features)
    assert to_bytes(fit_features(encoder, sets.train, sets.fit_mask, sets)) == to_bytes(
        features
    )
    assert np.array_equal(sliced[:], table, equal_nan=True)
    encoded, encoded_test = encoding.encode(encoder, sets, sets.y_train)
    assert np.array_equal(encoded.table, table, equal_nan=True)
    assert np.array_equal(encoded_test, test, equal_nan=True)


def _rows(sets: Any, *, sliced: bool) -> EncodedRows:
    table = sets.train[["distance", "delay", "night"]].to_numpy(dtype=np.float64)
    weights = np.linspace(0.5, 1.5, len(table))
    rows = (
        SlicedTable.of(lambda positions: table[positions], len(table))
        if sliced
        else table
    )
    return EncodedRows(rows, sets.y_train, [2], weights)


def _text(binned: Bins, plan: Any) -> str:
    return boost(
        binned, plan, _rows(training_sets(), sliced=False), "binary"
    ).model_to_string()


def _bytes(binned: Bins, folder: Path) -> list[bytes]:
    contents = []
    for dataset in binned:
        if dataset is not None:
            file = folder / f"{len(list(folder.iterdir()))}.bin"
            dataset.save_binary(file)
            contents.append(file.read_bytes())
    return contents


@pytest.mark.parametrize(
    "hyperparameters", [{"bin_construct_sample_cnt": 200}, {"linear_tree": True}]
)
def test_bins_of_slices_are_those_of_an_array(hyperparameters, tmp_path, monkeypatch):
    """The same Dataset and the same model, with all rows looked at or with some of
    them.
    """
    sets = training_sets()
    configuration = lightgbm(n_estimators=20, min_child_samples=5, **hyperparameters)
    request = FitRequest(configuration, sets, experiment([one("lightgbm")]))
    plan = boosting_plan(request)
    at_once = bin_rows(_rows(sets, sliced=False), plan, sets)
    monkeypatch.setattr(shared_work, "ROWS_OF_A_SLICE", SIZE)
    monkeypatch.setattr(InTurn, "batch_size", SIZE)
    sliced = bin_rows(_rows(sets, sliced=True), plan, sets)
    assert _bytes(sliced, tmp_path) == _bytes(at_once, tmp_path)
    assert _text(sliced, plan) == _text(at_once, plan)


def test_who_reads_all_rows_is_given_them(monkeypatch):
    """A table is held for whom it is needed, of that encoder alone; the baseline needs
    none.
    """
    monkeypatch.setattr(encoding, "HELD_ROWS", 100)
    search = [
        one("lightgbm", n_estimators=5) | {"features": ["ordinal", "target"]},
        one("random_forest", n_estimators=5) | {"features": "target"},
        one("dummy") | {"features": "ordinal"},
    ]
    spec, sets = experiment(search), with_texts()
    shared = share_work(configurations(spec), sets, spec)
    assert isinstance(shared.train["ordinal"].table, SlicedTable)
    assert isinstance(shared.train["target"].table, np.ndarray)
    for outcome in train(spec, sets).values():
        assert isinstance(outcome, TrainedModel), outcome


@settings(max_examples=15)
@given(
    texts=st.lists(st.sampled_from([*"abcdefghij", None]), min_size=1, max_size=80),
    most=st.integers(2, 6),
)
def test_an_encoder_learns_the_same_of_few_rows_that_stand_for_many(texts, most):
    """Categories, and which of them are rare, to the byte."""
    rows = pd.DataFrame({"port": pd.Series(texts, dtype="str")})
    part = text_pipeline("ordinal").set_params(ordinalencoder__max_categories=most)
    few = encoding._frozen(part, rows, "port").estimator
    assert to_bytes(few) == to_bytes(clone(part).fit(rows["port"]))


def test_a_refit_of_many_rows_looks_at_columns_and_grows_the_same_trees(monkeypatch):
    """All but the parameter is the same in the text, as of a fit that looks at rows."""
    sets = training_sets()
    request = FitRequest(
        lightgbm(num_leaves=8, max_bin=63), sets, experiment([one("lightgbm")])
    )
    texts = []
    for most in (1_000, 100):
        monkeypatch.setattr(lightgbm_learner, "_BY_ROWS", most)
        refitted = learner_of("lightgbm").refit(request, 20, _rows(sets, sliced=True))
        texts.append(refitted.booster_.model_to_string())
    by_rows, by_columns = texts
    assert "[force_row_wise: 1]" in by_rows
    for name, before in (("force_col_wise", 0), ("force_row_wise", 1)):
        by_rows = by_rows.replace(f"[{name}: {before}]", f"[{name}: {1 - before}]")
    assert by_columns == by_rows


def test_fits_of_the_same_rows_share_their_bins(monkeypatch):
    """Refitted one after the other, they are binned once for each way to bin; the same
    bytes.
    """
    spec, sets = experiment([one("lightgbm")]), training_sets()
    learner, binned = learner_of("lightgbm"), []
    requests = [
        FitRequest(lightgbm(**hyperparameters), sets, spec)
        for hyperparameters in ({"max_bin": 63}, {"max_bin": 63, "num_leaves": 8}, {})
    ]
    alone = [
        to_bytes(learner.refit(request, 5, _rows(sets, sliced=True)))
        for request in requests
    ]
    monkeypatch.setattr(
        lightgbm_learner,
        "bin_rows",
        lambda *arguments: binned.append(1) or bin_rows(*arguments),
    )
    rows = _rows(sets, sliced=True)
    assert [to_bytes(learner.refit(request, 5, rows)) for request in requests] == alone
    assert len(binned) == 2


def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "HELD_BYTES", 300)
    # Not of `boosting`: it is also how many rows bins are made of.
    for module in (encoding, fitting, shared_work):
        monkeypatch.setattr(module, "HELD_ROWS", 100)
    monkeypatch.setattr(shared_work, "ROWS_OF_A_SLICE", 150)


def _searched(
    spec: ExperimentSpec, place: Callable[[pd.DataFrame], pd.DataFrame]
) -> tuple[dict[str, Any], Memory]:
    """All that is known of a search, its models, and of models that are fitted once
    more.
    """
    count = 1_200
    frame = halving_scenario.rows(count)
    # A text of many kinds, some missing, beside one of few.
    town = [
        None if row % 11 == 0 else f"town {row * 7919 % 150}" for row in range(count)
    ]
    frame = frame.assign(town=pd.Series(town, dtype="str", index=frame.index))
    stored = clinic.stored(frame.iloc[:-TEST], frame.iloc[-TEST:], spec)
    train, test = (
        replace(stored[name], rows=place(stored[name].rows))
        for name in ("train", "test")
    )
    sets, memory = as_evaluated(train, test, spec), Memory()
    ran = halving_scenario.run(spec, sets, memory)
    facts: dict[str, Any] = {"answer": ran.answer}
    for configuration in configurations(spec):
        model = memory.models[ran.conclusions[configuration.key].result.fingerprint]
        result = model.result
        whole = refit(configuration, result.rounds, sets.every_row, sets, spec)
        facts[configuration.key] = (
            model.model,
            result.test_scores,
            result.train_score,
            to_bytes(assembled(model, sets, spec)),
            to_bytes(whole),
        )
    return facts, memory


def test_a_search_on_maps_is_the_same_one(monkeypatch):
    """Scores, fingerprints, models of folds, a calibrated one too, predictions and
    refits.
    """
    searched = [
        one("lightgbm", n_estimators=5) | {"features": ["ordinal", "text"]},
        one("lightgbm", n_estimators=5, is_unbalance=True) | {"features": "target"},
        one("linear"),
        one("dummy"),
        *([one("catboost", n_estimators=5)] if find_spec("catboost") else ()),
    ]
    folds = {"cross_validation": {"folds": 2, "repeats": 1}}
    spec = halving_scenario.experiment(
        searched=searched, halving=False, evaluation=folds
    )
    expected, in_memory = _searched(spec, lambda frame: frame)
    _few_are_many(monkeypatch)
    facts, on_maps = _searched(spec, large.on_map)
    assert facts == expected
    for name, model in in_memory.models.items():
        # BLAS adds up a table that lies row by row, as slices do, in another order.
        close = 1e-14 if model.result.algorithm == "linear" else 0.0
        on_map = on_maps.models[name].predictions.test
        np.testing.assert_allclose(on_map, model.predictions.test, rtol=0.0, atol=close)
