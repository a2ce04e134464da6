"""`owners`, `tags`, `freshness`, `mlflow`, `schedule`, `engine`: an experiment in Dagster, MLflow, Dask.

Nothing of it enters a result. Dagster's rules for such names are checked without Dagster.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

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
    raise ValueError(f"{value!r} is not an owner; write an email address, or team:name")


def _tag_key(value: str) -> str:
    if value.startswith(_RESERVED):
        raise ValueError(f"{value!r} is one of Dagster's own tags; choose another name")
    if re.fullmatch(rf"({_NAME}/)?{_NAME}", value):
        return value
    raise ValueError(
        f"{value!r} is not the name of a tag; write up to 63 letters, digits, _, - and ., "
        "a second such part after a / if you like"
    )


def _tag_value(value: str) -> str:
    if re.fullmatch(rf"({_NAME})?", value):
        return value
    raise ValueError(
        f"{value!r} is not the value of a tag; write up to 63 letters, digits, _, - and ."
    )


Owner = Annotated[str, AfterValidator(_owner)]
TagKey = Annotated[str, AfterValidator(_tag_key)]
TagValue = Annotated[str, AfterValidator(_tag_value)]


class Freshness(Closed):
    """How old leaderboard and exported model may get before Dagster's page marks them."""

    warn_after: str | None = Field(
        None, description="A duration; unset: no warning", examples=["2 days"]
    )
    fail_after: str = Field(description="A duration", examples=["7 days"])

    @field_validator("warn_after", "fail_after", mode="before")
    @classmethod
    def _is_long_enough(cls, value: Any) -> Any:
        if value is not None and duration(str(value)).total_seconds() < SHORTEST_SECONDS:
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


LOCAL = "local"
_ADDRESS = re.compile(
    r"(?P<protocol>[a-z]+)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(?P<port>\d{1,5})/?"
)


class Certificates(Closed):
    """Who this client is, and whom it believes: files in PEM, read when a run begins."""

    ca: str = Field(min_length=1, description="Path of the certificate of the cluster's authority")
    certificate: str = Field(min_length=1, description="Path of this client's certificate")
    key: str = Field(min_length=1, description="Path of this client's private key")

    # A path is shown in messages, and this is often the private key.
    @field_validator("*")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if "-----BEGIN" in value or "\n" in value:
            raise ValueError("is not a path; write it into a file, and name that file")
        return value


class DaskEngine(Closed):
    """A Dask cluster that the fits run on."""

    address: str = Field(
        min_length=1,
        description="Of the scheduler; local: a cluster on this machine, for trying",
        examples=["tls://scheduler.example:8786"],
    )
    certificates: Certificates | None = Field(
        None, description="For tls://; unset: those of Dask's own configuration"
    )
    insecure: bool = Field(
        False,
        description="true: tcp:// to another machine, where whoever reaches a port runs code",
    )

    @property
    def is_local(self) -> bool:
        """Whether the cluster is started for the run, on this machine."""
        return self.address == LOCAL

    # The address is in no message: somebody may have written a password into it.
    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        protocol = self._protocol()
        if self.certificates is not None and protocol != "tls":
            raise impossible("no effect without tls://; correct the address", "certificates")
        if self.insecure and (protocol != "tcp" or self._is_loopback()):
            raise impossible(
                "no effect but on tcp:// to another machine; drop it, so that it allows nothing "
                "when the address changes",
                "insecure",
            )
        if protocol == "tcp" and not self._is_loopback() and not self.insecure:
            raise impossible(
                "tcp:// to another machine is neither encrypted nor authenticated: whoever reaches "
                "a port of the cluster runs code there and here; write tls:// with certificates, "
                "or insecure: true where nobody else reaches that network",
                "address",
            )
        return self

    def _protocol(self) -> str:
        if self.is_local:
            return LOCAL
        if "@" in self.address:
            raise impossible(
                "an address has no user and no password; drop them: a certificate says who you are",
                "address",
            )
        found = _ADDRESS.fullmatch(self.address)
        if found is None or found["protocol"] not in ("tcp", "tls"):
            raise impossible(
                "is not the address of a scheduler; write local, or tls://host:8786", "address"
            )
        return found["protocol"]

    def _is_loopback(self) -> bool:
        found = _ADDRESS.fullmatch(self.address)
        host = found["host"].strip("[]") if found else ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host.lower() == "localhost"


def _read_dask(value: Any) -> Any:
    return {"address": value} if isinstance(value, str) else value


class Engine(Closed):
    """Where the fits run, if not in threads of this machine; it decides no result."""

    dask: Annotated[
        DaskEngine, BeforeValidator(_read_dask, json_schema_input_type=DaskEngine | str)
    ] = Field(description="local, or {address: …}", examples=["local"])

    @model_validator(mode="before")
    @classmethod
    def _names_an_engine(cls, raw: Any) -> Any:
        # In words of its own, which do not show an address.
        if isinstance(raw, Mapping | Engine):
            return raw
        raise ValueError("write {dask: local}, or {dask: {address: tls://host:8786}}")


# Field → smallest and largest value, and the names of values from the smallest on.
_CRON: dict[str, tuple[int, int, str]] = {
    "minute": (0, 59, ""),
    "hour": (0, 23, ""),
    "day of month": (1, 31, ""),
    "month": (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    "day of week": (0, 7, "sun mon tue wed thu fri sat"),
}
_CRON_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")
_DAYS_OF_MONTH = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


def check_cron(expression: str) -> None:
    """Raise ValueError for other than five fields of crontab(5), or a day that never comes.

    >>> check_cron("0 6 * * mon-fri")
    """
    texts = expression.lower().split()
    if len(texts) != len(_CRON):
        raise ValueError(
            f"{expression!r} is not a cron expression; write five fields ({', '.join(_CRON)}), "
            "such as '0 6 * * *' for every day at 6"
        )
    fields = zip(texts, _CRON, strict=True)
    matched = {
        name: {n for part in text.split(",") for n in _values(part, name)} for text, name in fields
    }
    if min(matched["day of month"]) > max(_DAYS_OF_MONTH[month - 1] for month in matched["month"]):
        raise ValueError(f"{expression!r} names a day that never comes; correct day or month")


def _values(part: str, field: str) -> range:
    """The values that one part of a field matches."""
    low, high, names = _CRON[field]
    numbers = {name: number for number, name in enumerate(names.split(), start=low)}
    found = _CRON_PART.fullmatch(part)
    first, last, step = low, high, 1
    if found and found["step"]:
        step = int(found["step"])
    if found and found["first"]:
        ends = [
            numbers.get(end, int(end) if end.isdecimal() else -1)
            for end in (found["first"], found["last"] or found["first"])
        ]
        # A step after a single value counts up to the largest.
        first, last = ends[0], high if found["step"] and not found["last"] else ends[1]
    if found is None or step < 1 or not low <= first <= last <= high:
        words = f" or {names[:3]} to {names[-3:]}" if names else ""
        raise ValueError(
            f"{part!r} is not a {field} of a cron expression; allowed: * or {low} to {high}{words}, "
            "as 1,2 or 1-5 or */2"
        )
    return range(first, last + 1, step)
