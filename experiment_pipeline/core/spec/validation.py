"""`validation`: how rows are checked against the schema."""

from typing import Literal

from pydantic import Field

from experiment_pipeline.core.spec.base import Closed


class Validation(Closed):
    """How rows are checked against the schema.

    What the schema itself decides stands in schema.yaml, in pandera's words: new columns
    (`strict`), missing columns (`required`, `add_missing_columns`), a check that only warns
    (`raise_warning`).
    """

    max_rejected_fraction: float = Field(0.05, ge=0, le=1)
    max_rejected_increase: float | None = Field(
        None, ge=0, lt=1, description="Largest rise of that fraction against the previous run"
    )
    duplicate_rows: Literal["keep", "reject"] = Field(
        "keep", description="reject: a row that repeats an earlier one in every column"
    )
    unseen_categories: Literal["reject", "allow"] = Field(
        "reject", description="allow: a value outside a list of the schema (isin) is only counted"
    )
