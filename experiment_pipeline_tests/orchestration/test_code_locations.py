"""What Dagster's page calls the code of a run, as far as the files beside it tell."""

from pathlib import Path

import pytest
from dagster._core.code_pointer import CodePointer, FileCodePointer, ModuleCodePointer

from experiment_pipeline.orchestration.code_locations import names_of

MODULE = ModuleCodePointer("clinic.definitions", "defs")
WORKSPACE = """\
load_from:
  - python_module: {module_name: clinic.definitions, location_name: ward}
  - python_module: {module_name: other.definitions, location_name: other}
  - grpc_server: {host: localhost, port: 4266, location_name: far}
"""
DG = '[tool.dg.project]\nroot_module = "clinic"\n'
NAMED = f'{DG}code_location_name = "ward"\n'


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({"workspace.yaml": WORKSPACE}, {"ward"}),
        ({"workspace.yaml": WORKSPACE.replace("clinic", "no")}, set()),
        (
            {"workspace.yaml": "load_from:\n  - python_module: clinic.definitions\n"},
            {MODULE.module},
        ),
        (
            {"pyproject.toml": '[tool.dagster]\nmodule_name = "clinic.definitions"\n'},
            {MODULE.module},
        ),
        ({"pyproject.toml": NAMED}, {"ward"}),
        ({"pyproject.toml": DG}, {MODULE.module, "folder"}),
        ({"dg.toml": '[project]\nroot_module = "clinic"\n'}, {"folder"}),
        ({"pyproject.toml": NAMED, "workspace.yaml": WORKSPACE}, {"ward"}),
        (
            {"pyproject.toml": NAMED, "workspace.yaml": WORKSPACE.replace("ward", "w")},
            {"w", "ward"},
        ),
        ({"pyproject.toml": "[tool", "workspace.yaml": "load_from: 7"}, set()),
        ({}, set()),
    ],
)
def test_the_files_beside_a_run_name_its_location(
    tmp_path: Path, files: dict[str, str], names: set[str]
) -> None:
    """Every name that the page may use for the module, and none that is somebody else's."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    assert names_of(MODULE, folder) == names


@pytest.mark.parametrize(("file", "names"), [("defs.py", {"ward"}), ("other.py", set())])
def test_a_file_is_known_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, names: set[str]
) -> None:
    """`dagster job execute -f defs.py` belongs to the location that loads the same file."""
    monkeypatch.chdir(tmp_path)
    text = "load_from:\n  - python_file: {relative_path: defs.py, location_name: ward}\n"
    (tmp_path / "workspace.yaml").write_text(text)
    pointer: CodePointer = FileCodePointer(file, "defs")
    assert names_of(pointer, tmp_path) == names
