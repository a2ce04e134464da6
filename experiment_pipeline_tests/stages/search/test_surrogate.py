"""The surrogate: better than chance where scores have a shape, and never lost where they have none."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.surrogate import ABSENT, drawn_evenly, encode, pick
from experiment_pipeline_tests.stages.search.halving_scenario import experiment

LOG = {"low": 0.001, "high": 1.0, "scale": "log"}
SEARCH = [
    {
        "algorithm": "lightgbm",
        "method": "random",
        "draws": 40,
        "hyperparameters": {"learning_rate": LOG, "num_leaves": {"low": 2, "high": 64}},
    },
    {
        "algorithm": "linear",
        "hyperparameters": {"C": [0.01, 1.0, 100.0], "class_weight": [None, "balanced"]},
    },
    {"algorithm": "random_forest", "hyperparameters": {"max_depth": [None, 3, 5]}},
]
POOL = configurations(experiment(searched=SEARCH))


def surface(one: Configuration) -> float:
    """A hill over the learning rate (on its logarithm) and the leaves; other algorithms below."""
    if one.algorithm != "lightgbm":
        return 0.1
    rate = math.log10(one.hyperparameters["learning_rate"])
    return 1.0 - (rate + 1.5) ** 2 - (one.hyperparameters["num_leaves"] / 64 - 0.3) ** 2


def picked(scored, count=4, pool=POOL, metric="roc_auc", seed=0):
    """Picks with the defaults of these tests."""
    return pick(pool, scored, count, metric=metric, seed=seed)


def best_in_rounds(pool, seed: int, tried: int = 24) -> float:
    """The height reached by rounds of four after a first one of eight."""
    scored: dict[str, float] = {}
    heights = {one.key: surface(one) for one in pool}
    while len(scored) < tried:
        scored |= {key: heights[key] for key in picked(scored, 4 if scored else 8, pool, seed=seed)}
    return max(scored.values())


def test_it_climbs_higher_than_random_draws():
    """Over eight pools of 200 it ends near the top more often than as many draws do."""
    found, drawn = [], []
    for seed in range(8):
        entry = {**SEARCH[0], "draws": 200, "seed": seed}
        pool = configurations(experiment(searched=[entry]))
        found.append(best_in_rounds(pool, seed))
        drawn.append(max(map(surface, drawn_evenly(pool, seed)[:24])))
    assert np.mean(found) > np.mean(drawn)
    assert sum(one >= other for one, other in zip(found, drawn, strict=True)) >= 6


def test_a_loss_is_climbed_downwards():
    """The same heights as a loss give the same picks."""
    heights = {one.key: surface(one) for one in drawn_evenly(POOL, 0)[:8]}
    losses = {key: -height for key, height in heights.items()}
    assert picked(heights) == picked(losses, metric="log_loss")


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(len(POOL))), known=st.integers(0, 12))
def test_the_order_of_pool_and_scores_changes_nothing(order, known):
    """Configurations and results in any order: the same picks, none of them known."""
    first = drawn_evenly(POOL, 0)[:known]
    scored = {one.key: surface(one) for one in first}
    shuffled = dict(reversed(scored.items()))
    here, there = picked(scored), picked(shuffled, pool=[POOL[place] for place in order])
    assert here == there
    assert len(set(here) - scored.keys()) == 4


def test_fewer_picks_are_the_beginning_of_more():
    """A budget that cuts a round leaves the others in their places."""
    scored = {one.key: surface(one) for one in drawn_evenly(POOL, 0)[:8]}
    assert picked(scored, 2) == picked(scored, 5)[:2]


def test_a_first_draw_has_some_of_each_algorithm():
    """However many configurations one of them has; the seed decides which."""
    algorithms = {one.key: one.algorithm for one in POOL}
    first = [algorithms[key] for key in picked({}, 9)]
    assert {first.count(name) for name in ("lightgbm", "linear", "random_forest")} == {3}
    assert picked({}, 9, seed=1) != picked({}, 9)


@pytest.mark.parametrize("score", [0.5, math.nan])
def test_scores_that_tell_nothing_leave_the_draw(score):
    """All equal, or all failed: the draw goes on."""
    ordered = [one.key for one in drawn_evenly(POOL, 0)]
    assert list(picked(dict.fromkeys(ordered[:8], score))) == ordered[8:12]


def test_a_corner_where_fits_fail_is_left():
    """What failed counts as the worst score seen."""
    scored = {one.key: surface(one) for one in drawn_evenly(POOL, 0)[:20]}
    linear = {key for key in scored if key.startswith("linear")}
    failed = scored | dict.fromkeys(linear, math.nan)
    assert not any(key.startswith("linear") for key in picked(failed))


def test_a_pool_of_one_and_a_spent_pool():
    """There may be nothing to choose from."""
    (only,) = pool = POOL[:1]
    assert picked({}, 4, pool) == (only.key,)
    assert picked({only.key: 0.5}, 4, pool) == ()
    scored = {one.key: surface(one) for one in POOL[:5]}
    assert len(picked(scored, 4, POOL[:7])) == 2


def test_numbers_are_even_on_their_own_scale_and_choices_are_columns():
    """A list of powers is spread evenly, a text is a flag, and what is not there is ABSENT."""
    linear = [one for one in POOL if one.algorithm != "lightgbm"]
    encoded = encode(linear)
    assert encoded.shape[0] == len(linear)
    assert set(np.unique(encoded)) == {ABSENT, 0.0, 0.5, 1.0}
    assert len(np.unique(encoded, axis=0)) == len(linear)
    assert len(np.unique(encode(POOL), axis=0)) == len(POOL)
