"""The keys by which Dagster's page refuses foreign pages: written once, and missed."""

import json
from pathlib import Path

import dagster as dg
import pytest
import yaml

from experiment_pipeline.tracking import guard
from experiment_pipeline_tests.command_line import command


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Path:
    """Dagster's settings in a home of the test's own, which has none yet."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "dagster.yaml"


def test_the_command_writes_what_is_absent(settings: Path):
    """Once, and the rest of the file stays as it is."""
    settings.parent.mkdir()
    own = "# mine\ntelemetry: {enabled: false}\nrun_launcher: {module: m, class: C}"
    settings.write_text(own)
    assert not guard.is_guarded()
    written = json.loads(command("guard", "--json").stdout)
    assert written == {
        "file": str(settings),
        "written": ["instance_class", "storage", "run_monitoring"],
    }
    text = settings.read_text()
    assert text.startswith(f"{own}\n")
    assert yaml.safe_load(text)["run_launcher"] == {"module": "m", "class": "C"}
    assert guard.is_guarded()
    assert "nothing to add to" in command("guard").output
    assert settings.read_text() == text


def test_a_home_without_settings_gets_them(settings: Path):
    """The guide's first steps: there is not even a folder."""
    assert "wrote instance_class, storage, run_launcher" in command("guard").output
    assert guard.is_guarded()
    assert settings.exists()
    with dg.DagsterInstance.from_config(str(settings.parent)) as instance:
        assert instance.get_runs_count() == 0
    assert (settings.parent / "history/runs.db").exists()


def test_a_storage_of_its_own_stays(settings: Path):
    """Dagster refuses `storage` beside the older keys of its parts."""
    settings.parent.mkdir()
    settings.write_text("run_storage: {module: m, class: C}\n")
    assert "wrote instance_class, run_launcher" in command("guard").output


@pytest.mark.parametrize("text", ["instance_class: {module: m, class: C}", "a: ["])
def test_settings_that_contradict_stay(settings: Path, text: str):
    """Another class, or what is no YAML, is an error."""
    settings.parent.mkdir()
    settings.write_text(text)
    refused = command("guard")
    assert refused.exit_code == 1
    assert str(settings) in refused.output
    assert settings.read_text() == text


def test_without_a_home_it_says_so(monkeypatch):
    """Dagster would forget the settings with its runs."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert "export DAGSTER_HOME" in command("guard").output


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    ("words", "warns"),
    [
        ("uv run dg dev", True),
        (".venv/bin/dagster dev -w workspace.yaml", True),
        ("dg launch --job churn", False),
        ("sleep 1", False),
    ],
)
def test_a_page_without_the_keys_is_warned_of(words: str, *, warns: bool):
    """Commands that start no page of Dagster are not."""
    assert guard.starts_dagster(words.split()) is warns


@pytest.mark.usefixtures("settings")
def test_reports_warns_before_it_starts_the_page():
    """Nothing else is printed about it, and the command runs."""
    missing = command("reports", "/nowhere/dagster-webserver")
    assert missing.output.startswith("warning: Dagster's page is open to every page")
    assert "experiment-pipeline guard" in missing.output
    command("guard")
    assert "warning" not in command("reports", "/nowhere/dagster-webserver").output
