"""A search whose choice rests on predictions of rows that were left out of the fit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.fingerprints import encoder_fingerprint, fingerprint
from experiment_pipeline.stages.search.rungs import ladder
from experiment_pipeline.statistics.scores import score
from experiment_pipeline_tests.stages.search.scenario import (
    CLASSES,
    TRAIN_ROWS,
    assembled,
    experiment,
    lightgbm,
    one,
    predicted,
    refit,
    sets_of,
    table,
    train,
    train_one,
)

CROSS_VALIDATED = {"cross_validation": {"folds": 4, "repeats": 2}}


def asked(search: list[dict[str, Any]], task: str = "binary", **more: Any) -> ExperimentSpec:
    """An experiment that is cross-validated."""
    return experiment(search, task, **({"evaluation": CROSS_VALIDATED} | more))


@pytest.mark.parametrize("task", CLASSES)
def test_each_row_is_predicted_by_a_model_that_has_not_seen_it(task: str) -> None:
    """Test predictions are those of the folds' own fits; the kept model is of all rows."""
    spec = asked([one("linear")], task)
    sets = sets_of(spec)
    trained = train_one(spec, sets)
    assert len(sets.train) == 800
    assert len(sets.test) == len(trained.predictions.test) == 1_600
    fold = sets.folds[-1]
    config = trained.result.configuration
    left_out = predicted(refit(config, None, fold.sets.train, fold.sets, spec), fold.sets)
    np.testing.assert_allclose(trained.predictions.test[fold.places], left_out, rtol=1e-9)
    two = assembled(trained, sets, spec), refit(config, None, sets.train, sets, spec)
    for rows in (sets.train, sets.test):
        np.testing.assert_allclose(*(predicted(one, sets, rows) for one in two), rtol=1e-9)
    assert trained.result.test_score == score(spec.metric, sets.y_test, trained.predictions.test)


def test_the_kept_model_has_the_median_rounds_of_the_folds() -> None:
    """It is fitted on all train rows, tree by tree as a fit of so many rounds."""
    entry = one("lightgbm", learning_rate=0.2)
    spec, plain = asked([entry]), experiment([entry])
    sets = sets_of(spec)
    trained = train_one(spec, sets)
    alone = [train_one(plain, replace(fold.sets, digests=sets.digests)) for fold in sets.folds]
    assert trained.result.rounds == round(float(np.median([one.result.rounds for one in alone])))
    fixed = lightgbm(learning_rate=0.2, early_stopping_round=0)
    again = refit(fixed, trained.result.rounds, sets.train, sets, spec)
    assert again[-1].booster_.model_to_string() == trained.model.decode()


def test_the_number_of_workers_and_the_order_of_rows_change_nothing() -> None:
    """The same bytes, fingerprints and predictions."""
    spec = asked([one("lightgbm", n_estimators=20), one("random_forest", n_estimators=3)])
    frame = table(CLASSES["binary"])
    shuffled = np.random.default_rng(1).permutation(TRAIN_ROWS)
    other = pd.concat([frame.iloc[shuffled], frame.iloc[TRAIN_ROWS:]])
    first, second = train(spec, sets_of(spec, frame), 1), train(spec, sets_of(spec, other), 2)
    for key, found in first.items():
        assert found.model == second[key].model
        assert np.array_equal(found.predictions.test, second[key].predictions.test)


def test_a_fingerprint_holds_the_folds() -> None:
    """Other folds, other repeats or no folds are other models, and other fitted features."""
    ways = ["test_set", "cross_validation", CROSS_VALIDATED]
    specs = [experiment([one("lightgbm")], evaluation=way) for way in ways]
    prints = {fingerprint(lightgbm(), sets_of(spec), spec) for spec in specs}
    assert len(prints) == 3
    assert len({encoder_fingerprint("ordinal", sets_of(spec)) for spec in specs}) == 2


def test_a_row_that_is_predicted_twice_is_one_row() -> None:
    """Intervals resample rows, not predictions; and there are no rungs below all folds."""
    spec = asked([one("linear")])
    sets = sets_of(spec)
    clusters = sets.test_clusters(spec)
    assert len(clusters) == 1_600
    assert np.array_equal(clusters[:800], clusters[800:])
    assert len(np.unique(clusters)) == 800
    assert sets.variance_factor == pytest.approx(1 / 2 + 4 / 3)
    steps = ladder(40, sets, spec)
    assert len(steps.rungs) == 1
    assert "cross-validation" in steps.notes[0]
