"""The layout: packages in one order, no import upwards, no circle, and who may touch what."""

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import experiment_pipeline

PACKAGE = Path(experiment_pipeline.__file__).parent
# From the ground up: each imports only what stands before it. The stages stand in the order of
# the flow, and prediction before the stage that lets the champion predict.
ORDER = (
    "errors",
    "spec",
    "columns",
    "rows",
    "statistics",
    "reporting",
    "storage",
    "stages.asset",
    "stages.raw_data",
    "stages.data_analysis",
    "stages.validated_data",
    "stages.split_sets",
    "stages.search",
    "prediction",
    "stages.leaderboard",
    "stages.validation_report",
    "stages.exported_model",
    "drafting",
    "orchestration",
    "definitions",
    "cli",
)
# No rooms of their own: the public surface, what is read as data, the roof over the stages.
OUTSIDE = {"", "defs", "stages"}
# Ties that are to be cut. A tie that is gone must leave its list: lists only shrink.
KNOWN_UPWARD: Mapping[tuple[str, str], str] = {}
KNOWN_CIRCLES: Mapping[tuple[str, str], str] = {}
DAGSTER = {"dagster", "dagster_shared", "dagster_dg_cli"}
KNOWN_DAGSTER: Mapping[str, str] = {
    "stages.validated_data.accepted": "the drift check of three stages is built here",
}
FILE_SYSTEMS = {"fsspec", "s3fs", "upath", "requests", "boto3", "botocore"}
KNOWN_FILE_SYSTEMS: Mapping[str, str] = {
    "orchestration.tables": "the type of a folder; the reading and writing is the storage's",
    "stages.search.store": "the type of a folder",
    "stages.validated_data.profile_store": "the type of a folder",
    "stages.validation_report.ledger": "the type of a folder",
}
# What may not even be loaded on the way; skrub's and pandas' own readers bring fsspec along.
NEVER_LOADED = {"dagster", "dagster_shared"}


def module_name(path: Path) -> str:
    """The dotted name of a module file below the package; "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str | None:
    """The package of ORDER that a module is in."""
    return next((name for name in ORDER if f"{module}.".startswith(f"{name}.")), None)


def imported(path: Path) -> Iterator[str]:
    """Every module or name that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(module: str) -> set[str]:
    """The modules of the package that a module imports."""
    found = set()
    for name in imported(MODULES[module]):
        top, _, below = name.partition(".")
        if top == PACKAGE.name:
            found.add(below if below in MODULES else below.rpartition(".")[0])
    return found - {module}


def foreign(module: str, packages: Collection[str]) -> bool:
    """Whether a module imports one of these packages."""
    return any(name.partition(".")[0] in packages for name in imported(MODULES[module]))


def test_every_module_has_a_room() -> None:
    """No module lies loose beside the packages of the tree."""
    loose = [name for name in MODULES if room(name) is None and name.split(".")[0] not in OUTSIDE]
    assert loose == []


def test_no_import_points_upwards() -> None:
    """A package imports only packages before it in the order, also inside functions."""
    upward = {
        (module, other)
        for module in MODULES
        for other in own_imports(module)
        if (here := room(module)) and (there := room(other))
        if ORDER.index(there) > ORDER.index(here)
    }
    assert upward == set(KNOWN_UPWARD)


def test_no_module_stands_in_a_circle() -> None:
    """Modules import each other in one direction, also inside functions and for types."""
    graph = {module: own_imports(module) for module in MODULES if room(module)}
    for one, other in KNOWN_CIRCLES:
        assert other in graph[one], f"{one} no longer imports {other}"
        graph[one].remove(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_dagster_is_imported_by_its_own_rooms_alone() -> None:
    """Only `orchestration`, `definitions.py` and files called `asset.py` know Dagster."""
    users = {
        module
        for module in MODULES
        if foreign(module, DAGSTER)
        and room(module) not in {"orchestration", "definitions"}
        and not module.endswith(".asset")
    }
    assert users == set(KNOWN_DAGSTER)


def test_file_systems_are_imported_by_their_own_rooms_alone() -> None:
    """Only `storage` and the sources of `raw_data` import a file system or a network."""
    users = {
        module
        for module in MODULES
        if foreign(module, FILE_SYSTEMS)
        and room(module) != "storage"
        and module != "stages.raw_data.sources"
    }
    assert users == set(KNOWN_FILE_SYSTEMS)


def test_importing_pure_modules_loads_no_dagster() -> None:
    """In a fresh process, all that is no shell is imported without Dagster being loaded."""
    shells = {"orchestration", "definitions"}
    modules = [
        f"{PACKAGE.name}.{module}"
        for module in MODULES
        if room(module) not in shells and not module.endswith(".asset")
        if module not in KNOWN_DAGSTER and room(module)
    ]
    script = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print(sorted({NEVER_LOADED!r} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_public_surface_is_listed_without_loading_dagster() -> None:
    """`dir()` names what `dg` looks for, and only asking for it loads Dagster."""
    script = (
        "import sys, experiment_pipeline as package\n"
        "assert 'Experiment' in dir(package)\n"
        "assert 'dagster' not in sys.modules\n"
        "assert package.Experiment.__name__ == 'Experiment'\n"
        "assert not hasattr(package, 'Experimnt')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_module_opens_with_its_charter() -> None:
    """The first lines of a module say what lives in it."""
    without = [
        name
        for name, path in MODULES.items()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        and path.stat().st_size
    ]
    assert without == []


def test_no_file_outgrows_its_room() -> None:
    """Files stay short enough to be read at once."""
    lines = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()
    }
    assert {name: count for name, count in lines.items() if count > 400} == {}
