"""YAML text → nodes that know their lines, within bounds that keep reading it cheap.

For both files; of defs.yaml also its outer keys, before any component is loaded; of schema.yaml
the whole judgement, InvalidSchema with file and line of every problem. What the keys
mean belongs to `experiment` and `schema`. An alias (`*name`) repeats a part of the file; ten lines
of aliases can stand for 10**10 values, which whoever walks through them never finishes. In: text.
Out: nodes, or MalformedYaml with its line.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from experiment_pipeline.errors import InvalidSchema, allowed_instead
from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.schema import SchemaFile
from experiment_pipeline.spec.sentences import Problem, a_line_each, explain

# The C parser, where it was built in: ten times faster.
FAST_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# How many values aliases may add to those that are written, and how deep values may be nested.
MOST_REPEATED = 100_000
DEEPEST = 100
STANDARD = "tag:yaml.org,2002:"
PLAIN = ("str", "int", "float", "bool", "null", "map", "seq")


class Oddity(NamedTuple):
    """Something wrong with the text; `line` counts from 1."""

    line: int
    message: str


class MalformedYaml(Exception):
    """The text is no YAML, or more than anybody wants to read."""

    def __init__(self, line: int, message: str) -> None:
        self.oddity = Oddity(line, message)
        super().__init__(f"line {line}: {message}")


def compose(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> list[yaml.Node]:
    """Return the root of each document; what an alias repeats is one node in several places.

    Args:
        text: of the file.
        loader: whose parser reads it.

    Raises:
        MalformedYaml: no YAML, nested too deeply, or aliases that stand for too much.
    """
    try:
        try:
            _refuse_excess(yaml.parse(text, Loader=FAST_LOADER))
        except yaml.YAMLError:  # told in the words of the caller's loader, or nested too deeply
            _refuse_excess(yaml.parse(text, Loader=loader))
        return [*yaml.compose_all(text, Loader=loader)]
    except yaml.MarkedYAMLError as error:
        raise _no_yaml(error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise MalformedYaml(line, f"is no YAML: {error.reason}") from None


class YamlFile:
    """A YAML text, and the path under which messages show it.

    Raises:
        MalformedYaml: as `compose`.
    """

    def __init__(self, text: str, path: str) -> None:
        self.path, self.documents = path, compose(text, FAST_LOADER)

    def place(self, location: Location) -> str:
        """`file:line` of a key (or list position), or of what would hold it."""
        line = closest_line(self.documents[0], location) if self.documents else 1
        return f"{self.path}:{line}"

    def switches(self, values: str) -> list[Problem]:
        """A problem for each unquoted yes, no, on or off at a place that the pattern matches."""
        return [
            Problem(
                at, f"unquoted, {said} is {truth} in YAML; write '{said}' for the text, or {truth}"
            )
            for at, said, truth in (_switches(self.documents[0]) if self.documents else ())
            if re.match(values, ".".join(map(str, at)))
        ]

    def values(self) -> Any:
        """Return the plain values of the one document.

        Raises:
            MalformedYaml: a second document, a key that stands twice, a value that is not plain.
        """
        for other in self.documents[1:]:
            raise MalformedYaml(line_of(other), "it holds a second document (---); keep one")
        if not self.documents:
            return None
        for at, line, first in repeated_keys(self.documents[0]):
            name = ".".join(map(str, at))
            raise MalformedYaml(line, f"{name} stands twice, in lines {first} and {line}; keep one")
        try:
            return FAST_LOADER("").construct_document(self.documents[0])
        except yaml.constructor.ConstructorError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise MalformedYaml(line, f"is no YAML of plain values: {error.problem}") from None
        except ValueError as error:  # a date that the calendar does not have
            raise MalformedYaml(1, f"is no YAML of plain values: {error}") from None


def line_of(node: yaml.Node) -> int:
    """Line of a node, from 1."""
    return int(node.start_mark.line) + 1


def closest_line(node: yaml.Node, location: Location) -> int:
    """Line of the key (or list position) that a path leads to, or of what would hold it."""
    line = line_of(node)
    for part in location:
        found = _child(node, part)
        if found is None:
            break
        line, node = found
    return line


def repeated_keys(node: yaml.Node, above: Location = ()) -> Iterator[tuple[Location, int, int]]:
    """(path, line, line of the first) of each key that stands twice in its mapping."""
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from repeated_keys(item, (*above, number))
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[tuple[str, str], int] = {}
    for key, value in node.value:
        name, path = (key.tag, str(key.value)), (*above, str(key.value))
        if name in lines:
            yield path, line_of(key), lines[name]
        lines.setdefault(name, line_of(key))
        yield from repeated_keys(value, path)


# What YAML takes for true and false, and most people for texts.
_TRUTH = {"yes": "true", "on": "true", "no": "false", "off": "false"}
# Places of schema.yaml that hold what a cell may hold.
_CELLS = r"columns\..*\.(\d+|equal_to|not_equal_to|value|default)$"


def _switches(node: yaml.Node, above: Location = ()) -> Iterator[tuple[Location, str, str]]:
    """(path, as written, as YAML reads it) of each value that is true or false by one of these words."""
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _switches(item, (*above, number))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _switches(value, (*above, str(key.value)))
    elif node.tag == f"{STANDARD}bool" and (truth := _TRUTH.get(node.value.lower())):
        yield above, node.value, truth


@dataclass
class _Open:
    """A mapping or list that has begun, and how many values it stands for so far."""

    anchor: str | None
    size: int = 1


def _refuse_excess(events: Iterable[yaml.Event]) -> None:
    """Count what aliases stand for while the text is read, before anybody repeats it."""
    sizes: dict[str | None, int] = {}
    around = [_Open(None)]
    repeated = 0
    for event in events:
        tag = getattr(event, "tag", None) or "!"
        if tag != "!" and tag.removeprefix(STANDARD) not in PLAIN:
            raise _excess(event, f"the tag {tag} makes no plain value; drop it")
        if isinstance(event, yaml.CollectionStartEvent):
            around.append(_Open(event.anchor))
            if len(around) > DEEPEST:
                raise _excess(event, f"is nested more than {DEEPEST} deep; flatten it")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            done = around.pop()
        elif isinstance(event, yaml.AliasEvent):
            if any(event.anchor == one.anchor for one in around):
                raise _excess(event, f"*{event.anchor} stands inside itself; write it out")
            done = _Open(None, sizes.get(event.anchor, 1))
            repeated += done.size
            if repeated > MOST_REPEATED:
                raise _excess(
                    event,
                    f"aliases such as *{event.anchor} repeat more than {MOST_REPEATED:,} values; "
                    "write what is meant",
                )
        elif isinstance(event, yaml.ScalarEvent):
            done = _Open(event.anchor)
        else:
            continue
        around[-1].size += done.size
        sizes[done.anchor] = done.size


def _excess(event: yaml.Event, message: str) -> MalformedYaml:
    mark = event.start_mark
    return MalformedYaml(mark.line + 1 if mark is not None else 1, message)


# What a parser says of the usual slips → what to do.
_ADVICE = {
    "'\\t' that cannot start": "indent with spaces",
    "mapping values": "indent it as its neighbours, or quote the value that holds a colon",
    "flow mapping": "quote the value that holds a colon or a comma",
    "<block end>": "indent it as its neighbours",
}


def _no_yaml(error: yaml.MarkedYAMLError) -> MalformedYaml:
    mark = error.problem_mark or error.context_mark
    said = f"{error.context}: {error.problem}" if error.context else str(error.problem)
    advice = [f"; {advice}" for sign, advice in _ADVICE.items() if sign in said]
    line = mark.line + 1 if mark is not None else 1
    return MalformedYaml(line, "".join([f"is no YAML: {said}", *advice]))


def _child(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return line_of(key), value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return line_of(node.value[part]), node.value[part]
    return None


# As Dagster declares a component file.
OUTER_KEYS = ("type", "attributes", "requirements", "template_vars_module", "post_processing")
_TEXT = f"{STANDARD}str"
_NULL = f"{STANDARD}null"


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
            instead = allowed_instead(name, OUTER_KEYS, "it belongs under attributes;")
            yield Oddity(line_of(key), f"unknown key {name!r}; {instead}")
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


@dataclass(frozen=True)
class SchemaText:
    """The text of a schema.yaml, and the path under which messages show it."""

    text: str
    path: str = "schema.yaml"

    def read(self) -> SchemaFile:
        """Return what it says.

        Raises:
            InvalidSchema: it is no YAML, or says something that is not known here.
        """
        try:
            file = YamlFile(self.text, self.path)
            raw = file.values()
        except MalformedYaml as error:
            line, rule = error.oddity
            raise InvalidSchema(f"{self.path}:{line}", rule, "Correct the line.") from None
        if not isinstance(raw, Mapping):
            raise self.invalid([Problem((), "it is no mapping of keys", "Begin with columns:")])
        if switches := file.switches(_CELLS):
            raise self.invalid(switches)
        try:
            return SchemaFile.model_validate(raw)
        except ValidationError as error:
            problems = explain(error, SchemaFile)
            raise self.invalid([_as_written(problem, raw) for problem in problems]) from None

    def place(self, location: Location) -> str:
        """`file:line` of a key, or of what would hold it."""
        return YamlFile(self.text, self.path).place(location)

    def invalid(self, problems: Sequence[Problem]) -> InvalidSchema:
        """One error for all problems, a line each, the first after its own `file:line`."""
        culprit, text = a_line_each(problems, self.place)
        fix = problems[0].fix or "Correct it."
        if len(problems) > 1:
            fix = f"Correct these {len(problems)} problems."
        return InvalidSchema(culprit, text, fix)


def _as_written(problem: Problem, raw: Any) -> Problem:
    """The problem at the last key that stands in the file: a bare value has no key of its own."""
    at: list[str | int] = []
    for part in problem.location:
        if isinstance(raw, Mapping) and isinstance(part, int) and part not in raw:
            continue  # checks by name count as a list of one
        try:
            raw = raw[part]
        except (LookupError, TypeError):
            break
        at.append(part)
    return Problem(tuple(at), problem.message, problem.fix)
