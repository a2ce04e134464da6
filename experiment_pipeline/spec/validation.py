"""`validation`: how rows are checked against the schema."""

from typing import Literal, Self

from pydantic import Field, model_validator

from experiment_pipeline.spec.base import Closed, impossible

Unseen = Literal["allow", "reject"]
RareClasses = Literal["set_aside", "stop"]


class Drift(Closed):
    """How far a column may be from the accepted version, as a population stability index.

    Below 0.1 there is hardly a difference, from 0.25 on it is large; sampling noise is not counted.
    """

    warn: float = Field(0.1, gt=0, description="Effect size from which on a column is named")
    block: float | None = Field(
        None, gt=0, description="Effect size from which on the run ends; unset: never"
    )

    @model_validator(mode="after")
    def _blocks_only_what_it_warns_about(self) -> Self:
        if self.block is not None and self.block < self.warn:
            raise impossible(f"{self.block} is below warn, {self.warn}; raise it", "block")
        return self


class Validation(Closed):
    """How rows are checked against the schema.

    What the schema itself decides stands in schema.yaml, in pandera's words: new columns
    (`strict`), missing columns (`required`, `add_missing_columns`), a check that only warns
    (`raise_warning`).

    Values that nobody has seen before are normal life. In a feature, a list (`isin`) is a rule
    that rejects, and one with `raise_warning: true`, as a drafted schema has it, counts; and a
    missing value is kept and counted unless the column says `nullable: false`. The two keys
    decide it for all features; target, ids and excluded columns are held to the schema as it is.
    """

    max_rejected_fraction: float = Field(0.05, ge=0, le=1)
    max_rejected_increase: float | None = Field(
        None, ge=0, lt=1, description="Largest rise of that fraction against the previous run"
    )
    duplicate_rows: Literal["keep", "reject"] = Field(
        "keep", description="reject: a row that repeats an earlier one in every column"
    )
    unseen_categories: Unseen | None = Field(
        None,
        description="A value outside a list (isin) of a feature: allow: kept and counted; reject: "
        "its row is rejected; unset: as the list's raise_warning says",
    )
    unseen_missing_values: Unseen = Field(
        "allow",
        description="A missing value in a feature of which schema.yaml does not say `nullable`: "
        "allow: kept and counted; reject: its row is rejected",
    )
    rare_classes: RareClasses = Field(
        "set_aside",
        description="set_aside: the rows of a class that is too rare for three sets are rejected, "
        "and no model can predict it; stop: the run ends",
    )
    drift: Drift = Drift()
