"""The benchmark's tables are cut as an experiment's are."""

import pytest

from experiment_pipeline_tests.bench import tables
from experiment_pipeline_tests.bench.tables import TABLES, TIME_AND_GROUPS, Table
from experiment_pipeline_tests.table.made_rows import cut_rows, leaks_of


@pytest.mark.parametrize(
    "table", [*TABLES[::3], *TIME_AND_GROUPS], ids=lambda table: table.name
)
def test_a_table_is_cut_into_disjoint_sets(table: Table):
    """Most rows are in train, nothing leaks between the sets, and what is excluded
    reaches no model.
    """
    cut = tables.cut(table, 1)
    parts = cut.sets.train, cut.sets.test, cut.validation
    rows = [set(part.index) for part in parts]
    assert sum(map(len, rows)) == len(set.union(*rows))
    assert len(rows[0]) > 600
    assert min(map(len, rows)) > 200
    sets = cut_rows(tables.rows_of(table, cut.spec), cut.spec, cut.sets.features)
    leaks = leaks_of(sets, cut.spec, cut.sets.features)
    # People of different crashes can be alike in eleven coarse columns.
    assert [
        leak for leak in leaks if cut.spec.split.by == "random" or "groups" in leak
    ] == []
    assert cut.spec.not_features <= set(cut.sets.train.columns)
    assert not cut.spec.not_features & set(cut.sets.features)
    assert len(cut.y_validation) == len(cut.validation)


def test_the_seed_decides_the_cut():
    """The same seed gives the same sets, another one others; changes reach the
    experiment.
    """
    jobs = next(table for table in TABLES if table.name == "jobs")
    one, again, other = (tables.cut(jobs, seed, halving=False) for seed in (1, 1, 2))
    assert one.sets.digests == again.sets.digests != other.sets.digests
    assert one.spec.halving is None
    assert other.spec.seed == 2
