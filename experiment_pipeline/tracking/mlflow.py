"""Export an experiment's runs to MLflow, after the decision and without delaying the
run.

One MLflow run per run and a child per configuration; pages as artifacts; versions as a
registered model, with the alias `champion` on the current one. A separate process
writes: the run waits a few seconds for it, and an unreachable server only causes a
warning. A run that is not in MLflow yet (`runs.mlflow_run_id` is null) is exported with
the next run.
"""

import fcntl
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from experiment_pipeline.reporting.run_record import Row, RunFacts
from experiment_pipeline.spec.operation import Mlflow
from experiment_pipeline.storage.entries import self_contained_page
from experiment_pipeline.storage.files import (
    Location,
    list_names,
    location,
    read_many,
    without_credentials,
)
from experiment_pipeline.storage.provenance import CODE, ENVIRONMENT
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.server import is_page

# The statuses that are exported: `partial` and `running` are not decided yet.
DECIDED = {
    "accepted": "FINISHED",
    "rejected": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
}
# How long a run waits for the upload, which then continues in the background.
SECONDS = 30.0
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # no uv.lock of the working directory beside a model
    "MLFLOW_UV_AUTO_DETECT": "false",
}
# Per upload: after an outage, the rest is uploaded with the next runs.
MOST_RUNS = 20
_PACKAGE = "experiment_pipeline"
_LOADER = f"{_PACKAGE}.prediction.files"  # MLflow calls its `_load_pyfunc`
_RUN_PARAMS = (
    "target",
    "task",
    "metric",
    "chosen",
    "package_version",
    "python_version",
)
# MLflow's limits.
_MOST_PARAMS = 100  # of a batch
_LONGEST = 5_000  # characters of a text
# Run of this process → its destination: set when a stage begins, used when the run has
# ended.
_DESTINATIONS: dict[RunRecord, Mlflow] = {}


def expect(run: RunRecord, destination: Mlflow | None) -> None:
    """Set where a run of this process is exported to once it has ended."""
    if destination is not None:
        _DESTINATIONS[run] = destination


def export(run: RunRecord) -> str:
    """Write the experiment's runs that MLflow does not have yet; return a warning, or
    ''.
    """
    destination = _DESTINATIONS.pop(run, None)
    if destination is None:
        return ""
    request = json.dumps([run.experiment, destination.model_dump()])
    server = f"MLflow ({destination.shown_uri})"
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - this package, with this interpreter
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_SETTINGS | os.environ,
        )
        try:
            # Not by argument or environment, which other users may see.
            process.communicate(request.encode(), SECONDS)
        except subprocess.TimeoutExpired:
            threading.Thread(target=process.wait, daemon=True).start()
            return (
                f"{server} does not have the run after {SECONDS:g} seconds. The upload "
                "continues; what it misses is uploaded with the next run."
            )
        if process.returncode == 0:
            return ""
        output.seek(0)
        last_line = output.read().decode(errors="replace").strip().splitlines()[-1:]
    problem = without_credentials("".join(last_line))[:500]
    later = "The experiment's next run uploads it."
    return f"{server} did not get the run: {problem}. {later}"


def export_runs(experiment: str, destination: Mlflow) -> int:
    """Write the runs that MLflow lacks, the newest first; return their number."""
    from mlflow import MlflowClient

    uri = destination.tracking_uri
    client: Any = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment_id = _experiment_id(client, destination.experiment or experiment)
    with _one_process():
        runs = questions.runs(experiment, status=[*DECIDED], all_columns=True)
        waiting = runs.loc[runs["mlflow_run_id"].isna(), "run_id"].head(MOST_RUNS)
        if waiting.empty:
            return 0
        for run_id in waiting:
            run = questions.run_of(experiment, run_id)
            parent = _export_run(client, experiment_id, run)
            RunRecord(experiment, run_id).record([RunFacts(mlflow_run_id=parent)])
        _mark_champion(client, experiment)
    return len(waiting)


