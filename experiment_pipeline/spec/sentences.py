"""pydantic's errors as problems of a YAML file: a line per key, with what is allowed instead.

pydantic's paths hold tags and names of union members; only parts that the file holds are kept.
What is declared at a path is read from the model's JSON schema.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from experiment_pipeline.errors import InvalidExperiment, allowed_instead
from experiment_pipeline.spec.models import Location, readable

# One screen; further problems are counted.
MOST_PROBLEMS = 12
# pydantic adds it to the path when the key itself is wrong.
_KEY_MARK = "[key]"
# User and password of an address, and its query.
_SECRET = re.compile(r"(?P<before>//)[^/\s]*(?=@)|(?P<asked>//[^\s'\"?]*\?)[^\s'\"]+")
# By pydantic's names, and by those of a JSON schema.
_BOUNDS = {
    "gt": "above",
    "ge": "at least",
    "lt": "below",
    "le": "at most",
    "exclusiveMinimum": "above",
    "minimum": "at least",
    "exclusiveMaximum": "below",
    "maximum": "at most",
}
_SCALARS = ("true or false", "a whole number", "a number", "a text")
# pydantic's type of a wrong kind of value, by its beginning → what to write.
_KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "string": "a text",
    "tuple": "a list",
    "list": "a list",
    "dict": "keys and values",
    "model": "keys and values",
}
_WRONG_KIND = ("_type", "_parsing", "_from_float", "finite_number")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the path of its key, and a sentence that says what is allowed.

    `fix` is what to do where the sentence leaves it open.
    """

    location: Location
    message: str
    fix: str = ""

    def __str__(self) -> str:
        path = ".".join(map(readable, self.location))
        return f"{path}: {self.message}" if path else self.message


def invalid(
    problems: Sequence[Problem], line_of: Callable[[Location], str] | None = None
) -> InvalidExperiment:
    """One error for all problems, a line each, the first after its own `file:line`.

    Without `line_of` the settings come from no file, and the paths of their keys stand for them.
    """
    if line_of is None:
        text = "\n".join(map(str, problems[:MOST_PROBLEMS]))
        return InvalidExperiment("settings", text, "correct what is named")
    culprit, text = a_line_each(problems, line_of)
    count = "this line" if len(problems) == 1 else f"these {len(problems)} problems"
    fix = f"correct {count}; `dg check defs` says when nothing is left"
    return InvalidExperiment(culprit, text, fix)


def a_line_each(problems: Sequence[Problem], line_of: Callable[[Location], str]) -> tuple[str, str]:
    """Return the place of the first problem, and all problems, the others with their places."""
    if len(problems) == 1:
        return line_of(problems[0].location), str(problems[0])
    lines = [f"{one}. {one.fix}" if one.fix else str(one) for one in problems[:MOST_PROBLEMS]]
    culprit, *others = [line_of(one.location) for one in problems[:MOST_PROBLEMS]]
    lines[1:] = [f"{place}: {text}" for place, text in zip(others, lines[1:], strict=True)]
    if more := len(problems) - len(lines):
        lines.append(f"and {more} more")
    return culprit, "\n".join(lines)


def explain(error: ValidationError, model: type[BaseModel], raw: Any) -> list[Problem]:
    """Return pydantic's errors as problems, one per key, in the order of the model.

    Args:
        error: of the validation.
        model: that was validated.
        raw: what it was given.
    """
    by_place: dict[Location, list[ErrorDetails]] = {}
    for item in error.errors(include_url=False):
        by_place.setdefault(_location(item, raw), []).append(item)
    declared = _Declared(model)
    problems = []
    for place, items in by_place.items():
        # Of a union, the members of another kind than the value have nothing to add.
        telling = [one for one in items if not _is_wrong_kind(one)]
        deeper = any(other != place and other[: len(place)] == place for other in by_place)
        if deeper:
            telling = [one for one in telling if one["type"] not in ("literal_error", "too_short")]
        if telling:
            messages = [_message(one, place, declared, raw) for one in telling]
            problems += [Problem(place, message) for message in dict.fromkeys(messages)]
        elif not deeper:
            problems.append(Problem(place, _wrong_kind(items, place, declared, raw)))
    return problems


