"""An experiment's runs in MLflow, for those who have it: written after the decision, never in its way.

One MLflow run per run and below it one per configuration; pages as artifacts; a version as a model
of MLflow's registry, whose alias `champion` is on the current one. A process of its own writes:
the run waits for it a few seconds at the most, and a server that is away costs a warning. What is
not there yet (`runs.mlflow_run_id` is null) comes with the next run. In: the metadata database.
Out: what MLflow shows.
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.spec.operation import Mlflow
from experiment_pipeline.storage.files import list_names, read_many
from experiment_pipeline.storage.locations import location, without_credentials
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.writing import RunMemory
from experiment_pipeline.tracking.server import is_page

# What is exported: `partial` and `running` are not decided yet.
DECIDED = {"accepted": "FINISHED", "rejected": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
# How long a run waits; then the upload goes on by itself.
SECONDS = 10.0
# Of a request, and how often it is repeated: a server that is silent costs twice as much.
_REQUESTS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
# An outage, or a long history before MLflow was there, is caught up bit by bit.
MOST_RUNS = 20
_TAG = "experiment_pipeline"
_RUN_TAGS = (
    *("status", "decision", "error", "verdict", "version", "triggered_by", "trigger_name"),
    *("data_digest", "schema_digest", "yaml_digest", "code_commit", "code_dirty", "data_url"),
)
_RUN_PARAMS = ("target", "task", "metric", "chosen", "package_version", "python_version")
_RUN_METRICS = (
    *("data_rows", "data_columns", "rejected_rows", "declared", "trained", "stopped_early"),
    *("failed", "not_started", "reused", "tie_group", "looks", "overlap"),
    *("wall_seconds", "cpu_seconds", "peak_memory_bytes", "cost"),
)
_CONFIGURATION_TAGS = ("status", "rank", "is_chosen", "in_tie_group", "reused", "fingerprint")
_CONFIGURATION_METRICS = (
    *("test_score", "test_low", "test_high", "train_score", "difference_to_best", "rung"),
    *("fit_cpu_seconds", "fit_wall_seconds", "predict_microseconds_per_row", "model_bytes"),
    "rounds",
)
# MLflow's limits on one batch, and on a text.
_MOST_PARAMS, _LONGEST = 100, 5_000
# Where the runs of this process go: said when a stage begins, used when the run has ended.
_DESTINATIONS: dict[RunMemory, Mlflow] = {}


@dataclass(frozen=True)
class _Written:
    """What is written into one run of MLflow."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    started: int
    ended: int
    status: str = "FINISHED"
    mark: Mapping[str, str] = field(default_factory=dict)


def expect(run: RunMemory, destination: Mlflow | None) -> None:
    """Note where a run of this process goes once it has ended."""
    if destination is not None:
        _DESTINATIONS[run] = destination


def export(run: RunMemory) -> str:
    """Write the experiment's runs that MLflow does not have yet; return a warning, or ''."""
    destination = _DESTINATIONS.pop(run, None)
    if destination is None:
        return ""
    asked = json.dumps([run.experiment, destination.model_dump()])
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 - this package, with this interpreter
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={"MLFLOW_DISABLE_TELEMETRY": "true", **_REQUESTS, **os.environ},
        )
        assert process.stdin is not None
        with process.stdin as given:  # not by the command line or the environment, which others see
            given.write(asked.encode())
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            threading.Thread(target=process.wait, daemon=True).start()
            return ""
        if code == 0:
            return ""
        said.seek(0)
        last = said.read().decode(errors="replace").strip().splitlines()[-1:]
    problem = without_credentials("".join(last))[:500]
    return (
        f"MLflow ({destination.shown_uri}) did not get the run: {problem}. "
        "The next run of the experiment writes it."
    )


