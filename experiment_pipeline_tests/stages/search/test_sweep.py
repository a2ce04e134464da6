"""The sweep: the same answer however it is run, and no failure spoils another fit."""

from contextlib import closing

import numpy as np
import pytest

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.learners.hyperparameters import estimated_cost
from experiment_pipeline.stages.search.results import FailedConfiguration, TrainedModel
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics import metrics, scores
from experiment_pipeline_tests.stages.search import own_estimators
from experiment_pipeline_tests.stages.search.scenario import (
    CLASSES,
    OWN,
    TRAIN_ROWS,
    experiment,
    lightgbm,
    one,
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
ALGORITHMS = [one("dummy"), one("lightgbm", **FEW), one("random_forest", **FEW), one("linear")]


def essence(outcomes: dict) -> dict:
    """What of each outcome must not depend on how the sweep was run."""
    return {
        key: (m.model, m.predictions.test.tobytes(), m.result.test_score, m.result.train_score)
        for key, m in outcomes.items()
    }


def test_the_answer_does_not_depend_on_workers_or_order() -> None:
    """1, 2 and 4 workers, configurations turned round or alone: the same bytes and scores."""
    spec, sets = experiment(MIXED), training_sets()
    first = essence(train(spec, sets, workers=1))
    assert len(first) == 12
    assert essence(train(spec, sets, workers=2)) == first
    assert essence(train(spec, sets, workers=2)) == first
    assert essence(train(experiment(MIXED[::-1]), sets, workers=4)) == first
    alone = experiment([one("lightgbm", min_child_samples=[50], num_leaves=[8], n_estimators=30)])
    assert essence(train(alone, sets)).items() <= first.items()


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_algorithm_beats_the_dummy(task: str) -> None:
    """Predictions have the shape of the task, and scores are those of the metrics."""
    spec, sets = experiment(ALGORITHMS, task), training_sets(task)
    outcomes = train(spec, sets)
    dummy = outcomes.pop("dummy").result.test_score
    n_classes = len(CLASSES[task] or ())
    for trained in outcomes.values():
        assert trained.predictions.test.shape == ((200, n_classes) if n_classes > 2 else (200,))
        found = trained.result.test_score
        assert found == scores.score(spec.metric, sets.y_test, trained.predictions.test)
        assert metrics.better(spec.metric, found, dummy)


def test_a_result_tells_what_the_fit_cost() -> None:
    """Seconds, bytes and rounds are measured, and only metrics of the experiment scored."""
    spec = experiment([one("lightgbm")], acceptance=[{"metric": "brier", "at_most": 0.3}], seed=3)
    trained = train_one(spec, training_sets())
    result = trained.result
    assert result.fit_cpu_seconds > 0
    assert result.fit_wall_seconds > 0
    assert 0 < result.predict_seconds_per_row < 0.01
    assert result.model_bytes == len(trained.model)
    assert list(result.test_scores) == ["roc_auc", "brier"]
    assert result.metric == "roc_auc"


def test_the_positive_class_may_sort_first() -> None:
    """Predictions are the probability of classes[1], in whatever order an estimator sorts."""
    spec = experiment(ALGORITHMS)
    usual = train(spec, training_sets(classes=(0, 1)))
    for classes in (("yes", "no"), (True, False)):
        for key, trained in train(spec, training_sets(classes=classes)).items():
            turned = trained.result.test_score
            assert turned == pytest.approx(usual[key].result.test_score, abs=0.03)
            assert key == "dummy" or turned > 0.8


def test_a_class_that_test_lacks_keeps_its_column() -> None:
    """Multiclass predictions have the columns of all classes; ranking may be undefined."""
    sets = training_sets("multiclass")
    without_a = sets.test[sets.test["late"] != "a"]
    trained = train_one(
        experiment([one("lightgbm")], "multiclass"),
        TrainingSets(**vars(sets) | {"test": without_a}),
    )
    assert trained.predictions.test.shape == (len(without_a), 3)
    assert np.isfinite(trained.result.test_score)


def test_a_class_that_only_test_has_is_an_error_of_the_data() -> None:
    """No model can predict it, and no score would say so."""
    sets = training_sets("multiclass")
    strange = sets.test.assign(late="never seen")
    with pytest.raises(UnusableTable, match="never seen"):
        train(
            experiment([one("dummy")], "multiclass"), TrainingSets(**vars(sets) | {"test": strange})
        )


def test_a_failure_is_reported_and_spoils_no_other_fit() -> None:
    """A failed configuration comes with type, message and traceback; the others are trained."""
    bad = {
        f"{OWN}.Raises": ("ZeroDivisionError", "bad smell"),
        f"{OWN}.Writes": ("ValueError", "read-only"),
        f"{OWN}.NotFinite": ("TrainingError", "predictions on test rows are not finite"),
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


def test_a_value_that_lightgbm_refuses_fails_alone() -> None:
    """Also one that decides the bins; the reason names it."""
    search = [one("lightgbm", max_bin=[-5, 63]), one("lightgbm", num_leaves=[1, 7])]
    outcomes = train(experiment(search), training_sets())
    failed = {key: one for key, one in outcomes.items() if isinstance(one, FailedConfiguration)}
    assert sorted(failed) == ["lightgbm__max_bin=-5", "lightgbm__num_leaves=1"]
    assert "num_leaves" in failed["lightgbm__num_leaves=1"].reason


def test_strange_names_of_columns_train() -> None:
    """Quotes, JSON and other scripts in a column's name reach no LightGBM."""
    frame = table(CLASSES["binary"]).rename(
        columns={"distance": 'x"{}[]:,', "delay": "名前", "night": " ", "carrier": "a b'c"}
    )
    sets = training_sets(frame=frame)
    outcomes = train(experiment([one("lightgbm"), one("linear")]), sets)
    assert all(isinstance(one, TrainedModel) for one in outcomes.values())


def test_closing_cancels_what_waits() -> None:
    """Once the reader stops, the running fit ends and no other one starts."""
    own_estimators.STARTED.clear()
    strengths = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    spec = experiment([one(f"{OWN}.Plain", strength=strengths, pause=0.2)])
    running = train_configurations(configurations(spec), training_sets(), spec, 1)
    with closing(running):
        assert isinstance(next(running), TrainedModel)
    assert len(own_estimators.STARTED) <= 2


def test_an_exit_ends_the_sweep() -> None:
    """What is no Exception, such as an interruption, is not turned into a result."""
    spec = experiment([one(f"{OWN}.Exits"), one("linear")])
    with pytest.raises(SystemExit):
        train(spec, training_sets())


def test_the_longest_fit_comes_first() -> None:
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
