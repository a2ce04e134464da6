"""Fits: how often, calibrated on what is learnt of which rows, and judged on rows that
were left out.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from experiment_pipeline.spec import CrossValidation, ExperimentSpec
from experiment_pipeline.stages.search import averaging
from experiment_pipeline.stages.search.fitting import (
    encoded_rows,
    refits,
    refitted_pipeline,
)
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.rungs import ladder
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.calibration import calibrations
from experiment_pipeline.statistics.scores import SetPrediction, score
from experiment_pipeline.table.membership import folds_of
from experiment_pipeline_tests.stages.search.scenario import (
    assembled,
    experiment,
    lightgbm,
    one,
    predicted,
    refit,
    sets_of,
    train,
    train_one,
    training_sets,
)

BAGGED = one("lightgbm", bagging_fraction=0.6, num_iterations=20)


def imbalanced(n: int = 4_000, shift: float = 3.0) -> tuple[TrainingSets, np.ndarray]:
    """Sets of rows of which few are positive, the second half test; and their true
    shares.
    """
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(n, 4)), columns=list("abcd"))
    truth = expit(
        1.2 * frame["a"] - frame["b"] + 0.8 * frame["c"] * frame["d"] - shift
    ).to_numpy()
    frame["late"] = np.where(generator.random(n) < truth, "yes", "no")
    train, test = frame.iloc[: n // 2], frame.iloc[n // 2 :]
    sets = replace(training_sets(frame=frame), train=train, test=test)
    return replace(sets, early_stopping=np.zeros(n // 2, dtype=bool)), truth


def trained(entry: dict[str, Any], sets: TrainingSets, **keys: Any) -> TrainedModel:
    """One configuration, trained."""
    return train_one(experiment([entry], sets.task, **keys), sets)


def refitted(
    model: TrainedModel, rows: pd.DataFrame, sets: TrainingSets, spec: ExperimentSpec
) -> Any:
    """The fit once more, on these rows."""
    features, encoded = encoded_rows(model.result.features, rows, sets)
    fits = [fit() for fit in refits(model, encoded, sets, spec)]
    return refitted_pipeline(model, fits, features, encoded, sets)


def test_a_seed_of_its_own_makes_each_fit_and_the_first_one_counts():
    """Scores of all fits are kept, by their predictions; the model is the one of the
    experiment's seed.
    """
    sets = training_sets()
    five = trained(BAGGED, sets, seeds=5)
    alone = trained(BAGGED, sets)
    assert five.predictions.by_seed.shape == (5, len(sets.test))
    assert np.array_equal(five.predictions.by_seed[0], alone.predictions.test)
    assert five.model == alone.model
    assert (
        five.result.test_score == alone.result.test_score == five.result.seed_scores[0]
    )
    assert len(set(five.result.seed_scores)) == 5
    spread = five.result.seeds
    assert spread.mean == pytest.approx(np.mean(five.result.seed_scores))
    assert spread.deviation == pytest.approx(np.std(five.result.seed_scores, ddof=1))
    assert alone.result.seeds is None


def test_the_exported_model_is_the_mean_of_fits_with_different_seeds():
    """`export.fits` changes the refit alone, which is calibrated as before; equal fits
    are exported once.
    """
    sets, export = training_sets(), {"export": {"fits": 3}, "calibrate": "sigmoid"}
    model, rows = trained(BAGGED, sets, **export), pd.concat([sets.train, sets.test])
    assert model.model == trained(BAGGED, sets, calibrate="sigmoid").model
    whole = refitted(model, rows, sets, experiment([BAGGED], **export))
    members = averaging.uncalibrated(whole[-1]).estimators_
    assert len({member.booster_.model_to_string() for member in members}) == 3
    spec = experiment([one("linear")], export={"fits": 3})
    once = refitted(train_one(spec, sets), rows, sets, spec)
    assert type(once[-1]).__name__ == "LogisticRegression"


def test_what_draws_nothing_is_one_fit():
    """LightGBM that samples nothing, a linear model, the baseline: no spread, and a
    note says why.
    """
    sets = training_sets()
    entries = [one("lightgbm", num_iterations=5), one("linear"), one("dummy")]
    models = train(experiment(entries, seeds=3), sets)
    assert {len(model.result.seed_scores) for model in models.values()} == {0}
    notes = {model.result.algorithm: model.result.notes for model in models.values()}
    assert notes["dummy"] == ()
    assert "draw nothing" in notes["lightgbm"][-1]
    assert "draw nothing" in notes["linear"][-1]


@pytest.mark.parametrize("positive_first", [True, False])
def test_a_reweighted_model_is_calibrated_by_default(*, positive_first: bool):
    """Slope 1, intercept 0, the log loss nearer to the truth's and the ranks as they
    were, whichever class sorts first.
    """
    sets, truth = imbalanced(8_000, shift=2.5)
    truth = truth[len(sets.train) :]
    if positive_first:
        sets = replace(sets, classes=("yes", "no"))
        truth = 1 - truth
    entry = one("linear", class_weight="balanced")
    model, plain = trained(entry, sets), trained(entry, sets, calibrate="off")
    assert (model.result.calibration, plain.result.calibration) == ("sigmoid", None)
    before, after = plain.predictions.test, model.predictions.test
    assert model.result.test_score == plain.result.test_score
    (mended,) = calibrations(
        SetPrediction(sets.y_test, after, np.arange(len(after))), sets.classes
    )
    assert abs(mended.intercept.estimate) < 0.3
    assert mended.slope.estimate == pytest.approx(1, abs=0.2)
    best, was, is_now = (
        score("log_loss", sets.y_test, probabilities)
        for probabilities in (truth, before, after)
    )
    assert is_now - best < (was - best) / 2
    stored = assembled(model, sets, experiment([entry]))
    assert np.array_equal(predicted(stored, sets), after)


def test_it_is_learnt_on_train_rows_by_fits_that_have_not_seen_them():
    """On folds of the train rows, by fits of the rest; no test row moves it, the refit
    takes it.
    """
    sets, _ = imbalanced(3_000, shift=1.0)
    entry = one("lightgbm", num_iterations=10)
    spec = experiment([entry], calibrate="sigmoid", metric="log_loss")
    model = train_one(spec, sets)
    guessed = np.empty(len(sets.train))
    cut = folds_of(sets.train, spec, CrossValidation(folds=5, repeats=1), sets.features)
    for fold in cut:
        rows = sets.train[fold.fitted]
        fitted = refit(model.result.configuration, 10, rows, sets, spec)
        guessed[fold.predicted] = predicted(fitted, sets, sets.train[fold.predicted])
    calibrators = averaging.learn_calibration(guessed, sets.y_train, [0, 1])
    plain = trained(entry, sets, metric="log_loss").predictions.test
    assert model.predictions.test == pytest.approx(calibrators.applied(plain), abs=1e-6)
    assert train_one(spec, replace(sets, test=sets.test.iloc[::2])).model == model.model
    once_more = predicted(refitted(model, sets.train, sets, spec), sets)
    assert once_more == pytest.approx(model.predictions.test, abs=1e-9)


def test_too_few_rows_are_not_calibrated():
    """The note says how many the rarest class has, and how many it needs."""
    small, _ = imbalanced(300)
    none = trained(one("linear", class_weight="balanced"), small)
    assert none.result.calibration is None
    assert none.result.notes[0].startswith("not calibrated: the rarest class has")


def test_the_score_of_each_seed_is_calibrated():
    """As the first one, which is the model."""
    sets, _ = imbalanced(3_000, shift=1.5)
    entry = one(
        "lightgbm", bagging_fraction=0.6, num_iterations=10, scale_pos_weight=5.0
    )
    spec = experiment([entry], seeds=2, metric="log_loss")
    model = train_one(spec, sets)
    assert model.result.calibration == "sigmoid"
    assert max(model.result.seed_scores) < 1.2 * model.result.test_score


def asked(search: list[dict[str, Any]], task: str = "binary") -> ExperimentSpec:
    """An experiment that is cross-validated."""
    folds = {"cross_validation": {"folds": 4, "repeats": 2}}
    return experiment(search, task, evaluation=folds)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_each_row_is_predicted_by_a_model_that_has_not_seen_it(task: str):
    """Test predictions are those of the folds' own fits; the kept model is of
    all rows.
    """
    spec = asked([one("linear")], task)
    sets = sets_of(spec)
    trained = train_one(spec, sets)
    assert len(sets.train) == 800
    assert len(sets.test) == len(trained.predictions.test) == 1_600
    fold = sets.folds[-1]
    config = trained.result.configuration
    left_out = predicted(
        refit(config, None, fold.sets.train, fold.sets, spec), fold.sets
    )
    np.testing.assert_allclose(
        trained.predictions.test[fold.places], left_out, rtol=1e-9
    )
    of_all_rows = refit(config, None, sets.train, sets, spec)
    np.testing.assert_allclose(
        predicted(assembled(trained, sets, spec), sets),
        predicted(of_all_rows, sets),
        rtol=1e-9,
    )
    assert trained.result.test_score == score(
        spec.metric, sets.y_test, trained.predictions.test
    )


def test_the_kept_model_has_the_median_rounds_of_the_folds():
    """It is fitted on all train rows, tree by tree as a fit of so many rounds."""
    entry = one("lightgbm", learning_rate=0.3, num_leaves=7)
    spec, plain = asked([entry]), experiment([entry])
    sets = sets_of(spec)
    trained = train_one(spec, sets)
    by_fold = [
        train_one(plain, replace(fold.sets, digests=sets.digests))
        for fold in sets.folds
    ]
    assert trained.result.rounds == round(
        float(np.median([model.result.rounds for model in by_fold]))
    )
    fixed = lightgbm(learning_rate=0.3, num_leaves=7, early_stopping_round=0)
    again = refit(fixed, trained.result.rounds, sets.train, sets, spec)
    assert again[-1].booster_.model_to_string() == trained.model.decode()


def test_a_row_that_is_predicted_twice_is_one_row():
    """Intervals resample rows, not predictions; and a rung of fewer folds is only for
    want of time: of 40 configurations there should be time for 60.
    """
    spec = asked([one("linear")])
    sets = sets_of(spec)
    clusters = sets.test_clusters(spec)
    assert len(clusters) == 1_600
    assert np.array_equal(clusters[:800], clusters[800:])
    assert len(np.unique(clusters)) == 800
    assert sets.variance_factor == pytest.approx(1 / 2 + 4 / 3)
    steps = ladder(40, sets, spec, lambda _: 60)
    assert len(steps.rungs) == 1
    assert "cross-validation" in steps.notes[0]
    small, _ = ladder(40, sets, spec, lambda _: 59).rungs
    assert small.fraction == 2 / 8
