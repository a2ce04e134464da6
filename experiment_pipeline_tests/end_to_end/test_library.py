"""The wheel in somebody else's Dagster project: it brings what it needs and leaves
theirs alone.
"""

import os
import shutil
import site
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml

from experiment_pipeline_tests.end_to_end.project import ROOT

pytestmark = pytest.mark.slow

COMPONENT = "experiment_pipeline.Experiment"
ROWS = 600
PYPROJECT = """\
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "clinic"
code_location_name = "clinic"
"""
# Resources of the host's own, under the names that everybody takes.
DEFINITIONS = """\
from pathlib import Path

import dagster as dg


class Untouchable(dg.IOManager):
    def handle_output(self, context, obj):
        raise AssertionError("the host's IO manager was given something of an experiment")

    load_input = handle_output


@dg.io_manager
def untouchable(_):
    return Untouchable()


@dg.definitions
def defs():
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(
            resources={
                "io_manager": untouchable,
                "tables": dg.FilesystemIOManager(base_dir="of_the_host"),
            },
            jobs=[dg.define_asset_job("beside", selection=["rows_of_host", "sum_of_host"])],
        ),
    )
"""
ASSETS = """\
import dagster as dg
import pandas as pd


@dg.asset(ins={"table": dg.AssetIn(["visits", "validated_data"])}, io_manager_key="tables")
def rows_of_host(table: pd.DataFrame) -> int:
    return len(table)


@dg.asset(io_manager_key="tables", group_name="visits")
def sum_of_host(rows_of_host: int) -> int:
    return rows_of_host + 1
"""
# Run in the host's process: what is there, what has been changed on the way, a run, and
# a prediction.
LOOK = """\
import logging, sys, warnings
from pathlib import Path

before = list(warnings.filters), logging.getLoggerClass(), list(logging.getLogger().handlers)
import dagster as dg
with_dagster = list(warnings.filters)
import experiment_pipeline
from clinic.definitions import defs

loaded = defs().get_repository_def()
assert list(warnings.filters) == with_dagster, "warning filters"
assert logging.getLoggerClass() is before[1] is logging.Logger, "logger class"
assert logging.getLogger().handlers == before[2], "log handlers"
assert Path(experiment_pipeline.__file__).is_relative_to(sys.prefix), experiment_pipeline.__file__
assert not (Path(experiment_pipeline.__file__).parent / "defs").exists()
assert {job.name for job in loaded.get_all_jobs()} >= {"visits", "beside"}
executors = {job.name: job.executor_def for job in loaded.get_all_jobs()}
assert executors["beside"].name == "multi_or_in_process_executor", executors["beside"].name
assert executors["visits"].name == "in_process"
sys.argv = ["dg", "launch", "--job", "visits"]
from dagster_dg_cli.cli import main as dg_main
try:
    dg_main()
except SystemExit as ended:
    assert not ended.code, ended.code
assert "sum_of_host" not in {key.to_user_string() for key in loaded.get_job("visits").asset_layer.executable_asset_keys}
with dg.DagsterInstance.get() as instance:
    assert [run.job_name for run in instance.get_runs()] == ["visits"]
    assert loaded.get_job("beside").execute_in_process(instance=instance).success
print("as it was")
from experiment_pipeline.cli import main
main(["predict", "visits", "visits.csv"])
"""


