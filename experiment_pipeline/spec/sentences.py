"""What an invalid experiment is told: one line per problem, with what is allowed instead.

Rules are declared in `spec`; here pydantic's findings become sentences. Discriminator tags
and names of union members, which no YAML holds, are dropped from the paths, and what every
member of a union says about the same value becomes one problem.
In: a mapping as YAML gives it. Out: an ExperimentSpec, or InvalidExperiment.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from experiment_pipeline.errors import InvalidExperiment, allowed_instead
from experiment_pipeline.spec import models

# One screen: what comes after these is counted.
MOST_PROBLEMS = 12

# pydantic's types of "this is another kind of value"; at a union each member reports its own.
_WRONG_KIND = ("_type", "_parsing", "_from_float", "finite_number")
# Of an address: who asks for it with which password, and what follows its question mark.
_SECRET = re.compile(r"(?P<before>//)[^/\s]*(?=@)|(?P<asked>//[^\s'\"?]*\?)[^\s'\"]+")
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the path of its key, and a sentence that says what is allowed.

    `fix` is what to do where the sentence does not say it.
    """

    location: models.Location
    message: str
    fix: str = ""

    def __str__(self) -> str:
        path = ".".join(map(models.readable, self.location))
        return f"{path}: {self.message}" if path else self.message


def invalid(
    problems: Sequence[Problem], line_of: Callable[[models.Location], str]
) -> InvalidExperiment:
    """One error for all problems, a line each, the first after its own `file:line`."""
    culprit, text = a_line_each(problems, line_of)
    count = "this line" if len(problems) == 1 else f"these {len(problems)} problems"
    fix = f"correct {count}; `dg check defs` says when nothing is left"
    return InvalidExperiment(culprit, text, fix)


def a_line_each(
    problems: Sequence[Problem], line_of: Callable[[models.Location], str]
) -> tuple[str, str]:
    """Return the place of the first problem, and what is wrong: the other places in the lines."""
    if len(problems) == 1:
        return line_of(problems[0].location), str(problems[0])
    lines = [f"{one}. {one.fix}" if one.fix else str(one) for one in problems[:MOST_PROBLEMS]]
    culprit, *others = [line_of(one.location) for one in problems[:MOST_PROBLEMS]]
    lines[1:] = [f"{place}: {text}" for place, text in zip(others, lines[1:], strict=True)]
    if more := len(problems) - len(lines):
        lines.append(f"and {more} more")
    return culprit, "\n".join(lines)


