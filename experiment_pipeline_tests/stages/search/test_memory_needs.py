"""Memory is foreseen: who would not fit is stopped with advice, who might is not."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import NotEnoughMemory
from experiment_pipeline.stages.memory_estimate import foresee
from experiment_pipeline.stages.search.conclusions import Event, Note
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.engines.engine import Threads
from experiment_pipeline.stages.search.halving import search
from experiment_pipeline.stages.search.memory_needs import _Work, different, training_need
from experiment_pipeline.stages.search.training_sets import Fold, TrainingSets
from experiment_pipeline.storage.mapped import HELD_BYTES
from experiment_pipeline.storage.memory_limits import MemoryLimit
from experiment_pipeline_tests.results import NothingKnown
from experiment_pipeline_tests.stages.search.scenario import (
    experiment,
    lightgbm,
    one,
    training_sets,
)

GIGABYTE = 10**9


def limit(left: int, held: int = 0) -> MemoryLimit:
    """A limit that leaves so much."""
    return MemoryLimit(held + left, held, "a test")


def forest(features: Any) -> Configuration:
    """What reads the whole table."""
    return Configuration("forest", "random_forest", features, {})


def of_rows(rows: int) -> TrainingSets:
    """The small table, over and over: so many train rows."""
    sets = training_sets()
    train = sets.train.iloc[np.arange(rows) % len(sets.train)]
    return TrainingSets(
        **vars(sets) | {"train": train, "early_stopping": np.zeros(rows, dtype=bool)}
    )


def test_the_need_grows_with_rows_and_with_who_reads_them_whole() -> None:
    """Above what is held anyway, LightGBM adds bytes per row, and others floats."""
    few, many = of_rows(800_000), of_rows(900_000)
    boosted, whole = training_need([lightgbm()], few), training_need([forest("onehot")], few)
    assert training_need([lightgbm()], many).of(1) > boosted.of(1)
    assert whole.of(1) > boosted.of(1)
    both = training_need([lightgbm(), forest("onehot")], few)
    assert both.of(2) > max(boosted.of(1), whole.of(1))


def test_floats_on_maps_count_where_the_limit_counts_them() -> None:
    """What is beyond HELD_BYTES of a table that somebody reads whole, and of none that nobody does."""
    sets = of_rows(2_500_000)
    floats = 8 * len(sets.features) * len(sets.train)
    assert training_need([forest("ordinal")], sets).files == floats - HELD_BYTES
    assert training_need([lightgbm()], sets).files == 0


@pytest.mark.parametrize("known", [10, 3_000, 50_000, 400_000])
def test_so_many_different_texts_are_foreseen_as_the_first_rows_tell(known: int) -> None:
    """Few, many, and as many as there are rows: within a fifth, where values are as frequent."""
    values = pd.Series(np.random.default_rng(0).integers(known, size=20_000))
    assert different(values, 400_000) == pytest.approx(known, rel=0.2)
    assert different(pd.Series(range(20_000)), 400_000) == 400_000
    assert different(pd.Series([], dtype=float), 0) <= 1


def test_each_fold_is_encoded_beside_the_whole() -> None:
    """Three folds of the same rows take four times what the tables of these take."""
    once = of_rows(100_000)
    rows = np.ones(len(once.train), dtype=bool)
    folds = tuple(Fold(0, once, rows, np.arange(len(once.test))) for _ in range(3))
    whole, parted = (_Work.of([lightgbm()], one) for one in (once, replace(once, folds=folds)))
    assert parted.tables() == 4 * whole.tables()
    assert sum(size for *_, size in parted.encoded()) == 4 * sum(
        size for *_, size in whole.encoded()
    )
    assert parted.fits() == whole.fits()


def test_the_message_names_the_algorithms_that_need_most_and_other_ways_out() -> None:
    """What each takes, a sample, `search`, `engine`: of a step that would not go one at a time."""
    sets = of_rows(2_000_000)
    needed = training_need([lightgbm(), forest("ordinal")], sets)
    with pytest.raises(NotEnoughMemory) as caught:
        foresee(needed, limit(65_000_000))
    said = str(caught.value)
    assert re.search(r"of it lightgbm [\d.]+ GB, random_forest [\d.]+ GB", said)
    for way_out in ("a sample of about", "out of `search`", "(`engine`)"):
        assert way_out in said


def test_a_search_says_what_it_needs_and_ends_before_it_would_be_killed() -> None:
    """A note at the largest rung; an error before anything is trained; asked only where something is."""
    spec, sets = experiment([one("lightgbm", n_estimators=5)]), training_sets()

    def events(engine: Threads) -> list[Event]:
        return list(search(configurations(spec), sets, spec, NothingKnown(), engine, lambda: 0.0))

    def said(left: int) -> list[str]:
        found = events(Threads(2, lambda: limit(left)))
        return [event.text for event in found if isinstance(event, Note)]

    told = "the training step needs about 0.1 GB of 0.2 GB"
    assert any(text.startswith(told) for text in said(200_000_000))
    assert not any("needs about" in text for text in said(GIGABYTE))
    with pytest.raises(NotEnoughMemory):
        events(Threads(2, lambda: limit(-200_000_000)))
    nothing = Threads(2, lambda: limit(0)).train([], sets, spec)
    assert list(nothing) == []