def export_runs(experiment: str, destination: Mlflow) -> int:
    """Write what MLflow lacks, the newest run first; return how many runs were written.

    What a broken upload left there is found by its tags and completed, not written twice.

    Args:
        experiment: its name.
        destination: where to.
    """
    from mlflow import MlflowClient

    uri = destination.tracking_uri
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    with _alone():
        found = questions.runs(experiment, status=[*DECIDED])
        waiting = found.loc[found["mlflow_run_id"].isna(), "run_id"].head(MOST_RUNS)
        if waiting.empty:
            return 0
        into = _experiment_id(client, destination.experiment or experiment)
        for run_id in waiting:
            parent = _export_run(client, into, questions.run_of(experiment, run_id))
            RunMemory(experiment, run_id).remember([RunFacts(mlflow_run_id=parent)])
        _mark_champion(client, experiment)
    return len(waiting)


@contextmanager
def _alone() -> Iterator[None]:
    """One process of a user writes at a time: who waited finds nothing left to do."""
    path = Path(tempfile.gettempdir()) / f"experiment_pipeline_mlflow_{os.getuid()}.lock"
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _experiment_id(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # somebody else has made it meanwhile
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _export_run(client: Any, into: str, run: Mapping[str, Any]) -> str:
    """Write one run with its configurations, pages and version; return MLflow's id of it."""
    mark = {f"{_TAG}.run_id": run["run_id"], f"{_TAG}.experiment": run["experiment"]}
    known = _found(client, into, mark)
    parent = _put(client, into, _parent(run, mark), known[0].info.run_id if known else None)
    children = {
        child.data.tags.get(f"{_TAG}.configuration"): child
        for child in _found(client, into, {"mlflow.parentRunId": parent})
    }
    for row in plain_rows(questions.rows_of_run("configurations", run)):
        old = children.get(row["key"])
        if old is None or old.info.status == "RUNNING":
            child = _child(row, run, parent)
            _put(client, into, child, None if old is None else old.info.run_id)
    with tempfile.TemporaryDirectory() as folder:
        _write_files(Path(folder), run)
        client.log_artifacts(parent, folder)
    if run["version"] and run["version_is_new"]:
        _register(client, run, parent)
    return parent


def _found(client: Any, into: str, tags: Mapping[str, str]) -> list[Any]:
    """The runs that have these tags."""
    said = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    return list(client.search_runs([into], said, max_results=5_000))


def _put(client: Any, into: str, what: _Written, run_id: str | None) -> str:
    """Make a run, or complete one that a broken upload has left."""
    from mlflow.entities import Metric, Param, RunTag

    if run_id is None:
        made = client.create_run(into, what.started, tags=dict(what.mark), run_name=what.name)
        run_id = str(made.info.run_id)
    tags = [RunTag(name, value) for name, value in what.tags.items()]
    metrics = [Metric(name, value, what.ended, 0) for name, value in what.metrics.items()]
    params = iter(Param(name, value) for name, value in what.params.items())
    client.log_batch(run_id, metrics=metrics, params=[*islice(params, _MOST_PARAMS)], tags=tags)
    while more := [*islice(params, _MOST_PARAMS)]:
        client.log_batch(run_id, params=more)
    client.set_terminated(run_id, what.status, what.ended)
    return run_id


def _parent(run: Mapping[str, Any], mark: Mapping[str, str]) -> _Written:
    scores = plain_rows(questions.rows_of_run("scores", run))
    metrics = {
        f"{row['set_name']}_{row['metric']}{suffix}": row[part]
        for row in scores
        for part, suffix in (("estimate", ""), ("low", "_low"), ("high", "_high"))
    }
    started = run["started_at"] or run["seen_at"]
    own = {"mlflow.note.content": run["decision"] or run["error"]}
    commit = {"mlflow.source.git.commit": run["code_commit"], "mlflow.source.name": _TAG}
    return _Written(
        name=f"{run['experiment']} {run['run_id'][:8]}",
        tags=_texts({f"{_TAG}.{name}": run[name] for name in _RUN_TAGS} | own | commit),
        params=_texts({name: run[name] for name in _RUN_PARAMS}),
        metrics=_numbers(metrics | {name: run[name] for name in _RUN_METRICS}),
        started=_milliseconds(started),
        ended=_milliseconds(run["ended_at"] or started),
        status=DECIDED[run["status"]],
        mark=mark,
    )


def _child(row: Mapping[str, Any], run: Mapping[str, Any], parent: str) -> _Written:
    started = _milliseconds(run["started_at"])
    mark = {"mlflow.parentRunId": parent, f"{_TAG}.configuration": row["key"]}
    named = {name: row[name] for name in _CONFIGURATION_TAGS}
    shared = {name: run[name] for name in ("data_digest", "code_commit")}
    seconds = _numbers({"fit": row["fit_wall_seconds"]}).get("fit", 0.0)
    return _Written(
        name=row["key"],
        tags=_texts(
            {f"{_TAG}.{name}": value for name, value in (named | shared).items()}
            | {"mlflow.note.content": row["reason"]}
        ),
        params=_texts({"algorithm": row["algorithm"], **row["hyperparameters"]}),
        metrics=_numbers({name: row[name] for name in _CONFIGURATION_METRICS}),
        started=started,
        ended=started + int(1000 * seconds),
        status="FAILED" if row["status"] == "failed" else "FINISHED",
        mark=mark,
    )


def _write_files(folder: Path, run: Mapping[str, Any]) -> None:
    """The run's pages, both its YAML files, and the files of the version that it published."""
    for name, digest in (("defs.yaml", "yaml_digest"), ("schema.yaml", "schema_digest")):
        if text := questions.file_text(run[digest]):
            (folder / name).write_text(text, encoding="utf-8")
    places = {
        location(row["place"]): f"reports/{row['name']}{PurePosixPath(row['place']).suffix}"
        for row in plain_rows(questions.rows_of_run("reports", run))
        if is_page(row["place"])
    }
    if run["version"] and run["version_is_new"]:
        version = questions.versions(run["experiment"])
        for where in map(location, version.loc[version["version"] == run["version"], "place"]):
            places |= {where / name: f"model/{name}" for name in list_names(where)}
    for path, content in read_many(places).items():
        target = folder / places[path]
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)


