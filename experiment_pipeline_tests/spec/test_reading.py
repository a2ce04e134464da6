"""YAML as text: where a key stands, what YAML would pass over, how much a short text
may hold.
"""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.spec.reading import (
    MOST_REPEATED,
    YamlFile,
    read_component,
    to_yaml,
)

TEXT = """\
columns:
  age:
    dtype: int64
  9: {dtype: str}
checks:
  - left: a
  - left: b
"""
TYPE = "experiment_pipeline.Experiment"
GOOD = f"type: {TYPE}\nattributes:\n  target: late\n  split: {{by: random}}\n"


def bomb(levels: int) -> str:
    """Ten aliases of ten aliases: 10 ** levels values, a line per level."""
    values = ["x", *(f"*k{level}" for level in range(levels))]
    lines = [f"  k{n}: &k{n} [{', '.join([values[n]] * 10)}]\n" for n in range(levels)]
    return "".join(lines)


def refused(text: str) -> str:
    """The error of a component file's text, on one line."""
    with pytest.raises(InvalidExperiment) as caught:
        read_component(YamlFile(text, "defs.yaml"), TYPE)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a {learning_rate: 0.1, num_leaves: [3, 7]}\nb: *a\nc: {<<: *a, d: 1}\n",
        bomb(4),
    ],
    ids=["a shared part", "ten thousand"],
)
def test_honest_files_pass(text: str):
    """Sharing a part is no attack."""
    assert YamlFile(text, "a.yaml").values()


def test_yaml_is_read_as_people_mean_it():
    """An unquoted yes or off is a text, an exponent without a dot is a number."""
    text = "[yes, NO, on, Off, true, False, 1e-3, -2E+5, 3, 0.5, 1e, e3, 2024-01-01]"
    *others, day = YamlFile(text, "a.yaml").values()
    assert others == [
        "yes",
        "NO",
        "on",
        "Off",
        True,
        False,
        0.001,
        -2e5,
        3,
        0.5,
        "1e",
        "e3",
    ]
    assert day.year == 2024


@settings(max_examples=40)
@given(
    st.lists(
        st.one_of(
            st.text(),
            st.from_regex(r"[-+]?\d*\.?\d*[eE]?\d*"),
            st.floats(allow_nan=False),
        )
    )
)
def test_what_is_written_is_read_as_it_was(values: list[str | float]):
    """A text that looks like a number stays one."""
    assert YamlFile(to_yaml({"a": values, "b": 0}), "a.yaml").values() == {
        "a": values,
        "b": 0,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(10), f"repeat more than {MOST_REPEATED:,} values"),
        ("a: &a\n  - *a\n", "contains itself"),
        ("[" * 500, "more than 100 deep"),
    ],
    ids=["aliases of aliases", "an alias inside itself", "brackets"],
)
def test_a_text_that_stands_for_too_much_is_refused_at_once(text: str, message: str):
    """With its line, within seconds: readers of nested values would not end."""
    before = time.thread_time()
    assert message in refused(text)
    assert time.thread_time() - before < 10


@pytest.mark.parametrize(
    ("location", "line"),
    [
        ((), 1),
        (("columns", "age", "dtpe"), 2),
        (("columns", 9, "dtype"), 4),
        (("checks", 1, "left"), 7),
        (("nothing", "at", "all"), 1),
    ],
)
def test_a_path_leads_to_the_closest_line(location, line: int):
    """Of the key, or of what would hold it."""
    assert YamlFile(TEXT, "a.yaml").place(location) == f"a.yaml:{line}"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "holds no `type:` and `attributes:`"),
        (
            GOOD.replace("late", "[late"),
            3,
            "is not YAML: this [ is not closed in time: did not find expected",
        ),
        (
            f'{GOOD}  metric: "a\n  task: b\n  name: "c"\n',
            5,
            'this " is not closed in time: did not find expected key on line 7',
        ),
        (GOOD.replace("late", "la\x01te"), 3, "is not YAML in UTF-8: "),
        (GOOD.replace("  target", "\ttarget"), 3, "; check its indentation"),
        (GOOD.replace("late", "a: b"), 3, "quote a text that holds a colon"),
        (
            f"{GOOD}  data: !!python/object/apply:os.system [ls]\n",
            5,
            "is not YAML of plain values",
        ),
        (GOOD.partition("\n")[2], 1, "type: is missing"),
        (
            GOOD.replace("target", "2013"),
            3,
            "2013 should be a valid string; put it in quotes",
        ),
        (
            f"{GOOD}  search:\n    - a: 1\n      a: 2\n",
            7,
            "search.0.a is already on line 6",
        ),
        (f"{GOOD}---\n{GOOD}", 6, "holds a second document (---); keep one"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(text: str, line: int, message: str):
    """What Dagster would answer with a stack, and what YAML passes over, has a line."""
    error = refused(text)
    assert error.startswith(f"defs.yaml:{line}: ")
    assert message in error


def test_other_components_may_hold_several_documents():
    """Dagster allows it; only an experiment is named by its folder. Attributes may be
    empty.
    """
    text = "type: a.B\nattributes:\n---\ntype: a.B\n"
    assert read_component(YamlFile(text, "defs.yaml"), TYPE).attributes is None


@pytest.mark.parametrize("value", ["9" * 5_000, "2026-02-31"])
def test_a_value_that_cannot_be_read_has_its_line(value: str):
    """A number of 5,000 digits, an impossible date."""
    with pytest.raises(InvalidExperiment, match=r"^defs\.yaml:3: "):
        YamlFile(f"a: 1\nb:\n  c: {value}\n", "defs.yaml").values()
