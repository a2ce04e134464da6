"""A storage and a database of their own for the runs of a part."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline.tracking.database.connection import VARIABLE


@contextmanager
def own_places(**more: str) -> Iterator[Path]:
    """Let runs store in a new folder, also those of processes that are started; `more`:
    other variables.
    """
    with TemporaryDirectory() as name:
        places = {
            STORAGE_VARIABLE: f"{name}/storage",
            VARIABLE: f"sqlite:///{name}/database",
        }
        with patch.dict("os.environ", places | more):
            yield Path(name)
