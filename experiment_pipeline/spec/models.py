"""What every model of a YAML file is: frozen, closed, strict about numbers; and its places.

pydantic puts discriminator tags and names of union members into its paths; walking the types
along the path tells them from keys. In: a path and a model. Out: the place, as people see it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, WrapSerializer, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    import pandas as pd

Scalar = bool | int | float | str | None


def impossible(message: str, *location: str | int) -> PydanticCustomError:
    """An error that a whole model finds, and that belongs to one of its keys."""
    return PydanticCustomError("impossible", "{message}", {"message": message, "at": location})


def duration(text: str) -> "pd.Timedelta":
    """Return a time that passes, as pandas reads it: `1 day`, `6 hours`.

    Raises:
        ValueError: it is no duration, or a negative one.
    """
    import pandas as pd

    wrong = ValueError(f"{text!r} is no duration; write one such as '1 day' or '6 hours'")
    # pandas takes a bare number for nanoseconds, which nobody means.
    if re.fullmatch(r"\s*[\d.]*\s*", text):
        raise wrong
    try:
        read = pd.Timedelta(text)
    except ValueError:
        raise wrong from None
    if not read >= pd.Timedelta(0):
        raise wrong
    return read


class Closed(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, raw: Any) -> Any:
        """YAML reads `yes` as true, and Python takes true for 1."""
        for key, field in cls.model_fields.items():
            if isinstance(raw, dict) and isinstance(raw.get(key), bool):
                wanted = {*get_args(field.annotation)} or {field.annotation}
                if wanted & {int, float} and bool not in wanted:
                    raise impossible(f"{str(raw[key]).lower()} is no number; write a number", key)
        return raw


def on_or_off(kind: type[Closed], keys: str) -> BeforeValidator:
    """Read on, off, or the keys of a model; `keys` is an example of them."""

    def read(value: Any) -> Any:
        # YAML reads an unquoted off as false.
        if value in (True, "on"):
            return kind()
        if value in (False, "off"):
            return None
        if isinstance(value, Mapping | kind):
            return value
        raise ValueError(f"write off, on, or keys and values {{{keys}}}")

    return BeforeValidator(read, json_schema_input_type=kind | bool | Literal["on", "off"])


OFF_IS_WRITTEN = WrapSerializer(lambda value, write: "off" if value is None else write(value))


Location = tuple[str | int, ...]
_BOUNDS = ("gt", "ge", "lt", "le")
# What pydantic adds to the path when the key itself is wrong.
KEY_MARK = "[key]"
_PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True)
class Place:
    """A place in the YAML and what the model declares for it.

    Attributes:
        location: keys and list positions, as the YAML has them.
        annotation: the type asked for, without Annotated and None where it is alone.
        owner: the innermost model on the way, whose keys are allowed there.
        field: the declaration of the value that is there.
        union: the whole union, when the path ended at one of its members.
        tags: allowed values of the discriminator, where there is one.
    """

    location: Location
    annotation: Any
    owner: type[BaseModel] | None = None
    field: FieldInfo | None = None
    union: Any = None
    tags: tuple[str, ...] = ()

    @property
    def bounds(self) -> dict[str, float]:
        """The declared limits of a number: gt, ge, lt, le → number."""
        metadata = self.field.metadata if self.field is not None else []
        return {
            name: getattr(limit, name)
            for name in _BOUNDS
            for limit in metadata
            if getattr(limit, name, None) is not None
        }


def find_place(path: Sequence[str | int], model: type[BaseModel]) -> Place:
    """Follow one of pydantic's paths through the types of a model."""
    place = Place((), model)
    for part in path:
        place = _step(place, part)
    return _bare(place)


