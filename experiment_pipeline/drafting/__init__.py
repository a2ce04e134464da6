"""Draft a first experiment on an unknown table; this module has the command's options,
and is light.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

# On the command line a class is a text; in Python it may be a number or a bool.
_Class = Annotated[
    str | None, BeforeValidator(lambda label: None if label is None else str(label))
]


class Wishes(BaseModel):
    """The user's decisions, as options of the command; what is left out is inferred."""

    data: str = Field("", description="Path or URL of the table")
    target: str = Field("", description="The column to predict")
    task: str | None = Field(None, description="binary, multiclass or regression")
    positive_class: _Class = Field(
        None, description="Binary: the class that is predicted"
    )
    metric: str | None = Field(None, description="What ranks the configurations")
    seconds: float | None = Field(
        None,
        gt=0,
        description=(
            "Time for the whole run: as much is tried as fits; unset: 80 for up to "
            "10,000 rows, 150 for up to 100,000"
        ),
    )
    split: str | None = Field(None, description="random, group, time or column")
    split_column: str | None = Field(
        None, description="The column that the split goes by"
    )
    exclude: list[str] = Field(
        [], description="A column that is not a feature; repeatable"
    )
    id_column: list[str] = Field(
        [], description="A column that identifies a row; repeatable"
    )
    delimiter: str | None = Field(None, description="Between the fields of a CSV file")
    encoding: str | None = Field(None, description="Of a CSV file")
    endpoint_url: str | None = Field(None, description="An S3 server that is not AWS")
    anonymous: bool = Field(
        False, description="true: a public bucket, without credentials"
    )

    @property
    def source(self) -> dict[str, Any]:
        """The options about the table, as the keys of `spec.Data`."""
        keys = ("delimiter", "encoding", "endpoint_url", "anonymous")
        stated = {key: value for key in keys if (value := getattr(self, key))}
        return {"url": self.data, **stated}
