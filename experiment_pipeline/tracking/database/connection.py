"""Open the metadata database: find its URL, create its tables, explain its errors.

The URL is EXPERIMENT_PIPELINE_DATABASE, else a SQLite file beside Dagster's own. On
PostgreSQL the tables have their own schema, so that Dagster's tables may be in the same
database.
"""

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa

from experiment_pipeline.errors import DatabaseUnavailable
from experiment_pipeline.tracking.database.tables import METADATA, VIEWS

VARIABLE = "EXPERIMENT_PIPELINE_DATABASE"
FILE = "experiment_pipeline.sqlite"
HEAD = "0006"  # version of the tables: raised by every change to them
SCHEMA = "experiment_pipeline"
# Named as in alembic.
_VERSION = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.Text(), primary_key=True),
)
_SECONDS = 30  # how long a writer waits for another one on SQLite
# An arbitrary number; its holder creates the tables, the others wait.
_ADVISORY_LOCK = 20261125
# Seconds between attempts to write while a PostgreSQL server restarts.
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
# PostgreSQL's error codes for insufficient privilege and for a read-only server.
_REFUSALS = {"42501", "25006"}
_Result = TypeVar("_Result")
_EXPECTED = (
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
    sa.exc.ArgumentError,
    OSError,
)


def database_url() -> sa.URL:
    """The environment's database, else the file beside Dagster's.

    DatabaseUnavailable: an invalid URL.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        home = Path(os.environ.get("DAGSTER_HOME") or ".dagster_home").expanduser()
        return sa.URL.create("sqlite", database=str(home.absolute() / FILE))
    url = _parsed(text)
    if url.drivername in {"postgresql", "postgres"}:
        # The driver that Dagster's own PostgreSQL storage installs and uses.
        return url.set(drivername="postgresql+psycopg2")
    if url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise DatabaseUnavailable(
            shown(url),
            rule="is neither SQLite nor PostgreSQL",
            fix=f"Name one of these in {VARIABLE}.",
        )
    return url


def _parsed(text: str) -> sa.URL:
    # The text is never shown: an invalid URL may contain a password anywhere.
    invalid = DatabaseUnavailable(
        VARIABLE,
        rule="is not a database URL",
        fix="Write sqlite:///path or postgresql://user:password@host:5432/name; in "
        "user and password write %40 for @, %3A for :, %2F for / and %3F for ?.",
    )
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):  # ValueError: the port is not a number
        raise invalid from None
    # If a password contains an @, what follows it would be shown as a part of the host
    # or path.
    after_user = text.partition("://")[2].removeprefix(url.username or "")
    place = after_user.partition("@")[2]
    names = [part.partition("=")[0] for part in re.split("[?&]", place)]
    if url.get_backend_name() != "sqlite" and any("@" in name for name in names):
        raise invalid
    return url


def database() -> sa.Engine:
    """Return the engine of the database; creates its tables if necessary.

    >>> import pandas as pd
    >>> counted = "SELECT status, COUNT(*) AS runs FROM runs GROUP BY status"
    >>> pd.read_sql(counted, database())
         status  runs
    0  accepted     3
    1  rejected     1

    DatabaseUnavailable: it cannot be reached, read or written, or was made by another
    package version.
    """
    return opened(database_url())


@contextmanager
def reading() -> Iterator[sa.Connection]:
    """A connection for reading; raises as `database`."""
    engine = database()
    with database_errors(engine.url), engine.connect() as connection:
        yield connection


def transaction(work: Callable[[sa.Connection], _Result]) -> _Result:
    """Call `work` in one transaction, and retry it while a PostgreSQL server restarts.

    Raises
    ------
    DatabaseUnavailable: as `database`, or the server does not come back.
    """
    engine = database()
    pauses = iter(_PAUSES if engine.dialect.name == "postgresql" else ())
    while True:
        try:
            with database_errors(engine.url), engine.begin() as connection:
                return work(connection)
        except DatabaseUnavailable as error:
            transient = isinstance(
                error.__cause__, sa.exc.OperationalError | sa.exc.InterfaceError
            )
            pause = next(pauses, None)
            if pause is None or not transient:
                raise
            time.sleep(pause)


@cache
def opened(url: sa.URL) -> sa.Engine:
    """Return the engine of a database.

    Creates its tables or checks their version, once per process.
    """
    with database_errors(url):
        engine = _engine(url)
        if version_of(engine) != HEAD:
            with _alone(engine) as connection:
                version = version_of(engine)
                if version is None:
                    _make_tables(connection)
                elif version > HEAD:
                    raise _newer_version(url, version)
                elif version != HEAD:
                    # alembic takes .1 s to load, and is rarely needed.
                    from experiment_pipeline.tracking.database import migration

                    migration.add_what_is_missing(connection)
                    connection.execute(sa.update(_VERSION).values(version_num=HEAD))
    return engine


def _newer_version(url: sa.URL, version: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        shown(url),
        rule="was made by a newer experiment-pipeline (tables of "
        f"{version}, not {HEAD})",
        fix="Update the package. Or: Name a new database and fill it from the storage: "
        "experiment-pipeline reindex.",
    )


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        path = f"{url.query.get('options', '')} -c search_path={SCHEMA}"
        arguments = {"connect_timeout": 10, "options": path.strip()}
        return sa.create_engine(url, pool_pre_ping=True, connect_args=arguments)
    if url.database and "uri" not in url.query:  # a URI is not a path
        path = Path(url.database)
        if path.exists() and not os.access(path, os.W_OK):
            url = _for_reading(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": _SECONDS})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        # Readers and the one writer do not block each other; a killed process loses
        # nothing.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine


def _for_reading(path: Path) -> sa.URL:
    """The URL of a SQLite file that this user may only read."""
    query = {"mode": "ro", "uri": "true"}
    log = Path(f"{path}-wal")
    if not log.exists() or not log.stat().st_size:
        query["immutable"] = "1"  # else SQLite writes an index beside the file
    return sa.URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)


def version_of(engine: sa.Engine) -> str | None:
    """Return the version of a database's tables; None: it has none."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(_VERSION.name):
            return None
        return connection.execute(sa.select(_VERSION.c.version_num)).scalar()


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            # Checked first: IF NOT EXISTS needs the right to create it even if it
            # exists.
            if not sa.inspect(connection).has_schema(SCHEMA):
                connection.execute(sa.schema.CreateSchema(SCHEMA))
            yield connection
        return
    # SQLite has no lock that spans several DDL statements; the operating system has.
    with (
        Path(f"{engine.url.database}.lock").open("w") as lock,
        engine.connect() as connection,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        with connection.begin():
            yield connection


def _make_tables(connection: sa.Connection) -> None:
    METADATA.create_all(connection)
    for name, view in VIEWS.items():
        query = view.select.compile(connection, compile_kwargs={"literal_binds": True})
        connection.execute(sa.text(f"DROP VIEW IF EXISTS {name}"))
        connection.execute(sa.text(f"CREATE VIEW {name} AS {query}"))
        if connection.dialect.supports_comments:
            for column in view.table.columns:
                connection.execute(sa.schema.SetColumnComment(column))
    _VERSION.create(connection, checkfirst=True)
    connection.execute(sa.insert(_VERSION).values(version_num=HEAD))


def shown(url: sa.URL) -> str:
    """A URL without its passwords."""
    secret = [name for name in url.query if "password" in name.lower()]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


@contextmanager
def database_errors(url: sa.URL) -> Iterator[None]:
    """Turn errors that a user can act on into `DatabaseUnavailable`; a wrong statement
    is a bug.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise DatabaseUnavailable(
            shown(url),
            rule=f"needs the package {error.name}",
            fix="Install it: pip install 'experiment-pipeline[postgres]'.",
        ) from error
    except (sa.exc.DBAPIError, sa.exc.ArgumentError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        # SQLite raises this for a file that is not a database, or is damaged.
        is_damaged = type(error) is sa.exc.DatabaseError
        if not (isinstance(error, _EXPECTED) or is_damaged or _is_refusal(cause)):
            raise
        advice = (
            "Check that it runs, its URL, and that this user may read and write there "
            f"(SELECT is enough for queries), or name another database in {VARIABLE}."
        )
        if is_damaged and url.get_backend_name() == "sqlite":
            advice = (
                "Move the file away and fill a new one from the storage: "
                "experiment-pipeline reindex."
            )
        reason = str(cause).strip().splitlines()[0]
        raise DatabaseUnavailable(
            shown(url), rule=f"cannot be used ({reason})", fix=advice
        ) from error


def _is_refusal(cause: object) -> bool:
    """Whether PostgreSQL refuses the user or the URL."""
    code = getattr(cause, "pgcode", None)
    return code in _REFUSALS or "invalid dsn" in str(cause)
