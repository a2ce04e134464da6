"""Which code location a run belongs to, where whoever started it has not said so.

Dagster's page lists a job's runs by a tag that the webserver and the daemon write, and that a run
of `dagster job execute` lacks. What the page calls the location stands in the files beside which
it is started; where they allow several names (`dagster dev` and `dg dev` differ for a project that
gives none), the runs of the page tell. In: where a run's job was loaded from. Out:
`repository@location`, or nothing where that is not known.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dagster import DagsterError
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster._core.workspace.load_target import get_origins_from_toml
from dagster_shared.check import CheckError

# As Dagster writes it: `DagsterRun.tags_for_storage`.
LABEL = ".dagster/repository"
_CODE = ("module", "module_name", "package_name", "autoload_defs_module_name")


def missing_label(plan_context: PlanOrchestrationContext) -> dict[str, str]:
    """Return the tag that a run lacks to be listed with its job; nothing where it is not known."""
    job, run = plan_context.job, plan_context.dagster_run
    if run.remote_job_origin is not None or LABEL in run.tags:
        return {}
    if not isinstance(job, ReconstructableJob):
        return {}
    repository = job.repository.get_definition().name
    names = names_of(job.repository.pointer, Path.cwd())
    labels = {f"{repository}@{name}" for name in names}
    if len(labels) > 1:
        known = dict(plan_context.instance.get_run_tags(tag_keys=[LABEL]))
        labels &= known.get(LABEL, set())
    return {LABEL: labels.pop()} if len(labels) == 1 else {}


def names_of(pointer: CodePointer, folder: Path) -> set[str]:
    """Return the names that the files of a folder give to the location of some code.

    Args:
        pointer: the code.
        folder: where Dagster's page is started, too.
    """
    code = _code_of(pointer)
    return {name for name, declared in _declared(folder) if declared & code}


def _code_of(loaded: object) -> set[str]:
    """Modules, packages and files that a code pointer or a loadable target names."""
    code = {value for name in _CODE if (value := getattr(loaded, name, None))}
    file = getattr(loaded, "python_file", None)
    return code | ({str(Path(file).absolute())} if file else set())


def _declared(folder: Path) -> Iterator[tuple[str, set[str]]]:
    """(name, code) of every location that the files of a folder declare."""
    readers: tuple[tuple[str, Callable[[str], Sequence[object]]], ...] = (
        ("workspace.yaml", lambda path: location_origins_from_yaml_paths([path])),
        ("pyproject.toml", get_origins_from_toml),
    )
    for file, read in readers:
        path = folder / file
        try:
            origins = read(str(path)) if path.exists() else ()
        except (DagsterError, CheckError, OSError, ValueError, LookupError):
            continue  # the page cannot be started with it either, and says what is wrong
        for origin in origins:
            if isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin):
                yield origin.location_name, _code_of(origin.loadable_target_origin)
    yield from dg_projects(folder)


def dg_projects(folder: Path) -> Iterator[tuple[str, set[str]]]:
    """What `dg dev` calls the project of a folder, which may give no name, and its module."""
    for file, above in (("pyproject.toml", ("tool", "dg")), ("dg.toml", ())):
        path = folder / file
        try:
            settings: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for key in (*above, "project"):
            settings = settings.get(key, {}) if isinstance(settings, Mapping) else {}
        if "root_module" in settings:
            usual = f"{settings['root_module']}.definitions"
            module = settings.get("code_location_target_module", usual)
            yield settings.get("code_location_name", folder.resolve().name), {module}
