"""Equal rows, copies or different people, and what an interval resamples."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.table.clusters import (
    canonical_order,
    equal_rows,
    resampling_clusters,
)
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of
from experiment_pipeline_tests.table.made_rows import FEATURES, RANDOM, experiment, made

RNG = np.random.default_rng


def flags(rows: int, shares, seed: int = 0) -> pd.DataFrame:
    """Return independent flags."""
    drawn = RNG(seed).random((rows, len(shares))) < np.asarray(shares)
    return pd.DataFrame(drawn, columns=[f"f{i}" for i in range(len(shares))])


def measures(rows: int, number: int = 2) -> pd.DataFrame:
    """Return measures, none of which occurs twice."""
    drawn = RNG(1).normal(size=(rows, number))
    return pd.DataFrame(drawn, columns=[f"m{i}" for i in range(number)])


def tied(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns twice, the second time by other names for the values."""
    return frame.join(frame.add_prefix("name of ").astype(str))


def shares(frame: pd.DataFrame) -> tuple[float, float]:
    """Return which shares of the equal rows are people for sure, and copies
    for sure.
    """
    found = equal_rows([frame], list(frame.columns), "s")
    assert found.repeated.any()
    return found.by_chance[found.repeated].mean(), found.copied[found.repeated].mean()


@pytest.mark.parametrize(
    "table",
    [
        flags(8_000, np.linspace(0.03, 0.3, 14)),
        flags(2_000, [0.01]),
        tied(flags(2_000, [0.1] * 3)),
    ],
    ids=["14 skewed flags", "1 rare flag", "flags and their names"],
)
def test_people_of_few_values_are_people(table):
    """Where rows around a combination are many, its equal rows are different people."""
    people, copies = shares(table)
    assert people > 0.95
    assert copies < 0.02


@pytest.mark.parametrize(
    "once",
    [
        measures(1_000, 1),
        measures(1_000, 1).join(flags(1_000, [0.3] * 3)),
        tied(measures(1_000)),
        flags(1_000, [0.3] * 3).assign(a=RNG(2).integers(0, 20_000, 1_000)),
    ],
    ids=["one measure", "a measure and flags", "tied measures", "whole numbers"],
)
def test_a_concatenated_file_is_copies(once):
    """Where nothing around a row lets expect another, equal rows are copies."""
    people, copies = shares(pd.concat([once] * 2, ignore_index=True))
    assert people < 0.05
    assert copies > 0.95


def test_the_order_of_rows_and_columns_changes_no_answer():
    """Each row is judged as before, wherever it stands."""
    frame = flags(3_000, [0.2] * 8).assign(m=RNG(3).integers(0, 30, 3_000))
    usual = equal_rows([frame], list(frame.columns), "s")
    mixed = frame.sample(frac=1, random_state=0)
    other = equal_rows([mixed], list(frame.columns[::-1]), "s")
    for name in ("hashes", "repeated", "by_chance", "copied"):
        assert np.array_equal(getattr(usual, name)[mixed.index], getattr(other, name))


def test_intervals_resample_copies_together_and_people_apart():
    """Rows four times are a quarter of the clusters; people of few values are one
    cluster each.
    """
    spec = experiment(RANDOM)
    copies = pd.concat([made(100)] * 4, ignore_index=True)
    clusters = resampling_clusters(copies, spec, ["a", "b"])
    assert len({*clusters}) == 100
    people = made(400, a=np.arange(400) % 5)
    assert len({*resampling_clusters(people, spec, ["a", "b"])}) == 400
    # A corrected label moves no copy: only people who equal others are told apart by
    # it.
    relabelled = copies.assign(readmitted=copies["readmitted"].to_numpy()[::-1])
    after = resampling_clusters(relabelled, spec, ["a", "b"])
    assert np.array_equal(clusters, after)


def test_clusters_of_a_split_by_time_know_that_they_are_consecutive():
    """Days may resemble their neighbours; rows of a random split are strangers."""
    rows = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=6, freq="12h")})
    by_day = resampling_clusters(
        rows, spec_of(split={"by": "time", "column": "day"}), []
    )
    assert isinstance(by_day, ConsecutiveClusters)
    assert by_day.tolist() == [0, 0, 1, 1, 2, 2]
    assert not isinstance(
        resampling_clusters(rows, spec_of(), ["day"]), ConsecutiveClusters
    )


def test_ids_that_repeat_over_time_are_a_second_clustering():
    """Customers who come on several days are numbered; ids met once, and other splits,
    are not.
    """
    rows = pd.DataFrame(
        {"day": pd.date_range("2024-01-01", periods=4), "who": [*"abab"]}
    )

    def dimensions(frame: pd.DataFrame, **split: object) -> int:
        return resampling_clusters(frame, spec_of(split=split), ["day"]).ndim

    by_time = {"by": "time", "column": "day"}
    spec = spec_of(split={**by_time, "id_columns": ["who", "day"]})
    days, who = resampling_clusters(rows, spec, []).T
    assert days.tolist() == [0, 1, 2, 3]
    assert who[0] == who[2] != who[1] == who[3]
    assert dimensions(rows, **by_time) == 1
    assert dimensions(rows[:2], **by_time, id_columns=["who"]) == 1
    assert dimensions(rows, by="random", id_columns=["who"]) == 1


def test_a_column_that_no_model_reads_leaves_the_order_of_rows():
    """It decides only between rows that are equal in features and target."""
    frame, spec = made(100), experiment(RANDOM)
    order = canonical_order(frame, spec, FEATURES)
    noted = frame.assign(note=np.arange(100)[::-1])
    assert canonical_order(noted, spec, FEATURES).tolist() == order.tolist()
