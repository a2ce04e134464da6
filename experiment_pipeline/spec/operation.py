"""`owners`, `tags`, `freshness`, `mlflow`: what Dagster's page and MLflow say of an experiment.

Nothing of it enters a result. Dagster's own rules for such names are judged here in words, without
Dagster. In: values of the YAML. Out: immutable settings.
"""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from experiment_pipeline.spec.models import Closed, duration, impossible

_EMAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}"
_NAME = r"[A-Za-z0-9_.-]{1,63}"
# Dagster keeps these prefixes for itself.
_RESERVED = ("dagster/", ".dagster/")
SHORTEST_SECONDS = 60
_USER = re.compile("//[^/@]*@")


def _owner(value: str) -> str:
    if re.fullmatch(rf"team:\S.*|{_EMAIL}", value):
        return value
    raise ValueError(f"{value!r} is no owner; write an email address, or team:name")


def _tag_key(value: str) -> str:
    if value.startswith(_RESERVED):
        raise ValueError(f"{value!r} is one of Dagster's own tags; choose another name")
    if re.fullmatch(rf"({_NAME}/)?{_NAME}", value):
        return value
    raise ValueError(
        f"{value!r} is no name of a tag; write up to 63 letters, digits, _, - and ., "
        "a second such part after a / if you like"
    )


def _tag_value(value: str) -> str:
    if re.fullmatch(rf"({_NAME})?", value):
        return value
    raise ValueError(f"{value!r} is no value of a tag; write up to 63 letters, digits, _, - and .")


Owner = Annotated[str, AfterValidator(_owner)]
TagKey = Annotated[str, AfterValidator(_tag_key)]
TagValue = Annotated[str, AfterValidator(_tag_value)]


class Freshness(Closed):
    """How old leaderboard and exported model may get before Dagster's page says so."""

    warn_after: str | None = Field(
        None, description="A duration such as '2 days'; unset: no warning", examples=["2 days"]
    )
    fail_after: str = Field(description="A duration such as '7 days'", examples=["7 days"])

    @field_validator("warn_after", "fail_after")
    @classmethod
    def _is_long_enough(cls, value: str | None) -> str | None:
        if value is not None and duration(value).total_seconds() < SHORTEST_SECONDS:
            raise ValueError(f"{value!r} is too short; Dagster looks once a minute")
        return value

    @model_validator(mode="after")
    def _warning_comes_first(self) -> Self:
        if self.warn_after is not None and duration(self.warn_after) >= duration(self.fail_after):
            raise impossible(
                f"{self.warn_after!r} is not before fail_after ({self.fail_after}); shorten it",
                "warn_after",
            )
        return self


class Mlflow(Closed):
    """Where the experiment's runs are written, too."""

    tracking_uri: str = Field(
        min_length=1,
        repr=False,
        description="Of the MLflow server; credentials belong into MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD",
        examples=["http://mlflow.example:5000"],
    )
    experiment: str | None = Field(
        None, min_length=1, description="Name of the experiment there; unset: the same as here"
    )

    @property
    def shown_uri(self) -> str:
        """The address without its secrets."""
        return _USER.sub("//***@", self.tracking_uri).partition("?")[0]
