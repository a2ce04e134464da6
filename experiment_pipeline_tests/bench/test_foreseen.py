"""The benchmark of foreseen memory measures what it says."""

import pytest

from experiment_pipeline_tests.bench import foreseen


@pytest.mark.parametrize("name", ["lightgbm", "linear"])
def test_a_peak_is_held_against_what_was_foreseen(name: str) -> None:
    """Both numbers are told, in MB; every configuration was trained."""
    found = foreseen.one_search(name, 2_000, 4)
    assert found.value > 0
    assert "2,000 x 4" in found.name
    assert "MB foreseen, 2 configurations" in found.name
