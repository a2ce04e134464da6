"""`owners`, `tags`, `freshness`, `mlflow`, `schedule`, `engine`: an experiment in Dagster, MLflow, Dask.

Nothing of it enters a result. Dagster's own rules for such names, and those of a cron expression of
five fields as crontab(5) has them, are judged here in words, without Dagster. In: values of the YAML.
Out: immutable settings.
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
            raise ValueError("is no path; write it into a file, and name that file")
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
                "is no address of a scheduler; write local, or tls://host:8786", "address"
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


_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# Field → smallest, largest, names of the values from the smallest on.
_FIELDS: dict[str, tuple[int, int, list[str]]] = {
    "minute": (0, 59, []),
    "hour": (0, 23, []),
    "day of month": (1, 31, []),
    "month": (1, 12, _MONTHS),
    "day of week": (0, 7, _DAYS),
}
_DAYS_OF_MONTH = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")


def check_cron(expression: str) -> None:
    """Raise ValueError when the expression is not five valid fields, or names a day that never is.

    >>> check_cron("0 6 * * mon-fri")
    """
    texts = expression.split()
    if len(texts) != len(_FIELDS):
        raise ValueError(
            f"{expression!r} is no cron expression; write five fields ({', '.join(_FIELDS)}), "
            "such as '0 6 * * *' for every day at 6"
        )
    values = {name: _values(text.lower(), name) for text, name in zip(texts, _FIELDS, strict=True)}
    longest = max(_DAYS_OF_MONTH[month - 1] for month in values["month"])
    if min(values["day of month"]) > longest:
        raise ValueError(f"{expression!r} names a day that never comes; correct day or month")


def _values(text: str, name: str) -> set[int]:
    """All values that one field matches."""
    return {value for part in text.split(",") for value in _part_values(part, name)}


def _part_values(part: str, name: str) -> range:
    low, high, names = _FIELDS[name]
    match = _PART.fullmatch(part)
    wrong = ValueError(
        f"{part!r} is no {name} of a cron expression; allowed: * or {low} to {high}"
        f"{' or ' + names[0] + ' to ' + names[-1] if names else ''}, as 1,2 or 1-5 or */2"
    )
    if match is None:
        raise wrong
    if match["first"] is not None:
        known = {text: number for number, text in enumerate(names, start=low)}
        ends = [
            known.get(text, int(text) if text.isdecimal() else -1)
            for text in (match["first"], match["last"] or match["first"])
        ]
        if not low <= ends[0] <= ends[1] <= high:
            raise wrong
        # Vixie cron: a step after a single value counts up to the largest.
        low, high = ends[0], ends[1] if match["last"] or not match["step"] else high
    step = int(match["step"] or 1)
    if step < 1:
        raise wrong
    return range(low, high + 1, step)
