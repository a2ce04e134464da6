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
    found = large.searched(asked, asked.sets())
    assert found.seconds > 0
    assert found.peak_bytes > found.added_bytes >= 0
    assert found.accounts == {"trained": 2}
    assert str(found) == "2 trained"


def test_growth_compares_one_doubling_at_a_time():
    """One row for the base, one for each thing that doubles."""
    base = large.Asked(1_000, 4, 2, 2, halving=True)
    names = [one.name for one in large.growth(base, repeats=1)]
    assert [name.split(":")[0] for name in names] == [
        "search, 2 configurations on 1,000 x 4",
        "search, 2 configurations on 2,000 x 4",
        "search, 2 configurations on 1,000 x 8",
        "search, 4 configurations on 1,000 x 4",
    ]
