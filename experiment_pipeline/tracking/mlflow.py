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
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.spec.operation import Mlflow
from experiment_pipeline.storage.entries import self_contained_page
from experiment_pipeline.storage.files import (
    list_names,
    location,
    read_many,
    without_credentials,
)
from experiment_pipeline.storage.provenance import CODE, ENVIRONMENT
from experiment_pipeline.table.table import plain_rows
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
SECONDS = 10.0  # how long a run waits; then it warns, and the upload continues in the background
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_UV_AUTO_DETECT": "false",  # no uv.lock of the working directory beside a model
}
MOST_RUNS = 20  # per upload: after an outage, the rest is uploaded with the next runs
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
# MLflow's limits: parameters per batch, characters per text.
_MOST_PARAMS, _LONGEST = 100, 5_000
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
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - this package, with this interpreter
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_SETTINGS | os.environ,
        )
        assert process.stdin is not None
        with (
            process.stdin as given
        ):  # not by argument or environment, which other users may see
            given.write(request.encode())
        server = f"MLflow ({destination.shown_uri})"
        try:
            if process.wait(SECONDS) == 0:
                return ""
        except subprocess.TimeoutExpired:
            threading.Thread(target=process.wait, daemon=True).start()
            late = f"{server} has not answered within {SECONDS:g} seconds"
            return f"{late}. The upload continues; what it misses is uploaded with the next run."
        output.seek(0)
        last = output.read().decode(errors="replace").strip().splitlines()[-1:]
    problem = without_credentials("".join(last))[:500]
    return f"{server} did not get the run: {problem}. The experiment's next run uploads it."


