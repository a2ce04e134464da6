"""The base of all models of YAML files: frozen, unknown keys are errors, errors name a
key.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    WrapSerializer,
)
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    import pandas as pd

Scalar = bool | int | float | str | None
Location = tuple[str | int, ...]


def impossible(message: str, *location: str | int) -> PydanticCustomError:
    """An error found by validating a whole model, to be reported at one of its keys."""
    return PydanticCustomError(
        "impossible", "{message}", {"message": message, "at": location}
    )


def duration(text: str) -> "pd.Timedelta":
    """Return a duration as pandas reads it: `1 day`, `6 hours`; ValueError for a
    negative one.
    """
    import pandas as pd

    # pandas reads a bare number as nanoseconds, which is never intended.
    if not re.fullmatch(r"[\s\d.]*", text):
        with suppress(ValueError):
            read = pd.Timedelta(text)
            if read >= pd.Timedelta(0):
                return read
    raise ValueError(
        f"{text!r} is not a duration; write one such as '1 day' or '6 hours'"
    )


Duration = Annotated[
    str, AfterValidator(lambda text: duration(text) is not None and text)
]


def not_zero(message: str) -> AfterValidator:
    """Refuse a duration of no length, with these words."""

    def check(text: str) -> str:
        if duration(text).value == 0:
            raise ValueError(message)
        return text

    return AfterValidator(check)


class Closed(BaseModel):
    """A frozen model; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def on_or_off(kind: type[Closed]) -> BeforeValidator:
    """Accept on, off, or the keys of a model."""

    def read(value: Any) -> Any:
        if value is None:
            raise ValueError("no value is given; write on, off, or its keys and values")
        if value in (True, "on"):
            return kind()
        return None if value in (False, "off") else value

    return BeforeValidator(
        read, json_schema_input_type=kind | bool | Literal["on", "off"]
    )


def alone(key: str, kind: type[Closed], of: Any = str) -> BeforeValidator:
    """Accept a bare value, of type `of`, as short for `{key: value}`, or the keys of a
    model.
    """
    return BeforeValidator(
        lambda value: (
            value if isinstance(value, Mapping | kind | None) else {key: value}
        ),
        json_schema_input_type=kind | of,
    )


OFF_IS_WRITTEN = WrapSerializer(
    lambda value, write: "off" if value is None else write(value)
)


def readable(part: str | int) -> str:
    """A key or position as a message shows it, without line breaks."""
    text = str(part)
    return text if text.isprintable() and text else repr(text)