def _location(item: ErrorDetails, raw: Any) -> Location:
    """The parts of pydantic's path that the file holds, and the key that is missing in it."""
    kept: list[str | int] = []
    path = list(item["loc"])
    if path[-1:] == [_KEY_MARK]:
        path[-2:] = [item["input"]]
    for number, part in enumerate(path, start=1):
        child = _child(raw, part)
        if child is None:
            if number == len(path) and item["type"] == "missing":
                kept.append(part)
        elif (
            number == len(path)
            or isinstance(child[0], Mapping | list)
            or not _child(raw, path[number])
        ):
            kept.append(part)
            raw = child[0]
        # else the tag of a union member, which is also the name of one of its keys
    context = item.get("ctx", {})
    if "discriminator" in context:
        kept.append(_tag_key(context))
    return (*kept, *context.get("at", ()))


def _child(raw: Any, part: str | int) -> tuple[Any] | None:
    if isinstance(raw, Mapping):
        return next(((value,) for key, value in raw.items() if str(key) == str(part)), None)
    if isinstance(raw, list | tuple) and isinstance(part, int) and part < len(raw):
        return (raw[part],)
    return None


def _tag_key(context: Mapping[str, Any]) -> str:
    return str(context["discriminator"]).strip("'")


def _is_wrong_kind(item: ErrorDetails) -> bool:
    return item["type"].endswith(_WRONG_KIND)


def _message(  # noqa: PLR0911 - a sentence per kind
    item: ErrorDetails, place: Location, declared: "_Declared", raw: Any
) -> str:
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    match kind:
        case "impossible":
            return str(context["message"])
        case "value_error":
            return str(context["error"])
        case "extra_forbidden":
            return declared.instead_of(place, raw)
        case "missing":
            allowed = declared.choices(place, raw)
            hint = f", one of {', '.join(allowed)}" if allowed else declared.example(place, raw)
            return f"is missing: {declared.description(place, raw) or 'a value'}{hint}"
        case "union_tag_not_found":
            return f"is missing; allowed: {', '.join(declared.choices(place, raw))}"
        case "union_tag_invalid":
            return _not_among(value[_tag_key(context)], _quoted(context["expected_tags"]))
        case "literal_error":
            return _not_among(value, _quoted(context["expected"]))
    return _beyond_limit(item, place, declared, raw)


def _beyond_limit(item: ErrorDetails, place: Location, declared: "_Declared", raw: Any) -> str:
    """A value of the right kind that breaks a limit of the model."""
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    if kind in ("string_too_short", "too_short"):
        wanted = declared.description(place, raw) or "a value"
        return f"is empty; write {wanted}{declared.example(place, raw)}"
    if kind == "string_too_long":
        return f"{_shown(value)} has {len(value)} characters; allowed: {context['max_length']}"
    if kind == "string_pattern_mismatch":
        wanted = declared.description(place, raw) or "another text"
        return f"{_shown(value)} does not fit; write {wanted}"
    if context.keys() & _BOUNDS.keys():
        bounds = declared.bounds(place, raw) or context
        words = [f"{_BOUNDS[name]} {bounds[name]:.10g}" for name in _BOUNDS if name in bounds]
        return f"{_shown(value)} is out of range; allowed: {' and '.join(words)}"
    return f"{_shown(value)} is not allowed here: {item['msg']}"


def _wrong_kind(
    items: Sequence[ErrorDetails], place: Location, declared: "_Declared", raw: Any
) -> str:
    """What to write in place of a value of another kind: all kinds that a union takes."""
    value = items[0]["input"]
    kinds = [_KINDS[item["type"].split("_")[0]] for item in items]
    wanted = list(dict.fromkeys(kinds))
    if {*_SCALARS} <= {*wanted}:
        wanted = ["a single value", *(kind for kind in wanted if kind not in _SCALARS)]
    elif "a number" in wanted:
        wanted = [kind for kind in wanted if kind != "a whole number"]
    write = f"write {' or '.join(wanted)}{declared.example(place, raw)}"
    if value is None:
        return f"no value is given; {write}, or drop the key"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not finite; write a number"
    if wanted == ["a text"] and isinstance(value, bool):
        return (
            f"{_shown(value)} is not a text (unquoted yes, no, on and off are true and false "
            "in YAML); put it in quotes"
        )
    if wanted == ["a text"] and isinstance(value, int | float):
        return f"{_shown(value)} is a number, not a text; put it in quotes: '{value}'"
    return f"{_shown(value)} is not allowed here; {write}"


def _not_among(value: Any, allowed: Sequence[str]) -> str:
    wrong = "no value is given" if value is None else f"{_shown(value)} is not allowed"
    return f"{wrong}; {allowed_instead(str(value).lower(), allowed)}"


