"""YAML text → nodes with line numbers → models, or each problem with its `file:line`.

YAML is read as in version 1.2: an unquoted yes, no, on or off is a text, and 1e-3 is a
number.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from experiment_pipeline import errors
from experiment_pipeline.spec.models import Closed, Location, readable
from experiment_pipeline.spec.schema import SchemaFile

# How many extra values aliases may expand to, and how deep values may be nested.
MOST_REPEATED = 100_000
DEEPEST = 100
# One screen; further problems are counted.
MOST_PROBLEMS = 12
# User and password of a URL, and its query.
_SECRET = re.compile(r"(?P<before>//)[^/\s]*(?=@)|(?P<asked>//[^\s'\"?]*\?)[^\s'\"]+")
_MASKED = r"\g<before>\g<asked>***"
# How pydantic's error types end when a value has the wrong type.
_WRONG_KIND = ("_type", "_parsing", "_from_float", "finite_number")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The C parser if PyYAML has it; booleans and exponents as in YAML 1.2."""


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """The C writer if PyYAML has it."""


_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {  # pyrefly: ignore[instance-var-assign]
    first: [(tag, pattern) for tag, pattern in rules if tag != _BOOL]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _BOOL, re.compile("(true|True|TRUE|false|False|FALSE)$"), [*"tTfF"]
)
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
# Read 1e3 as a number, and quote the text "1e3" when writing.
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(_FLOAT, _EXPONENT, [*"-+.0123456789"])


def to_yaml(value: Any, width: int = 100, **style: Any) -> str:
    """Write plain values as YAML that reads back as the same, with keys in order."""
    settings = {"sort_keys": False, "allow_unicode": True, "width": width}
    return yaml.dump(value, Dumper=_Dumper, **settings, **style)


def in_line(settings: Mapping[str, Any]) -> str:
    """Write keys of the YAML on one line: `preparation: {types: {x: number}}`."""
    text = to_yaml(settings, default_flow_style=True, width=10**9)
    return text.strip().removeprefix("{").removesuffix("}")


@dataclass(frozen=True)
class Problem:
    """One problem: the path of its key, and a sentence that says what is allowed."""

    location: Location
    message: str

    def __str__(self) -> str:
        path = ".".join(map(readable, self.location))
        return f"{path}: {self.message}" if path else self.message


def invalid(
    problems: Sequence[Problem],
    line_of: Callable[[Location], str] = lambda _: "settings",
    error: type[errors.ExperimentPipelineError] = errors.InvalidExperiment,
) -> errors.ExperimentPipelineError:
    """Return one error for all problems, one a line, each with `file:line` first; the
    arguments of a call have none.
    """
    lines = [
        ": ".join(filter(None, (line_of(problem.location), str(problem))))
        for problem in problems[:MOST_PROBLEMS]
    ]
    if len(problems) > MOST_PROBLEMS:
        lines.append(f"and {len(problems) - MOST_PROBLEMS} more")
    culprit, _, rule = "\n".join(lines).partition(": ")
    return error(culprit, rule, "correct these keys")