def _register(client: Any, run: Mapping[str, Any], parent: str) -> None:
    """Make a version of MLflow's registry of the artifact `model`, where there is none yet."""
    from mlflow.exceptions import MlflowException

    name, version = run["experiment"], run["version"]
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    if version in _registered(client, name):
        return
    source = f"{client.get_run(parent).info.artifact_uri}/model"
    tags = {f"{_TAG}.version": version, f"{_TAG}.run_id": run["run_id"]}
    client.create_model_version(name, source, parent, tags=tags, description=run["decision"])


def _mark_champion(client: Any, experiment: str) -> None:
    """Put the alias on the version that is current, where MLflow has it."""
    versions = questions.versions(experiment)["version"]
    known = {} if versions.empty else _registered(client, experiment)
    if not versions.empty and versions.iloc[-1] in known:
        client.set_registered_model_alias(experiment, "champion", known[versions.iloc[-1]])


def _registered(client: Any, name: str) -> dict[str, str]:
    """Our version → MLflow's number of it."""
    found = client.search_model_versions(f"name = '{name}'")
    return {one.tags.get(f"{_TAG}.version", ""): str(one.version) for one in found}


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """What is known, under names that MLflow takes, as texts that are no longer than it takes."""
    known = {name: value for name, value in values.items() if value is not None}
    return {_name(name): str(value)[:_LONGEST] for name, value in known.items()}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    known = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return {_name(name): float(value) for name, value in known.items() if math.isfinite(value)}


def _name(text: str) -> str:
    return re.sub(r"[^\w./ -]", "_", text, flags=re.ASCII)


def _milliseconds(moment: datetime) -> int:
    return int(1000 * moment.timestamp())


if __name__ == "__main__":
    _experiment, _given = json.load(sys.stdin)
    export_runs(_experiment, Mlflow.model_validate(_given))
