"""Whole pipelines: what was trained, assembled; what was chosen, fitted anew."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.fitting import fitted_pipeline
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.storage import persistence
from experiment_pipeline_tests.stages.search.scenario import (
    OWN,
    experiment,
    one,
    refit,
    train,
    train_one,
    training_sets,
)

BOOSTED = one("lightgbm", n_estimators=20)
SEARCH = [BOOSTED, one("random_forest", n_estimators=5), one("linear"), one("dummy")]


@pytest.mark.parametrize(
    ("task", "classes"),
    [("binary", (True, False)), ("multiclass", ("c", "a", "b")), ("regression", None)],
)
def test_the_assembled_pipeline_predicts_what_the_fit_predicted(task: str, classes: tuple) -> None:
    """Bit for bit, also after it was stored and loaded, and with labels of the target's kind."""
    spec, sets = experiment(SEARCH, task), training_sets(task, classes)
    for trained in train(spec, sets).values():
        assembled = fitted_pipeline(trained.result, trained.model, sets, spec)
        reloaded = persistence.from_bytes(persistence.to_bytes(assembled))
        for pipeline in (assembled, reloaded):
            again = predict(pipeline, sets.test, sets.features, task, sets.classes)
            assert np.array_equal(again, trained.predictions.test)
            labels = pipeline.predict(sets.test).tolist()
            assert classes is None or {type(label) for label in labels} <= {type(classes[0])}


def test_an_own_estimator_is_assembled_with_the_types_noted_at_its_fit() -> None:
    """The result carries what loading it needs to trust, and nothing is asked of the bytes."""
    spec, sets = experiment([one(f"{OWN}.WithHelper")]), training_sets()
    trained = train_one(spec, sets)
    assert trained.result.trusted_types == (f"{OWN}.Helper", f"{OWN}.WithHelper")
    pipeline = fitted_pipeline(trained.result, trained.model, sets, spec)
    again = predict(pipeline, sets.test, sets.features, "binary", sets.classes)
    assert np.array_equal(again, trained.predictions.test)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_refit_on_the_same_rows_is_the_same_fit(task: str) -> None:
    """With as many rounds and no row held out, refit and fit agree bit for bit."""
    sets = training_sets(task)
    search = [one("lightgbm", early_stopping_round=0, n_estimators=12), *SEARCH[1:]]
    spec = experiment(search, task)
    outcomes = train(spec, sets)
    for configuration in configurations(spec):
        trained = outcomes[configuration.key]
        again = refit(configuration, trained.result.rounds, sets.train, sets, spec)
        predicted = predict(again, sets.test, sets.features, task, sets.classes)
        assert np.array_equal(predicted, trained.predictions.test)


def test_a_refit_has_the_rounds_of_the_chosen_fit() -> None:
    """No early stopping, exactly the rounds that were chosen, and features of its own rows."""
    spec, sets = experiment([one("lightgbm", n_estimators=500)]), training_sets()
    test = sets.test.assign(carrier=pd.Series("DD", index=sets.test.index, dtype="str"))
    both = pd.concat([sets.train, test])
    first, second = (refit(configurations(spec)[0], 17, both, sets, spec) for _ in range(2))
    assert first[-1].booster_.current_iteration() == 17
    assert first[-1].n_estimators == 17
    assert persistence.to_bytes(first) == persistence.to_bytes(second)
    assert set(first[0].transform(test)[:, -1]) == {3.0}
