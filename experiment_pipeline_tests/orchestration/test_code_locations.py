"""The code location that a run of the command line is listed under."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from experiment_pipeline.orchestration.code_locations import LABEL, code_location, missing_label

DG = '[tool.dg.project]\nroot_module = "clinic"\n'


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"pyproject.toml": f'{DG}code_location_name = "ward"\n'}, ("ward", "clinic.definitions")),
        ({"pyproject.toml": DG}, ("folder", "clinic.definitions")),
        ({"dg.toml": '[project]\nroot_module = "clinic"\n'}, ("folder", "clinic.definitions")),
        (
            {"pyproject.toml": f'{DG}code_location_target_module = "clinic.all"\n'},
            ("folder", "clinic.all"),
        ),
        ({"pyproject.toml": "[tool"}, None),
        ({}, None),
    ],
)
def test_the_project_declares_its_location(
    tmp_path: Path, files: dict[str, str], expected: tuple[str, str] | None
) -> None:
    """Name and module stand in pyproject.toml or dg.toml; a broken file declares none."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    assert code_location(folder) == expected


@pytest.mark.parametrize(
    ("origin", "tags", "label"),
    [
        (None, {}, {LABEL: "__repository__@ward"}),
        (None, {LABEL: "its own"}, {}),
        (object(), {}, {}),
    ],
)
def test_only_a_run_without_a_label_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: object, tags: dict, label: dict
) -> None:
    """A run that the webserver or the daemon started has its label already."""
    (tmp_path / "pyproject.toml").write_text(f'{DG}code_location_name = "ward"\n')
    monkeypatch.chdir(tmp_path)
    run = SimpleNamespace(remote_job_origin=origin, tags=tags)
    assert missing_label(run) == label  # type: ignore[arg-type]
