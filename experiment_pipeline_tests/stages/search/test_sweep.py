"""The sweep: the same answer however it is run; neither a failure nor the machine
spoils another fit.
"""

import gc
import math
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.spec import algorithms
from experiment_pipeline.stages.search import features as encoders
from experiment_pipeline.stages.search.configurations import (
    configurations,
)
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.results import FailedConfiguration, TrainedModel
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.statistics import metrics, scores
from experiment_pipeline.storage import persistence
from experiment_pipeline_tests.stages.search import own_estimators
from experiment_pipeline_tests.stages.search.scenario import (
    OWN,
    assembled,
    experiment,
    lightgbm,
    one,
    predicted,
    refit,
    train,
    train_one,
    training_sets,
)

FEW = {"n_estimators": 10}
FOREST = {**FEW, "min_samples_leaf": 10}
_SETTINGS = {  # quick, and better than the baseline
    **dict.fromkeys(("lightgbm", "catboost", "xgboost"), FEW),
    **dict.fromkeys(("random_forest", "extra_trees"), FOREST),
}
ALGORITHMS = [
    one(name, **_SETTINGS.get(name, {}))
    for name, algorithm in algorithms.ALGORITHMS.items()
    if all(map(find_spec, algorithm.libraries))
]


def essence(outcomes: dict) -> dict:
    """What of each outcome must not depend on how the sweep was run."""
    return {
        key: (
            m.model,
            m.predictions.test.tobytes(),
            m.result.test_score,
            m.result.train_score,
        )
        for key, m in outcomes.items()
    }


def test_a_class_that_test_lacks_keeps_its_column():
    """Predictions have the columns of all classes; a class that train lacks no model
    can predict.
    """
    sets = training_sets("multiclass")
    without_a = sets.test[sets.test["late"] != "a"]
    spec = experiment([one("lightgbm")], "multiclass")
    trained = train_one(spec, replace(sets, test=without_a))
    assert trained.predictions.test.shape == (len(without_a), 3)
    assert np.isfinite(trained.result.test_score)
    strange = replace(sets, test=sets.test.assign(late="never seen"))
    with pytest.raises(UnusableTable, match="never seen"):
        train(spec, strange)


def test_a_failure_is_reported_and_spoils_no_other_fit():
    """A failed configuration comes with type, message and traceback; the others are
    trained.
    """
    bad = {
        f"{OWN}.Raises": ("ZeroDivisionError", "bad smell"),
        f"{OWN}.Writes": ("ValueError", "read-only"),
        f"{OWN}.NotFinite": (
            "TrainingError",
            "predictions on test rows are not finite",
        ),
        f"{OWN}.Forgets": ("TrainingError", "after it was stored and loaded"),
        f"{OWN}.NotStorable": ("InvalidModel", "cannot be stored without pickle"),
        "no_such_package.Model": ("UnknownAlgorithm", "no module no_such_package"),
    }
    good = [one("lightgbm", n_estimators=20), one("linear")]
    spec, sets = experiment([*map(one, bad), *good]), training_sets()
    outcomes = train(spec, sets)
    for configuration in configurations(spec)[: len(bad)]:
        failed = outcomes.pop(configuration.key)
        assert isinstance(failed, FailedConfiguration)
        error_type, reason = bad[configuration.algorithm]
        assert failed.error_type == error_type
        assert reason in failed.reason
        assert "Traceback" in failed.traceback
        assert failed.fingerprint == fingerprint(configuration, sets, spec)
    assert essence(outcomes) == essence(train(experiment(good), sets))


def test_a_fit_that_writes_into_a_sparse_table_fails_alone(monkeypatch):
    """The table is read-only, as a dense one is: the other fits read what was encoded."""
    monkeypatch.setattr(encoders, "MAX_DENSE_BYTES", 100)
    linear, sets = one("linear"), training_sets()
    spec = experiment([one(f"{OWN}.Writes"), linear])
    outcomes = train(spec, sets)
    failed = outcomes.pop(configurations(spec)[0].key)
    assert isinstance(failed, FailedConfiguration)
    assert "read-only" in failed.reason
    assert essence(outcomes) == essence(train(experiment([linear]), sets))


