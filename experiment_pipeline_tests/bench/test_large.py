"""The benchmark of large searches searches what it says, and accounts for all of it."""

from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline_tests.bench import large


def test_a_search_is_as_large_as_it_is_asked_for_and_accounted_for():
    """Rows, features and the status of each configuration; forests and linear models from 14 on."""
    asked = large.Asked(rows=1_000, columns=4, configurations=2, workers=2, halving=True)
    sets, found = asked.sets(), large.searched(asked)
    assert (len(sets.train) + len(sets.test), len(sets.features)) == (1_000, 4)
    assert found.seconds > 0
    assert found.peak_bytes > 50_000_000
    assert found.accounts == {"trained": 2}
    mixed = configurations(large.Asked(1_000, 4, 14, 2, halving=False).spec())
    assert len(mixed) == 14
    assert {one.algorithm for one in mixed} == {"lightgbm", "random_forest", "linear"}
