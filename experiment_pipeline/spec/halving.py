"""`halving` and `budget`: what is worth training in full, and when to stop."""

import itertools
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from experiment_pipeline.spec.base import Closed, impossible

Share = Annotated[float, Field(gt=0, le=1, description="A share of the train rows")]


class Halving(Closed):
    """Successive halving: all start on few train rows, the best go on to more."""

    fractions: tuple[Share, ...] = Field(
        (1 / 16, 1 / 4, 1.0), description="Shares of the train rows, growing, the last one 1"
    )
    keep: float = Field(0.25, gt=0, lt=1, description="The share that goes on to the next rung")
    # Five tables, LightGBM in a space as narrow as the scaffold writes: rungs of up to 1,100 rows
    # ordered the configurations hardly better than luck (rank correlation with all rows 0.06 in
    # the mean, -0.6 to 0.5), of 1,600 to 2,200 rows by 0.3. A wide space is told apart by fewer.
    fewest_rows: int = Field(1_500, ge=50, description="A rung of fewer train rows is left out")

    @field_validator("fractions")
    @classmethod
    def _grow_to_all_rows(cls, fractions: tuple[float, ...]) -> tuple[float, ...]:
        if len(fractions) < 2:
            raise ValueError("one rung stops nobody; write two or more, or halving: off")
        if any(one >= other for one, other in itertools.pairwise(fractions)):
            raise ValueError("each rung needs more rows than the one before; put them in order")
        if fractions[-1] != 1:
            raise ValueError(f"the last rung has {fractions[-1]:g} of the rows; end with 1.0")
        return fractions


class Budget(Closed):
    """Limits of a search; they act between fits, and what was not started says so."""

    seconds: float | None = Field(
        None, gt=0, description="Wall time of a run's fits; the result depends on the machine"
    )
    configurations: int | None = Field(
        None,
        ge=1,
        description="How many of the declared ones are tried: drawn by the seed",
    )
    failures_in_a_row: int | None = Field(
        None, ge=1, description="So many failures one after the other end the search"
    )

    @model_validator(mode="after")
    def _limits_are_numbers(self) -> Self:
        for key in self.model_fields_set:
            if getattr(self, key) is None:
                raise impossible("no value is given; write a number, or drop the key", key)
        return self
