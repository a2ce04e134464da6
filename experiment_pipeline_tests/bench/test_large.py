"""The benchmark of large searches searches what it says, and accounts for all of it."""

import pytest

from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline_tests.bench import large


@pytest.fixture(scope="module")
def asked() -> large.Asked:
    """A search that ends at once."""
    return large.Asked(rows=1_000, columns=4, configurations=2, workers=2, halving=True)


def test_a_search_is_as_large_as_it_is_asked_for(asked):
    """Rows, features and configurations come out; forests and linear models from 14 on."""
    sets = asked.sets()
    assert len(sets.train) + len(sets.test) == 1_000
    assert len(sets.features) == 4
    assert {one.algorithm for one in configurations(asked.spec())} == {"lightgbm"}
    mixed = configurations(large.Asked(1_000, 4, 14, 2, halving=False).spec())
    assert len(mixed) == 14
    assert {one.algorithm for one in mixed} == {"lightgbm", "random_forest", "linear"}


def test_a_search_reports_seconds_memory_and_accounts(asked):
    """Every configuration is in the accounts."""
    found = large.searched(asked)
    assert found.seconds > 0
    assert found.peak_bytes > 50_000_000
    assert found.accounts == {"trained": 2}
