"""YAML text → nodes that know their lines, within bounds that keep reading it cheap.

For both files; of defs.yaml also its outer keys, before Dagster loads any component. An alias
(`*name`) repeats a part of the file: ten lines of aliases can stand for 10**10 values.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import ConfigDict, ValidationError

from experiment_pipeline.errors import ExperimentPipelineError, InvalidExperiment, InvalidSchema
from experiment_pipeline.spec.models import Closed, Location
from experiment_pipeline.spec.schema import SchemaFile
from experiment_pipeline.spec.sentences import Problem, a_line_each, explain, invalid

# The C parser, where it was built in: ten times faster.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# How many values aliases may add to those that are written, and how deep values may be nested.
MOST_REPEATED = 100_000
DEEPEST = 100
_STANDARD = "tag:yaml.org,2002:"
_PLAIN = ("str", "int", "float", "bool", "null", "map", "seq", "timestamp", "merge", "value")
# What YAML takes for true and false, and most people for texts.
_TRUTH = {"yes": "true", "on": "true", "no": "false", "off": "false"}
# What a parser says of the usual slips → what to do.
_ADVICE = {
    "cannot start any token": "indent with spaces, or quote the value",
    "mapping values": "indent it as its neighbours, or quote the value that holds a colon",
    "flow mapping": "quote the value that holds a colon or a comma",
    "<block end>": "indent it as its neighbours",
    "did not find expected key": "indent it as its neighbours",
}


@dataclass
class YamlFile:
    """A YAML text, and the path under which messages show it.

    Raises:
        ExperimentPipelineError: of the class `error`, with `file:line`: the text is not YAML, is
            nested too deeply, has aliases that stand for too much, or holds a key twice.
    """

    text: str
    path: str
    error: type[ExperimentPipelineError] = InvalidExperiment
    documents: list[yaml.Node] = field(init=False)

    def __post_init__(self) -> None:
        try:
            self._refuse_depth()
            self.documents = [*yaml.compose_all(self.text, Loader=_LOADER)]
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            rule = f"{error.context}: {error.problem}" if error.context else str(error.problem)
            advice = "".join(f"; {fix}" for sign, fix in _ADVICE.items() if sign in rule)
            raise self._wrong(mark.line if mark else 0, f"is not YAML: {rule}{advice}") from None
        except yaml.reader.ReaderError as error:
            line = self.text.count("\n", 0, error.position)
            raise self._wrong(line, f"is not YAML: {error.reason}") from None

    def place(self, location: Location) -> str:
        """`file:line` of a key (or list position), or of what would hold it."""
        if not self.documents:
            return f"{self.path}:1"
        node = self.documents[0]
        line = node.start_mark.line
        for part in location:
            found = _child(node, part)
            if found is None:
                break
            line, node = found
        return f"{self.path}:{line + 1}"

    def switches(self, values: str) -> list[Problem]:
        """A problem for each unquoted yes, no, on or off at a place that the pattern matches."""
        found = []
        for at, node in _walk(self.documents[0]) if self.documents else ():
            truth = _TRUTH.get(node.value.lower()) if node.tag == f"{_STANDARD}bool" else None
            if truth and re.match(values, ".".join(map(str, at))):
                message = f"unquoted, {node.value} is {truth} in YAML; write '{node.value}' for the text, or {truth}"
                found.append(Problem(at, message))
        return found

    def values(self, *, one_document: bool = True) -> Any:
        """Return the plain values of the first document.

        Raises:
            ExperimentPipelineError: a second document, a key twice, a value that is not plain.
        """
        if not self.documents:
            return None
        root = self.documents[0]
        self._check_nodes(root, twice=one_document)
        for other in self.documents[1:] if one_document else ():
            raise self._wrong(
                other.start_mark.line, "holds a second document (---); keep one, or move it"
            )
        try:
            return _LOADER("").construct_document(root)
        except yaml.constructor.ConstructorError as error:
            line = error.problem_mark.line if error.problem_mark else 0
            raise self._wrong(line, f"is not YAML of plain values: {error.problem}") from None
        except ValueError as error:  # a date that the calendar does not have
            raise self._wrong(0, f"is not YAML of plain values: {error}") from None

    def _check_nodes(self, root: yaml.Node, *, twice: bool) -> None:
        """Refuse tags, keys that stand twice, and aliases that stand for too much."""
        seen: set[int] = set()
        repeated = 0
        for at, node in _walk(root):
            line = node.start_mark.line
            repeated += id(node) in seen
            seen.add(id(node))
            if repeated > MOST_REPEATED:
                rule = f"its aliases (*name) repeat more than {MOST_REPEATED:,} values"
                raise self._wrong(line, f"{rule}; write what is meant")
            if len(at) > DEEPEST:
                raise self._wrong(line, "an alias (*name) stands inside itself; write it out")
            if node.tag.removeprefix(_STANDARD) not in _PLAIN:
                raise self._wrong(line, f"the tag {node.tag} makes no plain value; drop it")
            if twice and isinstance(node, yaml.MappingNode):
                self._check_keys(at, node)

    def _check_keys(self, at: Location, node: yaml.MappingNode) -> None:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            name, line = (key.tag, str(key.value)), key.start_mark.line
            if name in lines:
                path = ".".join(map(str, (*at, key.value))).removeprefix("attributes.")
                raise self._wrong(
                    line, f"{path} stands on line {lines[name] + 1} already; keep one of them"
                )
            lines[name] = line

    def _refuse_depth(self) -> None:
        """Parsers of nested values call themselves: refuse what would exhaust the stack."""
        depth = 0
        for event in yaml.parse(self.text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                line = event.start_mark.line if event.start_mark else 0
                raise self._wrong(line, f"is nested more than {DEEPEST} deep; flatten it")

    def _wrong(self, line: int, rule: str) -> ExperimentPipelineError:
        """The error at a line, counted from 0."""
        return self.error(f"{self.path}:{line + 1}", rule, "edit the file")


def _walk(node: yaml.Node, above: Location = ()) -> Iterator[tuple[Location, yaml.Node]]:
    """(path, node) of the node and all below it; what aliases repeat comes again."""
    yield above, node
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _walk(item, (*above, number))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _walk(value, (*above, str(key.value)))


def _child(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    """The line of a key or list position, from 0, and its value."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line, node.value[part]
    return None


