"""Fingerprints: everything that decides a model, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.fingerprints import (
    encoder_fingerprint,
    fingerprint,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests.stages.search.scenario import (
    experiment,
    lightgbm,
    one,
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


GATE = [{"metric": "accuracy", "at_least": 0.6}]


@pytest.mark.parametrize(
    "configuration",
    [
        lightgbm(early_stopping_round=0),
        Configuration("key", "linear", "onehot", {"C": 0.1}),
        Configuration("key", "random_forest", "ordinal", {}),
    ],
)
@pytest.mark.parametrize("changes", [{"metric": "brier"}, {"acceptance": GATE}])
def test_no_metric_counts_that_does_not_stop_a_fit(
    configuration: Configuration, changes: dict
):
    """Scores follow from stored predictions: what is trained is trained."""
    spec = experiment([one("lightgbm")], **changes)
    assert fingerprint(configuration, SETS, spec) == fingerprint(
        configuration, SETS, SPEC
    )


def test_a_metric_that_stops_in_the_same_way_does_not_count():
    """A gate leaves early stopping as it is; log_loss and accuracy both watch
    the loss.
    """
    gate = experiment([one("lightgbm")], acceptance=GATE)
    assert fingerprint(BASE, SETS, gate) == fingerprint(BASE, SETS, SPEC)
    loss, accuracy = (
        experiment([one("lightgbm")], metric=m) for m in ("log_loss", "accuracy")
    )
    assert fingerprint(BASE, SETS, loss) == fingerprint(BASE, SETS, accuracy)


def test_a_encoder_counts_train_rows_and_columns_alone():
    """Features are fitted on train: other test rows leave them as they are."""
    encoder = encoder_fingerprint("ordinal", SETS)
    assert encoder == encoder_fingerprint("ordinal", OTHER_TEST)
    assert encoder != encoder_fingerprint("onehot", SETS)
    fewer = replace(SETS, features=SETS.features[1:])
    assert encoder != encoder_fingerprint("ordinal", fewer)


def own_print() -> str:
    """The fingerprint of an estimator of one's own."""
    estimator = Configuration("key", "my_models.Model", "onehot", {"b": 1, "a": "x"})
    return fingerprint(estimator, SETS, SPEC)


def test_the_source_of_an_own_estimator_counts(tmp_path, monkeypatch):
    """The fingerprint is another one when the estimator's module, or what that imports,
    is edited.
    """
    module = tmp_path / "my_models.py"
    (imported := tmp_path / "my_losses.py").write_text("LOSS = 1")
    module.write_text("import my_losses\nclass Model: pass")
    monkeypatch.syspath_prepend(tmp_path)
    first = own_print()
    imported.write_text("LOSS = 2")
    assert own_print() != first


def test_the_metric_counts_for_a_dummy_of_numbers():
    """It predicts what suits the metric: the mean for rmse, the median for mae."""
    sets, prints = training_sets("regression"), []
    for metric in ("rmse", "mae"):
        spec = experiment([one("dummy")], "regression", metric=metric)
        prints.append(fingerprint(configurations(spec)[0], sets, spec))
    assert prints[0] != prints[1]
