"""Dagster metadata: what names and values of the table become in it."""

from experiment_pipeline.reporting.markdown import fenced
from experiment_pipeline.stages import asset

EVIL = "<script>alert(1)</script> [x](http://evil)"


def test_notes_show_names_of_the_table_as_they_are() -> None:
    """A class or a column may be called anything; the browser gets it as text, in one line."""
    text = asset.notes([f"class {EVIL}\n# of the table", "plain"]).value
    assert "<script>" not in text
    assert "[x](" not in text
    assert text.splitlines()[1:] == ["- plain"]
    assert asset.notes([]).value == "none"


def test_a_block_of_code_ends_where_it_should() -> None:
    """Backticks in a traceback or a YAML make the fence longer."""
    assert fenced("text", "a\n```\nb") == "````text\na\n```\nb\n````"
