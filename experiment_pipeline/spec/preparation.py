"""`preparation`: what happens to each row before it is validated."""

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from experiment_pipeline.spec.base import Closed, Scalar


class Numbers(Closed):
    """How the numbers of a text column are written."""

    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'", "_"] | None = Field(
        None, description="Between groups of three digits; ' ' also means no-break spaces"
    )
    units: dict[str, float] = Field(
        {}, description="Text before or after the number → its factor: {kg: 1, g: 0.001, '€': 1}"
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self.decimal == "." and self.thousands is None and not self.units:
            raise ValueError("names neither decimal, thousands nor units; name one or drop it")
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; they must differ")
        for unit, factor in self.units.items():
            if not unit.strip() or re.search(r"[\d+-]", unit):
                raise ValueError(
                    f"unit {unit!r} is blank or holds digits or a sign; write its text"
                )
            if factor == 0:
                raise ValueError(f"unit {unit!r} has factor 0, which erases the number; correct it")
        return self


class Categories(Closed):
    """How spellings of one category become one; applied in this order."""

    trim: bool = Field(False, description="Outer spaces go, inner runs of spaces become one")
    case: Literal["lower", "upper"] | None = None
    variants: dict[str, tuple[str, ...]] = Field(
        {}, description="The spelling to keep → the spellings it replaces"
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if not self.trim and self.case is None and not self.variants:
            raise ValueError("names neither trim, case nor variants; name one or drop it")
        spellings = [text for texts in self.variants.values() for text in texts]
        twice = sorted({text for text in spellings if spellings.count(text) > 1})
        if twice:
            raise ValueError(f"variants lists {twice[0]!r} twice; keep it in one place")
        for kept, texts in self.variants.items():
            if not texts or kept in texts:
                raise ValueError(
                    f"variants.{kept} replaces nothing, or itself; list other spellings"
                )
        return self


CalendarPart = Literal["month", "day_of_month", "day_of_week", "day_of_year", "hour", "minute"]
CALENDAR_PARTS: tuple[CalendarPart, ...] = ("month", "day_of_week", "hour", "minute")


class Preparation(Closed):
    """What happens to each row before validation; travels with the exported model."""

    missing_values: dict[str, tuple[Scalar, ...]] = Field(
        {}, description="Per column: values that mean missing"
    )
    missing_values_everywhere: tuple[Scalar, ...] = Field(
        (), description="Values that mean missing in every column"
    )
    categories: dict[str, Categories] = Field({}, description="Per text column: one spelling each")
    types: dict[str, Literal["number", "integer", "text", "boolean", "datetime"]] = Field(
        {}, description="Per column: what its texts are read as"
    )
    numbers: dict[str, Numbers] = Field(
        {}, description="Per number or integer column: how its texts are written"
    )
    datetime_formats: dict[str, tuple[str, ...]] = Field(
        {},
        description="Per datetime column: strptime formats, the first that fits; unset: ISO 8601",
    )
    calendar: dict[str, tuple[CalendarPart, ...]] = Field(
        {}, description="Datetime columns that become month, day_of_week, hour and so on"
    )
    function: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="module:function, table in, table with the same rows out, applied last",
    )

    @field_validator("datetime_formats", mode="before")
    @classmethod
    def _one_format_alone(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: (text,) if isinstance(text, str) else text for k, text in value.items()}

    @field_validator("calendar", mode="before")
    @classmethod
    def _usual_parts(cls, value: Any) -> Any:
        return dict.fromkeys(value, CALENDAR_PARTS) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> Self:
        for setting in ("missing_values", "datetime_formats", "calendar"):
            for column, values in getattr(self, setting).items():
                if not values:
                    raise ValueError(f"{setting}.{column} is empty; list something or drop it")
        for declared in (self.missing_values_everywhere, *self.missing_values.values()):
            if None in declared:
                raise ValueError("null stands among the missing values, and is missing already")
        for setting, types in _TYPES_WITH.items():
            for column in getattr(self, setting):
                if self.types.get(column) not in types:
                    wanted = types[0] or "text"
                    raise ValueError(
                        f"{setting} names {column!r}, which types does not make a {wanted}; "
                        f"write types: {{{column}: {wanted}}}"
                    )
        return self


# Setting → the declared types it goes with; None: no type is declared.
_TYPES_WITH: dict[str, tuple[str | None, ...]] = {
    "categories": ("text", "boolean", None),
    "numbers": ("number", "integer"),
    "datetime_formats": ("datetime",),
    "calendar": ("datetime", None),
}
