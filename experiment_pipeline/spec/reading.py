"""YAML text → nodes with line numbers → models, or every problem with its own
`file:line`.

YAML is read as in version 1.2: an unquoted yes, no, on or off is a text, and 1e-3 is a
number.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {  # pyrefly: ignore[instance-var-assign]
    first: [(tag, pattern) for tag, pattern in rules if tag != _BOOL]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _BOOL, re.compile("(true|True|TRUE|false|False|FALSE)$"), [*"tTfF"]
)
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
for _class in (
    _Loader,
    _Dumper,
):  # read 1e3 as a number, and quote the text "1e3" when writing
    _class.add_implicit_resolver(_FLOAT, _EXPONENT, [*"-+.0123456789"])


def to_yaml(value: Any, width: int = 100, **style: Any) -> str:
    """Write plain values as YAML that reads back as the same values, with keys in their
    order.
    """
    settings = {"sort_keys": False, "allow_unicode": True, "width": width}
    return yaml.dump(value, Dumper=_Dumper, **settings, **style)


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
    """Return one error for all problems, one a line, each with its
    `file:line` first.
    """
    lines = [f"{line_of(one.location)}: {one}" for one in problems[:MOST_PROBLEMS]]
    if more := len(problems) - len(lines):
        lines.append(f"and {more} more")
    place = line_of(problems[0].location)
    rule = "\n".join(lines).removeprefix(f"{place}: ")
    return error(place, rule, "correct these keys")


@dataclass
class YamlFile:
    """A YAML text and the path that messages show; `error`: the class to raise if it is
    invalid YAML.
    """

    text: str
    path: str
    error: type[errors.ExperimentPipelineError] = errors.InvalidExperiment
    documents: list[yaml.Node] = field(init=False)

    def __post_init__(self) -> None:
        try:
            depth = 0  # limited, because nodes are composed by recursion
            for event in yaml.parse(self.text, Loader=_Loader):
                depth += isinstance(event, yaml.CollectionStartEvent)
                depth -= isinstance(event, yaml.CollectionEndEvent)
                if depth > DEEPEST:
                    rule = f"is nested more than {DEEPEST} deep; flatten it"
                    raise self._wrong(event.start_mark, rule)
            self.documents = [*yaml.compose_all(self.text, Loader=_Loader)]
        except yaml.MarkedYAMLError as error:
            rule = (
                f"{error.context}: {error.problem}"
                if error.context
                else str(error.problem)
            )
            advice = (
                "check its indentation, and quote a text that holds a colon or a comma"
            )
            mark = error.problem_mark or error.context_mark
            raise self._wrong(mark, f"is not YAML: {rule}; {advice}") from None
        except (yaml.reader.ReaderError, UnicodeEncodeError) as error:
            at = (
                error.start if isinstance(error, UnicodeEncodeError) else error.position
            )
            place = f"{self.path}:{self.text.count(chr(10), 0, at) + 1}"
            raise self.error(
                place, f"is not YAML in UTF-8: {error.reason}", "edit it"
            ) from None

    def place(self, location: Location) -> str:
        """`file:line` of a key (or list position), or of its closest parent that
        exists.
        """
        if not self.documents:
            return f"{self.path}:1"
        node = self.documents[0]
        line = node.start_mark.line
        for part in location:
            if isinstance(node, yaml.MappingNode):
                pairs = [
                    (key.start_mark, value)
                    for key, value in node.value
                    if key.value == str(part)
                ]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                pairs = [
                    (value.start_mark, value) for value in node.value[part : part + 1]
                ]
            else:
                pairs = []
            if not pairs:
                break
            line, node = pairs[0][0].line, pairs[0][1]
        return f"{self.path}:{line + 1}"

    def values(self, *, one_document: bool = True) -> Any:
        """Return the plain values of the first document. Raises `error`: aliases that
        expand too far, values that are not plain; with `one_document` also for a second
        document or a duplicate key.
        """
        if not self.documents:
            return None
        root = self.documents[0]
        seen: set[int] = set()
        repeated = 0
        for at, node in _walk(root):
            repeated += id(node) in seen
            seen.add(id(node))
            if repeated > MOST_REPEATED:
                rule = f"aliases (*name) repeat more than {MOST_REPEATED:,} values; write them out"
                raise self._wrong(node.start_mark, rule)
            if len(at) > DEEPEST:
                rule = "an alias (*name) contains itself; write it out"
                raise self._wrong(node.start_mark, rule)
            lines: dict[str, int] = {}
            pairs = (
                node.value
                if one_document and isinstance(node, yaml.MappingNode)
                else ()
            )
            for key, _ in pairs:
                if (name := f"{key.tag} {key.value}") in lines:
                    path = ".".join(map(str, (*at, key.value))).removeprefix(
                        "attributes."
                    )
                    rule = f"{path} is already on line {lines[name]}; keep one of them"
                    raise self._wrong(key.start_mark, rule)
                lines[name] = key.start_mark.line + 1
        if one_document and self.documents[1:]:
            rule = "holds a second document (---); keep one, or move it to another file"
            raise self._wrong(self.documents[1].start_mark, rule)
        try:
            return _Loader("").construct_document(root)
        except (yaml.constructor.ConstructorError, ValueError) as error:
            mark = getattr(
                error, "problem_mark", None
            )  # ValueError: an impossible date
            reason = getattr(error, "problem", error)
            raise self._wrong(mark, f"is not YAML of plain values: {reason}") from None

    def _wrong(self, mark: Any, rule: str) -> errors.ExperimentPipelineError:
        line = mark.line + 1 if mark else 1
        return self.error(f"{self.path}:{line}", rule, "edit the file")


def _walk(
    node: yaml.Node, above: Location = ()
) -> Iterator[tuple[Location, yaml.Node]]:
    """Yield (path, node) for the node and all below it; aliased nodes come once per
    use.
    """
    yield above, node
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _walk(item, (*above, number))
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
    """Read the outer keys of any component's file; InvalidExperiment: with `file:line`
    of each problem.
    """
    raw = file.values(one_document=False)
    if not isinstance(raw, Mapping):
        raise invalid(
            [Problem((), "holds no `type:` and `attributes:`; write them")], file.place
        )
    if raw.get("type") == experiment:
        file.values()
    try:
        return ComponentFile.model_validate(raw)
    except ValidationError as error:
        raise invalid(explain(error, ComponentFile, raw), file.place) from None


def read_schema(file: YamlFile) -> SchemaFile:
    """Return what a schema.yaml declares; InvalidSchema: with `file:line` of each
    problem.
    """
    raw = file.values()
    if not isinstance(raw, Mapping):
        problem = Problem((), "it is not a mapping of keys; begin with columns:")
        raise invalid([problem], file.place, errors.InvalidSchema)
    try:
        return SchemaFile.model_validate(raw)
    except ValidationError as error:
        raise invalid(
            explain(error, SchemaFile, raw), file.place, errors.InvalidSchema
        ) from None


def explain(error: ValidationError, model: type[BaseModel], raw: Any) -> list[Problem]:
    """Return pydantic's errors as problems of the keys of `raw`, which was validated as
    `model`.
    """
    by_place: dict[Location, list[tuple[ErrorDetails, Sequence[type[BaseModel]]]]] = {}
    for item in error.errors(include_url=False):
        place, owners = _read_path(item, model, raw)
        by_place.setdefault(place, []).append((item, owners))
    problems = []
    for place, items in by_place.items():
        # Of a union's errors, keep the deepest: that member matched the value best.
        if any(other != place and other[: len(place)] == place for other in by_place):
            continue
        telling = [one for one in items if not one[0]["type"].endswith(_WRONG_KIND)]
        first, *others = dict.fromkeys(
            _message(place, *one) for one in telling or items
        )
        text = " or ".join(
            [first, *(one.partition(" should be ")[2] or one for one in others)]
        )
        item, owners = items[0]
        if item["type"] == "string_type" and isinstance(item["input"], int | float):
            text += "; put it in quotes"
        field = _field(place, owners)
        if (
            field
            and field.description
            and (not telling or item["type"].startswith("string_"))
        ):
            text += f" ({field.description})"
        problems.append(Problem(place, text))
    return problems


def _read_path(
    item: ErrorDetails, model: type[BaseModel], raw: Any
) -> tuple[Location, Sequence[type[BaseModel]]]:
    """An error's path in the file, without pydantic's tags, and the models that may
    declare its last key.
    """
    kept: list[str | int] = []
    owners, found = [model], [model]
    path = item["loc"]
    if path[-1:] == ("[key]",):  # the key itself is wrong
        path = (*path[:-2], item["input"])
    for number, part in enumerate(path, start=1):
        tagged = [
            one
            for one in found
            if any(
                get_args(field.annotation) == (part,)
                for field in one.model_fields.values()
            )
        ]
        if len(found) > 1 and tagged:
            found = tagged
            continue
        owners = found
        fields = [one.model_fields.get(str(part)) for one in found]
        found = [
            inner for one in fields if one for inner in _models_in(one.annotation)
        ] or found
        inside: Sequence[Any] = ()
        if isinstance(raw, Mapping):
            inside = [value for key, value in raw.items() if str(key) == str(part)]
        elif isinstance(raw, list | tuple) and isinstance(part, int):
            inside = raw[part : part + 1]
        if inside:
            raw = inside[0]
        if inside or (number == len(path) and item["type"] == "missing"):
            kept.append(part)
    context = item.get("ctx", {})
    if "discriminator" in context:
        return (*kept, context["discriminator"].strip("'")), found
    return (*kept, *context.get("at", ())), owners


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _field(place: Location, owners: Sequence[type[BaseModel]]) -> FieldInfo | None:
    key = str(place[-1]) if place else ""
    return next(
        (one.model_fields[key] for one in owners if key in one.model_fields), None
    )


def _message(  # noqa: PLR0911 - a sentence per kind of error
    place: Location, item: ErrorDetails, owners: Sequence[type[BaseModel]]
) -> str:
    """One sentence about the value, mostly pydantic's; for keys and words also the
    allowed ones.
    """
    kind, context = item["type"], item.get("ctx", {})
    key = str(place[-1]) if place else ""
    if kind in ("impossible", "value_error"):
        return str(context.get("message", context.get("error")))
    if kind == "extra_forbidden":
        names = dict.fromkeys(name for one in owners for name in one.model_fields)
        if "target" in names:  # an experiment is named by its folder
            names.pop("name")
        return f"unknown key {key!r}; {errors.allowed_instead(key.lower(), [*names])}"
    if kind == "missing":
        field = _field(place, owners)
        meaning = (field and field.description) or "a value"
        such = f", such as {field.examples[0]}" if field and field.examples else ""
        return f"is missing: {meaning[:1].lower()}{meaning[1:]}{such}"
    if "discriminator" in context:
        tags = [
            str(get_args(owner.model_fields[key].annotation)[0]) for owner in owners
        ]
        if kind == "union_tag_not_found":
            return f"is missing; allowed: {', '.join(tags)}"
        return f"{context['tag']!r} is not allowed; {errors.allowed_instead(context['tag'], tags)}"
    value = item["input"]
    shown = "null" if value is None else repr(value)
    shown = shown.lower() if isinstance(value, bool) else _SECRET.sub(_MASKED, shown)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}…"
    message = item["msg"].replace("Input", shown, 1)
    message = message if "Input" in item["msg"] else f"{shown}: {message}"
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", context["expected"])
        meant = errors.did_you_mean(str(value).lower(), words, otherwise="")
        return f"{message}; {meant}".rstrip("; ")
    return re.sub(r" or (instance of \w+|object to extract fields from)$", "", message)
