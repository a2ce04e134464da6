"""A defs.yaml is judged as a text first: syntax, outer keys, and what YAML would swallow."""

import pytest

from experiment_pipeline.spec.reading import read_component_file

GOOD = "type: experiment_pipeline.Experiment\nattributes:\n  target: late\n  split: {by: random}\n"


def test_a_sound_file_is_told_nothing() -> None:
    """The component's type and line are read, and there is nothing to say."""
    file = read_component_file(f"# a comment\n{GOOD}")
    assert (file.type_name, file.type_line) == ("experiment_pipeline.Experiment", 2)
    assert not file.problems
    assert not file.repetitions


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "holds no `type:` and `attributes:`"),
        ("just words", 1, "holds no `type:` and `attributes:`"),
        (GOOD.replace("late", "[late"), 4, "is no YAML: while parsing a flow sequence"),
        (GOOD.replace("  target", "\ttarget"), 3, "is no YAML: while scanning"),
        (GOOD.replace("  target", "\ttarget"), 3, "; indent with spaces"),
        (GOOD.replace("late", "a: b"), 3, "; indent it as its neighbours, or quote the value"),
        (f"{GOOD}  data: !!python/object/apply:os.system [ls]\n", 5, "makes no plain value"),
        (GOOD.replace("attributes", "atributes"), 2, "did you mean 'attributes'?"),
        (f"{GOOD}target: late\n", 5, "unknown key 'target'; it belongs under attributes"),
        (GOOD.partition("\n")[2], 1, "type is missing"),
        (GOOD.replace("experiment_pipeline.Experiment", "3"), 1, "type is no text"),
        ("type: a.B\nattributes: [1]\n", 2, "attributes holds no keys and values"),
        (GOOD.replace("target", "2013"), 3, "2013 is no text; put the key in quotes"),
    ],
)
def test_a_broken_file_is_told_its_line(text: str, line: int, message: str) -> None:
    """What Dagster would answer with a stack is one finding with a line."""
    [problem] = read_component_file(text).problems
    assert problem.line == line
    assert message in problem.message


def test_a_key_that_stands_twice_is_found() -> None:
    """YAML keeps the last of two equal keys, which would be a silent change."""
    text = GOOD + "  target: other\n  search:\n    - algorithm: dummy\n      algorithm: linear\n"
    assert [tuple(found) for found in read_component_file(text).repetitions] == [
        (5, "target stands on line 3 already; keep one of them"),
        (8, "search.0.algorithm stands on line 7 already; keep one of them"),
    ]


def test_a_second_document_is_found() -> None:
    """Two experiments in one file would share the folder's name."""
    [found] = read_component_file(f"{GOOD}---\n{GOOD}").repetitions
    assert (found.line, found.message[:17]) == (6, "a second document")


def test_attributes_may_be_left_empty() -> None:
    """What is missing in an experiment without attributes is for the spec to say."""
    assert not read_component_file("type: a.B\nattributes:\n").problems
