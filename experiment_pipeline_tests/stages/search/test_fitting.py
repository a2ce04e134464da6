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
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.fingerprints import (
    encoder_fingerprint,
    fingerprint,
)
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
    training_sets,
)

CATBOOST = one("catboost", iterations=5)
BAGGED = one("lightgbm", bagging_fraction=0.6, num_iterations=20)
WEIGHTED = {
    "lightgbm": {"scale_pos_weight": 6.0, "num_iterations": 40, "num_leaves": 7},
    "linear": {"class_weight": "balanced"},
}


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
    alone = trained(BAGGED, sets)  # afterwards: what is imported first costs CPU, too
    assert five.predictions.by_seed.shape == (5, len(sets.test))
    assert np.array_equal(five.predictions.by_seed[0], alone.predictions.test)
    assert five.model == alone.model
    assert (
        five.result.test_score == alone.result.test_score == five.result.seed_scores[0]
    )
    assert len(set(five.result.seed_scores)) == 5
    spread = five.result.seeds
    assert spread.fits == 5
    assert spread.mean == pytest.approx(np.mean(five.result.seed_scores))
    assert spread.deviation == pytest.approx(np.std(five.result.seed_scores, ddof=1))
    assert alone.result.seeds is None
    assert five.result.fit_cpu_seconds > alone.result.fit_cpu_seconds


def test_the_exported_model_is_the_mean_of_fits_with_different_seeds():
    """`export.fits` changes the refit alone, which is calibrated as before; equal fits,
    and forests, are exported once.
    """
    sets, export = training_sets(), {"export": {"fits": 3}, "calibrate": "sigmoid"}
    model, rows = trained(BAGGED, sets, **export), pd.concat([sets.train, sets.test])
    assert model.model == trained(BAGGED, sets, calibrate="sigmoid").model
    whole = refitted(model, rows, sets, experiment([BAGGED], **export))
    members = averaging.uncalibrated(whole[-1]).estimators_
    assert len({member.booster_.model_to_string() for member in members}) == 3
    for name, kind in (
        ("linear", "LogisticRegression"),
        ("extra_trees", "ExtraTreesClassifier"),
    ):
        spec = experiment([one(name)], export={"fits": 3})
        (model,) = train(spec, sets).values()
        assert type(refitted(model, rows, sets, spec)[-1]).__name__ == kind


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


@pytest.mark.parametrize(
    ("algorithm", "positive"), [("lightgbm", "yes"), ("linear", "no")]
)
def test_a_reweighted_model_is_calibrated_by_default(algorithm: str, positive: str):
    """Slope 1, intercept 0, the log loss nearer to the truth's and the ranks as they
    were.
    """
    sets, truth = imbalanced(8_000, shift=2.5)
    test = truth[len(sets.train) :]
    if positive == "no":
        sets = replace(sets, classes=("yes", "no"))
        test = 1 - test
    entry = one(algorithm, **WEIGHTED[algorithm])
    spec = experiment([entry], metric="roc_auc")
    model = train_one(spec, sets)
    plain = trained(entry, sets, metric="roc_auc", calibrate="off")
    assert (model.result.calibration, plain.result.calibration) == ("sigmoid", None)
    before, after = plain.predictions.test, model.predictions.test
    assert model.result.test_score == plain.result.test_score
    (mended,) = calibrations(
        SetPrediction(sets.y_test, after, np.arange(len(after))), sets.classes
    )
    assert abs(mended.intercept.estimate) < 0.3
    assert mended.slope.estimate == pytest.approx(1, abs=0.2)
    best, was, is_now = (
        score("log_loss", sets.y_test, predicted_as)
        for predicted_as in (test, before, after)
    )
    assert is_now - best < (was - best) / 2
    assert np.array_equal(predicted(assembled(model, sets, spec), sets), after)


def test_it_is_learnt_on_train_rows_by_fits_that_have_not_seen_them():
    """On folds of the train rows, by fits of the rest; no test row moves it, the refit
    takes it.
    """
    sets, _ = imbalanced(6_000, shift=1.0)
    spec = experiment(
        [one("lightgbm", num_iterations=10)], calibrate="sigmoid", metric="log_loss"
    )
    model = train_one(spec, sets)
    assert model.result.notes == ()
    guessed = np.empty(len(sets.train))
    cut = folds_of(sets.train, spec, CrossValidation(folds=5, repeats=1), sets.features)
    (configuration,) = configurations(spec)
    for fold in cut:
        fitted = refit(configuration, 10, sets.train[fold.fitted], sets, spec)
        guessed[fold.predicted] = predicted(fitted, sets, sets.train[fold.predicted])
    calibrators = averaging.learn_calibration(guessed, sets.y_train, [0, 1])
    plain = trained(one("lightgbm", num_iterations=10), sets, metric="log_loss")
    expected = calibrators.applied(plain.predictions.test)
    assert model.predictions.test == pytest.approx(expected, abs=1e-6)
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
    once_more = predicted(refitted(model, sets.train, sets, spec), sets)
    assert once_more == pytest.approx(model.predictions.test, abs=1e-9)


