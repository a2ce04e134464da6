"""What every model of a YAML file is: frozen, closed, strict about numbers."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, WrapSerializer, model_validator
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    import pandas as pd

Scalar = bool | int | float | str | None


def impossible(message: str, *location: str | int) -> PydanticCustomError:
    """An error that a whole model finds, and that belongs to one of its keys."""
    return PydanticCustomError("impossible", "{message}", {"message": message, "at": location})


def duration(text: str) -> "pd.Timedelta":
    """Return a duration as pandas reads it: `1 day`, `6 hours`; ValueError for a negative one."""
    import pandas as pd

    wrong = ValueError(f"{text!r} is not a duration; write one such as '1 day' or '6 hours'")
    # pandas takes a bare number for nanoseconds, which is never meant.
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
                    raise impossible(
                        f"{str(raw[key]).lower()} is not a number; write a number", key
                    )
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


def readable(part: str | int) -> str:
    """A key or position on one line."""
    text = str(part).lower() if isinstance(part, bool) else str(part)
    return text if text.isprintable() and text else repr(text)
