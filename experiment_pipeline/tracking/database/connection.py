"""Opening the metadata database: its URL, its schema brought up to date, its errors in words.

In: EXPERIMENT_PIPELINE_DATABASE, else a SQLite file beside Dagster's own. Out: SQLAlchemy engines
whose tables are those of this package; `DatabaseUnavailable` for everything a user can act on. On
PostgreSQL the tables live in a schema of their own, beside those of Dagster in the same database.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from experiment_pipeline.errors import DatabaseUnavailable

VARIABLE = "EXPERIMENT_PIPELINE_DATABASE"
FILE = "experiment_pipeline.sqlite"
# The newest of the migrations; a test holds it against their folder.
HEAD = "0001"
# Where the tables are on PostgreSQL: Dagster has tables of the same names in the default one.
SCHEMA = "experiment_pipeline"
_MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION = sa.table("alembic_version", sa.column("version_num", sa.Text()))
# How long a writer waits for another one.
_SECONDS = 30
# Any number of our own: who holds it migrates, the others wait.
_ADVISORY_LOCK = 20261125
# How long a server that restarts is waited for, between one attempt and the next.
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
# What PostgreSQL says of a user who may not (insufficient privilege), or of one who may but not
# here (a replica).
_REFUSALS = {"42501", "25006"}
# Servers that were waited for in vain: what a run still has to write at its end does not wait again.
_GIVEN_UP: set[sa.Engine] = set()
_Result = TypeVar("_Result")


def database_url() -> sa.URL:
    """The database that the environment names, else the file beside Dagster's storage.

    Raises:
        DatabaseUnavailable: the variable holds no URL.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return _url(given)
    home = Path(os.environ.get("DAGSTER_HOME") or ".dagster_home").expanduser().absolute()
    return sa.URL.create("sqlite", database=str(home / FILE))


def _url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise DatabaseUnavailable(
            VARIABLE, "is no database URL", "Write sqlite:///path or postgresql://user@host/name."
        ) from None
    if url.drivername in {"postgresql", "postgres"}:
        # The driver that Dagster's own PostgreSQL storage brings, and works with.
        return url.set(drivername="postgresql+psycopg2")
    if url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise DatabaseUnavailable(
            shown(url),
            "is neither SQLite nor PostgreSQL",
            f"Name one of these in {VARIABLE}.",
        )
    return url


def database() -> sa.Engine:
    """Return the engine of the database, its tables up to date.

    >>> import pandas as pd
    >>> pd.read_sql("SELECT status, COUNT(*) AS runs FROM runs GROUP BY status", database())
         status  runs
    0  accepted     3
    1  rejected     1

    Raises:
        DatabaseUnavailable: it cannot be reached, read or written, or is of a newer package.
    """
    return opened(database_url())


def transaction(work: Callable[[sa.Connection], _Result]) -> _Result:
    """Do some work in one transaction, and again while a server that was there is restarting.

    Args:
        work: what to do; of an attempt that failed nothing stays.

    Raises:
        DatabaseUnavailable: as `database`, or the server has not come back.
    """
    engine = database()
    patient = engine.dialect.name == "postgresql" and engine not in _GIVEN_UP
    pauses = iter(_PAUSES if patient else ())
    while True:
        try:
            with told(engine.url), engine.begin() as connection:
                done = work(connection)
        except DatabaseUnavailable as error:
            passing = isinstance(error.__cause__, sa.exc.OperationalError | sa.exc.InterfaceError)
            pause = next(pauses, None)
            if pause is None or not passing:
                _GIVEN_UP.add(engine)
                raise
            time.sleep(pause)
        else:
            _GIVEN_UP.discard(engine)
            return done


