"""A defs.yaml as a text: what is wrong with it before anyone asks what its keys mean.

The outer keys, and what YAML passes over in silence (a key that stands twice, a
second document). In: text. Out: findings with their line. `attributes` is the business of `spec`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from experiment_pipeline.spec.names import guessed
from experiment_pipeline.spec.yaml_nodes import (
    MalformedYaml,
    Oddity,
    compose,
    line_of,
    repeated_keys,
)

# As Dagster declares a component file.
OUTER_KEYS = ("type", "attributes", "requirements", "template_vars_module", "post_processing")
_TEXT = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"


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
        documents = compose(text)
    except MalformedYaml as error:
        return ComponentFile("", error.oddity.line, (error.oddity,))
    if not documents or not isinstance(documents[0], yaml.MappingNode):
        return ComponentFile("", 1, (Oddity(1, "holds no `type:` and `attributes:`; write them"),))
    outer = {str(key.value): (key, value) for key, value in documents[0].value}
    key, value = outer.get("type", (documents[0], documents[0]))
    further = [
        Oddity(line_of(other), "a second document (---): a folder holds one experiment; move it")
        for other in documents[1:]
    ]
    return ComponentFile(
        str(value.value) if "type" in outer else "",
        line_of(key),
        tuple(_outer_problems(outer)),
        (*further, *_repetitions(documents[0])),
    )


def _outer_problems(outer: dict[str, tuple[yaml.Node, yaml.Node]]) -> Iterator[Oddity]:
    for name, (key, _) in outer.items():
        if name not in OUTER_KEYS:
            hint = guessed(name, OUTER_KEYS) or "it belongs under attributes; "
            yield Oddity(
                line_of(key), f"unknown key {name!r}; {hint}allowed: {', '.join(OUTER_KEYS)}"
            )
    if "type" not in outer:
        yield Oddity(1, "type is missing; write type: experiment_pipeline.Experiment")
    elif outer["type"][1].tag != _TEXT:
        yield Oddity(line_of(outer["type"][0]), "type is no text; write a component's import path")
    if "attributes" not in outer:
        return
    attributes = outer["attributes"][1]
    if attributes.tag == _NULL:
        return
    if not isinstance(attributes, yaml.MappingNode):
        yield Oddity(line_of(attributes), "attributes holds no keys and values; write key: value")
        return
    for key, _ in attributes.value:
        if key.tag != _TEXT:
            yield Oddity(line_of(key), f"{key.value} is no text; put the key in quotes")


def _repetitions(document: yaml.Node) -> Iterator[Oddity]:
    for path, line, first in repeated_keys(document):
        name = ".".join(map(str, path)).removeprefix("attributes.")
        yield Oddity(line, f"{name} stands on line {first} already; keep one of them")