@contextmanager
def _one_process() -> Iterator[None]:
    """Wait until no other process of this user writes."""
    path = (
        Path(tempfile.gettempdir()) / f"experiment_pipeline_mlflow_{os.getuid()}.lock"
    )
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _experiment_id(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    if client.get_experiment_by_name(name) is None:
        with suppress(MlflowException):  # another user has just created it
            client.create_experiment(name)
    return str(client.get_experiment_by_name(name).experiment_id)


def _mark_champion(client: Any, experiment: str) -> None:
    numbers = _registered(client, experiment)
    experiments = questions.experiments().set_index("experiment")
    champion = experiments["champion"][experiment]
    if champion in numbers:
        client.set_registered_model_alias(experiment, "champion", numbers[champion])
    elif numbers:  # the last version was retired, or is waiting for approval
        client.delete_registered_model_alias(experiment, "champion")


@dataclass(frozen=True, kw_only=True)
class _MlflowRun:
    """A run as MLflow stores it."""

    name: str
    started: int  # milliseconds since 1970
    ended: int
    status: str
    tags: Mapping[str, Any]
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]  # what is not a finite number is left out

    def write(self, client: Any, experiment_id: str) -> str:
        """Create the run; return MLflow's id of it."""
        from mlflow.entities import Metric, Param

        tags = _texts(self.tags)
        created = client.create_run(experiment_id, self.started, tags, self.name)
        run_id = str(created.info.run_id)
        metrics = [
            Metric(_name(name), float(value), self.ended, 0)
            for name, value in self.metrics.items()
            if _is_finite_number(value)
        ]
        client.log_batch(run_id, metrics=metrics)
        params = [Param(name, text) for name, text in _texts(self.params).items()]
        for start in range(0, len(params), _MOST_PARAMS):
            client.log_batch(run_id, params=params[start : start + _MOST_PARAMS])
        client.set_terminated(run_id, self.status, self.ended)
        return run_id


def _export_run(client: Any, experiment_id: str, run: Row) -> str:
    """Write a run with its configurations, files and version; return MLflow's id.

    What an earlier upload has left of it, which may have been killed at any moment, is
    deleted last: the champion is never a model of a deleted run.
    """
    earlier = _uploads_of(client, experiment_id, run)
    parent = _parent_of(run).write(client, experiment_id)
    for configuration in questions.plain_rows_of("configurations", run):
        _child_of(run, parent, configuration).write(client, experiment_id)
    with tempfile.TemporaryDirectory() as folder:
        _write_files(Path(folder), run)
        client.log_artifacts(parent, folder)
    if run["version"] and run["version_is_new"]:
        _register(client, run, parent)
        _mark_champion(client, run["experiment"])
    _delete(client, run["experiment"], earlier)
    return parent


def _identity(run: Row) -> dict[str, str]:
    return {
        f"{_PACKAGE}.run_id": run["run_id"],
        f"{_PACKAGE}.experiment": run["experiment"],
    }


def _uploads_of(client: Any, experiment_id: str, run: Row) -> list[str]:
    """The ids of a run in MLflow, each after those of its configurations."""

    def with_tags(tags: Mapping[str, str]) -> list[str]:
        tests = (f"tags.`{name}` = '{value}'" for name, value in tags.items())
        query = " and ".join(tests)
        uploads = client.search_runs([experiment_id], query, max_results=5_000)
        return [upload.info.run_id for upload in uploads]

    ids = []
    for parent in with_tags(_identity(run)):
        ids += [*with_tags({"mlflow.parentRunId": parent}), parent]
    return ids


def _delete(client: Any, experiment: str, run_ids: Collection[str]) -> None:
    """Delete runs of MLflow, and the models that they registered."""
    for model in _models(client, experiment) if run_ids else ():
        if model.run_id in run_ids:
            client.delete_model_version(model.name, model.version)
    for run_id in run_ids:
        client.delete_run(run_id)


def _parent_of(run: Row) -> _MlflowRun:
    metrics = dict(run)
    for row in questions.plain_rows_of("scores", run):
        name = f"{row['set_name']}_{row['metric']}"
        metrics[name] = row["estimate"]
        metrics[f"{name}_low"] = row["low"]
        metrics[f"{name}_high"] = row["high"]
    tags = {
        "mlflow.note.content": run["decision"] or run["error"],
        "mlflow.source.git.commit": run["code_commit"],
        "mlflow.source.name": _PACKAGE,
    }
    return _MlflowRun(
        name=f"{run['experiment']} {run['run_id'][:8]}",
        started=_milliseconds(_start_of(run)),
        ended=_milliseconds(run["ended_at"] or _start_of(run)),
        status=DECIDED[run["status"]],
        tags=_tags(run) | tags | _identity(run),
        params={name: run[name] for name in _RUN_PARAMS},
        metrics=metrics,
    )


