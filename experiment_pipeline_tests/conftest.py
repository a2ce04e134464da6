"""Fixtures that several rooms of tests share: storage on disk and on a real S3 server,
databases, a browser.
"""

import gc
import os
import pickle
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from upath import UPath

from experiment_pipeline.storage.files import STORAGE_VARIABLE, storage_root
from experiment_pipeline.tracking.database.connection import VARIABLE, database, opened
from experiment_pipeline_tests.ports import Server, wait_until
from experiment_pipeline_tests.postgres_server import PostgresServer
from experiment_pipeline_tests.s3_server import S3Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A busy machine is no slow code, and a change is judged by the same examples each time;
# who looks for new ones says so: pytest --hypothesis-profile=search
UNJUDGED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile(
    "project", deadline=None, derandomize=True, suppress_health_check=UNJUDGED
)
settings.register_profile("search", deadline=None, suppress_health_check=UNJUDGED)
settings.load_profile("project")
# Hypothesis draws constants of every module of ours that is imported: examples would
# change whenever a test, or a thread of one, imports one.
providers._get_local_constants = lambda: providers._local_constants

# Images of containers forbid to keep what is compiled: each of the hundreds of
# processes that tests start would compile Dagster anew, which takes it twice the time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A thread of BLAS or OpenMP that has nothing to do sleeps, instead of keeping the
# others from the core.
os.environ |= {"OPENBLAS_THREAD_TIMEOUT": "4", "OMP_WAIT_POLICY": "passive"}

# Modules and collected tests are a million objects that stay: none is searched for
# garbage.
gc.disable()

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")


def collected(session: pytest.Session) -> Path:
    """A file of all workers: the first one has collected."""
    return session.config._tmp_path_factory.getbasetemp().parent / "collected"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Several workers share one server of each kind."""
    for kind in (PostgresServer, S3Server):
        server = kind()
        config.add_cleanup(server.remove)  # also of one that does not answer
        os.environ[kind.__name__] = pickle.dumps(server.start()).hex()


@contextmanager
def running(kind: type[Server]) -> Iterator[Server]:
    """The server that the workers share, or else one of this process."""
    if known := os.environ.get(kind.__name__):
        yield pickle.loads(bytes.fromhex(known))
    else:
        with kind() as server:
            yield server


def pytest_sessionstart(session: pytest.Session) -> None:
    """The first worker compiles what is imported, for the others that would do the same
    beside it.
    """
    if WORKER not in {"", "gw0"}:
        wait_until(collected(session).exists, 600)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Search for garbage from here on, in what tests make, and more rarely than after
    700 objects.
    """
    gc.freeze()
    gc.set_threshold(50_000)
    gc.enable()
    if WORKER == "gw0":
        collected(session).touch()


@pytest.fixture(scope="session", autouse=True)
def quick_disk() -> Iterator[None]:
    """Files of tests need not outlive the machine's power; those of a killed process do
    anyhow.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def empty_database(tmp_path_factory) -> Iterator[Path]:
    """A metadata database without a row, made once; fixtures of modules write to
    another one.
    """
    folder = tmp_path_factory.mktemp("database")
    path = folder / "empty.sqlite"
    opened(sa.URL.create("sqlite", database=str(path))).dispose()
    opened.cache_clear()
    shared = shutil.copy(path, folder / "shared.sqlite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, f"sqlite:///{shared}")
        yield path


@pytest.fixture(autouse=True)
def metadata_database(empty_database: Path, monkeypatch) -> Iterator[Path]:
    """Each test has a metadata database of its own: none writes to the project's."""
    # Most tests need no folder, which is made slowly.
    path = empty_database.with_name(f"{secrets.token_hex(8)}.sqlite")
    shutil.copy(empty_database, path)
    monkeypatch.setenv(VARIABLE, f"sqlite:///{path}")
    yield path
    opened.cache_clear()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server."""
    with running(PostgresServer) as server:
        yield server


@pytest.fixture
def postgres_database(postgres: PostgresServer, monkeypatch) -> str:
    """The name of a database of the test's own, which the environment leads to."""
    name = f"test_{secrets.token_hex(6)}"
    monkeypatch.setenv(VARIABLE, postgres.make_database(name))
    return name


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """The name of a PostgreSQL database with our tables and no row, made once."""
    url = postgres.make_database(name := f"template_{WORKER}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, url)
        database().dispose()
    return name


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def each_database(request, monkeypatch) -> str:
    """The metadata database, with its tables: once SQLite, once PostgreSQL."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        template: str = request.getfixturevalue("postgres_template")
        name = f"test_{secrets.token_hex(6)}"
        monkeypatch.setenv(VARIABLE, server.make_database(name, template))
    return str(request.param)


# Whole runs, most in processes of their own: those with the most CPU seconds first.
LONGEST = (
    *(f"end_to_end/test_{name}.py" for name in ("ui", "library", "cluster")),
    *("stages/test_decision.py", "stages/test_experiment_run.py"),
    *("experiment/test_run.py", "experiment/test_by_hand.py"),
    *("stages/search/dask/test_engine.py", "orchestration/test_killed_stages.py"),
    *("tracking/test_mlflow.py", "storage/test_damage.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, then the others with slow tests.

    Workers take whole files in this order: one that took a long file last would end
    alone.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(
        key=lambda item: (places.get(item.path, len(places)), item.path not in slow)
    )


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A browser, for the pages of one file."""
    from playwright.sync_api import sync_playwright

    from experiment_pipeline_tests.end_to_end.browser import CHROMIUM, QUIET

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def storage(tmp_path, monkeypatch) -> Path:
    """A storage root on disk, named by the environment."""
    root = tmp_path / "artifacts"
    monkeypatch.setenv(STORAGE_VARIABLE, str(root))
    return root


@pytest.fixture
def quick(tmp_path, monkeypatch) -> Iterator[None]:
    """A folder of the test's own, without what has tests elsewhere and takes long."""
    from experiment_pipeline_tests import runs

    monkeypatch.chdir(tmp_path)
    with runs.quickly():
        yield


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A real S3 server."""
    with running(S3Server) as server:
        yield server


@pytest.fixture
def s3_keys(s3: S3Server, monkeypatch) -> None:
    """The environment leads to the server."""
    for variable in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in s3.environment.items():
        monkeypatch.setenv(variable, value)


@pytest.fixture
def s3_bucket(s3: S3Server, s3_keys: None) -> str:
    """The name of a bucket of the test's own; the environment leads to its server."""
    s3.make_bucket(name := f"bucket-{secrets.token_hex(6)}")
    return name


@pytest.fixture(scope="session")
def shared_bucket(s3: S3Server) -> str:
    """The name of a bucket for all: the first file of a new one takes a quarter of a
    second.
    """
    s3.make_bucket(name := f"shared{WORKER}")
    return name


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.slow)])
def place(request, monkeypatch) -> UPath:
    """A storage root, named by the environment: once on disk, once in a bucket."""
    if request.param == "disk":
        request.getfixturevalue("storage")
    else:
        request.getfixturevalue("s3_keys")
        bucket = request.getfixturevalue("shared_bucket")
        monkeypatch.setenv(
            STORAGE_VARIABLE, f"s3://{bucket}/some/{secrets.token_hex(6)}"
        )

    return storage_root()