def _quoted(expected: str) -> list[str]:
    """The values of pydantic's "'a', 'b' or 'c'", each so that it is visible in a list."""
    found = re.findall(r"'([^']*)'|(True|False)", expected)
    texts = [text or word.lower() for text, word in found]
    return [text if text.isidentifier() else repr(text) for text in texts]


def _shown(value: Any) -> str:
    """A value on one line without its secrets, as YAML spells it where that differs from Python."""
    if isinstance(value, bool):
        return str(value).lower()
    text = _SECRET.sub(r"\g<before>\g<asked>***", repr(value))
    return text if len(text) <= 60 else f"{text[:57]}…"


Node = dict[str, Any]


class _Declared:
    """What a model declares at a place: its JSON schema, walked along the values of a file."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._root: Node = model.model_json_schema()

    def description(self, place: Location, raw: Any) -> str:
        """What the value means, as the second half of a sentence."""
        text = str(self._first(place, raw, "description"))
        return text[:1].lower() + text[1:]

    def example(self, place: Location, raw: Any) -> str:
        """`, such as …`, where there is an example."""
        examples = self._first(place, raw, "examples")
        return f", such as {examples[0]}" if examples else ""

    def bounds(self, place: Location, raw: Any) -> Mapping[str, float]:
        """The limits of a number."""
        return next((node for node in self._at(place, raw) if node.keys() & _BOUNDS.keys()), {})

    def choices(self, place: Location, raw: Any) -> list[str]:
        """The values of a place that takes only some."""
        found = self._at(place, raw)
        return [str(one) for node in found for one in node.get("enum", [])] or [
            str(node["const"]) for node in found if "const" in node
        ]

    def instead_of(self, place: Location, raw: Any) -> str:
        """Which keys are allowed in place of an unknown one, or where it belongs."""
        key = str(place[-1])
        nodes = self._at(place[:-1], raw)
        keys = dict.fromkeys(name for node in nodes for name in node.get("properties", ()))
        allowed = [name for name in keys if name != "name"]
        owner = next((path for path, name in self._paths(self._root, ()) if name == key), ())
        if owner:
            where = ".".join(owner)
            return f"unknown key {key!r}; it belongs to {where}; allowed: {', '.join(allowed)}"
        return f"unknown key {key!r}; {allowed_instead(key.lower(), allowed)}"

    def _first(self, place: Location, raw: Any, word: str) -> Any:
        return next((node[word] for node in self._at(place, raw) if node.get(word)), "")

    def _at(self, place: Location, raw: Any) -> list[Node]:
        nodes = [*self._members(self._root, raw)]
        for part in place:
            child = _child(raw, part)
            raw = child[0] if child else None
            nodes = [
                member
                for node in nodes
                for inner in self._children(node, part)
                for member in self._members(inner, raw)
            ]
        return nodes

    def _members(self, node: Node, raw: Any) -> Iterator[Node]:
        """The node without references, as each member of its union that the value may be."""
        if "$ref" in node:
            meant = self._root["$defs"][node["$ref"].removeprefix("#/$defs/")]
            words = {word: node[word] for word in ("description", "examples") if word in node}
            yield from self._members(meant | words, raw)
            return
        union = node.get("oneOf") or node.get("anyOf")
        if not union:
            yield node
            return
        if "discriminator" in node and isinstance(raw, Mapping):
            key, mapping = node["discriminator"]["propertyName"], node["discriminator"]["mapping"]
            if raw.get(key) in mapping:
                union = [{"$ref": mapping[raw[key]]}]
        words = {word: node[word] for word in ("description", "examples") if word in node}
        for member in union:
            yield from self._members(member | words, raw)

    @staticmethod
    def _children(node: Node, part: str | int) -> Iterator[Node]:
        if str(part) in node.get("properties", {}):
            yield node["properties"][str(part)]
        for word in ("additionalProperties", "items"):
            if isinstance(node.get(word), dict):
                yield node[word]

    def _paths(self, node: Node, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
        """(path of the owner, key) of every key below the first level, shallow ones first."""
        inner = []
        for member in self._members(node, None):
            for name, child in member.get("properties", {}).items():
                if above:
                    yield above, name
                inner.append((child, (*above, name)))
            inner += [(child, above) for child in self._children(member, "")]
        for child, path in inner:
            yield from self._paths(child, path)
