"""Rungs: nested, representative parts of the rows, as many as make sense, and who comes
first.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.rungs import (
    best_first,
    evenly_thinned,
    ladder,
    thinning_order,
    within_budget,
)
from experiment_pipeline.stages.search.training_sets import as_evaluated
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.search import scenario
from experiment_pipeline_tests.stages.search.halving_scenario import (
    HALVING,
    TEST,
    TRAIN,
    experiment,
    rows,
    sets_of,
)
from experiment_pipeline_tests.stages.search.scenario import one
from experiment_pipeline_tests.table.made_rows import cut_rows, shuffled

BY = ("random", "group", "time")
FRACTIONS = (1 / 16, 1 / 4, 0.6, 1.0)


def masks(by: str, frame: pd.DataFrame | None = None) -> list[np.ndarray]:
    """The rows of each fraction."""
    spec = experiment(by)
    order = thinning_order(sets_of(spec, frame), spec)
    assert ((order >= 0) & (order < 1)).all()
    return [order < fraction for fraction in FRACTIONS]


@pytest.mark.parametrize("by", BY)
def test_a_fraction_has_its_share_of_the_rows_and_all_rows_of_a_smaller_one(by):
    """Of all rows, of the early-stopping set, and where single rows are drawn of each
    class; the last has all.
    """
    sets, smaller = sets_of(experiment(by)), np.zeros(TRAIN, dtype=bool)
    for fraction, mask in zip(FRACTIONS, masks(by), strict=True):
        assert (mask | ~smaller).all()
        smaller = mask
        parts = [slice(None), sets.early_stopping, ~sets.early_stopping]
        parts += [] if by == "group" else [sets.y_train == 0, sets.y_train == 1]
        for part in parts:
            assert mask[part].mean() == pytest.approx(fraction, abs=0.02)


def test_no_group_and_no_id_is_split():
    """All rows of an owner are in a rung, or none; so are rows of one id under a random
    split.
    """
    frame = rows().assign(visit=np.arange(TRAIN + TEST) // 3)
    by_id = experiment(split={"by": "random", "id_columns": ["visit"]})
    for spec, column in ((experiment("group"), "owner"), (by_id, "visit")):
        together, order = (
            frame[column].iloc[:TRAIN],
            thinning_order(sets_of(spec, frame), spec),
        )
        for fraction in FRACTIONS:
            assert set(
                pd.Series(order < fraction).groupby(together.to_numpy()).nunique()
            ) == {1}


def test_rows_that_are_added_move_few_others():
    """Under a split by hash a rung of more rows is the old one and some new rows."""
    spec = experiment()
    frame = rows(4_000)
    few, many = (sets_of(spec, frame.iloc[: count + TEST]) for count in (3_000, 3_400))
    before = few.train.index[thinning_order(few, spec) < 0.25]
    after = many.train.index[thinning_order(many, spec) < 0.25]
    assert len(set(before) - set(after)) < 0.05 * len(before)


def test_time_is_thinned_evenly():
    """A rung spans the whole train period without a hole, outside the early-stopping
    set and in it.
    """
    for fraction, mask in zip(FRACTIONS, masks("time"), strict=True):
        hours = np.flatnonzero(mask)
        assert hours[0] <= 2 / fraction
        assert TRAIN - hours[-1] <= 4 / fraction
        assert np.diff(hours).max() <= 10 / fraction


@pytest.mark.parametrize("by", BY)
def test_every_class_is_in_every_rung(by):
    """Also a class of ten rows, or one that a single owner holds."""
    frame = rows()
    rare = np.zeros(len(frame), dtype=bool)
    rare[1230:1240] = True
    rare[[7, 3100]] = True
    frame["late"] = np.where(rare, "perhaps", frame["late"])
    spec = experiment(by, task="multiclass", metric="log_loss")
    sets = sets_of(spec, frame)
    order = thinning_order(sets, spec)
    for fraction in (0.001, *FRACTIONS):
        for part in (sets.early_stopping, ~sets.early_stopping):
            classes = set(sets.y_train[part])
            assert set(sets.y_train[part & (order < fraction)]) == classes


def test_small_rungs_are_scored_on_fewer_rows():
    """Evenly spaced ones, the share of each class kept, at least so many."""
    y = np.repeat([0, 1, 0, 1], [4_000, 1_000, 4_990, 10])
    scored = evenly_thinned(y, 0.1, 500, by_class=True)
    assert scored.sum() == 1_000
    assert y[scored].mean() == pytest.approx(y.mean(), abs=0.001)
    assert evenly_thinned(y, 0.1, 20_000, by_class=True).all()
    assert set(y[evenly_thinned(y, 1e-9, 1, by_class=True)]) == {0, 1}


@pytest.mark.parametrize(
    ("count", "halving", "fractions", "note"),
    [
        (
            7,
            HALVING,
            [1.0],
            "no halving: it needs 8 configurations that compete, and there are 7",
        ),
        (
            14,
            {"keep": 0.95},
            [1.0],
            "no halving: keeping 95 % of 14 configurations stops none",
        ),
        (100, True, [1.0], "no rung of .* of the train rows: .* it needs 1500"),
        (
            *(100, {"fractions": [0.1, 0.5, 1.0], "fewest_rows": 1_000}, [0.5, 1.0]),
            "no rung of 10 % of the train rows: it would have 30. rows, it needs 1000",
        ),
    ],
)
def test_rungs_of_few_rows_or_that_stop_nobody_are_left_out(
    count, halving, fractions, note
):
    """Below eight configurations or 1,500 rows nothing is stopped, and a note
    says so.
    """
    spec = experiment(halving=halving)
    steps = ladder(count, sets_of(spec), spec)
    assert [rung.fraction for rung in steps.rungs] == fractions
    assert {rung.last for rung in steps.rungs} == {len(fractions)}
    assert steps.notes
    assert all(re.fullmatch(note, text) for text in steps.notes)


@pytest.mark.parametrize(
    ("smallest", "places", "first"),
    [(0.7, 25, 0.7), (0.7, 12, 0.7 / 4), (0.6, 25, 0.6 / 4)],
)
def test_a_budget_keeps_a_first_rung_whose_rows_suffice(smallest, places, first):
    """With 2,000 rows and room for 20 fits; else it begins on fewer rows."""
    spec = experiment(halving={"fractions": [smallest, 1.0], "keep": 0.4})
    sets = sets_of(spec)
    rung, *_ = ladder(
        100, sets, spec, lambda part: places * 3000 / len(part.train)
    ).rungs
    assert rung.fraction == pytest.approx(first)


def test_a_rare_class_has_fewer_rungs():
    """A rung with fewer than twenty rows of a class is left out."""
    frame = rows()
    frame["late"] = np.where(np.arange(len(frame)) % 50 == 0, "yes", "no")
    spec = experiment()
    steps = ladder(100, sets_of(spec, frame), spec)
    assert [rung.fraction for rung in steps.rungs] == [0.5, 1.0]
    assert "its rarest class would have 1" in steps.notes[0]


def test_of_equal_scores_the_first_key_goes_on_and_an_undefined_one_last():
    """In the direction of the metric."""
    scored = {key: model_result(key, 0.5) for key in "gfedcba"}
    scored["c"] = model_result("c", float("nan"))
    scored["g"] = model_result("g", 0.6)
    assert best_first(scored, "roc_auc") == list("gabdefc")
    assert best_first(scored, "log_loss") == list("abdefgc")


@pytest.mark.parametrize("by", BY)
def test_the_rungs_of_a_shuffled_table_have_the_same_rows(by):
    """Thinning goes by what is in the rows, for the rows to fit on and those to score
    on.
    """
    spec, digests = experiment(by), []
    for frame in (rows(), shuffled(rows())):
        parts = cut_rows(frame, spec, ["age", "size", "colour"])
        rungs = ladder(15, as_evaluated(parts.train, parts.test, spec), spec).rungs
        digests.append(
            [(dict(r.sets.digests), r.sets.early_stopping.tolist()) for r in rungs]
        )
    assert len(digests[0]) == 2
    assert digests[0] == digests[1]


# --- who comes first ---


RATES = [0.01, 0.02, 0.05, 0.1, 0.2]
TWO = [one("linear", C=[1.0, 2.0])]


def space(**fixed: Any) -> list[Configuration]:
    """LightGBM with five learning rates, and the baseline."""
    search = [one("dummy"), one("lightgbm", learning_rate=RATES, **fixed)]
    return configurations(scenario.experiment(search))


def rates(configurations: Sequence[Configuration]) -> list[float]:
    """Their learning rates."""
    return [
        c.hyperparameters["learning_rate"]
        for c in configurations
        if c.algorithm == "lightgbm"
    ]


def chosen(
    configurations: Sequence[Configuration], seed: int, count: int = 2
) -> set[float]:
    """The learning rates that a budget of configurations leaves."""
    spec = scenario.experiment(
        [one("dummy")], seed=seed, budget={"configurations": count}
    )
    return set(rates(within_budget(configurations, spec)))


def test_a_budget_draws_by_the_seed_and_not_by_keys():
    """Every key changes when one more hyperparameter is searched, and none decides."""
    before, after = space(n_estimators=[5]), space(n_estimators=[5], max_depth=[3, 4])
    assert not {c.key for c in before} & {
        c.key for c in after if c.algorithm == "lightgbm"
    }
    assert chosen(space(), 3) == chosen(space()[::-1], 3)
    assert len({frozenset(chosen(space(), seed)) for seed in range(8)}) > 1


def test_they_begin_in_the_order_declared_and_no_algorithm_waits_for_another():
    """Where there may be no time for all: the first of each, then the same share of
    each at any time.
    """
    linear = configurations(scenario.experiment(TWO))
    for trees, places in ((1, [2, 5]), (100, [2, 103])):
        declared = [*space(n_estimators=[*range(trees)]), *linear]
        tried = within_budget(declared, scenario.experiment(TWO))
        found = [place for place, c in enumerate(tried) if c.algorithm == "linear"]
        assert found == places
