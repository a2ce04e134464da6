"""What every part of a specification is: frozen, closed, and strict about numbers."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

Scalar = bool | int | float | str | None


def impossible(message: str, *location: str | int) -> PydanticCustomError:
    """An error that a whole model finds, and that belongs to one of its keys."""
    return PydanticCustomError("impossible", "{message}", {"message": message, "at": location})


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