@dataclass
class YamlFile:
    """A YAML text and the path that messages show; "": it was written for a call.

    `error`: the class to raise if it is invalid YAML.
    """

    text: str
    path: str
    error: type[errors.ExperimentPipelineError] = errors.InvalidExperiment
    documents: list[yaml.Node] = field(init=False)

    def __post_init__(self) -> None:
        try:
            self._check_depth()
            self.documents = [*yaml.compose_all(self.text, Loader=_Loader)]
        except yaml.MarkedYAMLError as error:
            raise self._not_yaml(error) from None
        except yaml.reader.ReaderError as error:
            raise self._not_utf8(error.position, error.reason) from None
        except UnicodeEncodeError as error:
            raise self._not_utf8(error.start, error.reason) from None

    def _not_yaml(self, error: yaml.MarkedYAMLError) -> errors.ExperimentPipelineError:
        """Return the error at what was left open, else where the parser gave up."""
        reason = str(error.problem)
        end = error.problem_mark or error.context_mark
        opened = self._left_open(error)
        if opened is not None:
            line = self.text.removeprefix("\ufeff").splitlines()[opened.line]
            sign = line[opened.column : opened.column + 1]
            problem = f"is not YAML: this {sign} is not closed in time: {reason}"
            if end is not None and end.line > opened.line:
                problem += f" on line {end.line + 1}"
            close = "; close it, or quote a text that holds it"
            return self._wrong(opened, problem + close)
        if error.context:
            reason = f"{error.context}: {reason}"
        return self._wrong(
            end,
            f"is not YAML: {reason}; check its indentation, and quote a text that "
            "holds a colon or a comma",
        )

    def _left_open(self, error: yaml.MarkedYAMLError) -> yaml.Mark | None:
        """Return where a bracket or a quotation mark was opened and not closed.

        A quotation mark that is not closed ends at the next one, some lines below:
        the parser stops behind it.
        """
        context = str(error.context)
        stop = error.problem_mark
        if stop is None or "quoted" in context:
            return error.context_mark
        brackets: list[yaml.Mark] = []
        for token in self._tokens_before(stop):
            if isinstance(token, _OPENING):
                brackets.append(token.start_mark)
            elif isinstance(token, _CLOSING) and brackets:
                brackets.pop()
            elif _is_quotation_until(token, stop.line):
                return token.start_mark
        return brackets[-1] if brackets and "flow" in context else None

    def _tokens_before(self, stop: yaml.Mark) -> Iterator[yaml.Token]:
        with suppress(yaml.MarkedYAMLError):
            for token in yaml.scan(self.text, Loader=_Loader):
                if token.start_mark.index >= stop.index:
                    break
                yield token

    def _check_depth(self) -> None:
        """Limit the depth, because nodes are composed by recursion."""
        depth = 0
        for event in yaml.parse(self.text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                problem = f"is nested more than {DEEPEST} deep; flatten it"
                raise self._wrong(event.start_mark, problem)

    def place(self, location: Location) -> str:
        """Return `file:line` of a key or list position, or of its closest parent."""
        if not self.path:
            return ""
        if not self.documents:
            return f"{self.path}:1"
        node = self.documents[0]
        mark = node.start_mark
        for part in location:
            child = _child(node, part)
            if child is None:
                break
            mark, node = child
        return f"{self.path}:{mark.line + 1}"

    def values(self, *, one_document: bool = True) -> Any:
        """Return the plain values of the first document.

        Raises `error`: aliases that expand too far, values that are not plain; with
        `one_document` also for a second document or a duplicate key.
        """
        if not self.documents:
            return None
        root, *further = self.documents
        self._check_aliases(root)
        if one_document:
            self._check_keys(root)
            if further:
                raise self._wrong(
                    further[0].start_mark,
                    "holds a second document (---); keep one, or move it to another "
                    "file",
                )
        try:
            return _Loader("").construct_document(root)
        except yaml.constructor.ConstructorError as error:
            mark, reason = error.problem_mark, error.problem
        except ValueError as error:  # an impossible date, or 5,000 digits
            mark, reason = self._impossible(), str(error).partition(";")[0]
        raise self._wrong(mark, f"is not YAML of plain values: {reason}") from None

    def _impossible(self) -> yaml.Mark | None:
        """Where the first value stands that cannot be read."""
        for _, node in self.scalars():
            try:
                _Loader("").construct_document(node)
            except ValueError:
                return node.start_mark
        return None

    def scalars(self) -> Iterator[tuple[Location, yaml.ScalarNode]]:
        """Yield (path of its key, node) for each value of the first document."""
        for root in self.documents[:1]:
            self._check_aliases(root)
            for path, node in _walk(root):
                if isinstance(node, yaml.ScalarNode):
                    yield path, node

    def _check_aliases(self, root: yaml.Node) -> None:
        visited: set[int] = set()
        repeated = 0
        for path, node in _walk(root):
            repeated += id(node) in visited
            visited.add(id(node))
            if repeated > MOST_REPEATED:
                raise self._wrong(
                    node.start_mark,
                    f"aliases (*name) repeat more than {MOST_REPEATED:,} values; write "
                    "them out",
                )
            if len(path) > DEEPEST:
                problem = "an alias (*name) contains itself; write it out"
                raise self._wrong(node.start_mark, problem)

    def _check_keys(self, root: yaml.Node) -> None:
        for path, node in _walk(root):
            if not isinstance(node, yaml.MappingNode):
                continue
            lines: dict[str, int] = {}
            for key, _ in node.value:
                name = f"{key.tag} {key.value}"
                if name in lines:
                    whole = ".".join(map(str, (*path, key.value)))
                    raise self._wrong(
                        key.start_mark,
                        f"{whole.removeprefix('attributes.')} is already on line "
                        f"{lines[name]}; keep one of them",
                    )
                lines[name] = key.start_mark.line + 1

    def _wrong(self, mark: Any, problem: str) -> errors.ExperimentPipelineError:
        line = mark.line + 1 if mark else 1
        return self.error(f"{self.path}:{line}", problem, "edit the file")

    def _not_utf8(self, position: int, reason: str) -> errors.ExperimentPipelineError:
        line = self.text.count("\n", 0, position) + 1
        problem = f"is not YAML in UTF-8: {reason}"
        return self.error(f"{self.path}:{line}", problem, "edit it")


def _is_quotation_until(token: yaml.Token, line: int) -> bool:
    """Whether a quoted text began on an earlier line than this one, where it ends."""
    is_quoted = getattr(token, "style", None) in ("'", '"')
    return is_quoted and token.start_mark.line < token.end_mark.line == line


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Mark, yaml.Node] | None:
    """Return where a key or list position stands, and its value; None: nowhere."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        for value in node.value[part : part + 1]:
            return value.start_mark, value
    return None


def _walk(
    node: yaml.Node, above: Location = ()
) -> Iterator[tuple[Location, yaml.Node]]:
    """Yield (path, node) for the node and all below it, an aliased one once per use."""
    yield above, node
    if isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            yield from _walk(child, (*above, number))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _walk(value, (*above, str(key.value)))


class ComponentFile(Closed):
    """The outer keys of a defs.yaml, as Dagster declares a component file."""

    model_config = ConfigDict(extra="forbid")

    type: str
    attributes: dict[str, Any] | None = None
    requirements: Any = None
    template_vars_module: Any = None
    post_processing: Any = None


def read_component(file: YamlFile, experiment: str) -> ComponentFile:
    """Read the outer keys of any component's file.

    Raises InvalidExperiment: with `file:line` of each problem.
    """
    raw = file.values(one_document=False)
    if not isinstance(raw, Mapping):
        problem = Problem((), "holds no `type:` and `attributes:`; write them")
        raise invalid([problem], file.place)
    if raw.get("type") == experiment:
        file.values()
    try:
        return ComponentFile.model_validate(raw)
    except ValidationError as error:
        raise invalid(explain(error, ComponentFile, raw), file.place) from None


def read_schema(file: YamlFile) -> SchemaFile:
    """Read a schema.yaml; InvalidSchema: with `file:line` of each problem."""
    raw = file.values()
    problems = [Problem((), "it is not a mapping of keys; begin with columns:")]
    if isinstance(raw, Mapping):
        try:
            return SchemaFile.model_validate(raw)
        except ValidationError as error:
            problems = explain(error, SchemaFile, raw)
    raise invalid(problems, file.place, errors.InvalidSchema)


@dataclass(frozen=True)
class _KeyError:
    """One of pydantic's errors: its key, and the models that may declare the key."""

    location: Location
    error: ErrorDetails
    models: Sequence[type[BaseModel]]

    @property
    def key(self) -> str:
        """The last part of the location."""
        return str(self.location[-1]) if self.location else ""

    @property
    def field(self) -> FieldInfo | None:
        """The declaration of the key."""
        for model in self.models:
            if self.key in model.model_fields:
                return model.model_fields[self.key]
        return None

    @property
    def kind(self) -> str:
        """Pydantic's name of the error."""
        return self.error["type"]

    @property
    def is_of_wrong_type(self) -> bool:
        """Whether the value has the wrong type: often another member of a union."""
        return self.kind.endswith(_WRONG_KIND)

    def hint(self, *, is_telling: bool) -> str:
        """What to add to the message: how a text is written, what the key means."""
        hint = ""
        if self.kind == "string_type" and isinstance(self.error["input"], int | float):
            hint = "; put it in quotes"
        meaning = self.field.description if self.field else None
        if meaning and (self.kind.startswith("string_") or not is_telling):
            hint += f" ({meaning})"
        return hint