class ComponentFile(Closed):
    """The outer keys of a defs.yaml, as Dagster declares a component file."""

    model_config = ConfigDict(extra="forbid")

    type: str
    attributes: dict[str, Any] | None = None
    requirements: Any = None
    template_vars_module: Any = None
    post_processing: Any = None


def read_component(file: YamlFile, experiment: str) -> ComponentFile:
    """Read the outside of a defs.yaml.

    Args:
        file: of any component; Dagster allows several documents of other ones.
        experiment: the type of ours, of which keys and documents may not repeat.

    Raises:
        InvalidExperiment: with `file:line` of each problem.
    """
    raw = file.values(one_document=False)
    if not isinstance(raw, Mapping):
        raise invalid([Problem((), "holds no `type:` and `attributes:`; write them")], file.place)
    if raw.get("type") == experiment:
        file.values()
    try:
        return ComponentFile.model_validate(raw)
    except ValidationError as error:
        raise invalid(explain(error, ComponentFile, raw), file.place) from None


@dataclass(frozen=True)
class SchemaText:
    """The text of a schema.yaml, and the path under which messages show it."""

    text: str
    path: str = "schema.yaml"
    # What a cell may hold, where an unquoted yes or no would be a truth value.
    _CELLS = r"columns\..*\.(\d+|equal_to|not_equal_to|value|default)$"

    def read(self) -> SchemaFile:
        """Return the declared schema.

        Raises:
            InvalidSchema: the text is not YAML, or holds something that is not known here.
        """
        file = YamlFile(self.text, self.path, InvalidSchema)
        raw = file.values()
        if not isinstance(raw, Mapping):
            raise self.invalid([Problem((), "it is not a mapping of keys", "Begin with columns:")])
        if switches := file.switches(self._CELLS):
            raise self.invalid(switches)
        try:
            return SchemaFile.model_validate(raw)
        except ValidationError as error:
            raise self.invalid(explain(error, SchemaFile, raw)) from None

    def invalid(self, problems: Sequence[Problem]) -> InvalidSchema:
        """One error for all problems, a line each, the first after its own `file:line`."""
        place = YamlFile(self.text, self.path, InvalidSchema).place
        culprit, text = a_line_each(problems, place)
        fix = problems[0].fix or "Correct it."
        if len(problems) > 1:
            fix = f"Correct these {len(problems)} problems."
        return InvalidSchema(culprit, text, fix)
