"""Scores follow from stored predictions: no metric is a reason to fit again."""

import pytest

from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.scoring import scored_rows
from experiment_pipeline.statistics import scores
from experiment_pipeline_tests.stages.search.halving_scenario import (
    Memory,
    experiment,
    run,
    sets_of,
)
from experiment_pipeline_tests.stages.search.scenario import one

# None of them stops by the ranking metric.
FIXED = [
    one("linear", C=[0.001, 0.1]),
    one("lightgbm", n_estimators=5, early_stopping_round=0, num_leaves=[2, 4, 8, 16, 32, 64]),
]


@pytest.mark.parametrize("halving", ["off", {"fractions": [0.2, 1.0], "keep": 0.5}])
def test_another_metric_or_gate_fits_nothing_again(halving: object) -> None:
    """Every rung is decided by the new metric, on predictions that exist."""
    if halving != "off":
        halving = {**halving, "fewest_rows": 500}
    spec = experiment(searched=FIXED, halving=halving)
    sets, memory = sets_of(spec), Memory()
    run(spec, sets, memory)
    gate = [{"metric": "brier", "at_most": 0.3}]
    gated = run(experiment(searched=FIXED, halving=halving, acceptance=gate), sets, memory)
    assert gated.fits == 0
    result = next(c.result for c in gated.conclusions.values() if c.status == "trained")
    assert set(result.test_scores) == {"roc_auc", "brier"}
    other = experiment(searched=FIXED, halving=halving, metric="log_loss")
    again, fresh = run(other, sets, memory), run(other, sets)
    # Other configurations may survive a rung: they alone are fitted. Who was trained on all rows
    # by the first metric stays so.
    assert again.fits == sum(not one.reused for one in again.conclusions.values())
    assert halving != "off" or again.fits == 0
    for key, answer in fresh.answer.items():
        configuration = fresh.conclusions[key].result.configuration
        stays = memory.results([fingerprint(configuration, sets, other)])
        assert again.answer[key] == answer or (stays and answer[0] == "stopped early")


def test_scores_of_another_metric_are_those_of_a_fresh_fit() -> None:
    """Of the test rows and of the train rows, to the last bit."""
    spec = experiment(searched=FIXED, halving="off")
    sets, memory = sets_of(spec), Memory()
    run(spec, sets, memory)
    other = experiment(searched=FIXED, halving="off", metric="log_loss")
    fresh = run(other, sets).conclusions
    for key, concluded in run(other, sets, memory).conclusions.items():
        found, expected = concluded.result, fresh[key].result
        assert found.metric == "log_loss"
        assert (found.train_score, found.test_score) == (expected.train_score, expected.test_score)
        predicted = memory.predictions(found.fingerprint)
        y = sets.y_train[scored_rows(len(sets.y_train), sets.classes)]
        assert found.train_score == scores.score("log_loss", y, predicted.train)


@pytest.mark.parametrize(
    ("classes", "n_train", "rows"),
    [(None, 100, 100), (None, 3_000, 1_000), (10, 90_000, 5_000), (26, 90_000, 1_923)],
)
def test_the_train_score_is_of_as_many_numbers_as_it_needs(classes, n_train, rows) -> None:
    """A fifth of the rows, or 1,000; many classes are predicted by as many trees, so fewer rows."""
    scored = scored_rows(n_train, None if classes is None else range(classes))
    assert len(scored) == len(set(scored)) == rows
    assert (scored[0], scored[-1]) == (0, n_train - 1)
