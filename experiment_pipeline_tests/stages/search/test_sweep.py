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
from experiment_pipeline.stages.search import features as encoders
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.learners.hyperparameters import estimated_cost
from experiment_pipeline.stages.search.results import FailedConfiguration, TrainedModel
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.statistics import metrics, scores
from experiment_pipeline.storage import persistence
from experiment_pipeline_tests.fresh_process import printed_by
from experiment_pipeline_tests.stages.search import own_estimators, scenario
from experiment_pipeline_tests.stages.search.scenario import (
    CLASSES,
    OWN,
    TRAIN_ROWS,
    assembled,
    experiment,
    lightgbm,
    one,
    predicted,
    refit,
    table,
    train,
    train_one,
    training_sets,
)

MIXED = [
    one("lightgbm", min_child_samples=[5, 50], num_leaves=[4, 8], n_estimators=30),
    one("lightgbm", max_bin=[15, 63], subsample=0.7, n_estimators=30),
    one("random_forest", n_estimators=5),
    one("linear", C=[0.1, 1.0]),
    one("dummy"),
    one("sklearn.ensemble.HistGradientBoostingClassifier", max_iter=10),
    one(f"{OWN}.Plain", strength=2.0),
]
FEW = {"n_estimators": 20}
ALGORITHMS = [
    one("lightgbm", **FEW),
    one("random_forest", **FEW),
    one("linear"),
    one("dummy"),
]
BOOSTERS = [
    one(name, **FEW) | {"features": ["ordinal", "onehot"]}
    for name in ("catboost", "xgboost")
    if find_spec(name)
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


def test_the_answer_does_not_depend_on_workers_or_order():
    """1, 2 and 4 workers, configurations turned round or alone: the same bytes and
    scores.
    """
    spec, sets = experiment(MIXED), training_sets()
    first = essence(train(spec, sets, workers=1))
    assert len(first) == 12
    assert essence(train(spec, sets, workers=2)) == first
    assert essence(train(experiment(MIXED[::-1]), sets, workers=4)) == first
    alone = experiment(
        [one("lightgbm", min_child_samples=[50], num_leaves=[8], n_estimators=30)]
    )
    assert essence(train(alone, sets)).items() <= first.items()


def test_a_result_tells_what_the_fit_cost():
    """Seconds, bytes and rounds are measured, and only metrics of the experiment
    scored.
    """
    spec = experiment(
        [one("lightgbm")], acceptance=[{"metric": "brier", "at_most": 0.3}], seed=3
    )
    trained = train_one(spec, training_sets())
    result = trained.result
    assert result.fit_cpu_seconds > 0
    assert result.fit_wall_seconds > 0
    assert 0 < result.predict_seconds_per_row < 0.01
    assert result.model_bytes == len(trained.model)
    assert (list(result.test_scores), result.metric) == (
        ["roc_auc", "brier"],
        "roc_auc",
    )


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
        train(experiment([one("dummy")], "multiclass"), strange)


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


def test_a_value_that_lightgbm_refuses_fails_alone():
    """Also one that decides the bins; the reason names it."""
    search = [one("lightgbm", max_bin=[-5, 63]), one("lightgbm", num_leaves=[1, 7])]
    outcomes = train(experiment(search), training_sets())
    failed = {
        key: outcome
        for key, outcome in outcomes.items()
        if isinstance(outcome, FailedConfiguration)
    }
    assert sorted(failed) == ["lightgbm__max_bin=-5", "lightgbm__num_leaves=1"]
    assert "num_leaves" in failed["lightgbm__num_leaves=1"].reason


def test_strange_names_of_columns_train():
    """Quotes, JSON and other scripts in a column's name reach no LightGBM."""
    frame = table(CLASSES["binary"]).rename(
        columns={
            "distance": 'x"{}[]:,',
            "delay": "名前",
            "night": " ",
            "carrier": "a b'c",
        }
    )
    sets = training_sets(frame=frame)
    outcomes = train(experiment([one("lightgbm"), one("linear")]), sets)
    assert all(isinstance(outcome, TrainedModel) for outcome in outcomes.values())


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


def test_the_longest_fit_comes_first():
    """Slow learning and many leaves are long; the unknown comes before all."""
    cost = {
        name: estimated_cost(configuration, TRAIN_ROWS)
        for name, configuration in {
            "unknown": Configuration("k", "a.B", "onehot", {}),
            "slow": lightgbm(learning_rate=0.01, num_leaves=63),
            "usual": lightgbm(),
            "linear": Configuration("k", "linear", "onehot", {}),
            "short": lightgbm(n_estimators=10, num_leaves="many"),
            "dummy": Configuration("k", "dummy", "onehot", {}),
        }.items()
    }
    assert sorted(cost, key=cost.__getitem__, reverse=True) == list(cost)


def test_a_fit_of_catboost_is_long_for_its_trees():
    """It makes 3 to 18 times the passes over the rows that one of XGBoost makes."""
    catboost, xgboost = (
        estimated_cost(Configuration("k", name, "ordinal", {}), TRAIN_ROWS)
        for name in ("catboost", "xgboost")
    )
    assert 3 <= catboost / xgboost <= 18


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


@pytest.mark.parametrize("fault", ["SystemError", "ConnectionResetError"])
def test_a_fault_of_the_machine_gets_a_second_attempt(fault: str):
    """The configuration is trained as if nothing had been, and its result tells."""
    disturbed = experiment([one(f"{OWN}.Disturbed", strength=[2.0], fault=fault)])
    (outcome,) = train(disturbed, training_sets()).values()
    assert isinstance(outcome, TrainedModel)
    (note,) = outcome.result.notes
    assert fault in note
    assert "the machine caused that" in note
    undisturbed = experiment([one(f"{OWN}.Plain", strength=[2.0])])
    (plain,) = train(undisturbed, training_sets()).values()
    assert outcome.result.test_score == plain.result.test_score


@pytest.mark.parametrize(
    ("fault", "error", "attempts"),
    [
        ({"everywhere": True}, "MemoryError", 2),
        ({"fault": "ValueError"}, "ValueError", 1),
    ],
    ids=["a fault that stays", "what an estimator raises by itself"],
)
def test_a_failure_has_two_attempts_at_most_and_says_so(fault, error, attempts):
    """An estimator's own error would come again, after the same time; the others are
    trained.
    """
    own_estimators.STARTED.clear()
    spec = experiment([one(f"{OWN}.Disturbed", strength=[2.0], **fault), one("linear")])
    outcomes = train(spec, training_sets())
    (failed,) = [
        outcome
        for outcome in outcomes.values()
        if isinstance(outcome, FailedConfiguration)
    ]
    assert failed.error_type == error
    assert ("in a second attempt by itself" in failed.reason) == (attempts == 2)
    assert len(own_estimators.STARTED) == attempts
    assert isinstance(outcomes["linear"], TrainedModel)


# --- whole pipelines ---


@pytest.mark.parametrize(
    ("task", "classes"),
    [
        *(("binary", classes) for classes in ((True, False), ("yes", "no"), (2, 1))),
        ("multiclass", ("c", "a", "b")),
        ("regression", None),
    ],
)
def test_the_assembled_pipeline_predicts_what_the_fit_predicted(
    task: str, classes: tuple
):
    """Bit for bit, stored and loaded, for new categories, whichever class
    sorts first.
    """
    spec, sets = (
        experiment([*ALGORITHMS, *BOOSTERS], task),
        training_sets(task, classes),
    )
    unseen = sets.test.assign(carrier="ZZ")
    sets = replace(sets, test=pd.concat([sets.test, unseen], ignore_index=True))
    outcomes, of_known = train(spec, sets), {}
    for key, trained in outcomes.items():
        on_test = trained.predictions.test
        assert on_test.shape == ((400, 3) if task == "multiclass" else (400,))
        assert trained.result.test_score == scores.score(
            spec.metric, sets.y_test, on_test
        )
        of_known[key] = scores.score(spec.metric, sets.y_test[:200], on_test[:200])
        whole = assembled(trained, sets, spec)
        for pipeline in (whole, persistence.from_bytes(persistence.to_bytes(whole))):
            assert np.array_equal(predicted(pipeline, sets), on_test)
            if classes is not None:
                labels = pipeline.predict(sets.test).tolist()
                likely = pipeline.predict_proba(sets.test).argmax(axis=1)
                assert labels == [pipeline.classes_.tolist()[place] for place in likely]
                assert {type(label) for label in labels} <= {type(classes[0])}
    dummy = of_known.pop("dummy")
    assert all(metrics.better(spec.metric, score, dummy) for score in of_known.values())


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
    search = [one("lightgbm", early_stopping_round=0, n_estimators=12), *ALGORITHMS[1:]]
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
    first, second = (refit(stopping, 17, all_rows, sets, spec) for _ in range(2))
    grown = round(17 * math.sqrt(len(all_rows) / sets.fit_mask.sum()))
    assert (
        first[-1].booster_.current_iteration() == first[-1].n_estimators == grown > 19
    )
    assert refit(stopping, 499, all_rows, sets, spec)[-1].n_estimators == 500
    fixed, dart = lightgbm(early_stopping_round=0), lightgbm(boosting="dart")
    none = replace(sets, early_stopping=np.zeros(len(sets.train), dtype=bool))
    only_stopping = replace(sets, early_stopping=~none.early_stopping)
    for configuration, fitted_on in (
        (fixed, sets),
        (dart, sets),
        (stopping, none),
        (stopping, only_stopping),
    ):
        assert (
            refit(configuration, 17, all_rows, fitted_on, spec)[-1].n_estimators == 17
        )
    assert persistence.to_bytes(first) == persistence.to_bytes(second)
    assert set(first[0].transform(test)[:, -1]) == {3.0}


# A module that catboost imports if it is there, and that scikit-learn looks for.
SLOW_POLARS = """
import time
__version__ = "1.0.0"
time.sleep(1)
class DataFrame: ...
class Series: ...
class LazyFrame: ...
"""
TRAIN_BESIDE = f"""
import sys
sys.path.insert(0, sys.argv[1])
from {scenario.__name__} import (
    configurations, experiment, one, train_configurations, training_sets
)
searched = [one("catboost", n_estimators=3), one("linear", C=[0.1, 1.0, 10.0])]
spec, sets = experiment(searched), training_sets()
for outcome in train_configurations(configurations(spec), sets, spec, 2):
    print(outcome.key, type(outcome).__name__)
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("catboost"), reason="it is not installed")
def test_a_library_that_is_being_imported_fails_no_other_fit(tmp_path):
    """All libraries are imported before the first fit: scikit-learn would find half of
    a module that another thread imports.
    """
    (tmp_path / "polars.py").write_text(SLOW_POLARS)
    outcomes = printed_by(TRAIN_BESIDE, str(tmp_path), OMP_NUM_THREADS="1")
    assert outcomes.count("TrainedModel") == 4, outcomes
