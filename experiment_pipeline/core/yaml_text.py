"""A defs.yaml as a text: what is wrong with it before anyone asks what its keys mean.

Syntax, the outer keys, and what YAML passes over in silence (a key that stands twice, a
second document). In: text. Out: findings with their line. `attributes` is the business of `spec`.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import yaml

# As Dagster declares a component file.
OUTER_KEYS = ("type", "attributes", "requirements", "template_vars_module", "post_processing")
_TEXT = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"


class Oddity(NamedTuple):
    """Something wrong with the text; `line` counts from 1."""

    line: int
    message: str


@dataclass(frozen=True)
class ComponentFile:
    """The outside of a defs.yaml.

    Attributes:
        type_name: of the component, "" when the text does not get that far.
        type_line: where it stands.
        problems: for which no component could be loaded.
        repetitions: what only the loaded component can judge: keys that stand twice, and
            further documents.
    """

    type_name: str
    type_line: int
    problems: tuple[Oddity, ...]
    repetitions: tuple[Oddity, ...] = ()


def read_component_file(text: str) -> ComponentFile:
    """Look at a defs.yaml from outside."""
    try:
        documents = [*yaml.compose_all(text, Loader=yaml.SafeLoader)]
    except yaml.MarkedYAMLError as error:
        return ComponentFile("", 1, (_syntax(error),))
    if not documents or not isinstance(documents[0], yaml.MappingNode):
        return ComponentFile("", 1, (Oddity(1, "holds no `type:` and `attributes:`; write them"),))
    outer = {str(key.value): (key, value) for key, value in documents[0].value}
    key, value = outer.get("type", (documents[0], documents[0]))
    further = [
        Oddity(_line(other), "a second document (---): a folder holds one experiment; move it")
        for other in documents[1:]
    ]
    return ComponentFile(
        str(value.value) if "type" in outer else "",
        _line(key),
        tuple(_outer_problems(outer)),
        (*further, *_repeated_keys(documents[0], "")),
    )


def _syntax(error: yaml.MarkedYAMLError) -> Oddity:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    context = f"{error.context}: " if error.context else ""
    return Oddity(line, f"is no YAML: {context}{error.problem}")


def _outer_problems(outer: dict[str, tuple[yaml.Node, yaml.Node]]) -> Iterator[Oddity]:
    for name, (key, _) in outer.items():
        if name not in OUTER_KEYS:
            close = difflib.get_close_matches(name, OUTER_KEYS, n=1)
            hint = f"did you mean {close[0]!r}? " if close else "it belongs under attributes; "
            yield Oddity(
                _line(key), f"unknown key {name!r}; {hint}allowed: {', '.join(OUTER_KEYS)}"
            )
    if "type" not in outer:
        yield Oddity(1, "type is missing; write type: experiment_pipeline.Experiment")
    elif outer["type"][1].tag != _TEXT:
        yield Oddity(_line(outer["type"][0]), "type is no text; write a component's import path")
    if "attributes" not in outer:
        return
    attributes = outer["attributes"][1]
    if attributes.tag == _NULL:
        return
    if not isinstance(attributes, yaml.MappingNode):
        yield Oddity(_line(attributes), "attributes holds no keys and values; write key: value")
        return
    for key, _ in attributes.value:
        if key.tag != _TEXT:
            yield Oddity(_line(key), f"{key.value} is no text; put the key in quotes")


def _repeated_keys(node: yaml.Node, path: str) -> Iterator[Oddity]:
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _repeated_keys(item, f"{path}{number}.")
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[tuple[str, str], int] = {}
    for key, value in node.value:
        first = lines.setdefault((key.tag, str(key.value)), _line(key))
        if first != _line(key):
            name = f"{path}{key.value}".removeprefix("attributes.")
            yield Oddity(_line(key), f"{name} stands on line {first} already; keep one of them")
        yield from _repeated_keys(value, f"{path}{key.value}.")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