def explain(error: ValidationError, model: type[BaseModel], raw: Any) -> list[Problem]:
    """Return pydantic's errors on `raw`, validated as `model`, as problems of keys."""
    by_location: dict[Location, list[_KeyError]] = {}
    for details in error.errors(include_url=False):
        key_error = _located(details, model, raw)
        by_location.setdefault(key_error.location, []).append(key_error)
    problems = []
    for location, key_errors in by_location.items():
        # Of a union's errors, keep the deepest: that member matched the value best.
        deeper = (
            below
            for below in by_location
            if below != location and below[: len(location)] == location
        )
        if not any(deeper):
            problems.append(Problem(location, _explained(key_errors)))
    return problems


def _explained(key_errors: Sequence[_KeyError]) -> str:
    """Return what is wrong with one key, and what it means."""
    telling = [error for error in key_errors if not error.is_of_wrong_type]
    messages = dict.fromkeys(_message(error) for error in telling or key_errors)
    first, *further = messages
    # "'x' should be a number or a mapping", not the value twice.
    further = [message.partition(" should be ")[2] or message for message in further]
    hint = key_errors[0].hint(is_telling=bool(telling))
    return " or ".join([first, *further]) + hint


def _located(details: ErrorDetails, model: type[BaseModel], raw: Any) -> _KeyError:
    """Find an error's key in the file: pydantic's path also names members of unions."""
    location: list[str | int] = []
    owners: Sequence[type[BaseModel]] = [model]
    models: Sequence[type[BaseModel]] = [model]
    path = details["loc"]
    if path[-1:] == ("[key]",):  # the key itself is wrong
        path = (*path[:-2], details["input"])
    for part in path:
        if tagged := _tagged(models, part):
            models = tagged
            continue
        owners = models
        models = _models_of_key(owners, str(part)) or owners
        if inside := _inside(raw, part):
            raw = inside[0]
            location.append(part)
    if details["type"] == "missing":
        location.append(path[-1])
    context = details.get("ctx", {})
    if "discriminator" in context:
        location.append(context["discriminator"].strip("'"))
        owners = models
    return _KeyError((*location, *context.get("at", ())), details, owners)


