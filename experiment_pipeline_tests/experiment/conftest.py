"""A first run on the awkward table, from which many tests of this room go on."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiment_pipeline.experiment.result import RunResult
from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline.tracking.database.connection import VARIABLE, database
from experiment_pipeline_tests import runs
from experiment_pipeline_tests.experiment.visits import run_visits


@dataclass(frozen=True)
class FirstRun:
    """A run, and the folder with its storage and its database."""

    folder: Path
    result: RunResult


@pytest.fixture(scope="session")
def first_run(tmp_path_factory, empty_database: Path) -> FirstRun:
    """The run, made once."""
    folder = tmp_path_factory.mktemp("visits")
    file = shutil.copy(empty_database, folder / "database.sqlite")
    with pytest.MonkeyPatch.context() as patch, runs.quickly():
        patch.setenv(STORAGE_VARIABLE, str(folder / "artifacts"))
        patch.setenv(VARIABLE, f"sqlite:///{file}")
        patch.chdir(folder)
        result = run_visits()
        database().dispose()
    return FirstRun(folder, result)


@pytest.fixture
def visits(first_run: FirstRun, storage: Path, metadata_database: Path) -> RunResult:
    """The run, in a copy with which a test may go on."""
    shutil.copytree(first_run.folder / "artifacts", storage)
    shutil.copy(first_run.folder / "database.sqlite", metadata_database)
    return first_run.result
