"""Fingerprints: everything that decides a model, and nothing else."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.fingerprints import (
    fingerprint,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests.stages.search.scenario import (
    experiment,
    lightgbm,
    one,
    sets_of,
    training_sets,
)

SPEC = experiment([one("lightgbm")])
SETS = training_sets()
OTHER_TEST = replace(SETS, digests=SETS.digests | {"test": "other"})
BASE = lightgbm(num_leaves=5, learning_rate=0.1)


def test_neither_key_nor_order_nor_surroundings_count():
    """Another key, order, name or number of workers and a wider search reuse what is
    stored.
    """
    renamed = Configuration(
        "other", "lightgbm", "ordinal", {"learning_rate": 0.1, "num_leaves": 5}
    )
    assert fingerprint(renamed, SETS, SPEC) == fingerprint(BASE, SETS, SPEC)
    wider = experiment([one("lightgbm"), one("dummy")], workers=3, name="other")
    assert fingerprint(BASE, SETS, wider) == fingerprint(BASE, SETS, SPEC)


@pytest.mark.parametrize(
    "sets",
    [
        replace(SETS, digests={"train": "other", "test": "digest of test"}),
        OTHER_TEST,
        replace(SETS, early_stopping=np.roll(SETS.early_stopping, 1)),
        replace(SETS, features=SETS.features[1:]),
        replace(SETS, features=SETS.features[::-1]),
        replace(SETS, classes=("yes", "no")),
    ],
)
def test_other_rows_columns_or_classes_are_another_model(sets: TrainingSets):
    """Everything that a fit reads of the sets counts."""
    assert fingerprint(BASE, sets, SPEC) != fingerprint(BASE, SETS, SPEC)


def test_another_configuration_seed_or_stop_is_another_model():
    """Algorithm, encoder, every hyperparameter, the seed, and the metric that a fit
    stops by.
    """
    changed = [
        replace(BASE, algorithm="random_forest"),
        replace(BASE, features="onehot"),
    ]
    changed += [lightgbm(num_leaves=6, learning_rate=0.1), lightgbm(num_leaves=5)]
    specs = [
        experiment([one("lightgbm")], **settings)
        for settings in ({"seed": 1}, {"metric": "brier"})
    ]
    prints = {
        fingerprint(configuration, SETS, SPEC) for configuration in (BASE, *changed)
    }
    assert len(prints | {fingerprint(BASE, SETS, spec) for spec in specs}) == 7
    regression = training_sets("regression")
    by_metric = set[str]()
    for metric in ("rmse", "mae"):  # the baseline predicts what suits the metric
        spec = experiment([one("dummy")], "regression", metric=metric)
        by_metric.add(fingerprint(configurations(spec)[0], regression, spec))
    assert len(by_metric) == 2


def test_seeds_calibrator_and_folds_are_other_models():
    """What is unset or off is what it was, also for the baseline."""

    def prints(algorithm: str, weights: str | None = None, **keys: Any) -> str:
        hyperparameters = {"class_weight": weights} if weights else {}
        spec = experiment([one(algorithm, **hyperparameters)], **keys)
        return fingerprint(configurations(spec)[0], sets_of(spec), spec)

    unset = prints("linear")
    assert prints("linear", calibrate="off") == unset
    folds = {"cross_validation": {"folds": 4, "repeats": 2}}
    changes: list[dict[str, Any]] = [
        {"calibrate": "sigmoid"},
        {"seeds": 2},
        {"seeds": 3},
        {"evaluation": "cross_validation"},
        {"evaluation": folds},
    ]
    assert len({unset, *(prints("linear", **keys) for keys in changes)}) == 6
    reweighted = prints("linear", "balanced")
    assert reweighted == prints("linear", "balanced", calibrate="sigmoid")
    assert reweighted != prints("linear", "balanced", calibrate="off")
    assert prints("dummy", seeds=3, calibrate="sigmoid") == prints("dummy")


def test_the_source_of_an_own_estimator_counts(tmp_path, monkeypatch):
    """The fingerprint is another one when the estimator's module, or what that imports,
    is edited.
    """
    estimator = Configuration("key", "my_models.Model", "onehot", {"b": 1, "a": "x"})
    module = tmp_path / "my_models.py"
    (imported := tmp_path / "my_losses.py").write_text("LOSS = 1")
    module.write_text("import my_losses\nclass Model: pass")
    monkeypatch.syspath_prepend(tmp_path)
    first = fingerprint(estimator, SETS, SPEC)
    imported.write_text("LOSS = 2")
    assert fingerprint(estimator, SETS, SPEC) != first