def key_paths(annotation: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a model as a dotted path, shallow ones first.

    >>> list(key_paths(Fractions))
    ['train', 'test', 'validation']
    """
    inner = []
    for model in _models(annotation):
        for key, field in model.model_fields.items():
            yield f"{prefix}{key}"
            inner.append((field.annotation, f"{prefix}{key}."))
    for nested, path in inner:
        yield from key_paths(nested, path)


def choices(annotation: Any) -> list[str]:
    """The values of a Literal, inside an optional too, each so that it is seen in a list."""
    if get_origin(annotation) is Literal:
        values = [readable(value) for value in get_args(annotation)]
        return [value if value.isidentifier() else repr(value) for value in values]
    return [text for member in get_args(annotation) for text in choices(member)]


def in_words(annotation: Any, tags: Sequence[str] = ()) -> str:
    """What a type asks for: `a whole number`, `a list [a text, …]`, `keys {low: …, high: …}`."""
    if tags:
        return f"keys and values, beginning with one of {', '.join(tags)}"
    words = dict.fromkeys(_words(annotation))
    if set(_PLAIN.values()) <= words.keys():
        others = [word for word in words if word not in _PLAIN.values()]
        words = dict.fromkeys(["a single value", *others])
    if "a number" in words:
        words.pop("a whole number", None)
    return " or ".join(words)


def _words(annotation: Any) -> Iterator[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _PLAIN:
        yield _PLAIN[annotation]
    elif annotation is Any:
        yield "a value"
    elif origin is Literal:
        yield f"one of {', '.join(choices(annotation))}"
    elif origin is tuple:
        yield f"a list [{in_words(arguments[0])}, …]"
    elif origin is dict:
        yield f"keys and values {{{in_words(arguments[0])}: {in_words(arguments[1])}}}"
    elif origin is Annotated:
        yield from _words(arguments[0])
    elif _is_model(annotation):
        fields = annotation.model_fields.items()
        keys = [key for key, field in fields if field.is_required()] or list(
            annotation.model_fields
        )
        yield f"keys and values {{{', '.join(f'{key}: …' for key in keys[:4])}}}"
    for member in _members(annotation):
        yield from _words(member)


def readable(part: str | int) -> str:
    """A key or position on one line."""
    text = str(part).lower() if isinstance(part, bool) else str(part)
    return text if text.isprintable() and text else repr(text)


def _step(place: Place, part: str | int) -> Place:
    place = _bare(place)
    if part == KEY_MARK:
        return replace(place, annotation=str)
    members = _members(place.annotation)
    if members:
        return _into_member(place, part, members)
    location = (*place.location, part)
    annotation, arguments = place.annotation, get_args(place.annotation)
    if get_origin(annotation) is tuple:
        return Place(location, arguments[0], place.owner)
    if get_origin(annotation) is dict:
        return Place(location, arguments[1], place.owner)
    if _is_model(annotation):
        field = annotation.model_fields.get(str(part))
        wanted = field.annotation if field is not None else Any
        return Place(location, wanted, annotation, field)
    return Place(location, Any, place.owner)


def _bare(place: Place) -> Place:
    """The same place without Annotated and None around its type; a discriminator's tags noted."""
    annotation, field = place.annotation, place.field
    while get_origin(annotation) is Annotated:
        declared = [m for m in get_args(annotation)[1:] if isinstance(m, FieldInfo)]
        field = field or next(iter(declared), None)
        annotation = get_args(annotation)[0]
    members = _members(annotation)
    if len(members) == 1:
        return _bare(replace(place, annotation=members[0], field=field))
    tags = _tags(members, field.discriminator) if field is not None and members else ()
    return replace(place, annotation=annotation, field=field, tags=tags or place.tags)


def _members(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) not in (Union, UnionType):
        return ()
    return tuple(member for member in get_args(annotation) if member is not NoneType)


def _tags(members: Sequence[Any], discriminator: Any) -> tuple[str, ...]:
    if not isinstance(discriminator, str):
        return ()
    return tuple(
        str(tag)
        for member in members
        for tag in get_args(member.model_fields[discriminator].annotation)
    )


def _into_member(place: Place, name: str | int, members: Sequence[Any]) -> Place:
    """Choose the union member that pydantic names; the location stays.

    A tag is the discriminator's value; a label is the type's name, wrapped in the names of
    its validators, as in `function-after[_is_an_interval(), Range]`.
    """
    if place.tags:
        member = members[place.tags.index(str(name))]
        return Place(place.location, member, owner=member)
    words = re.findall(r"[\w-]+", str(name))
    by_name = {(get_origin(member) or member).__name__: member for member in members}
    # pydantic writes literal['a', 'b'].
    by_name["literal"] = by_name.get("Literal")
    models = [by_name[word] for word in words if _is_model(by_name.get(word))]
    member = by_name.get(words[0]) or next(iter(models), Any)
    return replace(place, annotation=member, union=place.annotation)


def _is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if _is_model(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
