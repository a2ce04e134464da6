"""The code location of a project, as its pyproject.toml or dg.toml declares it.

Dagster's page lists a job's runs by a tag that the webserver and the daemon write. A run of
`dagster job execute` lacks it, so the executor adds it where the project's files name the location.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg

# As the webserver writes it: `repository@location`. Definitions are one repository of this name.
LABEL = ".dagster/repository"
REPOSITORY = "__repository__"


class CodeLocation(NamedTuple):
    """Name and module of a project's definitions."""

    name: str
    module: str


def code_location(folder: Path) -> CodeLocation | None:
    """Return the code location that a folder's project declares; None: it declares none."""
    for file, above in (("pyproject.toml", ("tool", "dg")), ("dg.toml", ())):
        try:
            settings: Any = tomllib.loads((folder / file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for key in (*above, "project"):
            settings = settings.get(key, {}) if isinstance(settings, Mapping) else {}
        if "root_module" in settings:
            usual = f"{settings['root_module']}.definitions"
            module = settings.get("code_location_target_module", usual)
            return CodeLocation(settings.get("code_location_name", folder.resolve().name), module)
    return None


def missing_label(run: dg.DagsterRun) -> dict[str, str]:
    """Return the tag that a run lacks to be listed with its job; nothing where it is not known."""
    if run.remote_job_origin is not None or LABEL in run.tags:
        return {}
    location = code_location(Path.cwd())
    return {} if location is None else {LABEL: f"{REPOSITORY}@{location.name}"}
