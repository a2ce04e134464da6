"""YAML as nodes: where a key stands, and how much a short text may stand for."""

import time

import pytest
import yaml

from experiment_pipeline.spec.reading import (
    DEEPEST,
    MOST_REPEATED,
    MalformedYaml,
    closest_line,
    compose,
    repeated_keys,
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


def bomb(levels: int) -> str:
    """Ten aliases of ten aliases: 10 ** levels values, a line per level."""
    values = ["x", *(f"*k{level}" for level in range(levels))]
    lines = [f"  k{n}: &k{n} [{', '.join([values[n]] * 10)}]\n" for n in range(levels)]
    return "".join(lines)


@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.CSafeLoader])
def test_aliases_that_stand_for_too_much_are_refused_at_once(loader) -> None:
    """Ten lines that stand for 10**10 values end in an error with its line, within a blink."""
    before = time.process_time()
    with pytest.raises(MalformedYaml, match=f"more than {MOST_REPEATED:,} values") as caught:
        compose(bomb(10), loader)
    assert time.process_time() - before < 1
    assert 3 < caught.value.oddity.line < 8


def test_merged_keys_count_too() -> None:
    """`<<: *name` repeats as an alias does."""
    merged = (
        bomb(4)
        + "  m0: &m0 {a: *k3}\n"
        + "".join(f"  m{n}: {{<<: *m0, b{n}: *k3}}\n" for n in range(1, 20))
    )
    with pytest.raises(MalformedYaml, match="repeat more than"):
        compose(merged)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a {learning_rate: 0.1, num_leaves: [3, 7]}\nb: *a\nc: {<<: *a, d: 1}\n",
        bomb(4),
        "[" + ", ".join(["x"] * (MOST_REPEATED + 1)) + "]",
        "\n".join(f"k{n}: {{a: &a{n} 1, b: *a{n}}}" for n in range(500)),
    ],
    ids=["a shared part", "ten thousand", "a long list", "many anchors"],
)
def test_honest_files_pass(text: str) -> None:
    """Sharing a part, and a file that is simply long, are no attack."""
    assert compose(text, yaml.CSafeLoader)


def test_an_alias_inside_itself_is_refused() -> None:
    """It would never end."""
    with pytest.raises(MalformedYaml, match=r"line 2: \*a stands inside itself"):
        compose("a: &a\n  - *a\n")


@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.CSafeLoader])
@pytest.mark.parametrize("text", ["[" * 5000, "- " * 5000, "{a: " * 5000])
def test_a_bottomless_text_is_refused(text: str, loader) -> None:
    """Readers of nested values call themselves; the interpreter would give up."""
    with pytest.raises(MalformedYaml, match=f"more than {DEEPEST} deep|is no YAML"):
        compose(text, loader)


def test_what_is_no_yaml_is_told_its_line() -> None:
    """Syntax and characters that YAML forbids."""
    with pytest.raises(MalformedYaml, match="line 2: is no YAML: while parsing"):
        compose("a: 1\nb: }\n")
    with pytest.raises(MalformedYaml, match="line 2: is no YAML: special characters"):
        compose("a: 1\nb: \x01\n")


@pytest.mark.parametrize(
    ("location", "line"),
    [
        ((), 1),
        (("columns", "age", "dtype"), 3),
        (("columns", "age", "dtpe"), 2),
        (("columns", 9, "dtype"), 4),
        (("checks", 1, "left"), 7),
        (("checks", 5), 5),
        (("nothing", "at", "all"), 1),
    ],
)
def test_a_path_leads_to_the_closest_line(location, line: int) -> None:
    """Of the key, or of what would hold it."""
    [root] = compose(TEXT)
    assert closest_line(root, location) == line


def test_keys_that_stand_twice_are_found() -> None:
    """With both lines; in a list, too."""
    [root] = compose("a: 1\nb: {c: 1, d: 2}\na: 2\ne:\n  - f: 1\n    f: 2\n")
    assert list(repeated_keys(root)) == [(("a",), 3, 1), (("e", 0, "f"), 6, 5)]
    [flow] = compose("{a: 1, a: 2}")
    assert list(repeated_keys(flow)) == [(("a",), 1, 1)]
