"""`record`, `freshness`, `watch`, `publish`, `retention`, `mlflow`, `engine`: settings
that change no result.
"""

import ipaddress
import re
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from experiment_pipeline.spec.models import Closed, Duration, alone, impossible

Sentence = Annotated[str, Field(min_length=1)] | None


class Statements(Closed):
    """Statements that only people can make about a model; decision record, card and
    manifest show them.
    """

    purpose: Sentence = Field(
        None, description="What it is for, and which decisions it supports"
    )
    not_for: Sentence = Field(None, description="What it must not be used for")
    oversight: Sentence = Field(
        None, description="Who can overrule or stop it, and how"
    )
    affected: Sentence = Field(
        None, description="Whom it affects, and where they can object"
    )
    # A lower limit, because pydantic reads a bare number as seconds since 1970.
    review_on: Annotated[date, Field(gt=date(2000, 1, 1))] | None = Field(
        None, description="The day of its next review", examples=["2027-06-30"]
    )


class Freshness(Closed):
    """The age at which Dagster's page marks leaderboard and exported model as
    outdated.
    """

    warn_after: Duration | None = Field(
        None, description="A duration; unset: no warning", examples=["2 days"]
    )
    fail_after: Duration = Field(description="A duration", examples=["7 days"])


class Watch(Closed):
    """The champion's predictions and the labels that come later; see
    `experiment-pipeline watch`.
    """

    predictions: str = Field(
        min_length=1,
        repr=False,
        description="Path or URL of what `predict --keep` wrote",
    )
    labels: str = Field(
        min_length=1, repr=False, description="Path or URL; with id and target"
    )
    id: str | None = Field(
        None, min_length=1, description="Unset: the split's id_columns"
    )
    time: str | None = Field(
        None, min_length=1, description="Unset: that of a split by time"
    )
    label_after: Duration | None = Field(
        None,
        description="How long labels take: only older days count; unset: as `label` "
        "says, else a day counts once nearly all of its predictions have a label",
        examples=["30 days"],
    )
    schedule: str | None = Field(
        None, description="Cron expression; unset: only on request"
    )
    rerun: bool = Field(False, description="true: a broken promise requests one run")


class SqlSchema(Closed):
    """A schema of the PostgreSQL metadata database for the rows of the last run."""

    schema_name: str | None = Field(
        None,
        alias="schema",
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="Its name, such as analytics_churn; unset: the experiment's",
    )
    role: str | None = Field(
        None, min_length=1, description="A role that may read it; unset: the owner"
    )
    with_validation: bool = Field(
        False,
        description="true: also the rows of the validation set, by which nobody may "
        "choose",
    )


class Publish(Closed):
    """Where the rows of a run are published when it ends."""

    sql: SqlSchema = Field(SqlSchema(), description="PostgreSQL, for dashboards")


PublishSetting = Annotated[
    Publish | None,
    BeforeValidator(
        lambda value: {"sql": {}} if value == "sql" else value,
        json_schema_input_type=Publish | Literal["sql"] | None,
    ),
]


class Retention(Closed):
    """Which runs keep their files when `experiment-pipeline clean` is called."""

    runs: int = Field(ge=1, description="This many of the last runs with a leaderboard")
    days: int = Field(0, ge=0, description="And all runs of this many days")


class LabBudget(Closed):
    """What agents may spend in `experiment-pipeline lab`, in all."""

    explorations: int = Field(50, ge=1, le=9_999, description="Proposals to explore")
    seconds: float = Field(3_600, ge=10, description="Of all explorations together")
    money: float | None = Field(
        None, gt=0, description="Of all explorations, by price_per_hour; unset: any"
    )
    looks: int = Field(
        1, ge=0, description="Proposals that a person may open the validation set for"
    )
    modules: tuple[str, ...] = Field(
        (),
        description="Import paths of your own that agents may name, beside built-in "
        "algorithms",
    )


class Mlflow(Closed):
    """The MLflow server that runs are also written to."""

    tracking_uri: str = Field(
        min_length=1,
        repr=False,
        description="Of the MLflow server; credentials belong in "
        "MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD",
        examples=["http://mlflow.example:5000"],
    )
    experiment: str | None = Field(
        None,
        min_length=1,
        description="Name of the experiment there; unset: the same as here",
    )

    @property
    def shown_uri(self) -> str:
        """The address without credentials."""
        return re.sub("//[^/@]*@", "//***@", self.tracking_uri).partition("?")[0]


LOCAL = "local"
_ADDRESS = re.compile(
    r"(?P<protocol>tcp|tls)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(?P<port>\d{1,5})/?"
)


class DaskEngine(Closed):
    """A Dask cluster that the fits run on."""

    address: str = Field(
        min_length=1,
        description="Of the scheduler; local: a cluster on this machine, to try it; "
        "certificates are those of Dask's own settings",
        examples=["tls://scheduler.example:8786"],
    )
    insecure: bool = Field(
        False,
        description="true: tcp:// to another machine; anyone who reaches a port can "
        "run code",
    )

    @property
    def is_local(self) -> bool:
        """Whether the cluster is started for the run, on this machine."""
        return self.address == LOCAL

    # No message shows the address, because it may contain a password.
    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        address = _ADDRESS.fullmatch(self.address)
        if address is None and not self.is_local:
            raise impossible(
                "is not the address of a scheduler; write local, or tls://host:8786, "
                "without user and password: a certificate says who you are",
                "address",
            )
        protocol, host = LOCAL, ""
        if address is not None:
            protocol, host = address["protocol"], address["host"].strip("[]")
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = host.lower() == "localhost"
        if protocol == "tcp" and not loopback and not self.insecure:
            raise impossible(
                "tcp:// to another machine is neither encrypted nor authenticated: "
                "anybody who reaches a port of the cluster can run code there and "
                "here; write tls:// with certificates, or insecure: true if nobody "
                "else can reach that network",
                "address",
            )
        return self


class Engine(Closed):
    """Where the fits run, if not in threads of this machine; it changes no result."""

    dask: Annotated[DaskEngine, alone("address", DaskEngine)] = Field(
        description="local, or {address: …}", examples=["local"]
    )