def _tagged(
    models: Sequence[type[BaseModel]], tag: str | int
) -> Sequence[type[BaseModel]]:
    """Return the members of a union that a word chooses; empty: it chooses none."""
    return [m for m in models if _is_tagged(m, tag)] if len(models) > 1 else []


def _is_tagged(model: type[BaseModel], tag: str | int) -> bool:
    """Whether a field of the model allows this value alone, as a discriminator does."""
    fields = model.model_fields.values()
    return any(get_args(field.annotation) == (tag,) for field in fields)


def _models_of_key(
    owners: Sequence[type[BaseModel]], key: str
) -> Sequence[type[BaseModel]]:
    """Return the models that a key of these models may hold."""
    fields = [owner.model_fields[key] for owner in owners if key in owner.model_fields]
    return [model for field in fields for model in _models_in(field.annotation)]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _inside(raw: Any, part: str | int) -> Sequence[Any]:
    """Return the value at a key or list position, in a list; empty: there is none."""
    if isinstance(raw, Mapping):
        return [value for key, value in raw.items() if str(key) == str(part)]
    if isinstance(raw, list | tuple) and isinstance(part, int):
        return raw[part : part + 1]
    return ()


def _message(key_error: _KeyError) -> str:
    """Return a sentence about the value, mostly pydantic's, with the allowed words."""
    error, models = key_error.error, key_error.models
    kind, context = key_error.kind, error.get("ctx", {})
    if kind in ("impossible", "value_error"):
        return str(context.get("message", context.get("error")))
    if kind == "extra_forbidden":
        return _unknown_key(key_error)
    if kind == "missing":
        return _missing(key_error.field)
    if "discriminator" in context:
        fields = [model.model_fields[key_error.key] for model in models]
        return _wrong_tag(context.get("tag"), fields)
    return _about_value(error)


def _about_value(error: ErrorDetails) -> str:
    """Return pydantic's sentence with the value in it."""
    value, message = error["input"], error["msg"]
    sentence = message.replace("Input", _shown(value), 1)
    if sentence == message:
        sentence = f"{_shown(value)}: {message}"
    if error["type"] == "literal_error":
        words = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        meant = errors.did_you_mean(str(value).lower(), words, otherwise="")
        return f"{sentence}; {meant}".rstrip("; ")
    return re.sub(r" or (instance of \w+|object to extract fields from)$", "", sentence)


def _unknown_key(key_error: _KeyError) -> str:
    names: dict[str, FieldInfo] = {}
    for model in key_error.models:
        names |= model.model_fields
    if "target" in names:  # an experiment is named by its folder
        names.pop("name")
    allowed = errors.allowed_instead(key_error.key.lower(), [*names])
    return f"unknown key {key_error.key!r}; {allowed}"


def _wrong_tag(tag: str | None, fields: Sequence[FieldInfo]) -> str:
    """Return the sentence for a word that chooses a model; None: it is absent."""
    tags = [str(get_args(field.annotation)[0]) for field in fields]
    if tag is None:
        return f"is missing; allowed: {', '.join(tags)}"
    return f"{tag!r} is not allowed; {errors.allowed_instead(tag, tags)}"


def _missing(field: FieldInfo | None) -> str:
    meaning = (field and field.description) or "a value"
    such = f", such as {field.examples[0]}" if field and field.examples else ""
    return f"is missing: {meaning[:1].lower()}{meaning[1:]}{such}"


def _shown(value: Any) -> str:
    """Return a value as YAML would write it, on one line and without secrets."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = _SECRET.sub(_MASKED, repr(value))
    return text if len(text) <= 60 else f"{text[:57]}…"
