"""Whether Dagster's web server refuses requests of foreign pages, and the keys for it.

Dagster itself has no authentication and checks neither Host nor Origin. Its settings
name the class that adds the check, `orchestration.instance.GuardedInstance`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.storage.files import location, write_bytes

HOME = "DAGSTER_HOME"
_FILE = "dagster.yaml"
_MODULE = "experiment_pipeline.orchestration.instance"
_GUARDED = {"module": _MODULE, "class": "GuardedInstance"}
# Key of dagster.yaml → its lines. A file that has the key keeps its own.
_LINES = {
    "instance_class": f"""\
# Dagster's page answers no foreign page that is open in the same browser.
instance_class:
  module: {_MODULE}
  class: GuardedInstance
""",
    "storage": f"""\
# Dagster's SQLite storage, which stores the events of a search in batches.
storage:
  custom:
    module: {_MODULE}
    class: SqliteStorage
    config:
      base_dir:
        env: {HOME}
""",
    "run_launcher": f"""\
# A run whose process is gone ends and frees its place.
run_launcher:
  module: {_MODULE}
  class: ProcessAwareRunLauncher
""",
    "run_monitoring": """\
run_monitoring:
  enabled: true
  poll_interval_seconds: 30
""",
}
# Dagster refuses them beside `storage`.
_PARTS_OF_STORAGE = {"run_storage", "event_log_storage", "schedule_storage"}
ADVICE = (
    "Dagster's page is open to every page in the same browser: one could start and "
    "delete runs. Close it: experiment-pipeline guard"
)


def settings_file() -> Path:
    """Return Dagster's settings: in its home, else in the working directory."""
    return Path(os.environ.get(HOME) or ".").expanduser() / _FILE


def is_guarded() -> bool:
    """Whether Dagster's settings name the class with the check."""
    return _settings(settings_file()).get("instance_class") == _GUARDED


def starts_dagster(command: Sequence[str]) -> bool:
    """Whether a command is one of Dagster's that start its web server."""
    names = {PurePosixPath(part).name for part in command}
    return bool(names & {"dagster-webserver"}) or (
        "dev" in names and bool(names & {"dg", "dagster"})
    )


def write_guard() -> tuple[Path, list[str]]:
    """Add the keys that Dagster's settings lack; return the file and the keys.

    InvalidExperiment: there is no home, or another class is named.
    """
    if not os.environ.get(HOME):
        raise InvalidExperiment(
            HOME,
            rule="is not set, so Dagster keeps no settings",
            fix=f'Choose a folder, such as: export {HOME}="$PWD/.dagster_home"',
        )
    path = settings_file()
    missing = _missing_keys(_settings(path), path)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if text and not text.endswith("\n"):
        text += "\n"
    if missing:
        text += "".join(_LINES[key] for key in missing)
        write_bytes(location(str(path)), text.encode())
    return path, missing


def _missing_keys(settings: Mapping[str, Any], path: Path) -> list[str]:
    """The keys to add; InvalidExperiment: another class decides about requests."""
    if settings.get("instance_class", _GUARDED) != _GUARDED:
        raise InvalidExperiment(
            str(path),
            rule="instance_class names another class, which decides about requests",
            fix=f"Derive that class from {_MODULE}.GuardedInstance.",
        )
    missing = [key for key in _LINES if key not in settings]
    if "storage" in missing and _PARTS_OF_STORAGE & settings.keys():
        missing.remove("storage")
    return missing


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        reason = f"is not YAML: {getattr(error, 'problem', None) or error}"
        raise InvalidExperiment(str(path), reason, "Correct the file.") from None
    return settings if isinstance(settings, dict) else {}
