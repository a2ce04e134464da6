"""`split`: which rows train, test and validate; four ways, told apart by `by`."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from experiment_pipeline.spec.base import Closed, Scalar

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Fractions(Closed):
    """The share of the rows in each set; they add up to 1."""

    train: Fraction = 0.6
    test: Fraction = 0.2
    validation: Fraction = 0.2

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        total = self.train + self.test + self.validation
        if abs(total - 1) > 1e-9:
            raise ValueError(
                f"train ({self.train}) + test ({self.test}) + validation ({self.validation}) "
                f"is {total:g}; make them add up to 1"
            )
        return self


Column = Annotated[str, Field(min_length=1, examples=["customer_id"])]
IdColumns = Annotated[
    tuple[Column, ...],
    Field(description="Columns that identify a row: they decide its set, and are no features"),
]


class RandomSplit(Closed):
    """Rows by a salted hash of their id (or of their features), stratified by class."""

    by: Literal["random"] = "random"
    id_columns: IdColumns = ()
    fractions: Fractions = Fractions()
    seed: int = 0


class GroupSplit(Closed):
    """Whole groups by a salted hash of the group's value."""

    by: Literal["group"]
    column: Column = Field(description="The column whose values stay together in one set")
    id_columns: IdColumns = ()
    fractions: Fractions = Fractions()
    seed: int = 0


class TimeSplit(Closed):
    """The past trains, the future judges; cut between distinct timestamps."""

    by: Literal["time"]
    column: Column = Field(
        description="The column that orders the rows in time", examples=["order_date"]
    )
    gap: str = Field("0s", description="Time left out between the sets, such as '1 day'")
    unit: str = Field("1 day", description="What intervals resample: rows of one such period")
    id_columns: IdColumns = ()
    fractions: Fractions = Fractions()

    @field_validator("gap", "unit")
    @classmethod
    def _is_a_duration(cls, value: str, info: ValidationInfo) -> str:
        import pandas as pd

        wrong = ValueError(f"{value!r} is no duration; write one such as '1 day' or '6 hours'")
        # pandas takes a bare number for nanoseconds, which nobody means.
        if re.fullmatch(r"\s*[\d.]*\s*", value):
            raise wrong
        try:
            duration = pd.Timedelta(value)
        except ValueError:
            raise wrong from None
        if not duration >= pd.Timedelta(0):
            raise wrong
        if info.field_name == "unit" and duration == pd.Timedelta(0):
            raise ValueError("the unit is zero; write one such as '1 day'")
        return value


class ColumnSplit(Closed):
    """The sets that a column already names."""

    by: Literal["column"]
    column: Column = Field(description="The column that names each row's set", examples=["set"])
    train: tuple[Scalar, ...] = Field(("train",), min_length=1)
    test: tuple[Scalar, ...] = Field(("test",), min_length=1)
    validation: tuple[Scalar, ...] = Field(("validation",), min_length=1)
    id_columns: IdColumns = ()

    @model_validator(mode="after")
    def _values_are_disjoint(self) -> Self:
        values = [*self.train, *self.test, *self.validation]
        twice = sorted({str(value) for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"the values {', '.join(twice)} stand in two sets; name each once")
        return self


Split = Annotated[RandomSplit | GroupSplit | TimeSplit | ColumnSplit, Field(discriminator="by")]