def _child_of(run: Row, parent: str, configuration: Row) -> _MlflowRun:
    started = _milliseconds(_start_of(run))
    shared = {name: run[name] for name in ("data_digest", "code_commit")}
    tags = {
        "mlflow.note.content": configuration["reason"],
        "mlflow.parentRunId": parent,
        f"{_PACKAGE}.configuration": configuration["key"],
    }
    hyperparameters = configuration["hyperparameters"]
    return _MlflowRun(
        name=configuration["key"],
        started=started,
        ended=started + int(1000 * (configuration["fit_wall_seconds"] or 0.0)),
        status="FAILED" if configuration["status"] == "failed" else "FINISHED",
        tags=_tags({**configuration, **shared}) | tags,
        params={"algorithm": configuration["algorithm"], **hyperparameters},
        metrics=configuration,
    )


def _start_of(run: Row) -> datetime:
    return run["started_at"] or run["seen_at"]


def _milliseconds(moment: datetime) -> int:
    return int(1000 * moment.timestamp())


def _is_finite_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _write_files(folder: Path, run: Row) -> None:
    """The run's pages, YAML files and code, and the files of the version that it
    published.
    """
    files = {
        name: without_credentials(text).encode()
        for name, text in questions.files_of(run).items()
    }
    places = _pages_of(run)
    if run["version"] and run["version_is_new"]:
        for version in questions.version_rows(run["experiment"]):
            if version["version"] == run["version"]:
                place = location(version["place"])
                for name in {*list_names(place)} - {CODE.rstrip("/")}:
                    places[place / name] = f"model/{name}"
                _describe_model(folder / "model", place, run)
    for path, content in read_many(places).items():
        is_html = path.suffix == ".html"
        files[places[path]] = self_contained_page(path) if is_html else content
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _pages_of(run: Row) -> dict[Location, str]:
    """Place → name of an artifact, for the pages of a run."""
    pages = {}
    for report in questions.plain_rows_of("reports", run):
        if is_page(report["place"]):
            suffix = PurePosixPath(report["place"]).suffix
            pages[location(report["place"])] = f"reports/{report['name']}{suffix}"
    return pages


def _describe_model(folder: Path, version: Location, run: Row) -> None:
    """Write what MLflow needs to load the version, through this package, which
    unpickles nothing.
    """
    from mlflow.pyfunc import save_model

    environment = b"".join(read_many([version / ENVIRONMENT]).values())
    package = f"experiment-pipeline=={run['package_version']}"
    requirements = [*environment.decode().splitlines(), package]
    config = {"trust": []}
    save_model(folder, _LOADER, pip_requirements=requirements, model_config=config)


def _register(client: Any, run: Row, parent: str) -> None:
    from mlflow.exceptions import MlflowException

    name = run["experiment"]
    version = run["version"]
    with suppress(MlflowException):  # it exists, or the next call raises the same error
        client.create_registered_model(name)
    client.create_model_version(
        name,
        source=f"{client.get_run(parent).info.artifact_uri}/model",
        run_id=parent,
        tags={f"{_PACKAGE}.version": version, f"{_PACKAGE}.run_id": run["run_id"]},
        description=run["decision"],
    )


def _registered(client: Any, name: str) -> dict[str, str]:
    """Version of the registry → MLflow's number of it."""
    return {
        model.tags.get(f"{_PACKAGE}.version", ""): str(model.version)
        for model in _models(client, name)
    }


def _models(client: Any, name: str) -> list[Any]:
    """The models that are registered, oldest first."""
    models = client.search_model_versions(f"name = '{name}'")
    return sorted(models, key=lambda model: int(model.version))


def _tags(row: Row) -> dict[str, Any]:
    """Texts and booleans of a row as tags with our prefix, except those that identify
    the run.
    """
    return {
        f"{_PACKAGE}.{name}": value
        for name, value in row.items()
        if isinstance(value, str | bool) and name not in {"experiment", "run_id"}
    }


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        _name(name): str(value)[:_LONGEST]
        for name, value in values.items()
        if value is not None
    }


def _name(text: str) -> str:
    return re.sub(r"[^\w./ -]", "_", text, flags=re.ASCII)


if __name__ == "__main__":
    _experiment, _destination = json.load(sys.stdin)
    export_runs(_experiment, Mlflow.model_validate(_destination))
