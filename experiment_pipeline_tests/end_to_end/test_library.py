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

from experiment_pipeline_tests.end_to_end.project import ROOT
from experiment_pipeline_tests.orchestration.folder import SCHEMA, YAML

pytestmark = pytest.mark.slow

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
PROJECT = {
    "pyproject.toml": PYPROJECT,
    "clinic/__init__.py": "",
    "clinic/definitions.py": DEFINITIONS,
    "clinic/defs/__init__.py": "",
    "clinic/defs/assets.py": ASSETS,
    "clinic/defs/other/defs.yaml": YAML,
    "clinic/defs/other/schema.yaml": SCHEMA,
}
ANSWERS = {
    "from_a_table_to_a_model.ipynb": {
        "run": "accepted with conditions (leak_suspect), v0001",
        "predict": "4 rows predicted",
        "save": "target: diagnosis",
    },
    "my_own_model.ipynb": {
        "run": "accepted with conditions (leak_suspect), v0001",
        "add": "by_radius",
        "tie": "difference_to_best",
    },
}
OPTIONS = "--data visits.csv --target late --exclude ward --metric accuracy"
# In one process of the host's: what is there, what has been changed on the way, a draft,
# a run, a prediction, and the notebooks of the documents.
SESSION = """\
import logging, runpy, sys, warnings
from pathlib import Path

import yaml

options, *notebooks = sys.argv[1:]
before = logging.getLoggerClass(), list(logging.getLogger().handlers)
import dagster as dg
with_dagster = list(warnings.filters)
import experiment_pipeline
from clinic.definitions import defs

assert {job.name for job in defs().jobs} >= {"other", "beside"}
assert list(warnings.filters) == with_dagster, "warning filters"
assert logging.getLoggerClass() is before[0] is logging.Logger, "logger class"
assert logging.getLogger().handlers == before[1], "log handlers"
assert Path(experiment_pipeline.__file__).is_relative_to(sys.prefix), experiment_pipeline.__file__
assert not (Path(experiment_pipeline.__file__).parent / "defs").exists()

from dagster_dg_cli.cli import main as dg_main

def call(*arguments):
    sys.argv = ["dg", *arguments]
    try:
        dg_main()
    except SystemExit as ended:
        assert not ended.code, ended.code

call("scaffold", "defs", "experiment_pipeline.Experiment", "visits", *options.split())
# Two configurations of what was drafted: this is not about the search.
file = Path("clinic/defs/visits/defs.yaml")
declared = yaml.safe_load(file.read_text())
declared["attributes"]["search"] = [{"algorithm": "dummy"}, {"algorithm": "linear"}]
declared["attributes"] |= {"halving": "off", "evaluation": "test_set"}
file.write_text(yaml.safe_dump(declared, sort_keys=False))
loaded = defs().get_repository_def()
executors = {job.name: job.executor_def for job in loaded.get_all_jobs()}
assert executors["beside"].name == "multi_or_in_process_executor", executors["beside"].name
assert executors["visits"].name == "in_process"
call("launch", "--job", "visits")
assert "sum_of_host" not in {key.to_user_string() for key in loaded.get_job("visits").asset_layer.executable_asset_keys}
with dg.DagsterInstance.get() as instance:
    assert [run.job_name for run in instance.get_runs()] == ["visits"]
    assert loaded.get_job("beside").execute_in_process(instance=instance).success
print("as it was")
from experiment_pipeline.cli import main
main(["predict", "visits", "visits.csv"], standalone_mode=False)
# The job did what notebooks do alike: a check in a fresh process, pages of all runs.
from experiment_pipeline.stages.exported_model import export
from experiment_pipeline.stages.validation_report import referee
from experiment_pipeline.tracking import outcomes
export.check_in_fresh_process = lambda package: None
outcomes.write_pages = lambda *_: None
referee.MOST_FEATURES = 1
sys.argv = notebooks
runpy.run_path(notebooks[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Host:
    """A project that knows this one only as an installed package, and what its session
    said.
    """

    folder: Path
    told: str


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The package as others get it."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def install(wheel: Path, packages: Path) -> None:
    """Unpack the package, with what Python has compiled of the same files already."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    for file in (packages / "experiment_pipeline").rglob("*.py"):
        shutil.copystat(ROOT / file.relative_to(packages), file)
    for compiled in (ROOT / "experiment_pipeline").rglob("__pycache__"):
        place = packages / compiled.relative_to(ROOT)
        if place.parent.is_dir():
            shutil.copytree(compiled, place)


@pytest.fixture(scope="module")
def host(wheel: Path, tmp_path_factory) -> Host:
    """A fresh environment and project; the packages that both need are read from the
    tests' own.

    A .pth file adds a folder, but runs none of that folder's .pth files: the source
    tree, which the tests' environment finds through one, stays unknown.
    """
    folder = tmp_path_factory.mktemp("host")
    environment, project = folder / "environment", folder / "project"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", environment], check=True
    )
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text("\n".join(site.getsitepackages()))
    install(wheel, packages)
    (project / "clinic" / "defs" / "other").mkdir(parents=True)
    (project / "home").mkdir()
    for file, text in PROJECT.items():
        (project / file).write_text(text)
    generator = np.random.default_rng(4)
    age = generator.integers(20, 90, ROWS)
    late = np.where(age + generator.normal(0, 10, ROWS) > 55, "yes", "no")
    visits = pd.DataFrame({"age": age, "ward": "north", "late": late})
    visits.to_csv(project / "visits.csv", index=False)
    # A search of a second over few columns, without folds, shows what one of 20 does.
    for name in ANSWERS:
        text = (ROOT / "docs" / name).read_text().replace("seconds=20", "seconds=1")
        quick = text.replace("progress=False", "progress=False, evaluation='test_set'")
        few = quick.replace(
            "data.data.assign", "data.data.iloc[:, [3, 20, 22, 23]].assign"
        )
        (project / name).write_text(few)
    shutil.copy(ROOT / "docs" / "my_models.py", project)
    python = environment / "bin" / "python"

    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DAGSTER", "PYTHON"))
    }
    notebooks = ROOT / "experiment_pipeline_tests" / "notebooks.py"
    done = subprocess.run(
        [python, "-c", SESSION, OPTIONS, notebooks, *ANSWERS],
        cwd=project,
        env={
            **inherited,
            "DAGSTER_HOME": str(project / "home"),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": str(project),
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Host(project, done.stdout)


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
    drafted, _, after = host.told.partition("as it was\n")
    assert "Wrote defs.yaml and schema.yaml" in drafted
    assert "Run: dg launch --job visits" in drafted
    assert (host.folder / "artifacts/visits/registry/v0001/model.skops").exists()
    assert f"predicted {ROWS:>9,} rows" in after


@pytest.mark.parametrize("name", ANSWERS)
def test_a_notebook_runs_with_the_package_alone(name: str, host: Host):
    """Every cell runs in an environment of its own, and shows what the kept outputs
    show.
    """
    places = (folder / name for folder in (host.folder, ROOT / "docs"))
    made, kept = (nbformat.read(place, 4).cells for place in places)
    for cell, expected in zip(made, kept, strict=True):
        both = (
            [sorted(one) for one in of.get("outputs", [])] for of in (cell, expected)
        )
        assert len({str(one) for one in both}) == 1, cell.id
    shown = {cell.id: str(cell.get("outputs")) for cell in made}
    assert [id_ for id_, said in ANSWERS[name].items() if said not in shown[id_]] == []