def explain(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Turn pydantic's findings into problems, one per culprit, in the order of the model."""
    findings = [
        (item, models.find_place(item["loc"], model)) for item in error.errors(include_url=False)
    ]
    problems = [
        Problem(_location(item, place), _message(item, place, model))
        for item, place in findings
        if not _is_echo(item, place, findings)
    ]
    return list(dict.fromkeys(problems))


def _location(item: ErrorDetails, place: models.Place) -> models.Location:
    """The key that is to blame, which a model's own validator sees from above."""
    context = item.get("ctx", {})
    if "discriminator" in context:
        return (*place.location, _discriminator(context))
    if item["loc"] and item["loc"][-1] == models.KEY_MARK:
        return (*place.location[:-1], item["input"])
    return (*place.location, *context.get("at", ()))


def _discriminator(context: Mapping[str, Any]) -> str:
    return str(context["discriminator"]).strip("'")


def _is_wrong_kind(item: ErrorDetails) -> bool:
    return item["type"].endswith(_WRONG_KIND)


def _is_echo(
    item: ErrorDetails, place: models.Place, findings: Sequence[tuple[ErrorDetails, models.Place]]
) -> bool:
    """Whether another finding says more about the same value.

    A union member of another kind than the value, and a list that is too short because its
    items are wrong, say nothing of their own.
    """
    at_member = place.union is not None and (
        _is_wrong_kind(item) or item["type"] == "literal_error"
    )
    if not at_member and item["type"] != "too_short":
        return False
    depth = len(place.location)
    return any(
        other.location[:depth] == place.location
        and (len(other.location) > depth or not _is_wrong_kind(finding))
        for finding, other in findings
        if finding is not item
    )


def _message(  # noqa: PLR0911 - a sentence per kind
    item: ErrorDetails, place: models.Place, model: type[BaseModel]
) -> str:
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    if kind == "impossible":
        return str(context["message"])
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return _unknown_key(place, model)
    if kind == "missing":
        return _missing(place)
    if kind == "union_tag_not_found":
        return f"is missing; allowed: {', '.join(place.tags)}"
    if kind == "union_tag_invalid":
        return _not_among(value[_discriminator(context)], place.tags)
    if kind == "literal_error":
        return _not_among(value, models.choices(place.annotation))
    if _is_wrong_kind(item):
        return _wrong_kind(value, place)
    return _beyond_limit(kind, context, value, place)


def _unknown_key(place: models.Place, model: type[BaseModel]) -> str:
    key = str(place.location[-1])
    allowed = [name for name in place.owner.model_fields if name != "name"] if place.owner else []
    elsewhere = [path for path in models.key_paths(model) if path.endswith(f".{key}")]
    if elsewhere:
        owner = elsewhere[0].removesuffix(f".{key}")
        return f"unknown key {key!r}; it belongs to {owner}; allowed: {', '.join(allowed)}"
    return f"unknown key {key!r}; {allowed_instead(key.lower(), allowed)}"


def _missing(place: models.Place) -> str:
    if place.field is None:
        return "is missing"
    allowed = ", ".join(models.choices(place.annotation))
    hint = f", one of {allowed}" if allowed else _example(place)
    return f"is missing: {_lower(place.field.description or 'a value')}{hint}"


def _example(place: models.Place) -> str:
    examples = place.field.examples if place.field is not None else None
    return f", such as {examples[0]}" if examples else ""


def _not_among(value: Any, allowed: Sequence[str]) -> str:
    wrong = "no value is given" if value is None else f"{_shown(value)} is not allowed"
    return f"{wrong}; {allowed_instead(str(value).lower(), allowed)}"


def _wrong_kind(value: Any, place: models.Place) -> str:
    wanted = models.in_words(place.union or place.annotation, place.tags) + _example(place)
    if value is None:
        optional = place.field is None or not place.field.is_required()
        return f"no value is given; write {wanted}{', or drop the key' if optional else ''}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not finite; write a number"
    if place.annotation is str and place.union is None and isinstance(value, bool):
        return (
            f"{_shown(value)} is no text (unquoted yes, no, on and off are true and false "
            "in YAML); put it in quotes"
        )
    if place.annotation is str and place.union is None and isinstance(value, int | float):
        return f"{_shown(value)} is a number, no text; put it in quotes: '{value}'"
    return f"{_shown(value)} is not allowed here; write {wanted}"


def _beyond_limit(kind: str, context: Mapping[str, Any], value: Any, place: models.Place) -> str:
    """A value of the right kind beyond a limit that the model declares."""
    described = place.field.description if place.field is not None else None
    wanted = _lower(described or models.in_words(place.annotation))
    if kind in ("string_too_short", "too_short"):
        return f"is empty; write {wanted}{_example(place)}"
    if kind == "string_too_long":
        return f"{_shown(value)} has {len(value)} characters; allowed: {context['max_length']}"
    if kind == "string_pattern_mismatch":
        return f"{_shown(value)} does not fit; write {wanted}"
    bounds = place.bounds or {name: context[name] for name in _BOUNDS if name in context}
    allowed = " and ".join(f"{_BOUNDS[name]} {bound:g}" for name, bound in bounds.items())
    return f"{_shown(value)} is out of range; allowed: {allowed}"


def _shown(value: Any) -> str:
    """A value on one line without its secrets, as YAML spells it where that differs from Python."""
    if isinstance(value, bool):
        return str(value).lower()
    text = _SECRET.sub(r"\g<before>\g<asked>***", repr(value))
    return text if len(text) <= 60 else f"{text[:57]}…"


def _lower(sentence: str) -> str:
    """A description as the second half of a sentence."""
    return sentence[:1].lower() + sentence[1:]
