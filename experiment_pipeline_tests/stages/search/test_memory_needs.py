"""Memory is foreseen: who would not fit is stopped with advice, who might is not."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment_pipeline.errors import NotEnoughMemory
from experiment_pipeline.stages.search.conclusions import Event, Note
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.engines.engine import Threads
from experiment_pipeline.stages.search.halving import search
from experiment_pipeline.stages.search.memory_needs import (
    MemoryNeed,
    foresee,
    training_need,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage.memory_limits import MemoryLimit
from experiment_pipeline_tests.results import NothingKnown
from experiment_pipeline_tests.stages.search.scenario import (
    experiment,
    lightgbm,
    one,
    training_sets,
)

GIGABYTE = 10**9
BYTES = st.integers(0, 100 * GIGABYTE)


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
    return TrainingSets(**vars(sets) | {"train": train, "inner": np.zeros(rows, dtype=bool)})


@given(
    shared=BYTES,
    fits=st.lists(BYTES, max_size=6),
    left=BYTES,
    workers=st.integers(1, 8),
    held=BYTES,
)
def test_nobody_is_stopped_who_may_fit(
    shared: int, fits: list[int], left: int, workers: int, held: int
) -> None:
    """One fit at a time is tried wherever a part of what is foreseen would do."""
    need = MemoryNeed(shared, tuple(sorted(fits, reverse=True)))
    if need.at_least > left:
        with pytest.raises(NotEnoughMemory, match="sample"):
            foresee(need, limit(left, held), workers)
        return
    found = foresee(need, limit(left, held), workers)
    assert 1 <= found.workers <= workers
    assert found.workers == 1 or need.of(found.workers) <= left or not found.fewer
    assert found.fewer == (found.workers < min(workers, max(len(fits), 1)))


def test_fewer_fits_at_a_time_go_where_all_would_not() -> None:
    """As many as fit; the note says so, with both numbers."""
    need = MemoryNeed(GIGABYTE, (GIGABYTE,) * 4)
    assert foresee(need, limit(5 * GIGABYTE), 4).workers == 4
    found = foresee(need, limit(3 * GIGABYTE, held=GIGABYTE), 4)
    assert (found.workers, found.fewer) == (2, True)
    assert "4.0 GB of 4.0 GB (a test): 2 fits at a time instead of 4" in found.said


def test_an_error_says_what_to_change() -> None:
    """What is needed, what there is, and four ways out."""
    with pytest.raises(NotEnoughMemory) as caught:
        foresee(MemoryNeed(9 * GIGABYTE, ()), limit(GIGABYTE, held=GIGABYTE), 2)
    said = str(caught.value)
    for part in ("10.0 GB of 2.0 GB (a test)", "1.0 GB are taken", "raise", "sample", "engine"):
        assert part in said


def test_the_need_grows_with_rows_and_with_who_reads_them_whole() -> None:
    """Above what is held anyway, LightGBM adds bytes per row, and others floats."""
    few, many = of_rows(800_000), of_rows(900_000)
    boosted, whole = training_need([lightgbm()], few), training_need([forest("onehot")], few)
    assert training_need([lightgbm()], many).of(1) > boosted.of(1)
    assert whole.of(1) > boosted.of(1)
    both = training_need([lightgbm(), forest("onehot")], few)
    assert both.of(2) > max(boosted.of(1), whole.of(1))


def test_a_search_says_what_it_needs_and_ends_before_it_would_be_killed() -> None:
    """A note at the largest rung; an error before anything is trained; asked only where something is."""
    spec, sets = experiment([one("lightgbm", n_estimators=5)]), training_sets()

    def events(engine: Threads) -> list[Event]:
        return list(search(configurations(spec), sets, spec, NothingKnown(), engine, lambda: 0.0))

    found = events(Threads(2, lambda: limit(GIGABYTE)))
    said = [event.text for event in found if isinstance(event, Note)]
    assert any(text.startswith("training needs about 0.1 GB of 1.0 GB") for text in said)
    with pytest.raises(NotEnoughMemory):
        events(Threads(2, lambda: limit(-200_000_000)))
    nothing = Threads(2, lambda: limit(0)).train([], sets, spec)
    assert list(nothing) == []