@cache
def opened(url: sa.URL) -> sa.Engine:
    """Return the engine of a database; the first time in a process its tables are looked at."""
    with told(url):
        engine = _engine(url)
        _bring_up_to_date(engine)
    return engine


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        path = f"{url.query.get('options', '')} -c search_path={SCHEMA}"
        patience = {"connect_timeout": 10, "options": path.strip()}
        return sa.create_engine(url, pool_pre_ping=True, connect_args=patience)
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": _SECONDS})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        # Readers and one writer do not wait for each other; a killed process loses nothing.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine


def version_of(engine: sa.Engine) -> str | None:
    """Return the number of the last migration that made a database's tables; None: it has none."""
    with engine.connect() as connection:
        return _version(connection)


def _bring_up_to_date(engine: sa.Engine) -> None:
    if version_of(engine) == HEAD:
        return
    with _alone(engine) as connection:
        found = version_of(engine) if connection is None else _version(connection)
        if found == HEAD:
            return
        if found is not None and found > HEAD:
            raise DatabaseUnavailable(
                shown(engine.url),
                f"was made by a newer experiment-pipeline (its tables are of {found}, those of "
                f"this one of {HEAD})",
                "Update the package, or name another database.",
            )
        migrate(engine, connection)


def migrate(
    engine: sa.Engine, connection: sa.Connection | None = None, to: str | None = None
) -> None:
    """Bring the tables to a version of the migrations, the newest one unless another is named."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    if connection is None:
        with engine.connect() as own:
            # A migration may make a table anew: to drop the old one would take along, by its
            # foreign keys, all that belongs to its rows.
            own.exec_driver_sql("PRAGMA foreign_keys = OFF")
            own.commit()
            config.attributes["connection"] = own
            with own.begin():
                command.upgrade(config, to or HEAD)
            own.exec_driver_sql("PRAGMA foreign_keys = ON")
        return
    config.attributes["connection"] = connection
    command.upgrade(config, to or HEAD)


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(sa.select(_VERSION.c.version_num)).scalar()


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[sa.Connection | None]:
    """Let one process at a time change the tables."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        # SQLite has no lock that outlives a statement of DDL; the operating system has.
        with Path(f"{engine.url.database}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield None
        return
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        # Asked first: IF NOT EXISTS wants the right to create it, even where it is there.
        if not sa.inspect(connection).has_schema(SCHEMA):
            connection.execute(sa.schema.CreateSchema(SCHEMA))
        yield connection


def shown(url: sa.URL) -> str:
    """A URL without its password."""
    return url.difference_update_query(["password"]).render_as_string(hide_password=True)


@contextmanager
def told(url: sa.URL) -> Iterator[None]:
    """Turn the database's refusals into `DatabaseUnavailable`; a wrong statement is a bug."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise DatabaseUnavailable(
            shown(url),
            f"needs the package {error.name}",
            "Install it: pip install 'experiment-pipeline[postgres]' for PostgreSQL.",
        ) from error
    except (sa.exc.DBAPIError, OSError) as error:
        if not _is_refusal(error):
            raise
        raise _unavailable(url, error) from error


def _is_refusal(error: Exception) -> bool:
    """Whether the database, not the statement, is what is wrong."""
    expected = (sa.exc.OperationalError, sa.exc.InterfaceError, OSError)
    return isinstance(error, expected) or _code(error) in _REFUSALS


def _code(error: Exception) -> str | None:
    """What PostgreSQL calls an error; None: it is another database's, or has no name."""
    return getattr(getattr(error, "orig", None), "pgcode", None)


def _unavailable(url: sa.URL, error: Exception) -> DatabaseUnavailable:
    said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if "readonly" in said or _code(error) == "25006" or isinstance(error, PermissionError):
        rule, fix = f"cannot be written ({said})", "Give this user the right to write there"
    elif _code(error) in _REFUSALS:
        rule = f"refuses this to user {url.username} ({said})"
        fix = "Give the user the right: all to run experiments, SELECT to ask"
    else:
        rule, fix = f"cannot be used ({said})", "Start it, or correct the URL"
    return DatabaseUnavailable(shown(url), rule, f"{fix}, or name another in {VARIABLE}.")