@dataclass(frozen=True)
class Host:
    """A project and an environment that know this one only as an installed package."""

    folder: Path
    python: Path

    def run(self, *command: str) -> str:
        """Run a module or script with the host's Python; what it says."""
        inherited = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("DAGSTER", "PYTHON"))
        }
        done = subprocess.run(
            [self.python, *command],
            cwd=self.folder,
            env={
                **inherited,
                "DAGSTER_HOME": str(self.folder / "home"),
                "DAGSTER_DISABLE_TELEMETRY": "1",
                "PYTHONPATH": str(self.folder),
                "PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}",
                "COLUMNS": "200",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        told = done.stdout + done.stderr
        assert done.returncode == 0, told
        return done.stdout

    def dg(self, *arguments: str) -> str:
        """Run `dg`, whose script belongs to the environment that the tests run in."""
        return self.run("-c", "from dagster_dg_cli.cli import main; main()", *arguments)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The package as others get it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        str(folder),
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def host(wheel: Path, tmp_path_factory) -> Host:
    """A fresh environment and project; the packages that both need are read from the
    tests' own.

    A .pth file adds a folder, but runs none of that folder's .pth files: the source
    tree, which the tests' environment finds through one, stays unknown.
    """
    folder = tmp_path_factory.mktemp("host")
    environment = folder / "environment"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", environment], check=True
    )
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text("\n".join(site.getsitepackages()))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    package = folder / "project" / "clinic"
    (package / "defs").mkdir(parents=True)
    (folder / "project" / "home").mkdir()
    (folder / "project" / "pyproject.toml").write_text(PYPROJECT)
    for file, text in {
        "__init__.py": "",
        "definitions.py": DEFINITIONS,
        "defs/__init__.py": "",
        "defs/assets.py": ASSETS,
    }.items():
        (package / file).write_text(text)
    generator = np.random.default_rng(4)
    age = generator.integers(20, 90, ROWS)
    late = np.where(age + generator.normal(0, 10, ROWS) > 55, "yes", "no")
    visits = pd.DataFrame({"age": age, "ward": "north", "late": late})
    visits.to_csv(folder / "project/visits.csv", index=False)
    return Host(folder / "project", environment / "bin" / "python")


def test_the_wheel_is_the_library_alone(wheel: Path):
    """Types, templates and entry points are in it; the bundled experiment is not."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entries,) = [name for name in names if name.endswith("entry_points.txt")]
        (metadata,) = [name for name in names if name.endswith("METADATA")]
        told, described = (
            archive.read(entries).decode(),
            archive.read(metadata).decode(),
        )
    assert {"experiment_pipeline/py.typed", "experiment_pipeline/cli.py"} <= set(names)
    assert not [
        name for name in names if "/defs/" in name or name.endswith("definitions.py")
    ]
    assert (
        "[dagster_dg_cli.registry_modules]\nexperiment_pipeline = experiment_pipeline\n"
        in told
    )
    assert "Typing :: Typed" in described
    assert "## Your own table" in described
    assert "](docs/" not in described, "outside the repository a link leads to it"


def test_an_experiment_runs_beside_the_hosts_own(host: Host):
    """From the scaffold of the component to predictions, with all that the host has."""
    scaffold = ("scaffold", "defs", COMPONENT, "visits", "--data", "visits.csv")
    options = ("--target", "late", "--exclude", "ward", "--metric", "accuracy")
    drafted = host.dg(*scaffold, *options)
    assert "Wrote defs.yaml and schema.yaml" in drafted
    assert "Run: dg launch --job visits" in drafted
    path = host.folder / "clinic/defs/visits/defs.yaml"
    declared = yaml.safe_load(path.read_text())
    # Two configurations of what was drafted: this test is not about the search.
    declared["attributes"]["search"] = [{"algorithm": "dummy"}, {"algorithm": "linear"}]
    declared["attributes"] |= {"halving": "off", "evaluation": "test_set"}
    path.write_text(yaml.safe_dump(declared, sort_keys=False))
    _, as_it_was, predicted = host.run("-c", LOOK).partition("as it was\n")
    assert (host.folder / "artifacts/visits/registry/v0001/model.skops").exists()
    assert as_it_was
    assert f"predicted {ROWS:>9,} rows" in predicted


ANSWERS = {
    "from_a_table_to_a_model": {
        "run": "accepted with conditions (leak_suspect), v0001",
        "predict": "4 rows predicted",
        "save": "target: diagnosis",
    },
    "my_own_model": {
        "run": "accepted with conditions (leak_suspect), v0001",
        "add": "by_radius",
        "tie": "difference_to_best",
    },
}


@pytest.fixture(scope="module")
def notebooks(host: Host) -> Path:
    """Where the notebooks of the documents are, executed by one process of
    the host's.
    """
    shutil.copy(ROOT / "docs" / "my_models.py", host.folder)
    files = [f"{name}.ipynb" for name in ANSWERS]
    for file in files:  # a search of a second, without folds, shows what one of 20 does
        text = (ROOT / "docs" / file).read_text().replace("seconds=20", "seconds=1")
        quick = text.replace("progress=False", "progress=False, evaluation='test_set'")
        (host.folder / file).write_text(quick)
    host.run(
        "-c", (ROOT / "experiment_pipeline_tests" / "notebooks.py").read_text(), *files
    )
    return host.folder


@pytest.mark.parametrize("name", ANSWERS)
def test_a_notebook_runs_with_the_package_alone(name: str, notebooks: Path):
    """Every cell runs in an environment of its own, and shows what the kept outputs
    show.
    """
    places = (folder / f"{name}.ipynb" for folder in (notebooks, ROOT / "docs"))
    made, kept = (nbformat.read(place, 4).cells for place in places)
    for cell, expected in zip(made, kept, strict=True):
        both = (
            [sorted(one) for one in of.get("outputs", [])] for of in (cell, expected)
        )
        assert len({str(one) for one in both}) == 1, cell.id
    shown = {cell.id: str(cell.get("outputs")) for cell in made}
    assert [id_ for id_, said in ANSWERS[name].items() if said not in shown[id_]] == []
