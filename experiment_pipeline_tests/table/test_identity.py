"""Rows are recognised whatever columns and rows came or went; other rows are not."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.table.clusters import FittedRows, sample_rows
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of


def _table(n: int = 3_000, seed: int = 0) -> pd.DataFrame:
    """Rows as people have them: an id, two measures, two columns of few values."""
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": [f"{seed}-{number}" for number in range(n)],
            "age": generator.integers(18, 90, n),
            "income": generator.lognormal(10, 1, n).round(2),
            "region": generator.choice(["north", "south"], n),
            "member": generator.random(n) < 0.3,
        }
    )


def _overlap(before: pd.DataFrame, now: pd.DataFrame, *ids: str) -> float:
    return sample_rows(before, ids).overlap(now, ids, {})


def test_dropping_or_adding_columns_and_shuffling_rows_changes_nothing():
    """All rows are recognised by the columns that are still there."""
    rows = _table().drop(columns="id")
    assert (
        _overlap(rows, rows.drop(columns="income").sample(frac=1, random_state=0)) > 0.9
    )
    assert _overlap(rows, rows.assign(month=3)[[*reversed(rows.columns), "month"]]) == 1


def test_a_row_more_or_less_is_a_row_more_or_less():
    """The overlap is the share of the present rows that was seen, within
    three points.
    """
    rows, others = _table().drop(columns="id"), _table(seed=1).drop(columns="id")
    assert _overlap(rows, pd.concat([rows, others[:1]])) == pytest.approx(1, abs=1e-3)
    assert _overlap(rows[:1_500], rows) == pytest.approx(0.5, abs=0.03)
    half = pd.concat([rows[:1_500], others[:1_500]])
    assert _overlap(rows, half) == pytest.approx(0.5, abs=0.05)


def test_another_table_of_the_same_kind_is_not_taken_for_the_same_rows():
    """Rows that look alike by chance are not counted, with ids and without."""
    rows, others = _table(), _table(seed=1)
    assert _overlap(rows, others, "id") == 0
    bare, other = rows.drop(columns="id"), others.drop(columns="id")
    assert _overlap(bare, other) == pytest.approx(0, abs=0.01)
    # With rounded incomes many rows have an equal by chance.
    alike = [frame.assign(income=frame["income"].round(-2)) for frame in (bare, other)]
    assert _overlap(*alike) < 0.1


def test_declared_ids_decide_whatever_the_other_columns_say():
    """A corrected value is no other row, and an id that is gone leaves the other
    columns.
    """
    rows = _table()
    corrected = rows.assign(income=rows["income"] * 2)
    assert _overlap(rows, corrected, "id") == 1
    assert _overlap(rows, rows.drop(columns="id"), "id") == 1
    # Declared only later: the column was there.
    assert sample_rows(rows, ()).overlap(corrected, ["id"], {}) == 1


def test_wide_tables_keep_the_ids_and_the_columns_that_tell_most():
    """A sample is bounded: 1,000 rows, 64 columns."""
    rows = _table()
    wide = pd.concat(
        [rows, pd.DataFrame({f"c{i}": 0 for i in range(90)}, rows.index)], axis=1
    )
    sample = sample_rows(wide, ["member"])
    assert sample.hashes.shape == (1_000, 64)
    assert list(sample.hashes.columns[:4]) == ["member", "id", "income", "age"]


def test_fitted_rows_know_their_rows_and_survive_storing():
    """Every train row is found, no other; without the column nothing can be told."""
    rows, others = (
        _table(seed=seed).rename(columns={"id": "the\nid"}) for seed in (0, 1)
    )
    spec = spec_of(split={"by": "random", "id_columns": ["the\nid"]})
    fitted = FittedRows.of(rows, spec, ["age", "income"])
    again = FittedRows.from_bytes(fitted.to_bytes(), "v0001")
    assert again.columns == ("the\nid",)
    both = pd.concat([others, rows[:7]])
    assert again.among(both).sum() == 7
    assert again.among(both.drop(columns="the\nid")) is None
    with pytest.raises(InvalidModel, match="v0001"):
        FittedRows.from_bytes(b"PAR1", "v0001")
    # They go by what the split keeps together: groups, or equal features where there
    # are no ids.
    rows = rows.assign(patient=rows.index // 3)
    spec = spec_of(split={"by": "group", "column": "patient"})
    assert FittedRows.of(rows[:4], spec, ["age"]).among(rows).sum() == 6
    bare = spec_of()
    assert FittedRows.of(rows[:4], bare, ["income", "age"]).columns == ("age", "income")