def test_closing_cancels_what_waits():
    """Once the reader stops, the running fit ends and no other one starts."""
    own_estimators.STARTED.clear()
    strengths = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    spec = experiment([one(f"{OWN}.Plain", strength=strengths, pause=0.2)])
    running = train_configurations(configurations(spec), training_sets(), spec, 1)
    with closing(running):
        assert isinstance(next(running), TrainedModel)
    assert len(own_estimators.STARTED) <= 2


def test_an_exit_ends_the_sweep():
    """What is no Exception, such as an interruption, is not turned into a result."""
    spec = experiment([one(f"{OWN}.Exits"), one("linear")])
    with pytest.raises(SystemExit):
        train(spec, training_sets())


STRENGTHS = [0.1, 1.0, 10.0, 100.0]


@pytest.fixture
def restless() -> Iterator[None]:
    """Garbage is collected all the time, and threads take turns as often as
    they can.
    """
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(10)
    sys.setswitchinterval(1e-5)
    yield
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


def test_fits_may_parse_at_once(restless: None):
    """CPython before 3.11.8 fails to parse in several threads; no fit meets that."""
    spec = experiment([one(f"{OWN}.Parses", strength=STRENGTHS)])
    outcomes = train(spec, training_sets(), workers=4).values()
    assert [
        outcome for outcome in outcomes if isinstance(outcome, FailedConfiguration)
    ] == []
    assert [note for outcome in outcomes for note in outcome.result.notes] == []


def test_a_fault_of_the_machine_gets_a_second_attempt():
    """The configuration is trained as if nothing had been, and its result tells."""
    disturbed, undisturbed = (
        train_one(experiment([one(f"{OWN}.{name}", strength=2.0)]), training_sets())
        for name in ("Disturbed", "Plain")
    )
    (note,) = disturbed.result.notes
    assert note.startswith("a first attempt ended with MemoryError")
    assert "the machine caused that" in note
    assert disturbed.result.test_score == undisturbed.result.test_score


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [({"everywhere": True}, 2), ({"fault": "ValueError"}, 1)],
    ids=["a fault that stays", "what an estimator raises by itself"],
)
def test_a_failure_has_two_attempts_at_most_and_says_so(fault, attempts):
    """An estimator's own error would come again, after the same time; the others are
    trained.
    """
    own_estimators.STARTED.clear()
    spec = experiment([one(f"{OWN}.Disturbed", strength=2.0, **fault), one("linear")])
    outcomes = train(spec, training_sets())
    assert isinstance(outcomes.pop("linear"), TrainedModel)
    (failed,) = outcomes.values()
    assert failed.error_type == fault.get("fault", "MemoryError")
    assert ("in a second attempt by itself" in failed.reason) == (attempts == 2)
    assert len(own_estimators.STARTED) == attempts


SLOW_LIBRARY = f"""
import time
time.sleep(0.5)
from {OWN} import Plain as Model
"""
LOOKS_FOR_IT = f"""
import sys, time
from {OWN} import Plain
class Model(Plain):
    def fit(self, X, y):
        time.sleep(0.2)
        assert hasattr(sys.modules["slow_library"], "Model")
        return super().fit(X, y)
"""


def test_a_library_that_is_being_imported_fails_no_other_fit(tmp_path, monkeypatch):
    """All libraries are imported before the first fit: it would find half of a module
    that another thread imports.
    """
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_library.py").write_text(SLOW_LIBRARY)
    (tmp_path / "looks_for_it.py").write_text(LOOKS_FOR_IT)
    search = [one("slow_library.Model"), one("looks_for_it.Model")]
    for outcome in train(experiment(search), training_sets()).values():
        assert isinstance(outcome, TrainedModel), outcome


# --- whole pipelines ---


