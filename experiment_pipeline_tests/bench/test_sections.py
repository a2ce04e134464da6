"""A part of the benchmark refreshes its own section of the page and no other."""

from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.sections import HEAD, refreshed, table

ORDER = ["One", "Two", "Three"]


def test_a_new_section_comes_at_its_place():
    """Whatever the order in which the parts are run."""
    page = refreshed("", "Two", "two", ORDER)
    page = refreshed(page, "One", "one", ORDER)
    assert page == f"{HEAD}\n\n## One\n\none\n\n## Two\n\ntwo\n"


def test_the_other_sections_stay_as_they_are():
    """Only the body of the refreshed one is replaced; one that no part writes is dropped."""
    page = f"{HEAD}\n\n## One\n\n| a |\n|---|\n\nold\n\n## Gone\n\nx\n\n## Three\n\nkept\n"
    again = refreshed(page, "Three", "new\n", ORDER)
    assert again == f"{HEAD}\n\n## One\n\n| a |\n|---|\n\nold\n\n## Three\n\nnew\n"


def test_a_table_has_a_line_for_each_row():
    """Below the names of its columns."""
    lines = table(["measured", "figure", "to reach"], [Measured("x", 1.25, "s", 2.0)])
    assert (
        lines == "| measured | figure | to reach |\n| --- | --- | --- |\n| x | **1.2 s** | ≤ 2 s |"
    )
