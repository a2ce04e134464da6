"""The one import rule: `core/` knows no orchestrator, no file system and no network."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import experiment_pipeline

PACKAGE = Path(experiment_pipeline.__file__).parent
CORE = sorted((PACKAGE / "core").rglob("*.py"))
# What a module of core may not name, anywhere in it.
SHELL = {"dagster", "dagster_shared", "fsspec", "s3fs", "upath", "requests", "boto3", "botocore"}
ROOMS_OF_THE_SHELL = {
    "assets",
    "automation",
    "components",
    "instance",
    "storage",
    "definitions",
    "console",
}
# What may not even be loaded on the way; skrub's and pandas' own readers bring fsspec along.
NEVER_LOADED = {"dagster", "dagster_shared", "s3fs", "boto3", "botocore"}


def module_name(path: Path) -> str:
    """The dotted name of a module file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", CORE, ids=module_name)
def test_core_imports_nothing_of_the_shell(path: Path) -> None:
    """No module of core imports Dagster, file systems, networks, or the rooms that do."""
    for name in imported_modules(path):
        top, *below = name.split(".")
        assert top not in SHELL
        assert top != "experiment_pipeline" or not below or below[0] not in ROOMS_OF_THE_SHELL


def test_importing_core_loads_no_dagster() -> None:
    """In a fresh process, all of core is imported without Dagster being loaded by anything."""
    modules = [module_name(path) for path in CORE]
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
        module_name(path)
        for path in PACKAGE.rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        and path.stat().st_size
    ]
    assert without == []


def test_no_file_outgrows_its_room() -> None:
    """Files stay short enough to be read at once."""
    lines = {
        module_name(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert {name: count for name, count in lines.items() if count > 300} == {}
