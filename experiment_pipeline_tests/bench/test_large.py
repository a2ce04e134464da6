"""The benchmark of large searches searches what it says."""

from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline_tests.bench.large import Asked


def test_a_search_is_as_large_as_it_is_asked_for():
    """Rows, features and configurations come out; forests and linear models from 14 on."""
    asked = Asked(rows=1_000, columns=4, configurations=2, workers=2, halving=True)
    sets = asked.sets()
    assert (len(sets.train) + len(sets.test), len(sets.features)) == (1_000, 4)
    assert {one.algorithm for one in configurations(asked.spec())} == {"lightgbm"}
    mixed = configurations(Asked(1_000, 4, 14, 2, halving=False).spec())
    assert len(mixed) == 14
    assert {one.algorithm for one in mixed} == {"lightgbm", "random_forest", "linear"}