def test_fingerprints_know_what_decides_and_nothing_else():
    """Unset and off are what they were; seeds and a calibrator are other models."""
    sets = training_sets()

    def prints(entry: dict[str, Any], **keys: Any) -> str:
        spec = experiment([entry], **keys)
        return fingerprint(configurations(spec)[0], sets, spec)

    plain, weighted = one("linear"), one("linear", class_weight="balanced")
    unset = prints(plain)
    assert prints(plain, calibrate="off") == unset
    assert prints(plain, calibrate=False) == unset
    changes = [
        {"calibrate": "sigmoid"},
        {"seeds": 2},
        {"seeds": 3},
    ]
    assert len({unset, *(prints(plain, **keys) for keys in changes)}) == 4
    assert prints(weighted) == prints(weighted, calibrate="sigmoid")
    assert prints(weighted) != prints(weighted, calibrate="off")
    assert prints(one("dummy"), seeds=3, calibrate="sigmoid") == prints(one("dummy"))
    spec: ExperimentSpec = experiment([weighted], seeds=3)
    small = fingerprint(configurations(spec)[0], sets, spec.plain)
    assert small == prints(weighted, calibrate="off")


CROSS_VALIDATED = {"cross_validation": {"folds": 4, "repeats": 2}}


def asked(
    search: list[dict[str, Any]], task: str = "binary", **keys: Any
) -> ExperimentSpec:
    """An experiment that is cross-validated."""
    return experiment(search, task, **({"evaluation": CROSS_VALIDATED} | keys))


@pytest.mark.parametrize("task", CLASSES)
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
    pipelines = (
        assembled(trained, sets, spec),
        refit(config, None, sets.train, sets, spec),
    )
    for rows in (sets.train, sets.test):
        np.testing.assert_allclose(
            *(predicted(pipeline, sets, rows) for pipeline in pipelines), rtol=1e-9
        )
    assert trained.result.test_score == score(
        spec.metric, sets.y_test, trained.predictions.test
    )


def test_the_kept_model_has_the_median_rounds_of_the_folds():
    """It is fitted on all train rows, tree by tree as a fit of so many rounds."""
    entry = one("lightgbm", learning_rate=0.2)
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
    fixed = lightgbm(learning_rate=0.2, early_stopping_round=0)
    again = refit(fixed, trained.result.rounds, sets.train, sets, spec)
    assert again[-1].booster_.model_to_string() == trained.model.decode()


def test_the_number_of_workers_and_the_order_of_rows_change_nothing():
    """The same bytes, fingerprints and predictions."""
    spec = asked(
        [one("lightgbm", n_estimators=20), one("random_forest", n_estimators=3)]
    )
    frame = table(CLASSES["binary"])
    shuffled = np.random.default_rng(1).permutation(TRAIN_ROWS)
    shuffled_frame = pd.concat([frame.iloc[shuffled], frame.iloc[TRAIN_ROWS:]])
    first, second = (
        train(spec, sets_of(spec, frame), 1),
        train(spec, sets_of(spec, shuffled_frame), 2),
    )
    for key, model in first.items():
        assert model.model == second[key].model
        assert np.array_equal(model.predictions.test, second[key].predictions.test)


def test_a_fingerprint_holds_the_folds():
    """Other folds, other repeats or no folds are other models, and other fitted
    features.
    """
    ways = ["test_set", "cross_validation", CROSS_VALIDATED]
    specs = [experiment([one("lightgbm")], evaluation=way) for way in ways]
    prints = {fingerprint(lightgbm(), sets_of(spec), spec) for spec in specs}
    assert len(prints) == 3
    assert len({encoder_fingerprint("ordinal", sets_of(spec)) for spec in specs}) == 2


def test_a_row_that_is_predicted_twice_is_one_row():
    """Intervals resample rows, not predictions; and there are no rungs below
    all folds.
    """
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
