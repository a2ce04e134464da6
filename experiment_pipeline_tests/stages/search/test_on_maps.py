"""A search whose tables lie on maps and are encoded in slices: the same one, bit by bit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search import encoding, fitting, shared_work
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.fitting import fitted_pipeline
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.storage import mapped
from experiment_pipeline.storage.persistence import to_bytes
from experiment_pipeline_tests import scenario as clinic
from experiment_pipeline_tests.stages.search import halving_scenario
from experiment_pipeline_tests.stages.search.halving_scenario import TEST, Memory
from experiment_pipeline_tests.stages.search.scenario import (
    experiment,
    one,
    refit,
    train_one,
    training_sets,
)

ROWS = 1_600
ENCODERS = ["ordinal", "onehot", "target", "text"]
SEARCH = [
    one("lightgbm", n_estimators=5) | {"features": ENCODERS},
    one("lightgbm", n_estimators=5, is_unbalance=True) | {"features": "target"},
    one("linear") | {"features": ["onehot", "text"]},
    one("random_forest", n_estimators=3) | {"features": "target"},
    one("dummy"),
]
WAYS: dict[str, dict[str, Any]] = {
    "halving": {"halving": {"fractions": [0.5, 1.0], "keep": 0.5, "fewest_rows": 400}},
    "folds": {"evaluation": {"cross_validation": {"folds": 2, "repeats": 1}}},
}


def _sets(spec: ExperimentSpec, given: Callable[[pd.DataFrame], pd.DataFrame]) -> TrainingSets:
    # A text of many kinds, some missing, beside one of few.
    town = [None if row % 11 == 0 else f"town {row * 7919 % 150}" for row in range(ROWS)]
    frame = halving_scenario.rows(ROWS)
    frame = frame.assign(town=pd.Series(town, dtype="str", index=frame.index))
    sets = clinic.stored(frame.iloc[:-TEST], frame.iloc[-TEST:], spec)
    train, test = (replace(sets[name], rows=given(sets[name].rows)) for name in ("train", "test"))
    return as_evaluated(train, test, spec)


def _searched(
    spec: ExperimentSpec, given: Callable[[pd.DataFrame], pd.DataFrame]
) -> tuple[dict[str, Any], Memory]:
    """All that is known of a search, its models, and of models that are fitted once more."""
    sets, memory = _sets(spec, given), Memory()
    ran = halving_scenario.run(spec, sets, memory)
    again = dict[str, bytes]()
    for each in configurations(spec):
        if ran.conclusions[each.key].status != "trained":
            continue
        result = ran.conclusions[each.key].result
        fitted = fitted_pipeline(result, memory.models[result.fingerprint].model, sets, spec)
        whole = refit(each, result.rounds, sets.every_row, sets, spec)
        again[each.key] = to_bytes(fitted) + to_bytes(whole)
    models = {
        name: (one.model, one.result.test_scores, one.result.train_score)
        for name, one in memory.models.items()
    }
    found = {"answer": ran.answer, "counts": ran.counts, "models": models, "again": again}
    return found, memory


def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "HELD_BYTES", 300)
    # Not of `boosting`: it is also how many rows bins are made of.
    monkeypatch.setattr(encoding, "HELD_ROWS", 100)
    monkeypatch.setattr(fitting, "HELD_ROWS", 100)
    monkeypatch.setattr(shared_work, "HELD_ROWS", 100)
    monkeypatch.setattr(shared_work, "ROWS_OF_A_SLICE", 64)


@pytest.mark.parametrize("way", WAYS)
def test_a_search_on_maps_is_the_same_one(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores, choice, fingerprints, models, calibrated ones too, predictions and refits."""
    searched = SEARCH if way == "halving" else [*SEARCH[1::2], one("linear")]
    spec = halving_scenario.experiment(searched=searched, **({"halving": False} | WAYS[way]))
    held, in_memory = _searched(spec, lambda frame: frame)
    assert "failed" not in held["counts"], held["answer"]
    _few_are_many(monkeypatch)
    found, on_maps = _searched(spec, mapped.on_map)
    assert found == held
    for name, model in in_memory.models.items():
        # BLAS adds up a table that lies row by row, as slices do, in another order.
        close = 1e-14 if model.result.algorithm == "linear" else 0.0
        for rows in ("test", "train"):
            wanted = getattr(model.predictions, rows)
            given = getattr(on_maps.models[name].predictions, rows)
            np.testing.assert_allclose(given, wanted, rtol=0.0, atol=close)


@pytest.mark.parametrize("library", ["catboost", "xgboost"])
def test_boosters_read_a_locked_map(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written to is read as what can: the same model and predictions."""
    pytest.importorskip(library)
    spec, sets = experiment([one(library, n_estimators=5)]), training_sets()
    held = train_one(spec, sets)
    _few_are_many(monkeypatch)
    table = encoding.encode(held.result.features, sets, sets.y_train)[0].table
    assert not table.flags.writeable
    assert not table.flags.owndata
    found = train_one(spec, sets)
    assert found.model == held.model
    assert np.array_equal(found.predictions.test, held.predictions.test)
