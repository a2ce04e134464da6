"""Dagster's SQLite storage, safe to open for the first time by several processes at once.

Dagster creates and stamps each database in steps; of two processes that do so together, one
dies with `UNIQUE constraint failed: alembic_version`. Here they wait for each other.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

LOCK = ".opening.lock"


class SqliteStorage(DagsterSqliteStorage):
    """The same databases in the same places; one process opens them at a time."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> "SqliteStorage":
        """What Dagster calls for `storage: custom:`; its own version would build its own class."""
        return cls.from_local(inst_data=inst_data, **config_value)

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        with _alone(Path(base_dir)):
            super().__init__(base_dir, inst_data)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the operating system takes it from a process that dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