def export_runs(experiment: str, destination: Mlflow) -> int:
    """Write the runs that MLflow lacks, the newest first; return how many
    were written.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = destination.tracking_uri
    client: Any = MlflowClient(tracking_uri=uri, registry_uri=uri)
    path = (
        Path(tempfile.gettempdir()) / f"experiment_pipeline_mlflow_{os.getuid()}.lock"
    )
    opened = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    with os.fdopen(opened) as lock:  # one process of a user writes at a time
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = questions.runs(experiment, status=[*DECIDED], all_columns=True)
        waiting = found.loc[found["mlflow_run_id"].isna(), "run_id"].head(MOST_RUNS)
        if waiting.empty:
            return 0
        name = destination.experiment or experiment
        if client.get_experiment_by_name(name) is None:
            with suppress(MlflowException):  # another user has just created it
                client.create_experiment(name)
        into = str(client.get_experiment_by_name(name).experiment_id)
        for run_id in waiting:
            parent = _export_run(client, into, questions.run_of(experiment, run_id))
            RunRecord(experiment, run_id).record([RunFacts(mlflow_run_id=parent)])
        known, every = _registered(client, experiment), questions.experiments()
        champion = every.set_index("experiment")["champion"][experiment]
        if champion in known:
            client.set_registered_model_alias(experiment, "champion", known[champion])
        elif known:  # the last version was retired, or is waiting for approval
            client.delete_registered_model_alias(experiment, "champion")
    return len(waiting)


def _export_run(client: Any, into: str, run: Mapping[str, Any]) -> str:
    mark = {
        f"{_PACKAGE}.run_id": run["run_id"],
        f"{_PACKAGE}.experiment": run["experiment"],
    }
    for left in _found(client, into, mark):
        for one in (
            *_found(client, into, {"mlflow.parentRunId": left.info.run_id}),
            left,
        ):
            client.delete_run(one.info.run_id)
    scores = {
        f"{row['set_name']}_{row['metric']}{suffix}": row[part]
        for row in plain_rows(questions.rows_of("scores", run))
        for part, suffix in (("estimate", ""), ("low", "_low"), ("high", "_high"))
    }
    own = {
        "mlflow.note.content": run["decision"] or run["error"],
        "mlflow.source.git.commit": run["code_commit"],
        "mlflow.source.name": _PACKAGE,
    }
    began = run["started_at"] or run["seen_at"]
    started, ended = (
        int(1000 * at.timestamp()) for at in (began, run["ended_at"] or began)
    )
    parent = _written(
        *(client, into, f"{run['experiment']} {run['run_id'][:8]}", started),
        tags=_tags(run) | own | mark,
        params={name: run[name] for name in _RUN_PARAMS},
        metrics=scores | dict(run),
        ended=ended,
        status=DECIDED[run["status"]],
    )
    shared = {name: run[name] for name in ("data_digest", "code_commit")}
    for row in plain_rows(questions.rows_of("configurations", run)):
        mark = {"mlflow.parentRunId": parent, f"{_PACKAGE}.configuration": row["key"]}
        _written(
            *(client, into, row["key"], started),
            tags=_tags({**row, **shared})
            | {"mlflow.note.content": row["reason"]}
            | mark,
            params={"algorithm": row["algorithm"], **row["hyperparameters"]},
            metrics=row,
            ended=started + int(1000 * (row["fit_wall_seconds"] or 0.0)),
            status="FAILED" if row["status"] == "failed" else "FINISHED",
        )
    with tempfile.TemporaryDirectory() as folder:
        _write_files(Path(folder), run)
        client.log_artifacts(parent, folder)
    if run["version"] and run["version_is_new"]:
        _register(client, run, parent)
    return parent


def _found(client: Any, into: str, tags: Mapping[str, str]) -> list[Any]:
    query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    return list(client.search_runs([into], query, max_results=5_000))


def _written(
    client: Any,
    into: str,
    name: str,
    started: int,
    *,
    tags: Mapping[str, Any],
    params: Mapping[str, Any],
    metrics: Mapping[str, Any],
    ended: int,
    status: str,
) -> str:
    from mlflow.entities import Metric, Param

    run_id = str(client.create_run(into, started, _texts(tags), name).info.run_id)
    logged = [
        Metric(_name(name), float(value), ended, 0)
        for name, value in metrics.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    ]
    client.log_batch(run_id, metrics=logged)
    texts = [Param(name, text) for name, text in _texts(params).items()]
    for start in range(0, len(texts), _MOST_PARAMS):
        client.log_batch(run_id, params=texts[start : start + _MOST_PARAMS])
    client.set_terminated(run_id, status, ended)
    return run_id


def _write_files(folder: Path, run: Mapping[str, Any]) -> None:
    """The run's pages, YAML files and code, and the files of the version that it
    published.
    """
    files = {
        k: without_credentials(text).encode()
        for k, text in questions.files_of(run).items()
    }
    places = {
        location(
            row["place"]
        ): f"reports/{row['name']}{PurePosixPath(row['place']).suffix}"
        for row in plain_rows(questions.rows_of("reports", run))
        if is_page(row["place"])
    }
    if run["version"] and run["version_is_new"]:
        version = questions.versions(run["experiment"])
        for where in map(
            location, version.loc[version["version"] == run["version"], "place"]
        ):
            names = {*list_names(where)} - {CODE.rstrip("/")}
            places |= {where / name: f"model/{name}" for name in names}
            _describe_model(
                folder / "model", read_many([where / ENVIRONMENT]).values(), run
            )
    for path, content in read_many(places).items():
        files[places[path]] = (
            self_contained_page(path) if path.suffix == ".html" else content
        )
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _describe_model(
    folder: Path, environment: Iterable[bytes], run: Mapping[str, Any]
) -> None:
    """Write what MLflow needs to load the version, through this package, which
    unpickles nothing.
    """
    from mlflow.pyfunc import save_model

    package = f"experiment-pipeline=={run['package_version']}"
    pinned = [*b"".join(environment).decode().splitlines(), package]
    save_model(folder, _LOADER, pip_requirements=pinned, model_config={"trust": []})


def _register(client: Any, run: Mapping[str, Any], parent: str) -> None:
    from mlflow.exceptions import MlflowException

    name, version = run["experiment"], run["version"]
    with suppress(MlflowException):  # it exists, or the next call raises the same error
        client.create_registered_model(name)
    if version in _registered(client, name):
        return
    source = f"{client.get_run(parent).info.artifact_uri}/model"
    tags = {f"{_PACKAGE}.version": version, f"{_PACKAGE}.run_id": run["run_id"]}
    client.create_model_version(
        name, source, parent, tags=tags, description=run["decision"]
    )


def _registered(client: Any, name: str) -> dict[str, str]:
    """Version of the registry → MLflow's number of it."""
    found = client.search_model_versions(f"name = '{name}'")
    return {one.tags.get(f"{_PACKAGE}.version", ""): str(one.version) for one in found}


def _tags(row: Mapping[str, Any]) -> dict[str, Any]:
    """Texts and booleans of a row as tags with our prefix, except those that identify
    the run.
    """
    return {
        f"{_PACKAGE}.{name}": value
        for name, value in row.items()
        if isinstance(value, str | bool) and name not in {"experiment", "run_id"}
    }


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    known = {name: value for name, value in values.items() if value is not None}
    return {_name(name): str(value)[:_LONGEST] for name, value in known.items()}


def _name(text: str) -> str:
    return re.sub(r"[^\w./ -]", "_", text, flags=re.ASCII)


if __name__ == "__main__":
    _experiment, _given = json.load(sys.stdin)
    export_runs(_experiment, Mlflow.model_validate(_given))