@pytest.mark.parametrize(
    ("task", "classes"),
    [
        ("binary", (True, False)),
        ("multiclass", ("c", "a", "b")),
        ("regression", None),
    ],
)
def test_the_assembled_pipeline_predicts_what_the_fit_predicted(
    task: str, classes: tuple
):
    """Bit for bit, stored and loaded with the types that are trusted from the start, for
    new categories, whichever class sorts first; better than the baseline.
    """
    spec, sets = experiment(ALGORITHMS, task), training_sets(task, classes)
    unseen = sets.test.assign(carrier="ZZ")
    sets = replace(sets, test=pd.concat([sets.test, unseen], ignore_index=True))
    outcomes = train(spec, sets)
    baseline = outcomes["dummy"].result.test_score
    for key, trained in outcomes.items():
        on_test, score = trained.predictions.test, trained.result.test_score
        assert score == scores.score(spec.metric, sets.y_test, on_test)
        assert key == "dummy" or metrics.better(spec.metric, score, baseline), (
            f"{key} is no better than the baseline: give it hyperparameters in _SETTINGS"
        )
        if algorithms.model_file(key).endswith(".skops"):
            untrusted = persistence.untrusted_types(trained.model)
            assert untrusted == (), f"declare them in trusted_types of {key}"
        whole = assembled(trained, sets, spec)
        loaded = persistence.from_bytes(persistence.to_bytes(whole))
        for pipeline in (whole, loaded):
            assert np.array_equal(predicted(pipeline, sets), on_test)
            if classes is not None:
                labels = pipeline.predict(sets.test).tolist()
                likely = pipeline.predict_proba(sets.test).argmax(axis=1)
                assert labels == [pipeline.classes_.tolist()[place] for place in likely]
                assert {type(label) for label in labels} <= {type(classes[0])}


def test_an_own_estimator_is_assembled_with_the_types_noted_at_its_fit():
    """The result carries what loading it needs to trust, and nothing is asked of the
    bytes.
    """
    spec, sets = experiment([one(f"{OWN}.WithHelper")]), training_sets()
    trained = train_one(spec, sets)
    assert trained.result.trusted_types == (f"{OWN}.Helper", f"{OWN}.WithHelper")
    again = predicted(assembled(trained, sets, spec), sets)
    assert np.array_equal(again, trained.predictions.test)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_refit_on_the_same_rows_is_the_same_fit(task: str):
    """With as many rounds and no row held out, refit and fit agree bit for bit."""
    sets = training_sets(task)
    fixed = one("lightgbm", early_stopping_round=0, n_estimators=12)
    search = [fixed, one("random_forest", **FOREST), one("linear"), one("dummy")]
    spec = experiment(search, task)
    outcomes = train(spec, sets)
    for configuration in configurations(spec):
        trained = outcomes[configuration.key]
        again = refit(configuration, trained.result.rounds, sets.train, sets, spec)
        assert np.array_equal(predicted(again, sets), trained.predictions.test)


def test_the_rounds_of_a_refit_grow_by_the_root_of_its_rows():
    """Where early stopping found them, up to what is allowed; features are of the
    refit's own rows.
    """
    spec, sets = experiment([one("lightgbm", n_estimators=500)]), training_sets()
    test = sets.test.assign(carrier=pd.Series("DD", index=sets.test.index, dtype="str"))
    all_rows = pd.concat([sets.train, test])
    (stopping,) = configurations(spec)

    def rounds(configuration, found=17, sets=sets):
        return refit(configuration, found, all_rows, sets, spec)[-1].n_estimators

    first, second = (refit(stopping, 17, all_rows, sets, spec) for _ in range(2))
    assert persistence.to_bytes(first) == persistence.to_bytes(second)
    assert set(first[0].transform(test)[:, -1]) == {3.0}
    grown = round(17 * math.sqrt(len(all_rows) / sets.fit_mask.sum()))
    assert first[-1].booster_.current_iteration() == rounds(stopping) == grown > 19
    assert rounds(stopping, 499) == 500
    none = replace(sets, early_stopping=np.zeros(len(sets.train), dtype=bool))
    assert rounds(stopping, sets=none) == 17
    for fixed in (lightgbm(early_stopping_round=0), lightgbm(boosting="dart")):
        assert rounds(fixed) == 17
