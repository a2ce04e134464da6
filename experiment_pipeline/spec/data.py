"""`data`: where the table is and how its file is read."""

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from experiment_pipeline.spec.base import Closed, impossible

MISSING_VALUES = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None")


class Data(Closed):
    """Where the table is and how its file is read."""

    url: str = Field(
        min_length=1,
        description="Any fsspec URL: path, s3://, https://",
        examples=["data/customers.csv"],
    )
    format: Literal["csv", "parquet"] | None = Field(
        None, description="Unset: by what the file holds"
    )
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    encoding: str | None = None
    missing_values: tuple[str, ...] = Field(
        MISSING_VALUES, description="Texts in a CSV file that mean a missing value"
    )
    anonymous: bool = Field(False, description="Read a public bucket without credentials")
    endpoint_url: str | None = Field(None, description="An S3 server that is not AWS")

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> Self:
        if self.format == "parquet":
            for key in sorted({"delimiter", "encoding", "missing_values"} & self.model_fields_set):
                raise impossible(f"{key} has no effect on parquet; drop it", key)
        protocol = self.url.partition("://")[0].lower() if "://" in self.url else "file"
        if self.endpoint_url is not None and protocol not in ("s3", "s3a"):
            raise impossible("endpoint_url is for s3:// URLs; drop it", "endpoint_url")
        if self.anonymous and protocol in ("file", "http", "https"):
            raise impossible(f"anonymous has no effect on a {protocol} URL; drop it", "anonymous")
        return self

    @property
    def shown_url(self) -> str:
        """The URL without user, password and query: what may be logged."""
        parts = urlsplit(self.url)
        if not parts.scheme or not parts.netloc:
            return self.url
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
